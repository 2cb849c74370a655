/* job.h - calls that return at once, and looking at calls that have ended. Part of dist.h.
 *
 * A job is a call: one that was started and goes on by itself (the _async forms), or one that has
 * ended (.job). Its items, out, tasks, and all that its options point to must stay valid until it
 * has ended, and until dist_job_finish if it is looked at; the options themselves are copied.
 *
 * One thread at a time may use a job, but dist_job_cancel and dist_job_state any. A job used in
 * another process than the one that made it gives DIST_UNSUPPORTED, and nothing hangs: so do waits
 * of tasks in worker processes for jobs of their host.
 *
 * Circles: tasks of two jobs that wait for each other's job without limit would never end. One of
 * these waits is told, by DIST_DEADLOCK, when it has lasted for some 50 ms; the others go on. So is
 * one of any circle of waits without limit by tasks (THREAD and INLINE) and hooks of jobs, and by
 * tasks of calls and streams that they make: for jobs, for an item by dist_job_next (in index
 * order), for any of several jobs, all of which lead back, for a pool by dist_pool_wait and _join
 * (by tasks in other pools and of jobs). What a task waits for otherwise (a lock, a worker that is
 * free, room by .max_pending) is not seen, and nobody is told who may go on. */
#ifndef DIST_JOB_H
#define DIST_JOB_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For every parameter `seconds`: no limit. 0 only looks. */
#define DIST_FOREVER (-1.0)

/* ------------------------------------------------------------------ 4a. calls that return at once
 *
 * As dist_map, dist_par and dist_apply, but they return a job at once; NULL and dist_last_error()
 * for bad arguments. THREAD and PROCESS: a thread of the shared pool does what the calling thread
 * would do in a blocking call (hooks run there); the pool starts up to min(32, dist_cpus() + 4)
 * threads for jobs, so others wait their turn; a wait without limit runs a job that has not begun
 * in the waiting thread. INLINE: the call runs before this returns, or, with .deferred, in
 * dist_job_start. */

DIST_API dist_job *dist_map_async_fn(dist_fn fn, const void *items, size_t n, size_t item_size,
                                     void *out, size_t out_size, const dist_opts *opts);
DIST_API dist_job *dist_apply_async_fn(dist_fn fn, const void *arg, size_t arg_size, void *out,
                                       size_t out_size, const dist_opts *opts);
DIST_API dist_job *dist_par_async_fn(const dist_task *tasks, size_t n, const dist_opts *opts);

#ifndef __cplusplus
#define dist_map_async(fn, items, n, ...)                                                          \
    DIST__MAP(dist_map_async_fn, DIST__ANY, fn, items, n, __VA_ARGS__)
#define dist_apply_async(fn, arg, ...)                                                             \
    DIST__APPLY(dist_apply_async_fn, DIST__ANY, fn, arg, __VA_ARGS__)
#define dist_par_async(tasks, ...) DIST__LIST(dist_par_async_fn, DIST__ANY, tasks, __VA_ARGS__)
#endif

/* Starts a job made with .deferred. DIST_STATE if it was started before. */
DIST_API dist_status dist_job_start(dist_job *job);

/* DIST_PENDING: not started. DIST_RUNNING: started, not ended. Else how it ended: what the blocking
 * call would have returned. */
DIST_API dist_status dist_job_state(const dist_job *job);

/* Waits until the job has ended and returns how (always the same; dist_last_error() tells more), or
 * DIST_TIMEOUT after `seconds`: wait again later (dist_job_state tells this from a job that has
 * ended by its own limit). DIST_STATE: not started. DIST_DEADLOCK: called by a task or a hook
 * of this very job, or the last wait of a circle (see above): it may be waited for again. */
DIST_API dist_status dist_job_wait(dist_job *job, double seconds);

/* The next item that has ended, each one once: in index order, or with .unordered in the order in
 * which they end. event->error tells why an item failed, was skipped or cancelled; with .silent the
 * others go on. `event` is valid until the next call with this job. DIST_EMPTY: all were delivered.
 * DIST_TIMEOUT: none within `seconds`. DIST_STATE and DIST_DEADLOCK: as above. */
DIST_API dist_status dist_job_next(dist_job *job, dist_event *event, double seconds);

/* The first of `jobs` (NULL entries are passed over) that has ended; n if none does within
 * `seconds`, or if none is running, or if none ever will (dist_last_error() is DIST_DEADLOCK). */
DIST_API size_t dist_job_wait_any(dist_job *const *jobs, size_t n, double seconds);

/* A job that has not begun to run ends as DIST_CANCELLED: DIST_OK. One that runs: DIST_RUNNING, and
 * nothing happens, unless `running_too`: then it is ended as by a token, and this returns DIST_OK
 * at once. DIST_STATE: it had ended before, not by this. */
DIST_API dist_status dist_job_cancel(dist_job *job, bool running_too);

/* Waits until the job has ended, frees it and sets it to NULL; returns how it ended, as if it had
 * not been .silent. DIST_OK for NULL and for a job that was never started. DIST_DEADLOCK: as
 * dist_job_wait; the job is not freed then. */
DIST_API dist_status dist_job_finish(dist_job **job);

/* Gives the job up and sets it to NULL: it runs to its end and frees itself. What its call was
 * given must stay valid until then; .on_finish and dist_pool_wait tell when. DIST_STATE: not
 * started. */
DIST_API dist_status dist_job_detach(dist_job **job);

/* ------------------------------------------------------------------ 4b. looking at an ended job
 *
 * Before the end there are no failures and no outcomes. */

DIST_API size_t dist_job_count(const dist_job *job);    /* items */
DIST_API size_t dist_job_failures(const dist_job *job); /* items that failed or crashed */

/* The k-th failure in index order; NULL unless k < dist_job_failures(). */
DIST_API const dist_error *dist_job_failure_at(const dist_job *job, size_t k);

/* How item `index` ended. NULL: it succeeded (or index is not below the count). A status of
 * DIST_SKIPPED: it never started. An item that failed and waited for a retry when the call stopped
 * has its last attempt's failure. */
DIST_API const dist_error *dist_job_outcome(const dist_job *job, size_t index);

/* The result of the item or par task of that name; NULL if there is none, or no success. */
DIST_API void *dist_job_named(const dist_job *job, const char *name);

/* Copies the results of all items that succeeded, in index order and without gaps, to `packed`
 * (room for all n results; NULL: just count). Returns how many. */
DIST_API size_t dist_job_succeeded(const dist_job *job, void *packed);

/* Writes *value (one result) in the place of every result that is missing because its item failed
 * or was skipped: into `copy`, an array of n results that first receives all of out, or, if
 * `copy` is NULL, into out itself. DIST_INVALID for a job without results, or of par tasks. */
DIST_API dist_status dist_job_replace_failed(const dist_job *job, const void *value, void *copy);

typedef struct dist_stats { /* how a call went */
    size_t tasks;           /* attempts that have ended (of a chunk function: chunks) */
    size_t failed;          /* items; see dist_job_failures */
    size_t retried;         /* of the attempts: those after an item's first */
    size_t workers_lost;    /* PROCESS: workers that died before their work was done */
    size_t peak_rss;        /* PROCESS: of the largest worker, in bytes, with what it shares */
    unsigned workers;       /* places in which tasks have run: at most so many at once */
    dist_executor executor; /* that has run it */
    double wall;            /* from the begin of the call, or of its run for a job, to its end */
    double cpu;             /* by workers: their threads', or the whole life of their processes */
    double busy;            /* time in which tasks ran, of all workers */
    double waiting;         /* the rest: wall * workers - busy; busy / (busy + waiting) is how well
                             * the workers were used */
    double p50, p95, max;   /* of how long attempts took: median, 95th percentile, longest */
} dist_stats;

/* How an ended job went, for a call that goes on by itself and for .job of a blocking one: such
 * calls look at the clock once or twice for each attempt, some 25 ns each, which counts as its
 * time; others do not. The percentiles are right to 7 %, cpu of threads to 20 us for each worker.
 * What is not known is 0: peak_rss but with
 * PROCESS, cpu of a worker whose status somebody else has taken, cpu with .abandon, all times if
 * there was no memory for them, the percentiles of a stage (pipe.h). DIST_STATE before the end. */
DIST_API dist_status dist_job_stats(const dist_job *job, dist_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
