/* contract_map.c - order, inputs and results of map, for and apply. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

CASE("P-01", map_returns_results_in_item_order) {
    int out[PRIME];
    assert_int_equal(dist_map(square, numbers(), PRIME, out, .executor = X), DIST_OK);
    for (int i = 0; i < PRIME; i++) assert_int_equal(out[i], i * i);
}

static int sleep_ms(void *result, const void *item, void *ctx) {
    (void)ctx;
    nap(*(const int *)item * 1e-3);
    *(int *)result = *(const int *)item;
    return 0;
}

CASE("P-01", slow_items_keep_their_places) {
    const int in[3] = {30, 10, 20};
    int out[3] = {0};
    assert_int_equal(dist_map(sleep_ms, in, 3, out, .executor = X, .workers = 3), DIST_OK);
    assert_memory_equal(out, in, sizeof in);
}

struct many {
    _Atomic(unsigned) runs[PRIME];
    _Atomic(unsigned) wrong;
};

static int once(void *result, const void *item, void *ctx) {
    struct many *many = ctx;
    size_t index = dist_index();
    count(&many->runs[index]);
    if (*(const int *)item != (int)index || dist_attempt() != 1) count(&many->wrong);
    *(int *)result = -(int)index;
    return 0;
}

/* Runs n of the numbers and checks each of them against the plain loop. */
static void check_map(struct many *many, size_t n, unsigned workers, size_t chunk) {
    int out[PRIME + 1];
    memset(many, 0, sizeof *many);
    for (size_t i = 0; i <= n; i++) out[i] = 12345;
    assert_int_equal(dist_map(once, numbers(), n, out, .executor = X, .workers = workers,
                              .chunk = chunk, .ctx = many),
                     DIST_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(counted(&many->runs[i]), 1);
        assert_int_equal(out[i], -(int)i);
    }
    assert_int_equal(out[n], 12345);
    assert_int_equal(counted(&many->wrong), 0);
}

CASE("P-03", every_item_runs_once_for_any_count_workers_and_chunk) {
    static const size_t counts[] = {1, 2, 3, 7, 101, PRIME}, chunks[] = {0, 1, 3, 64, SIZE_MAX};
    static const unsigned workers[] = {0, 1, 2, 5};
    struct many *many = shared_memory(sizeof *many);
    for (size_t n = 0; n < N(counts); n++)
        for (size_t w = 0; w < N(workers); w++)
            for (size_t c = 0; c < N(chunks); c++)
                check_map(many, counts[n], workers[w], chunks[c]);
}

CASE("M-06", chunk_zero_runs_everything) {
    struct many *many = shared_memory(sizeof *many);
    check_map(many, 2, 0, 0);
    check_map(many, PRIME, 3, 0);
}

CASE_ON("M-05", a_million_items_are_all_there, ON_ALL, 30) {
    size_t n = SANITIZED ? 100003 : 1000003;
    int *in = malloc(n * sizeof *in), *out = malloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++) in[i] = (int)(i % 40000);
    assert_int_equal(dist_map(square, in, n, out, .executor = X), DIST_OK);
    for (size_t i = 0; i < n; i++)
        if (out[i] != in[i] * in[i]) assert_int_equal(out[i], in[i] * in[i]);
    memset(out, 0, n * sizeof *out);
    assert_int_equal(dist_map(square, in, n, out, .executor = X, .chunk = 7, .workers = 3),
                     DIST_OK);
    for (size_t i = 0; i < n; i++)
        if (out[i] != in[i] * in[i]) assert_int_equal(out[i], in[i] * in[i]);
    free(in);
    free(out);
}

static _Atomic(unsigned) forks;
static void count_fork(void) { count(&forks); }

static int must_not_run(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    return 1;
}

static int chunk_must_not_run(void *results, const void *items, size_t n, void *ctx) {
    (void)n;
    return must_not_run(results, items, ctx);
}

static int index_must_not_run(size_t index, void *ctx) {
    (void)index;
    return must_not_run(NULL, NULL, ctx);
}

CASE("P-08", empty_input_starts_nothing) {
    NOT_IN_POOLS("counts threads");
    _Atomic(unsigned) *ran = shared_memory(sizeof *ran);
    unsigned threads = threads_before();
    int out = 7;
    const int *none = NULL;
    assert_int_equal(pthread_atfork(count_fork, NULL, NULL), 0);
    assert_int_equal(dist_map(must_not_run, none, 0, &out, .executor = X, .ctx = ran), DIST_OK);
    assert_int_equal(dist_map(must_not_run, numbers(), 0, &out, .executor = X, .workers = 4,
                              .chunk = 3, .ctx = ran),
                     DIST_OK);
    assert_int_equal(dist_map_chunks(chunk_must_not_run, none, 0, &out, .executor = X, .ctx = ran),
                     DIST_OK);
    assert_int_equal(dist_for(index_must_not_run, 0, .executor = X, .ctx = ran), DIST_OK);
    assert_int_equal(dist_par((dist_task *)NULL, 0, .executor = X, .ctx = ran), DIST_OK);
    assert_int_equal(counted(ran), 0);
    assert_int_equal(counted(&forks), 0);
    assert_int_equal(out, 7);
    assert_true(entries("task") <= threads);
}

struct mixed {
    char tag;
    double value;
    const struct mixed *next;
};

static int follow(void *result, const void *item, void *ctx) {
    const struct mixed *m = item;
    (void)ctx;
    *(struct mixed *)result = (struct mixed){m->tag, m->value + m->next->value, m};
    return 0;
}

CASE("P-11", structs_travel_whole_and_results_need_no_library) {
    NOT_IN_PROCESS_POOLS("items point to each other");
    struct mixed in[13], out[13];
    for (int i = 0; i < 13; i++) in[i] = (struct mixed){(char)('a' + i), i, &in[(i + 1) % 13]};
    assert_int_equal(dist_map(follow, in, 13, out, .executor = X, .workers = 3), DIST_OK);
    for (int i = 0; i < 13; i++) {
        assert_int_equal(out[i].tag, 'a' + i);
        assert_true(out[i].value == i + (i + 1) % 13);
        assert_ptr_equal(out[i].next, &in[i]);
    }
}

static int zero(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(int *)result = 0;
    return 0;
}

CASE("P-40", zero_is_a_valid_result) {
    int out[5] = {1, 2, 3, 4, 5};
    dist_job *job;
    assert_int_equal(dist_map(zero, numbers(), 5, out, .executor = X, .job = &job), DIST_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(out[i], 0);
        assert_null(dist_job_outcome(job, (size_t)i));
    }
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

static int times(void *result, const void *item, void *ctx) {
    *(int *)result = *(const int *)item * *(const int *)ctx;
    return 0;
}

CASE("D-07", one_context_serves_every_task) {
    int out[5], factor = 5;
    assert_int_equal(dist_map(times, numbers(), 5, out, .executor = X, .ctx = &factor), DIST_OK);
    for (int i = 0; i < 5; i++) assert_int_equal(out[i], 5 * i);
}

CASE("D-14", calls_follow_each_other) {
    int out[PRIME];
    for (int factor = 2; factor < 6; factor++) {
        assert_int_equal(dist_map(times, numbers(), PRIME, out, .executor = X, .ctx = &factor),
                         DIST_OK);
        for (int i = 0; i < PRIME; i++) assert_int_equal(out[i], factor * i);
    }
}

static int global;
static int *table;
enum { TABLE = 25 << 20 }; /* 100 MiB */

static int look_up(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = global + table[(TABLE - 1) / PRIME * *(const int *)item];
    return 0;
}

CASE("D-18", workers_see_the_memory_of_the_caller_as_of_the_call) {
    int out[PRIME];
    table = malloc(TABLE * sizeof *table);
    for (int i = 0; i < TABLE; i++) table[i] = i ^ 0x55;
    for (global = 100; global < 103; global++) {
        assert_int_equal(dist_map(look_up, numbers(), PRIME, out, .executor = X), DIST_OK);
        for (int i = 0; i < PRIME; i++)
            assert_int_equal(out[i], global + (((TABLE - 1) / PRIME * i) ^ 0x55));
    }
    free(table);
}

/* Bytes that this process alone keeps in memory, from /proc/self/smaps_rollup. */
static long private_kib(void) {
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "Private_Dirty: %ld", &kib);
    if (f) fclose(f);
    return kib;
}

static int read_all(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    long sum = 0;
    for (int i = 0; i < TABLE; i++) sum += table[i];
    *(long *)result = sum == 0 ? private_kib() : -2;
    return 0;
}

CASE_ON("D-18", a_large_table_is_read_without_a_copy, ON_PROCESS, 20) {
    if (SANITIZED || private_kib() < 0) skip();
    table = malloc(TABLE * sizeof *table);
    memset(table, 0, TABLE * sizeof *table);
    long kib[2];
    assert_int_equal(dist_map(read_all, numbers(), 2, kib, .executor = X, .workers = 2), DIST_OK);
    for (int i = 0; i < 2; i++) assert_in_range(kib[i], 0, TABLE * sizeof *table / 1024 / 4);
    free(table);
}

struct node {
    int value;
    struct node *left, *right;
};

static int sum_of(const struct node *node) {
    return node ? node->value + sum_of(node->left) + sum_of(node->right) : 0;
}

static int sum_tree(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = sum_of(*(struct node *const *)item);
    return 0;
}

CASE("D-23", tasks_follow_pointers_into_the_caller) {
    struct node nodes[127];
    for (int i = 0; i < 127; i++) {
        struct node *left = 2 * i + 1 < 127 ? &nodes[2 * i + 1] : NULL;
        struct node *right = 2 * i + 2 < 127 ? &nodes[2 * i + 2] : NULL;
        nodes[i] = (struct node){i, left, right};
    }
    struct node *roots[4] = {&nodes[0], &nodes[1], &nodes[2], NULL};
    int out[4];
    assert_int_equal(dist_map(sum_tree, roots, 4, out, .executor = X, .workers = 2), DIST_OK);
    assert_int_equal(out[0], 126 * 127 / 2);
    assert_int_equal(out[0], out[1] + out[2]);
    assert_int_equal(out[3], 0);
}

static int answer(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (result) *(int *)result = item ? *(const int *)item : 42;
    return 0;
}

CASE("M-10", apply_calls_once_with_or_without_argument) {
    int out = 0, in = 7;
    assert_int_equal(dist_apply(answer, DIST_NONE, &out, .executor = X), DIST_OK);
    assert_int_equal(out, 42);
    assert_int_equal(dist_apply(answer, &in, &out, .executor = X, .workers = 3), DIST_OK);
    assert_int_equal(out, 7);
    assert_int_equal(dist_apply(answer, &in, DIST_NONE, .executor = X), DIST_OK);
}

static int note_index(size_t index, void *ctx) {
    struct many *many = ctx;
    count(&many->runs[index]);
    if (dist_index() != index) count(&many->wrong);
    return 0;
}

CASE("P-03", for_visits_each_index_once) {
    struct many *many = shared_memory(sizeof *many);
    assert_int_equal(dist_for(note_index, PRIME, .executor = X, .ctx = many), DIST_OK);
    assert_int_equal(dist_for(note_index, PRIME, .executor = X, .ctx = many, .chunk = 10), DIST_OK);
    for (int i = 0; i < PRIME; i++) assert_int_equal(counted(&many->runs[i]), 2);
    assert_int_equal(counted(&many->wrong), 0);
}

static int expects_no_result(void *result, const void *item, void *ctx) {
    struct many *many = ctx;
    count(&many->runs[*(const int *)item]);
    if (result) count(&many->wrong);
    return 0;
}

CASE("P-03", map_without_results_gives_tasks_no_result) {
    struct many *many = shared_memory(sizeof *many);
    assert_int_equal(
        dist_map(expects_no_result, numbers(), PRIME, DIST_NONE, .executor = X, .ctx = many),
        DIST_OK);
    for (int i = 0; i < PRIME; i++) assert_int_equal(counted(&many->runs[i]), 1);
    assert_int_equal(counted(&many->wrong), 0);
}

static int change_context(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    return 0;
}

CASE("P-20", a_context_is_shared_by_threads_and_private_to_processes) {
    _Atomic(unsigned) changes = 0;
    assert_int_equal(
        dist_map(change_context, numbers(), 100, DIST_NONE, .executor = X, .ctx = &changes),
        DIST_OK);
    assert_int_equal(counted(&changes), X == DIST_PROCESS ? 0 : 100);
}

CASE("P-03", null_options_are_the_defaults) {
    int out[7];
    assert_int_equal(dist_map_fn(square, numbers(), 7, sizeof(int), out, sizeof(int), NULL),
                     DIST_OK);
    for (int i = 0; i < 7; i++) assert_int_equal(out[i], i * i);
}

CASE("M-05", a_successful_call_leaves_errno_alone) {
    int out[PRIME];
    dist_job *job;
    errno = 4321;
    for (unsigned workers = 0; workers < 4; workers++) {
        dist_status s = dist_map(square, numbers(), PRIME, out, .executor = X, .workers = workers);
        int after = errno;
        assert_int_equal(s, DIST_OK);
        assert_int_equal(after, 4321);
    }
    dist_status s = dist_map(square, numbers(), 7, out, .executor = X, .workers = 2, .job = &job);
    int after_map = errno;
    dist_job_finish(&job);
    dist_shutdown();
    int after_shutdown = errno;
    assert_int_equal(s, DIST_OK);
    assert_int_equal(after_map, 4321);
    assert_int_equal(after_shutdown, 4321);
}

CASE("P-64", every_status_has_a_name) {
    assert_string_equal(dist_status_name(DIST_OK), "DIST_OK");
    assert_string_equal(dist_status_name(DIST_CRASHED), "DIST_CRASHED");
    assert_string_equal(dist_status_name(DIST_SYSTEM), "DIST_SYSTEM");
    for (int s = 0; s < DIST_STATUS_COUNT; s++)
        assert_string_not_equal(dist_status_name((dist_status)s), "DIST_?");
    assert_string_equal(dist_status_name(DIST_STATUS_COUNT), "DIST_?");
    assert_string_equal(dist_status_name((dist_status)-1), "DIST_?");
}
