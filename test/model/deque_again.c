/* genmc: --unroll=5
 *
 * deque_again.c - the owner pops its last element and pushes again, while two thieves look: the
 * index that was lost or won is used a second time. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[2];
    dist__deque_init(&deque, new_block(4));
    thread[0] = start(steal_twice, &stolen[0]);
    thread[1] = start(steal_once, &stolen[1]);
    put(0);
    pop(0);
    put(1);
    put(2);
    pop(1);
    pop(2);
    for (int i = 0; i < 2; i++) join(thread[i]);
    each_taken_once(3);
    free_blocks();
    return 0;
}
