/* contract_pool_jobs.c - jobs in pools: their order, how many may wait, who gives them up. */
#define _GNU_SOURCE
#include "contract_pools.h"

#include <stdlib.h>

/* ------------------------------------------------------------------ order */

enum { JOBS = 40 };

struct order {
    struct place place;
    _Atomic(unsigned) next, at[JOBS]; /* 1 for the first that began */
};

static int sign_in(void *result, const void *item, void *ctx) {
    struct order *order = ctx;
    int k = *(const int *)item;
    (void)result;
    atomic_store(&order->at[k], atomic_fetch_add(&order->next, 1) + 1);
    nap(0.0002);
    return 0;
}

static int sign_in_first(void *result, const void *item, void *ctx) {
    return dist_index() == 0 ? sign_in(result, item, ctx) : 0;
}

WORKER_CASE("M-01", jobs_begin_in_the_order_in_which_they_were_submitted) {
    for (unsigned workers = 1; workers < 4; workers += 2)
        for (size_t items = 1; items < 4; items += 2) {
            struct order *order = shared_memory(sizeof *order);
            dist_pool *pool = open_pool(workers);
            dist_job *first[3], *job[JOBS];
            int number[JOBS][3];
            for (unsigned k = 0; k < workers; k++)
                first[k] = dist_apply_async(stay, DIST_NONE, DIST_NONE, .pool = pool, .ctx = order);
            for (int k = 0; k < JOBS; k++) {
                for (int i = 0; i < 3; i++) number[k][i] = k;
                job[k] = dist_map_async(sign_in_first, number[k], items, DIST_NONE, .pool = pool,
                                        .ctx = order);
                assert_non_null(job[k]);
            }
            assert_int_equal(dist_job_state(job[JOBS - 1]), DIST_RUNNING);
            count(&order->place.gate);
            for (unsigned k = 0; k < workers; k++)
                assert_int_equal(dist_job_finish(&first[k]), DIST_OK);
            assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
            for (unsigned k = 0; k < JOBS; k++) {
                /* n begin together, and a thread may be late: not before k - n others */
                assert_in_range(counted(&order->at[k]) + workers - 1, k + 1, 2 * JOBS);
                if (workers == 1) assert_int_equal(counted(&order->at[k]), k + 1);
                assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
            }
            dist_pool_free(&pool);
        }
}

/* ------------------------------------------------------------------ room */

struct submitter {
    dist_pool *pool;
    struct place *place;
    dist_job *job;
    dist_status status;
    _Atomic(unsigned) done;
};

static void *submit_one(void *arg) {
    struct submitter *s = arg;
    s->job = dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = s->pool, .ctx = s->place);
    s->status = s->job ? DIST_OK : dist_last_error()->status;
    count(&s->done);
    return NULL;
}

static void *start_one(void *arg) {
    struct submitter *s = arg;
    s->status = dist_job_start(s->job);
    count(&s->done);
    return NULL;
}

/* One job under way, and as many in the list as there is room for. */
struct full {
    struct place *place;
    dist_pool *pool;
    dist_job *running, *waiting[2];
};

static struct full fill_pool(void) {
    struct full full = {.place = new_place()};
    full.pool = dist_pool_open(.executor = X, .workers = 1, .max_pending = 2);
    assert_non_null(full.pool);
    full.running =
        dist_apply_async(stay, DIST_NONE, DIST_NONE, .pool = full.pool, .ctx = full.place);
    assert_true(reaches(&full.place->begun, 1));
    for (int k = 0; k < 2; k++) {
        full.waiting[k] = dist_map_async(visit, numbers(), 2, DIST_NONE, .pool = full.pool,
                                         .ctx = full.place, .no_wait = true);
        assert_non_null(full.waiting[k]);
    }
    return full;
}

static void empty_pool(struct full *full) {
    count(&full->place->gate);
    assert_int_equal(dist_job_finish(&full->running), DIST_OK);
    for (int k = 0; k < 2; k++) assert_int_equal(dist_job_finish(&full->waiting[k]), DIST_OK);
    dist_pool_free(&full->pool);
}

WORKER_CASE("L-08", a_full_pool_refuses_jobs_that_do_not_wait) {
    struct full full = fill_pool();
    for (int k = 0; k < 3; k++) {
        dist_error error;
        assert_null(dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = full.pool,
                                     .ctx = full.place, .no_wait = true, .error = &error));
        assert_int_equal(error.status, DIST_FULL);
        assert_named("2 jobs");
    }
    dist_job *job = dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = full.pool,
                                     .ctx = full.place, .no_wait = true, .deferred = true);
    assert_non_null(job);
    assert_int_equal(dist_job_start(job), DIST_FULL);
    assert_int_equal(dist_job_state(job), DIST_PENDING);
    count(&full.place->gate);
    assert_int_equal(dist_pool_wait(full.pool, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_start(job), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(counted(&full.place->ended), 6);
    empty_pool(&full);
}

WORKER_CASE("L-08", a_full_pool_makes_submitters_wait) {
    struct full full = fill_pool();
    struct submitter s = {.pool = full.pool, .place = full.place};
    pthread_t thread = begin_thread(submit_one, &s);
    nap(0.05);
    assert_int_equal(counted(&s.done), 0);
    count(&full.place->gate);
    pthread_join(thread, NULL);
    assert_int_equal(s.status, DIST_OK);
    assert_int_equal(dist_job_finish(&s.job), DIST_OK);
    empty_pool(&full);
}

/* Its own room may depend on it. */
static int submit_inside(void *result, const void *item, void *ctx) {
    dist_pool **pool = ctx;
    static int out[5][3];
    int refused = 0;
    (void)item;
    for (int k = 0; k < 5; k++) {
        dist_job *job = dist_map_async(ten_times, numbers(), 3, out[k], .pool = *pool);
        refused += !job && dist_last_error()->status == DIST_FULL;
        dist_job_detach(&job);
    }
    *(int *)result = refused;
    return 0;
}

CASE_ON("L-08", a_task_does_not_wait_for_room_in_its_pool, ON_THREAD, 20) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 1, .max_pending = 2);
    int refused = 0;
    dist_job *job =
        dist_apply_async(submit_inside, DIST_NONE, &refused, .pool = pool, .ctx = (void *)&pool);
    assert_int_equal(dist_job_wait(job, 60), DIST_OK); /* by the worker, not by this thread */
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(refused, 3);
    dist_pool_free(&pool);
}

WORKER_CASE("L-08", closing_lets_submitters_finish_and_terminating_does_not) {
    for (int terminate = 0; terminate < 2; terminate++) {
        struct full full = fill_pool();
        struct submitter s = {.pool = full.pool, .place = full.place};
        pthread_t thread = begin_thread(submit_one, &s);
        nap(0.03);
        assert_int_equal(counted(&s.done), 0);
        assert_int_equal(terminate ? dist_pool_terminate(full.pool) : dist_pool_close(full.pool),
                         DIST_OK);
        if (!terminate) count(&full.place->gate);
        pthread_join(thread, NULL);
        assert_int_equal(s.status, terminate ? DIST_CLOSED : DIST_OK);
        assert_int_equal(dist_pool_join(full.pool, DIST_FOREVER), DIST_OK);
        dist_status end = terminate ? DIST_CANCELLED : DIST_OK;
        if (s.job) assert_int_equal(dist_job_finish(&s.job), end);
        assert_int_equal(dist_job_finish(&full.running), end);
        for (int k = 0; k < 2; k++) assert_int_equal(dist_job_finish(&full.waiting[k]), end);
        if (!terminate) assert_int_equal(counted(&full.place->ended), 6);
        else if (X != DIST_PROCESS) assert_int_equal(counted(&full.place->ended), 1);
        dist_pool_free(&full.pool);
    }
}

WORKER_CASE("L-08", a_job_that_waits_for_room_may_be_cancelled) {
    struct full full = fill_pool();
    struct submitter s = {.pool = full.pool};
    s.job = dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = full.pool, .ctx = full.place,
                             .deferred = true);
    pthread_t thread = begin_thread(start_one, &s);
    while (dist_job_state(s.job) == DIST_PENDING) nap(0.001);
    nap(0.03);
    assert_int_equal(counted(&s.done), 0);
    assert_int_equal(dist_job_cancel(s.job, false), DIST_OK);
    pthread_join(thread, NULL);
    assert_int_equal(s.status, DIST_OK);
    assert_int_equal(dist_job_finish(&s.job), DIST_CANCELLED);
    empty_pool(&full);
}

static void *cancel_soon(void *token) {
    nap(0.05);
    dist_token_cancel(token);
    return NULL;
}

WORKER_CASE("P-32", whoever_waits_for_room_has_a_limit_and_a_token) {
    struct full full = fill_pool();
    double begin = now();
    assert_null(dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = full.pool, .ctx = full.place,
                                 .timeout = 0.05));
    assert_int_equal(dist_last_error()->status, DIST_TIMEOUT);
    assert_true(now() - begin >= 0.05);
    assert_true(now() - begin < 10);
    dist_token *token = dist_token_new();
    pthread_t thread = begin_thread(cancel_soon, token);
    assert_null(dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = full.pool, .ctx = full.place,
                                 .token = token));
    assert_int_equal(dist_last_error()->status, DIST_CANCELLED);
    pthread_join(thread, NULL);
    assert_true(now() - begin < 10);
    dist_token_free(token);
    empty_pool(&full);
    assert_int_equal(counted(&full.place->ended), 5);
}

WORKER_CASE("F-02", a_stage_that_waits_for_room_is_cancelled) {
    struct full full = fill_pool();
    for (int by_limit = 0; by_limit < 2; by_limit++) {
        dist_queue *in = dist_queue_open(.item_size = sizeof(int), .capacity = 2);
        double begin = now();
        assert_int_equal(dist_queue_put(in, &(int){1}, 0), DIST_OK);
        dist_job *stage =
            dist_pipe(in, ten_times, NULL, .pool = full.pool, .timeout = by_limit ? 0.1 : 0);
        assert_non_null(stage);
        while (dist_queue_length(in)) nap(0.001);
        nap(0.02);
        assert_int_equal(dist_job_state(stage), DIST_RUNNING);
        if (!by_limit) assert_int_equal(dist_job_cancel(stage, true), DIST_OK);
        assert_int_equal(dist_job_wait(stage, 15), by_limit ? DIST_TIMEOUT : DIST_CANCELLED);
        assert_true(now() - begin < 10);
        dist_job_finish(&stage);
        assert_int_equal(dist_queue_join(in, 0), DIST_OK);
        dist_queue_free(&in);
    }
    empty_pool(&full);
}

WORKER_CASE("F-02", a_job_that_is_cancelled_makes_room) {
    struct full full = fill_pool();
    assert_int_equal(dist_job_cancel(full.waiting[0], false), DIST_OK);
    assert_int_equal(dist_job_finish(&full.waiting[0]), DIST_CANCELLED);
    full.waiting[0] = dist_apply_async(visit, DIST_NONE, DIST_NONE, .pool = full.pool,
                                       .ctx = full.place, .no_wait = true);
    assert_non_null(full.waiting[0]);
    assert_int_equal(dist_job_cancel(full.running, false), DIST_RUNNING);
    empty_pool(&full);
    assert_int_equal(counted(&full.place->ended), 4);
}

/* ------------------------------------------------------------------ jobs that are given up */

static void told_of(const dist_event *event, void *user) {
    struct place *place = user;
    (void)event;
    count(&place->told);
}

POOL_CASE("F-01", a_detached_job_runs_to_its_end) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    for (int k = 0; k < 30; k++) {
        dist_job *job = dist_map_async(visit, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place,
                                       .on_finish = told_of, .user = place);
        assert_non_null(job);
        assert_int_equal(dist_job_detach(&job), DIST_OK);
        assert_null(job);
        assert_int_equal(dist_job_detach(&job), DIST_OK);
    }
    assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
    assert_int_equal(counted(&place->told), 90);
    assert_int_equal(counted(&place->ended), 90);
    dist_pool_free(&pool);
}

POOL_CASE("F-01", what_was_never_started_cannot_be_detached) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    dist_job *job = dist_map_async(visit, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place,
                                   .deferred = true);
    assert_int_equal(dist_job_detach(&job), DIST_STATE);
    assert_non_null(job);
    assert_int_equal(dist_job_start(job), DIST_OK);
    assert_int_equal(dist_job_detach(&job), DIST_OK);
    dist_pool_free(&pool);
    assert_int_equal(counted(&place->ended), 3);
}

POOL_CASE("F-01", ended_jobs_and_those_without_a_pool_may_be_detached) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    dist_job *job = NULL;
    assert_int_equal(
        dist_map(visit, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place, .job = &job), DIST_OK);
    assert_int_equal(dist_job_detach(&job), DIST_OK);
    job = dist_map_async(visit, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_detach(&job), DIST_OK);
    job = dist_map_async(visit, numbers(), 3, DIST_NONE, .executor = X, .ctx = place);
    assert_int_equal(dist_job_detach(&job), DIST_OK);
    assert_true(reaches(&place->ended, 9));
    dist_pool_free(&pool);
}

WORKER_CASE("M-20", detached_jobs_end_with_their_pool) {
    struct place *place = new_place();
    dist_pool *pool = open_pool(2);
    for (int k = 0; k < 20; k++) {
        dist_job *job = dist_map_async(stay, numbers(), 3, DIST_NONE, .pool = pool, .ctx = place);
        assert_int_equal(dist_job_detach(&job), DIST_OK);
    }
    assert_true(reaches(&place->begun, 2));
    assert_int_equal(dist_pool_terminate(pool), DIST_OK);
    dist_pool_free(&pool);
    if (X != DIST_PROCESS) assert_int_equal(counted(&place->ended), counted(&place->begun));
    assert_in_range(counted(&place->begun), 2, 4);
}

/* ------------------------------------------------------------------ results as they come */

WORKER_CASE("M-17", items_of_jobs_in_pools_are_delivered_as_they_end) {
    for (int unordered = 0; unordered < 2; unordered++)
        for (unsigned workers = 1; workers < 4; workers++) {
            int out[PRIME];
            dist_pool *pool = open_pool(workers);
            dist_job *job = dist_map_async(ten_times, numbers(), PRIME, out, .pool = pool,
                                           .unordered = unordered);
            dist_event event;
            bool seen[PRIME] = {false};
            for (size_t k = 0; k < PRIME; k++) {
                assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
                assert_true(event.index < PRIME && !seen[event.index]);
                if (!unordered) assert_int_equal(event.index, k);
                seen[event.index] = true;
                assert_int_equal(*(const int *)event.result, 10 * (int)event.index);
            }
            assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_EMPTY);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
            dist_pool_free(&pool);
        }
}
