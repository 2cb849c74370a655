/* contract_retry.c - further attempts: who gets them, when, and what counts in the end. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 60, TRIES = 8 };

enum end { BY_CODE, BY_KILL, BY_EXIT, BY_LATENESS };

struct plan {
    _Atomic(unsigned) runs[ITEMS];
    unsigned bad_tries[ITEMS]; /* so many attempts fail first; UINT_MAX: all */
    enum end end;              /* how */
    uint32_t spin;             /* most microseconds of random delay, 0: none */
    uint32_t seed;
    unsigned attempt[ITEMS][TRIES]; /* what dist_attempt() said */
    int found[ITEMS][TRIES];        /* what stood in *result */
    double begun[ITEMS][TRIES], ended[ITEMS][TRIES];
};

static struct plan *new_plan(void) { return shared_memory(sizeof(struct plan)); }

static int fail_by(enum end end, int i, unsigned try) {
    if (end == BY_KILL) kill(getpid(), SIGKILL);
    if (end == BY_EXIT) _exit(3);
    if (end == BY_LATENESS) doze(60);
    return dist_fail(100 + (int)try, "item %d, attempt %u", i, try);
}

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    unsigned try = counted(&plan->runs[i]);
    bool kept = try < TRIES;
    count(&plan->runs[i]);
    if (kept) {
        plan->begun[i][try] = now();
        plan->attempt[i][try] = dist_attempt();
        plan->found[i][try] = *(int *)result;
    }
    if (plan->spin) {
        uint32_t state = plan->seed + 2654435761u * (uint32_t)i + try;
        random_spin(&state, plan->spin);
    }
    bool bad = try < plan->bad_tries[i];
    *(int *)result = bad ? 77777 : 10 * i;
    if (kept) plan->ended[i][try] = now();
    return bad ? fail_by(plan->end, i, try + 1) : 0;
}

/* Item i was started so often, each time with its number, and found what stood in out. */
static void check_attempts(struct plan *plan, int i, unsigned expected) {
    assert_int_equal(counted(&plan->runs[i]), expected);
    for (unsigned try = 0; try < expected && try < TRIES; try++) {
        assert_int_equal(plan->attempt[i][try], try + 1);
        assert_int_equal(plan->found[i][try], -1);
    }
}

CASE("P-62", a_task_that_fails_twice_works_at_the_third_attempt) {
    for (unsigned workers = 0; workers < 4; workers++) {
        struct plan *plan = new_plan();
        int out[ITEMS];
        memset(out, -1, sizeof out);
        for (int i = 0; i < ITEMS; i += 7) plan->bad_tries[i] = 2;
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .ctx = plan, .retries = 2),
                         DIST_OK);
        for (int i = 0; i < ITEMS; i++) {
            check_attempts(plan, i, i % 7 ? 1 : 3);
            assert_int_equal(out[i], 10 * i);
        }
    }
}

CASE("P-62", more_retries_than_are_needed_are_not_used) {
    struct plan *plan = new_plan();
    int out[ITEMS];
    memset(out, -1, sizeof out);
    plan->bad_tries[0] = 1;
    plan->bad_tries[30] = 3;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .retries = 1000000),
                     DIST_OK);
    for (int i = 0; i < ITEMS; i++) check_attempts(plan, i, i == 0 ? 2 : i == 30 ? 4 : 1);
}

CASE("P-62", when_the_retries_are_used_up_the_last_attempt_is_reported) {
    for (unsigned retries = 0; retries < 5; retries++) {
        struct plan *plan = new_plan();
        int out[ITEMS];
        char text[40];
        dist_error e;
        memset(out, -1, sizeof out);
        plan->bad_tries[13] = retries + 1;
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                  .ctx = plan, .retries = retries, .error = &e),
                         DIST_FAILED);
        check_attempts(plan, 13, retries + 1);
        snprintf(text, sizeof text, "item 13, attempt %u", retries + 1);
        assert_int_equal(e.index, 13);
        assert_int_equal(e.attempts, retries + 1);
        assert_int_equal(e.code, 101 + retries);
        assert_string_equal(e.message, text);
        assert_ptr_equal(e.item, &numbers()[13]);
        assert_int_equal(out[13], -1);
        for (int i = 0; i < 13; i++) assert_int_equal(out[i], 10 * i);
    }
}

static void retry_after(enum end end, double task_timeout, dist_status status) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct plan *plan = new_plan();
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        plan->end = end;
        for (int i = 0; i < ITEMS; i += 20) plan->bad_tries[i] = 1;
        plan->bad_tries[9] = 99;
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .ctx = plan, .retries = 2, .task_timeout = task_timeout,
                                  .silent = true, .job = &job),
                         DIST_OK);
        assert_int_equal(dist_job_failures(job), 1);
        for (int i = 0; i < ITEMS; i++) {
            check_attempts(plan, i, i == 9 ? 3 : i % 20 ? 1 : 2);
            assert_int_equal(out[i], i == 9 ? -1 : 10 * i);
        }
        const dist_error *e = dist_job_failure_at(job, 0);
        assert_int_equal(e->index, 9);
        assert_int_equal(e->status, status);
        assert_int_equal(e->attempts, 3);
        if (status == DIST_CRASHED) assert_int_equal(e->signal, end == BY_KILL ? SIGKILL : 0);
        if (status == DIST_CRASHED) assert_int_equal(e->exit_code, end == BY_EXIT ? 3 : 0);
        dist_job_finish(&job);
    }
}

CASE_ON("P-62", crashed_attempts_are_retried, ON_PROCESS, 20) {
    retry_after(BY_KILL, 0, DIST_CRASHED);
    retry_after(BY_EXIT, 0, DIST_CRASHED);
}

CASE_ON("P-62", late_attempts_are_retried, ON_ALL, 40) {
    retry_after(BY_LATENESS, AMPLE / 2, DIST_TIMEOUT);
}

CASE("P-62", every_kind_of_call_retries) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct plan *plan = new_plan();
        int out[ITEMS];
        dist_error e;
        memset(out, -1, sizeof out);
        plan->bad_tries[0] = 2;
        dist_opts opts = {.size = sizeof opts,
                          .executor = X,
                          .workers = 2,
                          .ctx = plan,
                          .retries = 2,
                          .error = &e};
        assert_int_equal(call_kind(kind, step, 10, out, &opts), DIST_OK);
        assert_int_equal(counted(&plan->runs[0]), 3);
        if (kind != FOR) assert_int_equal(out[0], 0);
        memset(out, -1, sizeof out);
        plan = opts.ctx = new_plan();
        plan->bad_tries[0] = 3;
        assert_int_equal(call_kind(kind, step, 10, out, &opts), DIST_FAILED);
        assert_int_equal(counted(&plan->runs[0]), 3);
        assert_int_equal(e.index, 0);
        assert_int_equal(e.attempts, 3);
        assert_int_equal(out[0], -1);
    }
}

CASE("P-30", a_task_of_par_may_have_its_own_retries) {
    struct plan *plan = new_plan();
    int out[3] = {-1, -1, -1};
    dist_task tasks[3];
    dist_job *job;
    for (int i = 0; i < 3; i++) {
        tasks[i] = (dist_task)DIST_TASK(NULL, step, &numbers()[i], &out[i]);
        plan->bad_tries[i] = 99;
    }
    tasks[0].retries = 4;
    tasks[2].retries = 1;
    assert_int_equal(dist_par(tasks, 3, .executor = X, .workers = 2, .ctx = plan, .retries = 2,
                              .silent = true, .job = &job),
                     DIST_OK);
    for (int i = 0; i < 3; i++) {
        check_attempts(plan, i, i == 0 ? 5 : i == 1 ? 3 : 2);
        assert_int_equal(dist_job_failure_at(job, (size_t)i)->attempts, i == 0   ? 5
                                                                        : i == 1 ? 3
                                                                                 : 2);
    }
    dist_job_finish(&job);
    plan = new_plan();
    plan->bad_tries[0] = 4;
    out[0] = -1;
    assert_int_equal(dist_par(tasks, 3, .executor = X, .workers = 2, .ctx = plan), DIST_OK);
    check_attempts(plan, 0, 5); /* without retries of the call */
}

/* ------------------------------------------------------------------ retry_if */

struct asked {
    pthread_t thread;
    pid_t pid;
    size_t refuse; /* this item gets no further attempt */
    unsigned times, wrong;
    unsigned attempts[ITEMS]; /* of the last question for each */
};

static bool ask(const dist_error *e, void *user) {
    struct asked *asked = user;
    char text[40];
    asked->times++;
    asked->wrong += !pthread_equal(pthread_self(), asked->thread) || getpid() != asked->pid;
    asked->wrong += e->index >= ITEMS;
    if (e->index >= ITEMS) return false;
    snprintf(text, sizeof text, "item %zu, attempt %u", e->index, e->attempts);
    asked->wrong += e->attempts != asked->attempts[e->index] + 1;
    asked->wrong += e->status != DIST_FAILED || e->code != 100 + (int)e->attempts;
    asked->wrong += strcmp(e->message, text) != 0 || e->item != &numbers()[e->index];
    asked->attempts[e->index] = e->attempts;
    return e->index != asked->refuse;
}

CASE("P-62", retry_if_is_asked_before_each_retry_in_the_calling_thread) {
    struct asked asked = {.thread = pthread_self(), .pid = getpid(), .refuse = 31};
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    memset(out, -1, sizeof out);
    plan->bad_tries[5] = 2;   /* asked twice */
    plan->bad_tries[17] = 99; /* asked three times: not after the last attempt */
    plan->bad_tries[31] = 99; /* asked once */
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 3, .ctx = plan,
                              .retries = 3, .retry_if = ask, .user = &asked, .silent = true,
                              .job = &job),
                     DIST_OK);
    assert_int_equal(asked.wrong, 0);
    assert_int_equal(asked.times, 6);
    assert_int_equal(dist_job_failures(job), 2);
    assert_int_equal(dist_job_failure_at(job, 0)->attempts, 4);
    assert_int_equal(dist_job_failure_at(job, 1)->index, 31);
    assert_int_equal(dist_job_failure_at(job, 1)->attempts, 1);
    assert_int_equal(dist_job_failure_at(job, 1)->code, 101);
    for (int i = 0; i < ITEMS; i++) check_attempts(plan, i, i == 5 ? 3 : i == 17 ? 4 : 1);
    dist_job_finish(&job);
}

static bool ask_about_a_crash(const dist_error *e, void *user) {
    bool as_expected = e->status == DIST_CRASHED && e->signal == SIGKILL && e->index == 4;
    *(int *)user += as_expected ? 1 : 1000;
    return *(int *)user < 3;
}

CASE_ON("P-62", retry_if_sees_how_a_worker_died, ON_PROCESS, 20) {
    struct plan *plan = new_plan();
    int out[ITEMS], times = 0;
    dist_error e;
    memset(out, -1, sizeof out);
    plan->end = BY_KILL;
    plan->bad_tries[4] = 99;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .retries = 10, .retry_if = ask_about_a_crash, .user = &times,
                              .error = &e),
                     DIST_CRASHED);
    assert_int_equal(times, 3);
    assert_int_equal(e.index, 4);
    assert_int_equal(e.attempts, 3);
}

static bool never(const dist_error *e, void *user) {
    (void)e;
    ++*(unsigned *)user;
    return false;
}

CASE("P-62", nobody_is_asked_without_retries) {
    struct plan *plan = new_plan();
    int out[ITEMS];
    unsigned times = 0;
    plan->bad_tries[3] = 1;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .ctx = plan,
                              .retry_if = never, .backoff = 30, .user = &times),
                     DIST_FAILED);
    assert_int_equal(times, 0);
    assert_int_equal(dist_map(step, numbers(), 3, out, .executor = X, .ctx = new_plan(),
                              .retries = 5, .retry_if = never, .backoff = 30, .user = &times),
                     DIST_OK);
    assert_int_equal(times, 0);
}

/* ------------------------------------------------------------------ which failure it is */

static void fail_two(struct plan *plan, uint32_t *random) {
    int out[ITEMS], n = 2 + (int)random_below(random, 30);
    int a = (int)random_below(random, (uint32_t)n), b = (int)random_below(random, (uint32_t)n);
    unsigned retries = random_below(random, 4);
    dist_error e;
    memset(plan, 0, sizeof *plan);
    memset(out, -1, sizeof out);
    plan->bad_tries[a] = plan->bad_tries[b] = 99;
    plan->bad_tries[random_below(random, (uint32_t)n)] += retries; /* one that gets over it */
    plan->spin = 30;
    plan->seed = random_next(random);
    assert_int_equal(dist_map(step, numbers(), (size_t)n, out, .executor = X,
                              .workers = 1 + random_below(random, 4),
                              .chunk = random_below(random, 4), .ctx = plan, .retries = retries,
                              .backoff = random_below(random, 2) * 0.0005, .error = &e),
                     DIST_FAILED);
    int lowest = a < b ? a : b;
    assert_int_equal(e.index, lowest);
    assert_int_equal(e.attempts, retries + 1);
    for (int i = 0; i < lowest; i++) assert_int_equal(out[i], 10 * i);
    assert_int_equal(out[lowest], -1);
}

CASE_ON("G-14", two_failures_give_one_answer_whatever_their_retries, ON_ALL, 40) {
    struct plan *plan = new_plan();
    uint32_t random = random_seed();
    for (unsigned i = 0; again(i, rounds(2000, 500)); i++) fail_two(plan, &random);
}

CASE("P-62", max_failures_counts_items_and_not_attempts) {
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    memset(out, -1, sizeof out);
    for (int i = 0; i < ITEMS; i++) plan->bad_tries[i] = 2;
    plan->bad_tries[20] = 99;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .retries = 2, .silent = true, .max_failures = 2, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 1);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], i == 20 ? -1 : 10 * i);
    dist_job_finish(&job);
}
