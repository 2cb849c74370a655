/* genmc: --unroll=5
 *
 * deque_offer.c - an owner offers an element and then looks whether anybody will look; a thief says
 * that it stops looking and then looks a last time. If the owner counts on that look, it finds the
 * element. */
#include "deque_model.h"

static _Atomic(int) looking = 1;
static bool will_be_seen, seen;

THREAD(owner) {
    dist__deque_offer(&deque, &element[0]);
    will_be_seen = atomic_load_explicit(&looking, memory_order_seq_cst);
    return NULL;
}

THREAD(thief) {
    atomic_store_explicit(&looking, 0, memory_order_seq_cst);
    seen = !dist__deque_seems_empty(&deque);
    return NULL;
}

int main(void) {
    dist__deque_init(&deque, new_block(2));
    pthread_t a = start(owner, NULL), b = start(thief, NULL);
    join(a);
    join(b);
    assert(!will_be_seen || seen);
    assert(dist__deque_newest(&deque) == &element[0]);
    free_blocks();
    return 0;
}
