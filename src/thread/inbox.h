/* inbox.h - where threads that have no deque leave work: a list pushed by CAS and drained whole.
 *
 * Taking all at once leaves no ABA, needs no reclamation, and the nodes are the callers' own
 * objects: no allocation. */
#ifndef DIST_THREAD_INBOX_H
#define DIST_THREAD_INBOX_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>

struct dist__node {
    struct dist__node *next;
};

struct dist__inbox {
    alignas(64) _Atomic(struct dist__node *) head; /* anybody writes; publishes nodes [inbox] */
};

static inline void dist__inbox_push(struct dist__inbox *inbox, struct dist__node *node) {
    struct dist__node *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
    do node->next = head;
    /* release: the node before the pointer to it; pairs with [inbox] in drain */
    while (!atomic_compare_exchange_weak_explicit(&inbox->head, &head, node, memory_order_release,
                                                  memory_order_relaxed));
}

/* All nodes, the oldest first; NULL if there are none. */
static inline struct dist__node *dist__inbox_drain(struct dist__inbox *inbox) {
    /* relaxed: a hint, so that looking into an empty inbox writes nothing */
    if (!atomic_load_explicit(&inbox->head, memory_order_relaxed)) return NULL;
    /* acquire: the nodes' contents; pairs with [inbox] in push */
    struct dist__node *newest = atomic_exchange_explicit(&inbox->head, NULL, memory_order_acquire);
    struct dist__node *oldest = NULL;
    while (newest) {
        struct dist__node *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

#endif
