/* contract_pace.c - when attempts start: pauses before retries, and at most so many per second. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 40, TRIES = 32 };

struct plan {
    _Atomic(unsigned) runs[ITEMS], starts;
    unsigned bad_tries[ITEMS];
    double begun[ITEMS][TRIES], ended[ITEMS][TRIES];
    double start[ITEMS * TRIES]; /* all starts, in the order in which they were counted */
    dist_token *token;
};

static struct plan *new_plan(void) { return shared_memory(sizeof(struct plan)); }

static int step(size_t i, void *ctx) {
    struct plan *plan = ctx;
    double begun = now();
    unsigned try = counted(&plan->runs[i]) % TRIES;
    count(&plan->runs[i]);
    plan->start[atomic_fetch_add(&plan->starts, 1) % (ITEMS * TRIES)] = begun;
    plan->begun[i][try] = begun;
    plan->ended[i][try] = now();
    return try < plan->bad_tries[i] ? dist_fail(1, "attempt %u", try) : 0;
}

static double pause_before(const struct plan *plan, size_t i, unsigned try) {
    return plan->begun[i][try] - plan->ended[i][try - 1];
}

/* ------------------------------------------------------------------ backoff */

CASE("P-62", pauses_double_and_are_at_least_half_as_long) {
    static const double backoffs[] = {0.02, 0.05};
    for (size_t k = 0; k < N(backoffs); k++) {
        struct plan *plan = new_plan();
        double pause = backoffs[k], start = now();
        plan->bad_tries[0] = 4;
        assert_int_equal(
            dist_for(step, 1, .executor = X, .ctx = plan, .retries = 4, .backoff = backoffs[k]),
            DIST_OK);
        for (unsigned try = 1; try <= 4; try++, pause *= 2)
            assert_true(pause_before(plan, 0, try) >= pause / 2);
        assert_true(now() - start >= 15 * backoffs[k] / 2);
        ASSERT_SOON(start);
    }
}

CASE("P-62", without_backoff_retries_follow_at_once) {
    struct plan *plan = new_plan();
    double start = now();
    for (int i = 0; i < ITEMS; i++) plan->bad_tries[i] = 20;
    assert_int_equal(dist_for(step, ITEMS, .executor = X, .workers = 2, .ctx = plan, .retries = 20),
                     DIST_OK);
    ASSERT_SOON(start);
}

CASE("P-62", pauses_grow_no_further_than_1024_times) {
    struct plan *plan = new_plan();
    double start = now();
    plan->bad_tries[0] = 24; /* 2^23 times 20 microseconds would be 168 s */
    assert_int_equal(dist_for(step, 1, .executor = X, .ctx = plan, .retries = 24, .backoff = 20e-6),
                     DIST_OK);
    for (unsigned try = 11; try <= 24; try++)
        assert_true(pause_before(plan, 0, try) >= 1024 * 20e-6 / 2);
    ASSERT_SOON(start);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

CASE("P-62", pauses_differ_so_that_retries_spread) {
    enum { COUNT = 12 };
    struct plan *plan = new_plan();
    double pause[COUNT];
    for (int i = 0; i < COUNT; i++) plan->bad_tries[i] = 1;
    assert_int_equal(dist_for(step, COUNT, .executor = X, .workers = 4, .ctx = plan, .retries = 1,
                              .backoff = 0.15),
                     DIST_OK);
    for (size_t i = 0; i < COUNT; i++) pause[i] = pause_before(plan, i, 1);
    qsort(pause, COUNT, sizeof *pause, by_size);
    assert_true(pause[0] >= 0.075);
    assert_true(pause[COUNT - 1] - pause[0] >= 0.02); /* of 0.075 */
}

CASE("P-62", a_waiting_retry_occupies_no_worker) {
    struct plan *plan = new_plan();
    plan->bad_tries[0] = 1;
    assert_int_equal(dist_for(step, 21, .executor = X, .workers = 1, .chunk = 1, .ctx = plan,
                              .retries = 1, .backoff = 2 * AMPLE),
                     DIST_OK);
    assert_true(pause_before(plan, 0, 1) >= AMPLE);
    for (size_t i = 1; i < 21; i++) {
        bool meanwhile = plan->ended[i][0] < plan->begun[0][1];
        assert_int_equal(meanwhile, X != DIST_INLINE); /* there the calling thread waits */
        assert_int_equal(counted(&plan->runs[i]), 1);
    }
}

CASE("P-62", many_waiting_retries_occupy_no_worker) {
    struct plan *plan = new_plan();
    double start = now();
    for (int i = 0; i < ITEMS; i++) plan->bad_tries[i] = 1;
    assert_int_equal(dist_for(step, X == DIST_INLINE ? 3 : ITEMS, .executor = X, .workers = 2,
                              .ctx = plan, .retries = 1, .backoff = 0.5),
                     DIST_OK);
    assert_true(now() - start >= 0.25);
    ASSERT_SOON(start); /* and not 40 times a quarter of a second for each worker */
}

static bool not_the_first(const dist_error *e, void *user) {
    (void)user;
    return e->index > 0;
}

/* Item 1 waits half a minute for its retry when item 0 fails for good. */
static int fail_below_a_waiting_item(size_t i, void *ctx) {
    struct plan *plan = ctx;
    if (i == 0) {
        reaches(&plan->runs[1], 1);
        nap(0.05);
        return dist_fail(5, "for good");
    }
    count(&plan->runs[i]);
    return i == 1 ? dist_fail(6, "for now") : 0;
}

CASE_ON("P-62", an_item_above_a_failure_that_waits_does_not_keep_the_call, ON_THREAD | ON_PROCESS,
        20) {
    struct plan *plan = new_plan();
    dist_error e;
    dist_job *job;
    double start = now();
    assert_int_equal(dist_for(fail_below_a_waiting_item, 2, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = plan, .retries = 3, .backoff = 60, .retry_if = not_the_first,
                              .error = &e, .job = &job),
                     DIST_FAILED);
    ASSERT_SOON(start);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.code, 5);
    assert_int_equal(e.attempts, 1);
    assert_int_equal(counted(&plan->runs[1]), 1);
    assert_true(status_of(job, 1) != DIST_OK);
    dist_job_finish(&job);
}

CASE("P-62", a_waiting_retry_does_not_outlast_the_limit) {
    struct plan *plan = new_plan();
    dist_error e;
    double start = now();
    plan->bad_tries[2] = 9;
    assert_int_equal(dist_for(step, 5, .executor = X, .workers = 2, .ctx = plan, .retries = 9,
                              .backoff = 60, .timeout = AMPLE, .error = &e),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(e.index, 2);
    assert_int_equal(counted(&plan->runs[2]), 1);
}

static void *cancel_soon(void *arg) {
    struct plan *plan = arg;
    reaches(&plan->starts, 1);
    nap(0.05);
    dist_token_cancel(plan->token);
    return NULL;
}

static void cancel_while_it_waits(double backoff, double rate) {
    struct plan *plan = new_plan();
    pthread_t thread;
    double start = now();
    plan->token = dist_token_new();
    plan->bad_tries[0] = 9;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, plan), 0);
    assert_int_equal(dist_for(step, 3, .executor = X, .workers = 2, .ctx = plan, .retries = 9,
                              .backoff = backoff, .rate = rate, .token = plan->token),
                     DIST_CANCELLED);
    ASSERT_SOON(start);
    pthread_join(thread, NULL);
    dist_token_free(plan->token);
}

CASE("P-62", a_waiting_call_can_be_cancelled) {
    cancel_while_it_waits(60, 0);
    cancel_while_it_waits(0, 0.02);
}

/* ------------------------------------------------------------------ rate */

/* Start k comes no earlier than k / rate after the call began. (Two may come together: a machine
 * under load lets one wait.) */
static void check_rate(struct plan *plan, double start, unsigned expected, double rate) {
    assert_int_equal(counted(&plan->starts), expected);
    qsort(plan->start, expected, sizeof *plan->start, by_size);
    for (unsigned k = 0; k < expected; k++) assert_true(plan->start[k] - start >= k / rate - 0.001);
}

CASE("L-16", twenty_tasks_at_a_hundred_per_second) {
    for (unsigned workers = 1; workers < 6; workers += 2) {
        struct plan *plan = new_plan();
        double start = now();
        assert_int_equal(
            dist_for(step, 20, .executor = X, .workers = workers, .ctx = plan, .rate = 100),
            DIST_OK);
        assert_true(now() - start >= 0.19);
        ASSERT_SOON(start);
        check_rate(plan, start, 20, 100);
    }
}

CASE("L-16", items_that_are_handed_out_together_start_one_by_one) {
    struct plan *plan = new_plan();
    double start = now();
    assert_int_equal(
        dist_for(step, 20, .executor = X, .workers = 2, .chunk = 10, .ctx = plan, .rate = 100),
        DIST_OK);
    ASSERT_SOON(start);
    check_rate(plan, start, 20, 100);
}

CASE("L-16", retries_count_as_starts) {
    struct plan *plan = new_plan();
    double start = now();
    for (int i = 0; i < 5; i++) plan->bad_tries[i] = 2;
    assert_int_equal(
        dist_for(step, 5, .executor = X, .workers = 3, .ctx = plan, .rate = 60, .retries = 2),
        DIST_OK);
    ASSERT_SOON(start);
    check_rate(plan, start, 15, 60);
}

static int kind_step(void *result, const void *item, void *ctx) {
    (void)result;
    return step((size_t) * (const int *)item, ctx);
}

CASE("L-16", every_kind_of_call_keeps_the_rate) {
    for (enum kind kind = MAP; kind < APPLY; kind++) {
        struct plan *plan = new_plan();
        int out[10];
        double start = now();
        assert_int_equal(call_kind(kind, kind_step, 10, out,
                                   DIST_OPTS(.executor = X, .workers = 3, .ctx = plan, .rate = 50)),
                         DIST_OK);
        ASSERT_SOON(start);
        check_rate(plan, start, 10, 50);
    }
}

CASE("L-16", a_high_rate_is_no_limit) {
    static const double rates[] = {1e9, 1e18, 1e300};
    for (size_t k = 0; k < N(rates); k++) {
        struct plan *plan = new_plan();
        double start = now();
        assert_int_equal(
            dist_for(step, ITEMS, .executor = X, .workers = 2, .ctx = plan, .rate = rates[k]),
            DIST_OK);
        ASSERT_SOON(start);
    }
}

CASE("L-16", a_start_that_waits_does_not_outlast_the_limit) {
    static const double rates[] = {0.1, 1e-9, 1e-300};
    for (size_t k = 0; k < N(rates); k++) {
        struct plan *plan = new_plan();
        dist_error e;
        dist_job *job;
        double start = now();
        assert_int_equal(dist_for(step, 10, .executor = X, .workers = 2, .ctx = plan,
                                  .rate = rates[k], .timeout = AMPLE, .error = &e, .job = &job),
                         DIST_TIMEOUT);
        ASSERT_SOON(start);
        assert_int_equal(counted(&plan->starts), 1);
        assert_int_equal(e.index, dist_job_outcome(job, 0) ? 0 : 1);
        for (size_t i = 0; i < 10; i++)
            assert_int_equal(status_of(job, i), counted(&plan->runs[i]) ? DIST_OK : DIST_SKIPPED);
        dist_job_finish(&job);
    }
}

/* Item 0 takes the first start and fails while the others wait for theirs. If another was the first
 * to start, it says so by the token, and it is tried once more. */
static int fail_where_others_wait(size_t i, void *ctx) {
    struct plan *plan = ctx;
    count(&plan->runs[i]);
    if (i > 0) dist_token_cancel(plan->token);
    nap(0.1);
    return dist_fail(9, "stop");
}

CASE("L-16", a_start_that_waits_does_not_outlast_a_failure) {
    dist_status status = DIST_CANCELLED;
    for (int tries = 0; tries < 50 && status == DIST_CANCELLED; tries++) {
        struct plan *plan = new_plan();
        plan->token = dist_token_new();
        double start = now();
        status = dist_for(fail_where_others_wait, 10, .executor = X, .workers = 3, .chunk = 1,
                          .ctx = plan, .rate = 0.01, .token = plan->token);
        ASSERT_SOON(start);
        dist_token_free(plan->token);
        for (size_t i = 1; i < 10 && status == DIST_FAILED; i++)
            assert_int_equal(counted(&plan->runs[i]), 0);
    }
    assert_int_equal(status, DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 0);
}
