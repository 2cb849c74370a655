/* contract_token.c - calls that are cancelled from outside, and from inside. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { ITEMS = 20 };

static dist_token *token;

struct plan {
    _Atomic(unsigned) runs[KIND_ITEMS], begun, told;
    int slow;    /* items from this one on sleep until they are told, -1: none */
    int cancels; /* this one cancels the token, -1: none */
};

static struct plan *new_plan(int slow) {
    struct plan *plan = shared_memory(sizeof *plan);
    plan->slow = slow;
    plan->cancels = -1;
    if (token) dist_token_free(token);
    token = dist_token_new();
    assert_non_null(token);
    return plan;
}

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    *(int *)result = 10 * i;
    if (i == plan->cancels) dist_token_cancel(token);
    if (plan->slow < 0 || i < plan->slow) return 0;
    count(&plan->begun);
    if (doze(60)) count(&plan->told);
    return 0;
}

/* What had ended is right, what was running is cancelled, the rest was never started. */
static void check_cancelled(const dist_job *job, struct plan *plan, const int *out, size_t index) {
    size_t n = dist_job_count(job), lowest = n;
    for (size_t i = 0; i < n; i++) {
        dist_status status = status_of(job, i);
        assert_true(status == DIST_OK || status == DIST_CANCELLED || status == DIST_SKIPPED);
        if (status == DIST_OK) assert_int_equal(counted(&plan->runs[i]), 1);
        if (status == DIST_SKIPPED) assert_int_equal(counted(&plan->runs[i]), 0);
        if (status && lowest == n) lowest = i;
        if (out) assert_int_equal(out[i], status ? -1 : 10 * (int)i);
    }
    assert_int_equal(lowest, index);
}

CASE("G-07", a_token_is_a_switch_that_stays) {
    (void)X;
    dist_token *one = dist_token_new(), *other = dist_token_new();
    assert_non_null(one);
    assert_non_null(other);
    assert_false(dist_token_cancelled(one));
    dist_token_cancel(one);
    assert_true(dist_token_cancelled(one));
    dist_token_cancel(one);
    assert_true(dist_token_cancelled(one));
    assert_false(dist_token_cancelled(other));
    dist_token_free(one);
    dist_token_free(other);
    dist_token_free(NULL);
}

CASE("G-07", a_thousand_tokens_work_at_once) {
    enum { MANY = 1000 };
    static dist_token *all[MANY];
    (void)X;
    for (int i = 0; i < MANY; i++) assert_non_null(all[i] = dist_token_new());
    for (int i = 0; i < MANY; i += 3) dist_token_cancel(all[i]);
    for (int i = 0; i < MANY; i++) assert_int_equal(dist_token_cancelled(all[i]), i % 3 == 0);
    for (int i = 0; i < MANY; i++) dist_token_free(all[i]);
}

CASE("G-07", a_call_whose_token_is_cancelled_runs_nothing) {
    for (int silent = 0; silent < 2; silent++)
        for (enum kind kind = MAP; kind < KINDS; kind++) {
            struct plan *plan = new_plan(-1);
            int out[ITEMS];
            dist_job *job;
            dist_error e;
            memset(out, -1, sizeof out);
            dist_token_cancel(token);
            assert_int_equal(
                call_kind(kind, step, ITEMS, out,
                          DIST_OPTS(.executor = X, .workers = 2, .ctx = plan, .token = token,
                                    .silent = silent, .job = &job, .error = &e)),
                DIST_CANCELLED);
            assert_int_equal(e.status, DIST_CANCELLED);
            assert_int_equal(e.index, 0);
            assert_true(strlen(e.message) > 0);
            assert_memory_equal(&e, dist_last_error(), sizeof e);
            for (size_t i = 0; i < dist_job_count(job); i++) {
                assert_int_equal(status_of(job, i), DIST_SKIPPED);
                assert_int_equal(counted(&plan->runs[i]), 0);
            }
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        }
    assert_int_equal(dist_map(step, numbers(), 0, (int[1]){0}, .executor = X, .token = token),
                     DIST_OK); /* all its items had ended */
}

CASE("G-07", a_call_whose_token_is_not_cancelled_is_as_without) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct plan *plan = new_plan(-1);
        int out[ITEMS];
        assert_int_equal(
            call_kind(kind, step, ITEMS, out,
                      DIST_OPTS(.executor = X, .workers = 2, .ctx = plan, .token = token)),
            DIST_OK);
        for (size_t i = 0; i < kind_count(kind, ITEMS); i++)
            if (kind != FOR) assert_int_equal(out[i], 10 * i);
    }
}

static void *cancel_when_begun(void *plan) {
    reaches(&((struct plan *)plan)->begun, 1);
    dist_token_cancel(token);
    return NULL;
}

CASE("G-07", a_thread_cancels_a_running_call) {
    for (int silent = 0; silent < 2; silent++)
        for (enum kind kind = MAP; kind < KINDS; kind++) {
            struct plan *plan = new_plan(kind == APPLY ? 0 : 6);
            pthread_t thread;
            int out[ITEMS];
            dist_job *job;
            dist_error e;
            memset(out, -1, sizeof out);
            assert_int_equal(pthread_create(&thread, NULL, cancel_when_begun, plan), 0);
            double start = now();
            /* with one worker exactly what came before has ended */
            assert_int_equal(
                call_kind(kind, step, ITEMS, out,
                          DIST_OPTS(.executor = X, .workers = 1, .chunk = 1, .ctx = plan,
                                    .token = token, .silent = silent, .job = &job, .error = &e)),
                DIST_CANCELLED);
            ASSERT_SOON(start);
            pthread_join(thread, NULL);
            check_cancelled(job, plan, kind == FOR ? NULL : out, (size_t)plan->slow);
            assert_int_equal(e.index, plan->slow);
            assert_int_equal(status_of(job, (size_t)plan->slow), DIST_CANCELLED);
            if (kind != APPLY) assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        }
}

CASE("G-07", all_running_tasks_are_cancelled) {
    struct plan *plan = new_plan(0);
    pthread_t thread;
    int out[ITEMS];
    dist_job *job;
    memset(out, -1, sizeof out);
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_begun, plan), 0);
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 5, .ctx = plan,
                              .token = token, .job = &job),
                     DIST_CANCELLED);
    ASSERT_SOON(start);
    pthread_join(thread, NULL);
    check_cancelled(job, plan, out, 0);
    if (X != DIST_PROCESS) assert_int_equal(counted(&plan->told), counted(&plan->begun));
    dist_job_finish(&job);
}

static int ignore_the_token(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    *(int *)result = *(const int *)item;
    count(&plan->begun);
    nap(0.4);
    return 0;
}

CASE("G-07", a_task_that_ignores_its_token_is_cancelled_all_the_same) {
    struct plan *plan = new_plan(0);
    pthread_t thread;
    int out = -1;
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_begun, plan), 0);
    assert_int_equal(
        dist_apply(ignore_the_token, numbers(), &out, .executor = X, .ctx = plan, .token = token),
        DIST_CANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(out, -1);
}

CASE("G-07", a_task_cancels_its_own_call) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct plan *plan = new_plan(8);
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        plan->cancels = 8;
        double start = now();
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .chunk = 1, .ctx = plan, .token = token, .job = &job),
                         DIST_CANCELLED);
        ASSERT_SOON(start);
        assert_true(dist_token_cancelled(token));
        assert_int_equal(status_of(job, 8), DIST_CANCELLED);
        assert_int_equal(out[8], -1);
        assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
        dist_job_finish(&job);
    }
}

static void cancel_by_signal(int signal_number) {
    (void)signal_number;
    dist_token_cancel(token);
}

CASE("G-07", a_signal_handler_cancels_its_threads_call) {
    signal(SIGALRM, cancel_by_signal);
    for (unsigned round = 0; again(round, rounds(20, 20)); round++) {
        struct plan *plan = new_plan(0);
        int out[ITEMS];
        memset(out, -1, sizeof out);
        struct itimerval soon = {.it_value = {.tv_usec = 1000 + 1700 * (int)round}};
        double start = now();
        assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X,
                                  .workers = 1 + round % 3, .ctx = plan, .token = token),
                         DIST_CANCELLED);
        ASSERT_SOON(start);
        for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], -1);
    }
}

static void *raise_when_begun(void *plan) {
    reaches(&((struct plan *)plan)->begun, 1);
    raise(SIGUSR1);
    return NULL;
}

CASE("G-07", a_signal_handler_in_another_thread_cancels_a_call) {
    struct plan *plan = new_plan(0);
    pthread_t thread;
    int out[ITEMS];
    signal(SIGUSR1, cancel_by_signal);
    assert_int_equal(pthread_create(&thread, NULL, raise_when_begun, plan), 0);
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .token = token),
                     DIST_CANCELLED);
    ASSERT_SOON(start);
    pthread_join(thread, NULL);
}

struct canceller {
    size_t at;        /* number of items that have ended */
    unsigned started; /* hooks seen */
};

static void cancel_at_the_end_of_one(const dist_event *event, void *user) {
    struct canceller *canceller = user;
    if (event->done == canceller->at) dist_token_cancel(token);
}

static void cancel_at_a_start(const dist_event *event, void *user) {
    struct canceller *canceller = user;
    (void)event;
    if (++canceller->started == canceller->at) dist_token_cancel(token);
}

CASE("G-07", a_hook_cancels_its_call) {
    struct canceller canceller = {.at = 3};
    struct plan *plan = new_plan(3);
    int out[ITEMS];
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .token = token, .on_finish = cancel_at_the_end_of_one,
                              .user = &canceller),
                     DIST_CANCELLED);
    plan = new_plan(0);
    canceller.at = 1;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .token = token, .on_start = cancel_at_a_start, .user = &canceller),
                     DIST_CANCELLED);
    ASSERT_SOON(start);
}

CASE("G-07", a_call_that_is_cancelled_after_its_last_item_is_ok) {
    struct canceller canceller = {.at = ITEMS};
    struct plan *plan = new_plan(-1);
    int out[ITEMS];
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .token = token, .on_finish = cancel_at_the_end_of_one,
                              .user = &canceller),
                     DIST_OK);
    assert_true(dist_token_cancelled(token));
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 10 * i);
}

CASE("G-07", a_cancelled_token_cancels_all_later_calls) {
    struct plan *plan = new_plan(0);
    plan->cancels = 0;
    for (int i = 0; i < 5; i++) {
        int out[ITEMS];
        double start = now();
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 1,
                                  .ctx = plan, .token = token),
                         DIST_CANCELLED);
        ASSERT_SOON(start);
    }
    assert_int_equal(counted(&plan->runs[0]), 1);
    int out[ITEMS];
    plan = new_plan(-1); /* another token */
    assert_int_equal(
        dist_map(step, numbers(), ITEMS, out, .executor = X, .ctx = plan, .token = token), DIST_OK);
}

static void *call_with_the_token(void *plan) {
    int out[ITEMS];
    dist_status status = dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                  .ctx = plan, .token = token);
    return status == DIST_CANCELLED ? plan : NULL;
}

CASE("G-07", one_token_cancels_several_calls_at_once) {
    enum { CALLS = 4 };
    struct plan *plan = new_plan(0);
    pthread_t thread[CALLS];
    double start = now();
    for (size_t i = 0; i < CALLS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, call_with_the_token, plan), 0);
    assert_true(reaches(&plan->begun, CALLS));
    dist_token_cancel(token);
    for (size_t i = 0; i < CALLS; i++) {
        void *cancelled;
        pthread_join(thread[i], &cancelled);
        assert_non_null(cancelled);
    }
    ASSERT_SOON(start);
}

static void *cancel_at_any_moment(void *random) {
    nap(random_below(random, 3000) * 1e-6);
    dist_token_cancel(token);
    return NULL;
}

CASE_ON("G-07", a_call_may_be_cancelled_at_any_moment, ON_ALL, 40) {
    uint32_t random = random_seed();
    unsigned cancelled = 0, round = 0;
    for (; again(round, rounds(500, 200)); round++) {
        struct plan *plan = new_plan(-1);
        pthread_t thread;
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        assert_int_equal(pthread_create(&thread, NULL, cancel_at_any_moment, &random), 0);
        dist_status status =
            dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 1 + round % 4,
                     .chunk = round % 3, .ctx = plan, .token = token, .job = &job);
        pthread_join(thread, NULL);
        assert_true(status == DIST_OK || status == DIST_CANCELLED);
        for (size_t i = 0; i < ITEMS; i++) {
            dist_status outcome = status_of(job, i);
            assert_int_equal(out[i], outcome ? -1 : 10 * (int)i);
            assert_true(outcome == DIST_OK || status == DIST_CANCELLED);
            if (outcome == DIST_SKIPPED) assert_int_equal(counted(&plan->runs[i]), 0);
        }
        cancelled += status == DIST_CANCELLED;
        assert_int_equal(dist_job_finish(&job), status);
    }
    printf("%u of %u cancelled\n", cancelled, round);
}
