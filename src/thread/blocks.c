/* blocks.c - the memory of deques. */
#include "blocks.h"

#include <stdlib.h>

struct dist__deque_block *dist__deque_new_block(int64_t size) {
    struct dist__deque_block *block =
        malloc(sizeof *block + (size_t)size * sizeof(_Atomic(void *)));
    if (!block) return NULL;
    block->older = NULL;
    block->size = size;
    for (int64_t i = 0; i < size; i++) atomic_init(&block->slot[i], NULL);
    return block;
}

bool dist__deque_enlarge(struct dist__deque *deque) {
    /* relaxed: our own store */
    struct dist__deque_block *old = atomic_load_explicit(&deque->block, memory_order_relaxed);
    struct dist__deque_block *block = dist__deque_new_block(2 * old->size);
    if (block) dist__deque_grow(deque, block);
    return block != NULL;
}

void dist__deque_free_blocks(struct dist__deque *deque) {
    struct dist__deque_block *older,
        *block = atomic_load_explicit(&deque->block, memory_order_relaxed); /* by the last user */
    for (; block; block = older) {
        older = block->older;
        free(block);
    }
}
