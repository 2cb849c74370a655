/* contract_pipe_end.c - how stages end, and what their jobs are. */
#include "contract_pipe.h"

CASE("L-18", a_queue_that_is_closed_behind_a_stage_ends_it) {
    dist_queue *in = queue(2), *out = queue(2);
    struct producer p;
    dist_job *stage = dist_pipe(in, plus_one, out, .executor = X, .workers = 2);
    start_producer(&p, in, 1000000);
    long x;
    for (long i = 1; i < 6; i++) {
        assert_int_equal(dist_queue_get(out, &x, 10), DIST_OK);
        assert_int_equal(x, i);
    }
    dist_queue_close(out);
    pthread_join(p.thread, NULL);
    assert_int_equal(p.end, DIST_CLOSED);
    assert_int_equal(dist_job_finish(&stage), DIST_CLOSED);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

/* What a stage may wait for when it is told to end. */
enum { FOR_ITEMS, FOR_ROOM, FOR_A_TASK, WAITS };

static int until_told(void *result, const void *item, void *ctx) {
    if (!ctx) return plus_one(result, item, ctx);
    while (!dist_cancelled()) nap(0.001);
    return 1;
}

static dist_job *waiting_stage(int wait, dist_queue *in, dist_queue *out, dist_opts opts) {
    if (wait != FOR_ITEMS) fill(in, 20, false);
    if (wait == FOR_A_TASK) opts.ctx = &opts;
    dist_job *stage = dist_pipe_fn(in, until_told, out, &opts);
    nap(0.02);
    return stage;
}

static void check_both_closed(dist_queue *in, dist_queue *out) {
    long x = 1;
    while (dist_queue_get(out, &x, 10) == DIST_OK) continue;
    assert_int_equal(dist_queue_get(out, &x, 0), DIST_CLOSED);
    assert_int_equal(dist_queue_put(in, &x, 0), DIST_CLOSED);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

CASE("F-02", a_stage_is_cancelled_whatever_it_waits_for) {
    for (int wait = 0; wait < WAITS; wait++) {
        dist_queue *in = queue(20), *out = queue(2);
        dist_job *stage = waiting_stage(
            wait, in, out, (dist_opts){.size = sizeof(dist_opts), .executor = X, .workers = 2});
        assert_int_equal(dist_job_state(stage), DIST_RUNNING);
        assert_int_equal(dist_job_wait(stage, 0.01), DIST_TIMEOUT);
        assert_int_equal(dist_job_cancel(stage, true), DIST_OK);
        assert_int_equal(dist_job_wait(stage, 15), DIST_CANCELLED);
        assert_int_equal(dist_job_finish(&stage), DIST_CANCELLED);
        check_both_closed(in, out);
    }
}

/* All has been read, and not all has been delivered. */
CASE("F-02", a_stage_is_cancelled_behind_the_end_of_its_queue) {
    for (int unordered = 0; unordered < 2; unordered++) {
        dist_queue *in = queue(2), *out = queue(2);
        fill(in, X == DIST_INLINE ? 1 : 2, true);
        dist_job *stage = dist_pipe(in, until_told, out, .executor = X, .workers = 2, .ctx = &in,
                                    .unordered = unordered);
        for (double limit = now() + 10; dist_queue_length(in) > 0 && now() < limit;) nap(0.001);
        nap(0.02);
        assert_int_equal(dist_job_cancel(stage, true), DIST_OK);
        assert_int_equal(dist_job_wait(stage, 15), DIST_CANCELLED);
        dist_job_finish(&stage);
        check_both_closed(in, out);
    }
}

/* Nobody waits for ever for what a stage has taken and not delivered. */
CASE("L-14", a_stage_is_done_with_all_that_it_has_taken) {
    static const dist_fn fns[] = {all_fail, until_told};
    for (size_t k = 0; k < N(fns); k++) {
        dist_queue *in = queue(200), *out = queue(2);
        fill(in, 200, true);
        dist_job *stage = dist_pipe(in, fns[k], out, .executor = X, .in_flight = 100, .ctx = &in);
        nap(0.02);
        dist_job_cancel(stage, true);
        dist_job_finish(&stage);
        for (long x; dist_queue_get(in, &x, 0) == DIST_OK;) dist_queue_task_done(in);
        assert_int_equal(dist_queue_join(in, 0), DIST_OK);
        assert_int_equal(dist_queue_task_done(in), DIST_STATE);
        check_both_closed(in, out);
    }
}

CASE("F-02", a_token_ends_a_stage_whatever_it_waits_for) {
    for (int wait = 0; wait < WAITS; wait++) {
        dist_queue *in = queue(20), *out = queue(2);
        dist_token *token = dist_token_new();
        dist_job *stage = waiting_stage(
            wait, in, out, (dist_opts){.size = sizeof(dist_opts), .executor = X, .token = token});
        assert_int_equal(dist_job_state(stage), DIST_RUNNING);
        dist_token_cancel(token);
        assert_int_equal(dist_job_wait(stage, 15), DIST_CANCELLED);
        dist_job_finish(&stage);
        dist_token_free(token);
        check_both_closed(in, out);
    }
}

CASE("P-32", the_limit_of_a_stage_ends_it_whatever_it_waits_for) {
    for (int wait = 0; wait < WAITS; wait++) {
        dist_queue *in = queue(20), *out = queue(2);
        dist_job *stage = waiting_stage(
            wait, in, out, (dist_opts){.size = sizeof(dist_opts), .executor = X, .timeout = 0.1});
        assert_int_equal(dist_job_wait(stage, 15), DIST_TIMEOUT);
        assert_int_not_equal(dist_job_state(stage), DIST_RUNNING);
        dist_job_finish(&stage);
        check_both_closed(in, out);
    }
}

CASE("M-28", the_end_of_its_pool_ends_a_stage_whatever_it_waits_for) {
    for (int wait = 0; wait < WAITS; wait++) {
        dist_queue *in = queue(20), *out = queue(2);
        dist_pool *pool = dist_pool_open(.executor = X, .workers = 2);
        dist_job *stage =
            waiting_stage(wait, in, out, (dist_opts){.size = sizeof(dist_opts), .pool = pool});
        dist_pool_close(pool);
        assert_int_equal(dist_pool_join(pool, 0.02), DIST_TIMEOUT);
        assert_int_equal(dist_pool_terminate(pool), DIST_OK);
        assert_int_equal(dist_pool_join(pool, 15), DIST_OK);
        assert_int_equal(dist_job_wait(stage, 15), DIST_CANCELLED);
        dist_job_finish(&stage);
        dist_pool_free(&pool);
        check_both_closed(in, out);
    }
}

CASE("D-14", stages_share_a_pool) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2);
    dist_queue *a = queue(3), *b = queue(3), *c = queue(3);
    struct producer p;
    dist_job *first = dist_pipe(a, twice, b, .pool = pool);
    dist_job *second = dist_pipe(b, plus_one, c, .pool = pool);
    start_producer(&p, a, 200);
    assert_int_equal(expect_in_order(c, 2, 1), 200);
    pthread_join(p.thread, NULL);
    assert_int_equal(dist_job_finish(&first), DIST_OK);
    assert_int_equal(dist_job_finish(&second), DIST_OK);
    dist_pool_free(&pool);
    dist_queue_free(&a);
    dist_queue_free(&b);
    dist_queue_free(&c);
}

CASE("D-14", a_stage_that_is_refused_leaves_its_queues_as_they_are) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2);
    dist_queue *in = queue(3), *out = queue(3);
    dist_pool_close(pool);
    assert_null(dist_pipe(in, twice, out, .pool = pool));
    assert_int_equal(dist_last_error()->status, DIST_CLOSED);
    fill(in, 3, true);
    fill(out, 3, true);
    dist_pool_free(&pool);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

/* ------------------------------------------------------------------ a job like others */

CASE("M-05", a_deferred_stage_begins_when_it_is_started) {
    dist_queue *in = queue(9), *out = queue(9);
    fill(in, 9, true);
    dist_job *stage = dist_pipe(in, plus_one, out, .executor = X, .deferred = true);
    nap(0.02);
    assert_int_equal(dist_job_state(stage), DIST_PENDING);
    assert_int_equal(dist_queue_length(in), 9);
    assert_int_equal(dist_job_start(stage), DIST_OK);
    assert_int_equal(dist_job_start(stage), DIST_STATE);
    assert_int_equal(expect_in_order(out, 1, 1), 9);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

CASE("M-05", a_stage_that_never_begins_closes_its_queues) {
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        dist_queue *in = queue(9), *out = queue(9);
        dist_job *stage = dist_pipe(in, plus_one, out, .executor = X, .deferred = true);
        if (cancelled) {
            assert_int_equal(dist_job_cancel(stage, false), DIST_OK);
            assert_int_equal(dist_job_state(stage), DIST_CANCELLED);
            long x;
            assert_int_equal(dist_queue_get(out, &x, 0), DIST_CLOSED);
        }
        dist_job_finish(&stage);
        check_both_closed(in, out);
    }
}

CASE("M-16", a_detached_stage_goes_on) {
    dist_queue *in = queue(3), *out = queue(3);
    struct producer p;
    dist_job *stage = dist_pipe(in, plus_one, out, .executor = X);
    assert_int_equal(dist_job_detach(&stage), DIST_OK);
    assert_null(stage);
    start_producer(&p, in, 100);
    assert_int_equal(expect_in_order(out, 1, 1), 100);
    pthread_join(p.thread, NULL);
    dist_queue_free(&in); /* waits until the stage has done with it */
    dist_queue_free(&out);
}

static int waits_for_itself(void *result, const void *item, void *ctx) {
    (void)item;
    *(long *)result = dist_job_wait(*(dist_job **)ctx, DIST_FOREVER);
    return 0;
}

CASE_ON("F-12", a_task_that_waits_for_its_stage_is_told, ON_THREAD | ON_INLINE, 20) {
    dist_queue *in = queue(3), *out = queue(3);
    dist_job *stage = dist_pipe(in, waits_for_itself, out, .executor = X, .ctx = &stage);
    fill(in, 1, true);
    long x = 0;
    assert_int_equal(dist_queue_get(out, &x, 10), DIST_OK);
    assert_int_equal(x, DIST_DEADLOCK);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    dist_queue_free(&in);
    dist_queue_free(&out);
}

/* A task renews itself: it puts its successor into its own queue. */
static int renew(void *result, const void *item, void *ctx) {
    dist_queue *own = *(dist_queue **)ctx;
    long left = *(const long *)item - 1;
    (void)result;
    return left > 0 ? (int)dist_queue_put(own, &left, 5) : (int)dist_queue_close(own);
}

CASE_ON("L-17", a_task_puts_its_successor_ten_thousand_deep, ON_THREAD | ON_INLINE, 60) {
    dist_queue *q = queue(2);
    dist_job *stage = dist_pipe(q, renew, NULL, .executor = X, .workers = 2, .ctx = &q);
    long depth = 10000;
    assert_int_equal(dist_queue_put(q, &depth, 0), DIST_OK);
    assert_int_equal(dist_job_finish(&stage), DIST_OK);
    assert_int_equal(dist_queue_join(q, 0), DIST_OK);
    dist_queue_free(&q);
}

static int for_a_while(void *result, const void *item, void *ctx) {
    nap(0.01);
    return dist_attempt() == 1 && *(const long *)item == 3 ? 1 : plus_one(result, item, ctx);
}

CASE("D-21", a_stage_tells_how_busy_it_was) {
    dist_queue *in = queue(12), *out = queue(12);
    dist_stats stats;
    fill(in, 12, false);
    dist_job *stage = dist_pipe(in, for_a_while, out, .executor = X, .workers = 2, .retries = 1);
    assert_int_equal(dist_job_stats(stage, &stats), DIST_STATE);
    dist_queue_close(in);
    assert_int_equal(dist_job_wait(stage, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_stats(stage, &stats), DIST_OK);
    assert_int_equal(stats.executor, X);
    assert_int_equal(stats.tasks, 13);
    assert_int_equal(stats.retried, 1);
    assert_int_equal(stats.failed, 0);
    assert_int_equal(stats.workers, X == DIST_INLINE ? 1 : 2);
    assert_true(stats.busy >= 0.12 && stats.max >= 0.009);
    assert_true(stats.wall * stats.workers >= 0.12);
    assert_true(stats.busy + stats.waiting <= 1.001 * stats.wall * stats.workers);
    dist_job_finish(&stage);
    dist_queue_free(&in);
    dist_queue_free(&out);
}
