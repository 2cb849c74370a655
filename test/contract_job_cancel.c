/* contract_job_cancel.c - jobs that are cancelled: before they begin, while they run, afterwards.
 */
#define _GNU_SOURCE
#include "contract_async.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { ITEMS = 20 };

/* It has ended as cancelled, all know it, and nothing has run. */
static void check_unrun(dist_job *job, struct scene *scene, const int *out, const dist_error *e) {
    dist_event event;
    size_t n = dist_job_count(job);
    assert_int_equal(dist_job_state(job), DIST_CANCELLED);
    assert_int_equal(dist_job_start(job), DIST_STATE);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
        assert_int_equal(dist_last_error()->status, DIST_CANCELLED);
        assert_true(strlen(dist_last_error()->message) > 0);
        assert_int_equal(dist_last_error()->index, 0);
        assert_memory_equal(e, dist_last_error(), sizeof *e);
        assert_int_equal(dist_job_wait_any(&job, 1, DIST_FOREVER), 0);
        assert_int_equal(dist_job_cancel(job, round), DIST_OK); /* it was this that did it */
    }
    assert_int_equal(dist_job_failures(job), 0);
    assert_int_equal(dist_job_succeeded(job, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(status_of(job, i), DIST_SKIPPED);
        assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
        assert_int_equal(event.index, i);
        assert_int_equal(event.error->status, DIST_SKIPPED);
        assert_true(strlen(event.error->message) > 0);
        assert_int_equal(out[i], -1);
    }
    assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_EMPTY);
    assert_int_equal(runs_of_all(scene), 0);
}

CASE("F-02", a_job_that_was_not_started_is_cancelled) {
    for (int running_too = 0; running_too < 2; running_too++)
        for (size_t k = 0; k < N(async_kinds); k++) {
            struct scene *scene = new_scene();
            int out[ITEMS];
            dist_error e = {.status = DIST_OK};
            memset(out, -1, sizeof out);
            dist_job *job = go(async_kinds[k], pass_gate, ITEMS, out,
                               DIST_OPTS(.executor = X, .ctx = scene, .deferred = true,
                                         .unordered = running_too, .error = &e));
            assert_int_equal(dist_job_cancel(job, running_too), DIST_OK);
            check_unrun(job, scene, out, &e);
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
            assert_null(job);
        }
}

CASE("F-02", a_silent_job_is_cancelled_loudly) {
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_error e;
    memset(out, -1, sizeof out);
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene,
                                   .deferred = true, .silent = true, .error = &e);
    assert_int_equal(dist_job_cancel(job, true), DIST_OK);
    check_unrun(job, scene, out, &e);
    assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
}

CASE_ON("F-02", a_job_that_has_not_begun_is_cancelled, ON_THREAD | ON_PROCESS, 30) {
    NOT_IN_POOLS("so many jobs begin as the pool has workers");
    for (int running_too = 0; running_too < 2; running_too++) {
        struct blockers blockers;
        struct scene *scene = new_scene();
        int out[ITEMS];
        dist_error e = {.status = DIST_OK};
        memset(out, -1, sizeof out);
        block(&blockers, 0);
        dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X,
                                       .ctx = scene, .error = &e);
        assert_int_equal(dist_job_state(job), DIST_RUNNING);
        assert_int_equal(dist_job_wait(job, 0.02), DIST_TIMEOUT);
        assert_int_equal(dist_job_cancel(job, running_too), DIST_OK);
        check_unrun(job, scene, out, &e);
        assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        for (unsigned k = 0; k < blockers.count; k++)
            assert_int_equal(dist_job_state(blockers.job[k]), DIST_RUNNING);
        unblock(&blockers);
    }
}

/* ------------------------------------------------------------------ while it runs */

CASE_ON("F-02", a_running_job_goes_on_unless_it_is_meant_too, ON_THREAD | ON_PROCESS, 20) {
    for (size_t k = 0; k < N(async_kinds); k++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        dist_job *job = go(async_kinds[k], pass_gate, ITEMS, out,
                           DIST_OPTS(.executor = X, .workers = 2, .ctx = scene));
        assert_true(reaches(&scene->begun, 1));
        for (int round = 0; round < 3; round++)
            assert_int_equal(dist_job_cancel(job, false), DIST_RUNNING);
        assert_int_equal(dist_job_wait(job, 0.02), DIST_TIMEOUT);
        count(&scene->gate);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        check_all_out(out, kind_count(async_kinds[k], ITEMS));
        assert_int_equal(counted(&scene->told), 0);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

CASE_ON("F-02", a_running_job_ends_soon, ON_THREAD | ON_PROCESS, 30) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (size_t k = 0; k < N(async_kinds); k++) {
            struct scene *scene = new_scene();
            int out[ITEMS];
            dist_error e = {.status = DIST_OK};
            unsigned running = async_kinds[k] == APPLY ? 1 : workers;
            memset(out, -1, sizeof out);
            dist_job *job = go(async_kinds[k], pass_gate, ITEMS, out,
                               DIST_OPTS(.executor = X, .workers = workers, .chunk = 1,
                                         .ctx = scene, .error = &e, .silent = workers == 3));
            assert_true(reaches(&scene->begun, running));
            double start = now();
            assert_int_equal(dist_job_cancel(job, true), DIST_OK);
            assert_int_equal(dist_job_cancel(job, true), DIST_OK);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
            ASSERT_SOON(start);
            assert_int_equal(dist_last_error()->index, 0);
            assert_true(strlen(dist_last_error()->message) > 0);
            assert_memory_equal(&e, dist_last_error(), sizeof e);
            assert_int_equal(dist_job_cancel(job, true), DIST_OK);
            assert_int_equal(dist_job_cancel(job, false), DIST_OK);
            assert_int_equal(dist_job_state(job), DIST_CANCELLED);
            for (size_t i = 0; i < dist_job_count(job); i++)
                assert_int_equal(status_of(job, i), i < running ? DIST_CANCELLED : DIST_SKIPPED);
            check_out(job, out);
            if (X == DIST_THREAD) assert_int_equal(counted(&scene->told), running);
            assert_int_equal(runs_of_all(scene), running);
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        }
}

static int sleep_through(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    for (double end = now() + 60; now() < end;) sleep(60);
    return 0;
}

CASE_ON("F-02", processes_that_do_not_listen_are_ended, ON_PROCESS, 20) {
    struct scene *scene = new_scene();
    dist_job *job = dist_map_async(sleep_through, numbers(), ITEMS, DIST_NONE, .executor = X,
                                   .workers = 3, .ctx = &scene->begun);
    assert_true(reaches(&scene->begun, 3));
    double start = now();
    assert_int_equal(dist_job_cancel(job, true), DIST_OK);
    assert_true(now() - start < 1); /* it does not wait for them */
    assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
    ASSERT_SOON(start);
}

static int pass_six(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    int i = *(const int *)item;
    *(int *)result = 10 * i;
    if (i < 6) return 0;
    count(&scene->begun);
    return passes(scene) ? 0 : 1;
}

CASE_ON("F-02", what_had_ended_before_stays, ON_THREAD | ON_PROCESS, 20) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        memset(out, -1, sizeof out);
        dist_job *job = dist_map_async(pass_six, numbers(), ITEMS, out, .executor = X,
                                       .workers = workers, .chunk = 1, .ctx = scene);
        assert_true(reaches(&scene->begun, workers));
        assert_int_equal(dist_job_cancel(job, true), DIST_OK);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
        assert_int_equal(dist_last_error()->index, 6);
        for (size_t i = 0; i < 6; i++) assert_int_equal(status_of(job, i), DIST_OK);
        check_out(job, out);
        assert_int_equal(dist_job_succeeded(job, NULL), 6);
        assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
    }
}

static int third_fails(void *result, const void *item, void *ctx) {
    if (*(const int *)item != 3) return pass_six(result, item, ctx);
    while (counted(&((struct scene *)ctx)->begun) == 0) nap(0.0005);
    return dist_fail(33, "three");
}

/* What a sequential loop would have met first has failed: that is the answer. */
CASE_ON("F-02", a_failure_below_is_the_answer, ON_THREAD | ON_PROCESS, 20) {
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_event event;
    memset(out, -1, sizeof out);
    dist_job *job = dist_map_async(third_fails, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                   .chunk = 1, .ctx = scene, .max_failures = 2);
    for (int k = 0; k < 6; k++) assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_cancel(job, true), DIST_OK);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 3);
    assert_int_equal(dist_last_error()->code, 33);
    assert_int_equal(status_of(job, 6), DIST_CANCELLED);
    assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ afterwards */

static int fail_at_once(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    return dist_fail(5, "five");
}

CASE("F-02", a_job_that_has_ended_cannot_be_cancelled) {
    for (int fails = 0; fails < 2; fails++) {
        struct scene *scene = new_scene();
        int out[ITEMS];
        count(&scene->gate);
        memset(out, -1, sizeof out);
        dist_job *job = dist_map_async(fails ? fail_at_once : pass_gate, numbers(), ITEMS, out,
                                       .executor = X, .ctx = scene);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), fails ? DIST_FAILED : DIST_OK);
        for (int round = 0; round < 4; round++) {
            assert_int_equal(dist_job_cancel(job, round % 2), DIST_STATE);
            assert_int_equal(dist_last_error()->status, DIST_STATE);
        }
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), fails ? DIST_FAILED : DIST_OK);
        check_out(job, out);
        assert_int_equal(dist_job_finish(&job), fails ? DIST_FAILED : DIST_OK);
    }
}

CASE("F-02", a_job_that_its_token_has_ended_was_not_cancelled_by_this) {
    dist_token *token = dist_token_new();
    dist_token_cancel(token);
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene,
                                   .token = token);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
    assert_int_equal(dist_job_cancel(job, true), DIST_STATE);
    assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
    dist_token_free(token);
}

/* ------------------------------------------------------------------ from where one likes */

struct canceller {
    pthread_t thread;
    dist_job *_Atomic job;
    struct scene *scene;
    unsigned spin;
    dist_status got;
};

static void *cancel_when_begun(void *arg) {
    struct canceller *canceller = arg;
    reaches(&canceller->scene->begun, 1);
    canceller->got = dist_job_cancel(canceller->job, true);
    return NULL;
}

CASE_ON("F-02", another_thread_cancels_while_this_one_waits, ON_THREAD | ON_PROCESS, 30) {
    for (unsigned round = 0; again(round, rounds(30, 30)); round++) {
        struct canceller canceller = {.scene = new_scene(), .got = DIST_STATUS_COUNT};
        int out[ITEMS];
        dist_event event;
        memset(out, -1, sizeof out);
        dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X,
                                       .workers = 1 + round % 3, .ctx = canceller.scene);
        canceller.job = job;
        assert_int_equal(pthread_create(&canceller.thread, NULL, cancel_when_begun, &canceller), 0);
        if (round % 3 == 1) assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
        if (round % 3 == 2) assert_int_equal(dist_job_wait_any(&job, 1, DIST_FOREVER), 0);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
        pthread_join(canceller.thread, NULL);
        assert_int_equal(canceller.got, DIST_OK);
        check_out(job, out);
        assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
    }
}

static void cancel_in_hook(const dist_event *event, void *user) {
    struct canceller *canceller = user;
    if (event->done < 3) return;
    dist_job *job = canceller->job;
    dist_status got = dist_job_cancel(job, true);
    if (canceller->got == DIST_STATUS_COUNT) canceller->got = got;
}

CASE("F-02", a_hook_cancels_its_job) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (int at_start = 0; at_start < 2; at_start++) {
            struct canceller canceller = {.scene = shared_memory(sizeof(struct scene)),
                                          .got = DIST_STATUS_COUNT};
            int out[ITEMS];
            memset(out, -1, sizeof out);
            dist_job *job =
                dist_map_async(pass_six, numbers(), ITEMS, out, .executor = X, .workers = workers,
                               .chunk = 1, .ctx = canceller.scene, .deferred = true,
                               .user = &canceller, .on_start = at_start ? cancel_in_hook : NULL,
                               .on_finish = at_start ? NULL : cancel_in_hook);
            canceller.job = job;
            double start = now();
            assert_int_equal(dist_job_start(job), DIST_OK);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
            ASSERT_SOON(start);
            assert_int_equal(canceller.got, DIST_OK);
            check_out(job, out);
            assert_true(dist_job_succeeded(job, NULL) >= 3);
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        }
}

/* THREAD and INLINE cancel; in a worker process the job is somebody else's. */
static int cancel_own_job(void *result, const void *item, void *ctx) {
    struct canceller *canceller = ctx;
    dist_job *job = canceller->job;
    *(int *)result = 10 * *(const int *)item;
    if (*(const int *)item != 4) return 0;
    dist_status expected = X == DIST_PROCESS ? DIST_UNSUPPORTED : DIST_OK;
    return dist_job_cancel(job, true) == expected ? 0 : dist_fail(1, "not cancelled");
}

CASE("F-02", a_task_cancels_its_job) {
    NOT_IN_PROCESS_POOLS("the task learns of the job after the open");
    for (unsigned workers = 1; workers < 4; workers++) {
        struct canceller canceller = {.job = NULL};
        int out[ITEMS];
        memset(out, -1, sizeof out);
        dist_job *job =
            dist_map_async(cancel_own_job, numbers(), ITEMS, out, .executor = X, .workers = workers,
                           .chunk = 1, .ctx = &canceller, .deferred = true);
        canceller.job = job;
        assert_int_equal(dist_job_start(job), DIST_OK);
        dist_status status = dist_job_wait(job, DIST_FOREVER);
        assert_int_equal(status, X == DIST_PROCESS ? DIST_OK : DIST_CANCELLED);
        check_out(job, out);
        if (X != DIST_PROCESS) assert_int_equal(status_of(job, 4), DIST_CANCELLED);
        assert_int_equal(dist_job_finish(&job), status);
    }
}
