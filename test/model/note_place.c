/* genmc: --unroll=6 -O1 -DDIST__RING_NOTES=2
 *
 * note_place.c - a worker says its last word and gives its place back, as in thread/crew.c, where
 * the supervisor waits for all places to be free: the bell is rung for that too. A free place has
 * said everything, so after one more look the supervisor is done. */
#include "note_model.h"

enum { FREE, TAKEN };

static _Atomic(uint32_t) place[WORKERS];
static bool finished;

static void work(unsigned self) {
    tell(self, 1);
    atomic_exchange_explicit(&place[self], FREE, memory_order_acq_rel);
    ring_bell();
}

THREAD(worker_0) {
    work(0);
    return NULL;
}

THREAD(worker_1) {
    work(1);
    return NULL;
}

static bool all_free(void) {
    for (unsigned k = 0; k < WORKERS; k++)
        if (atomic_load_explicit(&place[k], memory_order_acquire) != FREE) return false;
    return true;
}

THREAD(supervisor) {
    for (int looks = 0; looks < 6 && !finished; looks++) { /* the bell rings four times at most */
        dist__bell_arm(&asleep);
        hear_all();
        if (all_free()) {
            hear_all();
            finished = true;
        } else if (!woken()) {
            break;
        }
    }
    return NULL;
}

int main(void) {
    for (unsigned k = 0; k < WORKERS; k++)
        atomic_store_explicit(&place[k], TAKEN, memory_order_relaxed);
    pthread_t a = start(worker_0, NULL), b = start(worker_1, NULL), c = start(supervisor, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost();
    assert(finished || (slept && atomic_load_explicit(&bell, memory_order_relaxed) > 0));
    if (finished) assert(heard[0] == 1 && heard[1] == 1);
    return 0;
}
