/* board_model.h - a host that makes calls, and a worker that comes to them. What a call is stands
 * in plain memory, so that a worker that looks at it too late, or a host that changes it too early,
 * is a data race. */
#ifndef DIST_TEST_BOARD_MODEL_H
#define DIST_TEST_BOARD_MODEL_H

#include "model.h"
#include "process/board.h"

static struct dist__seat seat;
static int parcel, result; /* of the call that runs */

/* ------------------------------------------------------------------ the worker */

/* Looks once. True: it has worked, and left as told; with a ticket it will be back. */
static inline bool come(uint64_t generation, uint64_t ticket) {
    uint64_t word = dist__seat_read(&seat);
    if (dist__seat_state(word) != DIST__SEAT_INVITED) return false;
    if (!dist__seat_take(&seat, word, generation)) return false;
    assert(parcel > 0);
    result += parcel;
    return dist__seat_leave(&seat, generation, ticket);
}

/* ------------------------------------------------------------------ the host */

/* One call: nobody has to come, but whoever did has done its work when it is over. False: somebody
 * is still in it. */
static inline bool call(int number, uint64_t ticket, int turns) {
    parcel = number;
    result = 0;
    dist__seat_invite(&seat, ticket);
    for (int k = 0; k < turns; k++) {
        uint64_t word = dist__seat_read(&seat);
        if (dist__seat_state(word) == DIST__SEAT_TAKEN) return false;
        bool free = dist__seat_state(word) == DIST__SEAT_FREE || dist__seat_revoke(&seat, word);
        if (!free) continue;
        assert(result % number == 0);
        parcel = -1; /* its memory is another's */
        result = -1;
        return true;
    }
    return false;
}

#endif
