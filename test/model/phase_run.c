/* genmc: --unroll=5
 *
 * phase_run.c - the waiting thread and a thief of the entry: one of them runs the job, its end is
 * seen with what it did, and the last one of both frees it. */
#include "phase_model.h"

THREAD(waiter) {
    if (dist__phase_move(&word, DIST__QUEUED, DIST__UNDER_WAY)) run();
    if (!has_ended()) return NULL; /* it would sleep: see phase_sleep.c */
    assert(result == 1);
    assert(dist__phase_status(dist__phase_look(&word)) == STATUS);
    leave();
    return NULL;
}

int main(void) {
    submit(DIST__IN_LANE);
    pthread_t a = start(waiter, NULL), b = start(thief, NULL);
    join(a);
    join(b);
    assert(result == 1);
    uint32_t last = atomic_load_explicit(&word, memory_order_relaxed);
    assert(dist__phase_of(last) == DIST__ENDED && !(last & DIST__IN_LANE));
    assert(freed <= 1);
    if (last & DIST__GONE) assert(freed == 1);
    return 0;
}
