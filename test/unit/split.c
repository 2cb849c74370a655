/* split.c - dist_split and dist_chunk: the parts are the whole, in order and without gaps. */
#include "unit.h"
#include "dist/dist.h"

enum { MOST = 200 };

TEST(parts_cover_the_range_in_order) {
    for (size_t n = 0; n <= MOST; n++)
        for (size_t parts = 1; parts <= MOST; parts++) {
            size_t next = 0;
            for (size_t k = 0; k < parts; k++) {
                dist_range part = dist_split(n, parts, k);
                assert_int_equal(part.begin, next);
                next += part.count;
            }
            assert_int_equal(next, n);
        }
}

TEST(parts_differ_by_one_at_most_and_the_larger_come_first) {
    for (size_t n = 0; n <= MOST; n++)
        for (size_t parts = 1; parts <= MOST; parts++) {
            size_t before = dist_split(n, parts, 0).count, largest = before;
            for (size_t k = 0; k < parts; k++) {
                size_t count = dist_split(n, parts, k).count;
                assert_true(count <= before && count + 1 >= largest);
                before = count;
            }
        }
}

TEST(parts_past_the_end_are_empty) {
    for (size_t n = 0; n <= MOST; n++)
        for (size_t parts = 0; parts <= MOST; parts++) {
            size_t beyond[] = {parts, parts + 1, SIZE_MAX / 2, SIZE_MAX};
            for (size_t i = 0; i < N(beyond); i++)
                assert_int_equal(dist_split(n, parts, beyond[i]).count, 0);
        }
}

TEST(blocks_cover_the_range_in_order) {
    for (size_t n = 0; n <= MOST; n++)
        for (size_t size = 1; size <= MOST; size++) {
            size_t next = 0, k = 0;
            for (; next < n; k++) {
                dist_range block = dist_chunk(n, size, k);
                assert_int_equal(block.begin, next);
                assert_int_equal(block.count, n - next < size ? n - next : size);
                next += block.count;
            }
            for (size_t beyond = k; beyond < k + 3; beyond++)
                assert_int_equal(dist_chunk(n, size, beyond).count, 0);
        }
}

TEST(blocks_of_size_zero_are_empty) {
    for (size_t n = 0; n <= MOST; n++)
        for (size_t k = 0; k < 3; k++) assert_int_equal(dist_chunk(n, 0, k).count, 0);
}

TEST(the_largest_range_does_not_overflow) {
    dist_range half = dist_split(SIZE_MAX, 2, 1);
    assert_true(half.begin == SIZE_MAX / 2 + 1 && half.count == SIZE_MAX / 2);
    dist_range last = dist_split(SIZE_MAX, SIZE_MAX, SIZE_MAX - 1);
    assert_true(last.begin == SIZE_MAX - 1 && last.count == 1);
    last = dist_split(SIZE_MAX - 1, SIZE_MAX, SIZE_MAX - 1);
    assert_true(last.begin == SIZE_MAX - 1 && last.count == 0);
    dist_range block = dist_chunk(SIZE_MAX, 2, SIZE_MAX / 2);
    assert_true(block.begin == SIZE_MAX - 1 && block.count == 1);
    block = dist_chunk(SIZE_MAX, SIZE_MAX, 0);
    assert_true(block.begin == 0 && block.count == SIZE_MAX);
    assert_true(dist_chunk(SIZE_MAX, SIZE_MAX, 1).count == 0);
    assert_true(dist_chunk(SIZE_MAX, SIZE_MAX, SIZE_MAX).count == 0);
    assert_true(dist_chunk(SIZE_MAX, SIZE_MAX / 2 + 1, 1).count == SIZE_MAX / 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(parts_cover_the_range_in_order),
    cmocka_unit_test(parts_differ_by_one_at_most_and_the_larger_come_first),
    cmocka_unit_test(parts_past_the_end_are_empty),
    cmocka_unit_test(blocks_cover_the_range_in_order),
    cmocka_unit_test(blocks_of_size_zero_are_empty),
    cmocka_unit_test(the_largest_range_does_not_overflow),
};
RUN(tests)
