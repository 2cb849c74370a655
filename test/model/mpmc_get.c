/* genmc: --unroll=5
 *
 * mpmc_get.c - a producer and two consumers, a ring of one cell, used again and again: no item
 * comes out twice, and none is overwritten while it is read. */
#include "mpmc_model.h"

static _Atomic(int) got[3];

THREAD(produce) {
    int next = 0;
    for (int k = 0; k < 3; k++)
        if (put(next) == DIST__MPMC_DONE) next++;
    return NULL;
}

THREAD(consume) {
    int payload = -1, before = -1;
    for (int k = 0; k < 2; k++) {
        if (get(&payload) != DIST__MPMC_DONE) continue;
        assert(payload > before && payload < 3);
        assert(atomic_fetch_add_explicit(&got[payload], 1, memory_order_relaxed) == 0);
        before = payload;
    }
    return NULL;
}

int main(void) {
    open_ring(1);
    pthread_t a = start(produce, NULL), b = start(consume, NULL), c = start(consume, NULL);
    join(a);
    join(b);
    join(c);
    uint64_t puts = dist__mpmc_puts(&ring), gets = dist__mpmc_gets(&ring);
    assert(gets <= puts && puts <= gets + 1);
    for (uint64_t k = 0; k < 3; k++) assert(got[k] == (k < gets));
    int payload;
    if (gets < puts) assert(get(&payload) == DIST__MPMC_DONE && payload == (int)gets);
    assert(put(7) == DIST__MPMC_DONE && put(8) == DIST__MPMC_LATER);
    return 0;
}
