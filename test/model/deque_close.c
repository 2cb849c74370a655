/* genmc: --unroll=5 -DDIST__DEQUE_REACH=2
 *
 * deque_close.c - the owner opens the deque and pops all there is, while two thieves take several
 * elements at once. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[2];
    dist__deque_init(&deque, new_block(4));
    for (int i = 0; i < 2; i++) thread[i] = start(steal_some_once, &stolen[i]);
    for (int k = 0; k < 4; k++) put(k);
    dist__deque_open(&deque, 3);
    for (int k = 0; k < 4; k++) pop(k);
    for (int i = 0; i < 2; i++) join(thread[i]);
    each_taken_once(4);
    free_blocks();
    return 0;
}
