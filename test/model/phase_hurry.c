/* genmc: --unroll=6
 *
 * phase_hurry.c - three holders: the handle, a thread that was started for the job, and the entry.
 * The last of them frees it, and only that one. */
#include "phase_model.h"

THREAD(hurried) {
    if (dist__phase_move(&word, DIST__QUEUED, DIST__UNDER_WAY)) run();
    if (dist__phase_unhurry(&word)) free_it();
    return NULL;
}

int main(void) {
    submit(DIST__IN_LANE | DIST__HURRIED);
    pthread_t a = start(hurried, NULL), b = start(thief, NULL);
    bool left = has_ended();
    if (left) leave();
    join(a);
    join(b);
    if (!left) leave();
    assert(result == 1 && freed == 1);
    return 0;
}
