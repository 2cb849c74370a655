/* outcome.c - where failures stop a call, and how failures and skipped spans are kept. */
#include "unit.h"
#include "common/outcome.h"

static int ascending(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* The limit-th smallest of the different ones, the slow way. */
static size_t oracle(const size_t *index, size_t count, size_t limit) {
    size_t sorted[64], different = 0;
    memcpy(sorted, index, count * sizeof *index);
    qsort(sorted, count, sizeof *sorted, ascending);
    for (size_t k = 0; k < count; k++)
        if (k == 0 || sorted[k] != sorted[k - 1]) sorted[different++] = sorted[k];
    return limit && different >= limit ? sorted[limit - 1] : SIZE_MAX;
}

TEST(the_limit_th_smallest_is_known_after_each_index) {
    for (int round = 0; round < 2000; round++) {
        size_t limit = random_below(20), index[64], range = 1 + random_below(1000);
        struct dist__smallest smallest = {.limit = limit};
        for (size_t count = 0; count < N(index);) {
            index[count++] = random_below(range);
            assert_int_equal(dist__smallest_add(&smallest, index[count - 1]),
                             oracle(index, count, limit));
            assert_true(smallest.count <= limit);
        }
        dist__smallest_free(&smallest);
    }
}

TEST(without_a_limit_nothing_is_kept) {
    struct dist__smallest smallest = {.limit = 0};
    for (size_t i = 0; i < 100; i++) assert_true(dist__smallest_add(&smallest, i) == SIZE_MAX);
    assert_null(smallest.index);
}

static void add(struct dist__outcome *outcome, size_t index) {
    dist_error error = {.status = DIST_FAILED, .code = (int)index + 1, .index = index};
    dist__outcome_fail(outcome, &error);
}

TEST(failures_stop_the_call_at_the_limit_th_smallest) {
    for (size_t limit = 0; limit < 8; limit++) {
        struct dist__outcome outcome;
        size_t index[64];
        dist__outcome_init(&outcome, limit, random_below(2));
        assert_false(dist__outcome_stopped(&outcome));
        for (size_t count = 0; count < N(index);) {
            index[count++] = random_below(10000);
            add(&outcome, index[count - 1]);
            size_t stop = oracle(index, count, limit);
            assert_int_equal(outcome.stop, stop);
            assert_int_equal(dist__outcome_stopped(&outcome), stop != SIZE_MAX);
            assert_int_equal(outcome.failed_count, count);
            assert_int_equal(outcome.lowest.index, oracle(index, count, 1));
            assert_false(dist__outcome_past_stop(&outcome, stop));
            if (stop != SIZE_MAX) assert_true(dist__outcome_past_stop(&outcome, stop + 1));
        }
        dist__outcome_free(&outcome);
    }
}

TEST(the_lowest_failure_keeps_its_own_details) {
    struct dist__outcome outcome;
    dist__outcome_init(&outcome, 0, false);
    add(&outcome, 7);
    add(&outcome, 3);
    add(&outcome, 5);
    assert_int_equal(outcome.lowest.index, 3);
    assert_int_equal(outcome.lowest.code, 4);
    assert_null(outcome.failed); /* no job was asked for */
    dist__outcome_free(&outcome);
}

TEST(kept_failures_are_sorted_by_index) {
    struct dist__outcome outcome;
    size_t order[100];
    dist__outcome_init(&outcome, 0, true);
    for (size_t i = 0; i < N(order); i++) {
        size_t at = random_below(i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (size_t i = 0; i < N(order); i++) add(&outcome, order[i]);
    dist__outcome_sort(&outcome);
    assert_int_equal(outcome.failed_count, N(order));
    for (size_t i = 0; i < N(order); i++) {
        assert_int_equal(outcome.failed[i].index, i);
        assert_int_equal(outcome.failed[i].code, (int)i + 1);
    }
    dist__outcome_free(&outcome);
}

/* Random spans, overlapping or not, against a mark for each item. */
TEST(spans_are_sorted_and_merged) {
    for (int round = 0; round < 500; round++) {
        struct dist__outcome outcome;
        bool skipped[300] = {false};
        dist__outcome_init(&outcome, 0, true);
        for (size_t spans = random_below(40); spans > 0; spans--) {
            size_t begin = random_below(280), end = begin + random_below(20);
            dist__outcome_skip(&outcome, begin, end);
            for (size_t i = begin; i < end; i++) skipped[i] = true;
        }
        dist__outcome_sort(&outcome);
        size_t at = 0;
        for (size_t k = 0; k < outcome.skipped_count; k++) {
            struct dist__span span = outcome.skipped[k];
            assert_true(span.begin < span.end);
            assert_true(k == 0 || span.begin > outcome.skipped[k - 1].end);
            for (; at < span.begin; at++) assert_false(skipped[at]);
            for (; at < span.end; at++) assert_true(skipped[at]);
        }
        for (; at < N(skipped); at++) assert_false(skipped[at]);
        dist__outcome_free(&outcome);
    }
}

TEST(empty_spans_are_not_kept) {
    struct dist__outcome outcome;
    dist__outcome_init(&outcome, 0, true);
    dist__outcome_skip(&outcome, 5, 5);
    dist__outcome_skip(&outcome, 6, 5);
    assert_int_equal(outcome.skipped_count, 0);
    dist__outcome_sort(&outcome);
    assert_false(outcome.incomplete);
    dist__outcome_free(&outcome);
}

TEST(without_a_job_no_span_is_kept) {
    struct dist__outcome outcome;
    dist__outcome_init(&outcome, 0, false);
    dist__outcome_skip(&outcome, 5, 50);
    dist__outcome_sort(&outcome);
    assert_int_equal(outcome.skipped_count, 0);
    assert_null(outcome.skipped);
    dist__outcome_free(&outcome);
}

TEST(a_call_that_was_cut_has_stopped_whatever_its_limit) {
    for (size_t limit = 0; limit < 4; limit++) {
        struct dist__outcome outcome;
        dist__outcome_init(&outcome, limit, false);
        dist__outcome_cut(&outcome, 20);
        assert_true(dist__outcome_stopped(&outcome));
        assert_int_equal(outcome.stop, 20);
        dist__outcome_cut(&outcome, 30); /* it only falls */
        assert_int_equal(outcome.stop, 20);
        dist__outcome_cut(&outcome, 10);
        assert_int_equal(outcome.stop, 10);
        assert_int_equal(outcome.failed_count, 0);
        dist__outcome_free(&outcome);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_limit_th_smallest_is_known_after_each_index),
    cmocka_unit_test(without_a_limit_nothing_is_kept),
    cmocka_unit_test(failures_stop_the_call_at_the_limit_th_smallest),
    cmocka_unit_test(the_lowest_failure_keeps_its_own_details),
    cmocka_unit_test(kept_failures_are_sorted_by_index),
    cmocka_unit_test(spans_are_sorted_and_merged),
    cmocka_unit_test(empty_spans_are_not_kept),
    cmocka_unit_test(without_a_job_no_span_is_kept),
    cmocka_unit_test(a_call_that_was_cut_has_stopped_whatever_its_limit),
};
RUN(tests)
