/* contract.h - one suite for every backend: a case registers once and runs for each of them.
 *
 *     CASE("P-01", map_keeps_item_order) { assert_int_equal(dist_map(..., .executor = X), DIST_OK);
 * }
 *
 * X is the executor under test. Each case runs in a process of its own, with a time limit, and
 * fails if it leaves a process behind. Assertions are cmocka's. INLINE is the oracle.
 *
 * Run as thread_pool, each call of a case has .pool = contract_pool() before its own options. What
 * makes no sense there says so: NOT_IN_POOLS("the number of workers is the call's"). A file about
 * pools defines CONTRACT_OWN_POOLS, and has none put in. */
#ifndef DIST_TEST_CONTRACT_H
#define DIST_TEST_CONTRACT_H

#include "sanitized.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dist/dist.h>

extern dist_executor X;

enum { ON_INLINE = 1, ON_THREAD = 2, ON_PROCESS = 4, ON_ALL = 7 };

struct contract_case {
    const char *id;   /* of the promise: "P-01" */
    const char *name; /* what happens: "map_keeps_item_order" */
    void (*run)(void **state);
    unsigned executors; /* ON_... */
    unsigned seconds;   /* limit; sanitizers and valgrind get more */
    struct contract_case *next;
};

void contract_register(struct contract_case *one);

/* A case for some executors only, or with a longer limit than 20 s. */
#define CASE_ON(id_, name_, executors_, seconds_)                                                  \
    static void name_(void **state);                                                               \
    static struct contract_case case_##name_ = {id_, #name_, name_, executors_, seconds_, 0};      \
    __attribute__((constructor)) static void register_##name_(void) {                              \
        contract_register(&case_##name_);                                                          \
    }                                                                                              \
    static void name_(void **case_state __attribute__((unused)))

#define CASE(id_, name_) CASE_ON(id_, name_, ON_ALL, 20)

/* More than cases ask for. */
enum { CONTRACT_POOL_WORKERS = 64, CONTRACT_POOL_PROCESSES = 12 };

/* The pool that all calls of the case have, or, of processes, one for each call; NULL: the suite
 * runs without, or this is a child. */
dist_pool *contract_pool(void);

/* Waits for all that runs in them, and frees them; by a thread that alone uses any. */
void contract_end_pools(void);
bool contract_in_pools(void);

/* The case ends here if the suite runs in pools. */
#define NOT_IN_POOLS(why)                                                                          \
    do                                                                                             \
        if (contract_in_pools()) skip();                                                           \
    while (0)

/* The same for pools of processes: items and arguments are copies there, and memory is as of the
 * open. */
#define NOT_IN_PROCESS_POOLS(why)                                                                  \
    do                                                                                             \
        if (contract_in_pools() && X == DIST_PROCESS) skip();                                      \
    while (0)

#ifndef CONTRACT_OWN_POOLS
#undef DIST_OPTS
#undef DIST__ANY
#undef DIST__THR
#undef DIST__PRC
#define CONTRACT_POOL  .pool = contract_pool()
#define DIST_OPTS(...) (&(dist_opts){.size = sizeof(dist_opts), CONTRACT_POOL, __VA_ARGS__})
#define DIST__ANY      CONTRACT_POOL,
#define DIST__THR      CONTRACT_POOL, .executor = DIST_THREAD,
#define DIST__PRC      CONTRACT_POOL, .executor = DIST_PROCESS,
#endif

#define N(array) (sizeof(array) / sizeof *(array))

#endif
