/* slabs.c - the memory that light jobs are. */
#include "slabs.h"

#include <pthread.h>
#include <stdlib.h>

struct slab {
    struct slab *next;
    alignas(DIST__CACHE_LINE) struct dist__light job[DIST__SLAB_JOBS];
};

static struct {
    pthread_mutex_t lock;
    struct dist__light *free; /* of each batch the first; the next batch is at its `result` */
    struct slab *slabs;       /* all there are */
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct dist__light *dist__slabs_get(unsigned *count) {
    pthread_mutex_lock(&store.lock);
    struct dist__light *first = store.free;
    if (first) store.free = first->result;
    struct slab *slab = first ? NULL : aligned_alloc(alignof(struct slab), sizeof *slab);
    if (slab) slab->next = store.slabs, store.slabs = slab;
    pthread_mutex_unlock(&store.lock);
    *count = DIST__SLABS_BATCH;
    if (!slab) return first;
    for (unsigned k = 0; k < DIST__SLAB_JOBS; k++)
        slab->job[k].next = k + 1 < DIST__SLAB_JOBS ? &slab->job[k + 1] : NULL;
    *count = DIST__SLAB_JOBS;
    return slab->job;
}

void dist__slabs_share(struct dist__light **list, unsigned *count) {
    struct dist__light *first = *list, *last = first;
    for (unsigned k = 1; k < DIST__SLABS_BATCH; k++) last = last->next;
    *list = last->next;
    *count -= DIST__SLABS_BATCH;
    last->next = NULL;
    pthread_mutex_lock(&store.lock);
    first->result = store.free;
    store.free = first;
    pthread_mutex_unlock(&store.lock);
}

void dist__slabs_forget(void) {
    store.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    store.free = NULL; /* it may have been in the middle of a change */
}
