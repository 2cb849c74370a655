/* contract_pool_options.c - options of pools, and of calls in them: what is right, what is refused.
 */
#define _GNU_SOURCE
#include "contract_pools.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int init(void **state, unsigned worker, void *user) {
    (void)state, (void)worker, (void)user;
    return 0;
}

static void leave_worker(void *state, unsigned worker, void *user) {
    (void)state, (void)worker, (void)user;
}

static void hear(const dist_event *event, void *user) { (void)event, (void)user; }

static bool no(const dist_error *error, void *user) {
    (void)error, (void)user;
    return false;
}

/* ------------------------------------------------------------------ refused */

#define REFUSED(status_, name, ...)                                                                \
    do {                                                                                           \
        dist_error told = {.status = DIST_OK};                                                     \
        assert_null(dist_pool_open(.executor = X, .error = &told, __VA_ARGS__));                   \
        assert_int_equal(told.status, status_);                                                    \
        assert_int_equal(dist_last_error()->status, status_);                                      \
        assert_named(name);                                                                        \
    } while (0)

POOL_CASE("G-15", options_of_calls_are_not_for_pools) {
    static const char *const names[] = {"a"};
    static const dist_job *none;
    dist_pool *pool = open_pool(1);
    dist_arena *arena = dist_arena_new(1 << 20);
    dist_token *token = dist_token_new();
    int ctx = 0;
    REFUSED(DIST_INVALID, "timeout", .timeout = 1);
    REFUSED(DIST_INVALID, "task_timeout", .task_timeout = 1);
    REFUSED(DIST_INVALID, "chunk", .chunk = 1);
    REFUSED(DIST_INVALID, "silent", .silent = true);
    REFUSED(DIST_INVALID, "unordered", .unordered = true);
    REFUSED(DIST_INVALID, "deferred", .deferred = true);
    REFUSED(DIST_INVALID, "abandon", .abandon = true);
    REFUSED(DIST_INVALID, "in_place", .in_place = true);
    REFUSED(DIST_INVALID, "max_failures", .max_failures = 1);
    REFUSED(DIST_INVALID, "retries", .retries = 1);
    REFUSED(DIST_INVALID, "backoff", .backoff = 1);
    REFUSED(DIST_INVALID, "rate", .rate = 1);
    REFUSED(DIST_INVALID, "retry_if", .retry_if = no);
    REFUSED(DIST_INVALID, "names", .names = names);
    REFUSED(DIST_INVALID, "ctx", .ctx = &ctx);
    REFUSED(DIST_INVALID, "pool", .pool = pool);
    REFUSED(DIST_INVALID, "ctx_size", .ctx_size = 1);
    REFUSED(DIST_INVALID, "no_wait", .no_wait = true);
    REFUSED(DIST_INVALID, "arena", .arena = arena);
    REFUSED(DIST_INVALID, "token", .token = token);
    REFUSED(DIST_INVALID, "job", .job = (dist_job **)&none);
    REFUSED(DIST_INVALID, "on_start", .on_start = hear);
    REFUSED(DIST_INVALID, "on_finish", .on_finish = hear);
    REFUSED(DIST_INVALID, "progress", .progress = "title");
    REFUSED(DIST_INVALID, "seed", .seed = 1);
    dist_token_free(token);
    dist_arena_free(arena);
    dist_pool_free(&pool);
}

POOL_CASE("G-15", what_no_pool_can_have_is_refused) {
    static const unsigned wrong[] = {100000}, right[] = {0};
    REFUSED(DIST_INVALID, "in_flight", .in_flight = 1);
    REFUSED(DIST_UNSUPPORTED, "trace", .trace = "file");
    REFUSED(DIST_INVALID, "cpus", .cpus = wrong, .n_cpus = 1);
    REFUSED(DIST_INVALID, "n_cpus", .cpus = right);
    REFUSED(DIST_INVALID, "cpus", .n_cpus = 1);
    assert_null(dist_pool_open(.executor = (dist_executor)77));
    assert_int_equal(dist_last_error()->status, DIST_INVALID);
    assert_named("executor");
    assert_null(dist_pool_open(.executor = DIST_AUTO));
    assert_int_equal(dist_last_error()->status, DIST_UNSUPPORTED);
    dist_opts unsized = {.size = 8};
    assert_null(dist_pool_open_fn(&unsized));
    assert_int_equal(dist_last_error()->status, DIST_INVALID);
    assert_named("opts.size");
}

CASE_ON("G-15", more_threads_than_there_can_be_are_refused, ON_THREAD, 20) {
    REFUSED(DIST_INVALID, "workers", .workers = UINT_MAX);
    REFUSED(DIST_INVALID, "workers", .workers = 4097);
    dist_pool *pool = open_pool(4096); /* with one thread as yet */
    assert_int_equal(dist_pool_resize(pool, 4097), DIST_INVALID);
    assert_named("workers");
    assert_int_equal(dist_pool_resize(pool, UINT_MAX), DIST_INVALID);
    assert_int_equal(dist_pool_workers(pool), 4096);
    dist_pool_free(&pool);
}

#undef REFUSED
#define REFUSED(name, ...)                                                                         \
    do {                                                                                           \
        int out[2] = {-1, -1};                                                                     \
        dist_error told = {.status = DIST_OK};                                                     \
        assert_int_equal(dist_map(ten_times, numbers(), 2, out, .error = &told, __VA_ARGS__),      \
                         DIST_INVALID);                                                            \
        assert_int_equal(told.status, DIST_INVALID);                                               \
        assert_named(name);                                                                        \
        assert_null(dist_map_async(ten_times, numbers(), 2, out, __VA_ARGS__));                    \
        assert_int_equal(dist_last_error()->status, DIST_INVALID);                                 \
        assert_named(name);                                                                        \
        assert_int_equal(out[0], -1);                                                              \
    } while (0)

POOL_CASE("G-15", options_of_workers_belong_to_the_pool) {
    static const unsigned cpus[] = {0};
    dist_pool *pool = open_pool(2);
    REFUSED("worker_init", .pool = pool, .worker_init = init);
    REFUSED("worker_exit", .pool = pool, .worker_exit = leave_worker);
    REFUSED("cpus", .pool = pool, .cpus = cpus, .n_cpus = 1);
    for (dist_executor other = DIST_THREAD; other <= DIST_INLINE; other++)
        if (other != X) REFUSED("executor", .pool = pool, .executor = other);
    check_pool(pool);
    int out[3];
    assert_int_equal(dist_map(ten_times, numbers(), 3, out, .pool = pool, .executor = X), DIST_OK);
    dist_pool_free(&pool);
}

POOL_CASE("G-15", options_of_pools_are_not_for_calls) {
    dist_pool *pool = open_pool(2);
    for (int in_pool = 0; in_pool < 2; in_pool++) {
        dist_pool *where = in_pool ? pool : NULL;
        REFUSED("stack_size", .pool = where, .stack_size = 1 << 20);
        REFUSED("tasks_per_worker", .pool = where, .tasks_per_worker = 1);
        REFUSED("worker_memory", .pool = where, .worker_memory = 1);
        REFUSED("max_pending", .pool = where, .max_pending = 1);
        REFUSED("strict", .pool = where, .strict = true);
        REFUSED("ctx", .pool = where, .ctx_size = 4);
    }
    int out[2];
    assert_int_equal(dist_map(ten_times, numbers(), 2, out, .pool = pool, .no_wait = true),
                     DIST_INVALID);
    assert_named("no_wait");
    dist_pool_free(&pool);
}
#undef REFUSED

/* What has a meaning elsewhere only is no error: one program serves all executors. */
POOL_CASE("P-03", options_of_other_executors_do_no_harm) {
    dist_pool *pool =
        dist_pool_open(.executor = X, .workers = 2, .stack_size = 1 << 20, .tasks_per_worker = 100,
                       .worker_memory = 1 << 30, .max_pending = 1000);
    assert_non_null(pool);
    check_pool(pool);
    dist_pool_free(&pool);
}

POOL_CASE("P-02", the_default_executor_is_that_of_calls) {
    setenv("DIST_EXECUTOR",
           X == DIST_INLINE   ? "inline"
           : X == DIST_THREAD ? "thread"
                              : "process",
           1);
    dist_pool *pool = dist_pool_open();
    assert_non_null(pool);
    int out[2];
    for (dist_executor other = DIST_THREAD; other <= DIST_INLINE; other++)
        assert_int_equal(dist_map(ten_times, numbers(), 2, out, .pool = pool, .executor = other),
                         other == X ? DIST_OK : DIST_INVALID);
    dist_pool_free(&pool);
    pool = dist_pool_open_fn(NULL);
    assert_non_null(pool);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ stacks */

static int use_stack(void *result, const void *item, void *ctx) {
    enum { BYTES = SANITIZED ? 20 << 20 : 60 << 20 };
    volatile char memory[BYTES];
    (void)ctx;
    for (size_t at = 0; at < BYTES; at += 512) memory[at] = (char)*(const int *)item;
    *(int *)result = 10 * memory[BYTES - 512];
    return 0;
}

CASE_ON("D-19", workers_have_the_stack_that_was_asked_for, ON_THREAD, 20) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2, .stack_size = (size_t)80 << 20);
    int out[5];
    assert_non_null(pool);
    assert_int_equal(dist_map(use_stack, numbers(), 5, out, .pool = pool), DIST_OK);
    check_tens(out, 5);
    dist_pool_free(&pool);
    pool = dist_pool_open(.executor = X, .workers = 2, .stack_size = 1); /* the least there is */
    assert_non_null(pool);
    check_pool(pool);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ names */

static int read_name(void *result, const void *item, void *ctx) {
    char path[64];
    (void)item, (void)ctx;
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", thread_id());
    FILE *comm = fopen(path, "re");
    bool read = comm && fgets(result, 32, comm);
    if (comm) fclose(comm);
    nap(0.002);
    return read ? 0 : 1;
}

CASE_ON("F-11", workers_have_names_that_proc_shows, ON_THREAD, 20) {
    char name[9][32];
    dist_pool *pool = open_pool(3);
    assert_int_equal(dist_map_fn(read_name, numbers(), 9, sizeof(int), name, sizeof *name,
                                 DIST_OPTS(.pool = pool, .chunk = 1)),
                     DIST_OK);
    for (size_t k = 0; k < N(name); k++) {
        unsigned number;
        char end;
        assert_int_equal(sscanf(name[k], "dist-poo-%u%c", &number, &end), 2);
        assert_in_range(number, 0, 2);
        assert_int_equal(end, '\n');
    }
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ CPUs */

struct plan {
    _Atomic(unsigned) wrong, runs;
    unsigned cpu, other;
};

/* The CPUs that this thread may use: the first two, and how many. */
static int own_cpus(unsigned first[2]) {
    cpu_set_t mine;
    int found = 0;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    for (unsigned k = 0; k < CPU_SETSIZE; k++)
        if (CPU_ISSET(k, &mine) && found++ < 2) first[found - 1] = k;
    return found;
}

static bool is_pinned_to(unsigned cpu) {
    unsigned first[2] = {0, 0};
    return own_cpus(first) == 1 && first[0] == cpu;
}

static int look_pinned(size_t index, void *ctx) {
    struct plan *plan = ctx;
    count(&plan->runs);
    unsigned cpu = dist_worker() % 2 ? plan->other : plan->cpu;
    if (!is_pinned_to(cpu) || index != dist_worker()) count(&plan->wrong);
    return 0;
}

static dist_pool *open_pinned(unsigned workers, struct plan *plan) {
    unsigned cpus[2] = {plan->cpu, plan->other};
    dist_pool *pool = dist_pool_open(.executor = X, .workers = workers, .cpus = cpus, .n_cpus = 2);
    assert_non_null(pool);
    cpus[0] = cpus[1] = 77777; /* the pool has its own */
    return pool;
}

static struct plan *new_plan(void) {
    struct plan *plan = shared_memory(sizeof *plan);
    unsigned first[2] = {0, 0};
    if (own_cpus(first) < 2) skip();
    plan->cpu = first[0], plan->other = first[1];
    return plan;
}

POOL_CASE("P-05", workers_stay_where_they_are_pinned) {
    struct plan *plan = new_plan();
    dist_pool *pool = open_pinned(4, plan);
    for (int k = 0; k < 5; k++) {
        assert_int_equal(dist_each_worker(pool, look_pinned, plan), DIST_OK);
        unsigned first[2];
        assert_true(own_cpus(first) > 1); /* the caller is as it was */
    }
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(counted(&plan->runs), 5 * pool_width(4));
    dist_pool_free(&pool);
}

static int look_free(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    unsigned first[2];
    (void)result, (void)item;
    count(&plan->runs);
    if (own_cpus(first) < 2) count(&plan->wrong);
    reaches(&plan->runs, 4);
    return 0;
}

/* The pinned worker is the calling thread of the inner call: three others come. */
static int call_from_pinned(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    return (int)dist_map(look_free, numbers(), 4, DIST_NONE, .executor = DIST_THREAD, .workers = 4,
                         .ctx = ctx);
}

static int open_from_pinned(void *result, const void *item, void *ctx) {
    DIST_SCOPED_POOL *pool = dist_pool_open(.executor = DIST_THREAD, .workers = 4);
    (void)result, (void)item;
    return (int)dist_map(look_free, numbers(), 4, DIST_NONE, .pool = pool, .ctx = ctx);
}

CASE_ON("P-05", threads_that_pinned_workers_start_are_free, ON_THREAD, 20) {
    struct plan *plan = new_plan();
    dist_pool *pool = open_pinned(1, plan);
    assert_int_equal(dist_apply(call_from_pinned, DIST_NONE, DIST_NONE, .pool = pool, .ctx = plan),
                     DIST_OK);
    assert_int_equal(counted(&plan->wrong), 1); /* the worker itself */
    atomic_store(&plan->runs, 0);
    assert_int_equal(dist_apply(open_from_pinned, DIST_NONE, DIST_NONE, .pool = pool, .ctx = plan),
                     DIST_OK);
    assert_int_equal(counted(&plan->wrong), 1);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ options of calls */

struct notes {
    _Atomic(unsigned) begun, ended, wrong;
};

static void note_begin(const dist_event *event, void *user) {
    struct notes *notes = user;
    count(&notes->begun);
    if (event->total != PRIME) count(&notes->wrong);
}

static void note_end(const dist_event *event, void *user) {
    struct notes *notes = user;
    count(&notes->ended);
    if (!event->error && *(const int *)event->result != 10 * (int)event->index)
        count(&notes->wrong);
    if (event->worker >= 3) count(&notes->wrong);
}

static int fail_first_attempts(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    (void)ctx;
    *(int *)result = 10 * i;
    return i % 5 == 0 && dist_attempt() < 3 ? dist_fail(3, "attempt %u", dist_attempt()) : 0;
}

POOL_CASE("P-30", hooks_and_retries_work_in_pools) {
    struct notes *notes = shared_memory(sizeof *notes);
    dist_pool *pool = open_pool(3);
    int out[PRIME];
    assert_int_equal(dist_map(fail_first_attempts, numbers(), PRIME, out, .pool = pool,
                              .retries = 2, .on_start = note_begin, .on_finish = note_end,
                              .user = notes),
                     DIST_OK);
    check_tens(out, PRIME);
    assert_int_equal(counted(&notes->begun), PRIME);
    assert_int_equal(counted(&notes->ended), PRIME);
    assert_int_equal(counted(&notes->wrong), 0);
    assert_int_equal(
        dist_map(fail_first_attempts, numbers(), PRIME, out, .pool = pool, .retries = 1),
        DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 0);
    assert_int_equal(dist_last_error()->attempts, 2);
    dist_pool_free(&pool);
}
