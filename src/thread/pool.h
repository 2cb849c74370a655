/* pool.h - the threads that all calls share. They take nodes and run them; they know no loops. */
#ifndef DIST_THREAD_POOL_H
#define DIST_THREAD_POOL_H

#include "inbox.h"
#include "park.h"

#include <stdbool.h>

enum { DIST__POOL_MOST = DIST__PARK_MAX }; /* threads */

/* A piece of work for one thread, inside an object that outlives it. */
struct dist__work {
    struct dist__node node; /* first: the queues pass nodes */
    void (*run)(struct dist__work *work);
    void (*drop)(struct dist__work *work); /* in the place of run, if no thread will come */
};

/* Publishes `count` pieces of work, next(state, k) being the k-th, and wakes or starts threads for
 * them. From a pool thread they go to its own deque, else to the shared inbox. */
void dist__pool_submit(struct dist__work *(*next)(void *state, unsigned k), void *state,
                       unsigned count);

/* Takes back what this thread has submitted and nobody has taken, as far as mine(work, state)
 * holds, and drops it. */
void dist__pool_retract(bool (*mine)(struct dist__work *work, void *state), void *state);

/* Calls that run now want this many threads more (or less, if negative): up to the sum the pool
 * starts a thread whenever there is work that nobody awake will take. */
void dist__pool_want(int threads);

/* After work was published elsewhere, by a seq_cst store (lanes.h): true if a thread looks for
 * work, and will see it. */
bool dist__pool_will_see(void);

/* Wakes or starts a thread. False: there is none to be had. */
bool dist__pool_wake(void);

bool dist__pool_has_threads(void);

/* True if a thread is awake and looks for work: telling it costs no system call. */
bool dist__pool_is_hot(void);

/* A shutdown waits for the end of the calls that run. */
bool dist__pool_is_retiring(void);

/* Stops and joins all threads: now, or, if calls run, when the last of them ends. */
void dist__pool_shutdown(void);

/* At exit and at dlclose: the same, but if calls run the threads are left alone, and one that does
 * not end soon is not waited for. */
void dist__pool_leave(void);

/* In the child of a fork: none of the threads is there any more. */
void dist__pool_forget(void);

#endif
