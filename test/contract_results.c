/* contract_results.c - what stands in out: results of every size, and of tasks that fail, crash
 * or write nothing. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const size_t sizes[] = {1, 3, 8, 12, 100, 4095, 4096, 4097, 5000, 1 << 20};

struct plan { /* what the tasks of one call do */
    size_t size;
    size_t fail_each;  /* every so many items fails after writing; 0: none */
    size_t write_none; /* every so many items writes nothing; 0: none */
    bool crash;        /* those that fail kill their process instead */
    _Atomic(unsigned) *wrong_before;
};

static unsigned char byte_of(size_t item, size_t at) {
    return (unsigned char)(item * 31 + at * 7 + (at >> 9));
}

static unsigned char before_of(size_t item, size_t at) { return (unsigned char)~byte_of(item, at); }

static bool picks(size_t each, size_t item) { return each && item % each == each - 1; }

static bool is_filled(const unsigned char *p, size_t size, size_t item,
                      unsigned char (*byte)(size_t, size_t)) {
    for (size_t at = 0; at < size; at++)
        if (p[at] != byte(item, at)) return false;
    return true;
}

static int fill_result(unsigned char *result, size_t item, const struct plan *plan) {
    if (!is_filled(result, plan->size, item, before_of)) count(plan->wrong_before);
    if (picks(plan->write_none, item)) return 0;
    for (size_t at = 0; at < plan->size; at++) result[at] = byte_of(item, at);
    if (!picks(plan->fail_each, item)) return 0;
    if (plan->crash) raise(SIGKILL);
    return 5;
}

static int fill(void *result, const void *item, void *ctx) {
    return fill_result(result, (size_t) * (const int *)item, ctx);
}

static int fill_chunk(void *results, const void *items, size_t n, void *ctx) {
    const struct plan *plan = ctx;
    for (size_t i = 0; i < n; i++) {
        size_t item = (size_t)((const int *)items)[i];
        if (fill_result((unsigned char *)results + i * plan->size, item, plan))
            dist_fail_at(i, 5, "chosen");
    }
    return 0;
}

static size_t count_for(size_t size) { return size >= 1 << 20 ? 5 : size >= 4000 ? 37 : PRIME; }

/* out as it must be: filled, or as it was where the task failed or wrote nothing. */
static void check_out(const unsigned char *out, size_t n, const struct plan *plan, bool may_tear) {
    for (size_t i = 0; i < n; i++) {
        bool fails = picks(plan->fail_each, i), keeps = fails || picks(plan->write_none, i);
        if (fails && may_tear) continue;
        assert_true(is_filled(out + i * plan->size, plan->size, i, keeps ? before_of : byte_of));
    }
}

static void prepare(unsigned char *out, size_t n, size_t size) {
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < size; at++) out[i * size + at] = before_of(i, at);
}

static void check_plan(struct plan plan, unsigned workers, size_t chunk) {
    size_t n = count_for(plan.size);
    plan.wrong_before = shared_memory(sizeof *plan.wrong_before);
    unsigned char *out = malloc(n * plan.size);
    prepare(out, n, plan.size);
    const dist_opts *opts =
        DIST_OPTS(.executor = X, .workers = workers, .chunk = chunk, .silent = true, .ctx = &plan);
    assert_int_equal(dist_map_fn(fill, numbers(), n, sizeof(int), out, plan.size, opts), DIST_OK);
    check_out(out, n, &plan, false);
    if (!plan.crash) {
        prepare(out, n, plan.size);
        assert_int_equal(
            dist_map_chunks_fn(fill_chunk, numbers(), n, sizeof(int), out, plan.size, opts),
            DIST_OK);
        check_out(out, n, &plan, false);
    }
    free(out);
    assert_int_equal(counted(plan.wrong_before), 0);
    munmap(plan.wrong_before, sizeof *plan.wrong_before);
}

CASE("G-17", results_of_any_size_arrive) {
    for (size_t s = 0; s < N(sizes); s++) {
        check_plan((struct plan){.size = sizes[s]}, 1, 0);
        check_plan((struct plan){.size = sizes[s]}, 3, 0);
        check_plan((struct plan){.size = sizes[s]}, 3, 5);
    }
}

CASE("P-40", a_task_that_writes_nothing_leaves_its_place) {
    for (size_t s = 0; s < N(sizes); s++)
        check_plan((struct plan){.size = sizes[s], .write_none = 3}, 3, s % 3);
}

CASE("G-13", a_failed_task_leaves_its_place_whatever_it_wrote) {
    for (size_t s = 0; s < N(sizes); s++)
        for (unsigned workers = 1; workers < 4; workers++)
            check_plan((struct plan){.size = sizes[s], .fail_each = 5, .write_none = 7}, workers,
                       s % 4);
}

CASE_ON("G-01", a_crashed_task_leaves_its_place_whatever_it_wrote, ON_PROCESS, 20) {
    for (size_t s = 0; s < N(sizes); s++)
        check_plan(
            (struct plan){.size = sizes[s], .fail_each = SANITIZED ? 150 : 37, .crash = true}, 3,
            s % 4);
    check_plan((struct plan){.size = 1 << 20, .fail_each = 2, .crash = true}, 2, 0);
}

/* In place: the same, except that failed items may be torn. */
static void check_in_place(unsigned char *out, struct plan plan, size_t n, unsigned workers) {
    const dist_opts *opts = DIST_OPTS(.executor = X, .workers = workers, .silent = true,
                                      .in_place = true, .ctx = &plan);
    prepare(out, n, plan.size);
    assert_int_equal(dist_map_fn(fill, numbers(), n, sizeof(int), out, plan.size, opts), DIST_OK);
    check_out(out, n, &plan, true);
    prepare(out, n, plan.size);
    assert_int_equal(
        dist_map_chunks_fn(fill_chunk, numbers(), n, sizeof(int), out, plan.size, opts), DIST_OK);
    check_out(out, n, &plan, true);
    assert_int_equal(counted(plan.wrong_before), 0);
}

CASE("P-03", in_place_results_arrive_in_private_and_in_shared_memory) {
    _Atomic(unsigned) *wrong = shared_memory(sizeof *wrong);
    for (size_t s = 0; s < N(sizes); s++) {
        size_t n = count_for(sizes[s]);
        struct plan plan = {
            .size = sizes[s], .write_none = 3, .fail_each = 5, .wrong_before = wrong};
        unsigned char *own = malloc(n * sizes[s]), *shared = shared_memory(n * sizes[s]);
        check_in_place(own, plan, n, 3);
        check_in_place(shared, plan, n, 3);
        free(own);
        munmap(shared, n * sizes[s]);
    }
}

CASE("P-03", in_place_results_may_lie_half_in_shared_memory) {
    size_t page = 4096, n = 2 * page - 8;
    _Atomic(unsigned) *wrong = shared_memory(sizeof *wrong);
    unsigned char *pages = shared_memory(3 * page);
    assert_true(mmap(pages + page, page, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == pages + page);
    struct plan plan = {.size = 8, .wrong_before = wrong};
    n = n / 8 < PRIME ? n / 8 : PRIME;
    check_in_place(pages + 8, plan, n, 2);
    check_in_place(pages + page + 8, plan, 700, 2);
}

static int sees_its_place(void *result, const void *item, void *ctx) {
    *(int *)result = result == (char *)ctx + sizeof(int) * (size_t) * (const int *)item;
    return 0;
}

CASE("P-03", in_place_tasks_write_straight_into_shared_out) {
    NOT_IN_PROCESS_POOLS("only what lies in an arena is in place");
    int *out = shared_memory(PRIME * sizeof *out);
    assert_int_equal(dist_map(sees_its_place, numbers(), PRIME, out, .executor = X, .workers = 2,
                              .in_place = true, .ctx = out),
                     DIST_OK);
    for (int i = 0; i < PRIME; i++) assert_int_equal(out[i], 1);
}

struct wide {
    alignas(64) char bytes[64];
};
struct large {
    alignas(64) char bytes[8192];
};
struct paired {
    alignas(16) long halves[2];
};

static int aligned_64(void *result, const void *item, void *ctx) {
    (void)item;
    if ((uintptr_t)result % 64) count(ctx);
    return 0;
}

static int aligned_16(void *result, const void *item, void *ctx) {
    (void)item;
    if ((uintptr_t)result % 16) count(ctx);
    return 0;
}

static int chunk_aligned_64(void *results, const void *items, size_t n, void *ctx) {
    (void)n;
    return aligned_64(results, items, ctx);
}

CASE("P-11", a_result_is_aligned_for_its_type) {
    static struct wide wide[37];
    static struct large large[37];
    static struct paired paired[37];
    _Atomic(unsigned) *wrong = shared_memory(sizeof *wrong);
    for (unsigned workers = 1; workers < 4; workers++) {
        dist_opts opts = {.size = sizeof opts, .executor = X, .workers = workers, .ctx = wrong};
        dist_map_fn(aligned_16, numbers(), 37, sizeof(int), paired, sizeof *paired, &opts);
        assert_int_equal(counted(wrong), 0);
        dist_map_fn(aligned_64, numbers(), 37, sizeof(int), wide, sizeof *wide, &opts);
        assert_int_equal(counted(wrong), 0);
        dist_map_fn(aligned_64, numbers(), 37, sizeof(int), large, sizeof *large, &opts);
        assert_int_equal(counted(wrong), 0);
        dist_map_chunks_fn(chunk_aligned_64, numbers(), 37, sizeof(int), wide, sizeof *wide, &opts);
        assert_int_equal(counted(wrong), 0);
        dist_task tasks[] = {DIST_TASK("wide", aligned_64, numbers(), &wide[1]),
                             DIST_TASK("large", aligned_64, numbers(), &large[1])};
        dist_par_fn(tasks, 2, &opts);
        assert_int_equal(counted(wrong), 0);
    }
}
