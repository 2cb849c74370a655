/* crew.h - a call on threads that its caller looks after (common/control.h). */
#ifndef DIST_THREAD_CREW_H
#define DIST_THREAD_CREW_H

#include "common/batch.h"

/* Runs a batch that has a control: pool threads take its items, the calling thread supervises. */
dist_status dist__crew_run(struct dist__batch *batch);

#endif
