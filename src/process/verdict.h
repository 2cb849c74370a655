/* verdict.h - is an attempt late? Its worker says when it has ended, the parent when it is too
 * late, and one of them is first. So only an attempt that is really late has its worker killed,
 * never the one after it.
 *
 *     worker   IDLE -> RUNS (with the time at which it is late) -> IDLE
 *     parent           RUNS -> CONDEMNED, then the signals
 *
 * A worker that finds itself condemned says nothing more, and waits for its end. The word carries a
 * number, so that the parent cannot take one attempt for another. */
#ifndef DIST_PROCESS_VERDICT_H
#define DIST_PROCESS_VERDICT_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { DIST__ATTEMPT_IDLE, DIST__ATTEMPT_RUNS, DIST__ATTEMPT_CONDEMNED, DIST__ATTEMPT_STATES = 4 };

struct dist__verdict {                  /* a line for each worker, which writes it for each item */
    alignas(64) _Atomic(uint64_t) word; /* number * DIST__ATTEMPT_STATES + state [verdict] */
    _Atomic(uint64_t) limit_ns;         /* of the attempt that runs; UINT64_MAX: none */
};

/* Worker: the next attempt begins. */
static inline void dist__verdict_begin(struct dist__verdict *verdict, uint64_t limit_ns) {
    /* relaxed: only the parent writes besides, and not while this is IDLE */
    uint64_t word = atomic_load_explicit(&verdict->word, memory_order_relaxed);
    uint64_t number = word / DIST__ATTEMPT_STATES + 1;
    atomic_store_explicit(&verdict->limit_ns, limit_ns, memory_order_relaxed);
    /* release: the limit; pairs with [verdict] */
    atomic_store_explicit(&verdict->word, number * DIST__ATTEMPT_STATES + DIST__ATTEMPT_RUNS,
                          memory_order_release);
}

/* Worker: it has ended. False: it was condemned before. */
static inline bool dist__verdict_end(struct dist__verdict *verdict) {
    uint64_t word = atomic_load_explicit(&verdict->word, memory_order_relaxed); /* its own */
    word -= word % DIST__ATTEMPT_STATES;
    uint64_t runs = word + DIST__ATTEMPT_RUNS;
    /* relaxed: there is nothing to publish, the word alone decides; see [verdict] */
    return atomic_compare_exchange_strong_explicit(&verdict->word, &runs, word,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Parent: when the attempt that runs is late; UINT64_MAX: none runs, or it has no limit. */
static inline uint64_t dist__verdict_limit(struct dist__verdict *verdict, uint64_t *word) {
    /* acquire: the limit; pairs with [verdict] */
    *word = atomic_load_explicit(&verdict->word, memory_order_acquire);
    if (*word % DIST__ATTEMPT_STATES != DIST__ATTEMPT_RUNS) return UINT64_MAX;
    /* relaxed: if it is a later one's already, the word has changed, and condemn finds that out */
    return atomic_load_explicit(&verdict->limit_ns, memory_order_relaxed);
}

/* Parent: condemns the attempt that limit was asked for. False: it has ended. */
static inline bool dist__verdict_condemn(struct dist__verdict *verdict, uint64_t word) {
    /* relaxed: as for the end */
    return atomic_compare_exchange_strong_explicit(
        &verdict->word, &word, word - DIST__ATTEMPT_RUNS + DIST__ATTEMPT_CONDEMNED,
        memory_order_relaxed, memory_order_relaxed);
}

/* Parent: for a new worker in the place of a dead one. */
static inline void dist__verdict_reset(struct dist__verdict *verdict) {
    /* relaxed: nobody else is there */
    uint64_t word = atomic_load_explicit(&verdict->word, memory_order_relaxed);
    atomic_store_explicit(&verdict->word, word - word % DIST__ATTEMPT_STATES, memory_order_relaxed);
}

#endif
