/* genmc: --unroll=5 -DDIST__DEQUE_REACH=2
 *
 * deque_move.c - a thief puts what it has taken into its own deque at once, which is too small for
 * that at first, and pops there, while another one takes it on. */
#include "deque_model.h"

static struct dist__deque own;

THREAD(mover) {
    void *got[DIST__DEQUE_REACH];
    bool lost;
    int64_t count = dist__deque_steal_some(&deque, got, DIST__DEQUE_REACH, &lost);
    assert(count > 0 && !lost);
    if (!dist__deque_offer_some(&own, got, count)) {
        dist__deque_grow(&own, new_block(4));
        bool pushed = dist__deque_offer_some(&own, got, count);
        assert(pushed);
    }
    stolen[0].got[0] = dist__deque_pop(&own);
    return NULL;
}

THREAD(thief) {
    bool lost;
    for (int k = 0; k < 2; k++) {
        stolen[1].got[k] = dist__deque_steal(&own, &lost);
        if (stolen[1].got[k]) assert(stolen[1].got[k]->payload == PAYLOAD);
    }
    return NULL;
}

int main(void) {
    dist__deque_init(&deque, new_block(4));
    dist__deque_init(&own, new_block(2));
    for (int k = 0; k < 4; k++) element[k].payload = PAYLOAD;
    dist__deque_push(&own, &element[3]);
    for (int k = 0; k < 3; k++) put(k);
    dist__deque_open(&deque, 3);
    pthread_t a = start(mover, NULL), b = start(thief, NULL);
    pop(0);
    join(a);
    join(b);
    for (int k = 0; k < ELEMENTS_MOST; k++) stolen[2].got[k] = dist__deque_pop(&own);
    each_taken_once(4);
    return 0;
}
