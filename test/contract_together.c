/* contract_together.c - all options of a call that is looked after, at once. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 60 };

struct plan {
    _Atomic(unsigned) runs[KIND_ITEMS], inits, exits, wrong;
    size_t starts, finishes, asked;
    pthread_t thread;
    const unsigned *cpus;
};

static int open_worker(void **state, unsigned worker, void *user) {
    struct plan *plan = user;
    *state = plan;
    if (worker > 2) count(&plan->wrong);
    count(&plan->inits);
    return 0;
}

static void close_worker(void *state, unsigned worker, void *user) {
    struct plan *plan = user;
    if (state != user || worker > 2) count(&plan->wrong);
    count(&plan->exits);
}

static void in_thread(struct plan *plan) {
    if (!pthread_equal(plan->thread, pthread_self())) count(&plan->wrong);
}

static void see_start(const dist_event *e, void *user) {
    struct plan *plan = user;
    (void)e;
    in_thread(plan);
    plan->starts++;
}

static void see_finish(const dist_event *e, void *user) {
    struct plan *plan = user;
    in_thread(plan);
    if (e->done != ++plan->finishes || e->error) count(&plan->wrong);
}

static bool ask(const dist_error *e, void *user) {
    struct plan *plan = user;
    in_thread(plan);
    if (e->attempts > 2 || !e->status) count(&plan->wrong);
    plan->asked++;
    return true;
}

/* Some items fail once, some crash once, some are late once. */
static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    *(int *)result = 10 * i;
    if (dist_worker_state() != plan || dist_worker() > 2) count(&plan->wrong);
    if (dist_attempt() > 1) return 0;
    if (i % 20 == 0) return dist_fail(5, "item %d", i);
    if (i % 20 == 7) return doze(60) ? 0 : 1;
    if (i % 20 == 9 && X == DIST_PROCESS) raise(SIGKILL);
    return 0;
}

static unsigned first_cpu(void) {
    cpu_set_t set;
    unsigned cpu = 0;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET(cpu, &set)) cpu++;
    return cpu;
}

static void call_with_everything(enum kind kind, bool abandon) {
    struct plan *plan = shared_memory(sizeof *plan);
    dist_token *token = dist_token_new();
    dist_arena *arena = dist_arena_new(1 << 20);
    unsigned cpu = first_cpu();
    int out[ITEMS];
    dist_error e = {.index = 99};
    dist_job *job;
    size_t n = kind_count(kind, ITEMS);
    memset(out, -1, sizeof out);
    plan->thread = pthread_self();
    dist_status status = call_kind(
        kind, step, ITEMS, out,
        DIST_OPTS(.executor = X, .workers = 3, .timeout = 60, .task_timeout = AMPLE / 2, .chunk = 1,
                  .silent = true, .abandon = abandon, .max_failures = 1, .retries = 3,
                  .backoff = 0.001, .rate = 10000, .retry_if = ask, .ctx = plan, .arena = arena,
                  .token = token, .error = &e, .job = &job, .worker_init = open_worker,
                  .worker_exit = close_worker, .on_start = see_start, .on_finish = see_finish,
                  .user = plan, .cpus = &cpu, .n_cpus = 1, .progress = "together", .seed = 4));
    if (status) fail_msg("%s: %s", dist_status_name(status), e.message);
    assert_int_equal(e.index, 99);
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(plan->starts, n);
    assert_int_equal(plan->finishes, n);
    assert_int_equal(dist_job_count(job), n);
    assert_int_equal(dist_job_succeeded(job, NULL), n);
    size_t asked = 0;
    for (size_t i = 0; i < n; i++) {
        bool again = i % 20 == 0 || i % 20 == 7 || (i % 20 == 9 && X == DIST_PROCESS);
        assert_int_equal(counted(&plan->runs[i]), again ? 2 : 1);
        if (kind != FOR) assert_int_equal(out[i], 10 * i);
        asked += again;
    }
    assert_int_equal(plan->asked, asked);
    assert_true(counted(&plan->inits) >= 1);
    if (X != DIST_PROCESS) assert_int_equal(counted(&plan->exits), counted(&plan->inits));
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    dist_token_free(token);
    dist_arena_free(arena);
}

CASE_ON("P-30", all_options_work_together, ON_ALL, 60) {
    for (enum kind kind = MAP; kind < KINDS; kind++) call_with_everything(kind, false);
    for (enum kind kind = MAP; kind < KINDS; kind++)
        if (kind != PAR) call_with_everything(kind, true);
}

static int open_any(void **state, unsigned worker, void *user) {
    (void)worker;
    *state = user;
    return 0;
}

/* Random mixtures of everything: each call ends, and its job is consistent. */
static dist_opts random_mixture(uint32_t *random, struct plan *plan) {
    dist_opts o = {.size = sizeof o, .executor = X, .silent = true, .ctx = plan, .user = plan};
    o.workers = random_below(random, 5);
    o.chunk = random_below(random, 4);
    if (random_below(random, 2)) o.timeout = 0.002 * random_below(random, 10);
    if (random_below(random, 2)) o.task_timeout = 0.002 + 0.001 * random_below(random, 5);
    if (random_below(random, 2)) o.retries = random_below(random, 4);
    if (random_below(random, 3) == 0) o.backoff = 0.0005 * random_below(random, 5);
    if (random_below(random, 4) == 0) o.rate = 500 + random_below(random, 20000);
    if (random_below(random, 3) == 0) o.max_failures = 1 + random_below(random, 4);
    if (random_below(random, 3) == 0) o.silent = false;
    if (random_below(random, 2)) o.on_start = see_start;
    if (random_below(random, 4) == 0) o.worker_init = open_any;
    return o;
}

static int misbehave(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    uint32_t random = (uint32_t)i * 2654435761u + 97 * (dist_attempt() + plan->runs[i]);
    count(&plan->runs[i]);
    random_next(&random);
    *(int *)result = 10 * i;
    switch (random_below(&random, 40)) {
    case 0: return dist_fail(5, "item %d", i);
    case 1: nap(0.004); return 0;
    case 2: doze(0.02); return 0;
    case 3:
        if (X == DIST_PROCESS) raise(SIGKILL);
        return 0;
    case 4:
        if (X == DIST_PROCESS) _exit(2);
        return 1;
    default: return 0;
    }
}

CASE_ON("P-30", any_mixture_of_options_ends_and_is_consistent, ON_ALL, 60) {
    uint32_t random = random_seed();
    struct plan *plan = shared_memory(sizeof *plan);
    unsigned ends[DIST_STATUS_COUNT] = {0};
    for (unsigned round = 0; again(round, rounds(1000, 300)); round++) {
        enum kind kind = random_below(&random, KINDS);
        int out[ITEMS];
        dist_job *job;
        memset(plan->runs, 0, sizeof plan->runs);
        memset(out, -1, sizeof out);
        plan->thread = pthread_self();
        plan->starts = 0;
        dist_opts opts = random_mixture(&random, plan);
        opts.job = &job;
        dist_status status = call_kind(kind, misbehave, ITEMS, out, &opts);
        ends[status]++;
        assert_true(status <= DIST_CANCELLED);
        size_t failures = 0;
        for (size_t i = 0; i < dist_job_count(job); i++) {
            dist_status one = status_of(job, i);
            failures += one && one != DIST_SKIPPED;
            assert_true(one <= DIST_SKIPPED);
            if (one == DIST_SKIPPED) assert_true(status != DIST_OK);
            if (one == DIST_OK) assert_true(counted(&plan->runs[i]) > 0);
            if (kind != FOR) assert_int_equal(out[i], one ? -1 : 10 * (int)i);
        }
        if (status == DIST_OK && !opts.silent) assert_int_equal(failures, 0);
        if (status == DIST_OK) assert_true(!opts.max_failures || failures < opts.max_failures);
        dist_job_finish(&job);
    }
    for (size_t s = 0; s < DIST_STATUS_COUNT; s++)
        if (ends[s]) printf("%s: %u\n", dist_status_name((dist_status)s), ends[s]);
}
