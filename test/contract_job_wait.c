/* contract_job_wait.c - waiting for the end of a job, from any thread, as often as one likes. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

enum { ITEMS = 20 };

CASE_ON("P-45", a_wait_with_a_limit_can_be_repeated, ON_THREAD | ON_PROCESS, 20) {
    for (size_t k = 0; k < N(async_kinds); k++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        dist_job *job = go(async_kinds[k], pass_gate, ITEMS, out,
                           DIST_OPTS(.executor = X, .workers = 2, .ctx = scene));
        for (int round = 0; round < 3; round++) {
            double start = now();
            assert_int_equal(dist_job_wait(job, 0.05), DIST_TIMEOUT);
            assert_true(now() - start >= 0.05);
            ASSERT_SOON(start);
            assert_int_equal(dist_last_error()->status, DIST_TIMEOUT);
            assert_true(strlen(dist_last_error()->message) > 0);
            assert_int_equal(dist_job_state(job), DIST_RUNNING);
        }
        count(&scene->gate);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        assert_int_equal(dist_job_wait(job, 0), DIST_OK);
        check_all_out(out, kind_count(async_kinds[k], ITEMS));
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

CASE("P-45", a_wait_of_zero_only_looks) {
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene);
    double start = now();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(dist_job_wait(job, 0), X == DIST_INLINE ? DIST_OK : DIST_TIMEOUT);
    ASSERT_SOON(start);
    count(&scene->gate);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

static void *open_soon(void *gate) {
    nap(0.1);
    count(gate);
    return NULL;
}

CASE("P-45", limits_beyond_all_times_are_none) {
    static const double limits[] = {1e12, 1e300, INFINITY, -0.5, -INFINITY, DIST_FOREVER};
    for (size_t k = 0; k < N(limits); k++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        pthread_t thread;
        dist_event event;
        assert_int_equal(pthread_create(&thread, NULL, open_soon, &scene->gate), 0);
        dist_job *job =
            dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene);
        if (k % 3 == 0) assert_int_equal(dist_job_next(job, &event, limits[k]), DIST_OK);
        if (k % 3 == 1) assert_int_equal(dist_job_wait_any(&job, 1, limits[k]), 0);
        assert_int_equal(dist_job_wait(job, limits[k]), DIST_OK);
        pthread_join(thread, NULL);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

static void ignore(int signal_number) { (void)signal_number; }

CASE("P-45", signals_do_not_end_a_wait) {
    struct sigaction action = {.sa_handler = ignore}; /* without SA_RESTART */
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    struct scene *scene = new_scene();
    int out[ITEMS];
    pthread_t thread;
    dist_event event;
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene);
    sigset_t alarm_only;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm_only, NULL); /* for the thread, so that this one has it */
    assert_int_equal(pthread_create(&thread, NULL, open_soon, &scene->gate), 0);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    setitimer(ITIMER_REAL, &often, NULL);
    double start = now();
    dist_status first = dist_job_wait(job, 0.03);
    double took = now() - start;
    dist_status second = dist_job_next(job, &event, DIST_FOREVER);
    size_t any = dist_job_wait_any(&job, 1, DIST_FOREVER);
    dist_status last = dist_job_finish(&job);
    setitimer(ITIMER_REAL, &never, NULL);
    pthread_join(thread, NULL);
    assert_int_equal(first, X == DIST_INLINE ? DIST_OK : DIST_TIMEOUT);
    if (X != DIST_INLINE) assert_true(took >= 0.03);
    assert_int_equal(second, DIST_OK);
    assert_int_equal(any, 0);
    assert_int_equal(last, DIST_OK);
}

/* ------------------------------------------------------------------ the same answer each time */

static int fail_third(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    *(int *)result = 10 * (int)dist_index();
    if (!passes(scene)) return 1;
    return dist_index() % 4 == 3 ? dist_fail(EIO, "item %d", *(const int *)item) : 0;
}

/* Another failure of this thread, so that what follows is news. */
static void fail_otherwise(void) { assert_int_equal(dist_for_fn(NULL, 0, NULL), DIST_INVALID); }

static void assert_third_failed(dist_status status, const dist_error *e) {
    assert_int_equal(status, DIST_FAILED);
    assert_int_equal(dist_last_error()->status, DIST_FAILED);
    assert_int_equal(dist_last_error()->code, EIO);
    assert_int_equal(dist_last_error()->index, 3);
    assert_ptr_equal(dist_last_error()->item, &numbers()[3]);
    assert_string_equal(dist_last_error()->message, "item 3");
    assert_memory_equal(e, dist_last_error(), sizeof *e);
}

CASE("P-46", every_wait_for_a_failed_job_says_the_same) {
    for (int par = 0; par < 2; par++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        dist_error e = {.status = DIST_OK};
        memset(out, -1, sizeof out);
        dist_job *job = go(par ? PAR : MAP, fail_third, ITEMS, out,
                           DIST_OPTS(.executor = X, .workers = 2, .ctx = scene, .error = &e));
        assert_non_null(job);
        count(&scene->gate);
        for (int round = 0; round < 5; round++) {
            fail_otherwise();
            assert_third_failed(dist_job_wait(job, round % 2 ? 60 : DIST_FOREVER), &e);
            assert_int_equal(dist_job_state(job), DIST_FAILED);
        }
        fail_otherwise();
        assert_third_failed(dist_job_wait(job, 0), &e);
        assert_int_equal(dist_job_wait_any(&job, 1, 0), 0);
        check_out(job, out);
        assert_int_equal(status_of(job, 3), DIST_FAILED);
        for (size_t i = 0; i < 3; i++) assert_int_equal(status_of(job, i), DIST_OK);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

struct other { /* a thread that waits, and what it was told */
    pthread_t thread;
    dist_job *job;
    dist_status status, before;
    dist_error error;
    dist_event event;
    bool finishes, nexts;
};

static void *wait_elsewhere(void *arg) {
    struct other *other = arg;
    other->before = dist_last_error()->status;
    if (other->nexts) other->status = dist_job_next(other->job, &other->event, DIST_FOREVER);
    else if (other->finishes) other->status = dist_job_finish(&other->job);
    else other->status = dist_job_wait(other->job, DIST_FOREVER);
    other->error = *dist_last_error();
    return NULL;
}

CASE("P-46", another_thread_hears_the_same_in_its_own_error) {
    for (int before = 0; before < 2; before++) {
        struct scene *scene = new_scene();
        struct other other = {.status = DIST_OK};
        int out[ITEMS];
        dist_error e;
        dist_job *job = dist_map_async(fail_third, numbers(), ITEMS, out, .executor = X,
                                       .workers = 2, .ctx = scene, .error = &e);
        other.job = job;
        if (before) count(&scene->gate);
        if (before) assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_FAILED);
        fail_otherwise();
        assert_int_equal(pthread_create(&other.thread, NULL, wait_elsewhere, &other), 0);
        if (!before) count(&scene->gate);
        pthread_join(other.thread, NULL);
        assert_int_equal(other.before, DIST_OK);
        assert_int_equal(other.status, DIST_FAILED);
        assert_memory_equal(&other.error, &e, sizeof e);
        assert_int_equal(dist_last_error()->status, DIST_INVALID); /* of this thread */
        assert_third_failed(dist_job_wait(job, DIST_FOREVER), &e);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

CASE("P-46", a_silent_job_ends_well_and_finish_tells_more) {
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_error e = {.status = DIST_STATUS_COUNT};
    count(&scene->gate);
    dist_job *job = dist_map_async(fail_third, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                   .ctx = scene, .silent = true, .error = &e);
    for (int round = 0; round < 3; round++)
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_state(job), DIST_OK);
    assert_int_equal(dist_job_failures(job), ITEMS / 4);
    assert_int_equal(e.status, DIST_STATUS_COUNT); /* written only if the call fails */
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

/* ------------------------------------------------------------------ finish */

CASE("P-47", finish_waits_for_the_end) {
    for (int elsewhere = 0; elsewhere < 2; elsewhere++)
        for (int fails = 0; fails < 2; fails++) {
            struct scene *scene = new_scene();
            struct other other = {.finishes = true, .status = DIST_STATUS_COUNT};
            int out[ITEMS];
            pthread_t opener;
            memset(out, -1, sizeof out);
            other.job = dist_map_async(fails ? fail_third : pass_gate, numbers(), ITEMS, out,
                                       .executor = X, .workers = 2, .ctx = scene);
            assert_int_equal(pthread_create(&opener, NULL, open_soon, &scene->gate), 0);
            if (elsewhere) {
                assert_int_equal(pthread_create(&other.thread, NULL, wait_elsewhere, &other), 0);
                pthread_join(other.thread, NULL);
            } else {
                other.status = dist_job_finish(&other.job);
            }
            assert_int_equal(other.status, fails ? DIST_FAILED : DIST_OK);
            assert_null(other.job);
            if (!fails) check_all_out(out, ITEMS);
            else assert_int_equal(out[0], 0);
            pthread_join(opener, NULL);
        }
}

CASE("P-47", finish_of_no_job_is_fine) {
    dist_job *job = NULL;
    (void)X;
    assert_int_equal(dist_job_finish(NULL), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_null(job);
}

static void *start_elsewhere(void *arg) {
    struct other *other = arg;
    static int out[ITEMS];
    other->job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                .ctx = (void *)(uintptr_t)other->error.item);
    return NULL;
}

CASE("P-47", a_job_outlives_the_thread_that_made_it) {
    for (unsigned round = 0; again(round, rounds(50, 20)); round++) {
        struct scene *scene = new_scene();
        struct other other = {.error = {.item = scene}};
        assert_int_equal(pthread_create(&other.thread, NULL, start_elsewhere, &other), 0);
        pthread_join(other.thread, NULL);
        assert_non_null(other.job);
        if (X != DIST_INLINE) assert_int_equal(dist_job_state(other.job), DIST_RUNNING);
        count(&scene->gate);
        if (round % 2) assert_int_equal(dist_job_wait(other.job, 60), DIST_OK);
        assert_int_equal(dist_job_finish(&other.job), DIST_OK);
        assert_int_equal(runs_of_all(scene), ITEMS);
    }
}

static void *start_deferred(void *arg) {
    struct other *other = arg;
    other->status = dist_job_start(other->job);
    return NULL;
}

/* INLINE too: the thread that starts it runs it. */
CASE("P-43", other_threads_see_that_a_job_runs) {
    struct scene *scene = shared_memory(sizeof *scene);
    struct other other = {.status = DIST_STATUS_COUNT};
    int out[ITEMS];
    other.job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .workers = 1,
                               .ctx = scene, .deferred = true);
    assert_int_equal(pthread_create(&other.thread, NULL, start_deferred, &other), 0);
    assert_true(reaches(&scene->begun, 1));
    assert_int_equal(dist_job_state(other.job), DIST_RUNNING);
    nap(0.02);
    assert_int_equal(dist_job_state(other.job), DIST_RUNNING);
    assert_int_equal(dist_job_cancel(other.job, false), DIST_RUNNING);
    count(&scene->gate);
    pthread_join(other.thread, NULL);
    assert_int_equal(other.status, DIST_OK);
    assert_int_equal(dist_job_wait(other.job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_state(other.job), DIST_OK);
    check_all_out(out, ITEMS);
    assert_int_equal(dist_job_finish(&other.job), DIST_OK);
}

/* ------------------------------------------------------------------ no wait at all */

CASE("P-43", the_job_of_a_blocking_call_has_ended) {
    for (int silent = 0; silent < 2; silent++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        dist_job *job;
        count(&scene->gate);
        dist_status status = dist_map(fail_third, numbers(), ITEMS, out, .executor = X,
                                      .workers = 2, .ctx = scene, .silent = silent, .job = &job);
        assert_int_equal(status, silent ? DIST_OK : DIST_FAILED);
        fail_otherwise();
        assert_int_equal(dist_job_state(job), status);
        assert_int_equal(dist_job_wait(job, 0), status);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), status);
        if (!silent) assert_string_equal(dist_last_error()->message, "item 3");
        assert_int_equal(dist_job_wait_any(&job, 1, DIST_FOREVER), 0);
        assert_int_equal(dist_job_start(job), DIST_STATE);
        assert_int_equal(dist_job_cancel(job, false), DIST_STATE);
        assert_int_equal(dist_job_cancel(job, true), DIST_STATE);
        assert_int_equal(dist_job_state(job), status);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

/* A thread that was cancelled, and looks whether it is only where it says so. */
static void *call_while_cancelled(void *arg) {
    struct other *other = arg;
    struct scene *scene = shared_memory(sizeof *scene);
    dist_event event;
    pthread_cancel(pthread_self());
    int out[ITEMS];
    other->job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene,
                                .timeout = 60, .deferred = true);
    if (X == DIST_INLINE) count(&scene->gate);
    dist_job_start(other->job);
    dist_job_wait(other->job, 0.01);
    dist_job_next(other->job, &event, 0.01);
    dist_job_wait_any(&other->job, 1, 0.01);
    dist_job_cancel(other->job, true);
    other->status = dist_job_finish(&other->job);
    other->finishes = true;
    pthread_testcancel();
    return NULL;
}

CASE("P-45", a_thread_is_not_cancelled_inside) {
    struct other other = {.job = NULL};
    void *ended;
    assert_int_equal(pthread_create(&other.thread, NULL, call_while_cancelled, &other), 0);
    assert_int_equal(pthread_join(other.thread, &ended), 0);
    assert_ptr_equal(ended, PTHREAD_CANCELED);
    assert_true(other.finishes);
    assert_null(other.job);
    assert_int_equal(other.status, X == DIST_INLINE ? DIST_OK : DIST_CANCELLED);
}
