/* contract_chunks.c - map over neighbouring items. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <string.h>

struct calls { /* what the chunk function saw */
    _Atomic(unsigned) made, wrong;
    _Atomic(unsigned) items[PRIME];       /* how often each was processed */
    _Atomic(unsigned) size_at[PRIME + 1]; /* of the chunk that began there */
    int fail_at[4];                       /* items to stop at, -1: none */
};

static struct calls *new_calls(void) {
    struct calls *calls = shared_memory(sizeof *calls);
    for (size_t k = 0; k < N(calls->fail_at); k++) calls->fail_at[k] = -1;
    return calls;
}

static int triple(void *results, const void *items, size_t n, void *ctx) {
    struct calls *calls = ctx;
    const int *in = items;
    int *out = results;
    count(&calls->made);
    if (n == 0) {
        count(&calls->wrong);
        return 0;
    }
    if (dist_index() != (size_t)in[0]) count(&calls->wrong);
    for (size_t i = 0; i < n; i++) {
        count(&calls->items[in[i]]);
        if (in[i] != in[0] + (int)i) count(&calls->wrong);
        out[i] = 3 * in[i];
    }
    for (size_t i = 0; i < n; i++) count(&calls->size_at[in[0]]);
    return 0;
}

static void check_chunks(size_t n, unsigned workers, size_t chunk) {
    struct calls *calls = new_calls();
    int out[PRIME];
    assert_int_equal(dist_map_chunks(triple, numbers(), n, out, .executor = X, .workers = workers,
                                     .chunk = chunk, .ctx = calls),
                     DIST_OK);
    assert_int_equal(counted(&calls->wrong), 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(counted(&calls->items[i]), 1);
        assert_int_equal(out[i], 3 * (int)i);
    }
    size_t made = counted(&calls->made);
    if (!workers) return;
    assert_int_equal(made, chunk ? (n - 1) / chunk + 1 : n < workers ? n : workers);
    for (size_t k = 0; k < made; k++) {
        dist_range c = chunk ? dist_chunk(n, chunk, k) : dist_split(n, made, k);
        assert_int_equal(counted(&calls->size_at[c.begin]), c.count);
    }
}

CASE("P-53", chunks_are_concatenated_in_order) {
    static const size_t counts[] = {1, 2, 3, 7, 9, 101, PRIME};
    for (size_t k = 0; k < N(counts); k++)
        for (unsigned workers = 0; workers < 6; workers++) check_chunks(counts[k], workers, 0);
}

CASE("P-53", chunk_sets_the_size_of_chunks) {
    static const size_t counts[] = {1, 7, 9, 101, PRIME}, sizes[] = {1, 2, 3, 50, 2000, 1013};
    for (size_t k = 0; k < N(counts); k++)
        for (size_t s = 0; s < N(sizes); s++)
            if (counts[k] < 200 || sizes[s] > 2) /* a fork for each chunk is not the point here */
                check_chunks(counts[k], 3, sizes[s] < counts[k] ? sizes[s] : counts[k]);
}

CASE("P-54", no_chunk_is_empty) {
    check_chunks(1, 50, 0);
    check_chunks(3, 50, 0);
    check_chunks(49, 50, 0);
}

CASE("P-55", nine_items_over_four_workers_are_three_two_two_two) {
    struct calls *calls = new_calls();
    int out[9];
    assert_int_equal(
        dist_map_chunks(triple, numbers(), 9, out, .executor = X, .workers = 4, .ctx = calls),
        DIST_OK);
    assert_int_equal(counted(&calls->size_at[0]), 3);
    assert_int_equal(counted(&calls->size_at[3]), 2);
    assert_int_equal(counted(&calls->size_at[5]), 2);
    assert_int_equal(counted(&calls->size_at[7]), 2);
}

static int scale(void *results, const void *items, size_t n, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < n; i++) ((double *)results)[i] = ((const double *)items)[i] * 1.275;
    return 0;
}

CASE("D-05", a_chunk_function_scales_a_list) {
    static double in[1000], out[1000];
    for (int i = 0; i < 1000; i++) in[i] = i;
    assert_int_equal(dist_map_chunks(scale, in, 1000, out, .executor = X, .workers = 3), DIST_OK);
    for (int i = 0; i < 1000; i++) assert_true(out[i] == i * 1.275);
}

/* Processes items until the one to stop at. */
static int stop_at(void *results, const void *items, size_t n, void *ctx) {
    struct calls *calls = ctx;
    const int *in = items;
    for (size_t i = 0; i < n; i++) {
        count(&calls->items[in[i]]);
        ((int *)results)[i] = 3 * in[i];
        for (size_t k = 0; k < N(calls->fail_at); k++)
            if (calls->fail_at[k] == in[i]) return dist_fail_at(i, ENOENT, "no item %d", in[i]);
    }
    return 0;
}

CASE("P-57", a_chunk_that_fails_names_its_first_item) {
    int out[9];
    dist_error e;
    struct calls *calls = new_calls();
    calls->fail_at[0] = 4;
    assert_int_equal(dist_map_chunks(stop_at, numbers(), 9, out, .executor = X, .workers = 3,
                                     .ctx = calls, .error = &e),
                     DIST_FAILED);
    assert_int_equal(e.index, 4);
    assert_int_equal(e.code, ENOENT);
    assert_string_equal(e.message, "no item 4");
    assert_ptr_equal(e.item, &numbers()[4]);
}

static int fail_second_chunk(void *results, const void *items, size_t n, void *ctx) {
    const int *in = items;
    (void)ctx;
    for (size_t i = 0; i < n; i++) ((int *)results)[i] = 3 * in[i];
    return in[0] == 3 ? dist_fail(EPERM, "not this chunk") : 0;
}

CASE("P-57", a_chunk_that_names_no_item_fails_as_a_whole) {
    int out[9];
    dist_error e;
    dist_job *job;
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map_chunks(fail_second_chunk, numbers(), 9, out, .executor = X,
                                     .workers = 3, .error = &e),
                     DIST_FAILED);
    assert_int_equal(e.index, 3);
    assert_string_equal(e.message, "not this chunk");
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map_chunks(fail_second_chunk, numbers(), 9, out, .executor = X,
                                     .workers = 3, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 3);
    for (size_t i = 0; i < 9; i++) {
        bool bad = i >= 3 && i < 6;
        assert_int_equal(out[i], bad ? -1 : 3 * (int)i);
        assert_int_equal(dist_job_outcome(job, i) != NULL, bad);
        if (bad) assert_int_equal(dist_job_outcome(job, i)->code, EPERM);
    }
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

/* Each item is processed once, and only those to stop at fail. */
static void check_resume(size_t n, unsigned workers, size_t chunk, const int fail_at[4]) {
    int out[PRIME];
    dist_job *job;
    struct calls *calls = new_calls();
    memcpy(calls->fail_at, fail_at, sizeof calls->fail_at);
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map_chunks(stop_at, numbers(), n, out, .executor = X, .workers = workers,
                                     .chunk = chunk, .ctx = calls, .silent = true, .job = &job),
                     DIST_OK);
    size_t failures = 0;
    for (size_t i = 0; i < n; i++) {
        bool bad = false;
        for (int k = 0; k < 4; k++) bad |= fail_at[k] == (int)i;
        failures += bad;
        assert_int_equal(counted(&calls->items[i]), 1);
        assert_int_equal(out[i], bad ? -1 : 3 * (int)i);
        assert_int_equal(dist_job_outcome(job, i) != NULL, bad);
    }
    assert_int_equal(dist_job_failures(job), failures);
    dist_job_finish(&job);
}

CASE("G-13", a_chunk_that_stopped_goes_on_after_the_bad_item) {
    check_resume(10, 1, 10, (int[4]){3, -1, -1, -1});
    check_resume(10, 1, 10, (int[4]){0, 9, -1, -1});
    check_resume(10, 2, 4, (int[4]){3, 4, 5, -1});
    check_resume(101, 3, 0, (int[4]){100, 0, 50, 51});
    check_resume(PRIME, 3, 100, (int[4]){99, 100, 350, 1008});
}

CASE("G-13", after_a_bad_item_the_rest_of_its_chunk_is_skipped) {
    int out[10];
    dist_job *job;
    struct calls *calls = new_calls();
    calls->fail_at[0] = 3;
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map_chunks(stop_at, numbers(), 10, out, .executor = X, .workers = 1,
                                     .chunk = 10, .ctx = calls, .job = &job),
                     DIST_FAILED);
    for (size_t i = 0; i < 10; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        assert_int_equal(e ? e->status : DIST_OK, i < 3    ? DIST_OK
                                                  : i == 3 ? DIST_FAILED
                                                           : DIST_SKIPPED);
        assert_int_equal(out[i], i < 3 ? 3 * (int)i : -1);
        assert_int_equal(counted(&calls->items[i]), i <= 3);
    }
    dist_job_finish(&job);
}

static int name_some(void *results, const void *items, size_t n, void *ctx) {
    (void)ctx;
    for (size_t i = n; i-- > 0;) { /* from behind: the order of naming is of no concern */
        int x = ((const int *)items)[i];
        ((int *)results)[i] = 3 * x;
        if (x % 4 == 1) dist_fail_at(i, x + 1, "item %d", x);
    }
    return 0;
}

CASE("G-13", a_chunk_that_returns_zero_fails_only_the_items_it_named) {
    int out[101];
    dist_job *job;
    for (size_t chunk = 1; chunk < 30; chunk += 7) {
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map_chunks(name_some, numbers(), 101, out, .executor = X,
                                         .workers = 3, .chunk = chunk, .silent = true, .job = &job),
                         DIST_OK);
        assert_int_equal(dist_job_failures(job), 25);
        for (int i = 0; i < 101; i++) {
            const dist_error *e = dist_job_outcome(job, (size_t)i);
            assert_int_equal(out[i], i % 4 == 1 ? -1 : 3 * i);
            assert_int_equal(e != NULL, i % 4 == 1);
            if (e) assert_int_equal(e->code, i + 1);
        }
        assert_int_equal(dist_job_failure_at(job, 7)->index, 29);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

static int name_past_the_end(void *results, const void *items, size_t n, void *ctx) {
    (void)results, (void)items, (void)ctx;
    dist_fail_at(n, 9, "past the end");
    return 0;
}

CASE("G-13", naming_an_item_past_the_chunk_is_no_success) {
    int out[10];
    dist_error e;
    assert_int_equal(dist_map_chunks(name_past_the_end, numbers(), 10, out, .executor = X,
                                     .workers = 2, .error = &e),
                     DIST_FAILED);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.code, 9);
}

static int count_items(void *results, const void *items, size_t n, void *ctx) {
    struct calls *calls = ctx;
    if (results) count(&calls->wrong);
    for (size_t i = 0; i < n; i++) count(&calls->items[((const int *)items)[i]]);
    return 0;
}

CASE("P-57", chunks_without_results_get_none) {
    struct calls *calls = new_calls();
    assert_int_equal(dist_map_chunks(count_items, numbers(), 101, DIST_NONE, .executor = X,
                                     .workers = 3, .ctx = calls),
                     DIST_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(counted(&calls->items[i]), 1);
    assert_int_equal(counted(&calls->wrong), 0);
}
