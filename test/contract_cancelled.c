/* contract_cancelled.c - what a task is told about its end, also from the calls around it. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

CASE("G-06", outside_of_tasks_nothing_is_cancelled) {
    (void)X;
    assert_false(dist_cancelled());
    dist_for_fn(NULL, 0, NULL);
    assert_false(dist_cancelled());
}

struct plan {
    _Atomic(unsigned) early, told, late; /* answers before the limit, items told, and too late */
    _Atomic(unsigned) inner_told, inner_ok, begun, ended;
    double limit, begun_at;
    dist_executor inner;
    dist_token *token;
};

static int poll_from_the_start(size_t index, void *ctx) {
    struct plan *plan = ctx;
    double begun = now();
    (void)index;
    if (dist_cancelled() && now() - begun < plan->limit / 2) count(&plan->early);
    while (now() - begun < plan->limit / 2)
        if (dist_cancelled() && now() - begun < plan->limit / 2) count(&plan->early);
    if (doze(60)) count(&plan->told);
    if (!dist_cancelled()) count(&plan->late); /* it stays true */
    return 0;
}

CASE("G-06", a_task_is_told_after_its_limit_and_not_before) {
    struct plan *plan = shared_memory(sizeof *plan);
    plan->limit = 0.1;
    double start = now();
    assert_int_equal(dist_for(poll_from_the_start, 4, .executor = X, .workers = 2, .ctx = plan,
                              .task_timeout = plan->limit, .silent = true),
                     DIST_OK);
    assert_true(now() - start >= plan->limit);
    ASSERT_SOON(start);
    assert_int_equal(counted(&plan->early), 0);
    assert_int_equal(counted(&plan->late), 0);
    if (X != DIST_PROCESS) assert_int_equal(counted(&plan->told), 4);
}

CASE("G-06", a_task_is_told_after_the_limit_of_its_call) {
    struct plan *plan = shared_memory(sizeof *plan);
    plan->limit = 0.2;
    double start = now();
    assert_int_equal(dist_for(poll_from_the_start, 2, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = plan, .timeout = 2 * plan->limit),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(counted(&plan->early), 0);
    assert_int_equal(counted(&plan->late), 0);
    if (X != DIST_PROCESS) assert_in_range(counted(&plan->told), 1, 2);
}

static int poll_often(size_t index, void *ctx) {
    (void)index;
    for (int i = 0; i < 1000; i++)
        if (dist_cancelled()) count(ctx);
    return 0;
}

CASE("G-06", a_call_without_limits_never_tells_its_tasks_to_return) {
    _Atomic(unsigned) *told = shared_memory(sizeof *told);
    assert_int_equal(dist_for(poll_often, 100, .executor = X, .workers = 3, .ctx = told), DIST_OK);
    assert_int_equal(dist_for(poll_often, 100, .executor = X, .workers = 3, .ctx = told,
                              .timeout = 60, .task_timeout = 60),
                     DIST_OK);
    assert_int_equal(counted(told), 0);
}

/* The item behind a late one, in the same worker, has its own time. */
static int late_then_quick(size_t index, void *ctx) {
    struct plan *plan = ctx;
    if (index % 2 == 0) return doze(60) ? 0 : 1;
    if (dist_cancelled()) count(&plan->early);
    return 0;
}

CASE("G-06", the_item_behind_a_late_one_has_its_own_time) {
    enum { COUNT = 10 };
    struct plan *plan = shared_memory(sizeof *plan);
    dist_job *job;
    assert_int_equal(dist_for(late_then_quick, COUNT, .executor = X, .workers = 1, .chunk = COUNT,
                              .ctx = plan, .task_timeout = AMPLE / 4, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(counted(&plan->early), 0);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(status_of(job, i), i % 2 ? DIST_OK : DIST_TIMEOUT);
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ a stop by a failure */

static int doze_above_a_failure(size_t index, void *ctx) {
    struct plan *plan = ctx;
    if (index == 0) return reaches(&plan->begun, 1) ? dist_fail(6, "stop") : dist_fail(7, "alone");
    count(&plan->begun);
    if (doze(60)) count(&plan->told);
    return 0;
}

CASE_ON("G-06", a_task_above_the_failure_is_told_that_its_call_has_ended, ON_THREAD | ON_PROCESS,
        20) {
    struct plan *plan = shared_memory(sizeof *plan);
    dist_error e;
    dist_job *job;
    double start = now();
    assert_int_equal(dist_for(doze_above_a_failure, 2, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = plan, .timeout = 60, .error = &e, .job = &job),
                     DIST_FAILED);
    ASSERT_SOON(start);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.code, 6);
    assert_int_equal(status_of(job, 1), DIST_CANCELLED);
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ calls in tasks */

static int inner_task(size_t index, void *ctx) {
    struct plan *plan = ctx;
    (void)index;
    count(&plan->begun);
    count(doze(60) ? &plan->inner_told : &plan->inner_ok);
    return 0;
}

static int outer_task(size_t index, void *ctx) {
    struct plan *plan = ctx;
    (void)index;
    dist_status status =
        dist_for(inner_task, 2, .executor = plan->inner, .workers = 2, .chunk = 1, .ctx = plan);
    if (status == DIST_OK) count(&plan->inner_ok);
    if (dist_cancelled()) count(&plan->told);
    count(&plan->ended);
    return 0;
}

static bool has_threads_in_children(dist_executor outer, dist_executor inner) {
    return !THREAD_SANITIZED || outer != DIST_PROCESS || inner != DIST_THREAD;
}

static void call_around(struct plan *plan, dist_index_fn outer, dist_opts opts,
                        dist_status expected) {
    static const dist_executor inner[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    for (size_t k = 0; k < N(inner); k++) {
        if (!built(inner[k]) || !has_threads_in_children(X, inner[k])) continue;
        memset(plan, 0, sizeof *plan);
        plan->inner = inner[k];
        opts.ctx = plan;
        double start = now();
        dist_status status = dist_for_fn(outer, 2, &opts);
        if (status != expected)
            fail_msg("in %d: %s: %s", (int)inner[k], dist_status_name(status),
                     dist_last_error()->message);
        ASSERT_SOON(start);
        assert_true(counted(&plan->begun) > 0);
        assert_int_equal(counted(&plan->inner_ok), 0);
        if (X == DIST_PROCESS) continue; /* all of them may have been killed */
        assert_true(counted(&plan->ended) > 0);
        assert_int_equal(counted(&plan->told), counted(&plan->ended));
        if (inner[k] != DIST_PROCESS) assert_true(counted(&plan->inner_told) > 0);
    }
}

CASE_ON("G-06", the_limit_of_a_call_reaches_calls_in_its_tasks, ON_ALL, 60) {
    struct plan *plan = shared_memory(sizeof *plan);
    call_around(
        plan, outer_task,
        (dist_opts){.size = sizeof(dist_opts), .executor = X, .workers = 2, .timeout = AMPLE},
        DIST_TIMEOUT);
}

CASE_ON("G-06", the_limit_of_a_task_reaches_calls_in_it, ON_ALL, 60) {
    struct plan *plan = shared_memory(sizeof *plan);
    call_around(
        plan, outer_task,
        (dist_opts){.size = sizeof(dist_opts), .executor = X, .workers = 2, .task_timeout = AMPLE},
        DIST_TIMEOUT);
}

/* Three calls deep: the middle one has nothing to do with it. */
static int outermost_task(size_t index, void *ctx) {
    struct plan *plan = ctx;
    (void)index;
    return (int)dist_for(outer_task, 1, .executor = plan->inner, .workers = 1, .ctx = plan,
                         .timeout = 60);
}

CASE_ON("G-06", a_limit_reaches_calls_at_any_depth, ON_ALL, 60) {
    struct plan *plan = shared_memory(sizeof *plan);
    call_around(
        plan, outermost_task,
        (dist_opts){.size = sizeof(dist_opts), .executor = X, .workers = 2, .timeout = AMPLE},
        DIST_TIMEOUT);
}

static void *cancel_when_begun(void *arg) {
    struct plan *plan = arg;
    while (!counted(&plan->begun) && now() < plan->begun_at + 30) nap(0.001);
    dist_token_cancel(plan->token);
    return NULL;
}

CASE_ON("G-06", a_token_reaches_calls_in_the_tasks_of_its_call, ON_ALL, 60) {
    static const dist_executor inner[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    for (size_t k = 0; k < N(inner); k++) {
        if (!built(inner[k]) || !has_threads_in_children(X, inner[k])) continue;
        struct plan *plan = shared_memory(sizeof *plan);
        pthread_t thread;
        plan->inner = inner[k];
        plan->begun_at = now();
        plan->token = dist_token_new();
        assert_non_null(plan->token);
        assert_int_equal(pthread_create(&thread, NULL, cancel_when_begun, plan), 0);
        assert_int_equal(
            dist_for(outer_task, 2, .executor = X, .workers = 2, .ctx = plan, .token = plan->token),
            DIST_CANCELLED);
        ASSERT_SOON(plan->begun_at);
        pthread_join(thread, NULL);
        assert_int_equal(counted(&plan->inner_ok), 0);
        if (X != DIST_PROCESS) assert_int_equal(counted(&plan->told), counted(&plan->ended));
        dist_token_free(plan->token);
    }
}

/* What the nested calls say to the task that made them: one with limits of its own, and two
 * without, which tell nothing of their items. */
static int look_at_the_inner_calls(size_t index, void *ctx) {
    struct plan *plan = ctx;
    dist_job *job;
    (void)index;
    dist_status looked_after = dist_for(inner_task, 3, .executor = plan->inner, .workers = 1,
                                        .chunk = 1, .ctx = plan, .timeout = 60, .job = &job);
    dist_status first = status_of(job, 0), last = status_of(job, 2);
    dist_job_finish(&job);
    dist_status plain =
        dist_for(inner_task, 3, .executor = plan->inner, .workers = 1, .chunk = 1, .ctx = plan);
    dist_status silent = dist_for(inner_task, 3, .executor = plan->inner, .workers = 1, .chunk = 1,
                                  .ctx = plan, .silent = true);
    bool right = looked_after == DIST_TIMEOUT && plain == DIST_TIMEOUT && silent == DIST_TIMEOUT;
    right &= first == DIST_TIMEOUT && (last == DIST_TIMEOUT || last == DIST_SKIPPED);
    if (right) count(&plan->ended);
    return 0;
}

CASE_ON("G-06", calls_in_a_late_task_have_not_succeeded, ON_INLINE | ON_THREAD, 60) {
    static const dist_executor inner[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    for (size_t k = 0; k < N(inner); k++) {
        if (!built(inner[k])) continue;
        struct plan *plan = shared_memory(sizeof *plan);
        plan->inner = inner[k];
        assert_int_equal(dist_for(look_at_the_inner_calls, 2, .executor = X, .workers = 2,
                                  .ctx = plan, .task_timeout = AMPLE, .silent = true),
                         DIST_OK);
        assert_int_equal(counted(&plan->ended), 2);
    }
}
