/* genmc: --unroll=5
 *
 * phase_sleep.c - a thread that goes to sleep on the word, and the end of the job: it sees the end,
 * or the end sees it. */
#include "phase_model.h"

static bool woken, slept;

THREAD(runner) {
    if (dist__phase_take(&word) == DIST__MUST_RUN) woken = run();
    return NULL;
}

THREAD(sleeper) {
    if (dist__phase_of(dist__phase_await(&word)) == DIST__ENDED) assert(result == 1);
    else slept = true;
    return NULL;
}

int main(void) {
    submit(DIST__IN_LANE);
    pthread_t a = start(sleeper, NULL), b = start(runner, NULL);
    join(a);
    join(b);
    assert(!slept || woken);
    return 0;
}
