/* genmc: --unroll=5
 *
 * board_turns.c - a worker leaves a call for others and comes back to it, while the host takes its
 * invitations back and reads what it has done. */
#include "board_model.h"

THREAD(worker) {
    if (come(1, 7)) come(1, 8);
    return NULL;
}

THREAD(host) {
    call(3, 1, 3);
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(host, NULL);
    join(a);
    join(b);
    return 0;
}
