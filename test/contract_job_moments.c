/* contract_job_moments.c - jobs that are cancelled at any moment, in any state, many at a time. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ITEMS = 24 };

struct canceller {
    pthread_t thread;
    dist_job *job;
    _Atomic(unsigned) go, gone;
    uint32_t random;
    unsigned most; /* microseconds */
    bool running_too;
    dist_status got;
};

/* A thread that cancels at a random moment after it has been let go. */
static void *cancel_at_random(void *arg) {
    struct canceller *canceller = arg;
    while (!counted(&canceller->go)) {
    }
    random_spin(&canceller->random, canceller->most);
    canceller->got = dist_job_cancel(canceller->job, canceller->running_too);
    return NULL;
}

static int quick_or_slow(void *result, const void *item, void *ctx) {
    uint32_t state = 1 + dist_attempt() + (uint32_t) * (const int *)item * *(unsigned *)ctx;
    *(int *)result = 10 * *(const int *)item;
    random_spin(&state, 30);
    return 0;
}

static int fail_sometimes(void *result, const void *item, void *ctx) {
    quick_or_slow(result, item, ctx);
    return dist_attempt() == 1 && *(const int *)item % 5 == 2 ? dist_fail(1, "once") : 0;
}

static void look_away(const dist_event *event, void *user) { (void)event, (void)user; }

/* Its options differ from round to round. */
static dist_job *any_job(unsigned round, unsigned *seed, int *out, bool deferred) {
    dist_opts opts = *DIST_OPTS(.executor = X, .workers = 1 + round % 4, .ctx = seed,
                                .deferred = deferred, .unordered = round % 2);
    if (round % 3 == 1) opts.on_finish = look_away;
    if (round % 5 == 1) opts.retries = 1, opts.backoff = 0.0002;
    if (round % 7 == 1) opts.timeout = 60;
    if (round % 4 == 1) opts.chunk = 1 + round % 6;
    return go(round % 8 == 6 ? PAR : MAP, round % 5 == 1 ? fail_sometimes : quick_or_slow, ITEMS,
              out, &opts);
}

/* Each item is right, or was not delivered as such and is not there. */
static void check_end(struct canceller *canceller, dist_status status, const int *out) {
    dist_job *job = canceller->job;
    if (status != DIST_OK && status != DIST_CANCELLED)
        fail_msg("%s: %s", dist_status_name(status), dist_last_error()->message);
    if (status == DIST_CANCELLED) assert_int_equal(canceller->got, DIST_OK);
    else if (!canceller->running_too) assert_true(canceller->got != DIST_OK);
    else assert_true(canceller->got == DIST_OK || canceller->got == DIST_STATE);
    check_out(job, out);
    for (size_t i = 0; i < ITEMS; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        if (!e || (status && (e->status == DIST_CANCELLED || e->status == DIST_SKIPPED))) continue;
        if (status && e->status == DIST_FAILED && i % 5 == 2) continue; /* one attempt of two */
        fail_msg("item %zu: %s, %s", i, dist_status_name(e->status), e->message);
    }
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), status);
    assert_int_equal(dist_job_finish(&job), status);
}

static dist_status wait_somehow(dist_job *job, unsigned how) {
    dist_event event;
    size_t taken = 0;
    if (how == 0) return dist_job_wait(job, DIST_FOREVER);
    if (how == 1) {
        while (dist_job_next(job, &event, DIST_FOREVER) == DIST_OK) taken++;
        assert_int_equal(taken, ITEMS);
    } else if (how == 2) {
        assert_int_equal(dist_job_wait_any(&job, 1, DIST_FOREVER), 0);
    } else {
        while (dist_job_wait(job, 0.0003) == DIST_TIMEOUT) continue;
    }
    return dist_job_wait(job, DIST_FOREVER);
}

CASE_ON("F-02", a_job_may_be_cancelled_at_any_moment, ON_ALL, 120) {
    uint32_t random = random_seed();
    unsigned cancelled = 0, done = 0, limit = rounds(1000, 400);
    for (; again(done, limit); done++) {
        struct canceller canceller = {.random = random_next(&random),
                                      .most = 1u << random_below(&random, 12),
                                      .running_too = done % 8 != 7};
        unsigned seed = random_next(&random);
        int out[ITEMS];
        memset(out, -1, sizeof out);
        bool deferred = X == DIST_INLINE || done % 6 == 5;
        canceller.job = any_job(done, &seed, out, deferred);
        assert_non_null(canceller.job);
        assert_int_equal(pthread_create(&canceller.thread, NULL, cancel_at_random, &canceller), 0);
        count(&canceller.go);
        if (deferred) dist_job_start(canceller.job); /* DIST_STATE if it was cancelled before */
        dist_status status = wait_somehow(canceller.job, done % 4);
        pthread_join(canceller.thread, NULL);
        cancelled += status == DIST_CANCELLED;
        check_end(&canceller, status, out);
    }
    printf("%u of %u were cancelled\n", cancelled, done);
}

CASE_ON("F-02", four_threads_cancel_the_same_job, ON_THREAD | ON_PROCESS, 60) {
    enum { THREADS = 4 };
    uint32_t random = random_seed();
    for (unsigned round = 0; again(round, rounds(300, 100)); round++) {
        struct canceller cancellers[THREADS];
        unsigned seed = round;
        int out[ITEMS];
        memset(out, -1, sizeof out);
        dist_job *job = any_job(round, &seed, out, round % 3 == 0);
        for (int k = 0; k < THREADS; k++) {
            cancellers[k] = (struct canceller){
                .job = job, .random = random_next(&random), .most = 200, .running_too = true};
            assert_int_equal(
                pthread_create(&cancellers[k].thread, NULL, cancel_at_random, &cancellers[k]), 0);
        }
        for (int k = 0; k < THREADS; k++) count(&cancellers[k].go);
        if (round % 3 == 0) dist_job_start(job);
        dist_status status = dist_job_wait(job, DIST_FOREVER);
        for (int k = 0; k < THREADS; k++) pthread_join(cancellers[k].thread, NULL);
        for (int k = 1; k < THREADS; k++) /* if it was cancelled, then for all */
            if (status == DIST_CANCELLED) assert_int_equal(cancellers[k].got, DIST_OK);
        check_end(&cancellers[0], status, out);
    }
}

CASE_ON("F-02", many_jobs_are_cancelled_at_once, ON_THREAD | ON_PROCESS, 60) {
    NOT_IN_PROCESS_POOLS("each job would have a pool of its own");
    enum { MANY = 200 };
    static dist_job *jobs[MANY];
    static int out[MANY];
    struct scene *scene = new_scene();
    memset(out, -1, sizeof out);
    for (int k = 0; k < MANY; k++)
        jobs[k] = dist_apply_async(pass_gate, &numbers()[k], &out[k], .executor = X, .ctx = scene,
                                   .deferred = k % 5 == 0);
    assert_true(reaches(&scene->begun, most_jobs()));
    double start = now();
    for (int k = 0; k < MANY; k++) assert_int_equal(dist_job_cancel(jobs[k], true), DIST_OK);
    for (int k = MANY; k-- > 0;) {
        assert_int_equal(dist_job_wait(jobs[k], DIST_FOREVER), DIST_CANCELLED);
        assert_int_equal(out[k], -1);
        assert_int_equal(dist_job_finish(&jobs[k]), DIST_CANCELLED);
    }
    ASSERT_SOON(start);
    assert_in_range(counted(&scene->begun), most_jobs(), MANY - MANY / 5);
}

/* ------------------------------------------------------------------ while nothing runs */

static int fail_always(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    return dist_fail(7, "again");
}

static void *cancel_soon(void *arg) {
    struct canceller *canceller = arg;
    reaches(&canceller->go, 1);
    nap(0.02);
    canceller->got = dist_job_cancel(canceller->job, true);
    return NULL;
}

static struct canceller *pausing; /* made before the options, which may open a pool */

static void prepare_pausing(void) { pausing = shared_memory(sizeof *pausing); }

static void cancel_pausing(dist_fn fn, const dist_opts *given, unsigned items) {
    struct canceller *canceller = pausing;
    dist_opts opts = *given;
    int out[ITEMS];
    memset(out, -1, sizeof out);
    opts.executor = X, opts.deferred = true, opts.ctx = (void *)&canceller->go;
    opts.user = (void *)&canceller->go;
    canceller->job = go(MAP, fn, items, out, &opts);
    assert_int_equal(pthread_create(&canceller->thread, NULL, cancel_soon, canceller), 0);
    double start = now();
    assert_int_equal(dist_job_start(canceller->job), DIST_OK);
    dist_job *job = canceller->job;
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CANCELLED);
    ASSERT_SOON(start);
    pthread_join(canceller->thread, NULL);
    assert_int_equal(canceller->got, DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
}

CASE("F-02", a_job_is_cancelled_in_a_pause) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (unsigned items = 1; items < 4; items++) {
            prepare_pausing();
            cancel_pausing(fail_always, DIST_OPTS(.workers = workers, .retries = 9, .backoff = 60),
                           items);
        }
}

static int count_and_end(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    return 0;
}

CASE("F-02", a_job_is_cancelled_while_it_waits_for_its_turn) {
    for (unsigned workers = 1; workers < 4; workers++) {
        prepare_pausing();
        cancel_pausing(count_and_end, DIST_OPTS(.workers = workers, .rate = 0.01), 3);
    }
}

static int init_slowly(void **state, unsigned worker, void *user) {
    (void)state, (void)worker;
    count(user);
    nap(0.1);
    return 0;
}

CASE("F-02", a_job_is_cancelled_while_its_workers_begin) {
    NOT_IN_POOLS("the call has a worker_init");
    for (unsigned workers = 1; workers < 4; workers++) {
        prepare_pausing();
        cancel_pausing(pass_gate, DIST_OPTS(.workers = workers, .worker_init = init_slowly), 5);
    }
}

static int listen_by_a_call(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    for (;;) {
        dist_status status = dist_map(count_and_end, numbers(), 3, DIST_NONE, .executor = X,
                                      .ctx = ctx, .rate = 1000);
        if (status) return dist_fail((int)status, "told");
    }
}

CASE("F-02", calls_in_the_tasks_of_a_cancelled_job_end_too) {
    for (unsigned workers = 1; workers < 4; workers++) {
        prepare_pausing();
        cancel_pausing(listen_by_a_call, DIST_OPTS(.workers = workers), 2);
    }
}
