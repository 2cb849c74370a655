/* genmc: --unroll=6 -DDIST__DUE_ROOM=2
 *
 * due_take.c - two workers take from the ring while the parent puts in more than it has room for,
 * so that places of it are used a second time while they may still be read. */
#include "due_model.h"

THREAD(parent) {
    for (int k = 0; k < 4; k++) put();
    return NULL;
}

THREAD(worker_1) {
    take(1);
    take(1);
    return NULL;
}

THREAD(worker_2) {
    take(2);
    take(2);
    return NULL;
}

int main(void) {
    pthread_t a = start(parent, NULL), b = start(worker_1, NULL), c = start(worker_2, NULL);
    join(a);
    join(b);
    join(c);
    assert(put_count >= 2);
    each_taken_once();
    return 0;
}
