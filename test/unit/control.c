/* control.c - what the supervisor of a call decides: when a retry is due, what a failure means, and
 * whether the end of a call before its time matters. */
#include "looked_after.h"

#include <errno.h>
#include <limits.h>
#include <math.h>

/* ------------------------------------------------------------------ times */

TEST(a_time_after_another_is_never_at_most) {
    static const struct {
        uint64_t from;
        double seconds;
        uint64_t after;
    } row[] = {
        {0, 0, 0},
        {7, 0, 7},
        {7, 1e-10, 7}, /* less than a nanosecond */
        {7, 1e-9, 8},
        {7, 0.25, 250000007},
        {UINT64_C(1) << 60, 1, (UINT64_C(1) << 60) + 1000000000},
        {7, 9.2e9, UINT64_C(9200000000000000007)},
        {7, 9.3e9, UINT64_MAX}, /* in 295 years */
        {0, 1e300, UINT64_MAX},
        {0, HUGE_VAL, UINT64_MAX},
        {0, NAN, UINT64_MAX},
    };
    for (size_t k = 0; k < N(row); k++)
        assert_true(dist__after(row[k].from, row[k].seconds) == row[k].after);
}

TEST(a_rate_is_a_time_between_two_starts) {
    static const struct {
        double rate;
        uint64_t turn_ns;
    } row[] = {{0, 0},    {1, 1000000000}, {4, 250000000},       {1e9, 1},
               {1e12, 0}, {HUGE_VAL, 0},   {1e-300, UINT64_MAX}, {0.5, 2000000000}};
    for (size_t k = 0; k < N(row); k++) {
        struct call c;
        open_call(&c, 1, 0, 1, (dist_opts){.rate = row[k].rate});
        assert_true(c.control.turn_ns == row[k].turn_ns);
        close_call(&c);
    }
}

static bool always(const dist_error *error, void *user) { return error || user; }
static void hook(const dist_event *event, void *user) { (void)event, (void)user; }
static int init(void **state, unsigned worker, void *user) { return !state || !worker || !user; }
static void leave(void *state, unsigned worker, void *user) {
    (void)state, (void)worker, (void)user;
}

TEST(options_that_need_a_supervisor_have_one) {
    static const unsigned cpu = 0;
    const dist_opts with[] = {
        {.timeout = 1},        {.task_timeout = 1},        {.retries = 1},     {.rate = 1},
        {.worker_init = init}, {.worker_exit = leave},     {.on_start = hook}, {.on_finish = hook},
        {.progress = ""},      {.cpus = &cpu, .n_cpus = 1}};
    const dist_opts without[] = {
        {.size = 0}, {.workers = 3}, {.silent = true},    {.chunk = 5, .max_failures = 2},
        {.seed = 1}, {.backoff = 1}, {.retry_if = always}};
    struct dist__batch batch = {.kind = DIST__INDICES, .n = 5};
    for (size_t k = 0; k < N(with); k++) assert_true(dist__control_wanted(&with[k], &batch));
    for (size_t k = 0; k < N(without); k++) assert_false(dist__control_wanted(&without[k], &batch));
    dist_task task[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    batch = (struct dist__batch){.kind = DIST__PAR_TASKS, .tasks = task, .n = 3};
    assert_false(dist__control_wanted(&without[0], &batch));
    task[2].retries = 1;
    assert_true(dist__control_wanted(&without[0], &batch));
    task[2].retries = 0, task[1].timeout = 0.5;
    assert_true(dist__control_wanted(&without[0], &batch));
}

TEST(tasks_of_par_have_retries_and_limits_of_their_own) {
    struct call c;
    dist_task task[2] = {{.retries = 7}, {.timeout = 0.5}};
    open_call(&c, 2, 0, 1, (dist_opts){.retries = 2, .task_timeout = 3});
    c.batch.kind = DIST__PAR_TASKS, c.batch.tasks = task;
    assert_int_equal(dist__control_retries_of(&c.control, 0), 7);
    assert_int_equal(dist__control_retries_of(&c.control, 1), 2);
    assert_true(dist__attempt_limit(&c.control, 0) == 3);
    assert_true(dist__attempt_limit(&c.control, 1) == 0.5);
    close_call(&c);
}

/* ------------------------------------------------------------------ retries that wait */

static void check_heap(const struct dist__control *control) {
    for (size_t k = 1; k < control->waiting_count; k++)
        assert_true(control->waiting[(k - 1) / 2].due_ns <= control->waiting[k].due_ns);
}

enum { MANY = 3000 };

/* All of them wait, in random order. */
static void let_all_wait(struct call *c, unsigned attempts_most) {
    static size_t order[MANY];
    for (size_t i = 0; i < MANY; i++) {
        size_t at = random_below(i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    for (size_t i = 0; i < MANY; i++)
        tell_failure(c, order[i], 1 + (unsigned)random_below(attempts_most));
    assert_int_equal(c->control.waiting_count, MANY);
    assert_int_equal(c->batch.outcome.failed_count, 0);
    check_heap(&c->control);
}

TEST(retries_come_in_the_order_of_their_times_and_never_early) {
    struct call c;
    bool seen[MANY] = {false};
    uint64_t last = 0;
    open_call(&c, MANY, 0, 1, (dist_opts){.retries = 10, .backoff = 0.002});
    let_all_wait(&c, 6);
    for (size_t taken = 0; taken < MANY;) {
        struct dist__span items;
        uint64_t first = c.control.waiting[0].due_ns;
        if (!dist__control_due(&c.control, &items)) {
            sleep_ns(100000);
            continue;
        }
        assert_true(dist__now_ns() >= first && first >= last);
        assert_true(items.begin < MANY && items.end == items.begin + 1 && !seen[items.begin]);
        seen[items.begin] = true;
        last = first;
        taken++;
        if (taken % 64 == 0) check_heap(&c.control);
    }
    assert_int_equal(c.control.waiting_count, 0);
    close_call(&c);
}

TEST(retries_that_wait_for_nothing_are_due_at_once) {
    struct call c;
    open_call(&c, MANY, 0, 1, (dist_opts){.retries = 1});
    let_all_wait(&c, 1);
    struct dist__span items;
    size_t sum = 0;
    while (dist__control_due(&c.control, &items)) sum += items.begin;
    assert_int_equal(sum, (size_t)MANY * (MANY - 1) / 2);
    close_call(&c);
}

TEST(pauses_double_and_lose_up_to_a_half) {
    const double backoff = 1000;
    double least = 1, most = 0;
    for (unsigned attempts = 1; attempts <= 40; attempts++)
        for (size_t i = 0; i < 50; i++) {
            struct call c;
            open_call(&c, 50, 0, 1, (dist_opts){.retries = 100, .backoff = backoff});
            c.batch.seed = 11;
            uint64_t before = dist__now_ns();
            tell_failure(&c, i, attempts);
            uint64_t after = dist__now_ns(), due = c.control.waiting[0].due_ns;
            unsigned doublings = attempts <= 11 ? attempts - 1 : 10;
            double whole = backoff * 1e9 * (double)(UINT64_C(1) << doublings);
            double part = (double)(due - before) / whole;
            assert_true(part >= 0.5 && (double)(due - after) <= whole);
            if (part < least) least = part;
            if (part > most) most = part;
            close_call(&c);
        }
    assert_true(least < 0.55 && most > 0.95); /* they spread */
}

TEST(retries_above_a_stop_are_given_up) {
    for (int round = 0; round < 50; round++) {
        struct call c;
        size_t stop = random_below(MANY);
        open_call(&c, MANY, 0, 1, (dist_opts){.retries = 10, .backoff = 1000});
        let_all_wait(&c, 11 - 1);
        tell_failure(&c, stop, 11); /* no retry is left; that it waits too does not matter here */
        assert_int_equal(c.batch.outcome.stop, stop);
        assert_false(dist__control_past_stop(&c.control, stop));
        if (stop < MANY - 1) assert_true(dist__control_past_stop(&c.control, stop + 1));
        dist__control_drop_retries(&c.control);
        assert_int_equal(c.control.waiting_count, stop + 1);
        check_heap(&c.control);
        for (size_t k = 0; k <= stop; k++) assert_true(c.control.waiting[k].items.begin <= stop);
        assert_int_equal(c.batch.outcome.skipped_count, 0); /* their last failure stands */
        assert_int_equal(c.batch.outcome.failed_count, MANY - stop);
        dist__control_drop_retries(&c.control); /* again: nothing changes */
        assert_int_equal(c.control.waiting_count, stop + 1);
        close_call(&c);
    }
}

TEST(a_due_retry_above_a_stop_is_passed_over) {
    struct call c;
    struct dist__span items;
    open_call(&c, 100, 0, 1, (dist_opts){.retries = 1});
    for (size_t i = 0; i < 100; i++)
        if (i != 40) tell_failure(&c, i, 1);
    tell_failure(&c, 40, 2);
    size_t count = 0;
    for (; dist__control_due(&c.control, &items); count++) assert_true(items.begin < 40);
    assert_int_equal(count, 40);
    assert_int_equal(c.control.waiting_count, 0);
    assert_int_equal(c.batch.outcome.skipped_count, 0);
    assert_int_equal(c.batch.outcome.failed_count, 60);
    close_call(&c);
}

static void end(struct call *c, dist_status status) {
    dist__control_end(&c->control, &(dist_error){.status = status, .message = "ended"});
}

TEST(a_call_that_ends_gives_up_all_retries) {
    struct call c;
    open_call(&c, MANY, 0, 1, (dist_opts){.retries = 10, .backoff = 1000});
    let_all_wait(&c, 10);
    end(&c, DIST_CANCELLED);
    dist__control_drop_retries(&c.control);
    assert_int_equal(c.control.waiting_count, 0);
    assert_int_equal(c.batch.outcome.skipped_count, 0);
    assert_int_equal(c.batch.outcome.failed_count, MANY);
    assert_int_equal(c.control.lowest_open, 0);
    close_call(&c);
}

/* ------------------------------------------------------------------ another attempt or not */

static unsigned asked;

static bool is_worth_it(const dist_error *error, void *user) {
    asked++;
    assert_string_equal(error->message, "failed");
    return error->index % 2 == *(const size_t *)user;
}

TEST(a_failure_stands_when_no_retry_is_left) {
    for (unsigned retries = 0; retries < 4; retries++)
        for (unsigned attempts = 1; attempts < 8; attempts++) {
            struct call c;
            open_call(&c, 10, 0, 0, (dist_opts){.retries = retries});
            tell_failure(&c, 3, attempts);
            assert_int_equal(c.control.waiting_count, attempts <= retries);
            assert_int_equal(c.batch.outcome.failed_count, attempts > retries);
            close_call(&c);
        }
}

TEST(retry_if_is_asked_only_where_a_retry_is_possible) {
    struct call c;
    size_t odd = 1;
    open_call(&c, 10, 0, 1, (dist_opts){.retries = 2, .retry_if = is_worth_it, .user = &odd});
    asked = 0;
    tell_failure(&c, 9, 1);
    tell_failure(&c, 7, 2);
    assert_int_equal(asked, 2);
    assert_int_equal(c.control.waiting_count, 2);
    tell_failure(&c, 5, 3); /* no retry is left */
    assert_int_equal(asked, 2);
    tell_failure(&c, 6, 1); /* above the stop, which is 5 by now */
    assert_int_equal(asked, 2);
    tell_failure(&c, 4, 1); /* it says no */
    assert_int_equal(asked, 3);
    assert_int_equal(c.batch.outcome.stop, 4);
    end(&c, DIST_TIMEOUT);
    tell_failure(&c, 1, 1);
    assert_int_equal(asked, 3);
    assert_int_equal(c.control.waiting_count, 2);
    assert_int_equal(c.batch.outcome.failed_count, 4);
    close_call(&c);
}

/* ------------------------------------------------------------------ an end before its time */

TEST(the_first_end_of_a_call_stands) {
    struct call c;
    open_call(&c, 10, 0, 1, (dist_opts){.retries = 1});
    assert_false(dist__control_has_ended(&c.control) || dist__control_check(&c.control));
    end(&c, DIST_TIMEOUT);
    end(&c, DIST_CANCELLED);
    assert_true(dist__control_has_ended(&c.control) && dist__control_check(&c.control));
    assert_int_equal(c.control.why.status, DIST_TIMEOUT);
    assert_int_equal(c.desk->ended, DIST_TIMEOUT);
    close_call(&c);
}

TEST(limits_and_tokens_end_a_call) {
    struct call c;
    dist_token *token = dist_token_new();
    assert_non_null(token);
    open_call(&c, 10, 0, 1, (dist_opts){.token = token, .timeout = 1000});
    assert_false(dist__control_check(&c.control));
    dist_token_cancel(token);
    assert_true(dist__control_check(&c.control));
    assert_int_equal(c.control.why.status, DIST_CANCELLED);
    close_call(&c);
    dist_token_free(token);
    open_call(&c, 10, 0, 1, (dist_opts){.timeout = 0.002});
    while (!dist__control_check(&c.control)) sleep_ns(100000);
    assert_true(dist__now_ns() >= c.control.begin_ns + 2000000);
    assert_int_equal(c.control.why.status, DIST_TIMEOUT);
    assert_string_equal(c.control.why.message, "the call's limit of 0.002 s has passed");
    close_call(&c);
}

TEST(what_the_end_left_open_counts_below_the_lowest_failure) {
    enum { NONE = -1 };
    static const struct {
        dist_status ended; /* why the call did; DIST_OK: it did not */
        int open;          /* lowest item that the end left open */
        int failed;        /* lowest item that failed */
        bool cut;
    } row[] = {
        {DIST_OK, NONE, NONE, false},
        {DIST_OK, NONE, 3, false},
        {DIST_OK, 5, NONE, false},         /* skipped above a stop, not because the call ended */
        {DIST_TIMEOUT, NONE, NONE, false}, /* all had ended */
        {DIST_TIMEOUT, NONE, 3, false},
        {DIST_TIMEOUT, 5, NONE, true},
        {DIST_TIMEOUT, 5, 3, false},
        {DIST_TIMEOUT, 5, 5, true}, /* its error is that of the end */
        {DIST_TIMEOUT, 5, 6, true},
        {DIST_CANCELLED, 0, 0, true},
        {DIST_CANCELLED, 0, 9, true},
        {DIST_CANCELLED, 9, 0, false},
        {DIST_FAILED, 9, NONE, true}, /* an init */
    };
    for (size_t k = 0; k < N(row); k++) {
        struct call c;
        open_call(&c, 10, 0, 0, (dist_opts){.retries = 1});
        if (row[k].failed != NONE) tell_failure(&c, (size_t)row[k].failed, 2);
        if (row[k].ended) end(&c, row[k].ended);
        if (row[k].open != NONE)
            dist__control_skip(&c.control, (struct dist__span){(size_t)row[k].open, 10});
        dist_error why = {.status = DIST_EMPTY};
        bool cut = dist__control_cut(&c.control, row[k].failed != NONE, &why);
        assert_int_equal(cut, row[k].cut);
        assert_int_equal(why.status, cut ? row[k].ended : DIST_EMPTY);
        if (cut) assert_int_equal(why.index, row[k].open);
        /* failures that .silent tolerates do not hide it */
        cut = dist__control_cut(&c.control, false, &why);
        assert_int_equal(cut, row[k].ended && row[k].open != NONE);
        close_call(&c);
    }
}

TEST(an_interrupted_item_is_named_with_its_attempt_and_worker) {
    struct call c;
    _Atomic(uint32_t) attempts[10] = {0};
    open_call(&c, 10, 0, 0, (dist_opts){.retries = 3});
    c.control.attempts = attempts;
    attempts[4] = 3;
    end(&c, DIST_TIMEOUT);
    dist__control_skip(&c.control, (struct dist__span){8, 10});
    dist__control_interrupted(&c.control, (struct dist__span){4, 6}, 2);
    dist_error why;
    assert_true(dist__control_cut(&c.control, true, &why));
    assert_true(why.index == 4 && why.attempts == 3 && why.worker == 2);
    assert_string_equal(why.message, "ended");
    assert_int_equal(c.batch.outcome.failed_count, 2);
    assert_int_equal(c.batch.outcome.lowest.status, DIST_TIMEOUT);
    assert_int_equal(c.batch.outcome.lowest.attempts, 3);
    dist__control_skip(&c.control, (struct dist__span){3, 4}); /* it never started */
    assert_true(dist__control_cut(&c.control, true, &why));
    assert_true(why.index == 3 && why.attempts == 0 && why.worker == 0);
    dist__control_skip(&c.control, (struct dist__span){1, 1}); /* none at all */
    assert_true(dist__control_cut(&c.control, true, &why) && why.index == 3);
    close_call(&c);
}

TEST(without_memory_for_a_retry_the_item_has_failed) {
    struct call c;
    open_call(&c, 10, 0, 1, (dist_opts){.retries = 3});
    dist__control_no_memory(&c.control, (struct dist__span){4, 5});
    assert_int_equal(c.control.waiting_count, 0);
    assert_int_equal(c.batch.outcome.lowest.status, DIST_NOMEM);
    assert_int_equal(c.batch.outcome.stop, 4);
    close_call(&c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_time_after_another_is_never_at_most),
    cmocka_unit_test(a_rate_is_a_time_between_two_starts),
    cmocka_unit_test(options_that_need_a_supervisor_have_one),
    cmocka_unit_test(tasks_of_par_have_retries_and_limits_of_their_own),
    cmocka_unit_test(retries_come_in_the_order_of_their_times_and_never_early),
    cmocka_unit_test(retries_that_wait_for_nothing_are_due_at_once),
    cmocka_unit_test(pauses_double_and_lose_up_to_a_half),
    cmocka_unit_test(retries_above_a_stop_are_given_up),
    cmocka_unit_test(a_due_retry_above_a_stop_is_passed_over),
    cmocka_unit_test(a_call_that_ends_gives_up_all_retries),
    cmocka_unit_test(a_failure_stands_when_no_retry_is_left),
    cmocka_unit_test(retry_if_is_asked_only_where_a_retry_is_possible),
    cmocka_unit_test(the_first_end_of_a_call_stands),
    cmocka_unit_test(limits_and_tokens_end_a_call),
    cmocka_unit_test(what_the_end_left_open_counts_below_the_lowest_failure),
    cmocka_unit_test(an_interrupted_item_is_named_with_its_attempt_and_worker),
    cmocka_unit_test(without_memory_for_a_retry_the_item_has_failed),
};
RUN(tests)
