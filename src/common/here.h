/* here.h - running a batch in the calling thread alone. */
#ifndef DIST_COMMON_HERE_H
#define DIST_COMMON_HERE_H

#include "batch.h"

/* In index order; also a batch that is looked after, whose supervisor the thread then is as well.
 * DIST_OK, or a refusal. */
dist_status dist__run_here(struct dist__batch *batch);

#endif
