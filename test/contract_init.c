/* contract_init.c - what workers do before their first task and after their last. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 100, LIVES = 4096, PLACES = 64 };

/* One worker from its init to its exit; in shared memory, so that dead workers leave it. */
struct life {
    _Atomic(unsigned) inits, exits, tasks;
    unsigned worker;
    int thread;
    pid_t pid;
};

struct office {
    _Atomic(unsigned) lives, wrong, alive[PLACES]; /* alive: workers that have this number */
    struct life life[LIVES];
    unsigned workers;
    int init_fails_for; /* the worker of that number, -1: none, -2: all */
    int init_code;
    void (*dies)(void); /* in init */
    unsigned deaths;    /* so many inits die before one lives */
    _Atomic(unsigned) died, begun;
    int kills; /* this item kills its worker, -1: none; every tenth like it too */
};

static struct office *new_office(unsigned workers) {
    struct office *office = shared_memory(sizeof *office);
    office->workers = workers;
    office->init_fails_for = office->kills = -1;
    return office;
}

static void expect(struct office *office, bool right) {
    if (!right) count(&office->wrong);
}

static int open_office(void **state, unsigned worker, void *user) {
    struct office *office = user;
    expect(office, *state == NULL && dist_worker() == worker && worker < office->workers);
    expect(office, atomic_fetch_add(&office->alive[worker % PLACES], 1) == 0);
    if (office->dies && atomic_fetch_add(&office->died, 1) < office->deaths) {
        atomic_fetch_sub(&office->alive[worker % PLACES], 1);
        office->dies();
    }
    if (office->init_fails_for == (int)worker || office->init_fails_for == -2) {
        atomic_fetch_sub(&office->alive[worker % PLACES], 1);
        return office->init_code ? office->init_code : dist_fail(5, "no database %u", worker);
    }
    struct life *life = &office->life[atomic_fetch_add(&office->lives, 1) % LIVES];
    count(&life->inits);
    life->worker = worker;
    life->thread = thread_id();
    life->pid = getpid();
    *state = life;
    return 0;
}

static void close_office(void *state, unsigned worker, void *user) {
    struct office *office = user;
    struct life *life = state;
    expect(office, life && life->worker == worker && dist_worker() == worker);
    expect(office, life && life->thread == thread_id() && life->pid == getpid());
    atomic_fetch_sub(&office->alive[worker % PLACES], 1);
    if (life) count(&life->exits);
}

static int work(void *result, const void *item, void *ctx) {
    struct office *office = ctx;
    struct life *life = dist_worker_state();
    int i = *(const int *)item;
    expect(office, life && counted(&life->inits) == 1 && counted(&life->exits) == 0);
    expect(office, life && life->worker == dist_worker());
    expect(office, life && life->thread == thread_id() && life->pid == getpid());
    if (life) count(&life->tasks);
    *(int *)result = 10 * i;
    if (office->kills >= 0 && i % 10 == office->kills) {
        atomic_fetch_sub(&office->alive[dist_worker() % PLACES], 1);
        raise(SIGKILL);
    }
    return 0;
}

/* Each life has begun once and has ended once, but for those that were killed. */
static void check_lives(struct office *office, unsigned killed, unsigned tasks) {
    unsigned lives = counted(&office->lives), exits = 0, done = 0;
    assert_int_equal(counted(&office->wrong), 0);
    assert_in_range(lives, 1, LIVES);
    for (unsigned k = 0; k < lives; k++) {
        struct life *life = &office->life[k];
        assert_int_equal(counted(&life->inits), 1);
        assert_in_range(counted(&life->exits), 0, 1);
        exits += counted(&life->exits);
        done += counted(&life->tasks);
    }
    assert_int_equal(exits, lives - killed);
    assert_int_equal(done, tasks);
    for (size_t k = 0; k < PLACES; k++) assert_int_equal(counted(&office->alive[k]), 0);
}

CASE("D-17", each_worker_has_one_init_and_one_exit) {
    for (unsigned workers = 1; workers < 5; workers++) {
        struct office *office = new_office(workers);
        int out[ITEMS];
        assert_int_equal(dist_map(work, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .ctx = office, .worker_init = open_office,
                                  .worker_exit = close_office, .user = office),
                         DIST_OK);
        check_lives(office, 0, ITEMS);
        assert_in_range(counted(&office->lives), 1, workers);
        if (X == DIST_INLINE) assert_int_equal(counted(&office->lives), 1);
        for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 10 * i);
    }
}

CASE("D-17", every_kind_of_call_has_an_init) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct office *office = new_office(3);
        int out[30];
        assert_int_equal(call_kind(kind, work, 30, out,
                                   DIST_OPTS(.executor = X, .workers = 3, .ctx = office,
                                             .worker_init = open_office,
                                             .worker_exit = close_office, .user = office)),
                         DIST_OK);
        check_lives(office, 0, (unsigned)kind_count(kind, 30));
    }
}

/* All workers are needed: each has its init before its task. */
static int work_together(void *result, const void *item, void *ctx) {
    struct office *office = ctx;
    count(&office->begun);
    return reaches(&office->begun, office->workers) ? work(result, item, ctx) : 1;
}

CASE_ON("D-17", workers_that_work_at_once_have_their_own_state, ON_THREAD | ON_PROCESS, 40) {
    for (unsigned i = rounds(100, 20); i > 0; i--) {
        struct office *office = new_office(6);
        int out[6];
        assert_int_equal(dist_map(work_together, numbers(), 6, out, .executor = X, .workers = 6,
                                  .ctx = office, .worker_init = open_office,
                                  .worker_exit = close_office, .user = office),
                         DIST_OK);
        check_lives(office, 0, 6);
        assert_int_equal(counted(&office->lives), 6);
    }
}

CASE_ON("D-17", workers_of_many_calls_have_their_init, ON_ALL, 40) {
    for (unsigned round = 0; again(round, rounds(300, 60)); round++) {
        struct office *office = new_office(1 + round % 8);
        int out[ITEMS];
        unsigned n = 1 + round % ITEMS;
        assert_int_equal(dist_map(work, numbers(), n, out, .executor = X,
                                  .workers = office->workers, .ctx = office,
                                  .worker_init = open_office, .worker_exit = close_office,
                                  .user = office),
                         DIST_OK);
        check_lives(office, 0, n);
    }
}

CASE("D-17", an_init_needs_no_exit_and_an_item_no_init) {
    struct office *office = new_office(3);
    int out[ITEMS];
    assert_int_equal(dist_map(work, numbers(), ITEMS, out, .executor = X, .workers = 3,
                              .ctx = office, .worker_init = open_office, .user = office),
                     DIST_OK);
    assert_int_equal(counted(&office->wrong), 0);
    office = new_office(3);
    assert_int_equal(dist_map(work, numbers(), 0, out, .executor = X, .workers = 3, .ctx = office,
                              .worker_init = open_office, .worker_exit = close_office,
                              .user = office),
                     DIST_OK);
    assert_int_equal(counted(&office->lives), 0);
    assert_null(dist_worker_state());
}

static int look_at_the_state(size_t index, void *ctx) {
    (void)index, (void)ctx;
    return dist_worker_state() ? dist_fail(1, "a state of another call") : 0;
}

CASE("D-17", the_state_ends_with_its_call) {
    struct office *office = new_office(3);
    int out[ITEMS];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dist_map(work, numbers(), ITEMS, out, .executor = X, .workers = 3,
                                  .ctx = office, .worker_init = open_office,
                                  .worker_exit = close_office, .user = office),
                         DIST_OK);
        assert_int_equal(dist_for(look_at_the_state, ITEMS, .executor = X, .workers = 3), DIST_OK);
    }
}

/* ------------------------------------------------------------------ deaths of workers */

CASE_ON("M-03", replacements_have_their_init_too, ON_PROCESS, 40) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct office *office = new_office(workers);
        int out[ITEMS];
        dist_job *job;
        office->kills = 4; /* 4, 14, ... 94 */
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map(work, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .ctx = office, .worker_init = open_office,
                                  .worker_exit = close_office, .user = office, .silent = true,
                                  .job = &job),
                         DIST_OK);
        assert_int_equal(dist_job_failures(job), 10);
        check_lives(office, 10, ITEMS);
        for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], i % 10 == 4 ? -1 : 10 * i);
        dist_job_finish(&job);
    }
}

static void die_by_segv(void) { raise(SIGSEGV); }
static void die_by_exit(void) { exit(3); }
static void die_by_kill(void) { raise(SIGKILL); }

CASE_ON("M-03", an_init_that_always_dies_ends_the_call, ON_PROCESS, 60) {
    static void (*const ways[])(void) = {die_by_segv, die_by_exit, die_by_kill};
    for (size_t k = 0; k < N(ways); k++)
        for (unsigned workers = 1; workers < 4; workers++) {
            struct office *office = new_office(workers);
            int out[ITEMS];
            dist_error e;
            office->dies = ways[k];
            office->deaths = UINT32_MAX;
            memset(out, -1, sizeof out);
            double start = now();
            dist_status status =
                dist_map(work, numbers(), ITEMS, out, .executor = X, .workers = workers,
                         .ctx = office, .error = &e, .worker_init = open_office,
                         .worker_exit = close_office, .user = office, .silent = k == 1);
            assert_true(status != DIST_OK);
            assert_int_equal(e.status, status);
            assert_true(strlen(e.message) > 0);
            printf("%s: %s (%u inits)\n", dist_status_name(status), e.message,
                   counted(&office->died));
            ASSERT_SOON(start);
            assert_in_range(counted(&office->died), workers, 200);
            for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], -1);
        }
}

CASE_ON("M-03", an_init_that_dies_a_few_times_is_tried_again, ON_PROCESS, 40) {
    struct office *office = new_office(2);
    int out[ITEMS];
    office->dies = die_by_segv;
    office->deaths = 3;
    assert_int_equal(dist_map(work, numbers(), ITEMS, out, .executor = X, .workers = 2,
                              .ctx = office, .worker_init = open_office,
                              .worker_exit = close_office, .user = office),
                     DIST_OK);
    check_lives(office, 0, ITEMS);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 10 * i);
}
