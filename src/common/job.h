/* job.h - an ended call. */
#ifndef DIST_COMMON_JOB_H
#define DIST_COMMON_JOB_H

#include "batch.h"

struct dist__skipped_item { /* made when somebody asks for the outcome of a skipped item */
    struct dist__skipped_item *next;
    dist_error error;
};

struct dist_job {
    struct dist__batch batch;
    struct dist__skipped_item *asked;
};

#endif
