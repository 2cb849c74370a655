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

    /* Of a worker of a pool; NULL: the process ends with the call. After a hand-out of so many
     * tasks: true if the worker should leave the call for now. */
    void (*has_begun)(void); /* it is ready for its first task */
    bool (*has_done_enough)(uint64_t tasks);
    const uint64_t *most_tasks; /* that it may still run; UINT64_MAX: any number */
};

/* What a process does first that is to run tasks, and dies with `parent`. */
void dist__worker_become(pid_t parent, bool all_flushed);

/* Draws items and runs them until none are left, or it has done enough: then true if some are. */
bool dist__worker_work(struct dist__process_call *call, unsigned place,
                       struct dist__record *record);

/* Flushes what tasks have written. */
void dist__worker_flush(void);

/* Runs as worker `place`, beginning with the items it holds already, and ends the process. Signals
 * are blocked when it is called. */
_Noreturn void dist__worker_main(struct dist__process_call *call, unsigned place);

/* Before the forks of a call: flushes stdio as far as that cannot hang. True: all of it. */
bool dist__worker_flush_host(void);

#endif
