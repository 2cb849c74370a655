/* contract_hosted.c - what hooks may do: take their time, call dist, and fail in vain. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int step(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 10 * *(const int *)item;
    return 0;
}

static void spin_for(double seconds) {
    for (double end = now() + seconds; now() < end;) {
    }
}

/* ------------------------------------------------------------------ slow hooks */

struct tally {
    unsigned starts, finishes, wrong;
    unsigned char started[8192], finished[8192];
    double sleeps;
    size_t n;
};

static void be_slow(struct tally *tally) {
    if (tally->sleeps > 0.001) nap(tally->sleeps);
    else spin_for(tally->sleeps);
}

static void tally_start(const dist_event *e, void *user) {
    struct tally *tally = user;
    tally->wrong += tally->started[e->index]++ || tally->finished[e->index];
    tally->starts++;
    if (e->index % 16 == 0) be_slow(tally);
}

static void tally_finish(const dist_event *e, void *user) {
    struct tally *tally = user;
    tally->wrong += !tally->started[e->index] || tally->finished[e->index]++;
    tally->wrong += e->done != ++tally->finishes || e->failed != 0 || e->total != tally->n;
    tally->wrong += !e->result || *(const int *)e->result != 10 * numbers()[e->index % PRIME];
    be_slow(tally);
}

CASE_ON("F-04", a_slow_hook_loses_none_of_thousands_of_quick_items, ON_ALL, 40) {
    enum { MANY = 5003 };
    static int items[MANY], out[MANY];
    for (int i = 0; i < MANY; i++) items[i] = i % PRIME;
    for (unsigned round = 0; round < 3; round++) {
        struct tally *tally = calloc(1, sizeof *tally);
        tally->sleeps = round * 100e-6;
        tally->n = MANY;
        assert_int_equal(dist_map(step, items, MANY, out, .executor = X, .workers = 2 + round,
                                  .on_start = tally_start, .on_finish = tally_finish,
                                  .user = tally),
                         DIST_OK);
        assert_int_equal(tally->wrong, 0);
        assert_int_equal(tally->starts, MANY);
        assert_int_equal(tally->finishes, MANY);
        free(tally);
    }
}

/* While a hook waits the workers go on. */
static int count_run(size_t index, void *ctx) {
    (void)index;
    count(ctx);
    return 0;
}

struct watcher {
    _Atomic(unsigned) *runs;
    bool overtaken; /* all tasks had run while one hook waited for that */
};

static void wait_for_all(const dist_event *e, void *user) {
    struct watcher *watcher = user;
    if (e->done == 1) watcher->overtaken = reaches(watcher->runs, (unsigned)e->total);
}

CASE_ON("F-04", workers_go_on_while_a_hook_takes_its_time, ON_THREAD | ON_PROCESS, 60) {
    struct watcher watcher = {.runs = shared_memory(sizeof(_Atomic(unsigned)))};
    assert_int_equal(dist_for(count_run, 50, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = watcher.runs, .on_finish = wait_for_all, .user = &watcher),
                     DIST_OK);
    assert_true(watcher.overtaken);
}

/* A hook is called while its call runs, not at its end: the other task waits for it. */
static int wait_for_the_hook(size_t index, void *ctx) {
    return index == 0 || reaches(ctx, 1) ? 0 : dist_fail(1, "waited in vain");
}

static void tell_the_task(const dist_event *e, void *user) {
    if (e->index == 0) count(user);
}

CASE_ON("F-04", a_hook_is_called_when_its_item_ends, ON_THREAD | ON_PROCESS, 60) {
    _Atomic(unsigned) *told = shared_memory(sizeof *told);
    assert_int_equal(dist_for(wait_for_the_hook, 2, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = told, .on_finish = tell_the_task, .user = told),
                     DIST_OK);
    atomic_store(told, 0);
    assert_int_equal(dist_for(wait_for_the_hook, 2, .executor = X, .workers = 1, .ctx = told,
                              .on_start = tell_the_task, .user = told),
                     DIST_OK);
}

/* ------------------------------------------------------------------ what hooks call */

static void fail_in_vain(const dist_event *e, void *user) {
    struct tally *tally = user;
    tally->wrong += dist_fail(EIO, "hook of %zu", e->index) != EIO;
    tally->wrong += dist_fail_at(0, EIO, "hook of %zu", e->index) != EIO;
    tally->wrong += dist_failure() != 0 || dist_index() != 0 || dist_attempt() != 0;
    tally->wrong += dist_cancelled() || dist_worker_state() || dist_name();
    tally->finishes++;
    errno = EIO;
}

CASE("M-11", a_hook_that_fails_stops_nothing) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct tally *tally = calloc(1, sizeof *tally);
        int out[30];
        errno = 7;
        assert_int_equal(call_kind(kind, step, 30, out,
                                   DIST_OPTS(.executor = X, .workers = 2, .on_start = fail_in_vain,
                                             .on_finish = fail_in_vain, .user = tally)),
                         DIST_OK);
        assert_int_equal(errno, 7);
        assert_int_equal(tally->wrong, 0);
        assert_int_equal(tally->finishes, 2 * kind_count(kind, 30));
        free(tally);
    }
}

static void call_dist(const dist_event *e, void *user) {
    static const dist_executor inner[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    struct tally *tally = user;
    int out[7];
    for (size_t k = 0; k < N(inner); k++) {
        if (!built(inner[k])) continue;
        memset(out, -1, sizeof out);
        tally->wrong += dist_map(step, numbers(), 7, out, .executor = inner[k],
                                 .workers = 1 + (unsigned)e->index % 3) != DIST_OK;
        for (int i = 0; i < 7; i++) tally->wrong += out[i] != 10 * i;
    }
    tally->finishes++;
}

CASE_ON("M-11", hooks_may_make_calls, ON_ALL, 40) {
    struct tally *tally = calloc(1, sizeof *tally);
    int out[30];
    assert_int_equal(dist_map(step, numbers(), 30, out, .executor = X, .workers = 3,
                              .on_start = call_dist, .on_finish = call_dist, .user = tally),
                     DIST_OK);
    assert_int_equal(tally->wrong, 0);
    assert_int_equal(tally->finishes, 60);
    for (int i = 0; i < 30; i++) assert_int_equal(out[i], 10 * i);
    free(tally);
}

static void call_with_hooks(const dist_event *e, void *user) {
    struct tally *tally = user, inner = {.n = 5};
    int out[5];
    tally->wrong +=
        dist_map(step, numbers(), 5, out, .executor = X, .workers = 2, .on_start = tally_start,
                 .on_finish = tally_finish, .user = &inner) != DIST_OK;
    tally->wrong += inner.wrong + (inner.starts != 5) + (inner.finishes != 5);
    tally->finishes += e->error == NULL;
}

CASE("M-11", calls_in_hooks_may_have_hooks) {
    struct tally *tally = calloc(1, sizeof *tally);
    int out[10];
    assert_int_equal(dist_map(step, numbers(), 10, out, .executor = X, .workers = 2,
                              .on_finish = call_with_hooks, .user = tally),
                     DIST_OK);
    assert_int_equal(tally->wrong, 0);
    assert_int_equal(tally->finishes, 10);
    free(tally);
}

/* Hooks of a call that a task makes run in the task's thread, and are not part of the task. */
static int call_with_hooks_in_a_task(void *result, const void *item, void *ctx) {
    struct tally *inner = calloc(1, sizeof *inner);
    int out[8];
    (void)ctx;
    inner->n = 8;
    dist_status status =
        dist_map(step, numbers(), 8, out, .executor = DIST_THREAD, .workers = 2,
                 .on_start = tally_start, .on_finish = tally_finish, .user = inner);
    bool right = !status && !inner->wrong && inner->finishes == 8;
    free(inner);
    *(int *)result = *(const int *)item;
    return right ? 0 : dist_fail(1, "%s", dist_status_name(status));
}

CASE("M-11", calls_in_tasks_may_have_hooks) {
    if (!built(DIST_THREAD) || (THREAD_SANITIZED && X == DIST_PROCESS)) skip();
    int out[10];
    assert_int_equal(
        dist_map(call_with_hooks_in_a_task, numbers(), 10, out, .executor = X, .workers = 3),
        DIST_OK);
}

/* ------------------------------------------------------------------ time left */

struct guesses {
    unsigned unknown, known;
    double first, last;
};

static void collect_guesses(const dist_event *e, void *user) {
    struct guesses *guesses = user;
    if (e->eta > 0) guesses->known++;
    else guesses->unknown++;
    if (e->done == e->total / 4) guesses->first = e->eta;
    if (e->done == e->total) guesses->last = e->eta;
}

static int sleep_a_little(size_t index, void *ctx) {
    (void)index, (void)ctx;
    nap(0.005);
    return 0;
}

CASE("F-04", an_event_guesses_when_the_call_ends) {
    struct guesses guesses = {0};
    double start = now();
    assert_int_equal(dist_for(sleep_a_little, 80, .executor = X, .workers = 2, .chunk = 1,
                              .on_finish = collect_guesses, .user = &guesses),
                     DIST_OK);
    double took = now() - start;
    assert_true(guesses.known >= 40);
    assert_true(guesses.first > 0 && guesses.first < 10 * took);
    assert_true(guesses.last <= 0.1 * took);
}
