/* genmc: --unroll=6
 *
 * mail_take.c - two workers take what a host posts, which uses a cell again as soon as it can. Each
 * item is run once, and what comes back is right. */
#include "mail_model.h"

static int posted;

THREAD(host) {
    post(0, 0);
    post(1, 1);
    posted = 2;
    if (look(0)) post(0, posted++);
    return NULL;
}

THREAD(first) {
    work(0);
    work(0);
    return NULL;
}

THREAD(second) {
    work(1);
    return NULL;
}

int main(void) {
    pthread_t a = start(host, NULL), b = start(first, NULL), c = start(second, NULL);
    join(a);
    join(b);
    join(c);
    for (int i = 0; i < 3; i++) work(2);
    assert(look(0) && look(1));
    for (int i = 0; i < posted; i++) {
        assert(__c11_atomic_load(&runs[i], memory_order_relaxed) == 1);
        assert(ended[i] == WELL);
    }
    return 0;
}
