/* claim_model.h - workers as in process/worker.c: they draw units, hold them, run them, and count.
 * The state of an item is PENDING, RUNNING or DONE as in process/region.h.
 *
 * Every store and every draw of the shipping code is a place to die at: the macros below count down
 * a fuse in front of it, and the thread that has one ends there, as a killed process would. */
#ifndef DIST_TEST_CLAIM_MODEL_H
#define DIST_TEST_CLAIM_MODEL_H

#include "model.h"

static _Thread_local int fuse; /* steps until death; 0: lives for ever */

static inline void step(void) {
    if (fuse && --fuse == 0) pthread_exit(NULL);
}

static inline void before_store(void) { step(); }

#undef atomic_store_explicit
#define atomic_store_explicit(object, value, order)                                                \
    (before_store(), __c11_atomic_store(object, value, order))
#undef atomic_fetch_add_explicit
#define atomic_fetch_add_explicit(object, value, order)                                            \
    (before_store(), __c11_atomic_fetch_add(object, value, order))

#include "process/claim.h"

enum { UNITS = 3, PLACES = 2, PENDING = 0, RUNNING, DONE };

static struct dist__claim claim[PLACES];
static _Atomic(uint64_t) cursor;
static _Atomic(uint8_t) state[UNITS];
static _Atomic(int) runs[UNITS]; /* how often each was started */

static inline void run_items(int place, uint64_t begin, uint64_t end) {
    for (uint64_t i = begin; i < end; i++) {
        assert(i < UNITS);
        if (__c11_atomic_load(&state[i], memory_order_acquire) != PENDING) continue;
        atomic_store_explicit(&state[i], RUNNING, memory_order_release);
        __c11_atomic_fetch_add(&runs[i], 1, memory_order_relaxed); /* not a step of its own */
        atomic_store_explicit(&state[i], DONE, memory_order_release);
        dist__claim_count(&claim[place]);
    }
}

static inline void work(int place, uint64_t want) {
    uint64_t begin, end;
    if (dist__claim_read(&claim[place], &begin, &end) == DIST__HELD) run_items(place, begin, end);
    while (dist__claim_draw(&claim[place], &cursor, UNITS, want, &begin, &end)) {
        dist__claim_hold(&claim[place], begin, end);
        run_items(place, begin, end);
    }
    assert(dist__claim_read(&claim[place], &begin, &end) == DIST__IDLE);
    step();
    dist__claim_set(&claim[place], DIST__LEFT);
}

#endif
