/* contract_pools.h - what the cases about pools share. Worker processes of a pool see memory as it
 * was when the pool was opened: what tasks share with their case is made before that. */
#ifndef DIST_TEST_CONTRACT_POOLS_H
#define DIST_TEST_CONTRACT_POOLS_H

#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <pthread.h>
#include <string.h>

/* Executors that have pools, and those whose pools have workers of their own. */
enum { ON_POOLS = ON_ALL, ON_WORKERS = ON_POOLS & ~ON_INLINE };

#define POOL_CASE(id_, name_)   CASE_ON(id_, name_, ON_POOLS, 20)
#define WORKER_CASE(id_, name_) CASE_ON(id_, name_, ON_WORKERS, 20)

static inline dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = workers);
    assert_non_null(pool);
    return pool;
}

/* Workers that a pool opened for so many has. */
static inline unsigned pool_width(unsigned workers) { return X == DIST_INLINE ? 1 : workers; }

/* A name in the message of this thread's last failed call. */
static inline void assert_named(const char *name) {
    const char *message = dist_last_error()->message;
    if (!strstr(message, name)) fail_msg("\"%s\" does not name %s", message, name);
}

/* What tasks share with their case. */
struct place {
    _Atomic(unsigned) begun, ended, running, most, told, gate, wrong;
};

static inline struct place *new_place(void) { return shared_memory(sizeof(struct place)); }

static inline void enter(struct place *place) {
    unsigned running = atomic_fetch_add(&place->running, 1) + 1;
    unsigned most = counted(&place->most);
    while (most < running && !atomic_compare_exchange_weak(&place->most, &most, running)) continue;
    count(&place->begun);
}

static inline void leave(struct place *place) {
    atomic_fetch_sub(&place->running, 1);
    count(&place->ended);
}

/* Stays until the gate is open, or until it is told to return. */
static inline int stay(void *result, const void *item, void *ctx) {
    struct place *place = ctx;
    enter(place);
    while (!counted(&place->gate) && !dist_cancelled()) nap(0.0005);
    if (!counted(&place->gate)) count(&place->told);
    if (result && item) *(int *)result = 10 * *(const int *)item;
    leave(place);
    return 0;
}

/* Stays a moment. */
static inline int visit(void *result, const void *item, void *ctx) {
    struct place *place = ctx;
    enter(place);
    nap(0.001);
    if (result && item) *(int *)result = 10 * *(const int *)item;
    leave(place);
    return 0;
}

static inline int ten_times(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 10 * *(const int *)item;
    return 0;
}

static inline void check_tens(const int *out, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(out[i], 10 * (int)i);
}

/* The pool works: a call in it gives what it should. */
static inline void check_pool(dist_pool *pool) {
    int out[PRIME];
    assert_int_equal(dist_map(ten_times, numbers(), PRIME, out, .pool = pool), DIST_OK);
    check_tens(out, PRIME);
}

/* A thread of the case's own. */
static inline pthread_t begin_thread(void *(*body)(void *arg), void *arg) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    return thread;
}

#endif
