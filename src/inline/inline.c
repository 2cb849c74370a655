/* inline.c - the specification: the calling thread, in index order. */
#include "common/backend.h"
#include "common/here.h"

static unsigned one(const struct dist__record *caller) {
    (void)caller;
    return 1;
}

const struct dist__backend dist__backend_inline = {
    .name = "inline", .executor = DIST_INLINE, .default_workers = one, .run = dist__run_here};
