/* genmc: --unroll=8
 *
 * mail_calls.c - of two workers one looks and one sleeps or is about to. Two items are posted: no
 * one is left to itself while a worker sleeps. */
#include "mail_model.h"

static struct dist__calls calls;
static _Atomic(int) woken; /* the second worker */

static void ring(void) {
    uint64_t states = dist__calls_look(&calls, 0);
    if (states & dist__all_looking) return;
    if (states >> 1 & dist__call_of(1, 1)) __c11_atomic_store(&woken, 1, memory_order_relaxed);
}

THREAD(host) {
    post(0, 0);
    ring();
    post(1, 1);
    ring();
    return NULL;
}

static bool busy;

THREAD(first) { /* takes one, which lasts; if it finds none it sleeps */
    uint32_t c;
    if (!dist__rack_take(&box, &at[0], dist__bearer(0, 1), &c)) {
        dist__calls_move(&calls, 0, DIST__LOOKING, DIST__BUSY);
        if (dist__rack_any(&rack)) ring();
        return NULL;
    }
    busy = true;
    dist__calls_move(&calls, 0, DIST__LOOKING, DIST__BUSY);
    if (dist__rack_any(&rack)) ring();
    return NULL;
}

static bool found;

THREAD(second) {
    dist__calls_move(&calls, 1, DIST__LOOKING, DIST__ASLEEP);
    found = dist__rack_any(&rack);
    return NULL;
}

int main(void) {
    dist__calls_move(&calls, 0, DIST__BUSY, DIST__LOOKING);
    dist__calls_move(&calls, 1, DIST__BUSY, DIST__LOOKING);
    pthread_t a = start(host, NULL), b = start(first, NULL), c = start(second, NULL);
    join(a);
    join(b);
    join(c);
    assert(found || __c11_atomic_load(&woken, memory_order_relaxed));
    return 0;
}
