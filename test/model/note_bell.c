/* genmc: --unroll=7 -O1 -DDIST__RING_NOTES=2
 *
 * note_bell.c - one worker tells three things through a ring that has room for two, while the
 * supervisor arms the bell, looks and sleeps, again and again: no wake is lost, neither for a note
 * nor for a worker that waits for room. */
#include "note_model.h"

THREAD(worker) {
    tell(0, 1);
    tell(0, 1);
    tell(0, 2);
    return NULL;
}

THREAD(supervisor) {
    supervise(4);
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(supervisor, NULL);
    join(a);
    join(b);
    no_wake_lost();
    return 0;
}
