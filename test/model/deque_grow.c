/* genmc: --unroll=5
 *
 * deque_grow.c - the owner moves to a larger block and works on there, while thieves look into the
 * old one or the new one. */
#include "deque_model.h"

int main(void) {
    pthread_t thread[3];
    dist__deque_init(&deque, new_block(2));
    put(0);
    put(1);
    for (int i = 0; i < 3; i++) thread[i] = start(steal_once, &stolen[i]);
    if (!put(2)) {
        dist__deque_grow(&deque, new_block(4));
        bool pushed = put(2);
        assert(pushed);
    }
    pop(0);
    pop(1);
    for (int i = 0; i < 3; i++) join(thread[i]);
    each_taken_once(3);
    free_blocks();
    return 0;
}
