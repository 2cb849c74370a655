/* contract_cpus.c - workers that are pinned to CPUs, and threads that are not afterwards. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 60, MOST = 64 };

/* CPUs that this process may use, in order. */
static unsigned own[MOST], own_count;
static cpu_set_t own_set;

static void look_at_own(void) {
    own_count = 0;
    assert_int_equal(sched_getaffinity(0, sizeof own_set, &own_set), 0);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && own_count < MOST; cpu++)
        if (CPU_ISSET(cpu, &own_set)) own[own_count++] = cpu;
}

struct plan {
    const unsigned *cpus; /* NULL: no pinning */
    size_t n_cpus;
    _Atomic(unsigned) wrong, runs, inner_wrong;
};

static bool is_pinned_to(unsigned cpu) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return false;
    return CPU_COUNT(&set) == 1 && CPU_ISSET(cpu, &set) && sched_getcpu() == (int)cpu;
}

static bool is_free(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_EQUAL(&set, &own_set);
}

static int look(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    *(int *)result = *(const int *)item;
    count(&plan->runs);
    random_spin(&(uint32_t){1}, 20);
    bool right = plan->cpus ? is_pinned_to(plan->cpus[dist_worker() % plan->n_cpus]) : is_free();
    if (!right) count(&plan->wrong);
    return 0;
}

static struct plan *new_plan(const unsigned *cpus, size_t n_cpus) {
    struct plan *plan = shared_memory(sizeof *plan);
    plan->cpus = cpus;
    plan->n_cpus = n_cpus;
    return plan;
}

/* All kinds of call pin their workers, and leave the calling thread as it was. */
static void check_pinned(const unsigned *cpus, size_t n_cpus, unsigned workers) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct plan *plan = new_plan(cpus, n_cpus);
        int out[ITEMS];
        assert_int_equal(call_kind(kind, look, ITEMS, out,
                                   DIST_OPTS(.executor = X, .workers = workers, .ctx = plan,
                                             .cpus = cpus, .n_cpus = n_cpus)),
                         DIST_OK);
        assert_int_equal(counted(&plan->runs), kind_count(kind, ITEMS));
        assert_int_equal(counted(&plan->wrong), 0);
        assert_true(is_free());
    }
}

/* Calls without it run on all CPUs again, whatever threads of the pool they meet. */
static void check_free(void) {
    for (unsigned workers = 0; workers < 6; workers++) {
        struct plan *plan = new_plan(NULL, 0);
        int out[ITEMS];
        assert_int_equal(dist_map(look, numbers(), ITEMS, out, .executor = X, .workers = workers,
                                  .chunk = 1, .ctx = plan),
                         DIST_OK);
        assert_int_equal(counted(&plan->wrong), 0);
    }
}

CASE("P-05", workers_are_pinned_and_the_caller_is_not) {
    look_at_own();
    for (unsigned workers = 1; workers < 6; workers++) {
        check_pinned(own, own_count, workers);
        check_pinned(&own[own_count - 1], 1, workers);
        check_pinned(own, 1, workers);
        check_free();
    }
}

CASE("P-05", a_list_of_cpus_may_name_one_twice) {
    look_at_own();
    unsigned twice[3] = {own[own_count - 1], own[0], own[0]};
    check_pinned(twice, 3, 5);
    check_free();
}

static int look_below(void *result, const void *item, void *ctx) {
    struct plan *plan = ctx;
    int out[8];
    look(result, item, ctx);
    if (dist_map(look, numbers(), 8, out, .executor = DIST_THREAD, .workers = 4,
                 .ctx = new_plan(plan->cpus, 1)) != DIST_OK)
        count(&plan->inner_wrong);
    if (!is_pinned_to(plan->cpus[dist_worker() % plan->n_cpus])) count(&plan->inner_wrong);
    return 0;
}

/* A pinned worker starts threads for a call of its own; they must not stay pinned. */
CASE("P-05", threads_that_a_pinned_worker_starts_are_free_later) {
    if (!built(DIST_THREAD) || (THREAD_SANITIZED && X == DIST_PROCESS)) skip();
    look_at_own();
    dist_shutdown();
    struct plan *plan = new_plan(own, 1);
    int out[4];
    assert_int_equal(dist_map(look_below, numbers(), 4, out, .executor = X, .workers = 1,
                              .ctx = plan, .cpus = own, .n_cpus = 1),
                     DIST_OK);
    assert_int_equal(counted(&plan->wrong), 0);
    assert_int_equal(counted(&plan->inner_wrong), 0);
    for (int i = 0; i < 10; i++) {
        struct plan *later = new_plan(NULL, 0);
        int all[ITEMS];
        assert_int_equal(dist_map(look, numbers(), ITEMS, all, .executor = DIST_THREAD,
                                  .workers = 8, .chunk = 1, .ctx = later),
                         DIST_OK);
        assert_int_equal(counted(&later->wrong), 0);
    }
}

static int fail_when_pinned(void *result, const void *item, void *ctx) {
    look(result, item, ctx);
    return *(const int *)item == 7 ? dist_fail(1, "pinned") : 0;
}

CASE("P-05", a_call_that_fails_frees_its_threads_too) {
    look_at_own();
    for (int i = 0; i < 5; i++) {
        struct plan *plan = new_plan(own, own_count);
        int out[ITEMS];
        assert_int_equal(dist_map(fail_when_pinned, numbers(), ITEMS, out, .executor = X,
                                  .workers = 3, .ctx = plan, .cpus = own, .n_cpus = own_count),
                         DIST_FAILED);
        assert_int_equal(counted(&plan->wrong), 0);
        assert_true(is_free());
        check_free();
    }
}

/* The affinity that threads get back is the one that they had, not all CPUs there are. */
CASE("P-05", pinning_gives_back_a_narrower_affinity) {
    look_at_own();
    if (own_count < 2) skip();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(own[1], &one);
    dist_shutdown();
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    unsigned other = own[0];
    look_at_own();
    check_pinned(own, 1, 3);
    check_free();
    check_pinned(&other, 1, 3); /* a caller that is bound to one CPU may use another for workers */
    check_free();
}

CASE("P-05", a_cpu_that_does_not_exist_is_refused) {
    static const unsigned wrong[] = {1023, 1024, 4096, 100000, UINT_MAX};
    look_at_own();
    for (size_t k = 0; k < N(wrong); k++)
        for (enum kind kind = MAP; kind < KINDS; kind++) {
            unsigned cpus[3] = {own[0], own[0], wrong[k]};
            struct plan *plan = new_plan(cpus, 3);
            int out[ITEMS];
            assert_int_equal(call_kind(kind, look, ITEMS, out,
                                       DIST_OPTS(.executor = X, .workers = 1, .ctx = plan,
                                                 .cpus = cpus, .n_cpus = 3)),
                             DIST_INVALID);
            assert_non_null(strstr(dist_last_error()->message, "cpus"));
            assert_int_equal(counted(&plan->runs), 0);
            assert_true(is_free());
        }
}

CASE("G-15", cpus_and_their_number_come_together) {
    look_at_own();
    struct plan *plan = new_plan(NULL, 0);
    int out[ITEMS];
    assert_int_equal(dist_map(look, numbers(), ITEMS, out, .executor = X, .ctx = plan, .cpus = own),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "cpus"));
    assert_int_equal(dist_map(look, numbers(), ITEMS, out, .executor = X, .ctx = plan, .n_cpus = 1),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "cpus"));
    assert_int_equal(counted(&plan->runs), 0);
}
