/* copy.h - what workers may still use when the caller has abandoned them. */
#ifndef DIST_THREAD_COPY_H
#define DIST_THREAD_COPY_H

#include "common/control.h"

struct dist__copy {
    struct dist__batch batch; /* items, out and names are copies */
    struct dist__control control;
    unsigned char *memory;  /* items, then results, then names */
    unsigned char *settled; /* for each item: 1 if it is; the supervisor's */
};

/* Of a batch and its control; NULL without memory. Holds the token and the arena. */
struct dist__copy *dist__copy_new(const struct dist__batch *batch);
void dist__copy_free(struct dist__copy *copy);

#endif
