/* genmc: --unroll=7 -DDIST__DEQUE_REACH=2 -DELEMENTS_MOST=5
 *
 * deque_open.c - the owner has popped and pushed where thieves reach once it has opened the deque;
 * two thieves look meanwhile. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[2];
    dist__deque_init(&deque, new_block(4));
    for (int i = 0; i < 2; i++) thread[i] = start(steal_some_once, &stolen[i]);
    for (int k = 0; k < 3; k++) put(k);
    pop(0);
    pop(1);
    put(3);
    put(4);
    dist__deque_open(&deque, 3);
    for (int i = 0; i < 2; i++) join(thread[i]);
    each_taken_once(5);
    free_blocks();
    return 0;
}
