/* park.c - the inbox, and who is counted as searching or asleep, in one thread. */
#include "unit.h"
#include "thread/inbox.h"
#include "thread/park.h"

TEST(nodes_come_out_in_the_order_they_went_in) {
    static struct dist__inbox inbox;
    struct dist__node node[50];
    assert_null(dist__inbox_drain(&inbox));
    for (size_t count = 1; count <= N(node); count++) {
        for (size_t i = 0; i < count; i++) dist__inbox_push(&inbox, &node[i]);
        struct dist__node *next = dist__inbox_drain(&inbox);
        for (size_t i = 0; i < count; i++, next = next->next) assert_ptr_equal(next, &node[i]);
        assert_null(next);
        assert_null(dist__inbox_drain(&inbox));
    }
}

static struct dist__park park;

static uint32_t searching(void) { return park.searching; }

static int clear(void **state) {
    (void)state;
    memset((void *)&park, 0, sizeof park);
    return 0;
}

static void announce(unsigned worker) {
    dist__park_search(&park);
    dist__park_announce(&park, worker);
}

TEST(searchers_are_counted) {
    assert_int_equal(dist__park_search(&park), 1);
    assert_int_equal(dist__park_search(&park), 2);
    assert_int_equal(dist__park_submitted(&park), 2);
    dist__park_found(&park);
    assert_int_equal(dist__park_submitted(&park), 1);
    dist__park_found(&park);
    assert_int_equal(dist__park_submitted(&park), 0);
}

TEST(nobody_is_taken_where_nobody_sleeps) {
    unsigned worker = 99;
    assert_false(dist__park_take(&park, DIST__PARK_MAX, &worker));
    assert_false(dist__park_take(&park, 0, &worker));
    assert_int_equal(worker, 99);
    assert_int_equal(searching(), 0);
}

TEST(each_sleeper_is_taken_once_and_counts_as_searching) {
    unsigned sleepers[] = {0, 1, 5, 63, 64, 65, 127, 128, 1000, DIST__PARK_MAX - 1}, worker;
    for (size_t i = 0; i < N(sleepers); i++) announce(sleepers[i]);
    assert_int_equal(searching(), 0);
    for (size_t i = 0; i < N(sleepers); i++) {
        assert_true(dist__park_take(&park, DIST__PARK_MAX, &worker));
        assert_int_equal(worker, sleepers[i]);
        assert_int_equal(searching(), i + 1);
    }
    assert_false(dist__park_take(&park, DIST__PARK_MAX, &worker));
}

TEST(sleepers_beyond_the_words_of_the_pool_are_not_looked_at) {
    unsigned worker;
    announce(70);
    assert_false(dist__park_take(&park, 64, &worker)); /* they are all in the first word */
    assert_true(dist__park_take(&park, 71, &worker));
    assert_int_equal(worker, 70);
}

TEST(whoever_stays_is_no_sleeper_any_more) {
    unsigned worker;
    announce(3);
    announce(4);
    assert_true(dist__park_stay(&park, 3));
    assert_int_equal(searching(), 1);
    assert_true(dist__park_take(&park, 64, &worker));
    assert_int_equal(worker, 4);
    assert_false(dist__park_take(&park, 64, &worker));
}

TEST(whoever_was_taken_cannot_stay_on_its_own) {
    unsigned worker;
    announce(3);
    assert_true(dist__park_take(&park, 64, &worker));
    assert_int_equal(searching(), 1);
    assert_false(dist__park_stay(&park, 3));
    assert_int_equal(searching(), 1); /* the waker has counted it */
}

#define CASE(name) cmocka_unit_test_setup(name, clear)
static const struct CMUnitTest tests[] = {
    CASE(nodes_come_out_in_the_order_they_went_in),
    CASE(searchers_are_counted),
    CASE(nobody_is_taken_where_nobody_sleeps),
    CASE(each_sleeper_is_taken_once_and_counts_as_searching),
    CASE(sleepers_beyond_the_words_of_the_pool_are_not_looked_at),
    CASE(whoever_stays_is_no_sleeper_any_more),
    CASE(whoever_was_taken_cannot_stay_on_its_own),
};
RUN(tests)
