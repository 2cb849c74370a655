/* contract_pool_life.c - pools and the rest of the program: forks, its end, its other calls, what
 * pools leave behind and what they cost. */
#define _GNU_SOURCE
#include "contract_pools.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------ another process */

struct heirloom {
    dist_pool *pool, *busy;
    dist_job *deferred, *queued;
    struct place *place;
};

static void use_in_child(void *arg) {
    struct heirloom *h = arg;
    int out[3];
    dist_event event;
    for (int k = 0; k < 2; k++) {
        dist_pool *pool = k ? h->busy : h->pool;
        assert_int_equal(dist_map(ten_times, numbers(), 3, out, .pool = pool), DIST_UNSUPPORTED);
        assert_named("pool");
        assert_int_equal(dist_for_fn(NULL, 0, DIST_OPTS(.pool = pool)), DIST_INVALID);
        assert_null(dist_map_async(ten_times, numbers(), 3, out, .pool = pool));
        assert_int_equal(dist_last_error()->status, DIST_UNSUPPORTED);
        assert_int_equal(dist_pool_close(pool), DIST_UNSUPPORTED);
        assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_UNSUPPORTED);
        assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_UNSUPPORTED);
        assert_int_equal(dist_pool_terminate(pool), DIST_UNSUPPORTED);
        assert_int_equal(dist_pool_resize(pool, 1), DIST_UNSUPPORTED);
        assert_int_equal(dist_each_worker(pool, (dist_index_fn)abort, NULL), DIST_UNSUPPORTED);
        assert_int_equal(dist_pool_workers(pool), 0);
        dist_pool_free(&pool);
        assert_null(pool);
    }
    assert_int_equal(dist_job_start(h->deferred), DIST_UNSUPPORTED);
    if (h->queued) {
        assert_int_equal(dist_job_wait(h->queued, DIST_FOREVER), DIST_UNSUPPORTED);
        assert_int_equal(dist_job_next(h->queued, &event, DIST_FOREVER), DIST_UNSUPPORTED);
        assert_int_equal(dist_job_cancel(h->queued, true), DIST_UNSUPPORTED);
    }
    dist_pool *own = open_pool(2);
    check_pool(own); /* pools of its own work */
    dist_pool_free(&own);
}

/* Sanitizers do not survive a fork in the middle of threads: what they lock stays locked. */
static bool may_fork(void) { return !SANITIZED || X == DIST_INLINE; }

POOL_CASE("M-24", a_pool_is_of_no_use_in_a_child) {
    if (!may_fork()) skip();
    struct heirloom h = {.place = new_place()};
    h.pool = open_pool(2);
    h.busy = open_pool(1);
    check_pool(h.pool);
    h.deferred =
        dist_map_async(ten_times, numbers(), 0, (int *)NULL, .pool = h.pool, .deferred = true);
    if (X != DIST_INLINE) {
        dist_job *job =
            dist_apply_async(stay, DIST_NONE, DIST_NONE, .pool = h.busy, .ctx = h.place);
        assert_int_equal(dist_job_detach(&job), DIST_OK);
        assert_true(reaches(&h.place->begun, 1));
        h.queued = dist_map_async(visit, numbers(), 3, DIST_NONE, .pool = h.busy, .ctx = h.place);
    }
    assert_int_equal(in_child(use_in_child, &h), 0);
    count(&h.place->gate);
    assert_int_equal(dist_job_finish(&h.queued), DIST_OK);
    assert_int_equal(dist_job_finish(&h.deferred), DIST_OK);
    check_pool(h.pool); /* and still of use here */
    check_pool(h.busy);
    dist_pool_free(&h.pool);
    dist_pool_free(&h.busy);
}

static void *call_until_told(void *arg) {
    struct heirloom *h = arg;
    while (!counted(&h->place->gate)) check_pool(h->pool);
    return NULL;
}

static void fail_to_call(void *arg) {
    struct heirloom *h = arg;
    int out[3];
    assert_int_equal(dist_map(ten_times, numbers(), 3, out, .pool = h->pool), DIST_UNSUPPORTED);
    assert_int_equal(dist_map(ten_times, numbers(), 3, out, .executor = DIST_INLINE), DIST_OK);
    _exit(0);
}

WORKER_CASE("G-03", forks_at_any_moment_find_no_lock_held) {
    if (!may_fork()) skip();
    struct heirloom h = {.place = new_place()};
    h.pool = open_pool(4);
    pthread_t thread[2];
    for (int k = 0; k < 2; k++) thread[k] = begin_thread(call_until_told, &h);
    for (unsigned k = 0, wanted = rounds(300, 100); again(k, wanted); k++)
        assert_int_equal(in_child(fail_to_call, &h), 0);
    count(&h.place->gate);
    for (int k = 0; k < 2; k++) pthread_join(thread[k], NULL);
    dist_pool_free(&h.pool);
}

/* ------------------------------------------------------------------ the end of the program */

static void exit_with_busy_pool(void *arg) {
    struct place *place = arg;
    dist_pool *pool = open_pool(2);
    for (int k = 0; k < 5; k++) {
        dist_job *job = dist_map_async(stay, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place);
        dist_job_detach(&job);
    }
    assert_true(reaches(&place->begun, 2));
    exit(7);
}

static void exit_with_idle_pool(void *arg) {
    (void)arg;
    static dist_pool *pool;
    pool = open_pool(2);
    check_pool(pool);
    exit(7);
}

POOL_CASE("M-23", a_program_may_end_with_an_open_pool) {
    for (int busy = 0; busy < (X == DIST_INLINE ? 1 : 2); busy++)
        for (int k = 0; k < 10; k++) {
            double start = now();
            int status = in_child(busy ? exit_with_busy_pool : exit_with_idle_pool, new_place());
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
            assert_true(now() - start < (SANITIZED ? 10 : 2));
        }
}

/* ------------------------------------------------------------------ beside other calls */

POOL_CASE("P-60", shutdown_leaves_open_pools_alone) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    check_pool(pool);
    dist_shutdown();
    check_pool(pool);
    dist_job *job = dist_map_async(visit, numbers(), 30, DIST_NONE, .pool = pool, .ctx = place);
    for (int k = 0; k < 10; k++) dist_shutdown();
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    dist_shutdown();
    dist_pool_free(&pool);
    dist_shutdown();
}

POOL_CASE("P-60", many_pools_live_side_by_side) {
    enum { POOLS = 20 };
    dist_pool *pool[POOLS];
    for (unsigned k = 0; k < POOLS; k++) pool[k] = open_pool(1 + k % 4);
    for (int k = 0; k < POOLS; k++) check_pool(pool[k]);
    for (int k = POOLS; k-- > 0;) dist_pool_free(&pool[k]);
}

/* ------------------------------------------------------------------ what is left behind */

static void use_once(unsigned k) {
    static struct place *place;
    if (!place) place = new_place();
    dist_pool *pool = open_pool(1 + k % 3);
    int out[20];
    assert_int_equal(dist_map(ten_times, numbers(), 20, out, .pool = pool), DIST_OK);
    check_tens(out, 20);
    if (k % 3 == 0) {
        dist_job *job = dist_map_async(visit, numbers(), 2, out, .pool = pool, .ctx = place);
        if (k % 2) assert_int_equal(dist_job_detach(&job), DIST_OK);
        if (k % 4 == 0) dist_pool_terminate(pool);
        if (job) dist_job_finish(&job);
    }
    dist_pool_free(&pool);
}

POOL_CASE("G-20", a_thousand_pools_leave_nothing_behind) {
    unsigned threads = threads_before();
    for (unsigned k = 0; k < 12; k++) use_once(k); /* the shared pool for jobs, caches */
    dist_shutdown();
    size_t before = resident_bytes();
    unsigned files = entries("fd");
    for (unsigned k = 0, wanted = rounds(1000, 300); again(k, wanted); k++) use_once(k);
    dist_shutdown();
    assert_in_range(threads_down_to(threads), 1, threads);
    assert_int_equal(entries("fd"), files);
    if (!SANITIZED) assert_true(resident_bytes() < before + (1 << 20));
}

/* Works of the call are in the list when it ends: workers find them while the pool is freed. */
POOL_CASE("G-20", a_pool_may_be_freed_right_after_a_call) {
    for (unsigned k = 0, wanted = rounds(30, 20); again(k, wanted); k++) {
        dist_pool *pool = open_pool(300);
        int out[40];
        assert_int_equal(dist_map(ten_times, numbers(), 40, out, .pool = pool), DIST_OK);
        dist_pool_free(&pool);
        check_tens(out, 40);
    }
}

/* ------------------------------------------------------------------ idle */

static double cpu_seconds(void) {
    struct rusage used;
    assert_int_equal(getrusage(RUSAGE_SELF, &used), 0);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

POOL_CASE("G-18", an_idle_pool_uses_no_cpu) {
    dist_pool *pool = open_pool(8);
    check_pool(pool);
    nap(0.01);
    double before = cpu_seconds();
    nap(1);
    assert_true(cpu_seconds() - before < (SANITIZED ? 0.1 : 0.001));
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ tasks that are left alone */

/* Does not listen. */
static int sleep_deep(void *result, const void *item, void *ctx) {
    struct place *place = ctx;
    (void)item;
    count(&place->begun);
    while (!counted(&place->gate)) nap(0.001);
    if (result) *(int *)result = 5;
    count(&place->ended);
    return 0;
}

static dist_status call_and_leave(dist_pool *pool, struct place *place, int *out) {
    return dist_map(sleep_deep, numbers(), 2, out, .pool = pool, .ctx = place, .timeout = 0.05,
                    .abandon = true);
}

CASE_ON("G-06", a_call_in_a_pool_may_leave_its_tasks, ON_THREAD, 20) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(3);
    int out[2] = {-1, -1};
    double start = now();
    assert_int_equal(call_and_leave(pool, place, out), DIST_TIMEOUT);
    assert_true(now() - start < (SANITIZED ? 10 : 1));
    check_pool(pool); /* the third worker */
    assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
    assert_int_equal(counted(&place->ended), 0);
    count(&place->gate);
    assert_true(reaches(&place->ended, 2));
    assert_int_equal(out[0], -1);
    struct place *together = new_place(); /* all three are back */
    dist_job *job = dist_map_async(stay, numbers(), 3, DIST_NONE, .pool = pool, .ctx = together);
    assert_true(reaches(&together->begun, 3));
    count(&together->gate);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    dist_pool_free(&pool);
}

CASE_ON("G-06", join_waits_for_tasks_that_were_left, ON_THREAD, 20) {
    for (int terminate = 0; terminate < 2; terminate++) {
        struct place *place = new_place();
        dist_pool *pool = open_pool(2);
        int out[2] = {-1, -1};
        assert_int_equal(call_and_leave(pool, place, out), DIST_TIMEOUT);
        assert_int_equal(terminate ? dist_pool_terminate(pool) : dist_pool_close(pool), DIST_OK);
        double start = now();
        assert_int_equal(dist_pool_join(pool, 0), DIST_TIMEOUT);
        assert_int_equal(dist_pool_join(pool, 0.05), DIST_TIMEOUT);
        assert_true(now() - start < (SANITIZED ? 10 : 1));
        count(&place->gate);
        if (terminate) assert_int_equal(dist_pool_join(pool, 60), DIST_OK);
        dist_pool_free(&pool);
        assert_int_equal(counted(&place->ended), 2);
    }
}

static int call_and_leave_inside(void *result, const void *item, void *ctx) {
    void **both = ctx;
    struct place *place = both[1];
    int out[2] = {-1, -1};
    (void)item;
    if (counted(&place->gate)) return 1;
    *(int *)result = (int)dist_map(visit, numbers(), 2, out, .pool = both[0], .ctx = place,
                                   .token = both[2], .abandon = true);
    return out[0] != 0 || out[1] != 10;
}

/* It runs them itself, so it cannot leave them; there may be nobody else. */
CASE_ON("G-06", a_task_that_calls_in_its_own_pool_stays, ON_THREAD, 20) {
    for (unsigned workers = 1; workers < 3; workers++) {
        dist_pool *pool = open_pool(workers);
        dist_token *token = dist_token_new();
        void *all[3] = {pool, new_place(), token};
        int out[2];
        assert_int_equal(
            dist_map(call_and_leave_inside, numbers(), 2, out, .pool = pool, .ctx = all), DIST_OK);
        assert_int_equal(out[0], DIST_OK);
        assert_int_equal(out[1], DIST_OK);
        dist_token_free(token);
        dist_pool_free(&pool);
    }
}
