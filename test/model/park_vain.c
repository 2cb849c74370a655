/* genmc: --unroll=4 -DDIST__PARK_WORDS=1
 *
 * park_vain.c - a thread is counted as searching before it is started, and then it cannot be
 * started: submitters may have relied on it, so whoever counted it must see to the work. */
#include "park_model.h"

static void start_in_vain(void) {
    dist__park_search(&park);
    become_busy();
}

THREAD(starter) {
    start_in_vain();
    return NULL;
}

THREAD(submit) {
    publish(0, 1);
    return NULL;
}

THREAD(worker) {
    work(0, 2);
    return NULL;
}

int main(void) {
    begin(1);
    pthread_t a = start(worker, NULL), b = start(submit, NULL), c = start(starter, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost();
    return 0;
}
