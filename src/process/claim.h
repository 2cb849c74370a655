/* claim.h - which items a worker process holds, so that its death loses none.
 *
 *     IDLE -> CLAIMING -> HELD -> IDLE ... -> LEFT
 *
 * The worker is the only writer of its cell (before it exists, its parent is). It says CLAIMING
 * before it draws from the cursor, and HELD once the cell names what it drew:
 *
 *     it dies while    then                                       the parent
 *     IDLE             it held nothing                            replaces it
 *     CLAIMING         items may be drawn that no cell names      finds them when no worker lives
 *     HELD             the cell names them; the items' states     hands the untouched ones to
 *                      say which are finished and which one ran   the replacement
 *     LEFT             it had found nothing more to do            nothing
 *
 * The parent reads a cell only when its worker is dead and reaped, which the kernel orders after
 * everything the worker did; the orders below serve the check of the protocol with threads. */
#ifndef DIST_PROCESS_CLAIM_H
#define DIST_PROCESS_CLAIM_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum dist__claim_state { DIST__IDLE, DIST__CLAIMING, DIST__HELD, DIST__LEFT };

struct dist__claim {
    alignas(64) _Atomic(uint32_t) state; /* publishes begin and end [held] */
    _Atomic(uint64_t) begin, end;        /* items; valid while HELD */
    _Atomic(uint64_t) finished;          /* items that workers in this place have finished */
};

static inline void dist__claim_set(struct dist__claim *claim, enum dist__claim_state state) {
    /* release: what the worker did before; with HELD the span. Pairs with [held] */
    atomic_store_explicit(&claim->state, (uint32_t)state, memory_order_release);
}

static inline void dist__claim_hold(struct dist__claim *claim, uint64_t begin, uint64_t end) {
    /* relaxed: published by the state */
    atomic_store_explicit(&claim->begin, begin, memory_order_relaxed);
    atomic_store_explicit(&claim->end, end, memory_order_relaxed);
    dist__claim_set(claim, DIST__HELD);
}

/* The items below `begin` are not its any more: what became of them stands in their states. */
static inline void dist__claim_advance(struct dist__claim *claim, uint64_t begin) {
    /* relaxed: read when the worker is dead and reaped */
    atomic_store_explicit(&claim->begin, begin, memory_order_relaxed);
}

static inline enum dist__claim_state dist__claim_read(const struct dist__claim *claim,
                                                      uint64_t *begin, uint64_t *end) {
    /* acquire: pairs with [held] */
    uint32_t state = atomic_load_explicit(&claim->state, memory_order_acquire);
    *begin = atomic_load_explicit(&claim->begin, memory_order_relaxed);
    *end = atomic_load_explicit(&claim->end, memory_order_relaxed);
    return (enum dist__claim_state)state;
}

static inline void dist__claim_count(struct dist__claim *claim) {
    /* relaxed: one writer, and the parent only wants to know whether it moves */
    uint64_t finished = atomic_load_explicit(&claim->finished, memory_order_relaxed);
    atomic_store_explicit(&claim->finished, finished + 1, memory_order_relaxed);
}

/* Draws up to `want` of `units` from the cursor. True: units *first to *last - 1 are the caller's,
 * and must be named by dist__claim_hold. False: none are left; the cell is IDLE. */
static inline bool dist__claim_draw(struct dist__claim *claim, _Atomic(uint64_t) *cursor,
                                    uint64_t units, uint64_t want, uint64_t *first,
                                    uint64_t *last) {
    dist__claim_set(claim, DIST__CLAIMING);
    /* acq_rel: in the order of the program, CLAIMING before the draw, the draw before the span, as
     * the parent sees them after a death [drawn] */
    uint64_t drawn = atomic_fetch_add_explicit(cursor, want, memory_order_acq_rel);
    if (drawn >= units) {
        dist__claim_set(claim, DIST__IDLE);
        return false;
    }
    *first = drawn;
    *last = units - drawn < want ? units : drawn + want;
    return true;
}

#endif
