/* genmc: --unroll=9 -DDIST__DEQUE_REACH=2 -DELEMENTS_MOST=6
 *
 * deque_reopen.c - a deque is closed and opened again while a thief stands between its look and its
 * taking; another thief may move top, so that it does open again. Indices behind the first element
 * are used a second time meanwhile. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[2];
    dist__deque_init(&deque, new_block(8));
    for (int k = 0; k < 3; k++) put(k);
    dist__deque_open(&deque, 3);
    for (int i = 0; i < 2; i++) thread[i] = start(steal_some_once, &stolen[i]);
    pop(0);
    pop(1);
    for (int k = 3; k < 6; k++) put(k);
    dist__deque_open(&deque, 3);
    pop(2);
    for (int i = 0; i < 2; i++) join(thread[i]);
    each_taken_once(6);
    free_blocks();
    return 0;
}
