/* board.h - how workers of a process pool come to calls and leave them.
 *
 * A pool has slots, one for each call that runs in it, and in each slot a seat for each worker:
 *
 *     FREE -> INVITED (ticket) -> TAKEN (generation) -> FREE         host, worker, worker
 *             INVITED -> FREE                                        host: takes it back
 *             TAKEN -> INVITED (new ticket)                          worker: others have their turn
 *             TAKEN -> CONDEMNED (generation)                        host: it is to be killed
 *             TAKEN, CONDEMNED -> FREE                               host: its worker is dead
 *
 * The host writes seats that are FREE; where both may write they compare and swap. So the host
 * never waits for a worker that may not come, whoever is TAKEN is known to the host by its
 * generation, which no other worker ever has, and a signal never meets a worker that has just gone
 * to another call. A worker takes the invitation with the lowest ticket: calls are served in their
 * order, and in turn.
 *
 * A call that wants fewer workers than there are has so many chairs. A worker looks for one when it
 * has TAKEN its seat, and gives it back before it leaves: so whose chair a dead worker's was stands
 * in the chair, and between two calls all of them are empty.
 *
 * A worker's life is written by its birth (itself) and its death (the nursery, which is its
 * parent), one after the other. */
#ifndef DIST_PROCESS_BOARD_H
#define DIST_PROCESS_BOARD_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    DIST__SEAT_FREE,
    DIST__SEAT_INVITED,
    DIST__SEAT_TAKEN,
    DIST__SEAT_CONDEMNED,
    DIST__SEAT_STATES
};

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

/* Host: a FREE seat. */
static inline void dist__seat_invite(struct dist__seat *seat, uint64_t ticket) {
    /* release: the call; pairs with [seat] */
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

/* Worker: leaves the seat that it has TAKEN; with a ticket it comes back when it is its turn.
 * False: it was condemned before. */
static inline bool dist__seat_leave(struct dist__seat *seat, uint64_t generation, uint64_t ticket) {
    uint64_t taken = generation * DIST__SEAT_STATES + DIST__SEAT_TAKEN;
    uint64_t next = ticket ? ticket * DIST__SEAT_STATES + DIST__SEAT_INVITED : DIST__SEAT_FREE;
    /* release: what was done in it; pairs with [seat] */
    return atomic_compare_exchange_strong_explicit(&seat->word, &taken, next, memory_order_release,
                                                   memory_order_relaxed);
}

/* Host: the worker that has TAKEN it is to be killed. False: it has left. */
static inline bool dist__seat_condemn(struct dist__seat *seat, uint64_t generation) {
    uint64_t taken = generation * DIST__SEAT_STATES + DIST__SEAT_TAKEN;
    /* relaxed: there is nothing to publish, the word alone decides */
    return atomic_compare_exchange_strong_explicit(
        &seat->word, &taken, generation * DIST__SEAT_STATES + DIST__SEAT_CONDEMNED,
        memory_order_relaxed, memory_order_relaxed);
}

/* Host: the worker that has it is dead. */
static inline void dist__seat_clear(struct dist__seat *seat) {
    /* relaxed: nobody but the host looks at a FREE seat */
    atomic_store_explicit(&seat->word, DIST__SEAT_FREE, memory_order_relaxed);
}

/* ------------------------------------------------------------------ chairs */

struct dist__chair {
    _Atomic(uint32_t) owner; /* worker + 1; 0: nobody */
};

/* Worker: false if none of them is empty. */
static inline bool dist__chair_take(struct dist__chair *chair, unsigned count, unsigned worker) {
    for (unsigned k = 0; k < count; k++) {
        uint32_t nobody = 0;
        /* acquire: whoever had it has done with its work; pairs with [chair] */
        if (atomic_compare_exchange_strong_explicit(&chair[k].owner, &nobody, worker + 1,
                                                    memory_order_acquire, memory_order_relaxed))
            return true;
    }
    return false;
}

/* Worker: its own, if it has one; or the host, when it is dead. */
static inline void dist__chair_give(struct dist__chair *chair, unsigned count, unsigned worker) {
    for (unsigned k = 0; k < count; k++) {
        /* relaxed: only itself has written that */
        if (atomic_load_explicit(&chair[k].owner, memory_order_relaxed) != worker + 1) continue;
        /* release: the work that it did there; pairs with [chair] */
        atomic_store_explicit(&chair[k].owner, 0, memory_order_release);
    }
}

/* Host: how many are empty. */
static inline unsigned dist__chair_count(struct dist__chair *chair, unsigned count) {
    unsigned empty = 0;
    for (unsigned k = 0; k < count; k++) /* relaxed: a number to look at */
        empty += atomic_load_explicit(&chair[k].owner, memory_order_relaxed) == 0;
    return empty;
}

/* ------------------------------------------------------------------ lives */

enum { DIST__LIFE_NONE, DIST__LIFE_LIVE, DIST__LIFE_DEAD, DIST__LIFE_STATES = 4 };

#ifndef DIST__LIFE_ENDS
#define DIST__LIFE_ENDS 64 /* that are remembered */
#endif

struct dist__life {
    alignas(64) _Atomic(uint64_t) word;    /* generation * DIST__LIFE_STATES + state [life] */
    _Atomic(int32_t) pid;                  /* of the LIVE; the worker [pid] */
    _Atomic(int32_t) end[DIST__LIFE_ENDS]; /* by generation, as waitpid tells it; nursery [life] */
    _Atomic(uint64_t) births;              /* generations so far; nurseries, one after the other */
    alignas(64) _Atomic(uint32_t) asleep;  /* a futex: 1 while it waits to be invited; see note.h */
    _Atomic(uint64_t) begun; /* calls that workers of this number have begun to work for */
};

/* Nursery: the generation of the next worker, before it is forked. */
static inline uint64_t dist__life_next(struct dist__life *life) {
    /* relaxed: one nursery at a time, and the next one is forked when the last is dead */
    return atomic_fetch_add_explicit(&life->births, 1, memory_order_relaxed) + 1;
}

/* Worker, before anything else: it is there. */
static inline void dist__life_begin(struct dist__life *life, uint64_t generation, int32_t pid) {
    /* release: whoever reads it learns of the death before; pairs with [pid] */
    atomic_store_explicit(&life->pid, pid, memory_order_release);
    /* release: the pid; pairs with [life] */
    atomic_store_explicit(&life->word, generation * DIST__LIFE_STATES + DIST__LIFE_LIVE,
                          memory_order_release);
}

/* Nursery: it is dead, and its pid still its own. */
static inline void dist__life_end(struct dist__life *life, uint64_t generation, int32_t status) {
    /* release: the deaths before it, for whoever reads it instead of theirs; pairs with [life] */
    atomic_store_explicit(&life->end[generation % DIST__LIFE_ENDS], status, memory_order_release);
    /* release: the status; pairs with [life] */
    atomic_store_explicit(&life->word, generation * DIST__LIFE_STATES + DIST__LIFE_DEAD,
                          memory_order_release);
}

static inline uint64_t dist__life_read(struct dist__life *life) {
    /* acquire: pid or status; pairs with [life] */
    return atomic_load_explicit(&life->word, memory_order_acquire);
}

/* Host: is one on its way, forked and not yet there? */
static inline bool dist__life_is_expected(struct dist__life *life) {
    /* relaxed: a number to look at */
    return atomic_load_explicit(&life->births, memory_order_relaxed) >
           dist__life_read(life) / DIST__LIFE_STATES;
}

/* Worker: is its number another's? Its nursery has died then, and it ought to have, too. */
static inline bool dist__life_has_heir(struct dist__life *life, uint64_t generation) {
    /* relaxed: a number to look at */
    return atomic_load_explicit(&life->births, memory_order_relaxed) > generation;
}

/* Of whom life_read, before and after, says that it is LIVE. */
static inline int32_t dist__life_pid(struct dist__life *life) {
    /* acquire: if it is a later one's already, the look after it tells; pairs with [pid] */
    return atomic_load_explicit(&life->pid, memory_order_acquire);
}

/* Host: has the worker of this generation died? */
static inline bool dist__life_is_over(uint64_t word, uint64_t generation) {
    return word / DIST__LIFE_STATES > generation ||
           (word / DIST__LIFE_STATES == generation && word % DIST__LIFE_STATES == DIST__LIFE_DEAD);
}

/* Host: how it died, once it is over. False: too many have died since. */
static inline bool dist__life_status(struct dist__life *life, uint64_t generation, int *status) {
    /* acquire: if it is a later one's already, the look after it tells; pairs with [life] */
    *status = atomic_load_explicit(&life->end[generation % DIST__LIFE_ENDS], memory_order_acquire);
    uint64_t word = dist__life_read(life);
    return dist__life_is_over(word, generation) &&
           word / DIST__LIFE_STATES < generation + DIST__LIFE_ENDS;
}

#endif
