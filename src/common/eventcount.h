/* eventcount.h - where threads sleep until something that can be looked at without a lock may have
 * changed (Reed and Kanodia's eventcount, 1979; the two-step wait is Dmitry Vyukov's).
 *
 *     waiter                             whoever changes something
 *     enter                              change it
 *     look                               tell: somebody waits? a signal for one of them, and a wake
 *     nothing? sleep until there is a
 *     signal to take, or time is up
 *     leave, if it has taken none
 *
 * waiters + signals == threads that have entered and not left. A signal is taken from no one in
 * particular: whoever takes it looks again. tell() moves a waiter to the signals before it wakes:
 * so those who tell until the woken thread runs find nobody to wake, and a wake that comes at the
 * end of a time limit is not lost: the signal is there, and is seen.
 *
 * What has changed must be seen by the look that follows an enter, or tell() must see the waiter.
 * With a seq_cst store for the change, and a seq_cst load for the look, both are in one order with
 * the two accesses here; under a mutex, its order does.
 *
 * Who takes a signal and finds more than it takes must tell the next: the change that made the rest
 * visible may have been told before there was anything to see. Who leaves without one need not: all
 * others still wait to be told, or have been. */
#ifndef DIST_COMMON_EVENTCOUNT_H
#define DIST_COMMON_EVENTCOUNT_H

#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct dist__eventcount {
    alignas(64) _Atomic(uint64_t) state; /* waiters, signals << 32, and DIST__EVENT_OVER [event] */
    _Atomic(uint32_t) epoch;             /* changes with each wake; the futex [epoch] */
};

static const uint64_t DIST__EVENT_WAITER = 1, DIST__EVENT_WAITERS = 0x7fffffff,
                      DIST__EVENT_SIGNAL = UINT64_C(1) << 32,
                      DIST__EVENT_OVER = UINT64_C(1)
                                         << 63; /* each change is for all, from now on */

/* Waiter: what is looked at after this wakes it when it changes. Returns the epoch to sleep in. */
static inline uint32_t dist__eventcount_enter(struct dist__eventcount *events) {
    /* seq_cst: the look after it; pairs with tell. acq_rel is part of it: what those saw who have
     * left [event] */
    atomic_fetch_add_explicit(&events->state, DIST__EVENT_WAITER, memory_order_seq_cst);
    /* acquire: the signal that belongs to this epoch; pairs with [epoch] */
    return atomic_load_explicit(&events->epoch, memory_order_acquire);
}

/* Waiter: takes a signal, and has left. False: there is none, it may sleep while the epoch is what
 * enter has returned. */
static inline bool dist__eventcount_take(struct dist__eventcount *events) {
    /* acquire, acq_rel: what was seen by who told; pairs with [event] */
    uint64_t state = atomic_load_explicit(&events->state, memory_order_acquire);
    while (state & ~DIST__EVENT_OVER & ~DIST__EVENT_WAITERS)
        if (atomic_compare_exchange_weak_explicit(&events->state, &state,
                                                  state - DIST__EVENT_SIGNAL, memory_order_acq_rel,
                                                  memory_order_acquire))
            return true;
    return false;
}

/* Waiter: needs no wake any more. It gives up a signal only where all others have one. */
static inline void dist__eventcount_leave(struct dist__eventcount *events) {
    /* relaxed: the exchange has the order */
    uint64_t state = atomic_load_explicit(&events->state, memory_order_relaxed), less;
    do less = state & DIST__EVENT_WAITERS ? DIST__EVENT_WAITER : DIST__EVENT_SIGNAL;
    /* acq_rel: see take [event] */
    while (!atomic_compare_exchange_weak_explicit(&events->state, &state, state - less,
                                                  memory_order_acq_rel, memory_order_relaxed));
}

/* After a change: how many sleepers the caller must wake, by the futex on epoch; 0: nobody waits.
 */
static inline int dist__eventcount_tell(struct dist__eventcount *events, bool all) {
    /* seq_cst: the change before it; pairs with enter [event] */
    uint64_t state = atomic_load_explicit(&events->state, memory_order_seq_cst), told;
    do {
        uint64_t waiters = state & DIST__EVENT_WAITERS;
        if (waiters == 0) return 0;
        all |= (state & DIST__EVENT_OVER) != 0;
        told = all ? waiters : 1;
        /* acq_rel: the change before the signal [event] */
    } while (!atomic_compare_exchange_weak_explicit(
        &events->state, &state, state + told * (DIST__EVENT_SIGNAL - DIST__EVENT_WAITER),
        memory_order_acq_rel, memory_order_relaxed));
    /* release: the signal before it; pairs with [epoch] */
    atomic_fetch_add_explicit(&events->epoch, 1, memory_order_release);
    return all ? INT_MAX : 1;
}

/* From now on every change is told to all who wait. The caller tells this one, too. */
static inline void dist__eventcount_over(struct dist__eventcount *events) {
    /* relaxed: the tell that follows has the order */
    atomic_fetch_or_explicit(&events->state, DIST__EVENT_OVER, memory_order_relaxed);
}

#endif
