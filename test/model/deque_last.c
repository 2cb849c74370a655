/* genmc: --unroll=5
 *
 * deque_last.c - the owner and three thieves race for the last elements. Three, because a thief's
 * look at top being too weak shows only once two others have moved it. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[3];
    dist__deque_init(&deque, new_block(2));
    for (int i = 0; i < 3; i++) thread[i] = start(steal_once, &stolen[i]);
    put(0);
    put(1);
    pop(0);
    pop(1);
    for (int i = 0; i < 3; i++) join(thread[i]);
    each_taken_once(2);
    free_blocks();
    return 0;
}
