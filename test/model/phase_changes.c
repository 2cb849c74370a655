/* genmc: --unroll=5
 *
 * phase_changes.c - a thread that goes to sleep until something has changed, and two changes: it
 * sees them, or a change sees it. */
#include "phase_model.h"

static _Atomic(uint32_t) changes;
static int changed[2]; /* plain */
static bool woken[2], slept;

THREAD(teller) {
    int k = (int)(intptr_t)arg;
    changed[k] = 1;
    woken[k] = dist__changes_tell(&changes);
    return NULL;
}

THREAD(sleeper) {
    for (int k = 0; k < 3 && !slept; k++) {
        uint32_t seen = dist__changes_look(&changes);
        if (seen / DIST__CHANGE == 2) {
            assert(changed[0] && changed[1]);
            return NULL;
        }
        slept = dist__changes_await(&changes, &seen) && changes == seen;
    }
    return NULL;
}

int main(void) {
    pthread_t a = start(sleeper, NULL), b = start(teller, (void *)0), c = start(teller, (void *)1);
    join(a);
    join(b);
    join(c);
    assert(!slept || woken[0] || woken[1]);
    return 0;
}
