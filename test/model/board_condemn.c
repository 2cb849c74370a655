/* genmc: --unroll=5
 *
 * board_condemn.c - a host condemns a worker that it takes for stuck, while that one leaves for
 * another call and its successor comes: the worker has left, or is condemned, and never both; and
 * the successor is none of the host's business. */
#include "board_model.h"

static bool left, condemned;

THREAD(worker) {
    uint64_t word = dist__seat_read(&seat);
    if (dist__seat_take(&seat, word, 1)) left = dist__seat_leave(&seat, 1, 9);
    word = dist__seat_read(&seat);
    if (left && dist__seat_state(word) == DIST__SEAT_INVITED) dist__seat_take(&seat, word, 2);
    return NULL;
}

THREAD(host) {
    if (dist__seat_state(dist__seat_read(&seat)) == DIST__SEAT_TAKEN)
        condemned = dist__seat_condemn(&seat, 1);
    return NULL;
}

int main(void) {
    dist__seat_invite(&seat, 1);
    pthread_t a = start(worker, NULL), b = start(host, NULL);
    join(a);
    join(b);
    uint64_t word = dist__seat_read(&seat);
    assert(left != condemned);
    assert(dist__seat_number(word) == (condemned ? 1 : 2));
    assert(dist__seat_state(word) == (condemned ? DIST__SEAT_CONDEMNED : DIST__SEAT_TAKEN));
    return 0;
}
