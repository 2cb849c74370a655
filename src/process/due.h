/* due.h - items that may have their next attempt: the parent puts them in, workers take them out.
 *
 * One producer, many consumers. Entries are numbered for ever; a consumer reads an entry and then
 * makes it its own by moving `head` over it. A consumer that is killed before that has taken
 * nothing, one that is killed after it has said CLAIMING (claim.h), so its items are found. */
#ifndef DIST_PROCESS_DUE_H
#define DIST_PROCESS_DUE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef DIST__DUE_ROOM
#define DIST__DUE_ROOM 256
#endif

struct dist__due {
    alignas(64) _Atomic(uint64_t) head; /* workers; gives entries back [taken] */
    alignas(64) _Atomic(uint64_t) tail; /* parent; publishes entries [due] */
    struct {
        _Atomic(uint64_t) begin, end; /* items */
    } entry[DIST__DUE_ROOM];
};

/* Parent: false if there is no room. */
static inline bool dist__due_put(struct dist__due *due, uint64_t begin, uint64_t end) {
    /* relaxed: the parent's own word */
    uint64_t tail = atomic_load_explicit(&due->tail, memory_order_relaxed);
    /* acquire: whoever took the entry has read it; pairs with [taken] */
    if (tail - atomic_load_explicit(&due->head, memory_order_acquire) >= DIST__DUE_ROOM)
        return false;
    /* relaxed: published by the tail */
    atomic_store_explicit(&due->entry[tail % DIST__DUE_ROOM].begin, begin, memory_order_relaxed);
    atomic_store_explicit(&due->entry[tail % DIST__DUE_ROOM].end, end, memory_order_relaxed);
    /* release: pairs with [due] */
    atomic_store_explicit(&due->tail, tail + 1, memory_order_release);
    return true;
}

/* Worker: false if there is none. */
static inline bool dist__due_take(struct dist__due *due, uint64_t *begin, uint64_t *end) {
    uint64_t head = atomic_load_explicit(&due->head, memory_order_relaxed); /* checked below */
    for (;;) {
        /* acquire: pairs with [due] */
        if (head >= atomic_load_explicit(&due->tail, memory_order_acquire)) return false;
        /* relaxed: good if the entry is still there when the head moves over it */
        *begin =
            atomic_load_explicit(&due->entry[head % DIST__DUE_ROOM].begin, memory_order_relaxed);
        *end = atomic_load_explicit(&due->entry[head % DIST__DUE_ROOM].end, memory_order_relaxed);
        /* release: the entry has been read; pairs with [taken] */
        if (atomic_compare_exchange_weak_explicit(&due->head, &head, head + 1, memory_order_release,
                                                  memory_order_relaxed))
            return true;
    }
}

/* Parent: entries that nobody has taken yet. */
static inline uint64_t dist__due_count(struct dist__due *due) {
    /* relaxed: a number to look at */
    return atomic_load_explicit(&due->tail, memory_order_relaxed) -
           atomic_load_explicit(&due->head, memory_order_relaxed);
}

/* Parent, with no worker alive: forgets them. */
static inline void dist__due_clear(struct dist__due *due) {
    /* relaxed: nobody else is there */
    atomic_store_explicit(&due->head, atomic_load_explicit(&due->tail, memory_order_relaxed),
                          memory_order_relaxed);
}

#endif
