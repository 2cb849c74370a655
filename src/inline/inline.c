/* inline.c - the specification: the calling thread, in index order. */
#include "common/backend.h"

static unsigned one(const struct dist__record *caller) {
    (void)caller;
    return 1;
}

static dist_status run(struct dist__batch *batch) {
    struct dist__record record;
    dist__record_enter(&record, batch->caller, 0, 1, false);
    size_t units = dist__batch_units(batch);
    if (batch->kind == DIST__MAP_CHUNKS)
        for (size_t k = 0; k < units; k++)
            dist__batch_run(batch, dist__batch_items(batch, k, k + 1), &record);
    else dist__batch_run(batch, (struct dist__span){0, batch->n}, &record);
    dist__record_leave(&record);
    return DIST_OK;
}

const struct dist__backend dist__backend_inline = {
    .name = "inline", .executor = DIST_INLINE, .default_workers = one, .run = run};
