/* watch.h - a loop that has not asked for threads yet must not wait for them for ever.
 *
 * A caller starts alone, and invites threads when its first hand-outs have shown that the rest is
 * worth a wake. But its first task may block, may even wait for a task that comes later. So while
 * such a call runs it is published here, and one thread, the watch, looks every millisecond whether
 * units are left that nobody has taken for a while, and then opens the loop in the caller's place.
 * Without published loops the watch sleeps, after lingering some milliseconds so that a program
 * that makes many short calls does not wake it for each. */
#ifndef DIST_THREAD_WATCH_H
#define DIST_THREAD_WATCH_H

#include "loop.h"

/* The calls that one thread has under way, one inside the other. Lives as long as the thread. */
struct dist__caller;

/* The calling thread's, made at its first call; NULL without memory. */
struct dist__caller *dist__caller_self(void);

/* A loop for the thread's next inner call: reuses what the last call on this level left. */
struct dist__loop *dist__caller_loop(struct dist__caller *caller, struct dist__batch *batch,
                                     uint32_t width, bool wants, bool at_once);

/* Publishes it to the watch. False: it cannot be watched, so open it at once. */
bool dist__caller_watch(struct dist__caller *caller, struct dist__loop *loop);

/* The call has ended: withdraws the loop and gives up the caller's reference. */
void dist__caller_release(struct dist__caller *caller, struct dist__loop *loop);

enum { DIST__TICK_NS = 1000000 }; /* between two looks */

/* Light jobs lie in lanes, and nobody was woken for them: the watch is to look at them. False: it
 * cannot.
 */
bool dist__watch_lanes(void);

void dist__watch_shutdown(void);

/* At dlclose: threads that end later must not come back here. */
void dist__watch_unload(void);

/* In the child of a fork. */
void dist__watch_forget(void);

#endif
