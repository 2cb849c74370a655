/* distribute.c - what the documentation of doctable's Distribute shows: a function with a default,
 * and a function of chunks, over three processes. */
#include "check.h"

#include <dist/dist.h>

/* def multiply(x, y=2); d.map(multiply, nums); d.map(multiply, nums, 5) */
static int multiply(int x, int y) { return x * y; }
#define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
DIST_DEFINE(int, multiply, MULTIPLY)

static void map_with_a_default(void) {
    multiply_args nums[5];
    int result[5];
    for (int i = 0; i < 5; i++) nums[i] = (multiply_args){.x = i};

    CHECK(multiply_process_map(nums, 5, result, DIST_OPTS(.workers = 3)) == DIST_OK);
    for (int i = 0; i < 5; i++) CHECK(result[i] == i * 2); /* [0, 2, 4, 6, 8] */

    const multiply_args five = {.y = DIST_SET(5)};
    CHECK(multiply_process_map(nums, 5, result, DIST_OPTS(.workers = 3, .extras = &five)) ==
          DIST_OK);
    for (int i = 0; i < 5; i++) CHECK(result[i] == i * 5); /* [0, 5, 10, 15, 20] */
}

/* d.map_chunk(multiply_nums, nums): each worker gets neighbouring items. */
static int multiply_nums(void *results, const void *items, size_t n, void *ctx) {
    (void)ctx;
    const double *nums = items;
    double *products = results;
    for (size_t i = 0; i < n; i++) products[i] = nums[i] * 1.275;
    return 0;
}

static void map_chunks(void) {
    static double nums[1000], products[1000], serial[1000];
    for (int i = 0; i < 1000; i++) nums[i] = i;

    CHECK(dist_process_map_chunks(multiply_nums, nums, 1000, products, .workers = 3) == DIST_OK);
    CHECK(products[0] == 0.0 && products[1] == 1.275 && products[2] == 2.55);

    /* "with one worker it won't create a new process at all" is an executor of its own */
    CHECK(dist_map_chunks(multiply_nums, nums, 1000, serial, .executor = DIST_INLINE) == DIST_OK);
    for (int i = 0; i < 1000; i++) CHECK(products[i] == serial[i]);
}

int main(void) {
    map_with_a_default();
    map_chunks();
    puts("distribute: all of it holds");
    return 0;
}
