/* genmc: --unroll=9 -DDIST__DEQUE_REACH=2
 *
 * deque_open_grow.c - the owner moves to a larger block while thieves take several elements at
 * once from the old one or the new one. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[2];
    dist__deque_init(&deque, new_block(2));
    put(0);
    put(1);
    dist__deque_grow(&deque, new_block(4));
    put(2);
    dist__deque_open(&deque, 3);
    for (int i = 0; i < 2; i++) thread[i] = start(steal_some_once, &stolen[i]);
    dist__deque_grow(&deque, new_block(8));
    put(3);
    pop(0);
    pop(1);
    for (int i = 0; i < 2; i++) join(thread[i]);
    each_taken_once(4);
    free_blocks();
    return 0;
}
