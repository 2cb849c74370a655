/* genmc: --unroll=7
 *
 * mpmc_items.c - two items become visible in any order, and two consumers are on their way to
 * sleep: none sleeps on while there is an item. */
#include "mpmc_model.h"

static struct dist__claim claim[2];

THREAD(produce) {
    settle(arg, &items);
    return NULL;
}

THREAD(consume) {
    int payload = -1;
    if (wait_for(&items, &payload, false, 2) == DIST__MPMC_DONE) assert(payload == 7);
    return NULL;
}

int main(void) {
    open_ring(2);
    for (int k = 0; k < 2; k++) {
        assert(dist__mpmc_claim_put(&ring, &claim[k]) == DIST__MPMC_DONE);
        slot[k].payload = 7;
    }
    sleep_before(&items);
    pthread_t a = start(consume, NULL), b = start(produce, &claim[0]),
              c = start(produce, &claim[1]);
    join(a);
    join(b);
    join(c);
    no_wake_lost(&items, dist__mpmc_gets(&ring) < dist__mpmc_puts(&ring));
    return 0;
}
