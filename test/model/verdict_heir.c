/* genmc: --unroll=5 --disable-instruction-caching
 *
 * verdict_heir.c - a worker dies in an attempt, by itself or because it was condemned, and another
 * one gets its place: it begins anew, and no limit of the dead one concerns it. */
#include "verdict_model.h"

THREAD(worker) {
    dist__verdict_begin(&verdict, limit_of(0));
    outcome[0] = DIED;
    return NULL;
}

THREAD(heir) {
    work(1, ATTEMPTS);
    return NULL;
}

THREAD(parent) {
    look();
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(parent, NULL);
    join(a);
    join(b);
    if (condemned) assert(condemned == limit_of(0));
    condemned = 0;
    dist__verdict_reset(&verdict);
    uint64_t word;
    uint64_t limit = dist__verdict_limit(&verdict, &word);
    assert(limit == UINT64_MAX);
    a = start(heir, NULL), b = start(parent, NULL);
    join(a);
    join(b);
    one_of_both();
    return 0;
}
