/* range.c - taking and stealing units of one range, in one thread. */
#include "unit.h"
#include "thread/range.h"

static struct dist__range range;
static struct dist__units got;

static void expect(uint32_t begin, uint32_t end) {
    assert_int_equal(got.begin, begin);
    assert_int_equal(got.end, end);
}

TEST(a_word_holds_any_two_bounds) {
    uint32_t values[] = {0, 1, 2, 1000, UINT32_MAX / 2, UINT32_MAX - 1, UINT32_MAX};
    for (size_t a = 0; a < N(values); a++)
        for (size_t b = 0; b < N(values); b++) {
            struct dist__units units = {values[a], values[b]};
            got = dist__range_unpack(dist__range_pack(units));
            expect(values[a], values[b]);
            dist__range_put(&range, units);
            got = dist__range_peek(&range);
            expect(values[a], values[b]);
        }
}

TEST(the_owner_takes_from_the_low_end) {
    dist__range_put(&range, (struct dist__units){10, 20});
    assert_true(dist__range_take(&range, 3, false, &got));
    expect(10, 13);
    assert_true(dist__range_take(&range, 1, false, &got));
    expect(13, 14);
    assert_true(dist__range_take(&range, 100, false, &got));
    expect(14, 20);
    assert_false(dist__range_take(&range, 1, false, &got));
}

TEST(sharing_leaves_half_as_long_as_there_are_two) {
    for (uint32_t count = 1; count < 100; count++) {
        dist__range_put(&range, (struct dist__units){0, count});
        assert_true(dist__range_take(&range, UINT32_MAX, true, &got));
        expect(0, count - count / 2);
        dist__range_put(&range, (struct dist__units){0, count});
        assert_true(dist__range_take(&range, 1, true, &got));
        expect(0, 1);
    }
}

TEST(a_thief_takes_the_upper_half_rounded_up) {
    for (uint32_t count = 1; count < 100; count++) {
        dist__range_put(&range, (struct dist__units){5, 5 + count});
        assert_true(dist__range_steal(&range, &got));
        expect(5 + count / 2, 5 + count);
        got = dist__range_peek(&range);
        expect(5, 5 + count / 2);
    }
}

TEST(nothing_comes_out_of_an_empty_range) {
    struct dist__units empty[] = {{0, 0}, {7, 7}, {9, 8}, {UINT32_MAX, UINT32_MAX}};
    for (size_t i = 0; i < N(empty); i++) {
        dist__range_put(&range, empty[i]);
        got = (struct dist__units){1, 2};
        assert_false(dist__range_take(&range, 1, false, &got));
        assert_false(dist__range_take(&range, 1, true, &got));
        assert_false(dist__range_steal(&range, &got));
        expect(1, 2); /* untouched */
    }
}

TEST(the_largest_range_does_not_overflow) {
    dist__range_put(&range, (struct dist__units){0, UINT32_MAX});
    assert_true(dist__range_steal(&range, &got));
    expect(UINT32_MAX / 2, UINT32_MAX);
    dist__range_put(&range, (struct dist__units){UINT32_MAX - 2, UINT32_MAX});
    assert_true(dist__range_take(&range, UINT32_MAX, false, &got));
    expect(UINT32_MAX - 2, UINT32_MAX);
}

TEST(taking_and_stealing_gives_each_unit_once) {
    for (int round = 0; round < 300; round++) {
        unsigned char seen[1000] = {0};
        uint32_t count = 1 + (uint32_t)random_below(sizeof seen);
        dist__range_put(&range, (struct dist__units){0, count});
        for (;;) {
            bool steal = random_below(3) == 0, share = random_below(2);
            uint32_t want = 1 + (uint32_t)random_below(20);
            if (!(steal ? dist__range_steal(&range, &got)
                        : dist__range_take(&range, want, share, &got)))
                break;
            for (uint32_t k = got.begin; k < got.end; k++) seen[k]++;
        }
        for (uint32_t k = 0; k < sizeof seen; k++) assert_int_equal(seen[k], k < count);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_word_holds_any_two_bounds),
    cmocka_unit_test(the_owner_takes_from_the_low_end),
    cmocka_unit_test(sharing_leaves_half_as_long_as_there_are_two),
    cmocka_unit_test(a_thief_takes_the_upper_half_rounded_up),
    cmocka_unit_test(nothing_comes_out_of_an_empty_range),
    cmocka_unit_test(the_largest_range_does_not_overflow),
    cmocka_unit_test(taking_and_stealing_gives_each_unit_once),
};
RUN(tests)
