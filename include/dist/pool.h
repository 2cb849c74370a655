/* pool.h - workers that are kept between calls. Part of dist.h.
 *
 * A pool is opened once and given to any number of calls and jobs as their .pool, by several
 * threads at once too; they share its workers fairly, hand-out by hand-out. All promises of dist.h
 * hold in it, and besides:
 *
 *   Workers   A pool of n workers runs up to n tasks at once, never more, and really n of them, so
 *             n tasks may wait for each other. The calling thread only waits (but a task of the
 *             pool that makes a call runs it itself, with whatever workers are free; so .abandon
 *             has no effect there). dist_worker() is the number of the worker in its pool; its
 *             .worker_init has run before its first task, and dist_worker_state() is the same in
 *             all its tasks, whatever their call.
 *   Order     Jobs start in the order in which they were submitted.
 *   THREAD    Threads of its own, started when there is work for them (the first at once). A call
 *             below a task of the pool (made by a task of a call that this task has made) may run
 *             in the thread that makes it, as that task's worker, which waits meanwhile.
 *   PROCESS   Worker processes, forked from a small process that is itself forked when the pool is
 *             opened: they see memory as it was then. Items, tasks' arguments and names are copied
 *             for each call, results come back as bytes or in an arena, made before the pool or
 *             after it; .ctx is copied if .ctx_size tells its size, else the pointer must make
 *             sense in memory as of the open, and so must functions. (DIST_TASK takes the size of
 *             what its argument points to: one byte of a string. Fill in .arg_size for those.) A
 *             worker that dies is replaced.
 *   INLINE    The calling thread; calls run one after another.
 *
 * A pool may be used by any thread of the process that opened it. In another process every function
 * gives DIST_UNSUPPORTED, and nothing hangs. */
#ifndef DIST_POOL_H
#define DIST_POOL_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens a pool; NULL and dist_last_error() if an argument is wrong or the system has no room for a
 * single worker. Options: .executor, .workers (0: THREAD min(32, dist_cpus() + 4), PROCESS
 * dist_cpus()), .worker_init, .worker_exit and .user, .cpus, .stack_size, .tasks_per_worker,
 * .worker_memory, .max_pending, .strict, .error; any other is DIST_INVALID.
 *
 * .worker_init that fails: calls that need the worker return DIST_FAILED with its text; the next
 * call tries again. */
DIST_API dist_pool *dist_pool_open_fn(const dist_opts *opts);
#ifndef __cplusplus
#define dist_pool_open(...) dist_pool_open_fn(DIST_OPTS(__VA_ARGS__))
#endif

/* The workers that it has, or will have as soon as there is work. 0 for NULL. */
DIST_API unsigned dist_pool_workers(const dist_pool *pool);

/* No new calls and jobs (DIST_CLOSED); what was submitted runs. A second time: nothing. */
DIST_API dist_status dist_pool_close(dist_pool *pool);

/* Waits until all has run and the workers have ended, .worker_exit included; DIST_TIMEOUT after
 * `seconds`, and it may be called again. DIST_STATE before close or terminate. DIST_DEADLOCK:
 * called by a task of this pool, or by one that a task of it waits for (job.h). */
DIST_API dist_status dist_pool_join(dist_pool *pool, double seconds);

/* Closes it, and cancels what was submitted: jobs that have not begun and calls that run end as
 * DIST_CANCELLED, as by a token. Returns at once. */
DIST_API dist_status dist_pool_terminate(dist_pool *pool);

/* Waits until nothing is submitted or running, without closing it; tasks that were abandoned do not
 * count (for join they do). DIST_TIMEOUT, DIST_DEADLOCK: as join. */
DIST_API dist_status dist_pool_wait(dist_pool *pool, double seconds);

/* From now on it has so many workers, at least 1: those above leave when the hand-out that they are
 * running is done (a process pool has room for those it was opened with: more is DIST_INVALID).
 * Calls that run keep to the number they began with. INLINE: 1 is all there is. */
DIST_API dist_status dist_pool_resize(dist_pool *pool, unsigned workers);

/* fn(number, ctx) once in each worker, which runs nothing else meanwhile; how it ended, as a call
 * of dist_for. For preparing workers and for looking at them. DIST_DEADLOCK: as join. DIST_STATE:
 * a process pool has got fewer workers meanwhile. */
DIST_API dist_status dist_each_worker(dist_pool *pool, dist_index_fn fn, void *ctx);

/* close + join + free, and sets it to NULL. NULL: nothing. Where join gives DIST_DEADLOCK: closes
 * it and nothing else. */
DIST_API void dist_pool_free(dist_pool **pool);

/* DIST_SCOPED_POOL *pool = dist_pool_open(...): is freed at the end of the block, after all that
 * was submitted has run. */
#define DIST_SCOPED_POOL __attribute__((cleanup(dist_pool_free))) dist_pool

#ifdef __cplusplus
}
#endif

#endif
