/* genmc: --unroll=4 -O1 -DDIST__RING_NOTES=2
 *
 * note_heard.c - the supervisor acts on each note before it drops it: a worker that finds its notes
 * heard sees what was done about the last of them. */
#include "note_model.h"

static unsigned acted; /* plain: what the supervisor has written because of a note */

static void tell_and_look(void) {
    bool room = push(0);
    if (room && dist__ring_heard(&ring[0])) assert(acted == pushed[0]);
}

THREAD(worker) {
    tell_and_look();
    tell_and_look();
    tell_and_look();
    return NULL;
}

THREAD(supervisor) {
    for (int k = 0; k < 3; k++) {
        struct dist__note *note = dist__ring_peek(&ring[0]);
        if (!note) continue;
        acted = (unsigned)note->end;
        dist__ring_drop(&ring[0]);
    }
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(supervisor, NULL);
    join(a);
    join(b);
    return 0;
}
