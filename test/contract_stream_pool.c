/* contract_stream_pool.c - streams in a pool: how many of its workers they have. */
#include "contract_pools.h"

enum { ITEMS = 60, WIDE = 5 };

static struct {
    struct place *place; /* made before the pool */
    size_t read, got;
    bool wrong;
} flow;

static void begin(void) {
    flow.place = new_place();
    flow.read = flow.got = 0;
    flow.wrong = false;
}

static bool next(void *item, void *source) {
    (void)source;
    *(int *)item = (int)flow.read;
    return flow.read++ < ITEMS;
}

static bool keep(const dist_event *event, void *user) {
    (void)user;
    flow.wrong |= !event->result || *(const int *)event->result != 10 * (int)event->index;
    flow.got++;
    return true;
}

#define STREAM(fn, pool_, ...)                                                                     \
    dist_stream((fn), int, int, next, NULL, keep, .pool = (pool_), .ctx = flow.place, __VA_ARGS__)

static void check(unsigned most) {
    assert_int_equal(flow.got, ITEMS);
    assert_false(flow.wrong);
    assert_in_range(counted(&flow.place->most), 1, most);
    assert_int_equal(counted(&flow.place->ended), ITEMS);
}

CASE("D-20", a_stream_has_no_more_workers_of_a_pool_than_it_may) {
    for (unsigned workers = 1; workers <= 3; workers++)
        for (int way = 0; way < 4; way++) {
            begin();
            dist_pool *pool = open_pool(WIDE);
            assert_int_equal(STREAM(visit, pool, .workers = workers, .unordered = way % 2,
                                    .in_flight = way < 2 ? 20 : 200),
                             DIST_OK);
            check(X == DIST_INLINE ? 1 : workers);
            dist_pool_free(&pool);
        }
}

/* Each stays until so many are there. */
static int meet(void *result, const void *item, void *ctx) {
    struct place *place = ctx;
    enter(place);
    bool met = reaches(&place->begun, 3);
    *(int *)result = met ? 10 * *(const int *)item : -1;
    leave(place);
    return 0;
}

CASE_ON("D-20", a_stream_has_all_workers_that_it_may, ON_THREAD | ON_PROCESS, 20) {
    begin();
    dist_pool *pool = open_pool(WIDE);
    assert_int_equal(STREAM(meet, pool, .workers = 3), DIST_OK);
    check(3);
    assert_int_equal(counted(&flow.place->most), 3);
    dist_pool_free(&pool);
}

static int pass(void *result, const void *item, void *ctx) {
    (void)item;
    count(&((struct place *)ctx)->gate);
    *(int *)result = 7;
    return 0;
}

/* Others have the workers that the stream may not have, though its jobs came first. */
CASE_ON("M-16", a_stream_leaves_workers_to_others, ON_THREAD | ON_PROCESS, 20) {
    begin();
    dist_pool *pool = open_pool(2);
    int one = 1, result = 0;
    dist_job *job =
        dist_apply_async(pass, &one, &result, .pool = pool, .ctx = flow.place, .deferred = true);
    assert_non_null(job);
    pthread_t thread = begin_thread((void *(*)(void *))(uintptr_t)dist_job_start, job);
    assert_int_equal(STREAM(stay, pool, .workers = 1, .in_flight = 8), DIST_OK);
    pthread_join(thread, NULL);
    check(1);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(result, 7);
    dist_pool_free(&pool);
}

/* The first ones take longer than a wait before it sees to it that a job begins. */
static int dwell(void *result, const void *item, void *ctx) {
    enter(ctx);
    if (*(const int *)item < 4) nap(0.03);
    *(int *)result = 10 * *(const int *)item;
    leave(ctx);
    return 0;
}

struct nest {
    dist_pool *pool;
    unsigned workers;
    bool unordered;
};

static int stream_within(void *result, const void *item, void *ctx) {
    const struct nest *nest = ctx;
    (void)result, (void)item;
    return (int)STREAM(dwell, nest->pool, .workers = nest->workers, .unordered = nest->unordered);
}

CASE_ON("G-04", a_stream_with_few_workers_runs_below_a_task_of_its_pool, ON_INLINE | ON_THREAD,
        40) {
    for (unsigned width = 1; width <= 3; width++)
        for (int way = 0; way < 4; way++) {
            begin();
            struct nest nest = {open_pool(width), 1 + (unsigned)way / 2, way % 2};
            assert_int_equal(
                dist_apply(stream_within, DIST_NONE, DIST_NONE, .pool = nest.pool, .ctx = &nest),
                DIST_OK);
            check(nest.workers);
            dist_pool_free(&nest.pool);
        }
}

static bool enough_at_ten(const dist_event *event, void *user) {
    (void)event, (void)user;
    return ++flow.got < 10;
}

CASE("D-20", a_stream_with_few_workers_stops_early) {
    for (int way = 0; way < 2; way++) {
        begin();
        dist_pool *pool = open_pool(3);
        assert_int_equal(dist_stream(visit, int, int, next, NULL, enough_at_ten, .pool = pool,
                                     .ctx = flow.place, .workers = 1, .unordered = way),
                         DIST_CANCELLED);
        assert_int_equal(flow.got, 10);
        check_pool(pool);
        dist_pool_free(&pool);
    }
}

static void *terminate(void *pool) {
    reaches(&flow.place->begun, 1);
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    return NULL;
}

CASE_ON("M-14", terminate_ends_a_stream_with_few_workers, ON_THREAD | ON_PROCESS, 20) {
    begin();
    dist_pool *pool = open_pool(3);
    pthread_t thread = begin_thread(terminate, pool);
    dist_status status = STREAM(stay, pool, .workers = 1, .in_flight = 8);
    assert_true(status == DIST_CANCELLED || status == DIST_CLOSED);
    pthread_join(thread, NULL);
    dist_pool_free(&pool);
}
