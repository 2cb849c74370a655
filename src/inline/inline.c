/* inline.c - the specification: the calling thread, in index order. */
#include "common/backend.h"
#include "common/here.h"
#include "common/pool.h"

static unsigned one(const struct dist__record *caller) {
    (void)caller;
    return 1;
}

/* In a pool one call runs at a time: it has one worker, whose state no two tasks use at once. A
 * call below a task of the pool, from whatever thread, has its turn while that task waits. */
static dist_status run(struct dist__batch *batch) {
    if (!batch->pool) return dist__run_here(batch, NULL);
    struct dist__record *lender = dist__hand_lender(batch->pool);
    bool again;
    if (!lender) pthread_mutex_lock(&batch->pool->alone_lock);
    else
        while (!dist__hand_borrow(lender, &again)) poll(NULL, 0, 1);
    dist_status status = dist__run_here(batch, &batch->pool->alone);
    if (lender) dist__hand_return(lender, again);
    else pthread_mutex_unlock(&batch->pool->alone_lock);
    return status;
}

const struct dist__backend dist__backend_inline = {
    .name = "inline", .executor = DIST_INLINE, .default_workers = one, .run = run};
