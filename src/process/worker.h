/* worker.h - the child side: what a worker process does from its fork to its end. */
#ifndef DIST_PROCESS_WORKER_H
#define DIST_PROCESS_WORKER_H

#include "region.h"

#include <sys/types.h>

struct dist__process_call { /* the parent's view; workers have it as of their fork */
    struct dist__batch *batch;
    struct dist__region region;
    pid_t parent;
    bool all_flushed; /* the parent had one thread, and flushed every stream */
};

/* Runs as worker `place`, beginning with the items it holds already, and ends the process. Signals
 * are blocked when it is called. */
_Noreturn void dist__worker_main(struct dist__process_call *call, unsigned place);

/* Before the forks of a call: flushes stdio as far as that cannot hang. True: all of it. */
bool dist__worker_flush_host(void);

#endif
