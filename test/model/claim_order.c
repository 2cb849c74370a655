/* genmc: --unroll=4
 *
 * claim_order.c - what a cell says while its worker lives: whoever sees that units were drawn sees
 * that the cell is no longer IDLE, and whoever sees HELD sees the whole span. */
#include "claim_model.h"

THREAD(worker) {
    uint64_t first, last;
    if (dist__claim_draw(&claim[0], &cursor, UNITS, 2, &first, &last))
        dist__claim_hold(&claim[0], first, last);
    return NULL;
}

THREAD(observer) {
    uint64_t begin, end;
    uint64_t drawn = __c11_atomic_load(&cursor, memory_order_acquire);
    enum dist__claim_state seen = dist__claim_read(&claim[0], &begin, &end);
    assert(seen == DIST__IDLE || seen == DIST__CLAIMING || seen == DIST__HELD);
    if (drawn) assert(seen != DIST__IDLE);
    if (seen == DIST__HELD) assert(begin == 0 && end == 2);
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(observer, NULL);
    join(a);
    join(b);
    return 0;
}
