/* genmc: --unroll=5
 *
 * board_chairs.c - three workers and one chair. Whoever has it works alone. One of them dies in it,
 * and when it has been given back for the dead one, somebody can have it. */
#include "model.h"
#include "process/board.h"

enum { WORKERS = 3 };

static struct dist__chair chair[1];
static int work; /* of whoever has the chair */
static bool had[WORKERS];

static void try(unsigned self, bool dies) {
    if (!dist__chair_take(chair, 1, self)) return;
    had[self] = true;
    work++;
    if (!dies) dist__chair_give(chair, 1, self);
}

THREAD(worker) {
    try((unsigned)(uintptr_t)arg, false);
    return NULL;
}

THREAD(doomed) {
    try(0, true);
    return NULL;
}

int main(void) {
    pthread_t thread[WORKERS];
    for (unsigned k = 0; k < WORKERS; k++)
        thread[k] = start(k ? worker : doomed, (void *)(uintptr_t)k);
    for (unsigned k = 0; k < WORKERS; k++) join(thread[k]);
    assert(work == had[0] + had[1] + had[2] && work > 0);
    assert(dist__chair_count(chair, 1) == !had[0]);
    for (unsigned k = 1; k < WORKERS; k++) dist__chair_give(chair, 1, k); /* not theirs */
    assert(dist__chair_count(chair, 1) == !had[0]);
    dist__chair_give(chair, 1, 0);
    assert(dist__chair_count(chair, 1) == 1);
    assert(dist__chair_take(chair, 1, 2) && !dist__chair_take(chair, 1, 1));
    return 0;
}
