/* contract_lanes.c - small jobs and threads: of the program, which come and go, and of the pool,
 * which begin them. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>

/* ------------------------------------------------------------------ from threads */

struct submitter {
    pthread_t thread;
    unsigned n;
    int wrong;
    dist_job **jobs;
    int *out;
};

static void *submit_and_leave(void *arg) {
    struct submitter *submitter = arg;
    for (unsigned k = 0; k < submitter->n; k++)
        submitter->jobs[k] =
            dist_apply_async(square, &numbers()[k % 100], &submitter->out[k], .executor = X);
    return NULL;
}

static void *finish_all(void *arg) {
    struct submitter *submitter = arg;
    for (unsigned k = 0; k < submitter->n; k++) {
        submitter->wrong += dist_job_finish(&submitter->jobs[k]) != DIST_OK;
        submitter->wrong += submitter->out[k] != (int)(k % 100 * (k % 100));
    }
    return NULL;
}

/* Threads come and go, and others finish what they have begun. */
CASE_ON("P-47", small_jobs_outlive_the_threads_that_made_them, ON_ALL, 120) {
    enum { THREADS = 8 };
    struct submitter submitters[THREADS];
    unsigned n = so_many(20000);
    for (unsigned round = 0; again(round, rounds(5, 2)); round++) {
        for (unsigned t = 0; t < THREADS; t++) {
            submitters[t] = (struct submitter){
                .n = n, .jobs = malloc(n * sizeof(dist_job *)), .out = malloc(n * sizeof(int))};
            assert_int_equal(
                pthread_create(&submitters[t].thread, NULL, submit_and_leave, &submitters[t]), 0);
        }
        for (unsigned t = 0; t < THREADS; t++) pthread_join(submitters[t].thread, NULL);
        for (unsigned t = 0; t < THREADS; t++)
            assert_int_equal(
                pthread_create(&submitters[t].thread, NULL, finish_all, &submitters[t]), 0);
        for (unsigned t = 0; t < THREADS; t++) {
            pthread_join(submitters[t].thread, NULL);
            assert_int_equal(submitters[t].wrong, 0);
            free(submitters[t].jobs);
            free(submitters[t].out);
        }
    }
}

static int rest(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    nap(0.002);
    return 0;
}

/* Nobody waits for them: threads of the pool must come, also for those that find others at work. */
CASE_ON("P-41", small_jobs_begin_though_nobody_waits, ON_THREAD | ON_PROCESS, 60) {
    struct scene *scene = new_scene();
    for (unsigned round = 1; round <= 60; round++) {
        dist_job *jobs[20];
        unsigned n = 1 + round % 20, before = counted(&scene->begun);
        for (unsigned k = 0; k < n; k++) {
            if (round % 3 == 0) nap(0.0005);
            jobs[k] = dist_apply_async(rest, DIST_NONE, DIST_NONE, .executor = X,
                                       .ctx = (void *)&scene->begun);
        }
        assert_true(reaches(&scene->begun, before + n));
        for (unsigned k = 0; k < n; k++) assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
        if (round % 10 == 0) dist_shutdown();
        if (round % 15 == 0) nap(0.05);
    }
}

/* A thread that has always waited at once, and then does not. */
CASE_ON("P-41", the_job_of_a_thread_that_changes_its_habit_begins, ON_THREAD | ON_PROCESS, 60) {
    struct scene *scene = new_scene();
    unsigned sum = 0;
    for (unsigned round = 0; again(round, rounds(100, 20)); round++) {
        dist_job *job;
        for (unsigned k = 0; k < (X == DIST_THREAD ? 40 : 2); k++) {
            int out;
            job = dist_apply_async(square, &numbers()[k], &out, .executor = X);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
        }
        job = dist_apply_async(rest, DIST_NONE, DIST_NONE, .executor = X,
                               .ctx = (void *)&scene->begun);
        if (round % 3 == 0) assert_true(reaches(&scene->begun, ++sum));
        if (round % 3 == 1) assert_int_equal(dist_job_wait(job, 15), DIST_OK), sum++;
        if (round % 3 == 2) assert_int_equal(dist_job_wait_any(&job, 1, 15), 0), sum++;
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_int_equal(counted(&scene->begun), sum);
    }
}

enum { CROWD = 600, LONG = 3 };

/* Returns when all short jobs of the crowd have begun. */
static int outlast(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    (void)result, (void)item;
    if (!reaches(&scene->begun, CROWD - LONG)) count(&scene->told);
    return 0;
}

static int tick(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    (void)result, (void)item;
    count(&scene->begun);
    return 0;
}

static int tick_by_two(void *result, const void *item, void *ctx) {
    dist_job *job = dist_apply_async(tick, DIST_NONE, DIST_NONE, .executor = X, .ctx = ctx);
    (void)result, (void)item;
    return dist_job_finish(&job) != DIST_OK;
}

/* A thread may take several jobs at once; none of them waits for another that is long. */
CASE_ON("P-41", small_jobs_of_a_crowd_do_not_wait_for_long_ones, ON_THREAD, 120) {
    static dist_job *jobs[CROWD];
    for (unsigned round = 0; again(round, rounds(100, 20)); round++) {
        struct scene *scene = new_scene();
        for (unsigned k = 0; k < CROWD; k++) {
            dist_fn task = k % (CROWD / LONG) == 1 ? outlast : k % 3 ? tick : tick_by_two;
            jobs[k] = dist_apply_async(task, DIST_NONE, DIST_NONE, .executor = X, .ctx = scene);
        }
        assert_true(reaches(&scene->begun, CROWD - LONG));
        for (unsigned k = 0; k < CROWD; k++) assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
        assert_int_equal(counted(&scene->begun), CROWD - LONG);
        assert_int_equal(counted(&scene->told), 0);
    }
}

CASE_ON("G-20", threads_of_small_jobs_go_after_a_shutdown, ON_THREAD | ON_PROCESS, 60) {
    unsigned before = threads_before();
    for (unsigned round = 0; again(round, rounds(40, 10)); round++) {
        dist_job *jobs[50];
        int out[50];
        for (unsigned k = 0; k < 50; k++)
            jobs[k] = dist_apply_async(square, &numbers()[k], &out[k], .executor = X);
        if (round % 2) dist_shutdown();
        for (unsigned k = 0; k < 50; k++) {
            assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
            assert_int_equal(out[k], k * k);
        }
        dist_shutdown();
        assert_in_range(threads_down_to(before), 1, before);
    }
}

static void *shut_down_often(void *stop) {
    while (!counted(stop)) {
        dist_shutdown();
        nap(0.0002);
    }
    return NULL;
}

static int count_up(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    return 0;
}

/* Their threads may be told to leave at any moment. */
CASE_ON("G-20", shutdowns_go_on_while_there_are_small_jobs, ON_THREAD | ON_PROCESS, 60) {
    _Atomic(unsigned) stop = 0;
    struct scene *scene = new_scene();
    unsigned before = threads_before(), sum = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, shut_down_often, &stop), 0);
    for (unsigned round = 0; again(round, rounds(1000, 30)); round++) {
        dist_job *jobs[8];
        unsigned n = 1 + round % 8;
        for (unsigned k = 0; round % 5 == 4 && k < 20; k++) { /* as a thread that waits at once */
            dist_job *job = dist_apply_async(count_up, DIST_NONE, DIST_NONE, .executor = X,
                                             .ctx = (void *)&scene->told);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
        }
        for (unsigned k = 0; k < n; k++)
            jobs[k] = dist_apply_async(count_up, DIST_NONE, DIST_NONE, .executor = X,
                                       .ctx = (void *)&scene->begun);
        sum += n;
        if (round % 4 == 0) assert_true(reaches(&scene->begun, sum));
        for (unsigned k = 0; k < n; k++) {
            if (round % 4 == 1) assert_int_equal(dist_job_wait(jobs[k], 15), DIST_OK);
            assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
        }
    }
    count(&stop);
    pthread_join(thread, NULL);
    assert_int_equal(counted(&scene->begun), sum);
    dist_shutdown();
    assert_in_range(threads_down_to(before), 1, before);
}

static void leave_them(void *unused) {
    static int out[2000];
    (void)unused;
    for (int k = 0; k < 2000; k++)
        dist_apply_async(rest, DIST_NONE, DIST_NONE, .executor = X, .ctx = &out[k]);
    exit(7);
}

CASE_ON("G-20", a_program_may_end_with_small_jobs_left, ON_THREAD, 30) {
    if (SANITIZED) skip();
    for (int round = 0; round < 20; round++) {
        double start = now();
        int status = in_child(leave_them, NULL);
        ASSERT_SOON(start);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
}
