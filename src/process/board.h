/* board.h - how workers of a process pool come to calls and leave them.
 *
 * A pool has slots, one for each call that runs in it, and in each slot a seat for each worker:
 *
 *     FREE -> INVITED (ticket) -> TAKEN (generation) -> FREE         host, worker, worker
 *             INVITED -> FREE                                        host: takes it back
 *             TAKEN -> INVITED (new ticket)                          worker: others have their turn
 *             TAKEN -> FREE                                          host: its worker is dead
 *
 * The host writes seats that are FREE, the worker those that it has TAKEN, and for an INVITED one
 * both compare and swap. So the host never waits for a worker that may not come, and whoever is
 * TAKEN is known to the host by its generation, which no other worker ever has. A worker takes the
 * invitation with the lowest ticket: calls are served in their order, and in turn.
 *
 * A worker's life is written by its birth (itself) and its death (the nursery, which is its
 * parent), one after the other. */
#ifndef DIST_PROCESS_BOARD_H
#define DIST_PROCESS_BOARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { DIST__SEAT_FREE, DIST__SEAT_INVITED, DIST__SEAT_TAKEN, DIST__SEAT_STATES = 4 };

struct dist__seat {
    _Atomic(uint64_t) word; /* number * DIST__SEAT_STATES + state [seat] */
};

static inline uint64_t dist__seat_read(struct dist__seat *seat) {
    /* acquire: what the worker did in it, if it is FREE; pairs with [seat] */
    return atomic_load_explicit(&seat->word, memory_order_acquire);
}

static inline unsigned dist__seat_state(uint64_t word) {
    return (unsigned)(word % DIST__SEAT_STATES);
}

static inline uint64_t dist__seat_number(uint64_t word) { return word / DIST__SEAT_STATES; }

/* Host: a FREE seat; or the worker: one that it has TAKEN. */
static inline void dist__seat_invite(struct dist__seat *seat, uint64_t ticket) {
    /* release: the call, and what was done in it; pairs with [seat] */
    atomic_store_explicit(&seat->word, ticket * DIST__SEAT_STATES + DIST__SEAT_INVITED,
                          memory_order_release);
}

/* Host: takes an invitation back. False: there is none, or it has been taken. */
static inline bool dist__seat_revoke(struct dist__seat *seat, uint64_t word) {
    if (dist__seat_state(word) != DIST__SEAT_INVITED) return false;
    /* acquire: a worker may have been here and given its turn to others; pairs with [seat] */
    return atomic_compare_exchange_strong_explicit(&seat->word, &word, DIST__SEAT_FREE,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Worker: takes the seat that it was invited to by `word`. False: too late. */
static inline bool dist__seat_take(struct dist__seat *seat, uint64_t word, uint64_t generation) {
    /* acquire: the call; pairs with [seat] */
    return atomic_compare_exchange_strong_explicit(
        &seat->word, &word, generation * DIST__SEAT_STATES + DIST__SEAT_TAKEN, memory_order_acquire,
        memory_order_relaxed);
}

/* The worker that has it, or the host when that one is dead. */
static inline void dist__seat_leave(struct dist__seat *seat) {
    /* release: what was done in it; pairs with [seat] */
    atomic_store_explicit(&seat->word, DIST__SEAT_FREE, memory_order_release);
}

/* ------------------------------------------------------------------ lives */

enum { DIST__LIFE_NONE, DIST__LIFE_LIVE, DIST__LIFE_DEAD, DIST__LIFE_STATES = 4 };

struct dist__life {
    alignas(64) _Atomic(uint64_t) word;   /* generation * DIST__LIFE_STATES + state [life] */
    _Atomic(int32_t) pid;                 /* of the LIVE; the worker [life] */
    _Atomic(int32_t) status;              /* of the DEAD, as waitpid tells it; the nursery [life] */
    alignas(64) _Atomic(uint32_t) asleep; /* a futex: 1 while it waits to be invited; see note.h */
    _Atomic(uint64_t) tasks;              /* that workers of this number have run */
};

/* Worker, before anything else: it is there. */
static inline void dist__life_begin(struct dist__life *life, uint64_t generation, int32_t pid) {
    atomic_store_explicit(&life->pid, pid, memory_order_relaxed); /* published by the word */
    /* release: the pid; pairs with [life] */
    atomic_store_explicit(&life->word, generation * DIST__LIFE_STATES + DIST__LIFE_LIVE,
                          memory_order_release);
}

/* Nursery: it is dead, and its pid still its own. */
static inline void dist__life_end(struct dist__life *life, uint64_t generation, int32_t status) {
    atomic_store_explicit(&life->status, status, memory_order_relaxed); /* published by the word */
    /* release: the status; pairs with [life] */
    atomic_store_explicit(&life->word, generation * DIST__LIFE_STATES + DIST__LIFE_DEAD,
                          memory_order_release);
}

static inline uint64_t dist__life_read(struct dist__life *life) {
    /* acquire: pid or status; pairs with [life] */
    return atomic_load_explicit(&life->word, memory_order_acquire);
}

/* Host: has the worker of this generation died? */
static inline bool dist__life_is_over(uint64_t word, uint64_t generation) {
    return word / DIST__LIFE_STATES > generation ||
           (word / DIST__LIFE_STATES == generation && word % DIST__LIFE_STATES == DIST__LIFE_DEAD);
}

#endif
