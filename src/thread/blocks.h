/* blocks.h - the memory of deques. */
#ifndef DIST_THREAD_BLOCKS_H
#define DIST_THREAD_BLOCKS_H

#include "deque.h"

/* A block of `size` slots, a power of two; NULL: no memory. */
struct dist__deque_block *dist__deque_new_block(int64_t size);

/* Owner: makes room for as many elements again. False: no memory. */
bool dist__deque_enlarge(struct dist__deque *deque);

/* Nobody uses the deque any more. */
void dist__deque_free_blocks(struct dist__deque *deque);

#endif
