/* genmc: --unroll=7
 *
 * mpmc_close.c - it is closed while an item is on its way, one sleeps, and one is on its way to:
 * the item is got before anybody hears that it is over, and then all hear it. */
#include "mpmc_model.h"

static struct dist__claim claim;

THREAD(produce) {
    settle(&claim, &items);
    return NULL;
}

THREAD(consume) {
    int payload = -1;
    enum dist__mpmc_answer heard = wait_for(&items, &payload, false, 2);
    assert(heard != DIST__MPMC_OVER);
    assert(heard != DIST__MPMC_DONE || payload == 7);
    return NULL;
}

THREAD(finish) {
    close_ring();
    return NULL;
}

int main(void) {
    open_ring(2);
    assert(dist__mpmc_claim_put(&ring, &claim) == DIST__MPMC_DONE);
    slot[0].payload = 7;
    sleep_before(&items);
    pthread_t a = start(produce, NULL), b = start(consume, NULL), c = start(finish, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost(&items, true);
    return 0;
}
