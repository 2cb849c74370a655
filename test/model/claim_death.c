/* genmc: --unroll=26
 *
 * claim_death.c - one worker dies at any of its steps, while another goes on. Whoever comes after
 * the death takes over what the dead one held; what no cell names is found once no worker lives.
 * Each item is started once, and only one that was running at the death is not finished. */
#include "claim_model.h"

enum { STEPS = 24 }; /* more than a worker has */

static _Atomic(int) death;

THREAD(choose) { /* every value that the doomed thread may read is explored */
    for (int k = 1; k <= STEPS; k++) __c11_atomic_store(&death, k, memory_order_relaxed);
    return NULL;
}

THREAD(doomed) {
    fuse = __c11_atomic_load(&death, memory_order_relaxed);
    work(0, 2);
    return NULL;
}

THREAD(other) {
    work(1, 1);
    return NULL;
}

static int crashed;

/* As inherit() in process/process.c. */
static void inherit(int place) {
    uint64_t begin, end;
    if (dist__claim_read(&claim[place], &begin, &end) != DIST__HELD) return;
    for (uint64_t i = begin; i < end; i++)
        if (__c11_atomic_load(&state[i], memory_order_acquire) == RUNNING) crashed++;
    run_items(place, begin, end); /* the replacement */
}

int main(void) {
    pthread_t a = start(doomed, NULL), b = start(other, NULL), c = start(choose, NULL);
    join(a);
    inherit(0);
    join(b);
    run_items(0, 0, UNITS); /* no worker lives: what is still pending */
    join(c);
    int unfinished = 0;
    for (int i = 0; i < UNITS; i++) {
        assert(__c11_atomic_load(&runs[i], memory_order_relaxed) == 1);
        unfinished += __c11_atomic_load(&state[i], memory_order_relaxed) != DONE;
    }
    assert(unfinished == crashed && crashed <= 1);
    return 0;
}
