/* here.h - running a batch in the calling thread alone. */
#ifndef DIST_COMMON_HERE_H
#define DIST_COMMON_HERE_H

#include "batch.h"

struct dist__hand;

/* In index order; also a batch that is looked after, whose supervisor the thread then is as well.
 * `hand`: the worker of the batch's pool that the thread is, else NULL. DIST_OK, or a refusal. */
dist_status dist__run_here(struct dist__batch *batch, struct dist__hand *hand);

#endif
