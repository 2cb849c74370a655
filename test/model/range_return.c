/* genmc: --unroll=7 -O1
 *
 * range_return.c - units are stolen away and stolen back, so that a word takes a value that it had
 * before, while a third thread is about to change it by CAS. */
#include "range_model.h"

THREAD(owner) {
    while (take(0, 1, false)) {
    }
    steal(0, 1);
    take(0, 1, false);
    return NULL;
}

THREAD(neighbour) {
    if (!steal(1, 0)) return NULL;
    take(1, 1, true);
    return NULL;
}

THREAD(thief) {
    steal(2, 0);
    return NULL;
}

int main(void) {
    dist__range_put(&range[0], (struct dist__units){0, 4});
    pthread_t a = start(owner, NULL), b = start(neighbour, NULL), c = start(thief, NULL);
    join(a);
    join(b);
    join(c);
    each_taken_once(4);
    return 0;
}
