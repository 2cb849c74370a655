/* contract_job_any.c - waiting for whichever job ends first. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <pthread.h>

enum { JOBS = 5 };

/* Jobs with a gate each. */
struct set {
    struct scene *scene[JOBS];
    dist_job *job[JOBS];
    int out[JOBS];
};

static void start_all(struct set *set) {
    for (int k = 0; k < JOBS; k++) {
        set->scene[k] = new_scene();
        set->job[k] = dist_apply_async(pass_gate, &numbers()[k], &set->out[k], .executor = X,
                                       .ctx = set->scene[k]);
        assert_non_null(set->job[k]);
    }
}

static void finish_all(struct set *set) {
    for (int k = 0; k < JOBS; k++) count(&set->scene[k]->gate);
    for (int k = 0; k < JOBS; k++) assert_int_equal(dist_job_finish(&set->job[k]), DIST_OK);
}

static void *open_soon(void *gate) {
    nap(0.05);
    count(gate);
    return NULL;
}

CASE_ON("F-09", wait_any_tells_which_job_has_ended_first, ON_THREAD | ON_PROCESS, 20) {
    for (int first = 0; first < JOBS; first++) {
        struct set set;
        pthread_t thread;
        start_all(&set);
        assert_int_equal(dist_job_wait_any(set.job, JOBS, 0), JOBS);
        double start = now();
        assert_int_equal(dist_job_wait_any(set.job, JOBS, 0.05), JOBS);
        assert_true(now() - start >= 0.05);
        ASSERT_SOON(start);
        assert_int_equal(pthread_create(&thread, NULL, open_soon, &set.scene[first]->gate), 0);
        assert_int_equal(dist_job_wait_any(set.job, JOBS, first % 2 ? 60 : DIST_FOREVER), first);
        assert_int_equal(dist_job_state(set.job[first]), DIST_OK);
        pthread_join(thread, NULL);
        assert_int_equal(dist_job_wait_any(set.job, JOBS, DIST_FOREVER), first); /* still */
        assert_int_equal(dist_job_finish(&set.job[first]), DIST_OK);
        assert_null(set.job[first]); /* from now on passed over */
        assert_int_equal(dist_job_wait_any(set.job, JOBS, 0.01), JOBS);
        finish_all(&set);
    }
}

CASE("F-09", nothing_to_wait_for_is_no_wait) {
    dist_job *none[3] = {NULL};
    int out;
    double start = now();
    assert_int_equal(dist_job_wait_any(none, 3, DIST_FOREVER), 3);
    assert_int_equal(dist_job_wait_any(none, 3, 10), 3);
    assert_int_equal(dist_job_wait_any(none, 0, DIST_FOREVER), 0);
    assert_int_equal(dist_job_wait_any(NULL, 0, DIST_FOREVER), 0);
    none[1] = dist_apply_async(pass_gate, DIST_NONE, &out, .executor = X, .deferred = true);
    assert_int_equal(dist_job_wait_any(none, 3, DIST_FOREVER), 3); /* it does not run */
    assert_int_equal(dist_job_wait_any(none, 3, 10), 3);
    ASSERT_SOON(start);
    assert_int_equal(dist_job_finish(&none[1]), DIST_OK);
}

CASE("F-09", ended_jobs_are_told_at_once) {
    static const double limits[] = {0, 0.01, 60, DIST_FOREVER};
    struct set set;
    start_all(&set);
    count(&set.scene[3]->gate);
    assert_int_equal(dist_job_wait(set.job[3], DIST_FOREVER), DIST_OK);
    for (size_t k = 0; k < N(limits); k++)
        assert_int_equal(dist_job_wait_any(set.job, JOBS, limits[k]), X == DIST_INLINE ? 0 : 3);
    assert_int_equal(dist_job_wait_any(&set.job[3], 1, 0), 0);
    finish_all(&set);
}

CASE("F-09", jobs_that_wait_for_their_start_are_passed_over) {
    struct set set;
    start_all(&set);
    dist_job *jobs[3] = {dist_apply_async(pass_gate, DIST_NONE, DIST_NONE, .executor = X,
                                          .ctx = set.scene[0], .deferred = true),
                         NULL, set.job[2]};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_soon, &set.scene[2]->gate), 0);
    assert_int_equal(dist_job_wait_any(jobs, 3, DIST_FOREVER), 2);
    pthread_join(thread, NULL);
    assert_int_equal(dist_job_state(jobs[0]), DIST_PENDING);
    assert_int_equal(dist_job_finish(&jobs[0]), DIST_OK);
    finish_all(&set);
}

static int fail_at_gate(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    passes(ctx);
    return dist_fail(7, "seven");
}

CASE_ON("F-09", failed_and_cancelled_jobs_have_ended_too, ON_THREAD | ON_PROCESS, 20) {
    for (int how = 0; how < 3; how++) {
        struct set set;
        start_all(&set);
        assert_true(reaches(&set.scene[1]->begun, 1));
        assert_int_equal(dist_job_cancel(set.job[1], true), DIST_OK);
        assert_int_equal(dist_job_wait_any(set.job, JOBS, DIST_FOREVER), 1);
        assert_int_equal(dist_job_finish(&set.job[1]), DIST_CANCELLED);
        set.job[1] = how == 0 ? dist_apply_async(fail_at_gate, DIST_NONE, DIST_NONE, .executor = X,
                                                 .ctx = set.scene[1])
                     : how == 1 ? dist_apply_async(pass_gate, DIST_NONE, DIST_NONE, .executor = X,
                                                   .ctx = set.scene[1], .timeout = 0.05)
                                : dist_apply_async(pass_gate, DIST_NONE, DIST_NONE, .executor = X,
                                                   .ctx = set.scene[1], .task_timeout = 0.05);
        if (how == 0) count(&set.scene[1]->gate);
        assert_int_equal(dist_job_wait_any(set.job, JOBS, DIST_FOREVER), 1);
        assert_int_equal(dist_job_finish(&set.job[1]), how == 0 ? DIST_FAILED : DIST_TIMEOUT);
        finish_all(&set);
    }
}

static int quick(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 10 * *(const int *)item;
    return 0;
}

CASE_ON("F-09", many_jobs_are_taken_as_they_end, ON_ALL, 60) {
    enum { MANY = 300 };
    static dist_job *jobs[MANY];
    static int out[MANY];
    unsigned n = rounds(MANY, 60);
    memset(out, -1, sizeof out);
    for (unsigned k = 0; k < n; k++)
        jobs[k] = dist_apply_async(quick, &numbers()[k], &out[k], .executor = X);
    for (unsigned left = n; left > 0; left--) {
        size_t k = dist_job_wait_any(jobs, n, left % 3 ? DIST_FOREVER : 60);
        assert_true(k < n && jobs[k]);
        assert_int_equal(out[k], 10 * (int)k);
        assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
    }
    assert_int_equal(dist_job_wait_any(jobs, n, DIST_FOREVER), n);
}

static int wait_at_gate(void *result, const void *item, void *ctx) {
    struct scene *scene = *(struct scene *const *)item;
    (void)result, (void)ctx;
    count(&scene->begun);
    passes(scene);
    return 0;
}

/* More jobs than are under way at once: one that has not begun is slow, another one ends first. */
CASE_ON("F-09", wait_any_is_not_held_up_by_jobs_that_have_not_begun, ON_THREAD | ON_PROCESS, 60) {
    NOT_IN_POOLS("as many jobs begin as the pool has workers");
    enum { MOST = 33 };
    dist_job *jobs[MOST];
    struct scene *scenes[MOST];
    unsigned most = most_jobs(), first = most / 2;
    pthread_t thread;
    for (unsigned k = 0; k <= most; k++) {
        scenes[k] = new_scene();
        jobs[k] = dist_apply_async(wait_at_gate, &scenes[k], DIST_NONE, .executor = X);
        if (k < most) assert_true(reaches(&scenes[k]->begun, 1));
    }
    assert_int_equal(counted(&scenes[most]->begun), 0);
    assert_int_equal(pthread_create(&thread, NULL, open_soon, &scenes[first]->gate), 0);
    double start = now();
    size_t told = dist_job_wait_any(jobs, most + 1, 15);
    assert_int_equal(told, first);
    ASSERT_SOON(start);
    pthread_join(thread, NULL);
    for (unsigned k = 0; k <= most; k++) count(&scenes[k]->gate);
    for (unsigned k = 0; k <= most; k++) assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
}

/* Unless somebody else does before. */
static void *open_late(void *gate) {
    for (double end = now() + (SANITIZED ? 30 : 8); now() < end && !counted(gate);) nap(0.01);
    count(gate);
    return NULL;
}

CASE_ON("F-09", nor_is_it_without_a_limit, ON_THREAD | ON_PROCESS, 60) {
    NOT_IN_POOLS("as many jobs begin as the pool has workers");
    enum { MOST = 33 };
    dist_job *jobs[MOST];
    struct scene *scenes[MOST];
    unsigned most = most_jobs(), first = most / 2;
    pthread_t thread, later;
    for (unsigned k = 0; k <= most; k++) {
        scenes[k] = new_scene();
        jobs[k] = dist_apply_async(wait_at_gate, &scenes[k], DIST_NONE, .executor = X);
        if (k < most) assert_true(reaches(&scenes[k]->begun, 1));
    }
    assert_int_equal(pthread_create(&thread, NULL, open_soon, &scenes[first]->gate), 0);
    assert_int_equal(pthread_create(&later, NULL, open_late, &scenes[most]->gate), 0);
    double start = now();
    assert_int_equal(dist_job_wait_any(jobs, most + 1, DIST_FOREVER), first);
    ASSERT_SOON(start);
    for (unsigned k = 0; k <= most; k++) count(&scenes[k]->gate);
    for (unsigned k = 0; k <= most; k++) assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
    pthread_join(thread, NULL);
    pthread_join(later, NULL);
}

struct taker {
    pthread_t thread;
    dist_job **jobs;
    size_t n, told;
};

static void *wait_for_any(void *arg) {
    struct taker *taker = arg;
    taker->told = dist_job_wait_any(taker->jobs, taker->n, DIST_FOREVER);
    return NULL;
}

/* Each thread has jobs of its own; the end of one wakes them all, and only one is meant. */
CASE_ON("F-09", threads_wait_for_their_own_jobs, ON_THREAD | ON_PROCESS, 30) {
    struct set set;
    struct taker takers[JOBS];
    start_all(&set);
    for (int k = 0; k < JOBS; k++) {
        takers[k] = (struct taker){.jobs = &set.job[k], .n = 1, .told = 99};
        assert_int_equal(pthread_create(&takers[k].thread, NULL, wait_for_any, &takers[k]), 0);
    }
    for (int k = JOBS; k-- > 0;) {
        nap(0.01);
        for (int other = 0; other < JOBS; other++)
            assert_int_equal(dist_job_state(set.job[other]) == DIST_OK, other > k);
        count(&set.scene[k]->gate);
        pthread_join(takers[k].thread, NULL);
        assert_int_equal(takers[k].told, 0);
    }
    finish_all(&set);
}
