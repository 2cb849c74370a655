/* note.c - what the supervisor makes of notes: it hears them in the order in which they were
 * written, and believes nothing that a worker may have overwritten before it was killed. */
#include "looked_after.h"

#include <limits.h>

/* ------------------------------------------------------------------ the ring */

static struct dist__ring ring;

static bool push(unsigned number) {
    struct dist__note note = {.worker = number};
    return dist__ring_push(&ring, &note);
}

TEST(a_ring_holds_what_it_has_room_for_in_order) {
    uint32_t from[] = {0, 1, UINT32_MAX - 3, UINT32_MAX};
    for (size_t k = 0; k < N(from); k++) {
        ring.written = ring.read = from[k];
        unsigned in = 0, out = 0;
        assert_null(dist__ring_peek(&ring));
        assert_true(dist__ring_heard(&ring));
        for (int round = 0; round < 50; round++) {
            while (push(in)) in++;
            assert_int_equal(in - out, DIST__RING_NOTES);
            assert_false(dist__ring_heard(&ring));
            for (size_t some = random_below(DIST__RING_NOTES + 1); some > 0; some--, out++) {
                assert_int_equal(dist__ring_peek(&ring)->worker, out);
                assert_ptr_equal(dist__ring_peek(&ring), dist__ring_peek(&ring));
                dist__ring_drop(&ring);
            }
            assert_int_equal(dist__ring_heard(&ring), in == out);
        }
    }
}

TEST(only_who_finds_the_supervisor_asleep_rings) {
    _Atomic(uint32_t) asleep = 0;
    assert_false(dist__bell_must_ring(&asleep));
    dist__bell_arm(&asleep);
    dist__bell_arm(&asleep);
    assert_true(dist__bell_must_ring(&asleep));
    assert_false(dist__bell_must_ring(&asleep));
}

/* ------------------------------------------------------------------ what hooks hear */

enum { ITEMS = 100, RINGS = 3 };

static size_t heard[1000], heard_count; /* by on_finish */
static unsigned starts[ITEMS];          /* by on_start */
static size_t landed, given_up, again;

static void remember_start(const dist_event *event, void *user) {
    (void)user;
    assert_true(event->index < ITEMS && event->total == ITEMS && !event->error);
    starts[event->index]++;
}

static void remember(const dist_event *event, void *user) {
    (void)user;
    assert_true(event->index < ITEMS && event->total == ITEMS);
    assert_true(starts[event->index] > 0);
    if (heard_count < N(heard)) heard[heard_count] = event->index;
    heard_count++;
    if (event->error) assert_true(memchr(event->error->message, 0, sizeof event->error->message));
}

static void land(void *self, struct dist__span items) {
    assert_non_null(self);
    assert_true(items.begin < items.end && items.end <= ITEMS);
    landed += items.end - items.begin;
}

static void heard_of(void *self, struct dist__span items, bool goes_on) {
    assert_non_null(self);
    assert_true(items.begin < items.end && items.end <= ITEMS);
    *(goes_on ? &again : &given_up) += items.end - items.begin;
}

static void open_heard(struct call *c, dist_opts opts) {
    opts.on_start = remember_start;
    opts.on_finish = remember;
    memset(starts, 0, sizeof starts);
    open_call(c, ITEMS, RINGS, 0, opts);
    c->control.land = land, c->control.heard_of = heard_of, c->control.self = c;
    heard_count = landed = given_up = again = 0;
}

static void push_to(struct call *c, unsigned worker, struct dist__note note) {
    note.worker = worker;
    assert_true(dist__ring_push(&c->desk->ring[worker], &note));
}

TEST(notes_of_all_workers_are_heard_in_the_order_in_which_they_were_written) {
    for (int round = 0; round < 200; round++) {
        struct call c;
        open_heard(&c, (dist_opts){.retries = 0});
        size_t count = random_below(ITEMS) + 1;
        for (size_t i = 0; i < count; i++) {
            struct dist__note note = {
                .kind = DIST__SUCCEEDED, .begin = i, .end = i + 1, .at_ns = i};
            unsigned worker = (unsigned)random_below(RINGS);
            if (!dist__ring_push(&c.desk->ring[worker], &note)) count = i; /* it is full */
        }
        dist__control_hear_all(&c.control);
        assert_int_equal(heard_count, count);
        assert_int_equal(landed, count);
        for (size_t i = 0; i < count; i++) assert_int_equal(heard[i], i);
        for (unsigned k = 0; k < RINGS; k++) assert_true(dist__ring_heard(&c.desk->ring[k]));
        close_call(&c);
    }
}

TEST(hooks_hear_of_each_item_of_a_chunk) {
    struct call c;
    open_heard(&c, (dist_opts){.retries = 0});
    push_to(&c, 1, (struct dist__note){.kind = DIST__STARTED, .begin = 10, .end = 20, .at_ns = 1});
    push_to(&c, 1,
            (struct dist__note){.kind = DIST__SUCCEEDED, .begin = 10, .end = 15, .at_ns = 2});
    struct dist__note bad = failure(15, 20, 1);
    bad.at_ns = 3;
    push_to(&c, 1, bad);
    dist__control_hear(&c.control);
    assert_int_equal(heard_count, 10);
    for (size_t k = 0; k < 10; k++) assert_int_equal(heard[k], 10 + k);
    for (size_t i = 0; i < ITEMS; i++) assert_int_equal(starts[i], i >= 10 && i < 20);
    assert_int_equal(landed, 5);
    assert_int_equal(given_up, 5);
    assert_int_equal(c.batch.outcome.failed_count, 5);
    assert_int_equal(c.control.succeeded, 5);
    close_call(&c);
}

/* A worker that was killed may not have come to tell the start; a chunk may tell it twice. */
TEST(a_start_is_heard_once_and_before_the_end) {
    struct call c;
    open_heard(&c, (dist_opts){.retries = 3});
    struct dist__note note = failure(3, 6, 1);
    dist__control_take(&c.control, &note); /* waits for its retry */
    note.kind = DIST__STARTED;
    dist__control_take(&c.control, &note);
    dist__control_take(&c.control, &note);
    assert_int_equal(heard_count, 0);
    note = failure(3, 8, 4);
    dist__control_take(&c.control, &note);
    assert_int_equal(heard_count, 5);
    for (size_t i = 0; i < ITEMS; i++) assert_int_equal(starts[i], i >= 3 && i < 8);
    close_call(&c);
}

/* ------------------------------------------------------------------ wild notes */

TEST(spans_that_are_none_are_passed_over) {
    static const struct dist__span wild[] = {{0, 0},
                                             {5, 5},
                                             {6, 5},
                                             {0, ITEMS + 1},
                                             {ITEMS, ITEMS},
                                             {ITEMS, ITEMS + 1},
                                             {SIZE_MAX, 3},
                                             {3, SIZE_MAX},
                                             {SIZE_MAX, SIZE_MAX},
                                             {0, SIZE_MAX},
                                             {SIZE_MAX - 1, SIZE_MAX}};
    static const enum dist__note_kind kind[] = {DIST__STARTED, DIST__SUCCEEDED, DIST__FAILED,
                                                DIST__LEFT_OUT};
    struct call c;
    open_heard(&c, (dist_opts){.retries = 1});
    for (size_t k = 0; k < N(kind); k++)
        for (size_t w = 0; w < N(wild); w++) {
            struct dist__note note = failure(wild[w].begin, wild[w].end, 1 + (unsigned)(w % 2));
            note.kind = kind[k];
            dist__control_take(&c.control, &note);
        }
    assert_int_equal(heard_count + landed + given_up + again + starts[3], 0);
    assert_int_equal(c.control.waiting_count, 0);
    assert_int_equal(c.batch.outcome.failed_count, 0);
    assert_int_equal(c.batch.outcome.skipped_count, 0);
    assert_true(c.control.lowest_open == SIZE_MAX && !dist__control_has_ended(&c.control));
    close_call(&c);
}

TEST(kinds_that_are_none_are_passed_over) {
    static const int wild[] = {5, 6, 77, 1 << 20, INT_MAX, INT_MIN, -1};
    struct call c;
    open_heard(&c, (dist_opts){.retries = 1});
    for (size_t k = 0; k < N(wild); k++) {
        struct dist__note note = failure(3, 4, 2);
        memcpy(&note.kind, &wild[k], sizeof note.kind);
        dist__control_take(&c.control, &note);
    }
    assert_int_equal(heard_count + landed + given_up + again + starts[3], 0);
    assert_false(dist__control_has_ended(&c.control));
    close_call(&c);
}

TEST(a_message_without_an_end_is_ended) {
    struct call c;
    open_heard(&c, (dist_opts){.retries = 0});
    struct dist__note note = failure(3, 4, 1);
    memset(note.error.message, 'x', sizeof note.error.message);
    dist__control_take(&c.control, &note);
    assert_int_equal(strlen(c.batch.outcome.lowest.message), sizeof note.error.message - 1);
    close_call(&c);
}

/* A call must not be told that all went well because its memory was overwritten. */
TEST(a_status_that_no_item_can_have_is_a_crash) {
    for (int status = -1; status <= DIST_STATUS_COUNT; status++) {
        struct call c;
        open_heard(&c, (dist_opts){.retries = 0});
        struct dist__note note = failure(3, 4, 1);
        memcpy(&note.error.status, &status, sizeof note.error.status);
        dist__control_take(&c.control, &note);
        bool known = (status >= DIST_FAILED && status <= DIST_CANCELLED) || status == DIST_NOMEM;
        assert_int_equal(c.batch.outcome.failed_count, 1);
        assert_int_equal(c.batch.outcome.lowest.status, known ? status : DIST_CRASHED);
        close_call(&c);
    }
}

TEST(a_ring_whose_numbers_are_wild_is_not_heard) {
    static const uint32_t wild[] = {DIST__RING_NOTES + 1, 1000, INT32_MAX, UINT32_MAX};
    for (size_t k = 0; k < N(wild); k++) {
        struct call c;
        open_heard(&c, (dist_opts){.retries = 0});
        push_to(&c, 1, failure(3, 4, 1));
        c.desk->ring[0].written = wild[k];
        c.desk->ring[2].read = wild[k];
        dist__control_hear(&c.control);
        assert_int_equal(c.batch.outcome.failed_count, 1);
        assert_int_equal(c.batch.outcome.lowest.index, 3);
        close_call(&c);
    }
}

TEST(an_init_that_failed_ends_the_call) {
    struct call c;
    open_heard(&c, (dist_opts){.retries = 0});
    struct dist__note note = failure(0, 0, 0);
    note.kind = DIST__INIT_FAILED;
    dist__control_take(&c.control, &note);
    assert_true(dist__control_has_ended(&c.control));
    assert_int_equal(c.control.why.status, DIST_FAILED);
    assert_int_equal(c.control.why.code, 5);
    assert_string_equal(c.control.why.message, "failed");
    close_call(&c);
}

TEST(an_init_that_failed_and_says_wild_things_ends_the_call) {
    struct call c;
    open_heard(&c, (dist_opts){.retries = 0});
    struct dist__note note;
    memset(&note, 'x', sizeof note);
    note.kind = DIST__INIT_FAILED;
    note.error.status = DIST_OK;
    dist__control_take(&c.control, &note);
    assert_true(dist__control_has_ended(&c.control));
    assert_int_equal(c.control.why.status, DIST_FAILED);
    assert_null(c.control.why.name);
    assert_null(c.control.why.item);
    assert_int_equal(strlen(c.control.why.message), sizeof note.error.message - 1);
    close_call(&c);
}

/* The name and the item of an error are never those that the worker has sent. */
TEST(index_and_pointers_of_an_error_are_the_supervisors) {
    static const char *const names[ITEMS] = {[3] = "three", [4] = "four"};
    static const int items[ITEMS];
    struct call c;
    open_heard(&c, (dist_opts){.retries = 0});
    c.batch.names = names;
    c.batch.items = (const unsigned char *)items, c.batch.item_size = sizeof *items;
    struct dist__note note = failure(3, 5, 1);
    note.error.index = SIZE_MAX;
    note.error.name = (const char *)1, note.error.item = (const void *)1;
    dist__control_take(&c.control, &note);
    dist__outcome_sort(&c.batch.outcome);
    assert_int_equal(c.batch.outcome.failed_count, 2);
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(c.batch.outcome.failed[k].index, 3 + k);
        assert_string_equal(c.batch.outcome.failed[k].name, names[3 + k]);
        assert_ptr_equal(c.batch.outcome.failed[k].item, &items[3 + k]);
    }
    close_call(&c);
}

static void any_bytes(void *memory, size_t size) {
    for (size_t k = 0; k < size; k++)
        ((unsigned char *)memory)[k] = (unsigned char)random_below(256);
}

/* Some of the bytes are wild, or all of them. */
static struct dist__note wild_note(void) {
    struct dist__note note = failure(random_below(ITEMS), random_below(ITEMS + 2), 1);
    note.kind = (enum dist__note_kind)random_below(DIST__INIT_FAILED + 1);
    if (note.kind == DIST__INIT_FAILED && random_below(1000)) note.kind = DIST__FAILED;
    size_t at = random_below(sizeof note), size = random_below(sizeof note - at) + 1;
    if (random_below(8) == 0) at = 0, size = sizeof note;
    if (random_below(2)) any_bytes((unsigned char *)&note + at, size);
    return note;
}

TEST(wild_notes_harm_nobody) {
    for (int round = 0; round < 100; round++) {
        struct call c;
        open_heard(&c, (dist_opts){.retries = (unsigned)random_below(3)});
        for (int k = 0; k < 1000; k++) {
            struct dist__note note = wild_note();
            push_to(&c, (unsigned)random_below(RINGS), note);
            if (random_below(8) == 0 || k % 50 == 0) dist__control_hear(&c.control);
            struct dist__span items;
            while (random_below(2) && dist__control_due(&c.control, &items))
                assert_true(items.begin < items.end && items.end <= ITEMS);
            if (random_below(50) == 0) dist__control_drop_retries(&c.control);
        }
        dist__control_hear(&c.control);
        dist__outcome_sort(&c.batch.outcome);
        for (size_t k = 0; k < c.batch.outcome.kept_count; k++)
            assert_true(c.batch.outcome.failed[k].index < ITEMS);
        for (size_t k = 0; k < c.batch.outcome.skipped_count; k++)
            assert_true(c.batch.outcome.skipped[k].end <= ITEMS);
        dist_error why;
        if (dist__control_cut(&c.control, true, &why)) assert_true(why.index < ITEMS);
        close_call(&c);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_ring_holds_what_it_has_room_for_in_order),
    cmocka_unit_test(only_who_finds_the_supervisor_asleep_rings),
    cmocka_unit_test(notes_of_all_workers_are_heard_in_the_order_in_which_they_were_written),
    cmocka_unit_test(hooks_hear_of_each_item_of_a_chunk),
    cmocka_unit_test(a_start_is_heard_once_and_before_the_end),
    cmocka_unit_test(spans_that_are_none_are_passed_over),
    cmocka_unit_test(kinds_that_are_none_are_passed_over),
    cmocka_unit_test(a_message_without_an_end_is_ended),
    cmocka_unit_test(a_status_that_no_item_can_have_is_a_crash),
    cmocka_unit_test(a_ring_whose_numbers_are_wild_is_not_heard),
    cmocka_unit_test(an_init_that_failed_ends_the_call),
    cmocka_unit_test(an_init_that_failed_and_says_wild_things_ends_the_call),
    cmocka_unit_test(index_and_pointers_of_an_error_are_the_supervisors),
    cmocka_unit_test(wild_notes_harm_nobody),
};
RUN(tests)
