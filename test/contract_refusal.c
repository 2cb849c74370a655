/* contract_refusal.c - an init that refuses ends the call, and nothing hangs. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 50 };

struct office {
    _Atomic(unsigned) inits, exits, tasks, refusals;
    unsigned refuses; /* the worker of this number; 99: all */
    int code;         /* 0: by dist_fail(5, ...) */
    bool waits;       /* it refuses only when another worker has a task */
    size_t chunk;     /* 0: 1 */
};

static struct office *new_office(unsigned refuses, int code) {
    struct office *office = shared_memory(sizeof *office);
    office->refuses = refuses;
    office->code = code;
    return office;
}

static int open_office(void **state, unsigned worker, void *user) {
    struct office *office = user;
    *state = office;
    count(&office->inits);
    if (office->refuses != worker && office->refuses != 99) return 0;
    if (office->waits) reaches(&office->tasks, 1);
    count(&office->refusals);
    return office->code ? office->code : dist_fail(5, "no database for %u", worker);
}

static void close_office(void *state, unsigned worker, void *user) {
    (void)worker;
    count(&((struct office *)user)->exits);
    if (state != user) abort();
}

static int sleep_on(void *result, const void *item, void *ctx) {
    struct office *office = ctx;
    (void)item;
    count(&office->tasks);
    *(int *)result = 1;
    doze(60);
    return 0;
}

static void be_refused(struct office *office, unsigned workers, enum kind kind, bool silent) {
    int out[ITEMS];
    dist_error e;
    dist_job *job;
    memset(out, -1, sizeof out);
    double start = now();
    assert_int_equal(
        call_kind(kind, sleep_on, ITEMS, out,
                  DIST_OPTS(.executor = X, .workers = workers, .chunk = 1, .ctx = office,
                            .user = office, .silent = silent, .worker_init = open_office,
                            .worker_exit = close_office, .error = &e, .job = &job)),
        DIST_FAILED);
    ASSERT_SOON(start);
    assert_int_equal(e.status, DIST_FAILED);
    assert_int_equal(e.code, office->code ? office->code : 5);
    if (!strstr(e.message, "worker_init")) fail_msg("\"%s\" does not name worker_init", e.message);
    if (!office->code && !strstr(e.message, "no database for"))
        fail_msg("\"%s\" does not say why", e.message);
    for (size_t i = 0; i < ITEMS; i++) assert_int_equal(out[i], -1);
    for (size_t i = 0; job && i < dist_job_count(job); i++)
        assert_true(status_of(job, i) != DIST_OK);
    dist_job_finish(&job);
    if (X != DIST_PROCESS)
        assert_int_equal(counted(&office->exits),
                         counted(&office->inits) - counted(&office->refusals));
}

CASE("M-03", an_init_that_refuses_ends_the_call) {
    for (int code = 0; code < 12; code += 11)
        for (enum kind kind = MAP; kind < KINDS; kind++)
            for (int silent = 0; silent < 2; silent++) {
                struct office *office = new_office(99, code);
                be_refused(office, 3, kind, silent);
                assert_int_equal(counted(&office->tasks), 0);
                assert_int_equal(counted(&office->exits), 0);
            }
}

CASE("M-03", an_only_worker_that_refuses_ends_the_call) {
    struct office *office = new_office(0, 0);
    be_refused(office, 1, MAP, false);
    assert_int_equal(counted(&office->tasks), 0);
}

CASE_ON("M-03", one_worker_of_several_that_refuses_ends_the_call, ON_THREAD | ON_PROCESS, 60) {
    for (unsigned refuses = 0; refuses < 3; refuses++)
        for (unsigned way = 0; way < 4; way++) {
            struct office *office = new_office(refuses, 0);
            office->waits = true;
            office->chunk = way < 2 ? 1 : 7;
            be_refused(office, 3, way % 2 ? MAP : FOR, way % 2);
            assert_in_range(counted(&office->tasks), 1, 2);
        }
}

CASE("M-03", a_call_after_a_refusal_works) {
    for (unsigned i = rounds(20, 10); i > 0; i--) {
        struct office *office = new_office(99, 0), *good = new_office(98, 0);
        int out[1];
        be_refused(office, 2, MAP, false);
        assert_int_equal(dist_map(sleep_on, numbers(), 1, out, .executor = X, .ctx = good,
                                  .user = good, .worker_init = open_office,
                                  .worker_exit = close_office, .task_timeout = 0.01),
                         DIST_TIMEOUT);
        assert_int_equal(counted(&good->tasks), 1);
    }
}

/* Limits hold for inits too: nobody waits for one that sleeps. */
static int sleep_in_init(void **state, unsigned worker, void *user) {
    (void)state, (void)worker;
    count(&((struct office *)user)->inits);
    doze(60);
    return 0;
}

CASE("M-03", a_limit_ends_an_init_that_sleeps) {
    struct office *office = new_office(98, 0);
    int out[ITEMS];
    memset(out, -1, sizeof out);
    double start = now();
    assert_int_equal(dist_map(sleep_on, numbers(), ITEMS, out, .executor = X, .workers = 2,
                              .ctx = office, .user = office, .worker_init = sleep_in_init,
                              .timeout = 0.1),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(counted(&office->tasks), 0);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], -1);
}
