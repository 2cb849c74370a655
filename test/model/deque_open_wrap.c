/* genmc: --unroll=7 -DDIST__DEQUE_REACH=2 -DELEMENTS_MOST=6
 *
 * deque_open_wrap.c - thieves take several elements at once around the end of a block; the owner
 * uses their slots again. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[2];
    int pushed = 4;
    dist__deque_init(&deque, new_block(4));
    put(0);
    steal(&stolen[2], 0);
    for (int k = 1; k < 4; k++) put(k);
    dist__deque_open(&deque, 3);
    for (int i = 0; i < 2; i++) thread[i] = start(steal_some_once, &stolen[i]);
    while (pushed < 6 && put(pushed)) pushed++;
    pop(0);
    for (int i = 0; i < 2; i++) join(thread[i]);
    each_taken_once(pushed);
    free_blocks();
    return 0;
}
