/* genmc: --unroll=5
 *
 * deque_wrap.c - in a block of two, the third and fourth element use the slots of the first ones
 * again, while thieves may still be reading these. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[3];
    int pushed = 2;
    dist__deque_init(&deque, new_block(2));
    put(0);
    put(1);
    for (int i = 0; i < 3; i++) thread[i] = start(steal_once, &stolen[i]);
    if (put(pushed)) pushed++;
    if (put(pushed)) pushed++;
    pop(0);
    for (int i = 0; i < 3; i++) join(thread[i]);
    each_taken_once(pushed);
    free_blocks();
    return 0;
}
