/* contract_names.c - named items: looked up in the ended call, and told to the task. */
#include "contract.h"
#include "contract_tools.h"

#include <string.h>

static int length_of_own_name(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (*(const int *)item < 0) return dist_fail(5, "negative");
    *(size_t *)result = dist_name() ? strlen(dist_name()) : 0;
    return 0;
}

CASE("P-12", named_results_are_found_by_name) {
    static const char *const names[] = {"btc", "ether", NULL, "xrp"};
    size_t out[4] = {9, 9, 9, 9};
    dist_job *job;
    assert_int_equal(dist_map(length_of_own_name, numbers(), 4, out, .executor = X, .workers = 2,
                              .names = names, .job = &job),
                     DIST_OK);
    assert_ptr_equal(dist_job_named(job, "ether"), &out[1]);
    assert_ptr_equal(dist_job_named(job, "xrp"), &out[3]);
    assert_null(dist_job_named(job, "nobody"));
    assert_null(dist_job_named(job, NULL));
    assert_int_equal(out[0], 3);
    assert_int_equal(out[1], 5);
    assert_int_equal(out[2], 0);
    dist_job_finish(&job);
}

CASE("P-12", a_failed_item_has_a_name_and_no_result) {
    static const char *const names[] = {"good", "bad", "late"};
    const int in[] = {1, -1, 2};
    size_t out[3];
    dist_job *job;
    dist_error error;
    assert_int_equal(dist_map(length_of_own_name, in, 3, out, .executor = X, .workers = 1,
                              .names = names, .job = &job, .error = &error),
                     DIST_FAILED);
    assert_string_equal(error.name, "bad");
    assert_null(dist_job_named(job, "bad"));
    assert_non_null(dist_job_named(job, "good"));
    assert_null(dist_job_named(job, "late"));
    assert_string_equal(dist_job_outcome(job, 2)->name, "late");
    dist_job_finish(&job);
}

static int chunk_name(void *results, const void *items, size_t n, void *ctx) {
    (void)items, (void)ctx;
    for (size_t i = 0; i < n; i++) ((char *)results)[i] = dist_name()[0];
    return 0;
}

CASE("P-12", a_chunk_has_the_name_of_its_first_item) {
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    char out[6] = "-----";
    assert_int_equal(
        dist_map_chunks(chunk_name, numbers(), 5, out, .executor = X, .chunk = 2, .names = names),
        DIST_OK);
    assert_string_equal(out, "aacce");
}

CASE("P-13", two_items_of_one_name_are_refused) {
    char copy[] = "twin";
    const char *const names[] = {"other", "twin", NULL, NULL, copy};
    size_t out[5] = {9, 9, 9, 9, 9};
    assert_int_equal(dist_map(length_of_own_name, numbers(), 5, out, .executor = X, .names = names),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "names"));
    assert_non_null(strstr(dist_last_error()->message, "twin"));
    for (int i = 0; i < 5; i++) assert_int_equal(out[i], 9);
}

CASE("P-12", par_tasks_keep_their_own_names) {
    static const char *const names[] = {"a"};
    size_t out = 0;
    dist_task tasks[] = {DIST_TASK("own", length_of_own_name, numbers(), &out)};
    assert_int_equal(dist_par(tasks, 1, .executor = X, .names = names), DIST_INVALID);
    assert_int_equal(dist_par(tasks, 1, .executor = X), DIST_OK);
    assert_int_equal(out, 3);
}
