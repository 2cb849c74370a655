/* genmc: --unroll=5
 *
 * mpmc_refuse.c - a full ring is closed while one waits for room and one makes some: either the
 * item is in the ring, or it was refused; nobody waits on, and nothing is put afterwards. */
#include "mpmc_model.h"

static struct dist__claim claim;
static enum dist__mpmc_answer heard;

THREAD(produce) {
    int payload = 8;
    heard = wait_for(&room, &payload, true, 1);
    return NULL;
}

THREAD(consume) {
    settle(&claim, &room);
    return NULL;
}

THREAD(finish) {
    close_ring();
    assert(put(9) == DIST__MPMC_OVER);
    return NULL;
}

int main(void) {
    open_ring(1);
    int payload = -1;
    put(7);
    assert(dist__mpmc_claim_get(&ring, &claim) == DIST__MPMC_DONE);
    pthread_t a = start(produce, NULL), b = start(consume, NULL), c = start(finish, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost(&room, true);
    if (heard == DIST__MPMC_DONE) assert(get(&payload) == DIST__MPMC_DONE && payload == 8);
    assert(get(&payload) == DIST__MPMC_OVER);
    return 0;
}
