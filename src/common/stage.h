/* stage.h - one stage of a pipe: items of a queue pass through a function into another queue. */
#ifndef DIST_COMMON_STAGE_H
#define DIST_COMMON_STAGE_H

#include "job.h"

/* Owned by its job. */
struct dist__stage;

/* Runs it to its end, in this thread and one more. */
dist_status dist__stage_run(struct dist__stage *stage);

/* Ends it soon. Any thread, while the job is there. */
void dist__stage_stop(struct dist__stage *stage);

/* Not 0: it ends, and so shall all that it has begun. */
const _Atomic(uint32_t) *dist__stage_stopped(const struct dist__stage *stage);

/* It has ended, or will never begin: the stages before it and after it are told. Once or more. */
void dist__stage_leave(struct dist__stage *stage);

/* It was refused: its queues are as they were. */
void dist__stage_withdraw(struct dist__stage *stage);

void dist__stage_free(struct dist__stage *stage);

#endif
