/* genmc: --unroll=4 -DDIST__PARK_WORDS=1
 *
 * park_offer.c - two submitters that publish by a seq_cst store and then only look, one worker on
 * its way to sleep that looks for that by seq_cst loads, and one that sleeps. */
#define PARK_LOOKS memory_order_seq_cst
#include "park_model.h"

static void offer(int k) {
    atomic_store_explicit(&slot[k], 1, memory_order_seq_cst);
    if (dist__park_offered(&park) == 0) wake_one();
}

THREAD(submit_0) {
    offer(0);
    return NULL;
}

THREAD(submit_1) {
    offer(1);
    return NULL;
}

THREAD(worker) {
    work(0, 1);
    return NULL;
}

int main(void) {
    begin(1);
    workers = 2;
    slept[1] = true;
    atomic_store_explicit(&park.asleep[0], 2, memory_order_relaxed);
    pthread_t a = start(worker, NULL), b = start(submit_0, NULL), c = start(submit_1, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost();
    return 0;
}
