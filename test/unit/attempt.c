/* attempt.c - when an attempt may start, what has become of one that has ended, and how often an
 * item was tried. */
#include "looked_after.h"

#include <errno.h>
#include <pthread.h>

enum { WORKERS = 3, ITEMS = 100 };

/* Runs `body` as worker 0 of the call. */
static void as_worker(struct call *c, void (*body)(struct call *, struct dist__record *)) {
    struct dist__record record;
    dist__record_enter(&record, &c->batch, 0, DIST__THREADED);
    body(c, &record);
    dist__record_leave(&record);
}

/* ------------------------------------------------------------------ turns */

enum { TURN_NS = 2000000 };

static dist_opts paced(void) { return (dist_opts){.rate = 1e9 / TURN_NS}; }

static void draw_turns(struct call *c, struct dist__record *record) {
    uint64_t begin = dist__now_ns();
    for (uint64_t k = 0; k < 10; k++) {
        assert_true(dist__worker_turn(&c->control, record, k));
        assert_true(dist__now_ns() >= begin + k * TURN_NS);
    }
    sleep_ns(10 * TURN_NS); /* time in which nobody starts is not saved up */
    begin = dist__now_ns();
    for (uint64_t k = 0; k < 4; k++) {
        assert_true(dist__worker_turn(&c->control, record, k));
        assert_true(dist__now_ns() >= begin + k * TURN_NS);
    }
}

TEST(starts_are_spaced_evenly) {
    for (unsigned rings = 0; rings < 2; rings++) {
        struct call c;
        open_call(&c, ITEMS, rings, 1, paced());
        as_worker(&c, draw_turns);
        close_call(&c);
    }
}

static struct call shared;
static uint64_t started[WORKERS * 8];
static _Atomic(unsigned) started_count;

static void *draw_eight(void *number) {
    struct dist__record record;
    dist__record_enter(&record, &shared.batch, (unsigned)(uintptr_t)number, DIST__THREADED);
    for (size_t k = 0; k < 8; k++) {
        bool mine = dist__worker_turn(&shared.control, &record, k);
        started[atomic_fetch_add(&started_count, 1)] = mine ? dist__now_ns() : 0;
    }
    dist__record_leave(&record);
    return NULL;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

TEST(starts_are_spaced_over_all_workers) {
    pthread_t thread[WORKERS];
    open_call(&shared, ITEMS, WORKERS, 1, paced());
    uint64_t begin = dist__now_ns();
    for (uintptr_t k = 0; k < WORKERS; k++)
        assert_int_equal(pthread_create(&thread[k], NULL, draw_eight, (void *)k), 0);
    for (size_t k = 0; k < WORKERS; k++) pthread_join(thread[k], NULL);
    qsort(started, N(started), sizeof *started, ascending);
    for (size_t k = 0; k < N(started); k++) assert_true(started[k] >= begin + k * TURN_NS);
    close_call(&shared);
}

static void first_and_never(struct call *c, struct dist__record *record) {
    assert_true(dist__worker_turn(&c->control, record, 5));
    assert_true(c->desk->turn == UINT64_MAX);
    assert_false(dist__worker_turn(&c->control, record, 5)); /* would come in 10^300 s */
    assert_true(c->desk->turn == UINT64_MAX);
}

TEST(a_turn_that_never_comes_ends_with_the_call) {
    struct call c;
    open_call(&c, ITEMS, 0, 1, (dist_opts){.rate = 1e-300, .timeout = 0.02});
    as_worker(&c, first_and_never);
    assert_true(dist__control_check(&c.control));
    assert_int_equal(c.control.why.status, DIST_TIMEOUT);
    close_call(&c);
}

static void second_turn_does_not_come(struct call *c, struct dist__record *record) {
    assert_true(dist__worker_turn(&c->control, record, 5));
    assert_false(dist__worker_turn(&c->control, record, 5));
}

static void *end_soon(void *call) {
    struct call *c = call;
    sleep_ns(10000000);
    if (c->batch.outcome.smallest.limit) tell_failure(c, 3, 1); /* below the one that waits */
    else dist__control_end(&c->control, &(dist_error){.status = DIST_CANCELLED});
    return NULL;
}

TEST(who_waits_for_a_turn_is_told_of_the_end_and_of_the_stop) {
    for (size_t limit = 0; limit < 2; limit++) {
        struct call c;
        pthread_t thread;
        open_call(&c, ITEMS, 1, limit, (dist_opts){.rate = 1e-3});
        assert_int_equal(pthread_create(&thread, NULL, end_soon, &c), 0);
        as_worker(&c, second_turn_does_not_come);
        pthread_join(thread, NULL);
        close_call(&c);
    }
}

/* ------------------------------------------------------------------ may it start? */

static void starts_up_to_40(struct call *c, struct dist__record *record) {
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(dist__worker_turn(&c->control, record, i), i <= 40);
}

static void starts_nothing(struct call *c, struct dist__record *record) {
    for (size_t i = 0; i < ITEMS; i++) assert_false(dist__worker_turn(&c->control, record, i));
}

TEST(nothing_starts_above_the_stop) {
    struct call c;
    open_call(&c, ITEMS, 1, 2, (dist_opts){.retries = 0});
    tell_failure(&c, 20, 1);
    tell_failure(&c, 40, 1);
    as_worker(&c, starts_up_to_40);
    close_call(&c);
}

TEST(nothing_starts_after_the_end_though_the_supervisor_is_late) {
    struct call c;
    dist_token *token = dist_token_new();
    open_call(&c, ITEMS, 1, 1, (dist_opts){.token = token});
    dist_token_cancel(token);
    as_worker(&c, starts_nothing);
    assert_false(dist__control_has_ended(&c.control));
    close_call(&c);
    dist_token_free(token);
    open_call(&c, ITEMS, 1, 1, (dist_opts){.timeout = 1e-6});
    sleep_ns(100000);
    as_worker(&c, starts_nothing);
    assert_false(dist__control_has_ended(&c.control));
    close_call(&c);
    open_call(&c, ITEMS, 1, 1, (dist_opts){.retries = 1});
    dist__control_end(&c.control, &(dist_error){.status = DIST_SYSTEM});
    as_worker(&c, starts_nothing);
    close_call(&c);
}

/* ------------------------------------------------------------------ attempts */

static void try_three_times(struct call *c, struct dist__record *record) {
    for (unsigned attempt = 1; attempt <= 3; attempt++) {
        dist__attempt_begin(&c->control, record, (struct dist__span){5, 8});
        assert_int_equal(record->attempt, attempt);
        assert_int_equal(dist__attempts_of(&c->control, 6), attempt);
        dist__attempt_end(&c->control, record);
        /* the last one has not been run: it had no attempt */
        dist__attempt_unused(&c->control, (struct dist__span){7, 8});
    }
}

TEST(attempts_are_counted_for_each_item) {
    struct call c;
    _Atomic(uint32_t) attempts[ITEMS] = {0};
    open_call(&c, ITEMS, 1, 1, (dist_opts){.retries = 5});
    c.control.attempts = attempts;
    as_worker(&c, try_three_times);
    assert_int_equal(attempts[5], 3);
    assert_int_equal(attempts[6], 3);
    assert_int_equal(attempts[7], 0);
    assert_int_equal(dist__attempts_of(&c.control, 9), 1); /* never less */
    close_call(&c);
}

/* ------------------------------------------------------------------ what has become of it */

static const struct verdict {
    const char *what;
    int code;          /* that the task returned */
    double limit;      /* of the attempt; 0: none, negative: it has passed */
    dist_status ended; /* the call, while it ran */
    bool asks;         /* dist_cancelled() */
    size_t stop;       /* 0: none; the item is 5 */
    int expected;      /* the attempt's code */
    dist_status status;
} verdicts[] = {
    {"a success", 0, 0, 0, false, 0, 0, DIST_FAILED},
    {"a failure", 7, 0, 0, false, 0, 7, DIST_FAILED},
    {"in time", 0, 1000, 0, true, 0, 0, DIST_FAILED},
    {"a failure in time", 7, 1000, 0, true, 0, 7, DIST_FAILED},
    {"late", 0, -1, 0, false, 0, ETIMEDOUT, DIST_TIMEOUT},
    {"a late failure", 7, -1, 0, false, 0, 7, DIST_TIMEOUT},
    {"cancelled", 0, 0, DIST_CANCELLED, false, 0, ECANCELED, DIST_CANCELLED},
    {"at the limit of the call", 0, 0, DIST_TIMEOUT, true, 0, ETIMEDOUT, DIST_TIMEOUT},
    {"an init has failed", 0, 0, DIST_FAILED, false, 0, ECANCELED, DIST_CANCELLED},
    {"above the stop, and not told", 0, 0, 0, false, 4, 0, DIST_FAILED},
    {"above the stop, and told", 0, 0, 0, true, 4, ECANCELED, DIST_CANCELLED},
    {"at the stop", 0, 0, 0, true, 5, 0, DIST_FAILED},
    {"late above the stop", 0, -1, 0, false, 4, 0, DIST_FAILED},
};
static const struct verdict *judged;

static void judge(struct call *c, struct dist__record *record) {
    record->index = 5;
    dist__attempt_begin(&c->control, record, (struct dist__span){5, 6});
    if (judged->limit < 0) sleep_ns(20000);
    if (judged->ended) dist__control_end(&c->control, &(dist_error){.status = judged->ended});
    if (judged->stop) tell_failure(c, judged->stop, 1);
    if (judged->asks) dist_cancelled();
    assert_int_equal(dist__attempt_verdict(record, judged->code), judged->expected);
    assert_int_equal(record->status, judged->status);
    if (judged->status == DIST_FAILED) assert_int_equal(record->code, 0);
    else assert_true(record->code == judged->expected && record->message[0]);
    dist__attempt_end(&c->control, record);
}

TEST(late_and_cancelled_attempts_are_failures_whatever_they_return) {
    for (size_t k = 0; k < N(verdicts); k++) {
        struct call c;
        judged = &verdicts[k];
        double limit = judged->limit < 0 ? 1e-6 : judged->limit;
        open_call(&c, ITEMS, 1, 1, (dist_opts){.task_timeout = limit});
        as_worker(&c, judge);
        close_call(&c);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(starts_are_spaced_evenly),
    cmocka_unit_test(starts_are_spaced_over_all_workers),
    cmocka_unit_test(a_turn_that_never_comes_ends_with_the_call),
    cmocka_unit_test(who_waits_for_a_turn_is_told_of_the_end_and_of_the_stop),
    cmocka_unit_test(nothing_starts_above_the_stop),
    cmocka_unit_test(nothing_starts_after_the_end_though_the_supervisor_is_late),
    cmocka_unit_test(attempts_are_counted_for_each_item),
    cmocka_unit_test(late_and_cancelled_attempts_are_failures_whatever_they_return),
};
RUN(tests)
