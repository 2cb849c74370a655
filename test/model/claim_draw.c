/* genmc: --unroll=6
 *
 * claim_draw.c - two workers draw from one cursor until nothing is left, and past its end. */
#include "claim_model.h"

THREAD(worker_0) {
    work(0, 1);
    return NULL;
}

THREAD(worker_1) {
    work(1, 2);
    return NULL;
}

int main(void) {
    pthread_t a = start(worker_0, NULL), b = start(worker_1, NULL);
    join(a);
    join(b);
    uint64_t begin, end, finished = 0;
    for (int place = 0; place < PLACES; place++) {
        assert(dist__claim_read(&claim[place], &begin, &end) == DIST__LEFT);
        finished += __c11_atomic_load(&claim[place].finished, memory_order_relaxed);
    }
    assert(finished == UNITS);
    for (int i = 0; i < UNITS; i++) assert(__c11_atomic_load(&runs[i], memory_order_relaxed) == 1);
    return 0;
}
