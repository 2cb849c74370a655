/* contract_pipe.c - dist_pipe: what passes through stages. */
#include "contract_pipe.h"

#include <signal.h>

CASE("L-18", a_stage_keeps_the_order) {
    static const size_t in_flight[] = {0, 1, 7, 400};
    for (size_t k = 0; k < N(in_flight); k++) {
        dist_queue *in = queue(3), *out = queue(5);
        struct producer p;
        dist_job *stage =
            dist_pipe(in, twice, out, .executor = X, .workers = 3, .in_flight = in_flight[k]);
        assert_non_null(stage);
        start_producer(&p, in, 500);
        assert_int_equal(expect_in_order(out, 2, 0), 500);
        pthread_join(p.thread, NULL);
        assert_int_equal(dist_queue_join(in, 10), DIST_OK); /* the stage calls task_done */
        assert_int_equal(dist_queue_task_done(in), DIST_STATE);
        assert_int_equal(dist_job_finish(&stage), DIST_OK);
        dist_queue_free(&in);
        dist_queue_free(&out);
    }
}

CASE("L-18", the_close_passes_through_a_chain) {
    dist_queue *q[4];
    dist_job *stage[3];
    struct producer p;
    for (int k = 0; k < 4; k++) q[k] = queue((size_t)k + 2);
    for (int k = 0; k < 3; k++)
        stage[k] = dist_pipe(q[k], k ? plus_one : twice, q[k + 1], .executor = X, .workers = 2);
    start_producer(&p, q[0], 300);
    assert_int_equal(expect_in_order(q[3], 2, 2), 300);
    pthread_join(p.thread, NULL);
    for (int k = 0; k < 3; k++) assert_int_equal(dist_job_finish(&stage[k]), DIST_OK);
    long x = 1;
    for (int k = 0; k < 4; k++) {
        assert_int_equal(dist_queue_put(q[k], &x, 0), DIST_CLOSED);
        dist_queue_free(&q[k]);
    }
}

static int slow_first(void *result, const void *item, void *ctx) {
    if (*(const long *)item == 0) nap(0.2);
    return twice(result, item, ctx);
}

CASE("L-18", a_slow_item_holds_up_those_behind_it) {
    dist_queue *in = queue(20), *out = queue(20);
    fill(in, 20, true);
    dist_job *stage = dist_pipe(in, slow_first, out, .executor = X, .workers = 3);
    assert_int_equal(expect_in_order(out, 2, 0), 20);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

CASE_ON("L-18", but_not_in_an_unordered_stage, ON_THREAD | ON_PROCESS, 20) {
    dist_queue *in = queue(20), *out = queue(20);
    fill(in, 20, true);
    dist_job *stage =
        dist_pipe(in, slow_first, out, .executor = X, .workers = 3, .unordered = true);
    bool seen[20] = {false};
    for (long k = 0, x; k < 20; k++) {
        assert_int_equal(dist_queue_get(out, &x, 10), DIST_OK);
        assert_true(k > 0 || x != 0);
        assert_false(seen[x / 2]);
        seen[x / 2] = true;
    }
    long x;
    assert_int_equal(dist_queue_get(out, &x, 10), DIST_CLOSED);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

/* An item goes on at once, and does not wait for more to come. */
CASE("L-18", an_item_does_not_wait_for_the_next) {
    static const size_t in_flight[] = {0, 300};
    for (size_t k = 0; k < N(in_flight); k++) {
        dist_queue *in = queue(300), *out = queue(300);
        dist_job *stage =
            dist_pipe(in, plus_one, out, .executor = X, .workers = 2, .in_flight = in_flight[k],
                      .unordered = k == 1 && X != DIST_INLINE);
        long x, n = 200; /* so many that groups would be large */
        for (long i = 0; i < n; i++) assert_int_equal(dist_queue_put(in, &i, 0), DIST_OK);
        for (long i = 0; i < n; i++) assert_int_equal(dist_queue_get(out, &x, 10), DIST_OK);
        n = rounds(300, 50);
        for (long i = 0; i < n; i++) {
            assert_int_equal(dist_queue_put(in, &i, 0), DIST_OK);
            assert_int_equal(dist_queue_get(out, &x, 10), DIST_OK);
            assert_int_equal(x, i + 1);
        }
        dist_queue_close(in);
        assert_int_equal(dist_job_finish(&stage), DIST_OK);
        dist_queue_free(&in);
        dist_queue_free(&out);
    }
}

struct crowd {
    _Atomic(unsigned) inside, most, runs;
};

static int enter_crowd(void *result, const void *item, void *ctx) {
    struct crowd *crowd = ctx;
    unsigned inside = atomic_fetch_add(&crowd->inside, 1) + 1;
    if (inside > atomic_load(&crowd->most)) atomic_store(&crowd->most, inside);
    nap(0.001);
    long place = (long)atomic_fetch_add(&crowd->runs, 1);
    atomic_fetch_sub(&crowd->inside, 1);
    if (result) *(long *)result = *(const long *)item;
    return place == *(const long *)item ? 0 : 1;
}

CASE("L-18", a_stage_of_one_worker_is_serial_and_in_order) {
    struct crowd *crowd = shared_memory(sizeof *crowd);
    dist_queue *in = queue(50);
    fill(in, 50, true);
    dist_job *stage =
        dist_pipe(in, enter_crowd, NULL, .executor = X, .workers = 1, .ctx = crowd, .in_flight = 9);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    assert_int_equal(crowd->runs, 50);
    assert_int_equal(crowd->most, 1);
    dist_queue_free(&in);
}

/* Both sides are bounded. */
CASE("L-08", a_stage_takes_no_more_than_in_flight) {
    static const size_t in_flight[] = {1, 5, 64};
    for (size_t k = 0; k < N(in_flight); k++) {
        dist_queue *in = queue(200), *out = queue(3);
        fill(in, 200, true);
        dist_job *stage =
            dist_pipe(in, twice, out, .executor = X, .workers = 2, .in_flight = in_flight[k]);
        for (double limit = now() + 10; dist_queue_length(out) < 3 && now() < limit;) nap(0.001);
        nap(0.05); /* nobody takes from out */
        assert_true(dist_queue_length(in) >= 200 - 3 - in_flight[k]);
        assert_int_equal(dist_queue_length(out), 3);
        assert_int_equal(expect_in_order(out, 2, 0), 200);
        assert_int_equal(dist_job_finish(&stage), DIST_OK);
        dist_queue_free(&in);
        dist_queue_free(&out);
    }
}

static int seven_fails(void *result, const void *item, void *ctx) {
    long i = *(const long *)item;
    return i % 10 == 7 ? dist_fail(3, "item %ld", i) : plus_one(result, &i, ctx);
}

CASE("L-18", a_failed_item_ends_the_stage_and_its_neighbours) {
    dist_queue *a = queue(4), *b = queue(4), *c = queue(4);
    dist_error error = {0};
    struct producer p;
    dist_job *first = dist_pipe(a, plus_one, b, .executor = X, .workers = 2);
    dist_job *second =
        dist_pipe(b, seven_fails, c, .executor = X, .workers = 2, .error = &error); /* 6 + 1 */
    start_producer(&p, a, 1000000);
    assert_int_equal(expect_in_order(c, 1, 2), 6);
    pthread_join(p.thread, NULL);
    assert_int_equal(p.end, DIST_CLOSED);
    assert_true(p.put < 1000);
    assert_int_equal(dist_job_wait(second, DIST_FOREVER), DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 6);
    assert_int_equal(dist_last_error()->code, 3);
    assert_string_equal(dist_last_error()->message, "item 7");
    assert_int_equal(error.index, 6);
    assert_int_equal(dist_job_failures(second), 1);
    assert_null(dist_job_failure_at(second, 0)->item);
    assert_int_equal(dist_job_finish(&second), DIST_FAILED);
    assert_int_equal(dist_job_finish(&first), DIST_CLOSED);
    assert_non_null(strstr(dist_last_error()->message, "out"));
    dist_queue_free(&a);
    dist_queue_free(&b);
    dist_queue_free(&c);
}

struct told {
    size_t well, badly;
    bool wrong;
};

static void be_told(const dist_event *event, void *user) {
    struct told *told = user;
    long i = *(const long *)event->item;
    told->wrong |= event->total != SIZE_MAX || event->index != (size_t)i;
    told->badly += event->error != NULL;
    told->well += event->error == NULL;
    told->wrong |= event->done != told->well + told->badly || event->failed != told->badly;
    if (event->error)
        told->wrong |= event->result || event->error->index != event->index || i % 10 != 7 ||
                       event->error->status != DIST_FAILED || event->error->code != 3;
    else told->wrong |= !event->result || *(const long *)event->result != i + 1;
}

CASE("L-18", a_silent_stage_leaves_failed_items_out) {
    dist_queue *in = queue(100), *out = queue(100);
    struct told told = {0};
    fill(in, 100, true);
    dist_job *stage = dist_pipe(in, seven_fails, out, .executor = X, .workers = 2, .silent = true,
                                .on_finish = be_told, .user = &told);
    for (long i = 0, x; i < 100; i++) {
        if (i % 10 == 7) continue;
        assert_int_equal(dist_queue_get(out, &x, 10), DIST_OK);
        assert_int_equal(x, i + 1);
    }
    assert_int_equal(dist_job_wait(stage, DIST_FOREVER), DIST_OK);
    assert_int_equal(told.well, 90);
    assert_int_equal(told.badly, 10);
    assert_false(told.wrong);
    assert_int_equal(dist_job_failures(stage), 10);
    assert_int_equal(dist_job_failure_at(stage, 3)->index, 37);
    assert_null(dist_job_failure_at(stage, 10));
    assert_int_equal(dist_queue_join(in, 0), DIST_OK);
    assert_int_equal(dist_job_finish(&stage), DIST_FAILED); /* as other silent jobs */
    dist_queue_free(&in);
    dist_queue_free(&out);
}

CASE("L-24", a_stage_keeps_a_thousand_failures_and_counts_all) {
    dist_queue *in = queue(0);
    fill(in, 1500, true);
    dist_job *stage = dist_pipe(in, all_fail, NULL, .executor = X, .workers = 2, .silent = true,
                                .in_flight = 200);
    assert_int_equal(dist_job_wait(stage, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_failures(stage), 1500);
    assert_int_equal(dist_job_failure_at(stage, 999)->index, 999);
    assert_null(dist_job_failure_at(stage, 1000));
    dist_job_finish(&stage);
    dist_queue_free(&in);
}

static int crashes_once(void *result, const void *item, void *ctx) {
    if (*(const long *)item == 11 && dist_attempt() == 1) raise(SIGKILL);
    return plus_one(result, item, ctx);
}

CASE_ON("P-58", a_crash_in_a_stage_is_one_item, ON_PROCESS, 20) {
    dist_queue *in = queue(100), *out = queue(100);
    fill(in, 100, true);
    dist_job *stage = dist_pipe(in, crashes_once, out, .executor = X, .workers = 2, .silent = true);
    assert_int_equal(dist_job_wait(stage, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_queue_length(out), 99);
    assert_int_equal(dist_job_failure_at(stage, 0)->status, DIST_CRASHED);
    assert_int_equal(dist_job_failure_at(stage, 0)->index, 11);
    dist_job_finish(&stage);
    dist_queue_free(&in);
    dist_queue_free(&out);
    in = queue(100), out = queue(100);
    fill(in, 100, true);
    stage = dist_pipe(in, crashes_once, out, .executor = X, .workers = 2, .retries = 1);
    assert_int_equal(expect_in_order(out, 1, 1), 100);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

/* ------------------------------------------------------------------ many to one, one to many */

CASE("L-09", a_queue_closes_when_the_last_stage_before_it_has_ended) {
    dist_queue *a = queue(10), *b = queue(10), *c = queue(40);
    dist_job *short_one = dist_pipe(a, plus_one, c, .executor = X, .workers = 1);
    dist_job *long_one = dist_pipe(b, plus_one, c, .executor = X, .workers = 1);
    fill(a, 10, true);
    assert_int_equal(dist_job_finish(&short_one), DIST_OK);
    fill(b, 10, true);
    assert_int_equal(dist_job_finish(&long_one), DIST_OK);
    long sum = 0, x;
    while (dist_queue_get(c, &x, 10) == DIST_OK) sum += x;
    assert_int_equal(sum, 2 * 55);
    dist_queue_free(&a);
    dist_queue_free(&b);
    dist_queue_free(&c);
}

CASE("L-09", stages_that_take_from_one_queue_share_its_items) {
    dist_queue *in = queue(3), *out = queue(3);
    struct producer p;
    dist_job *stage[3];
    for (int k = 0; k < 3; k++)
        stage[k] = dist_pipe(in, plus_one, out, .executor = X, .workers = 1);
    start_producer(&p, in, 300);
    bool seen[301] = {false};
    long got = 0, x;
    for (; dist_queue_get(out, &x, 10) == DIST_OK; got++) {
        assert_in_range(x, 1, 300);
        assert_false(seen[x]);
        seen[x] = true;
    }
    assert_int_equal(got, 300);
    pthread_join(p.thread, NULL);
    for (int k = 0; k < 3; k++) assert_int_equal(dist_job_finish(&stage[k]), DIST_OK);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

/* One that fails leaves its work to the others. */
CASE("L-09", a_stage_that_fails_does_not_close_what_others_use) {
    dist_queue *in = queue(20), *out = queue(40);
    dist_job *bad = dist_pipe(in, all_fail, out, .executor = X, .workers = 1, .in_flight = 1);
    dist_job *good = dist_pipe(in, plus_one, out, .executor = X, .workers = 1, .deferred = true);
    fill(in, 20, false);
    assert_int_equal(dist_job_finish(&bad), DIST_FAILED);
    assert_int_equal(dist_job_start(good), DIST_OK);
    long x = 20;
    assert_int_equal(dist_queue_put(in, &x, 5), DIST_OK);
    dist_queue_close(in);
    assert_int_equal(dist_job_finish(&good), DIST_OK);
    for (long got = 0; dist_queue_get(out, &x, 10) == DIST_OK;)
        assert_in_range(x, 1 + got, 40), got++;
    assert_int_equal(x, 21);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

CASE("L-16", a_stage_keeps_its_rate) {
    dist_queue *in = queue(20);
    fill(in, 11, true);
    double before = now();
    dist_job *stage =
        dist_pipe(in, all_fail, NULL, .executor = X, .workers = 2, .rate = 200, .silent = true);
    assert_int_equal(dist_job_wait(stage, DIST_FOREVER), DIST_OK);
    assert_true(now() - before >= 0.049);
    dist_job_finish(&stage);
    dist_queue_free(&in);
}

CASE("G-15", bad_arguments_of_a_stage_are_named) {
    dist_queue *in = queue(3), *out = queue(3);
#define REFUSED(what, in_, fn_, out_, ...)                                                         \
    do {                                                                                           \
        assert_null(dist_pipe(in_, fn_, out_, .executor = X, __VA_ARGS__));                        \
        assert_int_equal(dist_last_error()->status, DIST_INVALID);                                 \
        assert_non_null(strstr(dist_last_error()->message, what));                                 \
    } while (0)
    REFUSED("in:", NULL, twice, out, .workers = 1);
    REFUSED("fn:", in, NULL, out, .workers = 1);
    REFUSED("out:", in, twice, in, .workers = 1);
    REFUSED("timeout", in, twice, out, .timeout = -1);
    REFUSED("in_place", in, twice, out, .in_place = true);
    REFUSED("abandon", in, twice, out, .abandon = true);
    REFUSED("progress", in, twice, out, .progress = "bar");
    REFUSED("on_start", in, twice, out, .on_start = be_told);
    REFUSED("stack_size", in, twice, out, .stack_size = 1);
    long x = 1; /* and the queues are as they were */
    assert_int_equal(dist_queue_put(in, &x, 0), DIST_OK);
    dist_job *stage = dist_pipe(in, twice, out, .executor = X);
    dist_event event;
    assert_int_equal(dist_job_next(stage, &event, 0), DIST_INVALID);
    dist_queue_close(in);
    assert_int_equal(expect_in_order(out, 2, 2), 1);
    dist_job_finish(&stage);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

static void chain_of_three(long n) {
    dist_queue *q[4];
    dist_job *stage[3];
    struct producer p;
    for (int k = 0; k < 4; k++) q[k] = queue(500);
    for (int k = 0; k < 3; k++)
        stage[k] =
            dist_pipe(q[k], plus_one, q[k + 1], .executor = X, .workers = 2, .in_flight = 800);
    start_producer(&p, q[0], n);
    assert_int_equal(expect_in_order(q[3], 1, 3), n);
    pthread_join(p.thread, NULL);
    for (int k = 0; k < 3; k++) assert_int_equal(dist_job_finish(&stage[k]), DIST_OK);
    for (int k = 0; k < 4; k++) dist_queue_free(&q[k]);
}

CASE_ON("L-24", memory_does_not_grow_with_the_items_of_a_pipe, ON_ALL, 60) {
    chain_of_three(20000);
    size_t before = resident_bytes();
    chain_of_three(SANITIZED ? 20000 : 200000);
    if (!SANITIZED)
        assert_true(resident_bytes() < before + (1 << 20)); /* they keep memory of their own */
}
