/* contract_pool_init.c - what the workers of a pool keep between calls: numbers, states, places. */
#define _GNU_SOURCE
#include "contract_pools.h"

#include <unistd.h>

enum { WORKERS = 4, ITEMS = 200 };

/* One worker's "connection", from init to exit. */
struct link {
    _Atomic(unsigned) opened, closed, uses, users;
    unsigned number;
    int thread, process;
};

struct office {
    dist_pool *pool; /* for nested calls */
    _Atomic(unsigned) wrong, failing, tries;
    struct link link[WORKERS];
};

static void expect(struct office *office, bool right) {
    if (!right) count(&office->wrong);
}

static int open_link(void **state, unsigned worker, void *user) {
    struct office *office = user;
    count(&office->tries);
    expect(office, *state == NULL && dist_worker() == worker && worker < WORKERS);
    if (counted(&office->failing)) return dist_fail(7, "no database for %u", worker);
    struct link *link = &office->link[worker];
    count(&link->opened);
    link->number = worker;
    link->thread = thread_id();
    link->process = getpid();
    *state = link;
    return 0;
}

static void close_link(void *state, unsigned worker, void *user) {
    struct office *office = user;
    struct link *link = state;
    expect(office, link == &office->link[worker] && dist_worker() == worker);
    expect(office, dist_worker_state() == state);
    expect(office, link->process == getpid());
    expect(office, X == DIST_INLINE || link->thread == thread_id());
    count(&link->closed);
}

static int query(void *result, const void *item, void *ctx) {
    struct office *office = ctx;
    struct link *link = dist_worker_state();
    expect(office, link && link->number == dist_worker());
    if (!link) return 1;
    expect(office, counted(&link->opened) == counted(&link->closed) + 1);
    expect(office, X == DIST_INLINE || link->thread == thread_id());
    expect(office, atomic_fetch_add(&link->users, 1) == 0); /* one task at a time */
    count(&link->uses);
    if (dist_index() % 16 == 0) nap(0.0005);
    atomic_fetch_sub(&link->users, 1);
    *(int *)result = 10 * *(const int *)item;
    return 0;
}

static dist_pool *open_office(struct office *office, unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = workers, .worker_init = open_link,
                                     .worker_exit = close_link, .user = office);
    assert_non_null(pool);
    return pool;
}

static void check_links(struct office *office, unsigned uses) {
    unsigned used = 0;
    assert_int_equal(counted(&office->wrong), 0);
    for (int k = 0; k < WORKERS; k++) {
        assert_in_range(counted(&office->link[k].opened), 0, 1);
        assert_int_equal(counted(&office->link[k].closed), counted(&office->link[k].opened));
        used += counted(&office->link[k].uses);
    }
    assert_int_equal(used, uses);
}

static void *query_often(void *arg) {
    void **both = arg;
    for (int k = 0; k < 5; k++) {
        int out[ITEMS];
        if (dist_map(query, numbers(), ITEMS, out, .pool = both[0], .ctx = both[1])) return both;
    }
    return NULL;
}

POOL_CASE("D-17", a_connection_serves_all_calls_of_its_worker) {
    struct office *office = shared_memory(sizeof *office);
    dist_pool *pool = open_office(office, WORKERS);
    pthread_t thread[3];
    void *both[2] = {pool, office}, *failed;
    for (size_t k = 0; k < N(thread); k++) thread[k] = begin_thread(query_often, both);
    for (size_t k = 0; k < N(thread); k++) {
        pthread_join(thread[k], &failed);
        assert_null(failed);
    }
    for (int k = 0; k < 20; k++) {
        int one = k, out = 0;
        dist_job *job = dist_apply_async(query, &one, &out, .pool = pool, .ctx = office);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_int_equal(out, 10 * k);
    }
    for (int k = 0; k < WORKERS; k++) assert_int_equal(counted(&office->link[k].closed), 0);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_OK); /* the exits are a part of it */
    check_links(office, 3 * 5 * ITEMS + 20);
    dist_pool_free(&pool);
    check_links(office, 3 * 5 * ITEMS + 20);
}

POOL_CASE("D-17", a_pool_without_work_opens_no_connection) {
    struct office *office = shared_memory(sizeof *office);
    dist_pool *pool = open_office(office, WORKERS);
    assert_int_equal(dist_map(query, numbers(), 0, DIST_NONE, .pool = pool, .ctx = office),
                     DIST_OK);
    dist_pool_free(&pool);
    assert_int_equal(counted(&office->tries), 0);
}

/* A nested call has the state of the worker that runs its task. */
static int query_below(void *result, const void *item, void *ctx) {
    struct office *office = ctx;
    void *mine = dist_worker_state();
    unsigned number = dist_worker();
    int out[3];
    dist_status status = dist_map(query, numbers(), 3, out, .pool = office->pool, .ctx = office);
    expect(office, mine && mine == dist_worker_state() && number == dist_worker());
    *(int *)result = 10 * *(const int *)item;
    return (int)status;
}

CASE_ON("D-17", nested_calls_find_the_state_of_their_worker, ON_INLINE | ON_THREAD, 20) {
    for (unsigned workers = 1; workers <= WORKERS; workers++) {
        struct office *office = shared_memory(sizeof *office);
        dist_pool *pool = open_office(office, workers);
        office->pool = pool;
        int out[40];
        assert_int_equal(dist_map(query_below, numbers(), 40, out, .pool = pool, .ctx = office),
                         DIST_OK);
        check_tens(out, 40);
        dist_pool_free(&pool);
        check_links(office, 120);
    }
}

POOL_CASE("M-03", a_failed_init_fails_calls_and_the_next_tries_again) {
    for (unsigned workers = 1; workers <= WORKERS; workers += 3) {
        struct office *office = shared_memory(sizeof *office);
        count(&office->failing);
        dist_pool *pool = open_office(office, workers);
        int out[ITEMS];
        memset(out, -1, sizeof out);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(dist_map(query, numbers(), ITEMS, out, .pool = pool, .ctx = office),
                             DIST_FAILED);
            assert_named("worker_init: no database for");
            assert_int_equal(dist_last_error()->code, 7);
            dist_job *job = dist_map_async(query, numbers(), ITEMS, out, .pool = pool,
                                           .ctx = office, .silent = true);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_FAILED);
            dist_job_finish(&job);
        }
        for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], -1);
        assert_in_range(counted(&office->tries), 6, 6 * workers);
        atomic_store(&office->failing, 0);
        assert_int_equal(dist_map(query, numbers(), ITEMS, out, .pool = pool, .ctx = office),
                         DIST_OK);
        check_tens(out, ITEMS);
        dist_pool_free(&pool);
        check_links(office, ITEMS);
    }
}

/* ------------------------------------------------------------------ each worker */

static int look(size_t index, void *ctx) {
    struct office *office = ctx;
    struct link *link = dist_worker_state();
    expect(office, link && index == dist_worker() && index == dist_index());
    if (link) count(&link->uses);
    return 0;
}

POOL_CASE("D-21", each_worker_is_looked_at_once) {
    struct office *office = shared_memory(sizeof *office);
    dist_pool *pool = open_office(office, WORKERS);
    for (unsigned round = 1; round < 50; round++) {
        assert_int_equal(dist_each_worker(pool, look, office), DIST_OK);
        for (unsigned k = 0; k < pool_width(WORKERS); k++)
            assert_int_equal(counted(&office->link[k].uses), round);
    }
    dist_pool_free(&pool);
    check_links(office, 49 * pool_width(WORKERS));
}

static void *look_often(void *arg) {
    void **both = arg;
    for (int k = 0; k < 30; k++)
        if (dist_each_worker(both[0], look, both[1])) return both;
    return NULL;
}

POOL_CASE("D-21", each_worker_is_looked_at_beside_calls) {
    struct office *office = shared_memory(sizeof *office);
    dist_pool *pool = open_office(office, WORKERS);
    void *both[2] = {pool, office}, *failed;
    pthread_t thread[4];
    for (int k = 0; k < 4; k++) thread[k] = begin_thread(k % 2 ? look_often : query_often, both);
    for (int k = 0; k < 4; k++) {
        pthread_join(thread[k], &failed);
        assert_null(failed);
    }
    dist_pool_free(&pool);
    check_links(office, 2 * 5 * ITEMS + 2 * 30 * pool_width(WORKERS));
}

static int meet_there(size_t index, void *ctx) {
    struct place *place = ctx;
    (void)index;
    count(&place->begun);
    return reaches(&place->begun, WORKERS) ? 0 : 1;
}

struct tour {
    dist_pool *pool;
    struct place *place[20];
};

static void *meet_there_often(void *arg) {
    struct tour *tour = arg;
    for (size_t k = 0; k < N(tour->place); k++)
        if (dist_each_worker(tour->pool, meet_there, tour->place[k])) return arg;
    return NULL;
}

/* What runs in each worker may wait for the others, also if two do it at once. */
WORKER_CASE("D-21", all_workers_come_together) {
    struct tour tour[2];
    pthread_t thread[2];
    for (int k = 0; k < 40; k++) tour[k / 20].place[k % 20] = new_place();
    dist_pool *pool = open_pool(WORKERS);
    for (int t = 0; t < 2; t++) {
        tour[t].pool = pool;
        thread[t] = begin_thread(meet_there_often, &tour[t]);
    }
    for (int t = 0; t < 2; t++) {
        void *failed;
        pthread_join(thread[t], &failed);
        assert_null(failed);
    }
    dist_pool_free(&pool);
}

static int fail_in_second(size_t index, void *ctx) {
    (void)ctx;
    return index == 1 ? dist_fail(9, "not ready") : 0;
}

WORKER_CASE("D-21", what_fails_in_a_worker_is_told) {
    dist_pool *pool = open_pool(WORKERS);
    assert_int_equal(dist_each_worker(pool, fail_in_second, NULL), DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 1);
    assert_int_equal(dist_last_error()->worker, 1);
    assert_int_equal(dist_last_error()->code, 9);
    assert_named("not ready");
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ workers that come and go */

WORKER_CASE("D-17", a_worker_that_leaves_closes_its_connection) {
    struct office *office = shared_memory(sizeof *office);
    dist_pool *pool = open_office(office, WORKERS);
    for (unsigned round = 1; round < 10; round++) {
        assert_int_equal(dist_each_worker(pool, look, office), DIST_OK);
        assert_int_equal(dist_pool_resize(pool, 1), DIST_OK);
        for (int k = 1; k < WORKERS; k++) assert_true(reaches(&office->link[k].closed, round));
        assert_int_equal(counted(&office->link[0].closed), 0);
        assert_int_equal(dist_pool_resize(pool, WORKERS), DIST_OK);
    }
    dist_pool_free(&pool);
    assert_int_equal(counted(&office->wrong), 0);
    for (int k = 0; k < WORKERS; k++) assert_int_equal(counted(&office->link[k].opened), k ? 9 : 1);
}

static int call_in_init(void **state, unsigned worker, void *user) {
    struct office *office = user;
    int out[3];
    expect(office, dist_map(ten_times, numbers(), 3, out, .pool = office->pool) == DIST_OK);
    expect(office, dist_worker() == worker && !dist_worker_state());
    count(&office->link[worker].opened);
    *state = &office->link[worker];
    return 0;
}

static void call_in_exit(void *state, unsigned worker, void *user) {
    struct office *office = user;
    int out[3];
    dist_status status = dist_map(ten_times, numbers(), 3, out, .pool = office->pool);
    expect(office, status == DIST_OK || status == DIST_CLOSED);
    expect(office, state == &office->link[worker]);
    count(&office->link[worker].closed);
}

CASE_ON("G-04", workers_may_call_in_their_init_and_exit, ON_INLINE | ON_THREAD, 20) {
    for (unsigned workers = 1; workers <= WORKERS; workers++) {
        struct office *office = shared_memory(sizeof *office);
        office->pool =
            dist_pool_open(.executor = X, .workers = workers, .worker_init = call_in_init,
                           .worker_exit = call_in_exit, .user = office);
        int out[ITEMS];
        for (int k = 0; k < 3; k++)
            assert_int_equal(dist_map(ten_times, numbers(), ITEMS, out, .pool = office->pool),
                             DIST_OK);
        if (X != DIST_INLINE) assert_int_equal(dist_pool_resize(office->pool, 1), DIST_OK);
        dist_pool_free(&office->pool);
        check_links(office, 0);
    }
}

static void exit_at_the_gate(void *state, unsigned worker, void *user) {
    struct place *place = user;
    (void)state, (void)worker;
    count(&place->told);
    reaches(&place->gate, 1);
    count(&place->ended);
}

WORKER_CASE("M-20", a_join_ends_at_its_limit_also_in_a_lasting_worker_exit) {
    struct place *place = new_place();
    dist_pool *pool =
        dist_pool_open(.executor = X, .workers = 2, .worker_exit = exit_at_the_gate, .user = place);
    assert_non_null(pool);
    int out[20];
    assert_int_equal(dist_map(ten_times, numbers(), 20, out, .pool = pool), DIST_OK);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    double start = now();
    assert_int_equal(dist_pool_join(pool, 0.05), DIST_TIMEOUT);
    assert_true(reaches(&place->told, 1));
    assert_int_equal(dist_pool_join(pool, 0), DIST_TIMEOUT);
    assert_int_equal(dist_pool_join(pool, 0.02), DIST_TIMEOUT);
    assert_true(now() - start < (SANITIZED ? 20 : 5));
    assert_int_equal(counted(&place->ended), 0);
    count(&place->gate);
    assert_int_equal(dist_pool_join(pool, 60), DIST_OK);
    assert_int_equal(counted(&place->ended), counted(&place->told));
    dist_pool_free(&pool);
}
