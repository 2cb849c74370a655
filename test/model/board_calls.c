/* genmc: --unroll=5
 *
 * board_calls.c - a host makes two calls, one after the other, and takes invitations back; a worker
 * comes to them, late perhaps: it never sees a call that is over, nor half of one. */
#include "board_model.h"

THREAD(worker) {
    for (int k = 0; k < 3; k++) come(1, 0);
    return NULL;
}

THREAD(host) {
    if (call(3, 1, 2)) call(5, 2, 2);
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(host, NULL);
    join(a);
    join(b);
    return 0;
}
