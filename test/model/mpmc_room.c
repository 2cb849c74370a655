/* genmc: --unroll=7
 *
 * mpmc_room.c - two cells of a full ring become free in any order, while one producer sleeps and
 * one is on its way to: none sleeps on while there is room. */
#include "mpmc_model.h"

static struct dist__claim claim[2];

THREAD(produce) {
    int payload = 8;
    wait_for(&room, &payload, true, 2);
    return NULL;
}

THREAD(consume) {
    settle(arg, &room);
    return NULL;
}

int main(void) {
    open_ring(2);
    for (int k = 0; k < 2; k++) assert(put(7) == DIST__MPMC_DONE);
    for (int k = 0; k < 2; k++) assert(dist__mpmc_claim_get(&ring, &claim[k]) == DIST__MPMC_DONE);
    sleep_before(&room);
    pthread_t a = start(produce, NULL), b = start(consume, &claim[0]),
              c = start(consume, &claim[1]);
    join(a);
    join(b);
    join(c);
    no_wake_lost(&room, dist__mpmc_puts(&ring) < dist__mpmc_gets(&ring) + 2);
    return 0;
}
