/* contract_light.c - many small jobs: tasks that are submitted one by one, from anywhere, and
 * waited for in any order. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t *shuffled(unsigned n) {
    uint32_t random = random_seed(), *order = malloc(n * sizeof *order);
    for (unsigned k = 0; k < n; k++) order[k] = k;
    for (unsigned k = n; k > 1; k--) {
        unsigned other = random_below(&random, k);
        uint32_t held = order[k - 1];
        order[k - 1] = order[other];
        order[other] = held;
    }
    return order;
}

enum orders { FIRST_FIRST, LAST_FIRST, SHUFFLED, ORDERS };

CASE_ON("P-41", a_hundred_thousand_jobs_are_freed_in_any_order, ON_ALL, 120) {
    enum { MOST = 100000 };
    static dist_job *jobs[MOST];
    static int in[MOST], out[MOST];
    unsigned n = so_many(MOST);
    uint32_t *order = shuffled(n);
    for (enum orders how = 0; how < ORDERS; how++) {
        for (unsigned k = 0; k < n; k++) {
            in[k] = (int)k % 1000, out[k] = -1;
            jobs[k] = dist_apply_async(square, &in[k], &out[k], .executor = X);
            assert_non_null(jobs[k]);
        }
        for (unsigned k = 0; k < n; k++) {
            unsigned i = how == FIRST_FIRST ? k : how == LAST_FIRST ? n - 1 - k : order[k];
            assert_int_equal(dist_job_finish(&jobs[i]), DIST_OK);
            assert_int_equal(out[i], in[i] * in[i]);
        }
    }
    free(order);
}

/* ------------------------------------------------------------------ the same as any job */

static int fail_odd(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    (void)ctx;
    *(int *)result = 7;
    return i % 2 ? dist_fail(EDOM, "%d is odd", i) : 0;
}

CASE("P-46", a_job_of_one_item_tells_why_it_failed) {
    for (int silent = 0; silent < 2; silent++)
        for (int map = 0; map < 2; map++) {
            int out = -1, odd = 3, value = 55, copy = 0;
            dist_error e = {.status = DIST_OK};
            dist_job *job = map ? dist_map_async(fail_odd, &odd, 1, &out, .executor = X,
                                                 .silent = silent, .error = &e)
                                : dist_apply_async(fail_odd, &odd, &out, .executor = X,
                                                   .silent = silent, .error = &e);
            dist_status status = silent ? DIST_OK : DIST_FAILED;
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), status);
            assert_int_equal(dist_job_state(job), status);
            assert_int_equal(e.status, status);
            if (!silent) assert_memory_equal(&e, dist_last_error(), sizeof e);
            assert_int_equal(dist_job_failures(job), 1);
            const dist_error *failure = dist_job_failure_at(job, 0);
            assert_ptr_equal(failure, dist_job_outcome(job, 0));
            assert_null(dist_job_failure_at(job, 1));
            assert_null(dist_job_outcome(job, 1));
            assert_int_equal(failure->status, DIST_FAILED);
            assert_int_equal(failure->code, EDOM);
            assert_int_equal(failure->attempts, 1);
            assert_int_equal(failure->index, 0);
            assert_ptr_equal(failure->item, &odd);
            assert_null(failure->name);
            assert_string_equal(failure->message, "3 is odd");
            assert_int_equal(out, -1);
            assert_int_equal(dist_job_succeeded(job, &copy), 0);
            assert_null(dist_job_named(job, "three"));
            assert_int_equal(dist_job_replace_failed(job, &value, &copy), DIST_OK);
            assert_int_equal(copy, 55);
            assert_int_equal(dist_job_replace_failed(job, &value, NULL), DIST_OK);
            assert_int_equal(out, 55);
            assert_int_equal(dist_job_finish(&job), DIST_FAILED);
        }
}

CASE("P-46", a_job_of_one_item_is_looked_at_when_it_ended_well) {
    int out = -1, even = 4, value = 55, copy = 0;
    dist_event event;
    dist_error e = {.status = DIST_STATUS_COUNT};
    dist_job *job = dist_apply_async(fail_odd, &even, &out, .executor = X, .error = &e);
    assert_int_equal(dist_job_count(job), 1);
    assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
    assert_int_equal(event.index, 0);
    assert_int_equal(event.done, 1);
    assert_int_equal(event.total, 1);
    assert_int_equal(event.failed, 0);
    assert_ptr_equal(event.item, &even);
    assert_ptr_equal(event.result, &out);
    assert_null(event.error);
    assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_EMPTY);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(e.status, DIST_STATUS_COUNT);
    assert_null(dist_job_outcome(job, 0));
    assert_int_equal(dist_job_failures(job), 0);
    assert_int_equal(dist_job_succeeded(job, &copy), 1);
    assert_int_equal(copy, 7);
    assert_int_equal(dist_job_replace_failed(job, &value, &copy), DIST_OK);
    assert_int_equal(copy, 7);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

struct seen { /* what a task knows of itself */
    size_t index;
    unsigned worker, attempt;
    int failure;
    bool cancelled, unnamed, stateless;
    uint64_t draws[3];
};

static int look(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    struct seen seen;
    memset(&seen, 0, sizeof seen); /* what lies between the fields, too */
    seen.index = dist_index();
    seen.worker = dist_worker();
    seen.attempt = dist_attempt();
    seen.failure = dist_failure();
    seen.cancelled = dist_cancelled();
    seen.unnamed = !dist_name();
    seen.stateless = !dist_worker_state();
    for (int k = 0; k < 3; k++) seen.draws[k] = dist_random();
    memcpy(result, &seen, sizeof seen);
    return 0;
}

CASE("G-19", a_job_of_one_item_knows_what_the_blocking_call_knows) {
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct seen expected, out;
        memset(&expected, 0x55, sizeof expected);
        memset(&out, 0x55, sizeof out);
        assert_int_equal(
            dist_apply(look, DIST_NONE, &expected, .executor = DIST_INLINE, .seed = seed), DIST_OK);
        dist_job *job = dist_apply_async(look, DIST_NONE, &out, .executor = X, .seed = seed);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_memory_equal(&out, &expected, sizeof out);
        assert_int_equal(out.attempt, 1);
    }
}

struct large {
    unsigned char bytes[5000];
};

static int add_bytes(void *result, const void *item, void *ctx) {
    struct large *large = result;
    (void)ctx;
    for (size_t k = 0; k < sizeof large->bytes; k++)
        large->bytes[k] = (unsigned char)(large->bytes[k] + k);
    return *(const int *)item;
}

CASE("P-40", results_of_jobs_of_one_item_are_staged) {
    for (int code = 0; code < 2; code++)
        for (int in_place = 0; in_place < 2; in_place++) {
            struct large *out = shared_memory(sizeof *out);
            memset(out, 3, sizeof *out);
            dist_job *job =
                dist_apply_async(add_bytes, &code, out, .executor = X, .in_place = in_place);
            assert_int_equal(dist_job_finish(&job), code ? DIST_FAILED : DIST_OK);
            for (size_t k = 0; k < sizeof out->bytes; k++)
                assert_int_equal(out->bytes[k], code && !in_place ? 3 : (unsigned char)(3 + k));
        }
}

/* ------------------------------------------------------------------ cancelling */

static int work_a_little(void *result, const void *item, void *ctx) {
    uint32_t state = (uint32_t) * (const int *)item + 1;
    (void)ctx;
    *(int *)result = 10;
    for (int k = 0; k < 5; k++) {
        random_spin(&state, 3);
        if (dist_cancelled()) return dist_fail(1, "told");
    }
    return 0;
}

struct canceller {
    pthread_t thread;
    dist_job *const *jobs;
    unsigned n;
    dist_status *got;
    bool running_too;
    _Atomic(unsigned) begun;
};

static void *cancel_all(void *arg) {
    struct canceller *canceller = arg;
    count(&canceller->begun);
    for (unsigned k = 0; k < canceller->n; k++)
        canceller->got[k] = dist_job_cancel(canceller->jobs[k], canceller->running_too);
    return NULL;
}

CASE_ON("F-02", small_jobs_are_cancelled_while_others_take_them, ON_ALL, 120) {
    enum { AT_ONCE = 200 };
    static dist_job *jobs[AT_ONCE];
    static dist_status got[AT_ONCE];
    static int out[AT_ONCE];
    unsigned cancelled = 0, n = X == DIST_PROCESS ? 20 : AT_ONCE;
    for (unsigned round = 0; again(round, rounds(200, 20)); round++) {
        struct canceller canceller = {
            .jobs = jobs, .n = n, .got = got, .running_too = round % 3 > 0};
        for (unsigned k = 0; k < n; k++) {
            out[k] = -1;
            jobs[k] = dist_apply_async(work_a_little, &numbers()[k], &out[k], .executor = X,
                                       .silent = round % 2);
        }
        assert_int_equal(pthread_create(&canceller.thread, NULL, cancel_all, &canceller), 0);
        while (!counted(&canceller.begun)) continue;
        for (unsigned k = n; k-- > 0;) dist_job_wait(jobs[k], round % 5 ? DIST_FOREVER : 60);
        pthread_join(canceller.thread, NULL);
        for (unsigned k = 0; k < n; k++) {
            dist_status status = dist_job_wait(jobs[k], DIST_FOREVER);
            if (status == DIST_OK) assert_int_equal(out[k], 10);
            else assert_int_equal(out[k], -1);
            if (status == DIST_CANCELLED) assert_int_equal(got[k], DIST_OK);
            else assert_int_equal(status, DIST_OK);
            if (status == DIST_OK && !canceller.running_too)
                assert_true(got[k] == DIST_RUNNING || got[k] == DIST_STATE);
            cancelled += status == DIST_CANCELLED;
            assert_int_equal(dist_job_finish(&jobs[k]), status);
        }
    }
    printf("%u were cancelled\n", cancelled);
}

/* ------------------------------------------------------------------ from tasks */

static int submit_many(void *result, const void *item, void *ctx) {
    enum { EACH = 500 };
    unsigned n = *(const unsigned *)ctx;
    dist_job *jobs[EACH];
    int out[EACH], sum = 0;
    for (unsigned k = 0; k < n; k++) {
        jobs[k] = dist_apply_async(square, (const int *)item, &out[k], .executor = X);
        if (!jobs[k]) return dist_fail(1, "%s", dist_last_error()->message);
    }
    for (unsigned k = 0; k < n; k++) {
        unsigned i = *(const int *)item % 2 ? k : n - 1 - k;
        if (dist_job_finish(&jobs[i])) return 1;
        sum += out[i];
    }
    *(int *)result = sum;
    return 0;
}

CASE_ON("G-04", tasks_submit_many_small_jobs, ON_ALL, 120) {
    if (SANITIZED && X == DIST_PROCESS) skip();
    int out[40];
    unsigned n = X == DIST_PROCESS ? 10 : SANITIZED ? 50 : 500;
    for (int how = 0; how < 2; how++) {
        dist_job *jobs[40];
        memset(out, -1, sizeof out);
        if (how == 0)
            assert_int_equal(
                dist_map(submit_many, numbers(), 40, out, .executor = X, .workers = 4, .ctx = &n),
                DIST_OK);
        for (int k = 0; how == 1 && k < 40; k++)
            jobs[k] =
                dist_apply_async(submit_many, &numbers()[k], &out[k], .executor = X, .ctx = &n);
        for (int k = 0; how == 1 && k < 40; k++)
            assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
        for (int k = 0; k < 40; k++) assert_int_equal(out[k], k * k * (int)n);
    }
}

static int fib(void *result, const void *item, void *ctx) {
    int n = *(const int *)item, a = n - 1, b = n - 2, x, y;
    *(int *)result = n;
    if (n < 2) return 0;
    dist_job *job = dist_apply_async(fib, &a, &x, .executor = X, .ctx = ctx);
    if (!job || fib(&y, &b, ctx) || dist_job_finish(&job)) return 1;
    *(int *)result = x + y;
    return 0;
}

CASE_ON("G-04", a_task_forks_and_joins_all_the_way_down, ON_INLINE | ON_THREAD, 120) {
    int n = SANITIZED ? 14 : 20, out;
    dist_job *job = dist_apply_async(fib, &n, &out, .executor = X);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(out, SANITIZED ? 377 : 6765);
}

/* A job that waits for a job that waits for a job. */
static int descend(void *result, const void *item, void *ctx) {
    int left = *(const int *)item - 1, below = 0;
    const unsigned *how = ctx;
    dist_event event;
    if (left > 0) {
        dist_job *job = dist_apply_async(descend, &left, &below, .executor = X, .ctx = ctx);
        dist_status status = *how ? dist_job_next(job, &event, DIST_FOREVER) : DIST_OK;
        if (dist_job_finish(&job) || status) return dist_fail(1, "%d left", left);
    }
    *(int *)result = below + 1;
    return 0;
}

CASE_ON("G-04", jobs_wait_for_each_other_ten_thousand_deep, ON_THREAD, 120) {
    for (unsigned how = 0; how < 2; how++) {
        int depth = SANITIZED ? 300 : 10000, out = 0;
        dist_job *job = dist_apply_async(descend, &depth, &out, .executor = X, .ctx = &how);
        dist_status status = how ? dist_job_wait(job, 100) : DIST_OK;
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_int_equal(status, DIST_OK);
        assert_int_equal(out, depth);
    }
}
