/* genmc: --unroll=7 -O1
 *
 * range_steal.c - an owner takes units while two thieves steal from it, and from each other what
 * they have put into their own ranges. */
#include "range_model.h"

THREAD(owner) {
    take(0, 1, true);
    take(0, 2, false);
    if (!take(0, 1, false)) steal(0, 1);
    return NULL;
}

THREAD(thief_1) {
    steal(1, 0);
    if (!take(1, 1, false)) steal(1, 2);
    return NULL;
}

THREAD(thief_2) {
    if (!steal(2, 1)) steal(2, 0);
    take(2, 1, true);
    return NULL;
}

int main(void) {
    dist__range_put(&range[0], (struct dist__units){0, 5});
    pthread_t a = start(owner, NULL), b = start(thief_1, NULL), c = start(thief_2, NULL);
    join(a);
    join(b);
    join(c);
    each_taken_once(5);
    return 0;
}
