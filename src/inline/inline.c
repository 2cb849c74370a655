/* inline.c - the specification: the calling thread, in index order. */
#include "common/backend.h"

static unsigned one(const struct dist__record *caller) {
    (void)caller;
    return 1;
}

static dist_status run(struct dist__batch *batch) {
    struct dist__record record;
    dist__record_enter(&record, batch, 0, DIST__ALONE);
    dist__batch_run(batch, 0, dist__batch_units(batch), &record);
    dist__record_leave(&record);
    return DIST_OK;
}

const struct dist__backend dist__backend_inline = {
    .name = "inline", .executor = DIST_INLINE, .default_workers = one, .run = run};
