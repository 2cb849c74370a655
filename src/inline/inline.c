/* inline.c - the specification: the calling thread, in index order. */
#include "common/backend.h"
#include "common/here.h"
#include "common/pool.h"

static unsigned one(const struct dist__record *caller) {
    (void)caller;
    return 1;
}

/* In a pool one call runs at a time: it has one worker, whose state no two tasks use at once. */
static dist_status run(struct dist__batch *batch) {
    if (!batch->pool) return dist__run_here(batch, NULL);
    pthread_mutex_lock(&batch->pool->alone_lock);
    dist_status status = dist__run_here(batch, &batch->pool->alone);
    pthread_mutex_unlock(&batch->pool->alone_lock);
    return status;
}

const struct dist__backend dist__backend_inline = {
    .name = "inline", .executor = DIST_INLINE, .default_workers = one, .run = run};
