/* contract_deadlock.c - waits that can never end: one of a circle is told, and all go on; waits
 * that do end are left alone, however long they take. */
#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4, LONG_MS = 400 /* longer than any wait before it looks */ };
enum { ON_HOST = ON_INLINE | ON_THREAD };
enum how { WAIT, NEXT, ANY, FINISH, HOWS };

static dist_job *job[MOST];
static struct { _Atomic(unsigned) begun, ended, told, well, other; } seen;

static unsigned party = 2; /* of tasks that are all under way before one waits */

static void meet(void) {
    count(&seen.begun);
    reaches(&seen.begun, party);
}

static void note(dist_status status) {
    count(status == DIST_DEADLOCK ? &seen.told : status ? &seen.other : &seen.well);
}

static dist_status wait_for(dist_job **handle, enum how how) {
    dist_event event;
    switch (how) {
    case NEXT: return dist_job_next(*handle, &event, DIST_FOREVER);
    case ANY:
        if (dist_job_wait_any(handle, 1, DIST_FOREVER) == 0) return DIST_OK;
        return dist_last_error()->status;
    case FINISH: return dist_job_finish(handle);
    default: return dist_job_wait(*handle, DIST_FOREVER);
    }
}

/* ------------------------------------------------------------------ starting */

static void *start_thread(void *handle) {
    dist_status status = dist_job_start(*(dist_job **)handle);
    return (void *)(uintptr_t)status;
}

/* All are known before the first begins. INLINE: each runs in a thread of its own. */
static void start_all(unsigned n) {
    pthread_t thread[MOST];
    for (unsigned k = 0; k < n; k++) {
        if (!job[k]) fail_msg("job %u: %s", k, dist_last_error()->message);
        assert_int_equal(pthread_create(&thread[k], NULL, start_thread, &job[k]), 0);
    }
    for (unsigned k = 0; k < n; k++) {
        void *status;
        assert_int_equal(pthread_join(thread[k], &status), 0);
        assert_int_equal((uintptr_t)status, DIST_OK);
    }
}

/* None of them is used by another's task any more. */
static void await_all(unsigned n) {
    for (unsigned k = 0; k < n; k++)
        while (job[k] && dist_job_state(job[k]) == DIST_RUNNING) nap(0.0005);
}

static void finish_all(unsigned n) {
    await_all(n);
    for (unsigned k = 0; k < n; k++) assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
}

/* ------------------------------------------------------------------ circles of jobs */

struct link { /* of a circle */
    unsigned self, n;
    enum how how;
};

static int wait_for_next_link(void *result, const void *item, void *ctx) {
    const struct link *link = ctx;
    (void)result;
    if (item && *(const int *)item) return 0; /* another item of its job */
    meet();
    note(wait_for(&job[(link->self + 1) % link->n], link->how));
    count(&seen.ended);
    return 0;
}

/* Of one item that nothing looks after, of one item, of some. */
enum kind { LIGHT, HEAVY, MANY, KINDS };

static dist_job *new_link(enum kind kind, struct link *link) {
    const dist_opts *o = kind == LIGHT ? DIST_OPTS(.executor = X, .ctx = link, .deferred = true)
                                       : DIST_OPTS(.executor = X, .ctx = link, .deferred = true,
                                                   .timeout = 1000, .workers = 2);
    return dist_map_async_fn(wait_for_next_link, numbers(), kind == MANY ? 3 : 1, sizeof(int), NULL,
                             0, o);
}

static void run_circle(enum kind kind, unsigned n, enum how how) {
    struct link link[MOST];
    memset(&seen, 0, sizeof seen);
    party = n;
    for (unsigned k = 0; k < n; k++) {
        link[k] = (struct link){k, n, how};
        job[k] = new_link(kind, &link[k]);
    }
    start_all(n);
    assert_true(reaches(&seen.ended, n));
    finish_all(n);
    assert_int_equal(counted(&seen.told), 1);
    assert_int_equal(counted(&seen.well), n - 1);
}

CASE_ON("G-04", one_wait_of_a_circle_of_jobs_is_told, ON_HOST, 60) {
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (unsigned n = 2; n <= MOST; n++)
            for (enum how how = 0; how < HOWS; how++)
                if (n == 2 || how == WAIT) run_circle(kind, n, how);
}

/* The others wait for the first one, and are not told. */
static int wait_for_the_first(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    dist_status status = dist_job_wait(job[0], DIST_FOREVER);
    count(status == DIST_OK ? &seen.well : &seen.other);
    return 0;
}

static void *wait_outside(void *unused) {
    wait_for_the_first(NULL, NULL, NULL);
    return unused;
}

CASE_ON("G-04", who_waits_for_a_circle_from_outside_is_not_told, ON_THREAD, 20) {
    struct link link[2] = {{0, 2, WAIT}, {1, 2, WAIT}};
    pthread_t thread;
    for (unsigned k = 0; k < 2; k++) job[k] = new_link(MANY, &link[k]);
    assert_int_equal(pthread_create(&thread, NULL, wait_outside, NULL), 0);
    nap(0.001);
    start_all(2);
    dist_job *third = dist_apply_async(wait_for_the_first, DIST_NONE, DIST_NONE, .executor = X);
    pthread_join(thread, NULL);
    await_all(2);
    assert_int_equal(dist_job_finish(&third), DIST_OK);
    finish_all(2);
    assert_int_equal(counted(&seen.told), 1);
}

/* ------------------------------------------------------------------ calls, hooks, streams */

static int caller;
static _Atomic(unsigned) callees, waiters;

/* In another thread than the caller's, if there are some. */
static int wait_for_second(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    count(&callees);
    if (X == DIST_THREAD) reaches(&callees, 3);
    if (X == DIST_THREAD && thread_id() == caller) return 0;
    if (atomic_fetch_add(&waiters, 1)) return 0; /* one is enough */
    meet();
    note(dist_job_wait(job[1], DIST_FOREVER));
    return 0;
}

static int call_with_a_wait(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    caller = thread_id();
    return (int)dist_map(wait_for_second, numbers(), 3, DIST_NONE, .executor = X, .workers = 3);
}

static int wait_for_first(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    meet();
    note(dist_job_wait(job[0], DIST_FOREVER));
    return 0;
}

static dist_job *deferred(dist_fn fn, dist_executor executor) {
    return dist_apply_async(fn, DIST_NONE, DIST_NONE, .executor = executor, .deferred = true);
}

CASE_ON("G-04", a_circle_may_lead_through_a_call, ON_HOST, 20) {
    job[0] = deferred(call_with_a_wait, X);
    job[1] = deferred(wait_for_first, X);
    start_all(2);
    finish_all(2);
    assert_int_equal(counted(&seen.told), 1);
    assert_int_equal(counted(&seen.well), 1);
}

/* The job that is waited for has not begun: this thread looks after it. */
static int start_and_wait(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    seen.begun = 1;
    dist_status status = dist_job_start(job[1]);
    if (!status) status = dist_job_wait(job[1], DIST_FOREVER);
    note(status);
    return 0;
}

static int wait_in_the_middle(void *result, const void *item, void *ctx) {
    return *(const int *)item == 1 ? wait_for_first(result, item, ctx) : 0;
}

CASE_ON("G-04", a_circle_may_lead_through_who_looks_after_a_job, ON_HOST, 20) {
    job[0] = dist_map_async(start_and_wait, numbers(), 1, DIST_NONE, .executor = X,
                            .deferred = true, .timeout = 1000);
    job[1] = dist_map_async(wait_in_the_middle, numbers(), 3, DIST_NONE, .executor = X,
                            .workers = 2, .deferred = true);
    assert_int_equal(dist_job_start(job[0]), DIST_OK);
    finish_all(2);
    assert_int_equal(counted(&seen.told), 1);
    assert_int_equal(counted(&seen.well), 1);
}

static int wait_on_top(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    meet();
    note(dist_job_wait(job[1], DIST_FOREVER));
    return 0;
}

/* Its thread runs the job that it waits for, on top of this task. */
static int run_another(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    dist_job *other = deferred(wait_on_top, X);
    dist_status status = other ? dist_job_start(other) : DIST_NOMEM;
    return status ? (int)status : (int)dist_job_finish(&other);
}

CASE_ON("G-04", a_circle_may_lead_through_a_job_that_its_waiter_runs, ON_HOST, 20) {
    job[0] = deferred(run_another, X);
    job[1] = deferred(wait_for_first, X);
    start_all(2);
    finish_all(2);
    assert_int_equal(counted(&seen.told), 1);
    assert_int_equal(counted(&seen.well), 1);
}

static int return_at_once(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    return 0;
}

static void wait_in_hook(const dist_event *event, void *user) {
    (void)event, (void)user;
    meet();
    note(dist_job_wait(job[1], DIST_FOREVER));
}

CASE_ON("G-04", a_circle_may_lead_through_a_hook, ON_ALL, 20) {
    if (!built(DIST_THREAD)) skip();
    job[0] = dist_map_async(return_at_once, numbers(), 1, DIST_NONE, .executor = X,
                            .on_finish = wait_in_hook, .deferred = true);
    job[1] = deferred(wait_for_first, DIST_THREAD);
    start_all(2);
    finish_all(2);
    assert_int_equal(counted(&seen.told), 1);
    assert_int_equal(counted(&seen.well), 1);
}

/* Late to say that there are no more: the task has waited, and looked around, before. */
static bool three_items(void *item, void *source) {
    int *left = source;
    if (*left == 0) nap(LONG_MS * 1e-3);
    *(int *)item = *left;
    return (*left)-- > 0;
}

static bool take(const dist_event *event, void *user) {
    (void)user;
    return event->error == NULL;
}

static int wait_in_stream(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    if (*(const int *)item == 2) note(dist_job_wait(job[0], DIST_FOREVER));
    return 0;
}

static int run_stream(void *result, const void *item, void *ctx) {
    int left = 3;
    bool unordered = *(bool *)ctx;
    (void)result, (void)item;
    return (int)dist_stream(wait_in_stream, int, int, three_items, &left, take, .executor = X,
                            .workers = 2, .unordered = unordered);
}

CASE_ON("G-04", a_circle_may_lead_through_a_stream, ON_HOST, 20) {
    for (int k = 0; k < 2; k++) {
        bool unordered = k == 1;
        job[0] = dist_apply_async(run_stream, DIST_NONE, DIST_NONE, .executor = X,
                                  .ctx = &unordered, .deferred = true);
        start_all(1);
        finish_all(1);
    }
    assert_int_equal(counted(&seen.told), 2);
    assert_int_equal(counted(&seen.well), 0);
}

/* ------------------------------------------------------------------ pools */

static int wait_for_pool(void *result, const void *item, void *ctx) {
    (void)result;
    if (*(const int *)item) return 0;
    meet();
    note(dist_pool_wait(ctx, DIST_FOREVER));
    return 0;
}

static int join_pool(void *result, const void *item, void *ctx) {
    (void)result;
    if (*(const int *)item) return 0;
    meet();
    dist_pool_close(ctx);
    note(dist_pool_join(ctx, DIST_FOREVER));
    return 0;
}

CASE_ON("G-04", two_pools_that_wait_for_each_other_are_a_circle, ON_THREAD, 20) {
    for (int k = 0; k < 2; k++) {
        memset(&seen, 0, sizeof seen);
        dist_pool *pool[2];
        for (int i = 0; i < 2; i++)
            assert_non_null(pool[i] = dist_pool_open(.executor = X, .workers = 2));
        for (int i = 0; i < 2; i++)
            job[i] = dist_map_async(k ? join_pool : wait_for_pool, numbers(), 2, DIST_NONE,
                                    .pool = pool[i], .ctx = pool[1 - i]);
        finish_all(2);
        for (int i = 0; i < 2; i++) dist_pool_free(&pool[i]);
        assert_int_equal(counted(&seen.told), 1);
        assert_int_equal(counted(&seen.well), 1);
    }
}

CASE_ON("F-14", jobs_of_one_full_pool_that_wait_for_each_other_are_a_circle, ON_THREAD, 20) {
    struct link link[2] = {{0, 2, WAIT}, {1, 2, WAIT}};
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2);
    for (unsigned k = 0; k < 2; k++)
        job[k] = dist_apply_async(wait_for_next_link, DIST_NONE, DIST_NONE, .pool = pool,
                                  .ctx = &link[k], .deferred = true);
    start_all(2);
    finish_all(2);
    dist_pool_free(&pool);
    assert_int_equal(counted(&seen.told), 1);
    assert_int_equal(counted(&seen.well), 1);
}

/* ------------------------------------------------------------------ waits that end */

static int take_long(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    count(&seen.begun);
    nap(LONG_MS * 1e-3);
    return 0;
}

static int wait_or_take_long(void *result, const void *item, void *ctx) {
    const struct link *link = ctx;
    if (link->self + 1 == link->n) return take_long(result, item, ctx);
    return wait_for_next_link(result, item, ctx);
}

CASE_ON("G-04", a_long_chain_of_waits_is_left_alone, ON_HOST, 20) {
    struct link link[MOST];
    party = MOST;
    for (unsigned k = 0; k < MOST; k++) {
        link[k] = (struct link){k, MOST, WAIT};
        job[k] = dist_apply_async(wait_or_take_long, DIST_NONE, DIST_NONE, .executor = X,
                                  .ctx = &link[k], .deferred = true);
    }
    start_all(MOST);
    finish_all(MOST);
    assert_int_equal(counted(&seen.well), MOST - 1);
}

static int wait_for_any_other(void *result, const void *item, void *ctx) {
    dist_job *others[3] = {job[1], NULL, job[2]};
    (void)result, (void)item, (void)ctx;
    meet();
    size_t first = dist_job_wait_any(others, 3, DIST_FOREVER);
    count(first == 2 ? &seen.well : &seen.other);
    return 0;
}

CASE_ON("G-04", a_wait_for_any_ends_if_one_of_them_does, ON_HOST, 20) {
    party = 3;
    job[0] = deferred(wait_for_any_other, X);
    job[1] = deferred(wait_for_first, X);
    job[2] = deferred(take_long, X);
    start_all(3);
    finish_all(3);
    assert_int_equal(counted(&seen.well), 2);
    assert_int_equal(counted(&seen.told), 0);
}

static int wait_in_item_one(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    meet();
    if (*(const int *)item == 0) nap(LONG_MS * 1e-3);
    else note(dist_job_wait(job[1], DIST_FOREVER));
    return 0;
}

/* The second item waits for this job: the first is for it to have, and the second never. */
static int take_items(void *result, const void *item, void *ctx) {
    dist_event event;
    (void)result, (void)item;
    meet();
    for (int k = 0; k < *(int *)ctx; k++) note(dist_job_next(job[0], &event, DIST_FOREVER));
    return 0;
}

CASE_ON("G-04", an_item_ends_before_its_job, ON_THREAD, 20) {
    party = 3;
    for (int items = 1; items <= 2; items++) {
        memset(&seen, 0, sizeof seen);
        job[0] = dist_map_async(wait_in_item_one, numbers(), 2, DIST_NONE, .executor = X,
                                .workers = 2, .chunk = 1, .deferred = true);
        job[1] = dist_apply_async(take_items, DIST_NONE, DIST_NONE, .executor = X, .ctx = &items,
                                  .deferred = true);
        start_all(2);
        finish_all(2);
        assert_int_equal(counted(&seen.told), items - 1);
        assert_int_equal(counted(&seen.well), 2);
    }
}

static int wait_a_while(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    meet();
    count(dist_job_wait(job[1], LONG_MS * 1e-3) == DIST_TIMEOUT ? &seen.other : &seen.told);
    return 0;
}

CASE_ON("G-04", a_circle_with_a_limit_opens_by_itself, ON_HOST, 20) {
    job[0] = deferred(wait_a_while, X);
    job[1] = deferred(wait_for_first, X);
    start_all(2);
    finish_all(2);
    assert_int_equal(counted(&seen.other), 1);
    assert_int_equal(counted(&seen.well), 1);
}

static int wait_though_late(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    meet();
    note(dist_job_wait(job[1], DIST_FOREVER));
    count(&seen.ended);
    return 0;
}

static int wait_for_the_abandoned(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    meet();
    count(dist_job_wait(job[0], DIST_FOREVER) == DIST_TIMEOUT ? &seen.other : &seen.told);
    return 0;
}

CASE_ON("G-04", an_abandoned_task_keeps_nobody_waiting, ON_THREAD, 20) {
    job[0] = dist_map_async(wait_though_late, numbers(), 1, DIST_NONE, .executor = X,
                            .abandon = true, .timeout = LONG_MS * 1e-3, .deferred = true);
    job[1] = deferred(wait_for_the_abandoned, X);
    start_all(2);
    assert_true(reaches(&seen.ended, 1));
    await_all(2);
    assert_int_equal(dist_job_finish(&job[0]), DIST_TIMEOUT);
    assert_int_equal(dist_job_finish(&job[1]), DIST_OK);
    assert_int_equal(counted(&seen.other), 1);
    assert_int_equal(counted(&seen.well), 1);
    assert_int_equal(counted(&seen.told), 0);
}
