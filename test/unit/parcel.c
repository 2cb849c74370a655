/* parcel.c - a call that travels: all that its workers read and write lies in shared memory, each
 * part on lines of its own, and nothing that the host looks up does. */
#include "unit.h"
#include "common/arena.h"
#include "common/control.h"
#include "process/staff.h"

enum { WORKERS = 3, ITEMS = 7 };

static struct dist_pool pool;
static struct dist__staff staff;
static struct dist__batch batch;
static struct dist__control control;
static struct dist__region region;
static struct dist__parcel *parcel;
static int items[ITEMS], out[ITEMS];

static int fn(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    return 0;
}

static int begin(void **state) {
    (void)state;
    dist__arena_share();
    pool = (struct dist_pool){.birth = dist__arena_birth()};
    staff = (struct dist__staff){.pool = &pool, .room = WORKERS, .slots = 2};
    pthread_mutex_init(&staff.lock, NULL);
    if (!dist__heap_open(&staff.heap, 1 << 24, 1 << 20)) return -1;
    for (int i = 0; i < ITEMS; i++) items[i] = 10 + i, out[i] = 100 + i;
    control = (struct dist__control){.opts = {.retries = 0}};
    batch = (struct dist__batch){.kind = DIST__MAP_ITEMS,
                                 .map = fn,
                                 .n = ITEMS,
                                 .items = (unsigned char *)items,
                                 .item_size = sizeof *items,
                                 .out = (unsigned char *)out,
                                 .out_size = sizeof *out,
                                 .workers = 2,
                                 .pool = &pool,
                                 .control = &control};
    batch.caller = (void *)&batch;
    batch.job = (void *)&batch;
    return 0;
}

static int end(void **state) {
    (void)state;
    free(region.offset);
    region = (struct dist__region){0};
    dist__heap_close(&staff.heap);
    return 0;
}

static bool is_shared(const void *at, size_t bytes) {
    const unsigned char *begins = at, *base = staff.heap.base;
    return begins >= base && begins + bytes <= base + staff.heap.size &&
           (uintptr_t)begins % 64 == 0;
}

static void pack(void) {
    memset(staff.heap.base, 0xaa, 1 << 16); /* of the call before */
    assert_int_equal(dist__parcel_pack(&staff, &region, &batch, &parcel), DIST_OK);
    assert_ptr_equal(parcel, region.base);
    assert_true(is_shared(parcel, region.size));
}

/* These parts have bytes of their own. */
struct part {
    const void *at;
    size_t size;
};

static void check_apart(const struct part *part, size_t count) {
    for (size_t k = 0; k < count; k++) {
        if (!part[k].at) continue;
        const unsigned char *a = part[k].at;
        assert_true(is_shared(a, part[k].size));
        assert_true(a + part[k].size <= (unsigned char *)region.base + region.size);
        for (size_t j = 0; j < k; j++) {
            const unsigned char *b = part[j].at;
            assert_true(!b || a + part[k].size <= b || b + part[j].size <= a);
        }
    }
}

static void check_all_apart(void) {
    const struct dist__batch *b = &parcel->batch;
    const struct part parts[] = {{parcel, sizeof *parcel},
                                 {region.shared, sizeof *region.shared},
                                 {region.claim, WORKERS * sizeof *region.claim},
                                 {region.state, ITEMS},
                                 {region.desk, dist__desk_size(WORKERS)},
                                 {region.due, sizeof *region.due},
                                 {region.verdict, WORKERS * sizeof *region.verdict},
                                 {region.attempts, ITEMS * sizeof *region.attempts},
                                 {b->items, sizeof items},
                                 {region.results, sizeof out},
                                 {b->names, ITEMS * sizeof *b->names},
                                 {b->ctx, batch.ctx_size}};
    check_apart(parts, N(parts));
}

TEST(items_and_results_travel) {
    pack();
    check_all_apart();
    assert_memory_equal(parcel->batch.items, items, sizeof items);
    assert_memory_equal(region.results, out, sizeof out); /* what tasks find there */
    assert_ptr_equal(parcel->batch.out, region.results);
    assert_ptr_equal(parcel->region.results, region.results);
    assert_true(!parcel->batch.caller && !parcel->batch.job && !parcel->batch.control);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(dist__region_state(&region, i), DIST__ITEM_PENDING);
    assert_false(dist__region_past_stop(&region, ITEMS));
    for (unsigned k = 0; k < WORKERS; k++) {
        uint64_t first, last;
        assert_null(dist__ring_peek(&region.desk->ring[k]));
        assert_int_equal(dist__claim_read(&region.claim[k], &first, &last), DIST__IDLE);
    }
    assert_int_equal(dist__due_count(region.due), 0);
}

/* A second attempt finds what the first one found, not what it left. */
static void check_two_copies(void) {
    pack();
    assert_ptr_not_equal(parcel->batch.out, region.results);
    assert_true(is_shared(parcel->batch.out, sizeof out));
    assert_memory_equal(parcel->batch.out, out, sizeof out);
    assert_memory_equal(region.results, out, sizeof out);
}

TEST(with_retries_there_are_two_copies_of_out) {
    control.retried = true;
    check_two_copies();
    check_all_apart();
    assert_non_null(region.attempts);
    assert_int_equal(dist__attempts_of(&(struct dist__control){.attempts = region.attempts}, 3), 1);
}

TEST(so_there_are_for_chunk_functions) {
    batch.kind = DIST__MAP_CHUNKS;
    check_two_copies();
}

TEST(names_and_ctx_travel) {
    static const char *const names[ITEMS] = {"a", NULL, "", "a longer name", NULL, "b", "c"};
    static int ctx[5] = {1, 2, 3, 4, 5};
    batch.names = names;
    batch.ctx = ctx;
    pack();
    assert_ptr_equal(parcel->batch.ctx, ctx); /* without a size it is just a pointer */
    free(region.offset);
    batch.ctx_size = sizeof ctx;
    pack();
    check_all_apart();
    assert_memory_equal(parcel->batch.ctx, ctx, sizeof ctx);
    for (int i = 0; i < ITEMS; i++) {
        const char *name = parcel->batch.names[i];
        assert_true(!name == !names[i]);
        assert_true(!name || (is_shared(name, strlen(name) + 1) && !strcmp(name, names[i])));
    }
}

TEST(each_worker_draws_nothing) {
    batch.kind = DIST__INDICES;
    batch.items = NULL, batch.out = NULL;
    batch.each_worker = true;
    pack();
    assert_int_equal(atomic_load(&region.shared->cursor), ITEMS);
    assert_true(!parcel->batch.items && !parcel->batch.out && !region.results);
}

TEST(tasks_of_par_travel) {
    static char text[] = "argument", result[2][100];
    static long number;
    const dist_task tasks[] = {
        {.name = "one",
         .fn = fn,
         .arg = text,
         .arg_size = 9,
         .result = result[0],
         .result_size = 100},
        {.fn = fn, .arg = text},
        {.fn = fn, .arg = &number, .arg_size = sizeof number, .result = &number, .result_size = 8},
        {.fn = fn, .result = result[1], .result_size = 1}};
    strcpy(result[0], "before");
    batch.kind = DIST__PAR_TASKS;
    batch.tasks = tasks;
    batch.n = N(tasks);
    pack();
    const dist_task *t = parcel->batch.tasks;
    struct part parts[2 * N(tasks)] = {{NULL, 0}};
    for (size_t i = 0; i < N(tasks); i++) {
        parts[2 * i] = (struct part){t[i].result, t[i].result_size};
        parts[2 * i + 1] =
            (struct part){dist__region_result(&region, &batch, i), tasks[i].result_size};
        assert_ptr_equal(parts[2 * i + 1].at,
                         dist__region_result(&parcel->region, &parcel->batch, i));
        assert_true(!t[i].result == !tasks[i].result && !parts[2 * i + 1].at == !tasks[i].result);
    }
    check_apart(parts, N(parts));
    assert_string_equal(t[0].name, "one");
    assert_string_equal(t[0].arg, "argument");
    assert_string_equal(t[0].result, "before");
    assert_ptr_not_equal(t[0].arg, text);
    assert_ptr_equal(t[1].arg, text); /* without a size it is just a pointer */
    assert_null(t[3].arg);
    assert_false(is_shared(region.offset, 1)); /* the host's own */
    assert_ptr_not_equal(region.offset, parcel->region.offset);
    memset(parcel->region.offset, 0xff, N(tasks) * sizeof *region.offset);
    assert_true(is_shared(dist__region_result(&region, &batch, 2), 8));
}

TEST(what_lies_in_an_arena_stays_there) {
    struct dist__record record;
    dist_arena *arena = dist_arena_new(1 << 20);
    assert_non_null(arena);
    batch.arena = arena;
    dist__record_enter(&record, &batch, 0, DIST__ALONE);
    int *in = dist_alloc(sizeof items), *to = dist_alloc(sizeof out);
    dist__record_leave(&record);
    batch.items = (unsigned char *)in;
    batch.out = (unsigned char *)to;
    pack();
    assert_ptr_equal(parcel->batch.items, in);
    assert_ptr_not_equal(parcel->batch.out, to); /* results are staged */
    assert_ptr_equal(parcel->arena.base, dist__arena_view(arena).base);
    batch.in_place = true;
    pack();
    assert_ptr_equal(parcel->batch.out, to);
    assert_null(region.results);
    assert_ptr_equal(dist__region_result(&region, &batch, 2), to + 2);
    batch.items = (unsigned char *)(in + 20000); /* not taken */
    pack();
    assert_ptr_not_equal(parcel->batch.items, batch.items);
    dist_arena_free(arena);
}

TEST(what_does_not_fit_is_refused) {
    size_t before = staff.heap.holes->begin;
    batch.n = SIZE_MAX / sizeof *items;
    batch.items = NULL;
    batch.out_size = 1;
    batch.out = (unsigned char *)out;
    assert_int_equal(dist__parcel_pack(&staff, &region, &batch, &parcel), DIST_NOMEM);
    assert_int_equal(staff.heap.holes->begin, before);
    batch.n = (size_t)1 << 25;
    batch.out = NULL;
    assert_int_equal(dist__parcel_pack(&staff, &region, &batch, &parcel), DIST_NOMEM);
    assert_int_equal(staff.heap.holes->begin, before);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
static const struct CMUnitTest tests[] = {
    CASE(items_and_results_travel),          CASE(with_retries_there_are_two_copies_of_out),
    CASE(so_there_are_for_chunk_functions),  CASE(names_and_ctx_travel),
    CASE(each_worker_draws_nothing),         CASE(tasks_of_par_travel),
    CASE(what_lies_in_an_arena_stays_there), CASE(what_does_not_fit_is_refused),
};
RUN(tests)
