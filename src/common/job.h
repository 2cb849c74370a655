/* job.h - an ended call. */
#ifndef DIST_COMMON_JOB_H
#define DIST_COMMON_JOB_H

#include "batch.h"

enum { DIST__SKIPPED_BLOCK = 64 };

struct dist__skipped_block { /* neighbours, made when somebody asks for the outcome of one */
    size_t number;           /* of index / DIST__SKIPPED_BLOCK */
    dist_error error[DIST__SKIPPED_BLOCK];
};

struct dist_job {
    struct dist__batch batch;
    struct dist__skipped_block **asked; /* by number, ascending */
    size_t asked_count;
};

#endif
