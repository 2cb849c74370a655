/* contract_pool_workers.c - how many workers of a pool run at once, and who gets them. */
#define _GNU_SOURCE
#include "contract_pools.h"

/* ------------------------------------------------------------------ n at once */

/* Waits until `most` tasks are inside at once. Non-zero: they never were. */
struct meeting {
    struct place place;
    unsigned size;
};

static struct meeting *new_meeting(unsigned size) {
    struct meeting *meeting = shared_memory(sizeof *meeting);
    meeting->size = size;
    return meeting;
}

static int meet(void *result, const void *item, void *ctx) {
    struct meeting *meeting = ctx;
    (void)result, (void)item;
    enter(&meeting->place);
    int code = reaches(&meeting->place.begun, meeting->size) ? 0 : 1;
    leave(&meeting->place);
    return code;
}

static int meet_at(size_t index, void *ctx) {
    (void)index;
    return meet(NULL, NULL, ctx);
}

WORKER_CASE("D-19", as_many_tasks_as_workers_may_wait_for_each_other) {
    for (unsigned workers = 1; workers < 17; workers += 5) {
        struct meeting *map = new_meeting(workers), *index = new_meeting(workers);
        dist_pool *pool = open_pool(workers);
        assert_int_equal(dist_map(meet, numbers(), workers, DIST_NONE, .pool = pool, .ctx = map),
                         DIST_OK);
        assert_int_equal(dist_for(meet_at, workers, .pool = pool, .ctx = index), DIST_OK);
        assert_int_equal(counted(&map->place.most), workers);
        dist_pool_free(&pool);
    }
}

WORKER_CASE("D-19", tasks_of_different_jobs_may_wait_for_each_other) {
    enum { WORKERS = 6 };
    struct meeting *meeting = new_meeting(WORKERS);
    dist_pool *pool = open_pool(WORKERS);
    dist_job *job[WORKERS];
    for (int k = 0; k < WORKERS; k++)
        job[k] = dist_apply_async(meet, DIST_NONE, DIST_NONE, .pool = pool, .ctx = meeting);
    for (int k = 0; k < WORKERS; k++) assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
    assert_int_equal(counted(&meeting->place.most), WORKERS);
    dist_pool_free(&pool);
}

struct caller {
    dist_pool *pool;
    struct place *place;
    unsigned workers, calls, wrong;
    struct meeting **meeting;
};

static void *call_often(void *arg) {
    struct caller *caller = arg;
    for (unsigned k = 0; k < caller->calls; k++) {
        int out[7];
        memset(out, 0, sizeof out);
        if (dist_map(visit, numbers(), 7, out, .pool = caller->pool, .ctx = caller->place))
            caller->wrong++;
        for (int i = 0; i < 7; i++) caller->wrong += out[i] != 10 * i;
    }
    return NULL;
}

POOL_CASE("D-14", calls_from_many_threads_share_the_workers) {
    enum { CALLERS = 6, CALLS = 20 };
    for (unsigned workers = 1; workers < 5; workers += 3) {
        struct place *place = new_place();
        dist_pool *pool = open_pool(workers);
        struct caller caller[CALLERS];
        pthread_t thread[CALLERS];
        for (int k = 0; k < CALLERS; k++) {
            caller[k] = (struct caller){.pool = pool, .place = place, .calls = CALLS};
            thread[k] = begin_thread(call_often, &caller[k]);
        }
        for (int k = 0; k < CALLERS; k++) {
            pthread_join(thread[k], NULL);
            assert_int_equal(caller[k].wrong, 0);
        }
        assert_int_equal(counted(&place->ended), CALLERS * CALLS * 7);
        assert_int_equal(counted(&place->most), pool_width(workers));
        dist_pool_free(&pool);
    }
}

static void *call_meetings(void *arg) {
    struct caller *caller = arg;
    for (unsigned k = 0; k < caller->calls; k++)
        if (dist_map(meet, numbers(), caller->workers, DIST_NONE, .pool = caller->pool,
                     .ctx = caller->meeting[k]))
            caller->wrong++;
    return NULL;
}

/* Each call by itself has no more items than there are workers, so its tasks may wait for each
 * other, whatever else is called. */
WORKER_CASE("D-19", calls_whose_tasks_wait_for_each_other_do_not_lock_each_other_out) {
    enum { CALLERS = 4, WORKERS = 3, CALLS = 200 };
    dist_pool *pool;
    struct caller caller[CALLERS];
    struct meeting *meeting[CALLERS][CALLS];
    pthread_t thread[CALLERS];
    unsigned calls = rounds(CALLS, 50);
    for (int k = 0; k < CALLERS; k++)
        for (unsigned i = 0; i < calls; i++) meeting[k][i] = new_meeting(WORKERS);
    pool = open_pool(WORKERS);
    for (int k = 0; k < CALLERS; k++) {
        caller[k] = (struct caller){
            .pool = pool, .workers = WORKERS, .calls = calls, .meeting = meeting[k]};
        thread[k] = begin_thread(call_meetings, &caller[k]);
    }
    for (int k = 0; k < CALLERS; k++) {
        pthread_join(thread[k], NULL);
        assert_int_equal(caller[k].wrong, 0);
    }
    dist_pool_free(&pool);
}

POOL_CASE("P-05", a_call_may_ask_for_fewer_workers) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(6);
    for (unsigned most = 1; most < 4; most++) {
        atomic_store(&place->most, 0);
        assert_int_equal(dist_map(visit, numbers(), 40, DIST_NONE, .pool = pool, .ctx = place,
                                  .workers = most, .chunk = 1),
                         DIST_OK);
        assert_in_range(counted(&place->most), 1, most);
    }
    assert_int_equal(dist_map(visit, numbers(), 9, DIST_NONE, .pool = pool, .ctx = place,
                              .workers = 1000, .chunk = 1),
                     DIST_OK);
    assert_in_range(counted(&place->most), 1, pool_width(6));
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ fairness */

static void *call_long(void *arg) {
    struct caller *caller = arg;
    caller->wrong = dist_for(meet_at, 1, .pool = caller->pool, .ctx = caller->meeting[0]) != 0;
    return NULL;
}

static int nap_a_little(size_t index, void *ctx) {
    struct place *place = ctx;
    (void)index;
    count(&place->begun);
    while (!counted(&place->gate) && counted(&place->begun) < 20000) {
        nap(0.001);
        return 0;
    }
    return 0;
}

static void *call_endless(void *arg) {
    struct caller *caller = arg;
    caller->wrong = dist_for(nap_a_little, 4000, .pool = caller->pool, .ctx = caller->place) != 0;
    count(&caller->place->ended);
    return NULL;
}

/* The long call would take seconds; the short ones have their turn between its hand-outs. */
WORKER_CASE("D-19", a_long_call_leaves_short_ones_their_turn) {
    for (unsigned workers = 1; workers < 3; workers++) {
        struct place *place = new_place();
        struct meeting *alone = new_meeting(1);
        dist_pool *pool = open_pool(workers);
        struct caller caller = {.pool = pool, .place = place, .meeting = &alone};
        pthread_t thread = begin_thread(call_endless, &caller);
        assert_true(reaches(&place->begun, 3));
        for (int k = 0; k < 5; k++) {
            call_long(&caller);
            assert_int_equal(caller.wrong, 0);
            dist_job *job =
                dist_apply_async(meet, DIST_NONE, DIST_NONE, .pool = pool, .ctx = alone);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
        }
        assert_int_equal(counted(&place->ended), 0);
        assert_int_equal(dist_pool_terminate(pool), DIST_OK);
        pthread_join(thread, NULL);
        dist_pool_free(&pool);
    }
}

static void *call_with_few(void *arg) {
    struct caller *caller = arg;
    for (unsigned k = 0; k < caller->calls; k++) {
        int out[PRIME];
        if (dist_map(ten_times, numbers(), PRIME, out, .pool = caller->pool, .workers = 2,
                     .chunk = 1))
            caller->wrong++;
    }
    return NULL;
}

/* Workers that take turns need nobody else. */
CASE_ON("D-19", no_more_threads_come_than_there_is_work_for, ON_THREAD, 20) {
    enum { CALLERS = 3 };
    unsigned threads = threads_before();
    dist_pool *pool = open_pool(200);
    struct caller caller[CALLERS];
    pthread_t thread[CALLERS];
    for (int k = 0; k < CALLERS; k++) {
        caller[k] = (struct caller){.pool = pool, .calls = rounds(20, 0)};
        thread[k] = begin_thread(call_with_few, &caller[k]);
    }
    for (int k = 0; k < CALLERS; k++) {
        pthread_join(thread[k], NULL);
        assert_int_equal(caller[k].wrong, 0);
    }
    /* a few more: works of the call before may be in the list still */
    assert_in_range(threads_down_to(threads + 50), 1, threads + 50);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ resize */

/* With a meeting that is older than the pool. */
static void check_width(dist_pool *pool, unsigned workers, struct meeting *meeting) {
    struct place *place = &meeting->place;
    *meeting = (struct meeting){.size = workers};
    assert_int_equal(dist_pool_workers(pool), workers);
    assert_int_equal(dist_map(meet, numbers(), workers, DIST_NONE, .pool = pool, .ctx = meeting),
                     DIST_OK);
    *meeting = (struct meeting){.size = 0};
    assert_int_equal(
        dist_map(visit, numbers(), 30, DIST_NONE, .pool = pool, .ctx = place, .chunk = 1), DIST_OK);
    assert_in_range(counted(&place->most), 1, workers);
}

/* A process pool has room for those it was opened with. */
WORKER_CASE("D-19", a_pool_gets_more_workers_and_fewer) {
    static const unsigned sizes[] = {3, 8, 1, 5, 2, 8};
    struct meeting *meeting = new_meeting(0);
    dist_pool *pool = open_pool(8);
    for (size_t k = 0; k < N(sizes); k++) {
        assert_int_equal(dist_pool_resize(pool, sizes[k]), DIST_OK);
        check_width(pool, sizes[k], meeting);
    }
    assert_int_equal(dist_pool_resize(pool, 0), DIST_INVALID);
    assert_named("workers");
    assert_int_equal(dist_pool_workers(pool), 8);
    dist_pool_free(&pool);
}

CASE_ON("D-19", threads_beyond_those_it_was_opened_with_come_too, ON_THREAD, 20) {
    struct meeting *meeting = new_meeting(0);
    dist_pool *pool = open_pool(1);
    for (unsigned workers = 2; workers < 40; workers *= 3) {
        assert_int_equal(dist_pool_resize(pool, workers), DIST_OK);
        check_width(pool, workers, meeting);
    }
    dist_pool_free(&pool);
}

CASE_ON("D-19", an_inline_pool_has_one_worker, ON_INLINE, 20) {
    dist_pool *pool = open_pool(1);
    assert_int_equal(dist_pool_resize(pool, 1), DIST_OK);
    assert_int_equal(dist_pool_resize(pool, 2), DIST_INVALID);
    assert_named("workers");
    assert_int_equal(dist_pool_resize(pool, 0), DIST_INVALID);
    check_pool(pool);
    dist_pool_free(&pool);
}

static void *resize_often(void *arg) {
    struct caller *caller = arg;
    uint32_t random = 7;
    while (!counted(&caller->place->gate)) {
        caller->wrong += dist_pool_resize(caller->pool, 1 + random_below(&random, 6)) != DIST_OK;
        random_spin(&random, 300);
    }
    return NULL;
}

WORKER_CASE("D-19", calls_go_on_while_the_pool_is_resized) {
    struct place *place = new_place();
    struct meeting *meeting = new_meeting(0);
    dist_pool *pool = open_pool(6);
    struct caller caller = {.pool = pool, .place = place};
    pthread_t thread = begin_thread(resize_often, &caller);
    unsigned done = 0;
    for (unsigned wanted = rounds(400, 40); again(done, wanted); done++) {
        check_pool(pool);
        dist_job *job = dist_map_async(visit, numbers(), 5, DIST_NONE, .pool = pool, .ctx = place);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
    count(&place->gate);
    pthread_join(thread, NULL);
    assert_int_equal(caller.wrong, 0);
    assert_int_equal(counted(&place->ended), 5 * done);
    assert_in_range(counted(&place->most), 1, 6);
    assert_int_equal(dist_pool_resize(pool, 4), DIST_OK);
    assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
    check_width(pool, 4, meeting);
    dist_pool_free(&pool);
}

/* Workers above the new number leave when their task is done, and no call is lost. */
WORKER_CASE("D-19", a_call_ends_although_its_workers_leave) {
    unsigned threads = threads_before();
    struct place *place = new_place();
    struct meeting *meeting = new_meeting(0);
    dist_pool *pool = open_pool(4);
    dist_job *job =
        dist_map_async(stay, numbers(), 9, DIST_NONE, .pool = pool, .ctx = place, .chunk = 1);
    assert_true(reaches(&place->begun, 4));
    assert_int_equal(dist_pool_resize(pool, 1), DIST_OK);
    atomic_store(&place->most, 0);
    count(&place->gate);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(counted(&place->ended), 9);
    check_width(pool, 1, meeting);
    threads += 2; /* the last worker, and the thread that has looked after the job */
    if (X == DIST_THREAD) assert_in_range(threads_down_to(threads), 1, threads);
    dist_pool_free(&pool);
}

/* The worker that is woken for the job may be one that has to leave, while others sleep. */
WORKER_CASE("D-19", a_job_is_run_although_the_pool_shrinks_at_once) {
    struct meeting *meeting = new_meeting(0);
    dist_pool *pool = open_pool(4);
    for (unsigned k = 0, wanted = rounds(200, 20); again(k, wanted); k++) {
        assert_int_equal(dist_pool_resize(pool, 4), DIST_OK);
        *meeting = (struct meeting){.size = 4};
        assert_int_equal(dist_map(meet, numbers(), 4, DIST_NONE, .pool = pool, .ctx = meeting),
                         DIST_OK);
        int out = 0;
        dist_job *job = dist_apply_async(ten_times, &numbers()[3], &out, .pool = pool);
        assert_int_equal(dist_pool_resize(pool, 1), DIST_OK);
        assert_int_equal(dist_job_wait(job, 5), DIST_OK);
        assert_int_equal(out, 10 * numbers()[3]);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
    dist_pool_free(&pool);
}
