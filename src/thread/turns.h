/* turns.h - how many jobs may be under way at once, in threads of the pool: min(32, cpus + 4). A
 * thread that runs an errand has a turn, and one that serves the lanes. */
#ifndef DIST_THREAD_TURNS_H
#define DIST_THREAD_TURNS_H

#include <stdbool.h>

unsigned dist__turns_most(void);

/* By a thread that is to serve the lanes. False: all are taken, or awaited. */
bool dist__turn_take(void);

/* To an errand that waits for one; not if `to_lanes`, and nobody serves them. The calling thread
 * must look at the lanes then. */
void dist__turn_give(bool to_lanes);

/* An errand waits for one: a hint. */
bool dist__turn_is_awaited(void);

/* False: whoever gives the next one back looks at the lanes after that. */
bool dist__turn_is_free(void);

#endif
