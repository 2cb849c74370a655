/* lanes.h - where light jobs wait for a thread: a deque for each thread that submits any.
 *
 * A lane belongs to the thread that pushes to it; when that thread ends, another one takes it over
 * as it is. Threads of the pool that find nothing else *serve* the lanes: they take the oldest jobs
 * of each lane in turn (where there are many, some at once, by way of their own lane), until there
 * are none, or something else for them. The owner may take back what it pushed last. A job that
 * somebody else has begun leaves an entry behind; who takes that drops it.
 *
 * Waking. A lane is told of like any work of the pool (park.h). But a thread that serves looks
 * again after each job, and most jobs are short: while it does, and while as many serve as there
 * are CPUs for them, a submitter wakes nobody. The watch makes up for that: each millisecond it
 * looks whether jobs are left lying, and wakes further threads if those that serve do not get on,
 * or leave the CPUs idle.
 *
 * While there are light jobs the lanes are *active*: they want threads from the pool. */
#ifndef DIST_THREAD_LANES_H
#define DIST_THREAD_LANES_H

#include <stdbool.h>

/* For the backend's table. */
extern const struct dist__lanes dist__lanes;

/* A thread of the pool without other work: true if it is to serve the lanes now. */
bool dist__lanes_begin(void);

/* Serves until there have been no jobs for a while, or until should_stop() says so. end:
 * afterwards. */
void dist__lanes_serve(bool (*should_stop)(void));
void dist__lanes_end(void);

/* There are jobs, and nobody serves. */
bool dist__lanes_starve(void);

/* A thread that searched has found something, or leaves; submitters of jobs that are left may have
 * relied on it. */
void dist__lanes_tell_on(bool leaves);

/* The watch, each tick. True: there are jobs, or there were some since the last look. */
bool dist__lanes_look(void);

/* Before a thread of the pool sleeps: if there are no jobs, the lanes want no threads any more. */
void dist__lanes_rest(void);

/* Before a shutdown: the same, after dropping what nobody needs. After it: jobs that were submitted
 * meanwhile want threads again. */
void dist__lanes_rest_all(void);
void dist__lanes_revive(void);

/* At dlclose: threads that end later must not come back here. */
void dist__lanes_unload(void);

/* In the child of a fork. */
void dist__lanes_forget(void);

#endif
