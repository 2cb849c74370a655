/* contract_reduce.c - many items into one value, which does not depend on who works. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

enum { NUMBERS = 100003 };
static const unsigned worker_counts[] = {0, 1, 2, 7, 64};
static const size_t counts[] = {1, 2, 3, 7, 101, 257, 1009, 4093, 4111, 16381, NUMBERS};

/* Of all magnitudes, so that a sum depends on its brackets. */
static const double *wild_numbers(void) {
    static double number[NUMBERS];
    uint32_t state = 12345;
    for (int i = 0; number[0] == 0 && i < NUMBERS; i++) {
        int power = (int)random_below(&state, 60) - 30;
        number[NUMBERS - 1 - i] = ldexp((double)random_next(&state) - 2e9, power);
    }
    return number;
}

static int add(void *acc, const void *items, size_t n, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < n; i++) *(double *)acc += ((const double *)items)[i];
    return 0;
}

static int add_sums(void *into, const void *other, void *ctx) {
    (void)ctx;
    *(double *)into += *(const double *)other;
    return 0;
}

/* What reduce.h says, as a loop. */
static double sum_of(size_t n, size_t block) {
    static double part[NUMBERS];
    size_t blocks = (n - 1) / block + 1;
    for (size_t k = 0; k < blocks; k++) {
        dist_range range = dist_chunk(n, block, k);
        part[k] = 0;
        add(&part[k], wild_numbers() + range.begin, range.count, NULL);
    }
    for (; blocks > 1; blocks = (blocks + 1) / 2)
        for (size_t k = 0; k < blocks; k += 2)
            part[k / 2] = k + 1 < blocks ? part[k] + part[k + 1] : part[k];
    return part[0];
}

static size_t default_block(size_t n) {
    size_t most = n / 16 < 256 ? 256 : n / 16 > 1024 ? 1024 : n / 16;
    return (n - 1) / most + 1;
}

static void assert_same_bytes(double a, double b) { assert_memory_equal(&a, &b, sizeof a); }

CASE("G-19", sums_have_the_same_bytes_for_any_number_of_workers) {
    for (size_t k = 0; k < N(counts); k++)
        for (size_t w = 0; w < N(worker_counts); w++) {
            double sum = 0;
            assert_int_equal(dist_reduce(add, add_sums, wild_numbers(), counts[k], &sum,
                                         .executor = X, .workers = worker_counts[w]),
                             DIST_OK);
            assert_same_bytes(sum, sum_of(counts[k], default_block(counts[k])));
        }
    /* with the plain loop's brackets, or others, there would be another sum */
    unsigned others = 0;
    for (size_t block = 99; block < 119; block++)
        others += sum_of(NUMBERS, block) != sum_of(NUMBERS, 98);
    assert_true(others > 10);
}

CASE("G-19", the_block_size_chooses_the_sum) {
    static const size_t chunks[] = {1, 2, 50, 1000, NUMBERS, 2 * NUMBERS};
    for (size_t k = 0; k < N(chunks); k++)
        for (size_t w = 0; w < N(worker_counts); w++) {
            double sum = 0;
            size_t n = chunks[k] < 50 ? 1009 : NUMBERS;
            assert_int_equal(dist_reduce(add, add_sums, wild_numbers(), n, &sum, .executor = X,
                                         .workers = worker_counts[w], .chunk = chunks[k]),
                             DIST_OK);
            assert_same_bytes(sum, sum_of(n, chunks[k] < n ? chunks[k] : n));
        }
}

CASE("G-19", the_forms_for_threads_and_for_processes_are_reductions) {
    NOT_IN_POOLS("a pool has one executor");
    double sum = 0, other = 0, third = 0;
    dist_executor used = X;
    (void)used;
    assert_int_equal(dist_reduce(add, add_sums, wild_numbers(), NUMBERS, &sum), DIST_OK);
    assert_same_bytes(sum, sum_of(NUMBERS, default_block(NUMBERS)));
    if (built(DIST_THREAD)) {
        assert_int_equal(
            dist_thread_reduce(add, add_sums, wild_numbers(), NUMBERS, &other, .workers = 3),
            DIST_OK);
        assert_same_bytes(other, sum);
    }
    if (!built(DIST_PROCESS)) return;
    assert_int_equal(
        dist_process_reduce(add, add_sums, wild_numbers(), NUMBERS, &third, .workers = 3), DIST_OK);
    assert_same_bytes(third, sum);
}

CASE("P-02", a_reduction_has_the_default_executor) {
    double sum = 0;
    setenv("DIST_EXECUTOR",
           X == DIST_PROCESS  ? "process"
           : X == DIST_THREAD ? "thread"
                              : "inline",
           1);
    assert_int_equal(dist_reduce(add, add_sums, wild_numbers(), NUMBERS, &sum, .workers = 3),
                     DIST_OK);
    assert_same_bytes(sum, sum_of(NUMBERS, default_block(NUMBERS)));
}

/* ------------------------------------------------------------------ order and blocks */

struct stretch { /* neighbouring numbers, and whether they were joined as such */
    int first, last;
    size_t items, blocks, longest;
    bool wrong;
};

static int stretch_of(void *acc, const void *items, size_t n, void *ctx) {
    const int *in = items;
    struct stretch *s = acc;
    if (s->items != 0 || dist_index() != (size_t)in[0]) s->wrong = true;
    if (*(const int *)ctx != 42) s->wrong = true;
    *s = (struct stretch){in[0], in[n - 1], n, 1, n, s->wrong};
    return 0;
}

static int join_stretches(void *into, const void *other, void *ctx) {
    struct stretch *a = into;
    const struct stretch *b = other;
    a->wrong |= b->wrong || a->last + 1 != b->first || *(const int *)ctx != 42;
    a->wrong |= dist_index() != (size_t)b->first || dist_worker() != 0;
    a->last = b->last;
    a->items += b->items;
    a->blocks += b->blocks;
    if (b->longest > a->longest) a->longest = b->longest;
    return 0;
}

CASE("G-19", parts_are_joined_in_item_order) {
    int ctx = 42;
    for (size_t n = 1; n <= PRIME; n += n < 40 ? 1 : 97)
        for (size_t chunk = 0; chunk < 30; chunk += 7) {
            struct stretch s = {0};
            size_t block = chunk ? chunk < n ? chunk : n : default_block(n);
            assert_int_equal(dist_reduce(stretch_of, join_stretches, numbers(), n, &s,
                                         .executor = X, .workers = 3, .chunk = chunk, .ctx = &ctx),
                             DIST_OK);
            assert_false(s.wrong);
            assert_int_equal(s.first, 0);
            assert_int_equal(s.last, n - 1);
            assert_int_equal(s.items, n);
            assert_int_equal(s.blocks, (n - 1) / block + 1);
            assert_int_equal(s.longest, block);
        }
}

/* ------------------------------------------------------------------ retries and crashes */

/* The first attempts of some blocks leave something behind and fail, one way or another. */
static int add_the_third_time(void *acc, const void *items, size_t n, void *ctx) {
    size_t block = dist_index() / 98;
    *(double *)acc += 1;
    if (dist_attempt() < 3 && block % 10 == 3) return 5;
    if (dist_attempt() < 3 && block % 10 == 4) return dist_fail_at(n - 1, 6, "not yet");
    if (dist_attempt() < 3 && block % 10 == 5) dist_fail_at(n / 2, 7, "not yet");
    if (dist_attempt() < 3 && block % 10 == 7) dist_fail_at(n, 8, "past the end");
    if (dist_attempt() < 2 && block % 300 == 6 && X == DIST_PROCESS) abort();
    if (block % 10 == 8) dist_fail(9, "never mind"); /* it returns 0, and so has succeeded */
    *(double *)acc -= 1;
    return add(acc, items, n, ctx);
}

CASE("G-19", retries_and_crashes_do_not_change_a_sum) {
    for (size_t w = 0; w < N(worker_counts); w++) {
        double sum = 0;
        dist_status status =
            dist_reduce(add_the_third_time, add_sums, wild_numbers(), NUMBERS, &sum, .executor = X,
                        .workers = worker_counts[w], .retries = 2);
        if (status) print_message("%u workers: %s\n", worker_counts[w], dist_last_error()->message);
        assert_int_equal(status, DIST_OK);
        assert_same_bytes(sum, sum_of(NUMBERS, 98));
    }
}

/* The alarm comes at any moment: in a leaf, or while the worker says which items it holds. */
static int count_before_the_alarm(void *acc, const void *items, size_t n, void *ctx) {
    uint32_t state = (uint32_t)dist_random() | 1;
    long us = 1 + (long)random_below(&state, 3000);
    (void)ctx, (void)items;
    if (dist_attempt() == 1)
        setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {.tv_usec = us}}, NULL);
    *(uint64_t *)acc += n;
    return 0;
}

static int add_counts(void *into, const void *other, void *ctx) {
    (void)ctx;
    *(uint64_t *)into += *(const uint64_t *)other;
    return 0;
}

CASE_ON("G-19", a_worker_that_is_killed_anywhere_does_not_change_a_count, ON_PROCESS, 60) {
    enum { BYTES = 3000017 };
    static char bytes[BYTES];
    for (unsigned i = 0; again(i, rounds(30, 30)); i++) {
        uint64_t all = 0;
        assert_int_equal(dist_reduce(count_before_the_alarm, add_counts, bytes, BYTES, &all,
                                     .executor = X, .workers = 3, .chunk = 300000, .retries = 100,
                                     .seed = i + 1),
                         DIST_OK);
        assert_int_equal(all, BYTES);
    }
}

/* ------------------------------------------------------------------ what a leaf may use */

struct drawn {
    uint64_t first, numbers, alloc, alike;
};

static int draw(void *acc, const void *items, size_t n, void *ctx) {
    struct drawn *d = acc;
    (void)items, (void)ctx;
    d->first = dist_random();
    for (size_t i = 0; i < n; i++) d->numbers = d->numbers * 31 + dist_random();
    d->alloc += dist_alloc(8) != NULL;
    return 0;
}

static int join_draws(void *into, const void *other, void *ctx) {
    struct drawn *a = into;
    const struct drawn *b = other;
    (void)ctx;
    uint64_t own = dist_random();
    a->alike += b->alike + (own == b->first) + (own == a->first);
    a->numbers = a->numbers * 17 + b->numbers + own;
    a->alloc += b->alloc;
    return 0;
}

CASE("G-19", leaves_and_joins_draw_the_same_numbers_everywhere) {
    struct drawn expected = {0};
    dist_arena *arena = dist_arena_new(0);
    const dist_opts alone = {.size = sizeof alone, /* in no pool */
                             .chunk = 10,
                             .executor = DIST_INLINE,
                             .seed = 3,
                             .arena = arena};
    assert_int_equal(dist_reduce_fn(draw, join_draws, numbers(), PRIME, sizeof(int), &expected,
                                    sizeof expected, &alone),
                     DIST_OK);
    assert_int_equal(expected.alloc, 101);
    assert_int_equal(expected.alike, 0);
    for (size_t w = 0; w < N(worker_counts); w++) {
        struct drawn d = {0};
        assert_int_equal(dist_reduce(draw, join_draws, numbers(), PRIME, &d, .chunk = 10,
                                     .executor = X, .seed = 3, .workers = worker_counts[w],
                                     .arena = arena),
                         DIST_OK);
        assert_memory_equal(&d, &expected, sizeof d);
    }
    dist_arena_free(arena);
}

static int sum_within(void *result, const void *item, void *ctx) {
    *(double *)result = 0;
    return (int)dist_reduce(add, add_sums, (const double *)ctx, 1009 + *(const size_t *)item,
                            (double *)result, .executor = X);
}

CASE("G-04", reductions_nest_in_other_calls) {
    size_t extra[20];
    double sums[20];
    for (size_t i = 0; i < 20; i++) extra[i] = i;
    assert_int_equal(dist_map(sum_within, extra, 20, sums, .executor = X, .workers = 3,
                              .ctx = (void *)(uintptr_t)wild_numbers()),
                     DIST_OK);
    for (size_t i = 0; i < 20; i++)
        assert_same_bytes(sums[i], sum_of(1009 + i, default_block(1009 + i)));
}

/* ------------------------------------------------------------------ large accumulators */

enum { BINS = 1 << 18 };
struct histogram {
    uint64_t blocks, bin[BINS];
};

static int count_bins(void *acc, const void *items, size_t n, void *ctx) {
    struct histogram *h = acc;
    (void)ctx;
    for (size_t i = 0; i < n; i++) h->bin[((const int *)items)[i] * 131 % BINS]++;
    h->blocks++;
    return 0;
}

static int add_bins(void *into, const void *other, void *ctx) {
    struct histogram *a = into;
    const struct histogram *b = other;
    (void)ctx;
    for (size_t i = 0; i < BINS; i++) a->bin[i] += b->bin[i];
    a->blocks += b->blocks;
    return 0;
}

CASE_ON("G-17", an_accumulator_may_have_megabytes, ON_ALL, 60) {
    struct histogram *h = calloc(1, sizeof *h);
    assert_non_null(h);
    assert_int_equal(
        dist_reduce(count_bins, add_bins, numbers(), PRIME, h, .executor = X, .workers = 3),
        DIST_OK);
    assert_int_equal(h->blocks, 64); /* not 1009, which would take 2 GiB */
    size_t all = 0;
    for (size_t i = 0; i < BINS; i++) all += h->bin[i];
    assert_int_equal(all, PRIME);
    for (int i = 0; i < PRIME; i++) assert_int_equal(h->bin[i * 131 % BINS], 1);
    free(h);
}

/* ------------------------------------------------------------------ nothing to do */

CASE("P-08", a_reduction_of_nothing_leaves_the_accumulator) {
    double acc = 4.5;
    dist_error e = {.index = 77};
    assert_int_equal(
        dist_reduce(add, add_sums, wild_numbers(), 0, &acc, .executor = X, .error = &e), DIST_OK);
    assert_int_equal(
        dist_reduce_fn(add, add_sums, NULL, 0, 0, &acc, sizeof acc, DIST_OPTS(.executor = X)),
        DIST_OK);
    assert_true(acc == 4.5);
    assert_int_equal(e.index, 77);
}

CASE("M-05", a_reduction_that_succeeds_leaves_errno) {
    double sum = 0;
    errno = 1234;
    assert_int_equal(
        dist_reduce(add, add_sums, wild_numbers(), NUMBERS, &sum, .executor = X, .workers = 3),
        DIST_OK);
    assert_int_equal(errno, 1234);
}
