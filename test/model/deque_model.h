/* deque_model.h - the parts of which the deque's harnesses are made. What each thread got is
 * counted after all have been joined, so that counting adds nothing to the executions. */
#ifndef DIST_TEST_DEQUE_MODEL_H
#define DIST_TEST_DEQUE_MODEL_H

#include "model.h"
#include "thread/deque.h"

#ifndef ELEMENTS_MOST
#define ELEMENTS_MOST 4
#endif

enum { PAYLOAD = 7, THIEVES_MOST = 3 };

struct element {
    int payload; /* plain: written before the push, read after the steal */
    int taken;
};

static struct element element[ELEMENTS_MOST];
static struct dist__deque deque;

struct loot { /* of one thread */
    struct element *got[ELEMENTS_MOST];
};
static struct loot stolen[THIEVES_MOST], popped;

static struct dist__deque_block *new_block(int64_t size) {
    struct dist__deque_block *block =
        malloc(sizeof(struct dist__deque_block) + (size_t)size * sizeof(_Atomic(void *)));
    block->older = NULL;
    block->size = size;
    for (int64_t i = 0; i < size; i++) atomic_init(&block->slot[i], NULL);
    return block;
}

static inline bool put(int k) {
    element[k].payload = PAYLOAD;
    return dist__deque_push(&deque, &element[k]);
}

static inline void pop(int k) { popped.got[k] = dist__deque_pop(&deque); }

static inline void steal(struct loot *loot, int k) {
    bool lost;
    loot->got[k] = dist__deque_steal(&deque, &lost);
    if (loot->got[k]) assert(loot->got[k]->payload == PAYLOAD);
    else assert(!lost || atomic_load_explicit(&deque.top, memory_order_relaxed) > 0);
}

/* Up to as many as a thief may, one after the other into loot->got[k] and so on. */
static inline int64_t steal_some(struct loot *loot, int k) {
    void *got[DIST__DEQUE_REACH];
    bool lost;
    int64_t count = dist__deque_steal_some(&deque, got, DIST__DEQUE_REACH, &lost);
    for (int i = 0; i < count; i++) {
        loot->got[k + i] = got[i];
        assert(loot->got[k + i]->payload == PAYLOAD);
    }
    return count;
}

THREAD(steal_some_once) {
    steal_some(arg, 0);
    return NULL;
}

THREAD(steal_once) {
    steal(arg, 0);
    return NULL;
}

THREAD(steal_twice) {
    steal(arg, 0);
    steal(arg, 1);
    return NULL;
}

static inline void count(const struct loot *loot) {
    for (int k = 0; k < ELEMENTS_MOST; k++)
        if (loot->got[k]) loot->got[k]->taken++;
}

/* After all threads have ended: the first `elements` were taken once each, and no others. */
static inline void each_taken_once(int elements) {
    count(&popped);
    for (int i = 0; i < THIEVES_MOST; i++) count(&stolen[i]);
    for (struct element *left; (left = dist__deque_pop(&deque));) left->taken++;
    for (int k = 0; k < ELEMENTS_MOST; k++) assert(element[k].taken == (k < elements));
}

static inline void free_blocks(void) {
    struct dist__deque_block *older,
        *block = atomic_load_explicit(&deque.block, memory_order_relaxed);
    for (; block; block = older) {
        older = block->older;
        free(block);
    }
}

#endif
