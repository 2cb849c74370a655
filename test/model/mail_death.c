/* genmc: --unroll=20
 *
 * mail_death.c - a worker dies at any of its steps, and the nursery does what has to be done, while
 * the host uses cells again and another worker goes on. Only what ran at the death has crashed; all
 * else is run once. */
#include "mail_model.h"

enum { STEPS = 14 }; /* more than a worker has */

static _Atomic(int) death;
static int posted;

THREAD(choose) { /* every value that the doomed thread may read is explored */
    for (int k = 1; k <= STEPS; k++) __c11_atomic_store(&death, k, memory_order_relaxed);
    return NULL;
}

THREAD(doomed) {
    fuse = __c11_atomic_load(&death, memory_order_relaxed);
    work(0);
    work(0);
    return NULL;
}

THREAD(host) {
    if (look(0)) post(0, posted++);
    return NULL;
}

THREAD(other) {
    work(1);
    work(1);
    return NULL;
}

int main(void) {
    post(0, 0);
    post(1, 1);
    posted = 2;
    pthread_t d = start(choose, NULL), a = start(doomed, NULL);
    join(a);
    pthread_t b = start(host, NULL), c = start(other, NULL);
    inherit(0);
    join(b);
    join(c);
    join(d);
    for (int i = 0; i < 3; i++) work(2);
    assert(look(0) && look(1));
    int crashed = 0;
    for (int i = 0; i < posted; i++) {
        int ran = __c11_atomic_load(&runs[i], memory_order_relaxed);
        crashed += ended[i] == CRASHED;
        assert(ended[i] == WELL ? ran == 1 : ended[i] == CRASHED && ran <= 1);
    }
    assert(crashed <= 1);
    return 0;
}
