/* contract_map.c - order, inputs and results of map, for and apply. */
#include "contract.h"

#include <string.h>

static int square(void *result, const void *item, void *ctx) {
    (void)ctx;
    int x = *(const int *)item;
    *(int *)result = x * x;
    return 0;
}

CASE("P-01", map_returns_results_in_item_order) {
    int in[1000], out[1000];
    for (int i = 0; i < 1000; i++) in[i] = i;
    assert_int_equal(dist_map(square, in, 1000, out, .executor = X), DIST_OK);
    for (int i = 0; i < 1000; i++) assert_int_equal(out[i], i * i);
}

CASE("P-08", empty_input_calls_nothing) {
    int out = 7;
    assert_int_equal(dist_map(square, (int *)NULL, 0, &out, .executor = X), DIST_OK);
    assert_int_equal(out, 7);
}
