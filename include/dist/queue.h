/* queue.h - bounded queues of fixed-size items, between threads or between processes. Part of
 * dist.h.
 *
 * What holds for every queue:
 *
 *   Items     Are bytes, copied in and copied out: .item_size of them. What pointers in them refer
 *             to must make sense to whoever gets them.
 *   Order     First in, first out. With .priority: lower first, and first in, first out among
 *             equals. Each item that was put is got once.
 *   Bound     It never holds more than .capacity items: who puts into a full one waits for room.
 *   Seconds   How long a function may wait at most. 0: not at all; DIST_FOREVER, or any number
 * below 0: without limit. A wait may be as long as it likes, and costs no CPU time worth
 *             mentioning; what it waits for ends it at once.
 *   Threads   Any thread may use a queue at any time, also inside a task, but for
 *             dist_queue_free. The calling thread cannot be cancelled in a wait.
 *   Tasks     A task that dist_cancelled() tells to return does not wait on: DIST_CANCELLED, within
 *             0.1 s. So limits and tokens reach a task that waits for a queue.
 *   Outcome   DIST_EMPTY, DIST_FULL, DIST_CLOSED, DIST_TIMEOUT and DIST_CANCELLED are answers: the
 *             queue is as it was. dist_last_error() has a text for these too.
 *
 * Without .process_shared a queue belongs to the process that opened it; in a forked child every
 * function gives DIST_UNSUPPORTED, and nothing hangs. A thread that is stopped in the middle of a
 * put (by a debugger, or by the scheduler) delays the items behind it; others keep their limits.
 *
 * With .process_shared it is used by that process and by all that are forked after the open, with
 * the same pointer: workers of calls that fork (DIST_PROCESS), workers of a process pool that was
 * opened after the queue, children of fork(). It has no name, and is gone with the last of them.
 * All of them may be killed at any moment:
 *
 *   Killed    Whoever dies in a put has put the item or has not; who dies in a get has taken it or
 *             has not. No other item is lost, none is delivered twice or in parts, and the others
 *             go on, within 0.1 s if the dead one was to wake them.
 *   join      An item whose taker died before its task_done stays unfinished: give join a limit.
 *   Stopped   Others keep their limits while a process is stopped (SIGSTOP), but for 20 ms.
 *   Memory    Is taken as items are put: at most .capacity times (.item_size + 32) bytes. */
#ifndef DIST_QUEUE_H
#define DIST_QUEUE_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dist_queue_opts { /* zero is the default of all but item_size */
    size_t size;                 /* filled by dist_queue_open */
    size_t item_size;            /* bytes of an item */
    size_t capacity;             /* most items at a time; 0: 65536 */
    bool priority;               /* for dist_queue_put_first */
    bool process_shared;         /* for forked processes, too */
} dist_queue_opts;

/* dist_queue_open(.item_size = sizeof(struct message), .capacity = 3). NULL and dist_last_error()
 * if an argument is wrong or there is no memory. */
DIST_API dist_queue *dist_queue_open_fn(const dist_queue_opts *opts);
#ifndef __cplusplus
#define dist_queue_open(...)                                                                       \
    dist_queue_open_fn(&(dist_queue_opts){.size = sizeof(dist_queue_opts), __VA_ARGS__})
#endif

/* Appends a copy of *item. DIST_FULL: no room within `seconds`. DIST_CLOSED: at once, also for
 * those who wait. With .priority it stands behind all that dist_queue_put_first puts. */
DIST_API dist_status dist_queue_put(dist_queue *queue, const void *item, double seconds);

/* The same before all items of a higher priority number, and behind those of its own. DIST_INVALID
 * for a queue without .priority. */
DIST_API dist_status dist_queue_put_first(dist_queue *queue, int priority, const void *item,
                                          double seconds);

/* Takes the first item out, into *item, which is untouched otherwise. DIST_EMPTY: none came within
 * `seconds`, which makes a heartbeat:
 *
 *     while ((s = dist_queue_get(queue, &message, 30.0)) != DIST_CLOSED)
 *         if (s == DIST_EMPTY) heartbeat();
 *         else handle(&message);
 *
 * DIST_CLOSED: it is closed, and no item is left or on its way. */
DIST_API dist_status dist_queue_get(dist_queue *queue, void *item, double seconds);

/* An item that was got has been dealt with. DIST_STATE: more often than items were put. */
DIST_API dist_status dist_queue_task_done(dist_queue *queue);

/* Waits until dist_queue_task_done was called for every item that was put; DIST_TIMEOUT after
 * `seconds`. */
DIST_API dist_status dist_queue_join(dist_queue *queue, double seconds);

/* No more puts; those that wait return DIST_CLOSED. What is in it can be got, then getters receive
 * DIST_CLOSED, also those that wait. A second time: nothing. */
DIST_API dist_status dist_queue_close(dist_queue *queue);

/* Items in it now, those included that are just being put or got; its bound. 0 for NULL, and in a
 * process that cannot use it. */
DIST_API size_t dist_queue_length(const dist_queue *queue);
DIST_API size_t dist_queue_capacity(const dist_queue *queue);

/* Frees it in this process (others keep theirs), with the items in it, and sets it to NULL. NULL:
 * nothing. No thread of this process may be using it: join them, or close it and wait until they
 * have heard of it. Stages (pipe.h) are waited for: close it, or end them, before. */
DIST_API void dist_queue_free(dist_queue **queue);

#ifdef __cplusplus
}
#endif

#endif
