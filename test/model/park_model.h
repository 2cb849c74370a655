/* park_model.h - submitters and workers as in thread/pool.c, cut down to what decides about sleep.
 * Work is a flag in a slot, as weakly published as a deque's push does it. A worker ends its thread
 * when it has found work (it is busy for good) or when it would sleep: then nothing but its wake
 * word could bring it back. So once all threads have ended, what is left tells whether a wake was
 * lost. */
#ifndef DIST_TEST_PARK_MODEL_H
#define DIST_TEST_PARK_MODEL_H

#include "model.h"
#include "thread/park.h"

#ifndef PARK_LOOKS
#define PARK_LOOKS memory_order_relaxed /* of a worker at slots */
#endif

enum { SLOTS = 2, WORKERS_MOST = 2 };

static struct dist__park park;
static _Atomic(int) slot[SLOTS]; /* how many pieces of work lie there; two only in slot 0 */
static _Atomic(int) pending;     /* as in pool.c: only a hint, so relaxed */
static _Atomic(uint32_t) wake[WORKERS_MOST];
static bool slept[WORKERS_MOST], awaits[WORKERS_MOST]; /* ended in its sleep, ended in await_wake */
static unsigned workers;

static inline void wake_one(void) {
    unsigned worker;
    if (!dist__park_take(&park, workers, &worker)) return;
    assert(worker < workers);
    atomic_store_explicit(&wake[worker], 1, memory_order_release);
}

static inline void tell(void) {
    if (dist__park_submitted(&park) == 0) wake_one();
}

static inline void publish(int k, int pieces) {
    atomic_fetch_add_explicit(&pending, pieces, memory_order_relaxed);
    atomic_store_explicit(&slot[k], pieces, memory_order_release);
    tell();
}

/* Takes one piece; the second one of slot 0 goes to slot 1, as the rest of an inbox goes to the
 * deque of the thread that drained it. */
static inline bool find(void) {
    for (int k = 0; k < SLOTS; k++) {
        if (!atomic_load_explicit(&slot[k], PARK_LOOKS)) continue;
        int pieces = atomic_exchange_explicit(&slot[k], 0, memory_order_acquire);
        if (pieces == 0) continue;
        if (pieces == 2) atomic_store_explicit(&slot[1], 1, memory_order_release);
        atomic_fetch_sub_explicit(&pending, 1, memory_order_relaxed);
        return true;
    }
    return false;
}

/* As dist__lanes_tell_on: the slots themselves. */
static inline bool more_offered(void) {
    bool more = false;
    for (int k = 0; k < SLOTS && PARK_LOOKS != memory_order_relaxed; k++)
        more |= atomic_load_explicit(&slot[k], PARK_LOOKS) != 0;
    return more;
}

/* A searching worker has work: if there is more, it is a submitter. */
static inline void become_busy(void) {
    dist__park_found(&park);
    if (atomic_load_explicit(&pending, memory_order_relaxed) > 0 || more_offered()) tell();
}

/* True: woken. */
static inline bool has_wake(unsigned self) {
    if (!atomic_load_explicit(&wake[self], memory_order_acquire)) return false;
    atomic_store_explicit(&wake[self], 0, memory_order_relaxed); /* as in pool.c */
    return true;
}

/* True: it would sleep now. */
static inline bool announce_and_look(unsigned self) {
    dist__park_announce(&park, self);
    if (!find()) return true;
    if (!dist__park_stay(&park, self) && !has_wake(self)) awaits[self] = true;
    else become_busy();
    return false;
}

/* Comes in counted as searching. It sleeps `sleeps` times at most: the last time for good. */
static inline void work(unsigned self, int sleeps) {
    for (int k = 1; k <= sleeps; k++) {
        if (find()) {
            become_busy();
            return;
        }
        if (!announce_and_look(self)) return;
        if (k == sleeps || !has_wake(self)) break;
    }
    slept[self] = true;
}

/* After all threads have ended: work may lie there only if a worker has been woken to look for it,
 * or if none is asleep; and the counts agree with who is where. */
static inline void no_wake_lost(void) {
    uint64_t asleep = atomic_load_explicit(&park.asleep[0], memory_order_relaxed);
    uint32_t woken = 0, sleeping = 0;
    for (unsigned w = 0; w < workers; w++) {
        bool bit = asleep >> w & 1, told = atomic_load_explicit(&wake[w], memory_order_relaxed);
        assert(!bit || slept[w]);
        assert(!slept[w] || bit != told); /* no bit: somebody owes it the wake */
        assert(!awaits[w] || told);
        assert(!told || slept[w] || awaits[w]); /* only those who wait are woken */
        sleeping += bit;
        woken += told;
    }
    assert(atomic_load_explicit(&park.searching, memory_order_relaxed) == woken);
    for (int k = 0; k < SLOTS; k++)
        assert(!atomic_load_explicit(&slot[k], memory_order_relaxed) || woken || !sleeping);
}

static inline void begin(unsigned count) {
    workers = count;
    for (unsigned w = 0; w < count; w++) dist__park_search(&park);
}

#endif
