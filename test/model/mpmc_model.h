/* mpmc_model.h - producers and consumers of the ring, as in common/queue_ring.c, and their sleep,
 * as in common/queue.c, cut down: who would sleep ends its thread instead. Then nothing but a
 * signal and a changed epoch could bring it back. So once all threads have ended, what is left
 * tells whether a wake was lost. Payloads are plain memory: a race on one is an error. */
#ifndef DIST_TEST_MPMC_MODEL_H
#define DIST_TEST_MPMC_MODEL_H

#include "model.h"
#include "common/eventcount.h"
#include "common/mpmc.h"

enum { CELLS_MOST = 2, SLEEPERS_MOST = 3 };

struct slot { /* a dist__cell with its item */
    _Atomic(uint64_t) turn;
    int payload;
};

static struct slot slot[CELLS_MOST];
static struct dist__mpmc ring;

static inline void open_ring(size_t capacity) {
    dist__mpmc_init(&ring, capacity, sizeof(struct slot), (unsigned char *)slot);
}

static inline enum dist__mpmc_answer put(int payload) {
    struct dist__claim claim;
    enum dist__mpmc_answer answer = dist__mpmc_claim_put(&ring, &claim);
    if (answer != DIST__MPMC_DONE) return answer;
    ((struct slot *)claim.cell)->payload = payload;
    dist__mpmc_settle(&claim);
    return answer;
}

static inline enum dist__mpmc_answer get(int *payload) {
    struct dist__claim claim;
    enum dist__mpmc_answer answer = dist__mpmc_claim_get(&ring, &claim);
    if (answer != DIST__MPMC_DONE) return answer;
    *payload = ((struct slot *)claim.cell)->payload;
    dist__mpmc_settle(&claim);
    return answer;
}

/* ------------------------------------------------------------------ with sleep */

struct place { /* where some sleep */
    struct dist__eventcount events;
    _Atomic(uint32_t) asleep;
    uint32_t epoch[SLEEPERS_MOST]; /* in which they have fallen asleep */
};

static struct place items, room;

static inline void tell(struct place *place, bool all) {
    dist__eventcount_tell(&place->events, all);
}

static inline void sleep_for_good(struct place *place, uint32_t epoch) {
    uint32_t at = atomic_fetch_add_explicit(&place->asleep, 1, memory_order_relaxed);
    place->epoch[at] = epoch;
}

/* One that has fallen asleep before all others begin. */
static inline void sleep_before(struct place *place) {
    sleep_for_good(place, dist__eventcount_enter(&place->events));
}

/* A put or get that waits: tries, and looks `looks` times after it has entered. LATER: it sleeps.
 */
static inline enum dist__mpmc_answer wait_for(struct place *place, int *payload, bool puts,
                                              int looks) {
    enum dist__mpmc_answer answer = puts ? put(*payload) : get(payload);
    for (; answer == DIST__MPMC_LATER && looks > 0; looks--) {
        bool signal = false;
        uint32_t epoch = dist__eventcount_enter(&place->events);
        answer = puts ? put(*payload) : get(payload);
        if (answer == DIST__MPMC_LATER) {
            signal = dist__eventcount_take(&place->events);
            if (!signal) {
                sleep_for_good(place, epoch);
                return answer;
            }
            answer = puts ? put(*payload) : get(payload);
        } else {
            dist__eventcount_leave(&place->events);
        }
        if (answer != DIST__MPMC_LATER && signal &&
            (puts ? dist__mpmc_has_room(&ring) : dist__mpmc_has_item(&ring)))
            tell(place, false);
    }
    return answer;
}

/* The last steps of a put or get whose cell is claimed. */
static inline void settle(const struct dist__claim *claim, struct place *place) {
    dist__mpmc_settle(claim);
    tell(place, false);
}

static inline void close_ring(void) {
    dist__mpmc_close(&ring);
    dist__eventcount_over(&items.events);
    dist__eventcount_over(&room.events);
    tell(&items, true);
    tell(&room, true);
}

/* After all threads have ended: if there is something for those who sleep, one of them has a
 * signal, and with it a futex that has changed. */
static inline void no_wake_lost(struct place *place, bool has_something) {
    uint64_t state = atomic_load_explicit(&place->events.state, memory_order_relaxed);
    uint64_t waiters = state & DIST__EVENT_WAITERS,
             signals = (state & ~DIST__EVENT_OVER) / DIST__EVENT_SIGNAL;
    uint32_t asleep = atomic_load_explicit(&place->asleep, memory_order_relaxed), woken = 0;
    uint32_t epoch = atomic_load_explicit(&place->events.epoch, memory_order_relaxed);
    for (uint32_t k = 0; k < asleep; k++) woken += place->epoch[k] != epoch;
    assert(waiters + signals == asleep);
    assert(!has_something || !asleep || signals);
    assert(!signals || woken);
    assert(!(state & DIST__EVENT_OVER) || !has_something || !waiters);
}

#endif
