/* contract_jobs.c - looking at an ended call. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <string.h>

/* Items 3, 5 and 8 of 10 fail. */
static int three_fail(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    (void)ctx;
    *(int *)result = 10 * i;
    return i == 3 || i == 5 || i == 8 ? dist_fail(EIO, "item %d", i) : 0;
}

static int index_fails(size_t index, void *ctx) {
    (void)ctx;
    return index == 3 ? 1 : 0;
}

static const int good[7] = {0, 10, 20, 40, 60, 70, 90};

static dist_job *silent_job(int out[10]) {
    dist_job *job = NULL;
    memset(out, -1, 10 * sizeof *out);
    assert_int_equal(dist_map(three_fail, numbers(), 10, out, .executor = X, .workers = 2,
                              .silent = true, .job = &job),
                     DIST_OK);
    assert_non_null(job);
    return job;
}

CASE("P-36", a_job_counts_its_failures) {
    int out[10];
    dist_job *job = silent_job(out);
    assert_int_equal(dist_job_count(job), 10);
    assert_int_equal(dist_job_failures(job), 3);
    dist_job_finish(&job);
    assert_int_equal(dist_map(three_fail, numbers(), 3, out, .executor = X, .job = &job), DIST_OK);
    assert_int_equal(dist_job_count(job), 3);
    assert_int_equal(dist_job_failures(job), 0);
    dist_job_finish(&job);
}

CASE("P-37", failures_stand_in_index_order) {
    int out[10];
    dist_job *job = silent_job(out);
    for (size_t k = 0; k < 3; k++) {
        const dist_error *e = dist_job_failure_at(job, k);
        assert_int_equal(e->index, ((size_t[]){3, 5, 8})[k]);
        assert_int_equal(e->status, DIST_FAILED);
        assert_int_equal(e->code, EIO);
        assert_ptr_equal(e->item, &numbers()[e->index]);
        assert_string_equal(e->message, ((const char *[]){"item 3", "item 5", "item 8"})[k]);
        assert_ptr_equal(e, dist_job_outcome(job, e->index));
    }
    assert_null(dist_job_failure_at(job, 3));
    assert_null(dist_job_failure_at(job, SIZE_MAX));
    dist_job_finish(&job);
}

CASE("P-37", outcome_tells_of_each_item) {
    int out[10];
    dist_job *job = silent_job(out);
    for (size_t i = 0; i < 10; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        assert_int_equal(e != NULL, i == 3 || i == 5 || i == 8);
        if (e) assert_int_equal(e->index, i);
    }
    assert_null(dist_job_outcome(job, 10));
    assert_null(dist_job_outcome(job, SIZE_MAX));
    dist_job_finish(&job);
}

CASE("P-38", succeeded_packs_the_good_results) {
    int out[10], packed[10];
    dist_job *job = silent_job(out);
    memset(packed, -1, sizeof packed);
    assert_int_equal(dist_job_succeeded(job, NULL), 7);
    assert_int_equal(dist_job_succeeded(job, packed), 7);
    assert_memory_equal(packed, good, sizeof good);
    for (int i = 7; i < 10; i++) assert_int_equal(packed[i], -1);
    dist_job_finish(&job);
}

CASE("P-39", replace_failed_fills_a_copy) {
    int out[10], copy[10];
    dist_job *job = silent_job(out);
    assert_int_equal(dist_job_replace_failed(job, &(int){77}, copy), DIST_OK);
    for (int i = 0; i < 10; i++) {
        bool bad = i == 3 || i == 5 || i == 8;
        assert_int_equal(copy[i], bad ? 77 : 10 * i);
        assert_int_equal(out[i], bad ? -1 : 10 * i);
    }
    dist_job_finish(&job);
}

CASE("P-39", replace_failed_fills_out_itself) {
    int out[10], packed[10];
    dist_job *job = silent_job(out);
    assert_int_equal(dist_job_replace_failed(job, &(int){77}, NULL), DIST_OK);
    for (int i = 0; i < 10; i++) assert_int_equal(out[i], i == 3 || i == 5 || i == 8 ? 77 : 10 * i);
    assert_int_equal(dist_job_failures(job), 3); /* the job itself is as before */
    assert_int_equal(dist_job_succeeded(job, packed), 7);
    assert_memory_equal(packed, good, sizeof good);
    dist_job_finish(&job);
}

CASE("P-39", replace_failed_needs_an_array_of_results) {
    dist_job *job;
    int out = 0;
    dist_task task = DIST_TASK("one", three_fail, &numbers()[3], &out);
    assert_int_equal(dist_for(index_fails, 5, .executor = X, .silent = true, .job = &job), DIST_OK);
    assert_int_equal(dist_job_replace_failed(job, &out, NULL), DIST_INVALID);
    dist_job_finish(&job);
    assert_int_equal(dist_par(&task, 1, .executor = X, .silent = true, .job = &job), DIST_OK);
    assert_int_equal(dist_job_replace_failed(job, &out, NULL), DIST_INVALID);
    assert_int_equal(dist_last_error()->status, DIST_INVALID);
    dist_job_finish(&job);
}

static int fail_fourth(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    return *(const int *)item == 3;
}

CASE("P-39", skipped_items_are_missing_too) {
    int out[10], copy[10], packed[10];
    dist_job *job;
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(three_fail, numbers(), 10, out, .executor = X, .workers = 1,
                              .chunk = 1, .job = &job),
                     DIST_FAILED);
    for (size_t i = 4; i < 10; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        assert_non_null(e);
        assert_int_equal(e->status, DIST_SKIPPED);
        assert_int_equal(e->index, i);
        assert_ptr_equal(e->item, &numbers()[i]);
        assert_int_equal(e->attempts, 0);
        assert_true(strlen(e->message) > 0);
        assert_string_equal(dist_job_outcome(job, i)->message, e->message);
    }
    assert_int_equal(dist_job_failures(job), 1);
    assert_int_equal(dist_job_succeeded(job, packed), 3);
    assert_memory_equal(packed, good, 3 * sizeof *good);
    assert_int_equal(dist_job_replace_failed(job, &(int){77}, copy), DIST_OK);
    for (int i = 0; i < 10; i++) assert_int_equal(copy[i], i < 3 ? 10 * i : 77);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    assert_null(job);
}

CASE("P-47", finish_tells_the_outcome_and_clears_the_pointer) {
    int out[10];
    dist_job *job = silent_job(out);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    assert_null(job);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(dist_job_finish(NULL), DIST_OK);
    assert_int_equal(dist_map(three_fail, numbers(), 3, out, .executor = X, .job = &job), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_null(job);
}

CASE("P-36", no_job_is_an_empty_job) {
    int packed = 5;
    assert_int_equal(dist_job_count(NULL), 0);
    assert_int_equal(dist_job_failures(NULL), 0);
    assert_null(dist_job_failure_at(NULL, 0));
    assert_null(dist_job_outcome(NULL, 0));
    assert_null(dist_job_named(NULL, "x"));
    assert_int_equal(dist_job_succeeded(NULL, &packed), 0);
    assert_int_equal(packed, 5);
    assert_int_equal(dist_job_replace_failed(NULL, &packed, &packed), DIST_INVALID);
    int out[10];
    dist_job *job = silent_job(out);
    assert_int_equal(dist_job_replace_failed(job, NULL, &packed), DIST_INVALID);
    assert_null(dist_job_named(job, "x"));
    assert_null(dist_job_named(job, NULL));
    dist_job_finish(&job);
}

CASE("P-36", a_job_of_no_items_is_empty) {
    int out = 5;
    dist_job *job = NULL;
    assert_int_equal(dist_map(three_fail, numbers(), 0, &out, .executor = X, .job = &job), DIST_OK);
    assert_non_null(job);
    assert_int_equal(dist_job_count(job), 0);
    assert_int_equal(dist_job_failures(job), 0);
    assert_null(dist_job_outcome(job, 0));
    assert_int_equal(dist_job_succeeded(job, &out), 0);
    assert_int_equal(dist_job_replace_failed(job, &(int){77}, NULL), DIST_OK);
    assert_int_equal(out, 5);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

static int chunk_fails(void *results, const void *items, size_t n, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        if (three_fail((int *)results + i, (const int *)items + i, NULL)) dist_fail_at(i, 4, "no");
    return 0;
}

CASE("P-36", every_kind_of_call_gives_a_job) {
    int out[10], packed[10];
    dist_job *job;
    assert_int_equal(dist_map_chunks(chunk_fails, numbers(), 10, out, .executor = X, .chunk = 4,
                                     .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 3);
    assert_int_equal(dist_job_succeeded(job, packed), 7);
    assert_memory_equal(packed, good, sizeof good);
    dist_job_finish(&job);
    assert_int_equal(dist_for(index_fails, 10, .executor = X, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_count(job), 10);
    assert_int_equal(dist_job_failure_at(job, 0)->index, 3);
    assert_null(dist_job_failure_at(job, 0)->item);
    assert_int_equal(dist_job_succeeded(job, NULL), 9);
    assert_int_equal(dist_job_succeeded(job, packed), 9);
    dist_job_finish(&job);
    assert_int_equal(
        dist_apply(three_fail, &numbers()[5], out, .executor = X, .silent = true, .job = &job),
        DIST_OK);
    assert_int_equal(dist_job_count(job), 1);
    assert_int_equal(dist_job_outcome(job, 0)->code, EIO);
    assert_ptr_equal(dist_job_outcome(job, 0)->item, &numbers()[5]);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("P-38", a_job_of_par_packs_and_names_results) {
    int out[4] = {-1, -1, -1, -1}, packed[4];
    dist_job *job;
    dist_task tasks[] = {DIST_TASK("a", three_fail, &numbers()[1], &out[0]),
                         DIST_TASK("b", three_fail, &numbers()[3], &out[1]),
                         DIST_TASK("c", three_fail, &numbers()[2], &out[2]),
                         DIST_TASK("d", fail_fourth, &numbers()[1], &out[3])};
    assert_int_equal(dist_par(tasks, 4, .executor = X, .silent = true, .job = &job), DIST_OK);
    assert_int_equal(dist_job_count(job), 4);
    assert_int_equal(dist_job_failures(job), 1);
    assert_string_equal(dist_job_failure_at(job, 0)->name, "b");
    assert_int_equal(dist_job_succeeded(job, packed), 3);
    assert_memory_equal(packed, ((int[]){10, 20, -1}), 3 * sizeof *packed);
    assert_ptr_equal(dist_job_named(job, "c"), &out[2]);
    assert_null(dist_job_named(job, "b"));
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("P-39", a_map_without_results_has_nothing_to_replace) {
    dist_job *job;
    assert_int_equal(
        dist_map(fail_fourth, numbers(), 5, DIST_NONE, .executor = X, .silent = true, .job = &job),
        DIST_OK);
    assert_int_equal(dist_job_replace_failed(job, "", NULL), DIST_INVALID);
    assert_int_equal(dist_job_succeeded(job, NULL), 4);
    dist_job_finish(&job);
}
