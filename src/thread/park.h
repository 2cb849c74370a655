/* park.h - who is awake and looking for work, who sleeps, and how no wake is lost.
 *
 *     submitter                               worker about to sleep
 *     publish the work                        set own bit in asleep
 *     look at searching [announce]            searching - 1         [announce]
 *     none? take a bit from asleep, wake it   look for work once more
 *
 * Both meet in one word, searching, by read-modify-write: whichever comes second sees what the
 * other did before. If the submitter is second, it sees that nobody searches, and the sleeper's
 * bit. If the worker is second, its last look finds the work. So the plain release store of a
 * deque's push is enough for the submitter. One that publishes by a sequentially consistent store
 * may just look at the word instead (offered): then the worker's two accesses must be of that kind,
 * too.
 *
 * Whoever takes a bit counts the woken worker as searching at once, and thereby owes it the wake:
 * a worker that finds its bit gone waits for that. */
#ifndef DIST_THREAD_PARK_H
#define DIST_THREAD_PARK_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef DIST__PARK_WORDS
#define DIST__PARK_WORDS 64 /* of 64 workers each */
#endif
enum { DIST__PARK_MAX = 64 * DIST__PARK_WORDS };

struct dist__park {
    alignas(64) _Atomic(uint32_t) searching;    /* workers awake without work [announce] */
    _Atomic(uint64_t) asleep[DIST__PARK_WORDS]; /* a bit for each worker that sleeps [asleep] */
};

/* A worker has run out of work. Returns how many search now, itself included. */
static inline uint32_t dist__park_search(struct dist__park *park) {
    /* relaxed: too many or too few searchers cost time, nothing else */
    return atomic_fetch_add_explicit(&park->searching, 1, memory_order_relaxed) + 1;
}

/* A searching worker has found work. If there is more, it must now see to it as a submitter does:
 * submitters may have relied on it. */
static inline void dist__park_found(struct dist__park *park) {
    /* acq_rel: sees the work of those who saw it searching [announce]. seq_cst: also that of those
     * who only looked, if it looks at it by a seq_cst load; pairs with [announce] in offered */
    atomic_fetch_sub_explicit(&park->searching, 1, memory_order_seq_cst);
}

/* Worker: after this, look for work once more, then either sleep or dist__park_stay. */
static inline void dist__park_announce(struct dist__park *park, unsigned worker) {
    /* release: the last wake's reset before the bit, which lets the next waker in; pairs with
     * [asleep]. That it comes before the next line is that one's release. */
    atomic_fetch_or_explicit(&park->asleep[worker / 64], UINT64_C(1) << worker % 64,
                             memory_order_release);
    /* acq_rel: the bit before it, the last look after it; pairs with [announce] in submitted.
     * seq_cst, which is that too: the last look at what was published by a seq_cst store; pairs
     * with [announce] in offered */
    atomic_fetch_sub_explicit(&park->searching, 1, memory_order_seq_cst);
}

/* Worker: found work on the last look. True: it is searching again. False: somebody has counted it
 * as searching already and is about to wake it; wait for that first. */
static inline bool dist__park_stay(struct dist__park *park, unsigned worker) {
    uint64_t bit = UINT64_C(1) << worker % 64;
    /* acq_rel: one of worker and waker gets the bit [asleep] */
    if (!(atomic_fetch_and_explicit(&park->asleep[worker / 64], ~bit, memory_order_acq_rel) & bit))
        return false;
    dist__park_search(park);
    return true;
}

/* Submitter, after publishing: how many workers search, and will see the work. */
static inline uint32_t dist__park_submitted(struct dist__park *park) {
    /* acq_rel, and a write: the work before it, the bits after it; pairs with [announce] */
    return atomic_fetch_add_explicit(&park->searching, 0, memory_order_acq_rel);
}

/* The same after publishing by a seq_cst store, which sleepers look at by a seq_cst load. Writes
 * nothing, so that many submitters do not meet here. */
static inline uint32_t dist__park_offered(const struct dist__park *park) {
    /* seq_cst: the work before it, the bits after it; pairs with [announce] */
    return atomic_load_explicit(&park->searching, memory_order_seq_cst);
}

/* Takes a sleeper out and counts it as searching; the caller must wake it. False: nobody sleeps
 * among the first `workers`. */
static inline bool dist__park_take(struct dist__park *park, unsigned workers, unsigned *worker) {
    for (unsigned w = 0; w * 64 < workers; w++) {
        uint64_t bits = atomic_load_explicit(&park->asleep[w], memory_order_relaxed);
        while (bits) {
            uint64_t bit = bits & -bits;
            /* acq_rel: one of worker and waker gets the bit [asleep] */
            bits = atomic_fetch_and_explicit(&park->asleep[w], ~bit, memory_order_acq_rel);
            if (bits & bit) {
                *worker = w * 64 + (unsigned)__builtin_ctzll(bit);
                dist__park_search(park);
                return true;
            }
        }
    }
    return false;
}

#endif
