/* genmc: --unroll=7 -DDIST__DUE_ROOM=1
 *
 * due_full.c - a ring with room for one: the parent learns that it is full, and tries again. Where
 * it counts before it puts, as in process/process.c, there is room. */
#include "due_model.h"

THREAD(parent) {
    for (int k = 0; k < 3; k++) put();
    if (dist__due_count(&due) < DIST__DUE_ROOM) {
        bool room = put();
        assert(room);
    }
    return NULL;
}

THREAD(worker_1) {
    take(1);
    take(1);
    take(1);
    return NULL;
}

THREAD(worker_2) {
    take(2);
    return NULL;
}

int main(void) {
    pthread_t a = start(parent, NULL), b = start(worker_1, NULL), c = start(worker_2, NULL);
    join(a);
    join(b);
    join(c);
    assert(put_count >= 1);
    each_taken_once();
    return 0;
}
