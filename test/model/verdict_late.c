/* genmc: --unroll=5
 *
 * verdict_late.c - a worker runs three attempts, its parent asks for limits and condemns: never
 * another attempt than the one whose limit it was told, and either the attempt has ended or it is
 * condemned, not both. */
#include "verdict_model.h"

THREAD(worker) {
    work(0, ATTEMPTS);
    return NULL;
}

THREAD(parent) {
    for (int looks = 0; looks < 3 && !condemned; looks++) look();
    return NULL;
}

int main(void) {
    pthread_t a = start(worker, NULL), b = start(parent, NULL);
    join(a);
    join(b);
    one_of_both();
    return 0;
}
