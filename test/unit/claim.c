/* claim.c - the cell of one worker and the cursor, and the shared region of a call, in one process.
 */
#include "unit.h"
#include "process/claim.h"
#include "process/region.h"

static struct dist__claim claim;
static _Atomic(uint64_t) cursor;
static uint64_t begin, end;

static int clear(void **state) {
    (void)state;
    memset((void *)&claim, 0, sizeof claim);
    cursor = 0;
    return 0;
}

static enum dist__claim_state cell(void) { return dist__claim_read(&claim, &begin, &end); }

TEST(a_new_cell_is_idle) { assert_int_equal(cell(), DIST__IDLE); }

TEST(a_cell_says_what_is_held) {
    dist__claim_hold(&claim, 7, UINT64_MAX);
    assert_int_equal(cell(), DIST__HELD);
    assert_true(begin == 7 && end == UINT64_MAX);
    dist__claim_set(&claim, DIST__LEFT);
    assert_int_equal(cell(), DIST__LEFT);
}

TEST(a_draw_claims_before_it_is_held) {
    uint64_t first = 0, last = 0;
    assert_true(dist__claim_draw(&claim, &cursor, 10, 4, &first, &last));
    assert_true(first == 0 && last == 4);
    assert_int_equal(cell(), DIST__CLAIMING);
    dist__claim_hold(&claim, first, last);
    assert_true(dist__claim_draw(&claim, &cursor, 10, 4, &first, &last));
    assert_true(first == 4 && last == 8);
    assert_true(dist__claim_draw(&claim, &cursor, 10, 4, &first, &last));
    assert_true(first == 8 && last == 10); /* no more than there are */
    assert_int_equal(cell(), DIST__CLAIMING);
    for (int i = 0; i < 3; i++) {
        assert_false(dist__claim_draw(&claim, &cursor, 10, 4, &first, &last));
        assert_int_equal(cell(), DIST__IDLE);
    }
    assert_true(first == 8 && last == 10); /* untouched */
}

TEST(draws_give_each_unit_once) {
    for (int round = 0; round < 300; round++) {
        uint64_t units = 1 + random_below(1000), first, last, next = 0;
        cursor = 0;
        while (dist__claim_draw(&claim, &cursor, units, 1 + random_below(20), &first, &last)) {
            assert_true(first == next && first < last && last <= units);
            next = last;
        }
        assert_int_equal(next, units);
    }
}

TEST(finished_items_are_counted) {
    for (int i = 0; i < 5; i++) dist__claim_count(&claim);
    assert_int_equal(claim.finished, 5);
}

/* ------------------------------------------------------------------ the region */

static struct dist__region open_region(struct dist__batch *batch, size_t n, size_t limit) {
    static int out[1000];
    struct dist__region region;
    *batch = (struct dist__batch){.kind = DIST__MAP_ITEMS, .n = n, .workers = 3};
    batch->out = (unsigned char *)out, batch->out_size = sizeof *out;
    dist__outcome_init(&batch->outcome, limit, false);
    assert_int_equal(dist__region_open(&region, batch, false), DIST_OK);
    return region;
}

static void close_region(struct dist__region *region, struct dist__batch *batch) {
    dist__region_close(region);
    dist__region_close(region); /* twice does no harm */
    dist__outcome_free(&batch->outcome);
}

TEST(a_new_region_has_nothing_done) {
    struct dist__batch batch;
    struct dist__region region = open_region(&batch, 1000, 1);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(dist__region_state(&region, i), DIST__ITEM_PENDING);
    assert_false(dist__region_past_stop(&region, SIZE_MAX));
    for (unsigned place = 0; place < 3; place++)
        assert_int_equal(dist__claim_read(&region.claim[place], &begin, &end), DIST__IDLE);
    close_region(&region, &batch);
}

TEST(failures_lower_the_stop_to_the_limit_th_smallest) {
    for (size_t limit = 0; limit < 6; limit++) {
        struct dist__batch batch;
        struct dist__region region = open_region(&batch, 1000, limit);
        struct dist__smallest smallest = {.limit = limit};
        for (int k = 0; k < 50; k++) {
            dist_error error = {.status = DIST_FAILED, .index = random_below(1000)};
            size_t stop = dist__smallest_add(&smallest, error.index);
            dist__region_fail(&region, &error, DIST__ITEM_FAILED);
            assert_int_equal(dist__region_state(&region, error.index), DIST__ITEM_FAILED);
            assert_false(dist__region_past_stop(&region, stop));
            if (stop != SIZE_MAX) assert_true(dist__region_past_stop(&region, stop + 1));
        }
        dist__smallest_free(&smallest);
        close_region(&region, &batch);
    }
}

TEST(results_are_copied_for_the_items_asked_for) {
    struct dist__batch batch;
    struct dist__region region = open_region(&batch, 10, 1);
    int *out = (int *)(void *)batch.out;
    for (size_t i = 0; i < 10; i++) {
        int value = (int)i + 100;
        out[i] = -1;
        memcpy(dist__region_result(&region, &batch, i), &value, sizeof value);
    }
    dist__region_copy_out(&region, &batch, (struct dist__span){3, 6});
    for (size_t i = 0; i < 10; i++) assert_int_equal(out[i], i >= 3 && i < 6 ? (int)i + 100 : -1);
    close_region(&region, &batch);
}

TEST(a_region_larger_than_any_memory_is_refused) {
    struct dist__batch batch = {.kind = DIST__MAP_ITEMS, .n = SIZE_MAX / 2, .workers = 1};
    struct dist__region region;
    assert_int_equal(dist__region_open(&region, &batch, false), DIST_NOMEM);
    assert_int_equal(dist_last_error()->status, DIST_NOMEM);
    assert_true(strlen(dist_last_error()->message) > 0);
}

#define CASE(name) cmocka_unit_test_setup(name, clear)
static const struct CMUnitTest tests[] = {
    CASE(a_new_cell_is_idle),
    CASE(a_cell_says_what_is_held),
    CASE(a_draw_claims_before_it_is_held),
    CASE(draws_give_each_unit_once),
    CASE(finished_items_are_counted),
    CASE(a_new_region_has_nothing_done),
    CASE(failures_lower_the_stop_to_the_limit_th_smallest),
    CASE(results_are_copied_for_the_items_asked_for),
    CASE(a_region_larger_than_any_memory_is_refused),
};
RUN(tests)
