/* contract_unordered.c - items as they end, many of them, and those who take only some. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <pthread.h>
#include <stdlib.h>

enum { ITEMS = 30 };

static int ten_times(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (result) *(int *)result = 10 * *(const int *)item;
    return 0;
}

/* The items below the number in *ctx wait at the gate. */
struct plan {
    struct scene scene;
    int slow;
};

static int lower_ones_wait(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->scene.begun);
    *(int *)result = 10 * i;
    return i >= plan->slow || passes(&plan->scene) ? 0 : 1;
}

CASE_ON("M-17", the_quick_ones_come_first, ON_THREAD | ON_PROCESS, 20) {
    for (int slow = 1; slow < 4; slow++) {
        struct plan *plan = shared_memory(sizeof *plan);
        bool seen[ITEMS] = {false};
        int out[ITEMS];
        dist_event e;
        plan->slow = slow;
        dist_job *job = dist_map_async(lower_ones_wait, numbers(), ITEMS, out, .executor = X,
                                       .workers = 4, .chunk = 1, .ctx = plan, .unordered = true);
        for (int k = slow; k < ITEMS; k++) {
            assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_OK);
            assert_true((int)e.index >= slow && e.index < ITEMS && !seen[e.index]);
            assert_int_equal(*(const int *)e.result, 10 * (int)e.index);
            seen[e.index] = true;
        }
        assert_int_equal(dist_job_next(job, &e, 0.02), DIST_TIMEOUT);
        count(&plan->scene.gate);
        for (int k = 0; k < slow; k++) {
            assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_OK);
            assert_true((int)e.index < slow && !seen[e.index]);
            seen[e.index] = true;
        }
        assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_EMPTY);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

CASE_ON("M-17", inline_items_end_in_index_order, ON_INLINE, 20) {
    int out[ITEMS];
    dist_job *job =
        dist_map_async(ten_times, numbers(), ITEMS, out, .executor = X, .unordered = true);
    for (size_t k = 0; k < ITEMS; k++) {
        dist_event e;
        assert_int_equal(dist_job_next(job, &e, 0), DIST_OK);
        assert_int_equal(e.index, k);
    }
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

struct log {
    size_t order[ITEMS], count;
};

static void write_log(const dist_event *event, void *user) {
    struct log *log = user;
    log->order[log->count++] = event->index;
}

static int nap_a_while(void *result, const void *item, void *ctx) {
    uint32_t state = 1 + (uint32_t) * (const int *)item * 2654435761u;
    nap(random_below(&state, 5) * 0.002);
    return ten_times(result, item, ctx) || *(const int *)item % 7 == 3;
}

CASE("M-17", items_come_in_the_order_of_their_hooks) {
    int out[ITEMS];
    struct log log = {.count = 0};
    dist_job *job =
        dist_map_async(nap_a_while, numbers(), ITEMS, out, .executor = X, .workers = 4, .chunk = 1,
                       .unordered = true, .silent = true, .on_finish = write_log, .user = &log);
    size_t order[ITEMS], taken = 0;
    for (dist_event e; dist_job_next(job, &e, DIST_FOREVER) == DIST_OK;) order[taken++] = e.index;
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    assert_int_equal(taken, ITEMS);
    assert_int_equal(log.count, ITEMS);
    assert_memory_equal(order, log.order, sizeof order);
}

/* ------------------------------------------------------------------ many */

enum { MANY = 100000 };
static int many[MANY], many_out[MANY];

static void take_many(size_t n, const dist_opts *opts, bool results) {
    bool *seen = calloc(n, 1);
    for (size_t i = 0; i < n; i++) many[i] = (int)i, many_out[i] = -1;
    dist_job *job = dist_map_async_fn(ten_times, many, n, sizeof *many, results ? many_out : NULL,
                                      sizeof *many_out, opts);
    for (size_t k = 0; k < n; k++) {
        dist_event e;
        assert_int_equal(dist_job_next(job, &e, k % 5 ? DIST_FOREVER : 60), DIST_OK);
        if (!opts->unordered) assert_int_equal(e.index, k);
        assert_true(e.index < n && !seen[e.index] && !e.error);
        if (results) assert_int_equal(*(const int *)e.result, 10 * (int)e.index);
        seen[e.index] = true;
    }
    dist_event e;
    assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_EMPTY);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    free(seen);
}

CASE_ON("M-14", a_hundred_thousand_items_come_each_once, ON_ALL, 60) {
    for (int unordered = 0; unordered < 2; unordered++)
        for (int results = 0; results < 2; results++)
            take_many(MANY, DIST_OPTS(.executor = X, .workers = 3, .unordered = unordered),
                      results);
}

static int every_one_fails(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    return 1 + *(const int *)item;
}

CASE_ON("M-14", a_hundred_thousand_failures_come_too, ON_ALL, 60) {
    for (int late = 0; late < 2; late++)
        for (int unordered = 0; unordered < 2; unordered++) {
            size_t taken = 0;
            for (size_t i = 0; i < MANY; i++) many[i] = (int)i;
            dist_job *job = dist_map_async(every_one_fails, many, MANY, DIST_NONE, .executor = X,
                                           .workers = 3, .silent = true, .unordered = unordered);
            if (late) assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
            double start = now();
            for (dist_event e; dist_job_next(job, &e, DIST_FOREVER) == DIST_OK; taken++) {
                assert_int_equal(e.error->index, e.index);
                assert_int_equal(e.error->code, 1 + (int)e.index);
            }
            if (late) ASSERT_SOON(start);
            assert_int_equal(taken, MANY);
            assert_int_equal(dist_job_finish(&job), DIST_FAILED);
        }
}

/* The end of the last item and the end of the job come at the same moment. */
CASE_ON("M-14", small_jobs_deliver_each_item_once, ON_ALL, 60) {
    unsigned rounds_of_one = rounds(20000, 300), i = 0;
    for (; again(i, rounds_of_one); i++) {
        size_t n = 1 + i % 3;
        int out[3] = {-1, -1, -1};
        dist_job *job = dist_map_async(ten_times, numbers(), n, out, .executor = X,
                                       .workers = 1 + i % 2, .unordered = i % 4 == 3);
        unsigned seen = 0;
        for (size_t k = 0; k < n; k++) {
            dist_event e = {.index = 99};
            assert_int_equal(dist_job_next(job, &e, i % 5 ? 60 : DIST_FOREVER), DIST_OK);
            assert_true(e.index < n && !(seen & 1u << e.index));
            assert_ptr_equal(e.result, &out[e.index]);
            seen |= 1u << e.index;
        }
        dist_event e;
        assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_EMPTY);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

/* ------------------------------------------------------------------ those who take only some */

CASE_ON("M-14", who_has_enough_finishes, ON_ALL, 60) {
    for (unsigned i = 0; again(i, rounds(300, 60)); i++) {
        static int out[PRIME];
        memset(out, -1, sizeof out);
        dist_job *job = dist_map_async(ten_times, numbers(), PRIME, out, .executor = X,
                                       .workers = 3, .unordered = i % 2);
        for (size_t k = 0; k < i % 17; k++) {
            dist_event e;
            assert_int_equal(dist_job_next(job, &e, DIST_FOREVER), DIST_OK);
        }
        assert_int_equal(dist_job_finish(&job), DIST_OK); /* it waits for the rest */
        check_all_out(out, PRIME);
    }
}

CASE("M-14", looks_and_waits_take_nothing_away) {
    for (int unordered = 0; unordered < 2; unordered++) {
        int out[ITEMS];
        bool seen[ITEMS] = {false};
        dist_event e;
        dist_job *job = dist_map_async(nap_a_while, numbers(), ITEMS, out, .executor = X,
                                       .workers = 3, .unordered = unordered, .silent = true);
        for (size_t taken = 0; taken < ITEMS;) {
            dist_status waited = dist_job_wait(job, 0.001), got = dist_job_next(job, &e, 0);
            assert_true(waited == DIST_OK || waited == DIST_TIMEOUT);
            assert_true(got == DIST_OK || (got == DIST_TIMEOUT && X != DIST_INLINE));
            dist_job_wait_any(&job, 1, 0);
            dist_job_state(job);
            if (got == DIST_TIMEOUT) continue;
            if (!unordered) assert_int_equal(e.index, taken);
            assert_false(seen[e.index]);
            seen[e.index] = true;
            if (++taken == ITEMS / 2) assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        }
        assert_int_equal(dist_job_next(job, &e, 0), DIST_EMPTY);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

CASE_ON("M-14", a_cancelled_job_still_tells_of_each_item, ON_THREAD | ON_PROCESS, 30) {
    for (int unordered = 0; unordered < 2; unordered++)
        for (unsigned workers = 1; workers < 4; workers++) {
            struct plan *plan = shared_memory(sizeof *plan);
            dist_status told[ITEMS];
            int out[ITEMS];
            dist_event e;
            size_t taken = 0;
            plan->slow = ITEMS;
            memset(out, -1, sizeof out);
            dist_job *job =
                dist_map_async(lower_ones_wait, numbers(), ITEMS, out, .executor = X,
                               .workers = workers, .ctx = plan, .chunk = 1, .unordered = unordered);
            assert_int_equal(dist_job_next(job, &e, 0.01), DIST_TIMEOUT);
            assert_true(reaches(&plan->scene.begun, workers));
            assert_int_equal(dist_job_cancel(job, true), DIST_OK);
            double start = now();
            for (; dist_job_next(job, &e, DIST_FOREVER) == DIST_OK; taken++)
                told[e.index] = e.error ? e.error->status : DIST_OK;
            ASSERT_SOON(start);
            assert_int_equal(taken, ITEMS);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
            for (size_t i = 0; i < ITEMS; i++) assert_int_equal(told[i], status_of(job, i));
            for (size_t i = 0; i < workers; i++) assert_int_equal(told[i], DIST_CANCELLED);
            assert_int_equal(told[ITEMS - 1], DIST_SKIPPED);
            check_out(job, out);
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        }
}

struct consumer {
    pthread_t thread;
    dist_job *job;
    size_t taken;
};

static void *take_all(void *arg) {
    struct consumer *consumer = arg;
    for (dist_event e; dist_job_next(consumer->job, &e, DIST_FOREVER) == DIST_OK;)
        consumer->taken += *(const int *)e.result == 10 * (int)e.index;
    return NULL;
}

CASE("M-14", other_threads_take_the_items_of_their_jobs) {
    enum { CONSUMERS = 4 };
    static int out[CONSUMERS][PRIME];
    struct consumer consumers[CONSUMERS];
    for (int k = 0; k < CONSUMERS; k++) {
        consumers[k] = (struct consumer){.taken = 0};
        consumers[k].job =
            dist_map_async(ten_times, numbers(), PRIME, out[k], .executor = X, .unordered = k % 2);
        assert_non_null(consumers[k].job);
    }
    for (int k = 0; k < CONSUMERS; k++)
        assert_int_equal(pthread_create(&consumers[k].thread, NULL, take_all, &consumers[k]), 0);
    for (int k = 0; k < CONSUMERS; k++) pthread_join(consumers[k].thread, NULL);
    for (int k = 0; k < CONSUMERS; k++) {
        assert_int_equal(consumers[k].taken, PRIME);
        assert_int_equal(dist_job_finish(&consumers[k].job), DIST_OK);
    }
}
