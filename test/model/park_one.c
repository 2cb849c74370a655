/* genmc: --unroll=4 -DDIST__PARK_WORDS=1
 *
 * park_one.c - one worker on its way to sleep, two submitters. */
#include "park_model.h"

THREAD(submit_0) {
    publish(0, 1);
    return NULL;
}

THREAD(submit_1) {
    publish(1, 1);
    return NULL;
}

THREAD(worker) {
    work(0, 2);
    return NULL;
}

int main(void) {
    begin(1);
    pthread_t a = start(worker, NULL), b = start(submit_0, NULL), c = start(submit_1, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost();
    return 0;
}
