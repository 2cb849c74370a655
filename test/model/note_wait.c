/* genmc: --unroll=8 -O1 -DDIST__RING_NOTES=4
 *
 * note_wait.c - a worker finds its ring full, sleeps until there is room, tells one thing more, and
 * sleeps until it is heard. The supervisor wakes it when the ring is half empty, and when it is
 * empty, not at every note in between. */
#include "note_model.h"

THREAD(worker) {
    if (tell(0, 2)) wait_until_heard(0, 2);
    return NULL;
}

THREAD(supervisor) {
    supervise(3);
    return NULL;
}

int main(void) {
    for (int k = 0; k < 4; k++) tell(0, 1);
    pthread_t a = start(worker, NULL), b = start(supervisor, NULL);
    join(a);
    join(b);
    no_wake_lost();
    return 0;
}
