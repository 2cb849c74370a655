/* contract_next.c - the items of a job, one by one and in order, while it runs. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum { ITEMS = 30 };

static const char *const names[ITEMS] = {"zero", NULL, "two", [7] = "seven"};

enum fate { FINE, FAILS, CRASHES, IS_LATE, RECOVERS, WAITS };

struct plan {
    struct scene scene;
    enum fate fate[ITEMS];
};

static struct plan *new_plan(int out[ITEMS]) {
    struct plan *plan = shared_memory(sizeof *plan);
    if (X == DIST_INLINE) count(&plan->scene.gate);
    if (out) memset(out, -1, ITEMS * sizeof *out);
    return plan;
}

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->scene.begun);
    if (result) *(int *)result = 10 * i;
    switch (plan->fate[i]) {
    case FAILS: return dist_fail(100 + i, "item %d is bad", i);
    case CRASHES: return raise(SIGKILL);
    case IS_LATE: return doze(60) ? 0 : 1;
    case RECOVERS: return dist_attempt() < 3 ? dist_fail(200 + i, "not yet") : 0;
    case WAITS: return passes(&plan->scene) ? 0 : 1;
    default: return 0;
    }
}

/* The k-th delivery is item k, and well filled in. */
static dist_event take(dist_job *job, size_t k, const int *out, bool good) {
    dist_event e;
    memset(&e, 0x5a, sizeof e);
    assert_int_equal(dist_job_next(job, &e, k % 2 ? 60 : DIST_FOREVER), DIST_OK);
    assert_int_equal(e.index, k);
    assert_int_equal(e.total, dist_job_count(job));
    assert_true(e.done > k && e.done <= e.total && e.failed <= e.done);
    assert_ptr_equal(e.item, &numbers()[k]);
    assert_int_equal(e.error == NULL, good);
    assert_ptr_equal(e.result, good && out ? &out[k] : NULL);
    if (good && out) assert_int_equal(*(const int *)e.result, 10 * (int)k);
    if (!good) {
        assert_true(e.error->status != DIST_OK);
        assert_int_equal(e.error->index, k);
        assert_ptr_equal(e.error->item, e.item);
        assert_ptr_equal(e.error->name, e.name);
        assert_true(strlen(e.error->message) > 0);
    }
    return e;
}

static void assert_empty(dist_job *job) {
    static const double limits[] = {0, 10, DIST_FOREVER};
    dist_event event;
    for (size_t k = 0; k < 2 * N(limits); k++)
        assert_int_equal(dist_job_next(job, &event, limits[k % N(limits)]), DIST_EMPTY);
}

static int ten_times(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (result) *(int *)result = 10 * *(const int *)item;
    return 0;
}

CASE("M-14", items_come_in_order_and_then_there_are_none) {
    for (unsigned workers = 0; workers < 6; workers += 1 + workers / 2)
        for (size_t chunk = 0; chunk < 15; chunk += 7) {
            static int out[PRIME];
            memset(out, -1, sizeof out);
            dist_job *job = dist_map_async(ten_times, numbers(), PRIME, out, .executor = X,
                                           .workers = workers, .chunk = chunk);
            for (size_t k = 0; k < PRIME; k++) assert_null(take(job, k, out, true).name);
            assert_empty(job);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
            assert_empty(job);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
        }
}

CASE_ON("M-14", an_item_comes_as_soon_as_it_has_ended, ON_THREAD | ON_PROCESS, 20) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (size_t chunk = 0; chunk < 6; chunk++) {
            int out[ITEMS];
            struct plan *plan = new_plan(out);
            dist_event event;
            for (int i = 3; i < ITEMS; i++) plan->fate[i] = WAITS;
            dist_job *job = dist_map_async(step, numbers(), ITEMS, out, .executor = X,
                                           .workers = workers, .chunk = chunk, .ctx = plan);
            for (size_t k = 0; k < 3; k++) take(job, k, out, true);
            double start = now();
            assert_int_equal(dist_job_next(job, &event, 0), DIST_TIMEOUT);
            assert_int_equal(dist_job_next(job, &event, 0.02), DIST_TIMEOUT);
            assert_true(now() - start >= 0.02);
            assert_int_equal(dist_last_error()->status, DIST_TIMEOUT);
            assert_int_equal(dist_job_state(job), DIST_RUNNING);
            count(&plan->scene.gate);
            for (size_t k = 3; k < ITEMS; k++) take(job, k, out, true);
            assert_empty(job);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
        }
}

CASE_ON("M-14", a_slow_item_holds_back_those_behind_it, ON_THREAD | ON_PROCESS, 20) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    dist_event event;
    plan->fate[2] = WAITS;
    dist_job *job = dist_map_async(step, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                   .chunk = 1, .ctx = plan);
    assert_true(reaches(&plan->scene.begun, ITEMS));
    for (size_t k = 0; k < 2; k++) take(job, k, out, true);
    assert_int_equal(dist_job_next(job, &event, 0.05), DIST_TIMEOUT);
    assert_int_equal(dist_job_next(job, &event, 0.05), DIST_TIMEOUT);
    count(&plan->scene.gate);
    for (size_t k = 2; k < ITEMS; k++) take(job, k, out, true);
    assert_empty(job);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

/* ------------------------------------------------------------------ failures */

CASE("M-14", a_failure_comes_at_its_place_and_the_others_too) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    plan->fate[1] = FAILS;
    dist_job *job = dist_map_async(step, numbers(), 4, out, .executor = X, .workers = 2, .chunk = 1,
                                   .ctx = plan, .silent = true, .names = names);
    for (size_t k = 0; k < 4; k++) {
        dist_event e = take(job, k, out, k != 1);
        assert_ptr_equal(e.name, names[k]);
        assert_int_equal(e.failed, k >= 1);
        if (k != 1) continue;
        assert_int_equal(e.error->status, DIST_FAILED);
        assert_int_equal(e.error->code, 101);
        assert_int_equal(e.error->attempts, 1);
        assert_string_equal(e.error->message, "item 1 is bad");
    }
    assert_empty(job);
    assert_int_equal(out[1], -1);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("M-15", a_failure_in_a_chunk_loses_no_neighbour) {
    for (size_t chunk = 1; chunk < 8; chunk++)
        for (size_t bad = 0; bad < 6; bad++) {
            int out[ITEMS], delivered = 0;
            struct plan *plan = new_plan(out);
            plan->fate[bad] = FAILS;
            dist_job *job = dist_map_async(step, numbers(), 6, out, .executor = X, .workers = 2,
                                           .chunk = chunk, .ctx = plan, .silent = true);
            for (size_t k = 0; k < 6; k++) delivered += !take(job, k, out, k != bad).error;
            assert_int_equal(delivered, 5);
            assert_empty(job);
            assert_int_equal(dist_job_finish(&job), DIST_FAILED);
        }
}

CASE("M-14", items_behind_the_end_come_as_skipped) {
    for (unsigned workers = 1; workers < 4; workers++) {
        int out[ITEMS];
        struct plan *plan = new_plan(out);
        bool skipped[ITEMS];
        plan->fate[4] = FAILS;
        dist_job *job = dist_map_async(step, numbers(), ITEMS, out, .executor = X, .chunk = 1,
                                       .workers = workers, .ctx = plan);
        for (size_t k = 0; k < ITEMS; k++) {
            dist_event e;
            assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_OK);
            assert_int_equal(e.index, k);
            skipped[k] = e.error && e.error->status == DIST_SKIPPED;
            if (k < 4) assert_null(e.error);
            if (k == 4) assert_int_equal(e.error->status, DIST_FAILED);
            if (workers == 1 && k > 4) assert_true(skipped[k]);
            if (skipped[k]) assert_int_equal(e.error->attempts, 0);
            if (skipped[k]) assert_ptr_equal(e.error->item, &numbers()[k]);
            if (skipped[k]) assert_true(!e.result && strlen(e.error->message) > 0);
            if (k >= 4) assert_int_equal(e.failed, 1);
        }
        assert_empty(job);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_FAILED);
        for (size_t i = 0; i < ITEMS; i++)
            assert_int_equal(skipped[i], status_of(job, i) == DIST_SKIPPED);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

static void compare(const dist_error *told, const dist_error *e) {
    assert_int_equal(told->status, e ? e->status : DIST_OK);
    if (!e) return;
    assert_int_equal(told->code, e->code);
    assert_int_equal(told->index, e->index);
    assert_int_equal(told->attempts, e->attempts);
    assert_int_equal(told->signal, e->signal);
    assert_int_equal(told->exit_code, e->exit_code);
    assert_int_equal(told->worker, e->worker);
    assert_ptr_equal(told->item, e->item);
    assert_ptr_equal(told->name, e->name);
    assert_string_equal(told->message, e->message);
}

/* Whether items are taken while the job runs or after its end, and whatever becomes of them. */
CASE("M-14", what_comes_is_what_the_job_says_in_the_end) {
    for (int late = 0; late < 2; late++)
        for (int unordered = 0; unordered < 2; unordered++) {
            int out[ITEMS];
            struct plan *plan = new_plan(out);
            dist_error told[ITEMS] = {{.status = DIST_OK}};
            size_t seen = 0, failed = 0;
            plan->fate[2] = plan->fate[17] = FAILS;
            plan->fate[5] = IS_LATE, plan->fate[11] = RECOVERS;
            if (X == DIST_PROCESS) plan->fate[3] = plan->fate[23] = CRASHES;
            dist_job *job =
                dist_map_async(step, numbers(), ITEMS, out, .executor = X, .workers = 3,
                               .ctx = plan, .names = names, .retries = 2, .task_timeout = 0.15,
                               .unordered = unordered, .silent = true);
            if (late) assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
            for (dist_event e; dist_job_next(job, &e, DIST_FOREVER) == DIST_OK; seen++) {
                assert_true(e.index < ITEMS);
                assert_int_equal(e.done, seen + 1);
                failed += e.error != NULL;
                assert_int_equal(e.failed, failed);
                if (e.error) told[e.index] = *e.error;
            }
            assert_int_equal(seen, ITEMS);
            assert_empty(job);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
            for (size_t i = 0; i < ITEMS; i++) compare(&told[i], dist_job_outcome(job, i));
            assert_int_equal(told[5].status, DIST_TIMEOUT);
            assert_int_equal(told[17].attempts, 3);
            assert_int_equal(told[11].status, DIST_OK);
            if (X == DIST_PROCESS) assert_int_equal(told[23].signal, SIGKILL);
            assert_int_equal(dist_job_failures(job), failed);
            dist_job_finish(&job);
        }
}

CASE("M-14", the_limit_of_a_job_ends_the_items_that_come) {
    for (int unordered = 0; unordered < 2; unordered++) {
        int out[ITEMS], by_status[DIST_STATUS_COUNT] = {0};
        struct plan *plan = new_plan(out);
        for (int i = 6; i < ITEMS; i++) plan->fate[i] = IS_LATE;
        dist_job *job =
            dist_map_async(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .chunk = 1,
                           .ctx = plan, .timeout = AMPLE, .unordered = unordered);
        double start = now();
        for (dist_event e; dist_job_next(job, &e, DIST_FOREVER) == DIST_OK;)
            by_status[e.error ? e.error->status : DIST_OK]++;
        ASSERT_SOON(start);
        assert_int_equal(by_status[DIST_OK], 6);
        assert_int_equal(by_status[DIST_TIMEOUT], X == DIST_INLINE ? 1 : 2);
        assert_int_equal(by_status[DIST_SKIPPED], ITEMS - 6 - by_status[DIST_TIMEOUT]);
        assert_empty(job);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
    }
}

/* Four pieces of 2^45 bytes: nobody has room for that. */
CASE_ON("M-14", a_job_that_cannot_run_tells_of_all_its_items, ON_PROCESS, 20) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    dist_job *job = dist_map_async_fn(step, numbers(), 4, sizeof(int), out, (size_t)1 << 45,
                                      DIST_OPTS(.executor = X, .ctx = plan));
    assert_non_null(job);
    for (size_t k = 0; k < 4; k++) {
        dist_event e;
        assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_OK);
        assert_int_equal(e.index, k);
        assert_int_equal(e.error->status, DIST_SKIPPED);
    }
    assert_empty(job);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_NOMEM);
    assert_int_equal(dist_job_state(job), DIST_NOMEM);
    for (size_t i = 0; i < 4; i++) assert_int_equal(status_of(job, i), DIST_SKIPPED);
    assert_int_equal(dist_job_succeeded(job, NULL), 0);
    assert_int_equal(counted(&plan->scene.begun), 0);
    assert_int_equal(dist_job_finish(&job), DIST_NOMEM);
}

/* ------------------------------------------------------------------ other kinds */

CASE("M-14", the_tasks_of_par_come_one_by_one) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    dist_task tasks[] = {DIST_TASK("a", step, &numbers()[0], &out[0]),
                         DIST_TASK("b", step, &numbers()[1], &out[1]),
                         {"c", step, &numbers()[2], sizeof(int), NULL, 0, NULL, 0, 0, 0}};
    plan->fate[1] = FAILS;
    dist_job *job = dist_par_async(tasks, 3, .executor = X, .ctx = plan, .silent = true);
    for (size_t k = 0; k < 3; k++) {
        dist_event e = take(job, k, k == 2 ? NULL : out, k != 1);
        assert_string_equal(e.name, tasks[k].name);
    }
    assert_empty(job);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("M-14", apply_gives_one_item_and_none_has_results_without_out) {
    int out[1];
    dist_job *job = dist_apply_async(ten_times, numbers(), out, .executor = X);
    take(job, 0, out, true);
    assert_empty(job);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    job = dist_map_async(ten_times, numbers(), ITEMS, DIST_NONE, .executor = X, .workers = 2);
    for (size_t k = 0; k < ITEMS; k++) take(job, k, NULL, true);
    assert_empty(job);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

static int fail_without_text(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(int *)result = 1;
    return 9;
}

CASE("M-14", an_event_is_whole_until_the_next_one) {
    int out[ITEMS] = {0};
    dist_job *job = dist_map_async(fail_without_text, numbers(), ITEMS, out, .executor = X,
                                   .workers = 3, .silent = true);
    for (size_t k = 0; k < ITEMS; k++) {
        dist_event e = take(job, k, out, false);
        dist_error copy = *e.error;
        dist_job_state(job);
        if (k % 10 == 9) nap(0.002); /* others are told of meanwhile */
        assert_memory_equal(&copy, e.error, sizeof copy);
        assert_int_equal(copy.code, 9);
        assert_int_equal(copy.attempts, 1);
    }
    assert_empty(job);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}
