/* contract_split.c - dividing a range. */
#include "contract.h"
#include "contract_tools.h"

static void check_split(size_t n, size_t parts) {
    size_t next = 0, least = SIZE_MAX, most = 0;
    for (size_t k = 0; k < parts; k++) {
        dist_range r = dist_split(n, parts, k);
        if (r.count) assert_int_equal(r.begin, next);
        if (k > 0) assert_true(r.count <= dist_split(n, parts, k - 1).count);
        next += r.count;
        least = r.count < least ? r.count : least;
        most = r.count > most ? r.count : most;
    }
    assert_int_equal(next, parts ? n : 0);
    assert_true(parts == 0 || most - least <= 1);
    assert_int_equal(dist_split(n, parts, parts).count, 0);
    assert_int_equal(dist_split(n, parts, SIZE_MAX).count, 0);
}

CASE_ON("P-55", parts_differ_by_at_most_one, ON_INLINE, 20) {
    for (size_t n = 0; n <= 200; n++)
        for (size_t parts = 0; parts <= 200; parts++) check_split(n, parts);
}

CASE_ON("P-55", larger_parts_come_first, ON_INLINE, 20) {
    for (size_t k = 0; k < 4; k++)
        assert_int_equal(dist_split(9, 4, k).count, ((size_t[]){3, 2, 2, 2})[k]);
    assert_int_equal(dist_split(5, 2, 0).count, 3);
    assert_int_equal(dist_split(5, 2, 1).begin, 3);
    assert_int_equal(dist_split(5, 4, 3).count, 1);
    assert_int_equal(dist_split(1, 4, 1).count, 0);
}

CASE_ON("P-55", the_largest_ranges_are_split_without_overflow, ON_INLINE, 20) {
    dist_range last = dist_split(SIZE_MAX, 3, 2);
    assert_true(last.begin + last.count == SIZE_MAX && last.count == SIZE_MAX / 3);
    last = dist_split(SIZE_MAX, SIZE_MAX, SIZE_MAX - 1);
    assert_true(last.begin == SIZE_MAX - 1 && last.count == 1);
    last = dist_chunk(SIZE_MAX, SIZE_MAX, 0);
    assert_true(last.begin == 0 && last.count == SIZE_MAX);
    last = dist_chunk(SIZE_MAX, 2, SIZE_MAX / 2);
    assert_true(last.begin == SIZE_MAX - 1 && last.count == 1);
    assert_int_equal(dist_chunk(SIZE_MAX, 2, SIZE_MAX).count, 0);
    assert_int_equal(dist_chunk(10, SIZE_MAX, 0).count, 10);
    assert_int_equal(dist_chunk(10, SIZE_MAX, 1).count, 0);
}

CASE_ON("L-05", chunks_have_the_size_asked_for_but_the_last, ON_INLINE, 20) {
    for (size_t n = 0; n <= 100; n++)
        for (size_t size = 1; size <= 101; size++) {
            size_t k = 0, next = 0;
            for (dist_range c; (c = dist_chunk(n, size, k)).count; k++, next += c.count) {
                assert_int_equal(c.begin, next);
                assert_true(c.count == size || c.begin + c.count == n);
            }
            assert_int_equal(next, n);
            assert_int_equal(k, (n + size - 1) / size);
        }
}

CASE_ON("L-05", a_size_of_zero_gives_no_chunk, ON_INLINE, 20) {
    assert_int_equal(dist_chunk(5, 0, 0).count, 0);
    assert_int_equal(dist_chunk(0, 3, 0).count, 0);
    assert_int_equal(dist_chunk(0, 0, 0).count, 0);
    assert_int_equal(dist_chunk(7, 3, 2).count, 1);
    assert_int_equal(dist_chunk(7, 3, 3).count, 0);
}
