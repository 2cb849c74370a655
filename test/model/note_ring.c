/* genmc: --unroll=6 -O1 -DDIST__RING_NOTES=2
 *
 * note_ring.c - a worker tells more than its ring has room for, while the supervisor hears it: each
 * note comes out once, complete and in order, and none is overwritten while it is read. The numbers
 * of the ring wrap around meanwhile. */
#include "note_model.h"

THREAD(worker) {
    push(0);
    push(0);
    assert(pushed[0] == 2);
    for (int k = 0; k < 3; k++) push(0);
    return NULL;
}

THREAD(supervisor) {
    for (int k = 0; k < 3; k++) hear(0);
    return NULL;
}

int main(void) {
    atomic_store_explicit(&ring[0].written, UINT32_MAX, memory_order_relaxed);
    atomic_store_explicit(&ring[0].read, UINT32_MAX, memory_order_relaxed);
    pthread_t a = start(worker, NULL), b = start(supervisor, NULL);
    join(a);
    join(b);
    assert(pushed[0] - heard[0] <= 2);
    while (hear(0)) {
    }
    assert(heard[0] == pushed[0]);
    return 0;
}
