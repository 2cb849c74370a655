/* deque.h - the work-stealing deque of D. Chase and Y. Lev, "Dynamic circular work-stealing
 * deque" (SPAA 2005), with sequentially consistent operations in the place of fences.
 *
 * The owner pushes and pops at the bottom, thieves steal at the top. Indices are 64 bits and only
 * grow (bottom falls by one during a pop), so they never wrap. Every store to bottom is at least
 * a release: a thief that sees an index sees the slot, and what the element points to.
 *
 * The owner gives a larger block when push says full; thieves may go on reading an old block, so
 * old blocks are kept, linked from newer ones, until no thief can be there. */
#ifndef DIST_THREAD_DEQUE_H
#define DIST_THREAD_DEQUE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dist__deque_block {
    struct dist__deque_block *older;
    int64_t size; /* a power of two */
    _Atomic(void *) slot[];
};

struct dist__deque {
    alignas(64) _Atomic(int64_t) top;          /* thieves and the owner advance it by CAS */
    alignas(64) _Atomic(int64_t) bottom;       /* owner writes; publishes slots [push] */
    _Atomic(struct dist__deque_block *) block; /* owner writes; publishes a copy [grow] */
    int64_t seen_top;                          /* owner's lower bound of top */
};

static inline void dist__deque_init(struct dist__deque *deque, struct dist__deque_block *block) {
    atomic_init(&deque->top, 0);
    atomic_init(&deque->bottom, 0);
    atomic_init(&deque->block, block);
    deque->seen_top = 0;
}

static inline _Atomic(void *) *dist__deque_slot(struct dist__deque_block *block, int64_t index) {
    return &block->slot[index & (block->size - 1)];
}

/* Anybody: a hint, unless what was pushed and taken has come to this thread by other means. */
static inline bool dist__deque_seems_empty(const struct dist__deque *deque) {
    /* acquire: what a thief did before it took what is gone; pairs with [top] */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_acquire);
    /* seq_cst: see dist__deque_offer [offer] */
    return top >= atomic_load_explicit(&deque->bottom, memory_order_seq_cst);
}

/* Anybody: how many there are; a hint. */
static inline int64_t dist__deque_count(const struct dist__deque *deque) {
    /* relaxed, both: a hint */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
    return atomic_load_explicit(&deque->bottom, memory_order_relaxed) - top;
}

/* Owner: what pop would return, if no thief takes it first; NULL: nothing. */
static inline void *dist__deque_newest(const struct dist__deque *deque) {
    /* relaxed, all: the owner's own stores; pop decides */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    if (atomic_load_explicit(&deque->top, memory_order_relaxed) >= bottom) return NULL;
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_relaxed);
    return atomic_load_explicit(dist__deque_slot(block, bottom - 1), memory_order_relaxed);
}

/* Anybody: what a steal might return, a hint; NULL: nothing. What it points to may be gone by now.
 */
static inline void *dist__deque_oldest(const struct dist__deque *deque) {
    /* acquire: pairs with [top]; the slot, pairs with [push]; the block, pairs with [grow] */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_acquire);
    if (top >= atomic_load_explicit(&deque->bottom, memory_order_acquire)) return NULL;
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_acquire);
    return atomic_load_explicit(dist__deque_slot(block, top), memory_order_relaxed);
}

/* Owner: the slot for the next element; NULL: full. */
static inline _Atomic(void *) *dist__deque_room(struct dist__deque *deque, int64_t bottom) {
    /* relaxed: the owner's own store */
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_relaxed);
    if (bottom - deque->seen_top >= block->size) {
        /* acquire: thieves have read a slot before its index is used again; pairs with [top] */
        deque->seen_top = atomic_load_explicit(&deque->top, memory_order_acquire);
        if (bottom - deque->seen_top >= block->size) return NULL;
    }
    return dist__deque_slot(block, bottom);
}

/* Owner. False: full, give a larger block first. */
static inline bool dist__deque_push(struct dist__deque *deque, void *element) {
    /* relaxed: the owner's own store */
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    _Atomic(void *) *slot = dist__deque_room(deque, bottom);
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
    _Atomic(void *) *slot = dist__deque_room(deque, bottom);
    if (!slot) return false;
    atomic_store_explicit(slot, element, memory_order_relaxed);
    /* seq_cst: before the owner's next look, against the last look in seems_empty [offer]; the
     * release of [push] */
    atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_seq_cst);
    return true;
}

/* Owner: moves to `block`, at least twice as large as the present one. */
static inline void dist__deque_grow(struct dist__deque *deque, struct dist__deque_block *block) {
    struct dist__deque_block *old = atomic_load_explicit(&deque->block, memory_order_relaxed);
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);
    /* relaxed: an old top only copies elements that are gone; the owner wrote the slots itself */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_relaxed);
    for (int64_t i = top; i < bottom; i++) {
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
    if (top < bottom) /* relaxed: no thief can reach this slot */
        return atomic_load_explicit(dist__deque_slot(block, bottom), memory_order_relaxed);
    void *element = NULL;
    if (top == bottom) { /* the last one: whoever advances top has it */
        element = atomic_load_explicit(dist__deque_slot(block, bottom), memory_order_relaxed);
        /* seq_cst: one winner, in one order with all looks at top and bottom [last] */
        if (!atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 1,
                                                     memory_order_seq_cst, memory_order_relaxed))
            element = NULL;
    }
    /* release: like every store to bottom, see [push] */
    atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_release);
    return element;
}

/* Thief: the oldest element, or NULL if there is none or another thief was quicker (*lost). */
static inline void *dist__deque_steal(struct dist__deque *deque, bool *lost) {
    *lost = false;
    /* seq_cst, both lines: see [last]; the second is also the acquire of [push] */
    int64_t top = atomic_load_explicit(&deque->top, memory_order_seq_cst);
    int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_seq_cst);
    if (top >= bottom) return NULL;
    /* acquire: the copied slots; pairs with [grow] */
    struct dist__deque_block *block = atomic_load_explicit(&deque->block, memory_order_acquire);
    void *element = atomic_load_explicit(dist__deque_slot(block, top), memory_order_relaxed);
    /* seq_cst: see [last]; also a release, so that the slot has been read before the owner may use
     * it again, see [top] */
    if (atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 1, memory_order_seq_cst,
                                                memory_order_relaxed))
        return element;
    *lost = true;
    return NULL;
}

#endif
