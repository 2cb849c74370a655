/* contract_errors.c - which failure is reported, and what it does to the other items. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct plan { /* of items 0..n-1 */
    _Atomic(unsigned) runs[PRIME];
    int fails[8];  /* these items fail, -1: none */
    int slow;      /* this one takes a millisecond, -1: none */
    uint32_t seed; /* 0: no random delays */
};

static struct plan *new_plan(void) {
    struct plan *plan = shared_memory(sizeof *plan);
    for (size_t k = 0; k < N(plan->fails); k++) plan->fails[k] = -1;
    plan->slow = -1;
    return plan;
}

static bool is_bad(const struct plan *plan, int item) {
    bool bad = false;
    for (size_t k = 0; k < N(plan->fails); k++) bad |= plan->fails[k] == item;
    return bad;
}

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    if (i == plan->slow) nap(0.001);
    if (plan->seed) {
        uint32_t state = plan->seed + 2654435761u * (uint32_t)i;
        random_spin(&state, 20);
    }
    *(int *)result = 10 * i;
    return is_bad(plan, i) ? dist_fail(100 + i, "item %d is bad", i) : 0;
}

/* Items up to and with the `limit`-th bad one have run, once; those above have run, or are
 * skipped. Nothing else. */
static void check_items(const dist_job *job, struct plan *plan, const int *out, int n, int limit) {
    int bad = 0;
    for (int i = 0; i < n; i++) {
        const dist_error *e = dist_job_outcome(job, (size_t)i);
        dist_status status = e ? e->status : DIST_OK;
        unsigned runs = counted(&plan->runs[i]);
        if (bad < limit || status != DIST_SKIPPED) {
            assert_int_equal(status, is_bad(plan, i) ? DIST_FAILED : DIST_OK);
            assert_int_equal(runs, 1);
        } else {
            assert_int_equal(runs, 0);
        }
        assert_int_equal(out[i], status == DIST_OK ? 10 * i : -1);
        bad += is_bad(plan, i);
    }
}

static void fail_once(struct plan *plan, int n, unsigned workers, size_t chunk, int expected) {
    int out[PRIME];
    dist_error e;
    dist_job *job;
    memset(plan->runs, 0, sizeof plan->runs);
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(step, numbers(), (size_t)n, out, .executor = X, .workers = workers,
                              .chunk = chunk, .ctx = plan, .error = &e, .job = &job),
                     DIST_FAILED);
    assert_int_equal(e.index, expected);
    assert_int_equal(e.code, 100 + expected);
    check_items(job, plan, out, n, 1);
    assert_int_equal(dist_job_failure_at(job, 0)->index, expected);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("P-31", the_lowest_failure_is_reported_though_it_comes_last) {
    struct plan *plan = new_plan();
    plan->fails[0] = 5;
    plan->fails[1] = plan->slow = 2;
    for (unsigned i = 0; again(i, rounds(1000, 1000)); i++) fail_once(plan, 8, 4, i % 3, 2);
}

CASE_ON("G-14", two_failures_at_random_moments_give_one_answer, ON_ALL, 40) {
    struct plan *plan = new_plan();
    uint32_t state = random_seed();
    for (unsigned i = 0; again(i, rounds(10000, 10000)); i++) {
        int n = 2 + (int)random_below(&state, 40);
        plan->fails[0] = (int)random_below(&state, (uint32_t)n);
        plan->fails[1] = (int)random_below(&state, (uint32_t)n);
        plan->seed = random_next(&state);
        int lowest = plan->fails[0] < plan->fails[1] ? plan->fails[0] : plan->fails[1];
        fail_once(plan, n, 1 + random_below(&state, 4), random_below(&state, 4), lowest);
    }
}

CASE("P-31", items_below_a_failure_always_run) {
    struct plan *plan = new_plan();
    for (int bad = 0; bad < 101; bad += 9) {
        plan->fails[0] = bad;
        fail_once(plan, 101, 3, 0, bad);
        fail_once(plan, 101, 2, 10, bad);
        fail_once(plan, 101, 1, 1, bad);
    }
    plan->fails[0] = PRIME - 1;
    fail_once(plan, PRIME, 4, 0, PRIME - 1);
}

CASE("P-31", with_one_worker_nothing_runs_after_the_failure) {
    struct plan *plan = new_plan();
    plan->fails[0] = 4;
    fail_once(plan, 101, 1, 1, 4);
    for (int i = 5; i < 101; i++) assert_int_equal(counted(&plan->runs[i]), 0);
}

CASE("P-31", a_failed_call_without_a_job_reports_the_same) {
    int out[101];
    dist_error e;
    struct plan *plan = new_plan();
    plan->fails[0] = 33;
    plan->fails[1] = 66;
    for (size_t i = 0; i < 101; i++) out[i] = -1;
    assert_int_equal(
        dist_map(step, numbers(), 101, out, .executor = X, .workers = 3, .ctx = plan, .error = &e),
        DIST_FAILED);
    assert_int_equal(e.index, 33);
    assert_memory_equal(&e, dist_last_error(), sizeof e);
    for (int i = 0; i <= 33; i++) assert_int_equal(out[i], i < 33 ? 10 * i : -1);
}

CASE("P-35", an_error_has_every_field_filled) {
    int out[101];
    dist_error e;
    struct plan *plan = new_plan();
    plan->fails[0] = 77;
    memset(&e, -1, sizeof e);
    assert_int_equal(
        dist_map(step, numbers(), 101, out, .executor = X, .workers = 3, .ctx = plan, .error = &e),
        DIST_FAILED);
    assert_int_equal(e.status, DIST_FAILED);
    assert_int_equal(e.code, 177);
    assert_int_equal(e.index, 77);
    assert_null(e.name);
    assert_ptr_equal(e.item, &numbers()[77]);
    assert_int_equal(e.signal, 0);
    assert_int_equal(e.exit_code, 0);
    assert_int_equal(e.attempts, 1);
    assert_in_range(e.worker, 0, contract_in_pools() ? CONTRACT_POOL_WORKERS - 1 : 2);
    assert_string_equal(e.message, "item 77 is bad");
}

static int return_seven(size_t index, void *ctx) {
    (void)ctx;
    return index == 13 ? 7 : 0;
}

CASE("G-12", a_bare_return_code_is_reported_too) {
    dist_error e;
    assert_int_equal(dist_for(return_seven, 20, .executor = X, .workers = 2, .error = &e),
                     DIST_FAILED);
    assert_int_equal(e.index, 13);
    assert_int_equal(e.code, 7);
    assert_null(e.item);
    assert_non_null(strstr(e.message, "7"));
}

CASE("P-31", error_is_written_only_by_a_failed_call) {
    int out[5];
    dist_error e, before;
    memset(&e, 0x5a, sizeof e);
    before = e;
    assert_int_equal(
        dist_map(step, numbers(), 5, out, .executor = X, .ctx = new_plan(), .error = &e), DIST_OK);
    struct plan *plan = new_plan();
    plan->fails[0] = 2;
    assert_int_equal(
        dist_map(step, numbers(), 5, out, .executor = X, .ctx = plan, .error = &e, .silent = true),
        DIST_OK);
    assert_memory_equal(&e, &before, sizeof e);
}

CASE("P-34", silent_runs_everything_and_returns_ok) {
    int out[PRIME];
    dist_job *job;
    struct plan *plan = new_plan();
    const int bad[8] = {0, 1, 100, 101, 102, 500, 1000, 1008};
    memcpy(plan->fails, bad, sizeof bad);
    for (unsigned workers = 0; workers < 4; workers++) {
        memset(plan->runs, 0, sizeof plan->runs);
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map(step, numbers(), PRIME, out, .executor = X, .workers = workers,
                                  .ctx = plan, .silent = true, .job = &job),
                         DIST_OK);
        check_items(job, plan, out, PRIME, PRIME);
        assert_int_equal(dist_job_failures(job), 8);
        for (size_t k = 0; k < 8; k++) assert_int_equal(dist_job_failure_at(job, k)->index, bad[k]);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

CASE("P-34", silent_works_without_a_job) {
    int out[101];
    struct plan *plan = new_plan();
    plan->fails[0] = 50;
    memset(out, -1, sizeof out);
    assert_int_equal(
        dist_map(step, numbers(), 101, out, .executor = X, .ctx = plan, .silent = true), DIST_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(out[i], i == 50 ? -1 : 10 * i);
}

static void fail_many(struct plan *plan, size_t max_failures, bool silent, dist_status expected) {
    static const int bad[8] = {10, 20, 30, 40, 50, 60, 70, 80};
    int out[101];
    dist_job *job;
    dist_error e = {.index = 999};
    memcpy(plan->fails, bad, sizeof bad);
    memset(plan->runs, 0, sizeof plan->runs);
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(step, numbers(), 101, out, .executor = X, .workers = 3, .chunk = 2,
                              .ctx = plan, .max_failures = max_failures, .silent = silent,
                              .job = &job, .error = &e),
                     expected);
    check_items(job, plan, out, 101, (int)max_failures);
    assert_int_equal(e.index, expected ? 10 : 999);
    assert_true(dist_job_failures(job) >= (max_failures < 8 ? max_failures : 8));
    dist_job_finish(&job);
}

CASE("P-31", max_failures_lets_some_fail_before_it_stops) {
    struct plan *plan = new_plan();
    for (size_t most = 1; most <= 8; most++) {
        fail_many(plan, most, false, DIST_FAILED);
        fail_many(plan, most, true, DIST_FAILED);
    }
    fail_many(plan, 9, true, DIST_OK);
    fail_many(plan, 9, false, DIST_FAILED);
}

CASE("P-31", max_failures_stops_one_worker_exactly) {
    struct plan *plan = new_plan();
    int out[101];
    memcpy(plan->fails, (int[8]){10, 20, 30, 40, 50, 60, 70, 80}, sizeof plan->fails);
    assert_int_equal(dist_map(step, numbers(), 101, out, .executor = X, .workers = 1, .chunk = 1,
                              .ctx = plan, .max_failures = 3),
                     DIST_FAILED);
    for (int i = 0; i < 101; i++) assert_int_equal(counted(&plan->runs[i]), i <= 30);
}

CASE("G-13", each_item_fails_alone_for_any_chunk_size) {
    enum { COUNT = 12 };
    struct plan *plan = new_plan();
    int out[COUNT];
    dist_job *job;
    for (size_t chunk = 1; chunk <= COUNT; chunk++)
        for (int bad = 0; bad < COUNT; bad++) {
            plan->fails[0] = bad;
            memset(plan->runs, 0, sizeof plan->runs);
            memset(out, -1, sizeof out);
            assert_int_equal(dist_map(step, numbers(), COUNT, out, .executor = X, .workers = 2,
                                      .chunk = chunk, .ctx = plan, .silent = true, .job = &job),
                             DIST_OK);
            check_items(job, plan, out, COUNT, COUNT);
            assert_int_equal(dist_job_failures(job), 1);
            dist_job_finish(&job);
        }
}

static int fail_with_nothing(size_t index, void *ctx) {
    (void)index, (void)ctx;
    return dist_fail(0, "no code");
}

static int fail_at_length(size_t index, void *ctx) {
    (void)index, (void)ctx;
    char text[400];
    memset(text, 'x', sizeof text);
    text[399] = '\0';
    return dist_fail(3, "%s", text);
}

static int recover(size_t index, void *ctx) {
    (void)index, (void)ctx;
    if (dist_failure() != 0) return 1;
    dist_fail(9, "a failure that the task gets over");
    return dist_failure() == 9 ? 0 : 2;
}

CASE("P-35", dist_fail_turns_zero_into_one_and_cuts_its_text) {
    dist_error e;
    assert_int_equal(dist_for(fail_with_nothing, 3, .executor = X, .error = &e), DIST_FAILED);
    assert_int_equal(e.code, 1);
    assert_string_equal(e.message, "no code");
    assert_int_equal(dist_for(fail_at_length, 3, .executor = X, .error = &e), DIST_FAILED);
    assert_int_equal(e.code, 3);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    assert_int_equal(dist_for(recover, 20, .executor = X), DIST_OK);
}

CASE("P-35", outside_of_tasks_there_is_no_task) {
    assert_int_equal(dist_fail(5, "nobody hears it"), 5);
    assert_int_equal(dist_fail_at(3, 6, "nobody hears it"), 6);
    assert_int_equal(dist_failure(), 0);
    assert_int_equal(dist_index(), 0);
    assert_int_equal(dist_worker(), 0);
    assert_int_equal(dist_attempt(), 0);
    assert_null(dist_name());
    dist_for(recover, 20, .executor = X);
    assert_int_equal(dist_attempt(), 0);
    assert_int_equal(dist_failure(), 0);
}

static void *last_error_of_a_new_thread(void *status) {
    *(dist_status *)status = dist_last_error()->status;
    return NULL;
}

CASE("P-35", each_thread_has_its_own_last_error) {
    pthread_t thread;
    dist_status elsewhere = DIST_FULL;
    assert_int_equal(dist_last_error()->status, DIST_OK);
    assert_int_equal(dist_for(return_seven, 20, .executor = X), DIST_FAILED);
    assert_int_equal(pthread_create(&thread, NULL, last_error_of_a_new_thread, &elsewhere), 0);
    pthread_join(thread, NULL);
    assert_int_equal(elsewhere, DIST_OK);
    assert_int_equal(dist_last_error()->status, DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 13);
    assert_int_equal(dist_for(return_seven, 5, .executor = X), DIST_OK);
    assert_int_equal(dist_last_error()->index, 13); /* of the last call that failed */
}
