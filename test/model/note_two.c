/* genmc: --unroll=6 -O1 -DDIST__RING_NOTES=2
 *
 * note_two.c - two workers, of which one may ring for both: no wake is lost, whichever of them
 * finds the supervisor asleep. */
#include "note_model.h"

THREAD(worker_0) {
    tell(0, 1);
    return NULL;
}

THREAD(worker_1) {
    tell(1, 1);
    return NULL;
}

THREAD(supervisor) {
    supervise(3);
    return NULL;
}

int main(void) {
    pthread_t a = start(worker_0, NULL), b = start(worker_1, NULL), c = start(supervisor, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost();
    return 0;
}
