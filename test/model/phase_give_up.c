/* genmc: --unroll=6
 *
 * phase_give_up.c - the handle gives the job up at any time: before it begins, while it runs, after
 * its end. Its end or one of the other two holders frees it, and only that one. */
#include "phase_model.h"

THREAD(hurried) {
    if (dist__phase_move(&word, DIST__QUEUED, DIST__UNDER_WAY)) run();
    if (dist__phase_unhurry(&word)) free_it();
    return NULL;
}

int main(void) {
    submit(DIST__IN_LANE | DIST__HURRIED);
    pthread_t a = start(hurried, NULL), b = start(thief, NULL);
    if (dist__phase_give_up(&word)) free_it();
    join(a);
    join(b);
    assert(result == 1 && freed == 1);
    return 0;
}
