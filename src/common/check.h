/* check.h - bad input is refused here, before anything runs. */
#ifndef DIST_COMMON_CHECK_H
#define DIST_COMMON_CHECK_H

#include "batch.h"

/* DIST_OK, or the status of a refused call with its message recorded. The first one sets *opts->job
 * to NULL as soon as it trusts the struct. `goes_on`: for a call that returns a job. */
dist_status dist__check_opts(const dist_opts *opts, bool goes_on);
dist_status dist__check_pool_opts(const dist_opts *opts);
dist_status dist__check_stage(const dist_queue *in, dist_fn fn, const dist_queue *out,
                              const dist_opts *o);
dist_status dist__check_stream(dist_fn fn, dist_next_fn next, dist_sink_fn sink,
                               const dist_opts *opts);
dist_status dist__check_array(const char *name, const void *array, size_t n, size_t size);

dist_status dist__check_tasks(const dist_task *tasks, size_t n);

/* Refuses equal names among those that are not NULL. `what` is the argument they came in. */
dist_status dist__check_names(const char *what, const struct dist__batch *batch);

#endif
