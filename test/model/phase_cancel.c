/* genmc: --unroll=6
 *
 * phase_cancel.c - a job is cancelled while a thief takes it: it is run, or ended unrun by the
 * canceller; and one that runs has been told, if the canceller was told so. */
#include "phase_model.h"

enum { CANCELLED = 4 };

static bool unrun, told, ended;

THREAD(canceller) {
    uint32_t old = dist__phase_cancel(&word, true);
    if (dist__phase_of(old) < DIST__UNDER_WAY) {
        unrun = true;
        result += item; /* it may touch the job as a run does */
        dist__phase_end(&word, CANCELLED);
    }
    told = dist__phase_of(old) == DIST__UNDER_WAY;
    ended = dist__phase_of(old) == DIST__ENDED;
    return NULL;
}

int main(void) {
    submit(DIST__IN_LANE);
    pthread_t a = start(canceller, NULL), b = start(thief, NULL);
    join(a);
    join(b);
    uint32_t last = atomic_load_explicit(&word, memory_order_relaxed);
    assert(result == 1);
    assert(dist__phase_of(last) == DIST__ENDED);
    assert(dist__phase_status(last) == (unrun ? CANCELLED : STATUS));
    assert(unrun + told + ended == 1);
    assert(!(last & DIST__CANCEL) == ended);
    return 0;
}
