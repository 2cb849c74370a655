/* deque.h - the work-stealing deque of D. Chase and Y. Lev, "Dynamic circular work-stealing
 * deque" (SPAA 2005), with sequentially consistent operations in the place of fences.
 *
 * The owner pushes and pops at the bottom, thieves steal at the top. Indices have 63 bits and only
 * grow (bottom falls by one during a pop), so they never wrap. Every store to bottom is at least
 * a release: a thief that sees an index sees the slot, and what the element points to.
 *
 * The owner gives a larger block when push says full; thieves may go on reading an old block, so
 * old blocks are kept, linked from newer ones, until no thief can be there.
 *
 * A thief takes one element, or, while the deque is *open*, up to DIST__DEQUE_REACH of them at
 * once. The owner opens it when there are many, and closes it before it pops where such a thief
 * might reach; so it pops without a CAS as long as it is far from top. Whether it is open stands in
 * one word with the index of top: a thief's CAS fails if that has changed since it looked. It must
 * not come back either, since behind the first element the owner may have popped and pushed
 * meanwhile; so a deque that was closed opens again only when top has moved on. */
#ifndef DIST_THREAD_DEQUE_H
#define DIST_THREAD_DEQUE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef DIST__DEQUE_REACH
#define DIST__DEQUE_REACH 16 /* elements that a thief may take at once */
#endif

struct dist__deque_block {
    struct dist__deque_block *older;
    int64_t size; /* a power of two */
    _Atomic(void *) slot[];
};

struct dist__deque {
    alignas(64) _Atomic(int64_t) top;          /* index * 2 + open; all change it by CAS alone */
    alignas(64) _Atomic(int64_t) bottom;       /* owner writes; publishes slots [push] */
    _Atomic(struct dist__deque_block *) block; /* owner writes; publishes a copy [grow] */
    int64_t seen_top;                          /* owner's lower bound of top's index */
    int64_t closed_at;                         /* owner only: where top stood; -1: never was */
};

static inline int64_t dist__deque_index(int64_t top) { return top >> 1; }

static inline bool dist__deque_is_open(int64_t top) { return top & 1; }

/* How many elements a thief that has seen this top takes at most. */
static inline int64_t dist__deque_reach(int64_t top) {
    return dist__deque_is_open(top) ? DIST__DEQUE_REACH : 1;
}

static inline void dist__deque_init(struct dist__deque *deque, struct dist__deque_block *block) {
    atomic_init(&deque->top, 0);
    atomic_init(&deque->bottom, 0);
    atomic_init(&deque->block, block);
    deque->seen_top = 0;
    deque->closed_at = -1;
}

static inline _Atomic(void *) *dist__deque_slot(struct dist__deque_block *block, int64_t index) {
    return &block->slot[index & (block->size - 1)];
}

/* Anybody: a hint, unless what was pushed and taken has come to this thread by other means. */
static inline bool dist__deque_seems_empty(const struct dist__deque *deque) {
    /* acquire: what a thief did before it took what is gone; pairs with [top] */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_acquire);
    /* seq_cst: see dist__deque_offer [offer] */
    return dist__deque_index(top) >= atomic_load_explicit(&deque->bottom, memory_order_seq_cst);
}

/* Anybody: how many there are; a hint. */
static inline int64_t dist__deque_count(const struct dist__deque *deque) {
    /* relaxed, both: a hint */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
    return atomic_load_explicit(&deque->bottom, memory_order_relaxed) - dist__deque_index(top);
}

/* Anybody: how many have left it at the top so far; a hint. */
static inline int64_t dist__deque_taken(const struct dist__deque *deque) {
    return dist__deque_index(atomic_load_explicit(&deque->top, memory_order_relaxed));
}

/* Owner: what pop would return, if no thief takes it first; NULL: nothing. */
static inline void *dist__deque_newest(const struct dist__deque *deque) {
    /* relaxed, all: the owner's own stores; pop decides */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
    if (dist__deque_index(top) >= bottom) return NULL;
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_relaxed);
    return atomic_load_explicit(dist__deque_slot(block, bottom - 1), memory_order_relaxed);
}

/* Anybody: what a steal might return, a hint; NULL: nothing. What it points to may be gone by now.
 */
static inline void *dist__deque_oldest(const struct dist__deque *deque) {
    /* acquire: pairs with [top]; the slot, pairs with [push]; the block, pairs with [grow] */
    int64_t top = dist__deque_index(atomic_load_explicit(&deque->top, memory_order_acquire));
    if (top >= atomic_load_explicit(&deque->bottom, memory_order_acquire)) return NULL;
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_acquire);
    return atomic_load_explicit(dist__deque_slot(block, top), memory_order_relaxed);
}

/* Owner: the slot for the next element, of `count` that there is room for; NULL: full. */
static inline _Atomic(void *) *dist__deque_room(struct dist__deque *deque, int64_t bottom,
                                                int64_t count) {
    /* relaxed: the owner's own store */
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_relaxed);
    int64_t end = bottom + count;
    if (end - deque->seen_top > block->size) {
        /* acquire: thieves have read a slot before its index is used again; pairs with [top] */
        int64_t top = atomic_load_explicit(&deque->top, memory_order_acquire);
        deque->seen_top = dist__deque_index(top);
        if (end - deque->seen_top > block->size) return NULL;
    }
    return dist__deque_slot(block, bottom);
}

/* Owner. False: full, give a larger block first. */
static inline bool dist__deque_push(struct dist__deque *deque, void *element) {
    /* relaxed: the owner's own store */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    _Atomic(void *) *slot = dist__deque_room(deque, bottom, 1);
    if (!slot) return false;
    /* relaxed: published by the next line */
    atomic_store_explicit(slot, element, memory_order_relaxed);
    /* release: the slot before its index; pairs with [push] in steal */
    atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_release);
    return true;
}

/* Owner: a push that comes before whatever the owner looks at next: whether anybody will look here.
 * Those who stop looking say so first, and then look a last time. */
static inline bool dist__deque_offer(struct dist__deque *deque, void *element) {
    /* relaxed, both: as in push */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    _Atomic(void *) *slot = dist__deque_room(deque, bottom, 1);
    if (!slot) return false;
    atomic_store_explicit(slot, element, memory_order_relaxed);
    /* seq_cst: before the owner's next look, against the last look in seems_empty [offer]; the
     * release of [push] */
    atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_seq_cst);
    return true;
}

/* Owner: as many offers at once. False: full; nothing was offered. */
static inline bool dist__deque_offer_some(struct dist__deque *deque, void *const *element,
                                          int64_t count) {
    /* relaxed, all: as in push */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    if (!dist__deque_room(deque, bottom, count)) return false;
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_relaxed);
    for (int64_t i = 0; i < count; i++)
        atomic_store_explicit(dist__deque_slot(block, bottom + i), element[i],
                              memory_order_relaxed);
    /* seq_cst: as in offer [offer] */
    atomic_store_explicit(&deque->bottom, bottom + count, memory_order_seq_cst);
    return true;
}

/* Owner: opens it if there are `many` elements in it: at least DIST__DEQUE_REACH. */
static inline void dist__deque_open(struct dist__deque *deque, int64_t many) {
    /* relaxed, both: the owner's own store; whoever has changed top meanwhile wins */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
    int64_t index = dist__deque_index(top);
    if (dist__deque_is_open(top) || bottom - index < many || index <= deque->closed_at) return;
    /* seq_cst: as release, the pops and pushes before it, since they looked at a top where thieves
     * take one element; pairs with [open] in steal_some */
    atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 1, memory_order_seq_cst,
                                            memory_order_relaxed);
}

/* Owner: closes it if thieves might reach the element at `bottom`, unless that is the last one or
 * gone. Returns top. */
static inline int64_t dist__deque_close(struct dist__deque *deque, int64_t top, int64_t bottom) {
    while (dist__deque_is_open(top) && dist__deque_index(top) < bottom)
        /* seq_cst: as whatever changes top [last]. relaxed: it is tried again */
        if (atomic_compare_exchange_strong_explicit(&deque->top, &top, top - 1,
                                                    memory_order_seq_cst, memory_order_relaxed)) {
            top--;
            deque->closed_at = dist__deque_index(top);
        }
    return top;
}

/* Owner: moves to `block`, at least twice as large as the present one. */
static inline void dist__deque_grow(struct dist__deque *deque, struct dist__deque_block *block) {
    struct dist__deque_block *old = atomic_load_explicit(&deque->block, memory_order_relaxed);
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    /* relaxed: an old top only copies elements that are gone; the owner wrote the slots itself */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
    for (int64_t i = dist__deque_index(top); i < bottom; i++) {
        void *element = atomic_load_explicit(dist__deque_slot(old, i), memory_order_relaxed);
        atomic_store_explicit(dist__deque_slot(block, i), element, memory_order_relaxed);
    }
    block->older = old;
    /* release: the copy before the pointer; pairs with [grow] in steal */
    atomic_store_explicit(&deque->block, block, memory_order_release);
}

/* Owner: the newest element, or NULL. */
static inline void *dist__deque_pop(struct dist__deque *deque) {
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed) - 1;
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_relaxed);
    /* seq_cst, both lines: the claim on the last element before the look at top; against the
     * thief's look at bottom after its own look at top [last] */
    atomic_store_explicit(&deque->bottom, bottom, memory_order_seq_cst);
    int64_t top = atomic_load_explicit(&deque->top, memory_order_seq_cst);
    if (dist__deque_index(top) + dist__deque_reach(top) > bottom)
        top = dist__deque_close(deque, top, bottom);
    if (dist__deque_index(top) < bottom) /* relaxed: no thief can reach this slot */
        return atomic_load_explicit(dist__deque_slot(block, bottom), memory_order_relaxed);
    void *element = NULL;
    if (dist__deque_index(top) == bottom) { /* the last one: whoever advances top has it */
        element = atomic_load_explicit(dist__deque_slot(block, bottom), memory_order_relaxed);
        /* seq_cst: one winner, in one order with all looks at top and bottom [last] */
        if (!atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 2,
                                                     memory_order_seq_cst, memory_order_relaxed))
            element = NULL;
    }
    /* release: like every store to bottom, see [push] */
    atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_release);
    return element;
}

/* Thief: the oldest elements, up to `most` and half of what it sees; only one if the deque is not
 * open. Returns how many. 0: there is none, or another thief was quicker (*lost). */
static inline int64_t dist__deque_steal_some(struct dist__deque *deque, void **element,
                                             int64_t most, bool *lost) {
    *lost = false;
    /* seq_cst, both lines: see [last]; the first is also the acquire of [open], the second that of
     * [push] */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_seq_cst);
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_seq_cst);
    int64_t index = dist__deque_index(top), count = (bottom - index + 1) / 2;
    if (index >= bottom) return 0;
    if (count > dist__deque_reach(top)) count = dist__deque_reach(top);
    if (count > most) count = most;
    /* acquire: the copied slots; pairs with [grow] */
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_acquire);
    for (int64_t i = 0; i < count; i++)
        element[i] = atomic_load_explicit(dist__deque_slot(block, index + i), memory_order_relaxed);
    /* seq_cst: see [last]; also a release, so that the slots have been read before the owner may
     * use them again, see [top] */
    if (atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 2 * count,
                                                memory_order_seq_cst, memory_order_relaxed))
        return count;
    *lost = true;
    return 0;
}

/* Thief: the oldest element, or NULL if there is none or another thief was quicker (*lost). */
static inline void *dist__deque_steal(struct dist__deque *deque, bool *lost) {
    void *element = NULL;
    return dist__deque_steal_some(deque, &element, 1, lost) ? element : NULL;
}

#endif
