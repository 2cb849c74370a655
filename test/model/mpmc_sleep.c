/* genmc: --unroll=7
 *
 * mpmc_sleep.c - one producer, and the only consumer on its way to sleep: it does not sleep in an
 * epoch that already has the signal. */
#include "mpmc_model.h"

static struct dist__claim claim;

THREAD(produce) {
    settle(&claim, &items);
    return NULL;
}

THREAD(consume) {
    int payload = -1;
    if (wait_for(&items, &payload, false, 2) == DIST__MPMC_DONE) assert(payload == 7);
    return NULL;
}

int main(void) {
    open_ring(2);
    assert(dist__mpmc_claim_put(&ring, &claim) == DIST__MPMC_DONE);
    slot[0].payload = 7;
    pthread_t a = start(consume, NULL), b = start(produce, NULL);
    join(a);
    join(b);
    no_wake_lost(&items, dist__mpmc_gets(&ring) < dist__mpmc_puts(&ring));
    return 0;
}
