/* genmc: --unroll=5
 *
 * mpmc_put.c - two producers and a consumer, a ring of two cells: each item comes out once, whole,
 * those of one producer in their order. */
#include "mpmc_model.h"

static int last[2], got[4]; /* by whoever gets */

THREAD(produce) {
    int first = (int)(uintptr_t)arg;
    if (put(first) == DIST__MPMC_DONE) put(first + 1);
    return NULL;
}

static void take(void) {
    int payload = -1;
    if (get(&payload) != DIST__MPMC_DONE) return;
    assert(payload / 2 < 2 && !got[payload]++);
    assert(payload % 2 == last[payload / 2]++);
}

THREAD(consume) {
    take();
    take();
    return NULL;
}

int main(void) {
    open_ring(2);
    pthread_t a = start(produce, (void *)0), b = start(produce, (void *)2),
              c = start(consume, NULL);
    join(a);
    join(b);
    join(c);
    while (dist__mpmc_gets(&ring) < dist__mpmc_puts(&ring)) take();
    assert((uint64_t)(got[0] + got[1] + got[2] + got[3]) == dist__mpmc_puts(&ring));
    return 0;
}
