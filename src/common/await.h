/* await.h - a call that goes on by itself, as those who wait for it see it (async.c). */
#ifndef DIST_COMMON_AWAIT_H
#define DIST_COMMON_AWAIT_H

#include "job.h"

/* What is known of an item, in dist_job.item[]. */
enum dist__item_fate { DIST__OPEN, DIST__WELL, DIST__BADLY, DIST__SKIPPED };

enum dist__phase dist__job_phase(const struct dist_job *job);

/* Was it made by another process? */
bool dist__job_is_foreign(const struct dist_job *job);
dist_status dist__job_refuse_foreign(void);

/* DIST_OK, or why this thread must not wait for the job. */
dist_status dist__job_check(const struct dist_job *job);

/* Moves a job that has not begun to UNDER_WAY. False: somebody else has. */
bool dist__job_begin(struct dist_job *job);

/* By whoever has begun it. */
void dist__job_run_here(struct dist_job *job);

void dist__job_unref(struct dist_job *job);

#endif
