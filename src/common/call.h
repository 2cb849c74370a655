/* call.h - the door, seen from inside. */
#ifndef DIST_COMMON_CALL_H
#define DIST_COMMON_CALL_H

#include "backend.h"

/* Runs a checked batch to its end, in this thread. *refused: nothing has run, or DIST_OK. */
dist_status dist__call_run(const struct dist__backend *backend, struct dist__batch *batch,
                           const dist_opts *opts, dist_status *refused);

/* Options that are not given. */
extern const dist_opts dist__no_opts;

/* The end of every public call: fills in the option .error, if it has failed. Returns the status.
 */
dist_status dist__call_leave(dist_status status, const dist_opts *opts);

/* The one that runs a call with this option; DIST_DEFAULT if there is none. */
dist_executor dist__call_executor(dist_executor executor);

#endif
