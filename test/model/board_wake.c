/* genmc: --unroll=5
 *
 * board_wake.c - a worker looks for an invitation and sleeps, the host invites it and sleeps until
 * it has left: neither sleeps for good while the other has done its part. As await_invitation in
 * resident.c and dist__seats_refresh in seats.c do it. */
#include "board_model.h"
#include "common/note.h"

static _Atomic(uint32_t) worker_asleep, host_asleep;
static _Atomic(int) worker_wakes, host_wakes;
static bool worker_sleeps, host_sleeps;

static void wake(_Atomic(uint32_t) *asleep, _Atomic(int) *wakes) {
    if (dist__bell_must_ring(asleep)) atomic_fetch_add_explicit(wakes, 1, memory_order_relaxed);
}

THREAD(worker) {
    dist__bell_arm(&worker_asleep);
    if (dist__seat_state(dist__seat_read(&seat)) != DIST__SEAT_INVITED) worker_sleeps = true;
    else if (come(1, 0)) wake(&host_asleep, &host_wakes);
    return NULL;
}

THREAD(host) {
    parcel = 1;
    dist__seat_invite(&seat, 1);
    wake(&worker_asleep, &worker_wakes);
    dist__bell_arm(&host_asleep);
    if (dist__seat_state(dist__seat_read(&seat)) != DIST__SEAT_FREE) host_sleeps = true;
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(host, NULL);
    join(a);
    join(b);
    if (worker_sleeps) assert(atomic_load_explicit(&worker_wakes, memory_order_relaxed) > 0);
    else if (host_sleeps) assert(atomic_load_explicit(&host_wakes, memory_order_relaxed) > 0);
    return 0;
}
