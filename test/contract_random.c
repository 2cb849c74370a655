/* contract_random.c - random numbers that depend on the seed and the item alone. */
#include "contract.h"
#include "contract_tools.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS = 211, DRAWS = 3 };
struct draws {
    uint64_t number[DRAWS];
};

static int draw(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    for (int k = 0; k < DRAWS; k++) ((struct draws *)result)->number[k] = dist_random();
    return 0;
}

static struct draws *drawn(uint64_t seed, unsigned workers, size_t chunk, dist_executor executor) {
    struct draws *out = calloc(ITEMS, sizeof *out);
    assert_int_equal(dist_map(draw, numbers(), ITEMS, out, .executor = executor, .seed = seed,
                              .workers = workers, .chunk = chunk),
                     DIST_OK);
    return out;
}

CASE("G-19", random_numbers_are_those_of_the_specification) {
    static const unsigned workers[] = {0, 1, 2, 7, 64};
    struct draws *expected = drawn(42, 0, 0, DIST_INLINE);
    for (size_t w = 0; w < N(workers); w++)
        for (size_t chunk = 0; chunk < 6; chunk += 5) {
            struct draws *out = drawn(42, workers[w], chunk, X);
            assert_memory_equal(out, expected, ITEMS * sizeof *out);
            free(out);
        }
    free(expected);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

CASE("G-19", no_two_draws_or_seeds_are_alike) {
    enum { ALL = 2 * ITEMS * DRAWS };
    uint64_t all[ALL];
    struct draws *first = drawn(0, 3, 0, X), *second = drawn(1, 3, 0, X);
    memcpy(all, first, sizeof all / 2);
    memcpy(all + ALL / 2, second, sizeof all / 2);
    qsort(all, ALL, sizeof *all, by_value);
    for (size_t i = 1; i < ALL; i++) assert_true(all[i - 1] != all[i]);
    free(first);
    free(second);
}

static int draw_below(void *result, const void *item, void *ctx) {
    return (int)dist_map(draw, (const int *)item, 1, (struct draws *)result,
                         .executor = *(dist_executor *)ctx);
}

CASE("G-19", nested_calls_draw_from_their_own_item) {
    struct draws out[10], expected[10];
    dist_executor inner = DIST_INLINE;
    assert_int_equal(dist_map(draw_below, numbers(), 10, expected, .executor = DIST_INLINE,
                              .seed = 7, .ctx = &inner),
                     DIST_OK);
    assert_true(expected[0].number[0] != expected[1].number[0]);
    inner = X;
    assert_int_equal(dist_map(draw_below, numbers(), 10, out, .executor = X, .seed = 7,
                              .workers = 3, .ctx = &inner),
                     DIST_OK);
    assert_memory_equal(out, expected, sizeof out);
}

static int die_at_three(void *result, const void *item, void *ctx) {
    if (*(const int *)item == 3) abort();
    return draw(result, item, ctx);
}

CASE_ON("G-19", a_crash_does_not_change_the_others, ON_PROCESS, 20) {
    struct draws *expected = drawn(5, 0, 0, DIST_INLINE), *out = calloc(ITEMS, sizeof *out);
    assert_int_equal(dist_map(die_at_three, numbers(), ITEMS, out, .executor = X, .seed = 5,
                              .workers = 2, .silent = true),
                     DIST_OK);
    memset(&expected[3], 0, sizeof expected[3]);
    assert_memory_equal(out, expected, ITEMS * sizeof *out);
    free(expected);
    free(out);
}

CASE("G-19", outside_of_tasks_there_is_no_randomness) {
    (void)X;
    assert_int_equal(dist_random(), 0);
}
