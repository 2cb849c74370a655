/* contract_async_opts.c - every option of a blocking call works in one that goes on by itself. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 40 };

enum fate { FINE, FAILS, IS_LATE, RECOVERS };

/* Fates of items, what the hooks have seen, and what the workers have. */
struct plan {
    enum fate fate[ITEMS];
    _Atomic(unsigned) runs[ITEMS], inside, inits, exits, wrong;
    pthread_t thread; /* of the first hook */
    bool seen;
    unsigned starts, finishes, failed, asked;
    size_t order[ITEMS];
};

static int step(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    *(int *)result = 10 * i;
    switch (plan->fate[i]) {
    case FAILS: return dist_fail(100 + i, "item %d is bad", i);
    case IS_LATE: return doze(60) ? 0 : 1;
    case RECOVERS: return dist_attempt() < 3 ? dist_fail(200 + i, "not yet") : 0;
    default: return 0;
    }
}

static struct plan *new_plan(int out[ITEMS]) {
    memset(out, -1, ITEMS * sizeof *out);
    return shared_memory(sizeof(struct plan));
}

/* Waits in pieces, so that no job runs in this thread; INLINE jobs have ended. */
static dist_status wait_in_pieces(dist_job *job) {
    dist_status status;
    while ((status = dist_job_wait(job, 0.01)) == DIST_TIMEOUT &&
           dist_job_state(job) == DIST_RUNNING) {
    }
    return status;
}

/* ------------------------------------------------------------------ the struct itself */

CASE("P-41", options_are_copied) {
    for (size_t k = 0; k < 2 * N(async_kinds); k++) {
        int out[ITEMS];
        struct plan *plan = new_plan(out);
        bool deferred = k >= N(async_kinds);
        enum kind kind = async_kinds[k % N(async_kinds)];
        dist_error e = {.status = DIST_OK};
        plan->fate[0] = RECOVERS;
        dist_opts *opts = malloc(sizeof *opts);
        *opts = *DIST_OPTS(.executor = X, .workers = 2, .ctx = plan, .retries = 2, .error = &e,
                           .timeout = 60, .task_timeout = 60, .deferred = deferred);
        dist_job *job = go(kind, step, ITEMS, out, opts);
        memset((void *)opts, 0x5a, sizeof *opts);
        free(opts);
        if (deferred) assert_int_equal(dist_job_start(job), DIST_OK);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        check_all_out(out, kind_count(kind, ITEMS));
        assert_int_equal(counted(&plan->runs[0]), 3);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

/* ------------------------------------------------------------------ limits and retries */

CASE("G-06", a_job_has_a_limit) {
    for (int silent = 0; silent < 2; silent++) {
        int out[ITEMS];
        struct plan *plan = new_plan(out);
        dist_error e = {.status = DIST_OK};
        for (int i = 5; i < ITEMS; i++) plan->fate[i] = IS_LATE;
        double start = now();
        dist_job *job =
            dist_map_async(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .chunk = 1,
                           .ctx = plan, .timeout = AMPLE, .silent = silent, .error = &e);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_TIMEOUT);
        ASSERT_SOON(start);
        assert_int_equal(dist_last_error()->index, 5);
        assert_memory_equal(&e, dist_last_error(), sizeof e);
        assert_int_equal(dist_job_state(job), DIST_TIMEOUT);
        for (size_t i = 0; i < 5; i++) assert_int_equal(status_of(job, i), DIST_OK);
        assert_int_equal(status_of(job, 5), DIST_TIMEOUT);
        assert_int_equal(status_of(job, ITEMS - 1), DIST_SKIPPED);
        check_out(job, out);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
    }
}

CASE("G-06", the_tasks_of_a_job_have_limits) {
    for (int par = 0; par < 2; par++) {
        int out[ITEMS];
        struct plan *plan = new_plan(out);
        plan->fate[3] = IS_LATE;
        double start = now();
        dist_job *job = go(par ? PAR : MAP, step, 8, out,
                           DIST_OPTS(.executor = X, .workers = 2, .ctx = plan, .silent = true,
                                     .task_timeout = AMPLE));
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        ASSERT_SOON(start);
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(status_of(job, i), i == 3 ? DIST_TIMEOUT : DIST_OK);
        check_out(job, out);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
    }
}

CASE("P-63", each_task_of_par_may_have_its_own_limits) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    dist_task tasks[] = {DIST_TASK("late", step, &numbers()[0], &out[0]),
                         DIST_TASK("again", step, &numbers()[1], &out[1]),
                         DIST_TASK("fine", step, &numbers()[2], &out[2])};
    tasks[0].timeout = 0.02, tasks[1].retries = 2;
    plan->fate[0] = IS_LATE, plan->fate[1] = RECOVERS;
    dist_job *job =
        dist_par_async(tasks, 3, .executor = X, .workers = 2, .ctx = plan, .silent = true);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_failures(job), 1);
    assert_string_equal(dist_job_failure_at(job, 0)->name, "late");
    assert_int_equal(dist_job_failure_at(job, 0)->status, DIST_TIMEOUT);
    assert_ptr_equal(dist_job_named(job, "again"), &out[1]);
    assert_int_equal(counted(&plan->runs[1]), 3);
    assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
}

static bool once_more(const dist_error *e, void *user) {
    struct plan *plan = user;
    if (plan->seen && !pthread_equal(plan->thread, pthread_self())) count(&plan->wrong);
    plan->seen = true, plan->thread = pthread_self();
    plan->asked++;
    return e->index != 7;
}

CASE("P-62", the_items_of_a_job_are_tried_again) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    plan->fate[2] = RECOVERS, plan->fate[5] = plan->fate[7] = FAILS;
    dist_job *job = dist_map_async(step, numbers(), ITEMS, out, .executor = X, .workers = 3,
                                   .ctx = plan, .silent = true, .retries = 3, .backoff = 0.002,
                                   .retry_if = once_more, .user = plan);
    assert_int_equal(wait_in_pieces(job), DIST_OK);
    assert_int_equal(dist_job_failures(job), 2);
    assert_int_equal(dist_job_outcome(job, 5)->attempts, 4);
    assert_int_equal(dist_job_outcome(job, 7)->attempts, 1);
    assert_int_equal(counted(&plan->runs[2]), 3);
    assert_int_equal(plan->asked, 2 + 3 + 1);
    assert_int_equal(counted(&plan->wrong), 0);
    if (X != DIST_INLINE) assert_false(pthread_equal(plan->thread, pthread_self()));
    check_out(job, out);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("L-16", the_items_of_a_job_start_at_a_rate) {
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    double start = now();
    dist_job *job =
        dist_map_async(step, numbers(), 20, out, .executor = X, .ctx = plan, .rate = 200);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_true(now() - start >= 19 / 200.0);
    check_all_out(out, 20);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

CASE("P-34", a_job_goes_on_after_failures_or_stops) {
    static const struct {
        bool silent;
        size_t max, run;
        dist_status waited;
    } rows[] = {{false, 0, 4, DIST_FAILED},
                {true, 0, ITEMS, DIST_OK},
                {false, 2, 6, DIST_FAILED},
                {true, 3, 10, DIST_FAILED}};
    for (size_t k = 0; k < N(rows); k++) {
        int out[ITEMS];
        struct plan *plan = new_plan(out);
        plan->fate[3] = plan->fate[5] = plan->fate[9] = FAILS;
        dist_error e = {.status = DIST_OK};
        dist_job *job = dist_map_async(step, numbers(), ITEMS, out, .executor = X, .workers = 1,
                                       .chunk = 1, .ctx = plan, .silent = rows[k].silent,
                                       .max_failures = rows[k].max, .error = &e);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), rows[k].waited);
        assert_int_equal(e.status, rows[k].waited);
        if (e.status) {
            assert_int_equal(e.index, 3);
            assert_int_equal(e.code, 103);
            assert_ptr_equal(e.item, &numbers()[3]);
            assert_string_equal(e.message, "item 3 is bad");
        }
        for (size_t i = 0; i < ITEMS; i++)
            assert_int_equal(counted(&plan->runs[i]), i < rows[k].run);
        check_out(job, out);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

CASE("G-07", a_token_cancels_a_job) {
    for (int before = 0; before < 2 - (X == DIST_INLINE); before++)
        for (size_t k = 0; k < N(async_kinds); k++) {
            int out[ITEMS];
            struct plan *plan = new_plan(out);
            dist_token *token = dist_token_new();
            bool at_once = X == DIST_INLINE || before;
            for (int i = 0; i < ITEMS; i++) plan->fate[i] = IS_LATE;
            if (at_once) dist_token_cancel(token);
            double start = now();
            dist_job *job = go(async_kinds[k], step, ITEMS, out,
                               DIST_OPTS(.executor = X, .workers = 2, .ctx = plan, .token = token));
            assert_non_null(job);
            if (!at_once) assert_true(reaches(&plan->runs[0], 1));
            dist_token_cancel(token);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
            ASSERT_SOON(start);
            assert_int_equal(status_of(job, 0), at_once ? DIST_SKIPPED : DIST_CANCELLED);
            check_out(job, out);
            assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
            dist_token_free(token);
        }
}

/* ------------------------------------------------------------------ hooks and workers */

static void enter_hook(struct plan *plan) {
    if (atomic_fetch_add(&plan->inside, 1) != 0) count(&plan->wrong);
    if (plan->seen && !pthread_equal(plan->thread, pthread_self())) count(&plan->wrong);
    plan->seen = true, plan->thread = pthread_self();
}

static void see_start(const dist_event *event, void *user) {
    struct plan *plan = user;
    enter_hook(plan);
    if (event->total != ITEMS || event->item != &numbers()[event->index]) count(&plan->wrong);
    plan->starts++;
    atomic_fetch_sub(&plan->inside, 1);
}

static void see_finish(const dist_event *event, void *user) {
    struct plan *plan = user;
    enter_hook(plan);
    plan->order[plan->finishes++] = event->index;
    plan->failed += event->error != NULL;
    if (event->done != plan->finishes || event->failed != plan->failed) count(&plan->wrong);
    const int *result = event->result;
    if (!event->error && *result != 10 * (int)event->index) count(&plan->wrong);
    atomic_fetch_sub(&plan->inside, 1);
}

CASE("M-11", hooks_of_a_job_run_one_at_a_time_in_one_thread) {
    for (unsigned workers = 1; workers < 5; workers++)
        for (int piecewise = 0; piecewise < 2; piecewise++) {
            int out[ITEMS];
            struct plan *plan = new_plan(out);
            plan->fate[4] = plan->fate[14] = FAILS;
            dist_job *job = dist_map_async(
                step, numbers(), ITEMS, out, .executor = X, .workers = workers, .ctx = plan,
                .silent = true, .on_start = see_start, .on_finish = see_finish, .user = plan);
            assert_int_equal(piecewise ? wait_in_pieces(job) : dist_job_wait(job, DIST_FOREVER),
                             DIST_OK);
            assert_int_equal(counted(&plan->wrong), 0);
            assert_int_equal(plan->starts, ITEMS);
            assert_int_equal(plan->finishes, ITEMS);
            assert_int_equal(plan->failed, 2);
            if (X == DIST_INLINE) assert_true(pthread_equal(plan->thread, pthread_self()));
            else if (piecewise) assert_false(pthread_equal(plan->thread, pthread_self()));
            assert_int_equal(dist_job_finish(&job), DIST_FAILED);
        }
}

static int open_place(void **state, unsigned worker, void *user) {
    struct plan *plan = user;
    if (worker >= 3) count(&plan->wrong);
    count(&plan->inits);
    *state = plan;
    return plan->asked ? dist_fail(5, "closed today") : 0;
}

static void close_place(void *state, unsigned worker, void *user) {
    struct plan *plan = user;
    if (state != plan || worker >= 3) count(&plan->wrong);
    count(&plan->exits);
}

static int use_place(void *result, const void *item, void *ctx) {
    if (dist_worker_state() != ctx || dist_worker() >= 3) return dist_fail(1, "no place");
    return step(result, item, ctx);
}

CASE("M-03", workers_of_a_job_have_a_state) {
    NOT_IN_POOLS("the call has a worker_init");
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    dist_job *job =
        dist_map_async(use_place, numbers(), ITEMS, out, .executor = X, .workers = 3, .ctx = plan,
                       .worker_init = open_place, .worker_exit = close_place, .user = plan);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    check_all_out(out, ITEMS);
    assert_in_range(counted(&plan->inits), 1, X == DIST_INLINE ? 1 : UINT32_MAX);
    assert_int_equal(counted(&plan->exits), counted(&plan->inits));
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    plan = new_plan(out);
    plan->asked = 1;
    job = dist_map_async(use_place, numbers(), ITEMS, out, .executor = X, .workers = 3, .ctx = plan,
                         .worker_init = open_place, .user = plan);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_FAILED);
    assert_non_null(strstr(dist_last_error()->message, "closed today"));
    for (size_t i = 0; i < ITEMS; i++) assert_int_equal(counted(&plan->runs[i]), 0);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

static int see_cpu(void *result, const void *item, void *ctx) {
    cpu_set_t set;
    (void)item, (void)ctx;
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    *(int *)result = CPU_COUNT(&set) == 1 ? sched_getcpu() : -2;
    return 0;
}

CASE("P-05", workers_of_a_job_are_pinned) {
    NOT_IN_POOLS("the call has cpus");
    cpu_set_t set, after;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &set)) cpu++;
    int out[ITEMS];
    dist_job *job = dist_map_async(see_cpu, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                   .cpus = &cpu, .n_cpus = 1);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], cpu);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&set, &after));
}

/* ------------------------------------------------------------------ memory, names, chance */

static int say(void *result, const void *item, void *ctx) {
    char text[32];
    (void)ctx;
    snprintf(text, sizeof text, "%s says %d", dist_name(), *(const int *)item);
    *(const char **)result = dist_strdup(text);
    return dist_index() == 2 ? dist_fail(1, "%s", text) : 0;
}

CASE("D-23", the_tasks_of_a_job_have_memory_and_names) {
    static const char *const names[] = {"anna", "bert", "carl", "dora"};
    dist_arena *arena = dist_arena_new(1 << 20);
    char *out[4] = {NULL};
    dist_error e;
    dist_job *job =
        dist_map_async(say, numbers(), 4, out, .executor = X, .workers = 2, .arena = arena,
                       .names = names, .silent = true, .max_failures = 4, .error = &e);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_string_equal(out[0], "anna says 0");
    assert_string_equal(out[3], "dora says 3");
    assert_ptr_equal(dist_job_named(job, "bert"), &out[1]);
    assert_null(dist_job_named(job, "carl"));
    assert_string_equal(dist_job_outcome(job, 2)->name, "carl");
    assert_string_equal(dist_job_outcome(job, 2)->message, "carl says 2");
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    assert_string_equal(out[1], "bert says 1"); /* the arena is the caller's */
    assert_true(dist_arena_owns(arena, out[1]));
    dist_arena_free(arena);
}

static int draw(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    for (int k = 0; k < 3; k++) ((uint64_t *)result)[k] = dist_random();
    return 0;
}

CASE("G-19", random_numbers_of_a_job_are_those_of_the_blocking_call) {
    NOT_IN_POOLS("compares with a call on another executor");
    struct numbers {
        uint64_t draws[3];
    } expected[ITEMS], out[ITEMS];
    for (uint64_t seed = 0; seed < 9; seed += 4) {
        assert_int_equal(
            dist_map(draw, numbers(), ITEMS, expected, .executor = DIST_INLINE, .seed = seed),
            DIST_OK);
        for (unsigned workers = 0; workers < 4; workers++) {
            memset(out, 0, sizeof out);
            dist_job *job = dist_map_async(draw, numbers(), ITEMS, out, .executor = X,
                                           .workers = workers, .seed = seed);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
            assert_memory_equal(out, expected, sizeof out);
        }
    }
}

/* A job in a task, and a call in a task. */
static int draw_below(void *result, const void *item, void *ctx) {
    struct numbers {
        uint64_t draws[3];
    } out[5];
    dist_status status = DIST_OK;
    (void)item;
    if (*(const bool *)ctx) {
        dist_job *job = dist_map_async(draw, numbers(), 5, out, .executor = X, .workers = 2);
        status = job ? dist_job_finish(&job) : dist_last_error()->status;
    } else {
        status = dist_map(draw, numbers(), 5, out, .executor = DIST_INLINE);
    }
    memcpy(result, out, sizeof out);
    return (int)status;
}

CASE("G-19", a_job_in_a_task_draws_from_its_item) {
    NOT_IN_POOLS("compares with a call on another executor");
    struct numbers {
        uint64_t draws[15];
    } expected[4], out[4];
    bool async = false;
    assert_int_equal(dist_map(draw_below, numbers(), 4, expected, .executor = DIST_INLINE,
                              .seed = 5, .ctx = &async),
                     DIST_OK);
    async = true;
    assert_int_equal(
        dist_map(draw_below, numbers(), 4, out, .executor = X, .seed = 5, .ctx = &async), DIST_OK);
    assert_memory_equal(out, expected, sizeof out);
}

static int leave_bytes(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(int *)result += 1000 + (int)dist_index();
    return dist_index() % 5 == 4;
}

CASE("P-40", a_job_writes_in_place) {
    NOT_IN_PROCESS_POOLS("out is no memory that the workers see");
    int *out = shared_memory(ITEMS * sizeof *out);
    for (int i = 0; i < ITEMS; i++) out[i] = -i;
    dist_job *job = dist_map_async(leave_bytes, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                   .in_place = true, .silent = true);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 1000);
}

static int wait_for_release(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    count(&scene->begun);
    *(int *)result = 10 * *(const int *)item;
    if (*(const int *)item >= 3 && !reaches(&scene->gate, 1)) return 1;
    count(&scene->told);
    return 0;
}

CASE_ON("G-06", a_job_leaves_its_tasks_behind, ON_THREAD, 30) {
    for (int round = 0; round < 5; round++) {
        struct scene *scene = new_scene();
        int *items = malloc(ITEMS * sizeof *items), *out = malloc(ITEMS * sizeof *out);
        for (int i = 0; i < ITEMS; i++) items[i] = i, out[i] = -1;
        double start = now();
        dist_job *job = dist_map_async(wait_for_release, items, ITEMS, out, .executor = X,
                                       .workers = 1 + (unsigned)round % 3, .ctx = scene,
                                       .timeout = 0.05, .abandon = true);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_TIMEOUT);
        ASSERT_SOON(start);
        check_out(job, out);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
        memset(items, 0x5a, ITEMS * sizeof *items);
        free(items);
        free(out);
        count(&scene->gate);
        assert_true(reaches(&scene->told, counted(&scene->begun)));
    }
}

static void draw_progress(void *unused) {
    (void)unused;
    int out[ITEMS];
    struct plan *plan = new_plan(out);
    dist_job *job = dist_map_async(step, numbers(), ITEMS, out, .executor = X, .ctx = plan,
                                   .progress = "working");
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

CASE("F-04", a_job_draws_no_bar_where_there_is_no_terminal) {
    static char text[OUTPUT_SIZE];
    int status;
    if (THREAD_SANITIZED) skip();
    assert_int_equal(output_of(draw_progress, NULL, text, &status), 0);
    assert_int_equal(status, 0);
}
