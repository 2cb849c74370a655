/* contract_again.c - retries of chunks, and of tasks that draw random numbers. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 60, CHUNK = 10 };

struct plan {
    _Atomic(unsigned) runs[ITEMS];
    unsigned bad_tries[ITEMS];
    _Atomic(unsigned) wrong;
    bool names; /* bad items are named; else the chunk fails at the first of them */
    bool stops; /* after it has named one it returns */
    bool dies;  /* instead */
};

static struct plan *new_plan(void) { return shared_memory(sizeof(struct plan)); }

/* Results are 10 * item. The chunk's view of itself has to agree with the items it gets. */
static int chunk_step(void *results, const void *items, size_t n, void *ctx) {
    struct plan *plan = ctx;
    const int *item = items;
    int *result = results;
    if (dist_index() != (size_t)item[0]) count(&plan->wrong);
    for (size_t k = 0; k < n; k++) {
        int i = item[k];
        if (i < 0 || i >= ITEMS || item != &numbers()[item[0]]) {
            count(&plan->wrong);
            return 1;
        }
        unsigned try = counted(&plan->runs[i]);
        count(&plan->runs[i]);
        if (result[k] != -1) count(&plan->wrong);
        result[k] = 10 * i;
        if (try >= plan->bad_tries[i]) continue;
        if (plan->dies) kill(getpid(), SIGKILL);
        if (!plan->names) return dist_fail(100 + i, "chunk of item %d", i);
        dist_fail_at(k, 100 + i, "item %d, attempt %u", i, dist_attempt());
        if (plan->stops) return 1;
    }
    return 0;
}

static dist_status run_chunks(struct plan *plan, unsigned retries, int *out, dist_job **job) {
    memset(out, -1, ITEMS * sizeof *out);
    return dist_map_chunks(chunk_step, numbers(), ITEMS, out, .executor = X, .workers = 2,
                           .chunk = CHUNK, .ctx = plan, .retries = retries, .silent = true,
                           .job = job);
}

CASE("P-62", a_chunk_is_tried_again_as_a_whole) {
    NOT_IN_PROCESS_POOLS("the task knows its items by their addresses");
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    plan->bad_tries[25] = 2; /* the last item of the failed attempt */
    assert_int_equal(run_chunks(plan, 2, out, &job), DIST_OK);
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(dist_job_failures(job), 0);
    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(out[i], 10 * i);
        assert_int_equal(counted(&plan->runs[i]), i < 20 || i > 25 ? 1 : 3);
    }
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

CASE("P-62", a_chunk_that_fails_for_good_fails_as_a_whole) {
    NOT_IN_PROCESS_POOLS("the task knows its items by their addresses");
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    plan->bad_tries[25] = 99;
    assert_int_equal(run_chunks(plan, 3, out, &job), DIST_OK);
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(dist_job_failures(job), CHUNK);
    for (size_t i = 0; i < ITEMS; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        assert_int_equal(e != NULL, i / CHUNK == 2);
        assert_int_equal(out[i], e ? -1 : 10 * (int)i);
        if (!e) continue;
        assert_int_equal(e->attempts, 4);
        assert_int_equal(e->code, 125);
    }
    assert_int_equal(counted(&plan->runs[20]), 4);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("P-62", only_the_named_items_of_a_chunk_are_tried_again) {
    NOT_IN_PROCESS_POOLS("the task knows its items by their addresses");
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    plan->names = true;
    plan->bad_tries[13] = plan->bad_tries[17] = plan->bad_tries[18] = 1;
    plan->bad_tries[40] = 2;
    plan->bad_tries[55] = 99;
    assert_int_equal(run_chunks(plan, 2, out, &job), DIST_OK);
    assert_int_equal(counted(&plan->wrong), 0);
    for (size_t i = 0; i < ITEMS; i++) {
        bool bad = i == 55;
        unsigned expected = plan->bad_tries[i] < 3 ? plan->bad_tries[i] + 1 : 3;
        assert_int_equal(counted(&plan->runs[i]), expected);
        assert_int_equal(out[i], bad ? -1 : 10 * (int)i);
    }
    assert_int_equal(dist_job_failures(job), 1);
    assert_int_equal(dist_job_failure_at(job, 0)->index, 55);
    assert_int_equal(dist_job_failure_at(job, 0)->attempts, 3);
    assert_string_equal(dist_job_failure_at(job, 0)->message, "item 55, attempt 3");
    dist_job_finish(&job);
}

CASE("P-62", items_behind_the_one_a_chunk_stopped_at_are_handed_out_again) {
    NOT_IN_PROCESS_POOLS("the task knows its items by their addresses");
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    plan->names = plan->stops = true;
    plan->bad_tries[13] = plan->bad_tries[17] = plan->bad_tries[29] = 1;
    plan->bad_tries[40] = 99;
    assert_int_equal(run_chunks(plan, 1, out, &job), DIST_OK);
    assert_int_equal(counted(&plan->wrong), 0);
    for (size_t i = 0; i < ITEMS; i++) {
        assert_int_equal(counted(&plan->runs[i]), plan->bad_tries[i] ? 2 : 1);
        assert_int_equal(out[i], i == 40 ? -1 : 10 * (int)i);
    }
    assert_int_equal(dist_job_failures(job), 1);
    assert_int_equal(dist_job_failure_at(job, 0)->attempts, 2);
    dist_job_finish(&job);
}

CASE_ON("P-62", a_chunk_that_crashed_is_tried_again, ON_PROCESS, 20) {
    NOT_IN_PROCESS_POOLS("the task knows its items by their addresses");
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    plan->dies = true;
    plan->bad_tries[20] = 1;
    plan->bad_tries[47] = 2;
    assert_int_equal(run_chunks(plan, 2, out, &job), DIST_OK);
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(dist_job_failures(job), 0);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 10 * i);
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ random numbers */

enum { DRAWS = 3 };
struct draws {
    uint64_t number[DRAWS];
};

static int draw(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    unsigned try = counted(&plan->runs[i]);
    count(&plan->runs[i]);
    if (try < plan->bad_tries[i] && try % 2) dist_random(); /* attempts draw more, or fewer */
    for (int k = 0; k < DRAWS; k++) ((struct draws *)result)->number[k] = dist_random();
    if (try >= plan->bad_tries[i]) return 0;
    if (plan->dies) kill(getpid(), SIGKILL);
    return 1;
}

static void draw_all(struct plan *plan, dist_executor executor, struct draws out[ITEMS]) {
    memset(out, 0, ITEMS * sizeof *out);
    assert_int_equal(dist_map(draw, numbers(), ITEMS, out, .executor = executor, .workers = 3,
                              .seed = 11, .ctx = plan, .retries = 3),
                     DIST_OK);
}

CASE("G-19", retries_and_crashes_do_not_change_random_numbers) {
    NOT_IN_POOLS("compares with a call on another executor");
    struct draws expected[ITEMS], out[ITEMS];
    draw_all(new_plan(), DIST_INLINE, expected);
    for (int dies = 0; dies < (X == DIST_PROCESS ? 2 : 1); dies++) {
        struct plan *plan = new_plan();
        plan->dies = dies;
        for (int i = 0; i < ITEMS; i++)
            plan->bad_tries[i] = (unsigned)i % 5 ? 0 : 1 + (unsigned)i % 3;
        draw_all(plan, X, out);
        assert_int_equal(counted(&plan->runs[5]), 1 + plan->bad_tries[5]);
        assert_memory_equal(out, expected, sizeof out);
    }
}

static int draw_below(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    struct plan *plan = ctx, *inner = new_plan();
    unsigned try = counted(&plan->runs[i]);
    count(&plan->runs[i]);
    dist_status status = dist_map(draw, (const int *)item, 1, (struct draws *)result,
                                  .executor = DIST_INLINE, .ctx = inner);
    return status ? 2 : try < plan->bad_tries[i];
}

CASE("G-19", retries_do_not_change_the_random_numbers_of_nested_calls) {
    NOT_IN_POOLS("compares with a call on another executor");
    struct draws expected[ITEMS], out[ITEMS];
    struct plan *plan = new_plan();
    assert_int_equal(dist_map(draw_below, numbers(), ITEMS, expected, .executor = DIST_INLINE,
                              .seed = 3, .ctx = new_plan()),
                     DIST_OK);
    for (int i = 0; i < ITEMS; i += 7) plan->bad_tries[i] = 2;
    assert_int_equal(dist_map(draw_below, numbers(), ITEMS, out, .executor = X, .workers = 3,
                              .seed = 3, .ctx = plan, .retries = 2),
                     DIST_OK);
    assert_memory_equal(out, expected, sizeof out);
}
