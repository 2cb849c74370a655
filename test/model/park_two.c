/* genmc: --unroll=4 -DDIST__PARK_WORDS=1
 *
 * park_two.c - two workers on their way to sleep, one submitter with two pieces of work: a worker
 * that finds one must see to the other, which the submitter left to it. */
#include "park_model.h"

THREAD(submit) {
    publish(0, 1);
    publish(1, 1);
    return NULL;
}

THREAD(worker_0) {
    work(0, 1);
    return NULL;
}

THREAD(worker_1) {
    work(1, 2);
    return NULL;
}

int main(void) {
    begin(2);
    pthread_t a = start(worker_0, NULL), b = start(worker_1, NULL), c = start(submit, NULL);
    join(a);
    join(b);
    join(c);
    no_wake_lost();
    return 0;
}
