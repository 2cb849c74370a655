/* slabs.h - the memory that light jobs are. It is kept: what was needed at once. Each thread has a
 * list of free jobs, linked by `next`; some of them go from thread to thread at once. */
#ifndef DIST_THREAD_SLABS_H
#define DIST_THREAD_SLABS_H

#include "common/light.h"

enum {
    DIST__SLAB_JOBS = 1023,  /* taken from the system at once; with its head 64 KiB */
    DIST__SLABS_BATCH = 128, /* go from thread to thread at once */
    DIST__SLABS_KEPT = DIST__SLAB_JOBS + 2 * DIST__SLABS_BATCH /* by a thread, at most */
};

/* For a thread that has none: some that another thread did not need, or new ones; NULL: no memory.
 */
struct dist__light *dist__slabs_get(unsigned *count);

/* Of the free ones of a thread a batch goes to the others. */
void dist__slabs_share(struct dist__light **list, unsigned *count);

/* In the child of a fork. */
void dist__slabs_forget(void);

#endif
