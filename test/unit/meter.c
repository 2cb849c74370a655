/* meter.c - durations in buckets, and what is read off them. */
#include "unit.h"
#include "common/meter.h"

TEST(buckets_are_in_order_and_narrow) {
    unsigned last = 0;
    for (uint64_t ns = 0; ns < 3000000; ns++) {
        unsigned bucket = dist__meter_bucket(ns);
        assert_true(bucket == last || bucket == last + 1);
        last = bucket;
        double off = (double)dist__meter_middle(bucket) - (double)ns;
        assert_true(ns < 8 ? off == 0 : off <= 0.0651 * (double)ns && -off <= 0.0651 * (double)ns);
    }
}

TEST(buckets_reach_from_nothing_to_for_ever) {
    assert_int_equal(dist__meter_bucket(0), 0);
    assert_int_equal(dist__meter_bucket(7), 7);
    assert_int_equal(dist__meter_bucket(8), 8);
    assert_int_equal(dist__meter_bucket(((uint64_t)1 << 40) - 1), DIST__METER_BUCKETS - 1);
    assert_true(dist__meter_bucket((uint64_t)7 << 37) < DIST__METER_BUCKETS - 1);
    assert_int_equal(dist__meter_bucket(UINT64_MAX), DIST__METER_BUCKETS - 1);
    for (unsigned bucket = 0; bucket < DIST__METER_BUCKETS; bucket++)
        assert_int_equal(dist__meter_bucket(dist__meter_middle(bucket)), bucket);
}

/* So many tasks of 1000, 2000 ... ns in two meters out of three. */
static dist_stats measure(unsigned tasks, uint64_t step) {
    struct dist__meters *meters = dist__meters_new(3, false);
    dist_stats stats = {.tasks = 0};
    assert_non_null(meters);
    meters->began -= 1000000000;
    for (unsigned k = 1; k <= tasks; k++) {
        struct dist__meter *meter = &meters->worker[k % 2 * 2];
        meter->tasks++;
        meter->busy_ns += k * step;
        meter->count[dist__meter_bucket(k * step)]++;
        if (k * step > meter->longest_ns) meter->longest_ns = k * step;
    }
    dist__meters_end(meters, &stats);
    return stats;
}

static bool is_about(double seconds, double expected) {
    return seconds >= expected * 0.93 && seconds <= expected * 1.07;
}

TEST(percentiles_are_read_off_all_meters) {
    dist_stats s = measure(1000, 1000);
    assert_int_equal(s.tasks, 1000);
    assert_int_equal(s.workers, 2);
    assert_true(is_about(s.p50, 500e-6) && is_about(s.p95, 950e-6) && is_about(s.max, 1e-3));
    assert_true(is_about(s.busy, 500500e-6));
    assert_true(s.wall >= 1 && s.busy + s.waiting <= 2 * s.wall * (1 + 1e-12));
    assert_true(s.busy + s.waiting >= 2 * s.wall * (1 - 1e-12));
}

TEST(percentiles_of_few_tasks_are_those_tasks) {
    dist_stats s = measure(1, 1000);
    assert_true(is_about(s.p50, 1e-6) && s.p95 == s.p50 && is_about(s.max, 1e-6) && s.p95 <= s.max);
    s = measure(1, 961); /* below the middle of its bucket */
    assert_true(s.p50 == s.max && s.p95 == s.max);
    s = measure(2, 1000);
    assert_true(is_about(s.p50, 1e-6) && is_about(s.p95, 2e-6) && is_about(s.max, 2e-6));
    s = measure(1, (uint64_t)3600 * 1000000000); /* beyond the buckets: the longest stands */
    assert_true(is_about(s.p50, 3600) && s.p50 == s.max);
    s = measure(0, 1);
    assert_true(s.p50 == 0 && s.max == 0 && s.workers == 0 && s.waiting == 0);
}

TEST(a_dead_worker_leaves_what_it_was_at) {
    struct dist__meters *meters = dist__meters_new(2, true);
    dist_stats s = {.tasks = 0};
    assert_non_null(meters);
    struct dist__exit end = {.cpu_ns = 5000, .peak_rss = 4096};
    meters->worker[1].began = dist__now_ns();
    dist__meters_bury(meters, 1, &end, true);
    end.peak_rss = 1024;
    dist__meters_bury(meters, 1, &end, false); /* was at nothing */
    meters->worker[0].began = 17;              /* from before the call: a wild task wrote that */
    dist__meters_bury(meters, 0, &end, true);
    dist__meters_bury(NULL, 0, &end, true);
    dist__meters_end(meters, &s);
    assert_int_equal(s.tasks, 1);
    assert_int_equal(s.workers, 1);
    assert_int_equal(s.workers_lost, 2);
    assert_int_equal(s.peak_rss, 4096);
    assert_true(is_about(s.cpu, 15e-6));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(buckets_are_in_order_and_narrow),
    cmocka_unit_test(buckets_reach_from_nothing_to_for_ever),
    cmocka_unit_test(percentiles_are_read_off_all_meters),
    cmocka_unit_test(percentiles_of_few_tasks_are_those_tasks),
    cmocka_unit_test(a_dead_worker_leaves_what_it_was_at),
};
RUN(tests)
