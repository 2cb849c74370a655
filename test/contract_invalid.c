/* contract_invalid.c - what is refused, before anything runs. */
#include "contract.h"
#include "contract_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(unsigned) *ran;
static int out[64];

static int task(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    count(ran);
    if (result) *(int *)result = 99;
    return 0;
}

static int chunk_task(void *results, const void *items, size_t n, void *ctx) {
    for (size_t i = 0; i < n; i++) task((int *)results + i, items, ctx);
    return 0;
}

static int index_task(size_t index, void *ctx) {
    (void)index;
    return task(NULL, NULL, ctx);
}

static void prepare(void) {
    if (!ran) ran = shared_memory(sizeof *ran);
    atomic_store(ran, 0);
    memset(out, -1, sizeof out);
}

static void assert_untouched(void) {
    assert_int_equal(counted(ran), 0);
    for (size_t i = 0; i < N(out); i++) assert_int_equal(out[i], -1);
}

/* The call was refused, said so, named the argument, and ran nothing. */
static void assert_refused(dist_status got, dist_status expected, const char *named) {
    const dist_error *e = dist_last_error();
    assert_int_equal(got, expected);
    assert_int_equal(e->status, expected);
    assert_int_equal(e->index, 0);
    if (!strstr(e->message, named)) fail_msg("\"%s\" does not name %s", e->message, named);
    assert_untouched();
}

static dist_status map_with(const dist_opts *opts) {
    return dist_map_fn(task, numbers(), 5, sizeof(int), out, sizeof(int), opts);
}

/* Every way to make a call, with these options. */
static void assert_all_refuse(const dist_opts *opts, dist_status expected, const char *named) {
    dist_task tasks[2] = {DIST_TASK("a", task, numbers(), &out[0]),
                          DIST_TASK("b", task, numbers(), &out[1])};
    prepare();
    assert_refused(map_with(opts), expected, named);
    assert_refused(
        dist_map_chunks_fn(chunk_task, numbers(), 5, sizeof(int), out, sizeof(int), opts), expected,
        named);
    assert_refused(dist_apply_fn(task, numbers(), sizeof(int), out, sizeof(int), opts), expected,
                   named);
    assert_refused(dist_for_fn(index_task, 5, opts), expected, named);
    assert_refused(dist_par_fn(tasks, 2, opts), expected, named);
}

CASE("G-15", a_wrong_size_of_the_options_is_refused) {
    static const size_t sizes[] = {0, 1, sizeof(dist_opts) - 8, sizeof(dist_opts) + 8, SIZE_MAX};
    for (size_t k = 0; k < N(sizes); k++)
        assert_all_refuse(&(dist_opts){.size = sizes[k], .executor = X}, DIST_INVALID, "size");
}

CASE("G-15", an_unknown_executor_is_refused) {
    static const int values[] = {-1, 17, 1 << 20};
    for (size_t k = 0; k < N(values); k++)
        assert_all_refuse(DIST_OPTS(.executor = (dist_executor)values[k]), DIST_INVALID,
                          "executor");
    assert_all_refuse(DIST_OPTS(.executor = DIST_AUTO), DIST_UNSUPPORTED, "executor");
}

CASE("G-15", a_missing_function_is_refused) {
    const dist_opts *opts = DIST_OPTS(.executor = X);
    prepare();
    assert_refused(dist_map_fn(NULL, numbers(), 5, 4, out, 4, opts), DIST_INVALID, "fn");
    assert_refused(dist_map_chunks_fn(NULL, numbers(), 5, 4, out, 4, opts), DIST_INVALID, "fn");
    assert_refused(dist_apply_fn(NULL, numbers(), 4, out, 4, opts), DIST_INVALID, "fn");
    assert_refused(dist_for_fn(NULL, 5, opts), DIST_INVALID, "fn");
    assert_refused(dist_par_fn(NULL, 5, opts), DIST_INVALID, "tasks");
    dist_task tasks[3] = {DIST_TASK("a", task, numbers(), &out[0]),
                          DIST_TASK("b", task, numbers(), &out[1]),
                          DIST_TASK("c", NULL, numbers(), &out[2])};
    assert_refused(dist_par_fn(tasks, 3, opts), DIST_INVALID, "tasks[2].fn");
    tasks[2].fn = task, tasks[0].fn = NULL;
    assert_refused(dist_par_fn(tasks, 3, opts), DIST_INVALID, "tasks[0].fn");
}

CASE("P-10", missing_items_are_refused) {
    const dist_opts *opts = DIST_OPTS(.executor = X);
    prepare();
    assert_refused(dist_map_fn(task, NULL, 3, 4, out, 4, opts), DIST_INVALID, "items");
    assert_refused(dist_map_chunks_fn(chunk_task, NULL, 3, 4, out, 4, opts), DIST_INVALID, "items");
}

CASE("G-15", arrays_larger_than_memory_are_refused) {
    const dist_opts *opts = DIST_OPTS(.executor = X);
    size_t n = SIZE_MAX / 4 + 2;
    prepare();
    assert_refused(dist_map_fn(task, numbers(), n, 4, out, 4, opts), DIST_INVALID, "n");
    assert_refused(dist_map_fn(task, numbers(), n, 1, out, 4, opts), DIST_INVALID, "out");
    assert_refused(dist_map_fn(task, numbers(), n, 4, NULL, 0, opts), DIST_INVALID, "items");
    assert_refused(dist_map_chunks_fn(chunk_task, numbers(), n, 4, out, 4, opts), DIST_INVALID,
                   "n");
    assert_refused(dist_map_fn(task, numbers(), SIZE_MAX, SIZE_MAX, out, 4, opts), DIST_INVALID,
                   "n");
}

CASE("P-13", two_tasks_of_one_name_are_refused) {
    const dist_opts *opts = DIST_OPTS(.executor = X);
    char copy[] = "twin";
    dist_task tasks[4] = {
        DIST_TASK("twin", task, numbers(), &out[0]), DIST_TASK("other", task, numbers(), &out[1]),
        DIST_TASK(copy, task, numbers(), &out[2]), DIST_TASK(NULL, task, numbers(), &out[3])};
    prepare();
    assert_refused(dist_par_fn(tasks, 4, opts), DIST_INVALID, "twin");
    tasks[2].name = NULL; /* any number of tasks may have none */
    assert_int_equal(dist_par_fn(tasks, 4, opts), DIST_OK);
    assert_int_equal(counted(ran), 4);
}

/* One row for each option that is not built. */
#define OPTION(field)                                                                              \
    { #field, offsetof(dist_opts, field), sizeof((dist_opts *)0)->field }
struct option {
    const char *name;
    size_t offset, size;
};
static const struct option not_built[] = {OPTION(trace)};
static const struct option not_of_calls[] = {
    OPTION(in_flight),     OPTION(stack_size),  OPTION(tasks_per_worker),
    OPTION(worker_memory), OPTION(max_pending), OPTION(strict),
};

static void set_option(dist_opts *opts, size_t offset, size_t size) {
    memset((char *)opts + offset, 1, size);
}

CASE("G-15", each_option_that_is_not_built_is_named) {
    for (size_t k = 0; k < N(not_built); k++) {
        dist_opts opts = {.size = sizeof opts, .executor = X};
        set_option(&opts, not_built[k].offset, not_built[k].size);
        assert_all_refuse(&opts, DIST_UNSUPPORTED, not_built[k].name);
    }
}

CASE("G-15", an_option_not_of_calls_is_refused_by_calls) {
    for (size_t k = 0; k < N(not_of_calls); k++) {
        dist_opts opts = {.size = sizeof opts, .executor = X};
        set_option(&opts, not_of_calls[k].offset, not_of_calls[k].size);
        assert_all_refuse(&opts, DIST_INVALID, not_of_calls[k].name);
    }
}

CASE("G-15", each_task_field_that_is_wrong_is_named) {
    const dist_opts *opts = DIST_OPTS(.executor = X);
    dist_task tasks[2] = {DIST_TASK("a", task, numbers(), &out[0]),
                          DIST_TASK("b", task, numbers(), &out[1])};
    prepare();
    tasks[1].timeout = -0.5;
    assert_refused(dist_par_fn(tasks, 2, opts), DIST_INVALID, "tasks[1].timeout");
}

CASE("G-15", a_refused_call_fills_error_and_gives_no_job) {
    static const int what[] = {0, 1, 2, 3};
    for (size_t k = 0; k < N(what); k++) {
        dist_error e;
        dist_job *job = (dist_job *)(uintptr_t)0xdead;
        memset(&e, -1, sizeof e);
        dist_opts opts = {.size = sizeof opts, .executor = X, .error = &e, .job = &job};
        if (k == 0) opts.trace = "trace";
        if (k == 1) opts.executor = (dist_executor)99;
        if (k == 2) opts.executor = DIST_AUTO;
        prepare();
        dist_status status = dist_map_fn(k == 3 ? NULL : task, numbers(), 5, 4, out, 4, &opts);
        assert_int_equal(status, k == 0 || k == 2 ? DIST_UNSUPPORTED : DIST_INVALID);
        assert_int_equal(e.status, status);
        assert_memory_equal(&e, dist_last_error(), sizeof e);
        assert_true(strlen(e.message) > 0);
        assert_null(job);
        assert_untouched();
    }
}

CASE("G-15", a_refused_call_says_why_even_if_empty) {
    prepare();
    assert_int_equal(dist_map(task, numbers(), 0, out, .executor = X, .trace = "trace"),
                     DIST_UNSUPPORTED);
    assert_int_equal(dist_map_fn(NULL, numbers(), 0, 4, out, 4, DIST_OPTS(.executor = X)),
                     DIST_INVALID);
    assert_untouched();
}

/* The fuzzed call: which tasks fail, how often each ran. */
struct fuzz {
    _Atomic(unsigned) runs[32];
    uint32_t failing; /* bit i: item i fails */
};

static int fuzz_item(size_t i, int *result, struct fuzz *fuzz) {
    count(&fuzz->runs[i]);
    count(ran);
    if (result) *result = (int)i;
    return fuzz->failing >> i & 1;
}

static int fuzz_map(void *result, const void *item, void *ctx) {
    return fuzz_item((size_t) * (const int *)item, result, ctx);
}

static int fuzz_chunk(void *results, const void *items, size_t n, void *ctx) {
    for (size_t i = 0; i < n; i++)
        if (fuzz_map((int *)results + i, (const int *)items + i, ctx)) dist_fail_at(i, 1, "chosen");
    return 0;
}

static int fuzz_index(size_t index, void *ctx) { return fuzz_item(index, NULL, ctx); }

static bool chance(uint32_t *random, uint32_t one_in) { return random_below(random, one_in) == 0; }

static dist_opts random_options(uint32_t *random) {
    static const dist_executor wrong[] = {DIST_AUTO, (dist_executor)5, (dist_executor)-1};
    static const size_t sizes[] = {1, 2, 7, 31, 32, SIZE_MAX / 2, SIZE_MAX};
    dist_opts opts = {.size = sizeof opts, .executor = X};
    if (chance(random, 15)) opts.executor = wrong[random_below(random, 3)];
    if (chance(random, 20)) opts.size = random_next(random) % (2 * sizeof opts);
    if (chance(random, 8)) {
        size_t k = random_below(random, N(not_built));
        set_option(&opts, not_built[k].offset, not_built[k].size);
    }
    if (chance(random, 2)) opts.workers = random_below(random, X == DIST_PROCESS ? 4 : 20);
    if (chance(random, 2)) opts.chunk = sizes[random_below(random, N(sizes))];
    if (chance(random, 3)) opts.max_failures = sizes[random_below(random, N(sizes))];
    opts.silent = chance(random, 2);
    opts.in_place = chance(random, 4);
    return opts;
}

static dist_status random_call(uint32_t *random, size_t n, const dist_opts *opts, int *results) {
    static dist_task tasks[32];
    dist_fn fn = chance(random, 20) ? NULL : fuzz_map;
    const int *items = chance(random, 20) ? NULL : numbers();
    int *to = chance(random, 5) ? NULL : results;
    switch (random_below(random, 5)) {
    case 0: return dist_map_fn(fn, items, n, sizeof(int), to, sizeof(int), opts);
    case 1:
        return dist_map_chunks_fn(fn ? fuzz_chunk : NULL, items, n, sizeof(int), results,
                                  sizeof(int), opts);
    case 2: return dist_for_fn(fn ? fuzz_index : NULL, n, opts);
    case 3: return dist_apply_fn(fn, numbers(), sizeof(int), to, sizeof(int), opts);
    default: break;
    }
    for (size_t i = 0; i < n; i++)
        tasks[i] = (dist_task){.fn = fuzz_map,
                               .arg = &numbers()[i],
                               .arg_size = sizeof(int),
                               .result = to ? &to[i] : NULL,
                               .result_size = sizeof(int)};
    if (n && chance(random, 10)) tasks[random_below(random, (uint32_t)n)].fn = NULL;
    return dist_par_fn(tasks, n, opts);
}

static void fuzz_once(uint32_t *random, struct fuzz *fuzz) {
    int results[32];
    dist_job *job = NULL;
    dist_error e;
    size_t n = random_below(random, 33);
    dist_opts opts = random_options(random);
    memset(fuzz->runs, 0, sizeof fuzz->runs);
    memset(results, -1, sizeof results);
    atomic_store(ran, 0);
    fuzz->failing = chance(random, 2) ? 0 : random_next(random) & random_next(random);
    opts.ctx = fuzz;
    if (chance(random, 2)) opts.job = &job;
    if (chance(random, 2)) opts.error = &e;
    dist_status status = random_call(random, n, &opts, results);
    assert_in_range(status, DIST_OK, DIST_STATUS_COUNT - 1);
    bool refused = status == DIST_INVALID || status == DIST_UNSUPPORTED;
    assert_true(refused || status == DIST_OK || status == DIST_FAILED);
    if (refused) {
        assert_int_equal(counted(ran), 0);
        assert_null(opts.size == sizeof opts ? job : NULL);
        assert_true(strlen(dist_last_error()->message) > 0);
        return;
    }
    if (opts.job) assert_non_null(job);
    size_t count = job ? dist_job_count(job) : 0;
    for (size_t i = 0; i < count; i++) {
        const dist_error *outcome = dist_job_outcome(job, i);
        bool skipped = outcome && outcome->status == DIST_SKIPPED;
        assert_int_equal(counted(&fuzz->runs[i]), !skipped);
        if (!skipped) assert_int_equal(outcome != NULL, fuzz->failing >> i & 1);
        if (!opts.in_place) assert_true(results[i] == -1 || (results[i] == (int)i && !outcome));
    }
    dist_job_finish(&job);
}

CASE_ON("G-15", no_options_whatever_crash_or_run_in_part, ON_ALL, 30) {
    struct fuzz *fuzz = shared_memory(sizeof *fuzz);
    uint32_t random = random_seed();
    prepare();
    for (unsigned i = 0; again(i, rounds(20000, 2000)); i++) fuzz_once(&random, fuzz);
}
