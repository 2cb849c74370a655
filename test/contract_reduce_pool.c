/* contract_reduce_pool.c - reductions in pools: what leaves read is made after the pool was opened.
 */
#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { ITEMS = 1009, BLOCK = 10 };

static dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = workers);
    assert_non_null(pool);
    return pool;
}

/* Of all magnitudes, so that a sum depends on its brackets; on the heap. */
static double *new_numbers(uint32_t seed) {
    double *number = malloc(ITEMS * sizeof *number);
    assert_non_null(number);
    for (int i = 0; i < ITEMS; i++) {
        int power = (int)random_below(&seed, 60) - 30;
        number[i] = ldexp((double)random_next(&seed) - 2e9, power);
    }
    return number;
}

struct sum {
    double of;
    size_t items;
    char before[300]; /* what acc held in the beginning, and nobody changes */
};

static int add(void *acc, const void *items, size_t n, void *ctx) {
    struct sum *sum = acc;
    for (size_t i = 0; i < n; i++) sum->of += ((const double *)items)[i] * *(const double *)ctx;
    sum->items += n;
    return 0;
}

static int add_sums(void *into, const void *other, void *ctx) {
    struct sum *a = into;
    const struct sum *b = other;
    if (*(const double *)ctx != 1.5 || strcmp(a->before, b->before)) return 1;
    a->of += b->of;
    a->items += b->items;
    return 0;
}

static struct sum new_sum(void) {
    struct sum sum = {.items = 0};
    snprintf(sum.before, sizeof sum.before, "as it was");
    return sum;
}

static struct sum expected_sum(const double *number) {
    struct sum sum = new_sum();
    double ctx = 1.5;
    assert_int_equal(dist_reduce(add, add_sums, number, ITEMS, &sum, .executor = DIST_INLINE,
                                 .chunk = BLOCK, .ctx = &ctx),
                     DIST_OK);
    return sum;
}

static void assert_same_bytes(double a, double b) { assert_memory_equal(&a, &b, sizeof a); }

CASE("G-19", a_sum_in_a_pool_has_the_bytes_that_it_has_anywhere) {
    for (unsigned workers = 1; workers <= 7; workers += 3) {
        dist_pool *pool = open_pool(workers);
        for (uint32_t round = 1; round < 8; round++) {
            double *number = new_numbers(round), ctx = 1.5;
            struct sum expected = expected_sum(number), sum = new_sum();
            assert_int_equal(dist_reduce(add, add_sums, number, ITEMS, &sum, .pool = pool,
                                         .chunk = BLOCK, .ctx = &ctx, .ctx_size = sizeof ctx),
                             DIST_OK);
            assert_same_bytes(sum.of, expected.of);
            assert_int_equal(sum.items, ITEMS);
            assert_string_equal(sum.before, "as it was");
            free(number);
        }
        dist_pool_free(&pool);
    }
}

static int add_the_third_time(void *acc, const void *items, size_t n, void *ctx) {
    size_t block = dist_index() / BLOCK;
    ((struct sum *)acc)->of += 1;
    if (dist_attempt() < 3 && block % 10 == 3) return 5;
    if (dist_attempt() < 3 && block % 10 == 4) return dist_fail_at(n - 1, 6, "not yet");
    if (dist_attempt() < 2 && block % 20 == 6 && X == DIST_PROCESS) raise(SIGKILL);
    ((struct sum *)acc)->of -= 1;
    return add(acc, items, n, ctx);
}

CASE_ON("G-19", retries_and_crashes_in_a_pool_do_not_change_a_sum, ON_ALL, 60) {
    dist_pool *pool = open_pool(3);
    double *number = new_numbers(99), ctx = 1.5;
    struct sum expected = expected_sum(number);
    for (unsigned i = 0; i < 5; i++) {
        struct sum sum = new_sum();
        assert_int_equal(dist_reduce(add_the_third_time, add_sums, number, ITEMS, &sum,
                                     .pool = pool, .chunk = BLOCK, .ctx = &ctx,
                                     .ctx_size = sizeof ctx, .retries = 2),
                         DIST_OK);
        assert_same_bytes(sum.of, expected.of);
    }
    free(number);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ how it fails */

static int fail_at_a_name(void *acc, const void *items, size_t n, void *ctx) {
    (void)acc, (void)ctx;
    for (size_t i = 0; i < n; i++)
        if (((const double *)items)[i] == 0)
            return dist_fail_at(i, 9, "block of %s", dist_name() ? dist_name() : "nobody");
    return 0;
}

CASE("G-12", a_failure_in_a_pool_has_its_item_and_its_names) {
    dist_pool *pool = open_pool(2);
    double *number = new_numbers(7), ctx = 1.5;
    const char **names = calloc(ITEMS, sizeof *names);
    char *first = strdup("the first"), *bad = strdup("the bad one");
    assert_true(names && first && bad);
    number[547] = 0;
    names[540] = first, names[547] = bad;
    struct sum sum = new_sum();
    dist_error e;
    assert_int_equal(dist_reduce(fail_at_a_name, add_sums, number, ITEMS, &sum, .pool = pool,
                                 .chunk = BLOCK, .ctx = &ctx, .names = names, .error = &e),
                     DIST_FAILED);
    assert_int_equal(e.index, 547);
    assert_int_equal(e.code, 9);
    assert_ptr_equal(e.name, bad);
    assert_ptr_equal(e.item, &number[547]);
    assert_string_equal(e.message, "block of the first");
    assert_true(sum.items == 0 && sum.of == 0);
    free(first);
    free(bad);
    free(names);
    free(number);
    dist_pool_free(&pool);
}

/* A wild leaf may write over what stands behind its accumulator. */
static int spoil(void *acc, const void *items, size_t n, void *ctx) {
    (void)items, (void)n, (void)ctx;
    memset((unsigned char *)acc + sizeof(struct sum), 0xee, 64);
    return dist_fail(3, "spoilt");
}

CASE_ON("G-12", a_leaf_that_writes_too_far_has_an_item_of_the_call, ON_PROCESS, 20) {
    dist_pool *pool = open_pool(1);
    double *number = new_numbers(7);
    struct sum sum = new_sum();
    assert_int_equal(
        dist_reduce(spoil, add_sums, number, ITEMS, &sum, .pool = pool, .chunk = ITEMS),
        DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 0);
    assert_ptr_equal(dist_last_error()->item, number);
    free(number);
    dist_pool_free(&pool);
}

CASE("G-15", a_closed_pool_reduces_nothing) {
    dist_pool *pool = open_pool(2);
    double number = 1, ctx = 1.5;
    struct sum sum = new_sum();
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    assert_int_equal(
        dist_reduce(add, add_sums, &number, 1, &sum, .pool = pool, .ctx = &ctx, .ctx_size = 8),
        DIST_CLOSED);
    assert_int_equal(sum.items, 0);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ memory */

static int sees_the_arena(void *acc, const void *items, size_t n, void *ctx) {
    *(size_t *)acc += (size_t)(items == ctx) + (n == ITEMS);
    return 0;
}

static int never(void *into, const void *other, void *ctx) {
    (void)into, (void)other, (void)ctx;
    return 1;
}

static int take_from_arena(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(void **)result = dist_alloc(ITEMS * sizeof(double));
    return 0;
}

CASE_ON("P-51", items_in_an_arena_are_not_copied_for_leaves, ON_PROCESS, 20) {
    dist_pool *pool = open_pool(2);
    dist_arena *arena = dist_arena_new(0);
    size_t seen = 0;
    void *items = NULL;
    assert_non_null(arena);
    assert_int_equal(
        dist_apply(take_from_arena, DIST_NONE, &items, .executor = DIST_INLINE, .arena = arena),
        DIST_OK);
    assert_int_equal(
        dist_reduce_fn(sees_the_arena, never, items, ITEMS, sizeof(double), &seen, sizeof seen,
                       DIST_OPTS(.pool = pool, .chunk = ITEMS, .ctx = items, .arena = arena)),
        DIST_OK);
    assert_int_equal(seen, 2);
    dist_pool_free(&pool);
    dist_arena_free(arena);
}

static int count_blocks(void *acc, const void *items, size_t n, void *ctx) {
    (void)items, (void)n, (void)ctx;
    *(uint64_t *)acc += 1;
    return 0;
}

static int add_counts(void *into, const void *other, void *ctx) {
    (void)ctx;
    *(uint64_t *)into += *(const uint64_t *)other;
    return 0;
}

/* In a process with little memory a pool has little, too: each reduction gives back its part. */
CASE_ON("G-17", reductions_give_memory_back_to_their_pool, ON_PROCESS, 60) {
    enum { ACC = 1 << 14, MUCH = 1 << 28 };
    if (SANITIZED) skip(); /* which needs more address space than it would have */
    struct rlimit limit = {.rlim_cur = 1 << 29, .rlim_max = 1 << 29};
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    dist_pool *pool = open_pool(2);
    static uint64_t acc[ACC / sizeof(uint64_t)];
    for (unsigned i = 0; i < 300; i++) {
        acc[0] = 0;
        assert_int_equal(dist_reduce_fn(count_blocks, add_counts, numbers(), 64, sizeof(int), acc,
                                        ACC, DIST_OPTS(.pool = pool)),
                         DIST_OK);
        assert_int_equal(acc[0], 64);
    }
    acc[0] = 0;
    assert_int_equal(dist_reduce_fn(count_blocks, add_counts, numbers(), 64, sizeof(int), acc, MUCH,
                                    DIST_OPTS(.pool = pool)),
                     DIST_NOMEM);
    assert_non_null(strstr(dist_last_error()->message, "64 accumulators"));
    assert_int_equal(acc[0], 0);
    dist_pool_free(&pool);
}
