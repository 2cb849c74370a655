/* contract_pool.c - pools: their doors, and their end. */
#define _GNU_SOURCE
#include "contract_pools.h"

#include <errno.h>

POOL_CASE("D-14", a_pool_serves_any_number_of_calls_of_any_kind) {
    dist_pool *pool = open_pool(3);
    for (int round = 0; round < 20; round++) {
        int out[PRIME], one = 7, result = 0;
        memset(out, 0, sizeof out);
        check_pool(pool);
        assert_int_equal(dist_apply(ten_times, &one, &result, .pool = pool), DIST_OK);
        assert_int_equal(result, 70);
        dist_job *job = dist_map_async(ten_times, numbers(), PRIME, out, .pool = pool);
        assert_non_null(job);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        check_tens(out, PRIME);
    }
    dist_pool_free(&pool);
    assert_null(pool);
}

POOL_CASE("M-01", workers_are_as_many_as_asked_for) {
    for (unsigned workers = 1; workers < 5; workers++) {
        dist_pool *pool = open_pool(workers);
        assert_int_equal(dist_pool_workers(pool), pool_width(workers));
        dist_pool_free(&pool);
    }
    dist_pool *pool = open_pool(0);
    unsigned wide = dist_cpus() + 4 < 32 ? dist_cpus() + 4 : 32;
    unsigned wanted = X == DIST_INLINE ? 1 : X == DIST_THREAD ? wide : dist_cpus();
    assert_int_equal(dist_pool_workers(pool), wanted);
    dist_pool_free(&pool);
    assert_int_equal(dist_pool_workers(NULL), 0);
}

POOL_CASE("M-19", a_closed_pool_takes_nothing_more) {
    dist_pool *pool = open_pool(2);
    check_pool(pool);
    for (int twice = 0; twice < 2; twice++) assert_int_equal(dist_pool_close(pool), DIST_OK);
    int out[4] = {-1, -1, -1, -1};
    dist_error error;
    assert_int_equal(dist_map(ten_times, numbers(), 4, out, .pool = pool, .error = &error),
                     DIST_CLOSED);
    assert_int_equal(error.status, DIST_CLOSED);
    assert_named("pool");
    assert_null(dist_map_async(ten_times, numbers(), 4, out, .pool = pool));
    assert_int_equal(dist_last_error()->status, DIST_CLOSED);
    assert_int_equal(dist_each_worker(pool, (dist_index_fn)NULL, NULL), DIST_INVALID);
    for (int i = 0; i < 4; i++) assert_int_equal(out[i], -1);
    if (X != DIST_INLINE) assert_int_equal(dist_pool_resize(pool, 3), DIST_CLOSED);
    dist_pool_free(&pool);
}

POOL_CASE("M-19", a_deferred_job_of_a_closed_pool_cannot_start) {
    dist_pool *pool = open_pool(2);
    int out[4] = {-1, -1, -1, -1};
    dist_job *job = dist_map_async(ten_times, numbers(), 4, out, .pool = pool, .deferred = true);
    assert_non_null(job);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    assert_int_equal(dist_job_start(job), DIST_CLOSED);
    assert_int_equal(dist_job_state(job), DIST_PENDING);
    assert_int_equal(dist_job_start(job), DIST_CLOSED);
    dist_pool_free(&pool); /* it does not wait for what was never started */
    assert_null(pool);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(out[0], -1);
}

POOL_CASE("M-21", join_is_for_pools_that_are_closed) {
    dist_pool *pool = open_pool(2);
    assert_int_equal(dist_pool_join(pool, 0), DIST_STATE);
    assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_STATE);
    check_pool(pool);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_OK);
    int out[4];
    assert_int_equal(dist_map(ten_times, numbers(), 4, out, .pool = pool), DIST_CLOSED);
    dist_pool_free(&pool);
    assert_null(pool);
}

POOL_CASE("G-20", free_takes_nothing_and_null) {
    dist_pool *pool = NULL;
    dist_pool_free(NULL);
    dist_pool_free(&pool);
    pool = open_pool(2);
    dist_pool_free(&pool);
    dist_pool_free(&pool);
    assert_null(pool);
}

POOL_CASE("G-15", functions_of_pools_refuse_null) {
    assert_int_equal(dist_pool_close(NULL), DIST_INVALID);
    assert_named("pool");
    assert_int_equal(dist_pool_terminate(NULL), DIST_INVALID);
    assert_int_equal(dist_pool_join(NULL, 0), DIST_INVALID);
    assert_int_equal(dist_pool_wait(NULL, 0), DIST_INVALID);
    assert_int_equal(dist_pool_resize(NULL, 2), DIST_INVALID);
    assert_int_equal(dist_each_worker(NULL, (dist_index_fn)NULL, NULL), DIST_INVALID);
    assert_named("pool");
}

WORKER_CASE("M-21", waits_end_at_their_limit_and_may_be_repeated) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    dist_job *job = dist_apply_async(stay, DIST_NONE, DIST_NONE, .pool = pool, .ctx = place);
    assert_non_null(job);
    assert_int_equal(dist_pool_wait(pool, 0), DIST_TIMEOUT);
    assert_int_equal(dist_pool_wait(pool, 0.01), DIST_TIMEOUT);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    assert_int_equal(dist_pool_join(pool, 0), DIST_TIMEOUT);
    assert_int_equal(dist_pool_join(pool, 0.01), DIST_TIMEOUT);
    count(&place->gate);
    assert_int_equal(dist_pool_join(pool, 60), DIST_OK);
    assert_int_equal(dist_pool_wait(pool, 60), DIST_OK);
    assert_int_equal(dist_job_state(job), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    dist_pool_free(&pool);
}

POOL_CASE("M-21", wait_leaves_the_pool_open) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(3);
    assert_int_equal(dist_pool_wait(pool, 0), DIST_OK);
    for (unsigned k = 1; k < 20; k++) {
        dist_job *job = dist_map_async(visit, numbers(), 2, DIST_NONE, .pool = pool, .ctx = place);
        assert_int_equal(dist_job_detach(&job), DIST_OK);
        assert_null(job);
        if (k % 4) continue;
        assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
        assert_int_equal(counted(&place->ended), 2 * k);
    }
    dist_pool_free(&pool);
}

POOL_CASE("M-22", a_scope_ends_after_all_that_was_submitted) {
    struct place *place = new_place();
    {
        DIST_SCOPED_POOL *pool = open_pool(2);
        for (int k = 0; k < 20; k++) {
            dist_job *job =
                dist_map_async(visit, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place);
            assert_int_equal(dist_job_detach(&job), DIST_OK);
        }
    }
    assert_int_equal(counted(&place->ended), 60);
}

POOL_CASE("M-22", jobs_outlive_their_pool) {
    int out[20][3];
    dist_job *job[20];
    dist_pool *pool = open_pool(2);
    for (int k = 0; k < 20; k++)
        assert_non_null(job[k] = dist_map_async(ten_times, numbers(), 3, out[k], .pool = pool));
    dist_pool_free(&pool);
    for (int k = 0; k < 20; k++) {
        assert_int_equal(dist_job_state(job[k]), DIST_OK);
        assert_int_equal(dist_job_wait(job[k], 0), DIST_OK);
        dist_event event;
        assert_int_equal(dist_job_next(job[k], &event, 0), DIST_OK);
        assert_int_equal(dist_job_cancel(job[k], true), DIST_STATE);
        assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
        check_tens(out[k], 3);
    }
}

/* ------------------------------------------------------------------ terminate */

struct waiter {
    dist_job *job;
    dist_status status;
};

static void *wait_for_job(void *arg) {
    struct waiter *waiter = arg;
    waiter->status = dist_job_wait(waiter->job, 60);
    return NULL;
}

WORKER_CASE("M-20", terminate_wakes_those_who_wait) {
    enum { JOBS = 8 };
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    struct waiter waiter[JOBS];
    pthread_t thread[JOBS];
    for (int k = 0; k < JOBS; k++)
        waiter[k].job = dist_map_async(stay, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place);
    for (int k = 0; k < JOBS; k++) thread[k] = begin_thread(wait_for_job, &waiter[k]);
    assert_true(reaches(&place->begun, 2));
    double start = now();
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    for (int k = 0; k < JOBS; k++) {
        pthread_join(thread[k], NULL);
        assert_int_equal(waiter[k].status, DIST_CANCELLED);
        assert_int_equal(dist_job_state(waiter[k].job), DIST_CANCELLED);
        assert_int_equal(dist_job_cancel(waiter[k].job, false),
                         dist_job_cancel(waiter[k].job, true));
        assert_int_equal(dist_job_finish(&waiter[k].job), DIST_CANCELLED);
    }
    assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_OK);
    assert_true(now() - start < (SANITIZED ? 20 : 5));
    assert_in_range(counted(&place->begun), 2, 4);
    if (X != DIST_PROCESS) assert_int_equal(counted(&place->ended), counted(&place->begun));
    int out[2];
    assert_int_equal(dist_map(ten_times, numbers(), 2, out, .pool = pool), DIST_CLOSED);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    dist_pool_free(&pool);
}

static int sleep_deep(void *result, const void *item, void *ctx) {
    struct place *place = ctx;
    (void)result, (void)item;
    count(&place->begun);
    while (!counted(&place->gate)) nap(0.001); /* it does not listen */
    return 0;
}

WORKER_CASE("M-20", what_has_not_begun_ends_at_once) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(1);
    dist_job *deaf = dist_apply_async(sleep_deep, DIST_NONE, DIST_NONE, .pool = pool, .ctx = place);
    assert_true(reaches(&place->begun, 1));
    dist_job *one = dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = pool, .ctx = place);
    dist_job *many = dist_map_async(visit, numbers(), 5, DIST_NONE, .pool = pool, .ctx = place);
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    assert_int_equal(dist_job_state(one), DIST_CANCELLED);
    /* what goes by mail is not in the list: the job behind it counts as begun, though no item has
     */
    if (X == DIST_PROCESS) assert_int_equal(dist_job_wait(many, 10), DIST_CANCELLED);
    assert_int_equal(dist_job_state(many), DIST_CANCELLED);
    assert_int_equal(counted(&place->ended), 0);
    assert_int_equal(dist_job_finish(&one), DIST_CANCELLED);
    assert_int_equal(dist_job_finish(&many), DIST_CANCELLED);
    if (X == DIST_THREAD) assert_int_equal(dist_job_state(deaf), DIST_RUNNING);
    count(&place->gate);
    assert_int_equal(dist_job_finish(&deaf), DIST_CANCELLED);
    dist_pool_free(&pool);
}

static void *call_deaf(void *arg) {
    void **both = arg;
    dist_apply(sleep_deep, DIST_NONE, DIST_NONE, .pool = both[0], .ctx = both[1]);
    return NULL;
}

/* A call is no job: the one behind it counts as begun, but no worker has it. */
WORKER_CASE("M-20", what_no_worker_has_taken_ends_at_once) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(1);
    void *both[2] = {pool, place};
    pthread_t thread = begin_thread(call_deaf, both);
    assert_true(reaches(&place->begun, 1));
    dist_job *one = dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = pool, .ctx = place);
    dist_job *many = dist_map_async(visit, numbers(), 5, DIST_NONE, .pool = pool, .ctx = place);
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    assert_int_equal(dist_job_wait(one, 10), DIST_CANCELLED);
    assert_int_equal(dist_job_wait(many, 10), DIST_CANCELLED);
    assert_int_equal(dist_job_finish(&one), DIST_CANCELLED);
    assert_int_equal(dist_job_finish(&many), DIST_CANCELLED);
    assert_int_equal(counted(&place->ended), 0);
    count(&place->gate);
    pthread_join(thread, NULL);
    dist_pool_free(&pool);
}

static void *call_and_stay(void *arg) {
    void **both = arg;
    dist_job *job = NULL;
    dist_status status =
        dist_map(stay, numbers(), 5, DIST_NONE, .pool = both[0], .ctx = both[1], .job = &job);
    size_t skipped = 0, cancelled = 0;
    for (size_t i = 0; i < 5; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        skipped += e && e->status == DIST_SKIPPED;
        cancelled += e && e->status == DIST_CANCELLED;
    }
    dist_job_finish(&job);
    return (void *)(uintptr_t)(status == DIST_CANCELLED && skipped == 3 && cancelled == 2);
}

WORKER_CASE("M-20", terminate_ends_calls_as_a_token_does) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    void *both[2] = {pool, place}, *right = NULL;
    pthread_t thread = begin_thread(call_and_stay, both);
    assert_true(reaches(&place->begun, 2));
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    pthread_join(thread, &right);
    assert_non_null(right);
    dist_pool_free(&pool);
}

static int terminate_own(void *result, const void *item, void *ctx) {
    dist_pool **pool = ctx;
    *(int *)result = *(const int *)item;
    if (*(const int *)item != 3) return 0;
    if (dist_pool_terminate(*pool)) return 1;
    return dist_cancelled() ? 0 : 2;
}

/* INLINE cannot be terminated from elsewhere while it runs, but from its task. */
CASE_ON("M-20", a_task_may_terminate_its_pool, ON_INLINE | ON_THREAD, 20) {
    dist_pool *pool = open_pool(1);
    int out[9];
    memset(out, -1, sizeof out);
    dist_status status =
        dist_map(terminate_own, numbers(), 9, out, .pool = pool, .ctx = (void *)&pool, .chunk = 1);
    assert_int_equal(status, DIST_CANCELLED);
    assert_int_equal(dist_last_error()->index, 3);
    for (int i = 0; i < 9; i++) assert_int_equal(out[i], i < 3 ? i : -1);
    dist_pool_free(&pool);
    assert_null(pool);
}

POOL_CASE("M-20", terminate_of_an_idle_pool_is_its_end) {
    dist_pool *pool = open_pool(2);
    check_pool(pool);
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    assert_int_equal(dist_pool_wait(pool, 0), DIST_OK);
    assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_OK);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ statuses and errno */

POOL_CASE("D-22", a_pool_that_works_leaves_errno_alone) {
    errno = 4711;
    dist_pool *pool = open_pool(2);
    check_pool(pool);
    assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_OK);
    dist_pool_free(&pool);
    assert_int_equal(errno, 4711);
}
