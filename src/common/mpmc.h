/* mpmc.h - a bounded queue for many producers and many consumers: Dmitry Vyukov's ring of cells
 * with sequence numbers (2010), with laps in their place, so that any capacity will do, 1 included,
 * and zeroed memory is an empty ring.
 *
 *     position p      counts puts (tail) and gets (head); its cell is p % capacity, its lap p /
 * capacity turn == 2 * lap        the cell is free for the put of this lap turn == 2 * lap + 1 it
 * holds the item of this lap
 *
 * Who moves tail (head) past a position owns its cell until he sets the turn, which only grows. So
 * head <= tail <= head + capacity, and items leave in the order of their positions. A thread that
 * stops in between is waited for by those who need its cell: for them the ring is empty, or full.
 *
 * Waiting is left to an eventcount: turns are stored and loaded seq_cst for its sake. */
#ifndef DIST_COMMON_MPMC_H
#define DIST_COMMON_MPMC_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dist__cell {
    _Atomic(uint64_t) turn; /* whoever owns the cell; publishes and gives back the item [turn] */
    unsigned char item[];
};

struct dist__mpmc {
    alignas(64) _Atomic(uint64_t) tail; /* puts so far, and DIST__MPMC_CLOSED [closed] */
    alignas(64) _Atomic(uint64_t) head; /* gets so far */
    alignas(64) size_t capacity;
    size_t cell_bytes;
    unsigned shift; /* capacity == 1 << shift; 64: it is no power of two */
    unsigned char *cells;
};

/* Set when no position will be added any more. */
static const uint64_t DIST__MPMC_CLOSED = UINT64_C(1) << 63;

/* A cell that the calling thread owns until it sets the turn. */
struct dist__claim {
    struct dist__cell *cell;
    uint64_t next_turn;
};

enum dist__mpmc_answer { DIST__MPMC_DONE, DIST__MPMC_LATER, DIST__MPMC_OVER };

/* `cells`: capacity times cell_bytes, zeroed. */
static inline void dist__mpmc_init(struct dist__mpmc *ring, size_t capacity, size_t cell_bytes,
                                   unsigned char *cells) {
    ring->capacity = capacity;
    ring->cell_bytes = cell_bytes;
    ring->cells = cells;
    ring->shift = 64;
    if ((capacity & (capacity - 1)) == 0) ring->shift = (unsigned)__builtin_ctzll(capacity);
}

/* Looks at the cell of a position as a put does (full: 0) or a get (full: 1), and returns how far
 * it is from being ready for that: below 0: it has not come so far, above 0: it is past it. */
static inline int64_t dist__mpmc_look(const struct dist__mpmc *ring, uint64_t position,
                                      unsigned full, struct dist__claim *claim) {
    size_t index;
    uint64_t lap;
    if (ring->shift < 64) { /* a division takes as long as all the rest */
        index = (size_t)position & (ring->capacity - 1);
        lap = position >> ring->shift;
    } else {
        index = (size_t)(position % ring->capacity);
        lap = position / ring->capacity;
    }
    uint64_t wanted = 2 * lap + full;
    claim->cell = (struct dist__cell *)(void *)(ring->cells + index * ring->cell_bytes);
    claim->next_turn = wanted + 1;
    /* seq_cst: the item, or that it is gone; pairs with [turn]. In the one order with the
     * eventcount: a look after it has entered sees what was set before others found it there */
    return (int64_t)(atomic_load_explicit(&claim->cell->turn, memory_order_seq_cst) - wanted);
}

/* Owns the next cell to put an item into. LATER: it is full. OVER: closed. */
static inline enum dist__mpmc_answer dist__mpmc_claim_put(struct dist__mpmc *ring,
                                                          struct dist__claim *claim) {
    /* relaxed: a guess, which the exchange or the turn of the cell proves wrong */
    uint64_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    while (!(at & DIST__MPMC_CLOSED)) {
        int64_t distance = dist__mpmc_look(ring, at, 0, claim);
        if (distance < 0) return DIST__MPMC_LATER;
        /* relaxed: the cell's turn passes on what lies in it */
        if (distance > 0) at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&ring->tail, &at, at + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            return DIST__MPMC_DONE;
    }
    return DIST__MPMC_OVER;
}

/* Owns the cell of the first item. LATER: there is none yet. OVER: closed, and none is to come. */
static inline enum dist__mpmc_answer dist__mpmc_claim_get(struct dist__mpmc *ring,
                                                          struct dist__claim *claim) {
    /* relaxed: see claim_put */
    uint64_t at = atomic_load_explicit(&ring->head, memory_order_relaxed);
    for (int64_t distance; (distance = dist__mpmc_look(ring, at, 1, claim)) >= 0;) {
        if (distance > 0) at = atomic_load_explicit(&ring->head, memory_order_relaxed);
        else if (atomic_compare_exchange_weak_explicit(&ring->head, &at, at + 1,
                                                       memory_order_relaxed, memory_order_relaxed))
            return DIST__MPMC_DONE;
    }
    /* acquire: what the closer did before; pairs with [closed]. A put under way has its position */
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return tail == (at | DIST__MPMC_CLOSED) ? DIST__MPMC_OVER : DIST__MPMC_LATER;
}

/* The item is there, or the room is. */
static inline void dist__mpmc_settle(const struct dist__claim *claim) {
    /* seq_cst, which is a release too: the bytes of the item before it, the look at the eventcount
     * after it; see compare [turn] */
    atomic_store_explicit(&claim->cell->turn, claim->next_turn, memory_order_seq_cst);
}

/* Would a get find an item now? */
static inline bool dist__mpmc_has_item(const struct dist__mpmc *ring) {
    struct dist__claim claim;
    for (;;) {
        /* relaxed: see claim_put */
        uint64_t at = atomic_load_explicit(&ring->head, memory_order_relaxed);
        int64_t distance = dist__mpmc_look(ring, at, 1, &claim);
        if (distance <= 0) return distance == 0;
    }
}

/* Would a put find room, or be refused, now? */
static inline bool dist__mpmc_has_room(const struct dist__mpmc *ring) {
    struct dist__claim claim;
    for (;;) {
        /* relaxed: see claim_put */
        uint64_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        if (at & DIST__MPMC_CLOSED) return true;
        int64_t distance = dist__mpmc_look(ring, at, 0, &claim);
        if (distance <= 0) return distance == 0;
    }
}

static inline void dist__mpmc_close(struct dist__mpmc *ring) {
    /* release: see claim_get [closed] */
    atomic_fetch_or_explicit(&ring->tail, DIST__MPMC_CLOSED, memory_order_release);
}

/* How many items have been put, and got, those under way included. */
static inline uint64_t dist__mpmc_puts(const struct dist__mpmc *ring) {
    /* relaxed, both: numbers */
    return atomic_load_explicit(&ring->tail, memory_order_relaxed) & ~DIST__MPMC_CLOSED;
}

static inline uint64_t dist__mpmc_gets(const struct dist__mpmc *ring) {
    return atomic_load_explicit(&ring->head, memory_order_relaxed);
}

#endif
