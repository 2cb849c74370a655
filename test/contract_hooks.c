/* contract_hooks.c - what on_start and on_finish are told, by whom, and when. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 40 };

static const char *const names[ITEMS] = {"zero", NULL, "two", "three"};

/* What the hooks have seen. Everything is checked as it comes; `wrong` says what was not right. */
struct seen {
    pthread_t thread;
    pid_t pid;
    size_t total, started, finished, failed;
    unsigned workers;
    const int *items;   /* NULL: the call has none */
    int *out;           /* NULL: no results */
    bool named, counts; /* there are names; on_finish is there too */
    _Atomic(unsigned) inside;
    unsigned starts[ITEMS], finishes[ITEMS];
    dist_error error[ITEMS]; /* DIST_OK: it succeeded */
    double seconds[ITEMS];
    size_t order[ITEMS]; /* in which items ended */
    unsigned worker[ITEMS];
    const char *wrong;
};

static struct seen new_seen(size_t total, unsigned workers) {
    return (struct seen){.thread = pthread_self(),
                         .pid = getpid(),
                         .total = total,
                         .workers = workers,
                         .counts = true};
}

static void expect(struct seen *seen, bool right, const char *what) {
    if (!right && !seen->wrong) seen->wrong = what;
}

static void enter(struct seen *seen, const dist_event *e) {
    expect(seen, atomic_fetch_add(&seen->inside, 1) == 0, "one hook at a time");
    expect(seen, pthread_equal(pthread_self(), seen->thread) && getpid() == seen->pid, "thread");
    expect(seen, e->index < seen->total, "index");
    expect(seen, e->total == seen->total, "total");
    expect(seen, e->item == (seen->items ? &seen->items[e->index] : NULL), "item");
    expect(seen, e->name == (seen->named ? names[e->index] : NULL), "name");
    unsigned workers = contract_in_pools() ? CONTRACT_POOL_WORKERS : seen->workers;
    expect(seen, e->worker < workers, "worker");
    expect(seen, e->eta >= 0 && e->eta < 1e9, "eta");
    expect(seen, e->seconds >= 0 && e->seconds < 60, "seconds");
}

static void see_start(const dist_event *e, void *user) {
    struct seen *seen = user;
    enter(seen, e);
    expect(seen, seen->starts[e->index]++ == 0, "one start");
    expect(seen, seen->finishes[e->index] == 0, "start before finish");
    expect(seen, !e->result && !e->error, "nothing at the start");
    expect(seen, e->failed <= e->done && e->done < seen->total, "counts at the start");
    if (seen->counts) expect(seen, e->done == seen->finished, "items done at the start");
    seen->started++;
    atomic_fetch_sub(&seen->inside, 1);
}

static void see_finish(const dist_event *e, void *user) {
    struct seen *seen = user;
    enter(seen, e);
    expect(seen, seen->starts[e->index] == 1, "finish after start");
    expect(seen, seen->finishes[e->index]++ == 0, "one finish");
    seen->order[seen->finished++] = e->index;
    seen->failed += e->error != NULL;
    expect(seen, e->done == seen->finished && e->failed == seen->failed, "counts");
    bool has_result = seen->out && !e->error;
    expect(seen, e->result == (has_result ? &seen->out[e->index] : NULL), "result");
    if (has_result) expect(seen, *(const int *)e->result == 10 * (int)e->index, "value");
    if (e->error) seen->error[e->index] = *e->error;
    seen->seconds[e->index] = e->seconds;
    seen->worker[e->index] = e->worker;
    atomic_fetch_sub(&seen->inside, 1);
}

static void check_seen(const struct seen *seen, size_t started, size_t finished) {
    if (seen->wrong) fail_msg("not right: %s", seen->wrong);
    assert_int_equal(seen->started, started);
    assert_int_equal(seen->finished, finished);
}

enum fate { FINE, FAILS, CRASHES, IS_LATE, RECOVERS };

struct plan {
    _Atomic(unsigned) runs[ITEMS];
    enum fate fate[ITEMS];
};

static struct plan *new_plan(void) { return shared_memory(sizeof(struct plan)); }

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    if (result) *(int *)result = 10 * i;
    switch (plan->fate[i]) {
    case FAILS: return dist_fail(100 + i, "item %d is bad", i);
    case CRASHES: return raise(SIGKILL);
    case IS_LATE: return doze(60) ? 0 : 1;
    case RECOVERS: return dist_attempt() < 3 ? dist_fail(200 + i, "not yet") : 0;
    default: return 0;
    }
}

CASE("F-04", hooks_tell_of_each_item_once_in_the_calling_thread) {
    for (unsigned workers = 1; workers < 5; workers++)
        for (size_t chunk = 0; chunk < 9; chunk += 4) {
            struct seen seen = new_seen(ITEMS, workers);
            int out[ITEMS];
            seen.items = numbers(), seen.out = out, seen.named = true;
            assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X,
                                      .workers = workers, .chunk = chunk, .ctx = new_plan(),
                                      .names = names, .on_start = see_start,
                                      .on_finish = see_finish, .user = &seen),
                             DIST_OK);
            check_seen(&seen, ITEMS, ITEMS);
            assert_int_equal(seen.failed, 0);
        }
}

CASE("F-04", every_kind_of_call_has_hooks) {
    for (enum kind kind = MAP; kind < KINDS; kind++)
        for (size_t chunk = 0; chunk < 8; chunk += 7) {
            size_t n = kind_count(kind, ITEMS);
            struct seen seen = new_seen(n, 3);
            int out[ITEMS];
            if (kind != FOR) seen.items = numbers(), seen.out = out;
            assert_int_equal(
                call_kind(kind, step, ITEMS, out,
                          DIST_OPTS(.executor = X, .workers = 3, .chunk = chunk, .ctx = new_plan(),
                                    .on_start = see_start, .on_finish = see_finish, .user = &seen)),
                DIST_OK);
            check_seen(&seen, n, n);
        }
}

CASE("F-04", one_hook_alone_is_enough) {
    struct seen seen = new_seen(ITEMS, 3);
    seen.items = numbers(), seen.counts = false;
    assert_int_equal(dist_map(step, numbers(), ITEMS, DIST_NONE, .executor = X, .workers = 3,
                              .ctx = new_plan(), .on_start = see_start, .user = &seen),
                     DIST_OK);
    check_seen(&seen, ITEMS, 0);
    seen = new_seen(ITEMS, 3);
    seen.items = numbers();
    for (size_t i = 0; i < ITEMS; i++) seen.starts[i] = 1;
    assert_int_equal(dist_map(step, numbers(), ITEMS, DIST_NONE, .executor = X, .workers = 3,
                              .ctx = new_plan(), .on_finish = see_finish, .user = &seen),
                     DIST_OK);
    check_seen(&seen, 0, ITEMS);
}

/* Each hook saw what the job says in the end. */
static void compare_with_job(const struct seen *seen, const dist_job *job) {
    for (size_t i = 0; i < seen->total; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        bool skipped = e && e->status == DIST_SKIPPED;
        assert_int_equal(seen->starts[i], !skipped);
        assert_int_equal(seen->finishes[i], !skipped);
        if (skipped) continue;
        assert_int_equal(seen->error[i].status, e ? e->status : DIST_OK);
        if (!e) continue;
        assert_int_equal(seen->error[i].index, i);
        assert_int_equal(seen->error[i].code, e->code);
        assert_int_equal(seen->error[i].attempts, e->attempts);
        assert_int_equal(seen->error[i].signal, e->signal);
        assert_int_equal(seen->error[i].worker, e->worker);
        assert_ptr_equal(seen->error[i].item, e->item);
        assert_ptr_equal(seen->error[i].name, e->name);
        assert_string_equal(seen->error[i].message, e->message);
    }
}

CASE("F-04", failed_crashed_and_late_items_have_their_hooks) {
    struct seen seen = new_seen(ITEMS, 3);
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    seen.items = numbers(), seen.out = out, seen.named = true;
    plan->fate[2] = plan->fate[17] = FAILS;
    plan->fate[21] = IS_LATE;
    if (X == DIST_PROCESS) plan->fate[3] = plan->fate[30] = CRASHES;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 3, .ctx = plan,
                              .names = names, .task_timeout = AMPLE, .silent = true,
                              .on_start = see_start, .on_finish = see_finish, .user = &seen,
                              .job = &job),
                     DIST_OK);
    check_seen(&seen, ITEMS, ITEMS);
    assert_int_equal(seen.failed, X == DIST_PROCESS ? 5 : 3);
    compare_with_job(&seen, job);
    assert_string_equal(seen.error[2].message, "item 2 is bad");
    assert_int_equal(seen.error[21].status, DIST_TIMEOUT);
    if (X == DIST_PROCESS) assert_int_equal(seen.error[30].signal, SIGKILL);
    dist_job_finish(&job);
}

CASE("F-04", items_that_never_started_have_no_hooks) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct seen seen = new_seen(ITEMS, workers);
        struct plan *plan = new_plan();
        int out[ITEMS];
        dist_job *job;
        seen.items = numbers(), seen.out = out;
        plan->fate[5] = FAILS;
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .chunk = 1, .ctx = plan, .on_start = see_start,
                                  .on_finish = see_finish, .user = &seen, .job = &job),
                         DIST_FAILED);
        check_seen(&seen, seen.started, seen.started);
        assert_true(seen.started >= 6);
        if (workers == 1) assert_int_equal(seen.started, 6);
        compare_with_job(&seen, job);
        dist_job_finish(&job);
    }
}

CASE("F-04", items_that_the_limit_of_the_call_ends_have_their_hooks) {
    struct seen seen = new_seen(ITEMS, 3);
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    seen.items = numbers(), seen.out = out;
    for (int i = 10; i < ITEMS; i++) plan->fate[i] = IS_LATE;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 3, .chunk = 1,
                              .ctx = plan, .timeout = AMPLE, .on_start = see_start,
                              .on_finish = see_finish, .user = &seen, .job = &job),
                     DIST_TIMEOUT);
    check_seen(&seen, seen.started, seen.started);
    assert_in_range(seen.started, 11, 13);
    compare_with_job(&seen, job);
    dist_job_finish(&job);
}

CASE("F-04", a_retried_item_starts_once_and_ends_once) {
    struct seen seen = new_seen(ITEMS, 2);
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    seen.items = numbers(), seen.out = out;
    plan->fate[4] = plan->fate[11] = RECOVERS;
    plan->fate[20] = FAILS;
    if (X == DIST_PROCESS) plan->fate[25] = CRASHES;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .retries = 2, .backoff = 0.002, .silent = true, .on_start = see_start,
                              .on_finish = see_finish, .user = &seen, .job = &job),
                     DIST_OK);
    check_seen(&seen, ITEMS, ITEMS);
    compare_with_job(&seen, job);
    assert_int_equal(counted(&plan->runs[4]), 3);
    assert_int_equal(seen.error[20].attempts, 3);
    assert_int_equal(seen.failed, X == DIST_PROCESS ? 2 : 1);
    dist_job_finish(&job);
}

CASE("F-04", an_item_that_waits_for_its_retry_when_the_call_ends_has_ended) {
    struct seen seen = new_seen(ITEMS, 2);
    struct plan *plan = new_plan();
    int out[ITEMS];
    dist_job *job;
    seen.items = numbers(), seen.out = out;
    plan->fate[3] = FAILS;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = plan,
                              .retries = 2, .backoff = 60, .timeout = AMPLE, .on_start = see_start,
                              .on_finish = see_finish, .user = &seen, .job = &job),
                     DIST_TIMEOUT);
    assert_int_equal(dist_last_error()->index, 3);
    check_seen(&seen, seen.started, seen.started);
    compare_with_job(&seen, job);
    assert_int_equal(seen.error[3].attempts, 1);
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ order and time */

/* Task k of n waits until those above it have ended, and then a while, so that they end in falling
 * order. */
struct queue {
    _Atomic(unsigned) ended;
    unsigned n;
};

static int end_in_falling_order(size_t index, void *ctx) {
    struct queue *queue = ctx;
    if (!reaches(&queue->ended, queue->n - 1 - (unsigned)index)) return 1;
    nap(0.08);
    count(&queue->ended);
    return 0;
}

CASE_ON("F-04", hooks_come_in_the_order_in_which_items_end, ON_THREAD | ON_PROCESS, 20) {
    enum { COUNT = 5 };
    struct queue *queue = shared_memory(sizeof *queue);
    struct seen seen = new_seen(COUNT, COUNT);
    queue->n = COUNT;
    assert_int_equal(dist_for(end_in_falling_order, COUNT, .executor = X, .workers = COUNT,
                              .chunk = 1, .ctx = queue, .on_start = see_start,
                              .on_finish = see_finish, .user = &seen),
                     DIST_OK);
    check_seen(&seen, COUNT, COUNT);
    for (size_t k = 0; k < COUNT; k++) {
        assert_int_equal(seen.order[k], COUNT - 1 - k);
        assert_true(seen.seconds[seen.order[k]] >= 0.08);
        for (size_t other = 0; other < k; other++)
            assert_true(seen.worker[k] != seen.worker[other]);
    }
}

/* Hooks that come late, since one before them took its time, come in that order too. */
static void sleep_first(const dist_event *e, void *user) {
    struct seen *seen = user;
    see_start(e, user);
    if (seen->started == 1) nap(1.5);
}

CASE_ON("F-04", hooks_that_come_late_keep_the_order, ON_THREAD | ON_PROCESS, 20) {
    enum { COUNT = 5 };
    struct queue *queue = shared_memory(sizeof *queue);
    struct seen seen = new_seen(COUNT, COUNT);
    queue->n = COUNT;
    assert_int_equal(dist_for(end_in_falling_order, COUNT, .executor = X, .workers = COUNT,
                              .chunk = 1, .ctx = queue, .on_start = sleep_first,
                              .on_finish = see_finish, .user = &seen),
                     DIST_OK);
    check_seen(&seen, COUNT, COUNT);
    for (size_t k = 0; k < COUNT; k++) assert_int_equal(seen.order[k], COUNT - 1 - k);
}

CASE("F-04", an_event_knows_how_long_its_item_took) {
    struct seen seen = new_seen(3, 1);
    struct plan *plan = new_plan();
    int out[3];
    seen.items = numbers(), seen.out = out;
    plan->fate[1] = IS_LATE;
    double start = now();
    assert_int_equal(dist_map(step, numbers(), 3, out, .executor = X, .workers = 1, .ctx = plan,
                              .task_timeout = AMPLE, .silent = true, .on_start = see_start,
                              .on_finish = see_finish, .user = &seen),
                     DIST_OK);
    double took = now() - start;
    check_seen(&seen, 3, 3);
    assert_true(seen.seconds[1] >= AMPLE);
    assert_true(seen.seconds[0] + seen.seconds[1] + seen.seconds[2] <= took);
    assert_true(seen.seconds[0] < AMPLE);
}
