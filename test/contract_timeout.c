/* contract_timeout.c - the limit of a call, and when it is the one that is reported. */
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 20 };

struct plan {
    _Atomic(unsigned) runs[KIND_ITEMS], told, begun;
    int slow; /* items from this one on sleep until they are told, -1: none */
    int fails;
    double sleeps;
};

static struct plan *new_plan(int slow) {
    struct plan *plan = shared_memory(sizeof *plan);
    plan->slow = slow;
    plan->fails = -1;
    plan->sleeps = 60;
    return plan;
}

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    *(int *)result = 10 * i;
    if (i == plan->fails) return dist_fail(100 + i, "item %d is bad", i);
    if (plan->slow >= 0 && i >= plan->slow && doze(plan->sleeps)) count(&plan->told);
    return 0;
}

/* The call has ended by its limit: what had ended is right, what was running is late, and the rest
 * was never started. Returns the lowest item that had not ended. */
static size_t check_late_call(const dist_job *job, struct plan *plan, const int *out) {
    size_t n = dist_job_count(job), lowest = n;
    for (size_t i = 0; i < n; i++) {
        dist_status status = status_of(job, i);
        assert_true(status == DIST_OK || status == DIST_TIMEOUT || status == DIST_SKIPPED);
        if (status == DIST_OK) assert_int_equal(counted(&plan->runs[i]), 1);
        if (status == DIST_SKIPPED) assert_int_equal(counted(&plan->runs[i]), 0);
        if (status && lowest == n) lowest = i;
        if (out) assert_int_equal(out[i], status ? -1 : 10 * (int)i);
    }
    return lowest;
}

CASE("P-32", every_kind_of_call_ends_at_its_limit) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct plan *plan = new_plan(0);
        int out[ITEMS];
        dist_job *job;
        dist_error e;
        memset(out, -1, sizeof out);
        double start = now();
        assert_int_equal(call_kind(kind, step, ITEMS, out,
                                   DIST_OPTS(.executor = X, .workers = 3, .chunk = 1, .ctx = plan,
                                             .timeout = 0.05, .job = &job, .error = &e)),
                         DIST_TIMEOUT);
        assert_true(now() - start >= 0.05);
        ASSERT_SOON(start);
        assert_int_equal(dist_job_count(job), kind_count(kind, ITEMS));
        if (kind != APPLY) assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
        assert_int_equal(check_late_call(job, plan, kind == FOR ? NULL : out), 0);
        assert_int_equal(e.status, DIST_TIMEOUT);
        assert_int_equal(e.index, 0);
        assert_true(strlen(e.message) > 0);
        if (kind != FOR) assert_ptr_equal(e.item, &numbers()[0]);
        assert_memory_equal(&e, dist_last_error(), sizeof e);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
    }
}

CASE("P-32", items_that_ended_before_the_limit_keep_their_results) {
    struct plan *plan = new_plan(10);
    int out[ITEMS];
    dist_job *job;
    dist_error e;
    memset(out, -1, sizeof out);
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .timeout = AMPLE, .job = &job, .error = &e),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(check_late_call(job, plan, out), 10);
    assert_int_equal(e.index, 10);
    assert_int_equal(e.attempts, 1);
    assert_int_equal(status_of(job, 10), DIST_TIMEOUT);
    assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
    assert_int_equal(dist_job_succeeded(job, NULL), 10);
    assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
}

CASE("P-33", the_limit_of_the_call_is_not_silenced) {
    struct plan *plan = new_plan(10);
    int out[ITEMS];
    dist_error e;
    dist_job *job;
    plan->fails = 4;
    memset(out, -1, sizeof out);
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .timeout = AMPLE, .silent = true, .error = &e, .job = &job),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(e.status, DIST_TIMEOUT);
    assert_int_equal(e.index, 10);
    assert_int_equal(status_of(job, 4), DIST_FAILED);
    assert_int_equal(out[4], -1);
    for (int i = 0; i < 10; i++)
        if (i != 4) assert_int_equal(out[i], 10 * i);
    dist_job_finish(&job);
}

/* No further item starts: neither of those that were handed out together, nor others. */
CASE("P-32", nothing_starts_after_the_limit) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (size_t chunk = 0; chunk < 12; chunk += 5) {
            struct plan *plan = new_plan(0);
            int out[KIND_ITEMS];
            unsigned started = 0;
            assert_int_equal(dist_map(step, numbers(), KIND_ITEMS, out, .executor = X,
                                      .workers = workers, .chunk = chunk, .ctx = plan,
                                      .timeout = 0.05, .silent = true),
                             DIST_TIMEOUT);
            for (size_t i = 0; i < KIND_ITEMS; i++) started += counted(&plan->runs[i]);
            assert_in_range(started, 0, X == DIST_INLINE ? 1 : workers);
        }
}

static int ignore_the_limit(void *result, const void *item, void *ctx) {
    count(ctx);
    *(int *)result = *(const int *)item;
    nap(0.4);
    return 0;
}

CASE("P-32", a_task_that_ignores_the_limit_is_late_all_the_same) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        _Atomic(unsigned) *runs = shared_memory(sizeof *runs);
        int out[2] = {-1, -1};
        assert_int_equal(call_kind(kind, ignore_the_limit, 1, out,
                                   DIST_OPTS(.executor = X, .ctx = runs, .timeout = 0.1)),
                         DIST_TIMEOUT);
        assert_int_equal(out[0], -1);
        assert_in_range(counted(runs), 0, 1); /* 0: the machine took longer to start a worker */
    }
}

CASE("P-32", a_call_that_ends_in_time_is_as_without_a_limit) {
    static const double limits[] = {30, 1e6, 1e10, 1e18, 1e300, DBL_MAX, INFINITY};
    for (size_t k = 0; k < N(limits); k++)
        for (enum kind kind = MAP; kind < KINDS; kind++) {
            struct plan *plan = new_plan(-1);
            int out[ITEMS];
            memset(out, -1, sizeof out);
            assert_int_equal(call_kind(kind, step, ITEMS, out,
                                       DIST_OPTS(.executor = X, .workers = 2, .ctx = plan,
                                                 .timeout = limits[k], .task_timeout = limits[k])),
                             DIST_OK);
            for (size_t i = 0; i < kind_count(kind, ITEMS); i++) {
                assert_int_equal(counted(&plan->runs[i]), 1);
                if (kind != FOR) assert_int_equal(out[i], 10 * i);
            }
        }
    assert_int_equal(dist_map(step, numbers(), 0, (int[1]){0}, .executor = X, .timeout = DBL_MIN),
                     DIST_OK);
}

CASE("P-32", a_limit_that_has_passed_at_once_ends_the_call) {
    static const double limits[] = {1e-6, 1e-9, 1e-12, DBL_MIN};
    for (size_t k = 0; k < N(limits); k++) {
        struct plan *plan = new_plan(0);
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        double start = now();
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                  .ctx = plan, .timeout = limits[k], .job = &job),
                         DIST_TIMEOUT);
        ASSERT_SOON(start);
        assert_int_equal(check_late_call(job, plan, out), 0);
        dist_job_finish(&job);
    }
}

static int spin_ten_microseconds(size_t index, void *ctx) {
    (void)index;
    for (double end = now() + 10e-6; now() < end;) {
    }
    count(ctx);
    return 0;
}

CASE("P-32", a_long_loop_of_quick_tasks_stops_at_the_limit) {
    static const size_t chunks[] = {0, 1, 500000};
    size_t n = SANITIZED ? 200000 : 2000000; /* a second of work or more, for two workers */
    for (size_t k = 0; k < N(chunks); k++) {
        _Atomic(unsigned) *runs = shared_memory(sizeof *runs);
        size_t started = 0, lowest = n;
        dist_error e;
        dist_job *job;
        double start = now();
        assert_int_equal(dist_for(spin_ten_microseconds, n, .executor = X, .workers = 2,
                                  .chunk = chunks[k], .ctx = runs, .timeout = 0.1, .error = &e,
                                  .job = &job),
                         DIST_TIMEOUT);
        ASSERT_SOON(start);
        for (size_t i = 0; i < n; i++) {
            dist_status status = status_of(job, i);
            started += status != DIST_SKIPPED;
            if (status && lowest == n) lowest = i;
        }
        assert_true(e.index == lowest);
        assert_in_range(started - counted(runs), 0, 2); /* killed before they counted */
        dist_job_finish(&job);
    }
}

/* Item 0 is bad, the others sleep past the limit: it is the first that a loop would have met. */
CASE("P-33", a_failure_below_the_late_items_wins) {
    struct plan *plan = new_plan(1);
    int out[ITEMS];
    dist_error e;
    dist_job *job;
    plan->fails = 0;
    memset(out, -1, sizeof out);
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 3, .ctx = plan,
                              .timeout = AMPLE, .max_failures = 5, .error = &e, .job = &job),
                     DIST_FAILED);
    assert_true(now() - start >= AMPLE);
    ASSERT_SOON(start);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.code, 100);
    assert_int_equal(status_of(job, 1), DIST_TIMEOUT);
    assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

/* Item 0 fails once item 1 runs, which then outlasts the limit: the failure has stopped the call,
 * and the limit has nothing to say any more. */
static int fail_below_a_sleeper(size_t index, void *ctx) {
    struct plan *plan = ctx;
    if (index == 0)
        return reaches(&plan->begun, 1) ? dist_fail(7, "after %zu", index) : dist_fail(8, "alone");
    count(&plan->begun);
    nap(1.5 * AMPLE);
    return 0;
}

CASE_ON("P-33", a_limit_that_passes_after_the_failure_changes_nothing, ON_THREAD | ON_PROCESS, 20) {
    dist_error e;
    double start = now();
    assert_int_equal(dist_for(fail_below_a_sleeper, 2, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = new_plan(-1), .timeout = AMPLE, .error = &e),
                     DIST_FAILED);
    ASSERT_SOON(start);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.code, 7);
}

/* Item `slow` sleeps past the limit, the one behind it fails, the others are quick. */
static int sleep_below_a_failure(size_t index, void *ctx) {
    struct plan *plan = ctx;
    if ((int)index == plan->slow) doze(60);
    return (int)index == plan->fails ? dist_fail(9, "above") : 0;
}

CASE_ON("P-33", the_limit_wins_over_a_failure_above_the_late_item, ON_THREAD | ON_PROCESS, 20) {
    for (int slow = 0; slow < 3; slow++) {
        struct plan *plan = new_plan(slow);
        dist_error e;
        dist_job *job;
        plan->fails = slow + 1;
        double start = now();
        assert_int_equal(dist_for(sleep_below_a_failure, 5, .executor = X, .workers = 2, .chunk = 1,
                                  .ctx = plan, .timeout = AMPLE, .error = &e, .job = &job),
                         DIST_TIMEOUT);
        ASSERT_SOON(start);
        assert_int_equal(e.status, DIST_TIMEOUT);
        assert_int_equal(e.index, slow);
        for (size_t i = 0; i < (size_t)slow; i++) assert_null(dist_job_outcome(job, i));
        assert_int_equal(status_of(job, (size_t)slow), DIST_TIMEOUT);
        assert_int_equal(status_of(job, (size_t)slow + 1), DIST_FAILED);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
    }
}

static bool only_the_first(const dist_error *e, void *user) {
    (void)user;
    return e->index == 0;
}

static int fail_below_too(void *result, const void *item, void *ctx) {
    int code = step(result, item, ctx);
    return *(const int *)item == 0 ? dist_fail(11, "not yet") : code;
}

/* The item below the failure waits for its retry when the time is up. */
CASE("P-33", the_limit_wins_over_a_failure_above_an_item_that_waits) {
    struct plan *plan = new_plan(-1);
    int out[ITEMS];
    dist_error e;
    dist_job *job;
    plan->fails = 2;
    double start = now();
    assert_int_equal(dist_map(fail_below_too, numbers(), ITEMS, out, .executor = X, .workers = 2,
                              .chunk = 1, .ctx = plan, .timeout = AMPLE, .retries = 3,
                              .backoff = 60, .retry_if = only_the_first, .error = &e, .job = &job),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(e.status, DIST_TIMEOUT);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.attempts, 1);
    assert_int_equal(counted(&plan->runs[0]), 1);
    assert_true(status_of(job, 0) != DIST_OK && status_of(job, 0) != DIST_SKIPPED);
    if (X != DIST_INLINE) assert_int_equal(status_of(job, 2), DIST_FAILED);
    assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
}

static int ignore_sigterm(void *result, const void *item, void *ctx) {
    (void)item;
    signal(SIGTERM, SIG_IGN);
    count(ctx);
    *(int *)result = 5;
    for (;;) random_spin(&(uint32_t){1}, 1000);
    return 0;
}

CASE_ON("G-06", workers_that_ignore_sigterm_are_killed_at_the_limit, ON_PROCESS, 20) {
    _Atomic(unsigned) *runs = shared_memory(sizeof *runs);
    int out[ITEMS];
    memset(out, -1, sizeof out);
    double start = now();
    assert_int_equal(dist_map(ignore_sigterm, numbers(), ITEMS, out, .executor = X, .workers = 3,
                              .ctx = runs, .timeout = AMPLE),
                     DIST_TIMEOUT);
    assert_true(now() - start >= AMPLE);
    ASSERT_SOON(start);
    assert_in_range(counted(runs), 1, 3);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], -1);
}

static int inner_call(size_t index, void *ctx) {
    (void)index;
    dist_executor inner = *(dist_executor *)ctx;
    double start = now();
    dist_status status = dist_for(sleep_below_a_failure, 1, .executor = inner, .timeout = 0.05,
                                  .ctx = &(struct plan){.slow = 0, .fails = -1});
    if (status != DIST_TIMEOUT) return dist_fail(1, "inner call: %s", dist_status_name(status));
    return dist_cancelled() ? dist_fail(2, "after %g s", now() - start) : 0;
}

CASE("G-06", the_limit_of_a_nested_call_is_its_own) {
    static dist_executor inner[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    for (size_t k = 0; k < N(inner); k++) {
        if (!built(inner[k])) continue;
        if (THREAD_SANITIZED && X == DIST_PROCESS && inner[k] == DIST_THREAD) continue;
        dist_status status =
            dist_for(inner_call, 4, .executor = X, .workers = 2, .timeout = 60, .ctx = &inner[k]);
        if (status) fail_msg("in %d: %s", (int)inner[k], dist_last_error()->message);
    }
}

static void *late_call(void *wrong) {
    struct plan *plan = new_plan(3);
    int out[ITEMS];
    dist_error e = {.index = 99};
    memset(out, -1, sizeof out);
    dist_status status = dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                  .ctx = plan, .timeout = AMPLE, .error = &e);
    if (status != DIST_TIMEOUT || e.index != 3 || out[2] != 20 || out[3] != -1) count(wrong);
    return NULL;
}

CASE("P-32", calls_in_several_threads_end_at_their_limits) {
    enum { THREADS = 4 };
    _Atomic(unsigned) wrong = 0;
    pthread_t thread[THREADS];
    double start = now();
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, late_call, &wrong), 0);
    for (size_t i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    ASSERT_SOON(start);
    assert_int_equal(counted(&wrong), 0);
}

CASE("P-32", calls_after_a_late_one_work) {
    for (unsigned i = rounds(20, 20); i > 0; i--) {
        struct plan *late = new_plan(0), *good = new_plan(-1);
        int out[ITEMS];
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = i % 4,
                                  .ctx = late, .timeout = 0.01),
                         DIST_TIMEOUT);
        assert_int_equal(
            dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = i % 3, .ctx = good),
            DIST_OK);
        for (int k = 0; k < ITEMS; k++) assert_int_equal(out[k], 10 * k);
    }
}
