/* dist.h - map, par, for and apply over threads or processes, chosen per call.
 *
 * What holds for every call:
 *
 *   Order     Results stand in item order, whatever finished first.
 *   Results   out[i] changes only if task i succeeded. A task that fails, crashes or never starts
 *             leaves out[i] as it was. (.in_place gives this up for speed.) A task finds in
 *             *result what out[i] held before the call.
 *   Failure   A task fails by returning non-zero. The call then stops handing out items, lets
 *             every item below the failed one finish, and reports the failure that a sequential
 *             loop would have met first: the one with the lowest index.
 *   Zero      Zero is the default of every option and of every optional argument.
 *   Units     Sizes are bytes, times are seconds, indices count from 0.
 *   Memory    Items, ctx and out belong to the caller and must stay valid until the call returns
 *             (until dist_job_finish for a call that fills .job); so must .names.
 *   Threads   Every function may be called from any thread at any time, also from inside a task.
 *             Two calls must not write the same `out` at once; one dist_job belongs to one thread
 *             at a time.
 *   Errors    Are values. Nothing here aborts, exits, prints or installs a signal handler.
 *             dist_last_error() holds the details of the calling thread's last failed call.
 *   errno     Not touched by a successful call.
 *   Ends      A task returns, with the floating-point environment (rounding mode, flags that trap)
 *             as it found it. It must not leave by longjmp or by a C++ exception, and in THREAD and
 *             INLINE not by pthread_exit. The calling thread cannot be cancelled inside a call.
 *   Waiting   Tasks may wait for each other if the call has at least as many .workers as items, or
 *             .chunk = 1 and at least as many .workers as tasks that wait at a time.
 *
 * The executors:
 *
 *   DIST_THREAD   Threads of a shared pool, and the calling thread. Cheap; memory is shared, so
 *                 tasks must not race. A crash ends the program, as in any threaded program.
 *   DIST_PROCESS  Workers forked inside the call. They see the caller's memory as it was at their
 *                 fork; pointers just work, inputs are not copied. What a task changes is private
 *                 to its worker: only its result comes back. A crash costs one item.
 *   DIST_INLINE   The calling thread, in index order. It is the specification of the other two.
 *
 * Inside a DIST_PROCESS worker: signal handlers are reset to their defaults (ignored signals stay
 * ignored) and no signal is blocked; atexit handlers of the host never run; stdout and stderr are
 * flushed, other streams too when the host had a single thread at the call. If other threads of
 * the host run during the call, a worker inherits the locks they hold: malloc and stdio are safe,
 * localtime, dlopen and the host's own locks may not be.
 *
 * C11 or C17 with gcc or clang. In C++ the forms ending in _fn are there; the macros are not.
 */
#ifndef DIST_H
#define DIST_H

#include "version.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DIST_API __attribute__((visibility("default")))

/* ------------------------------------------------------------------ 1. words used everywhere */

typedef enum dist_executor {
    DIST_DEFAULT, /* $DIST_EXECUTOR (thread, process or inline), else DIST_THREAD */
    DIST_THREAD,  /* for I/O-bound work and for any tasks that are safe in threads */
    DIST_PROCESS, /* for dangerous work, and for code that is not safe in threads */
    DIST_INLINE,  /* for tests and debuggers */
    DIST_AUTO     /* not built yet: DIST_UNSUPPORTED */
} dist_executor;

/* One row for each status: the name, its value, and what it says of a call or an item. */
#define DIST_STATUS_ROWS(ROW)                                                                      \
    ROW(DIST_OK, 0, "success")                                                                     \
    ROW(DIST_FAILED, 1, "a task returned non-zero")                                                \
    ROW(DIST_CRASHED, 2, "the worker process died while it ran this item")                         \
    ROW(DIST_TIMEOUT, 3, "the time limit passed")                                                  \
    ROW(DIST_CANCELLED, 4, "cancelled by the caller")                                              \
    ROW(DIST_SKIPPED, 5, "never started: the call stopped first")                                  \
    ROW(DIST_PENDING, 6, "not started yet")                                                        \
    ROW(DIST_RUNNING, 7, "started, not finished")                                                  \
    ROW(DIST_EMPTY, 8, "nothing there")                                                            \
    ROW(DIST_FULL, 9, "no room")                                                                   \
    ROW(DIST_CLOSED, 10, "closed")                                                                 \
    ROW(DIST_INVALID, 11, "an argument is invalid")                                                \
    ROW(DIST_NOMEM, 12, "out of memory")                                                           \
    ROW(DIST_STATE, 13, "not possible in this state")                                              \
    ROW(DIST_DEADLOCK, 14, "this wait could never end")                                            \
    ROW(DIST_UNSUPPORTED, 15, "not supported here")                                                \
    ROW(DIST_SYSTEM, 16, "the operating system refused; see the code (errno)")

#define DIST__STATUS_ENUM(name, value, text) name = value,
typedef enum dist_status { DIST_STATUS_ROWS(DIST__STATUS_ENUM) DIST_STATUS_COUNT } dist_status;
#undef DIST__STATUS_ENUM

/* "DIST_CRASHED" for DIST_CRASHED; "DIST_?" for a value that is none of them. Never NULL. */
DIST_API const char *dist_status_name(dist_status status);

/* A task: read *item, write *result, return 0, or an error code (best through dist_fail).
 * `item` is NULL if the call has no items, `result` is NULL if it has no results. */
typedef int (*dist_fn)(void *result, const void *item, void *ctx);

/* A task for n neighbouring items: read items[0..n-1], write results[0..n-1]. n is never 0. */
typedef int (*dist_chunk_fn)(void *results, const void *items, size_t n, void *ctx);

/* The body of an index loop. */
typedef int (*dist_index_fn)(size_t index, void *ctx);

typedef struct dist_error { /* everything known about one failed item, or one refused call */
    dist_status status;     /* FAILED, CRASHED, SKIPPED ... or INVALID, NOMEM ... for the call */
    int code;               /* what the task returned, or errno for DIST_SYSTEM */
    size_t index;           /* which item ... (0 if the call itself was refused) */
    const char *name;       /* ... its name, or NULL */
    const void *item;       /* ... and its argument, still the caller's; NULL without items */
    int signal;             /* that killed the worker process, or 0 */
    int exit_code;          /* with which the worker process ended, or 0 */
    unsigned attempts;      /* how often the item was started */
    unsigned worker;        /* in 0..workers-1 */
    char message[160];      /* from dist_fail, or "worker 2 (pid 41) killed by SIGSEGV" */
} dist_error;

typedef struct dist_event {  /* what hooks and dist_job_next receive; a hook's ends with it */
    size_t index;            /* of the item */
    size_t done, failed;     /* items that have ended so far, and how many of these failed */
    size_t total;            /* items of the call */
    const char *name;        /* the item's, or NULL */
    const void *item;        /* its argument; NULL without items */
    const void *result;      /* on_finish: its result in out, if it succeeded; else NULL */
    const dist_error *error; /* on_finish: why it failed; NULL: success */
    double seconds;          /* on_finish: how long its last attempt took */
    double eta;              /* seconds until the call ends if it goes on like this; 0: unknown */
    unsigned worker;         /* that runs it, in 0..workers-1 */
} dist_event;

typedef struct dist_job dist_job;
typedef struct dist_pool dist_pool;
typedef struct dist_queue dist_queue;
typedef struct dist_arena dist_arena;
typedef struct dist_token dist_token;

/* ------------------------------------------------------------------ 2. options */

/* Zero means "the default". Rows marked (*) are not built yet: setting one gives
 * DIST_UNSUPPORTED before anything runs.
 *
 * Callbacks (retry_if, on_start, on_finish) run in the calling thread (of a job: in the thread that
 * runs it), one at a time, while the workers go on. worker_init and worker_exit run in the worker.
 */
typedef struct dist_opts {
    size_t size;            /* sizeof(dist_opts), filled in by DIST_OPTS: lets the struct grow */
    dist_executor executor; /* THREAD, PROCESS, INLINE; 0: $DIST_EXECUTOR, else THREAD */

    /* How many tasks run at once, the caller's thread included (THREAD). 0: THREAD
     * min(32, dist_cpus() + 4), PROCESS dist_cpus(), a nested call shares its caller's workers.
     * Never more than there are items. An explicit number is kept, however far above the CPUs,
     * unless the system has no room for so many. INLINE: 1 whatever is given. */
    unsigned workers;

    /* Limit for the whole call, in seconds; 0: none. When it passes, no further item starts and
     * the call returns DIST_TIMEOUT, also with .silent, unless all items had ended. Items that had
     * ended keep their results, running ones are DIST_TIMEOUT, the others DIST_SKIPPED.
     * PROCESS: running workers get SIGTERM, and 200 ms later SIGKILL. THREAD: dist_cancelled()
     * turns true, and the call returns when the running tasks have (see .abandon). INLINE: the
     * same. */
    double timeout;

    /* Limit for one attempt of one task (of one chunk), in seconds; 0: none. A task that takes
     * longer is DIST_TIMEOUT, whatever it returns, and its result is dropped; the other items go
     * on. PROCESS: its worker gets SIGTERM, 200 ms later SIGKILL, and is replaced. THREAD and
     * INLINE: dist_cancelled() turns true; the task must return by itself. */
    double task_timeout;

    /* Items per hand-out. 0: adaptive (by the time that tasks take); for dist_map_chunks n /
     * workers, rounded so that chunk sizes differ by at most one. */
    size_t chunk;
    size_t in_flight; /* streams, stages: most items read and not delivered; 0: 2 * workers */
    bool silent;      /* go on after failures and return DIST_OK; look at them through .job */
    bool unordered;   /* jobs, streams, stages: items are delivered as they end, not by index */
    bool deferred;    /* jobs only: nothing runs before dist_job_start */

    /* THREAD, with .timeout or .token: the call returns at its limit or when it is cancelled even
     * if tasks are still running. They go on with copies of items, results and names (made at the
     * call), what they return is dropped, and dist does not touch memory of the caller any more.
     * What .ctx and pointers in items refer to must stay valid until such tasks have returned.
     * Their workers do not run .worker_exit (the call waits for a worker_init or worker_exit that
     * runs at its limit), and the library must not be unloaded before they have returned. Not for
     * dist_par and .in_place (DIST_INVALID). PROCESS ends its tasks anyway and INLINE cannot leave
     * them: no effect. */
    bool abandon;

    /* Tasks write straight into out: no staging copy, but a task that fails may leave bytes in
     * its out[i]. PROCESS: takes effect where out lies in memory that is mapped shared
     * (MAP_SHARED); elsewhere results are staged as without it. A retry finds what the failed
     * attempt has left. */
    bool in_place;

    /* Stop after so many failures and return the status of the lowest one, even if .silent.
     * 0: after 1, or never with .silent. */
    size_t max_failures;

    /* Further attempts for a task that failed, crashed (PROCESS) or was late; 0: none. Only the
     * last attempt counts as the item's outcome. A chunk is tried again as a whole, unless
     * dist_fail_at named items: then these. A task that waits for its next attempt occupies no
     * worker (INLINE: the calling thread waits for it, and later items wait with it). */
    unsigned retries;

    /* Seconds before the first retry; doubled for each further one, at most 1024 times; each pause
     * is then shortened by a random part of up to a half, so that retries spread. 0: at once. */
    double backoff;

    /* At most so many attempts start per second, over all workers, evenly spaced; 0: no limit. */
    double rate;

    /* Asked before each retry, in the calling thread; false: the failure stands. NULL: always. */
    bool (*retry_if)(const dist_error *e, void *user);
    const char *const *names; /* n names for dist_job_named and error.name, all different; an
                               * entry may be NULL */

    union {                 /* third argument of every task */
        void *ctx;          /* PROCESS: each worker has a private copy, as of the call */
        const void *extras; /* the same, for DIST_DEFINE functions */
    };

    /* Run in these workers instead of others (pool.h). .workers then is how many of them at most;
     * .executor must be theirs or 0. Options of workers (worker_init, worker_exit, cpus and those
     * below up to .strict) belong to the pool: DIST_INVALID here. NULL: none. */
    dist_pool *pool;
    size_t ctx_size; /* PROCESS pool: so many bytes at .ctx are copied for the workers; 0: none */

    /* Of dist_pool_open only, else DIST_INVALID: */
    size_t stack_size;       /* THREAD: bytes of each worker's stack; 0: the system's default */
    size_t tasks_per_worker; /* PROCESS: a worker is replaced after so many tasks; 0: never */
    size_t worker_memory;    /* PROCESS: it is replaced, between two tasks, when so many bytes of
                              * it are resident; 0: never */
    size_t max_pending;      /* jobs that may wait to begin: submitting one more waits for room, as
                              * long as its .timeout and its .token let it (it is refused with
                              * DIST_TIMEOUT, DIST_CANCELLED), or fails (.no_wait); 0: any number */
    bool strict;             /* PROCESS: DIST_STATE if other threads run, whose locks workers would
                              * inherit */

    bool no_wait; /* jobs only: DIST_FULL rather than waiting for room in the pool (.max_pending) */

    /* Where dist_alloc in tasks takes memory from. NULL: a nested call has its caller's, others
     * have none. */
    dist_arena *arena;

    /* Cancels the call from outside: no further item starts, running ones are ended as by
     * .timeout, and the call returns DIST_CANCELLED unless all items had ended. NULL: none. */
    dist_token *token;

    dist_error *error; /* out: the failure with the lowest index; written only if the call fails */
    dist_job **job;    /* out: the ended call, for inspection; free it with dist_job_finish. It is
                        * filled in if the call got as far as running (else set to NULL). */

    /* Runs in each worker before its first task; may set *state (NULL before), which
     * dist_worker_state() then returns in that worker's tasks. dist_worker() works in it, and so
     * does dist_fail. Non-zero: no further item starts, running ones are ended as by .timeout, and
     * the call returns DIST_FAILED with the text of dist_fail. Workers come and go in a call: each
     * that runs a task has had its init. PROCESS: replacements for dead workers run it too; a
     * worker that dies in it is replaced, a few times. */
    int (*worker_init)(void **state, unsigned worker, void *user);

    /* Runs in each worker whose worker_init returned 0, after its last task, before the call
     * returns; not in a worker process that was killed. */
    void (*worker_exit)(void *state, unsigned worker, void *user);

    /* Hooks: an item starts (its first attempt), an item has ended (its last attempt; not called
     * for items that never started). In the order in which it happened. */
    void (*on_start)(const dist_event *, void *user);
    void (*on_finish)(const dist_event *, void *user);
    void *user; /* handed to all callbacks above */

    /* Pins worker k to CPU cpus[k % n_cpus] while it works for the call. DIST_INVALID for a CPU
     * that this process may not use. NULL and 0: no pinning. */
    const unsigned *cpus;
    size_t n_cpus;

    /* Title of a progress bar on stderr: items done, rate, time left, failures; at most ten
     * updates a second, drawn by the calling thread, and only if stderr is a terminal. NULL: none.
     */
    const char *progress;
    const char *trace; /* (*) */
    uint64_t seed;     /* of dist_random; 0 in a nested call: made from the enclosing task's */
} dist_opts;

/* DIST_OPTS(.workers = 4, .silent = true): a pointer to options that live as long as the block. */
#define DIST_OPTS(...) (&(dist_opts){.size = sizeof(dist_opts), __VA_ARGS__})

/* ------------------------------------------------------------------ 3. calls
 *
 * Each call documents the loop it replaces. All return DIST_OK, or
 *   DIST_FAILED, DIST_CRASHED   the status of the failure with the lowest index; also
 *   DIST_TIMEOUT, DIST_NOMEM    DIST_TIMEOUT by .task_timeout, DIST_NOMEM by a full arena;
 *   DIST_TIMEOUT                .timeout passed, or
 *   DIST_CANCELLED              .token was cancelled, and an item below the lowest failure had not
 *                               ended: dist_last_error()->index is the lowest of those;
 *   DIST_INVALID                an argument is wrong, dist_last_error()->message names it;
 *   DIST_UNSUPPORTED            an option or executor that is not built;
 *   DIST_NOMEM, DIST_SYSTEM     no memory, or not even one worker could be started.
 * After DIST_INVALID and DIST_UNSUPPORTED nothing has run. The last two can also end a call in the
 * middle; then dist_last_error()->index is the item from which on items were skipped.
 */

/* for (i = 0; i < n; i++) fn(&out[i], &items[i], ctx); */
DIST_API dist_status dist_map_fn(dist_fn fn, const void *items, size_t n, size_t item_size,
                                 void *out, size_t out_size, const dist_opts *opts);

/* fn(out, arg, ctx); in one worker. `arg` may be NULL. */
DIST_API dist_status dist_apply_fn(dist_fn fn, const void *arg, size_t arg_size, void *out,
                                   size_t out_size, const dist_opts *opts);

/* for (each chunk [b, b + k) of 0..n-1) fn(&out[b], &items[b], k, ctx);
 * A chunk function that returns non-zero fails all items of its chunk, unless it named the bad
 * ones by dist_fail_at. */
DIST_API dist_status dist_map_chunks_fn(dist_chunk_fn fn, const void *items, size_t n,
                                        size_t item_size, void *out, size_t out_size,
                                        const dist_opts *opts);

/* for (i = 0; i < n; i++) fn(i, ctx); */
DIST_API dist_status dist_for_fn(dist_index_fn fn, size_t n, const dist_opts *opts);

typedef struct dist_task { /* one call for par */
    const char *name;      /* for dist_job_named and error.name, or NULL; names must differ */
    dist_fn fn;
    const void *arg;
    size_t arg_size;
    void *result; /* NULL: no result; no two tasks may have the same */
    size_t result_size;
    void *ctx;        /* NULL: the call's ctx */
    int priority;     /* lower ones start sooner, equal ones by index; see below */
    double timeout;   /* limit for one attempt, in seconds; 0: the call's .task_timeout */
    unsigned retries; /* further attempts; 0: the call's .retries */
} dist_task;

/* for (i = 0; i < n; i++) t[i].fn(t[i].result, t[i].arg, t[i].ctx ? t[i].ctx : ctx);
 *
 * With priorities the loop is over the tasks as they start: a failure stops those behind it in this
 * order, and the one that comes first in it is reported; workers take them one by one, unless there
 * is a .chunk. All else (indices, events, jobs) counts them as they stand in the array. */
DIST_API dist_status dist_par_fn(const dist_task *tasks, size_t n, const dist_opts *opts);

#ifndef __cplusplus
/* dist_map(cube_task, in, 101, out, .workers = 4): item and result sizes come from the pointers.
 * `out` may be DIST_NONE (no results), `items` of dist_apply may be DIST_NONE (no argument). A
 * pointer to void has no item size: cast it, or call the form ending in _fn. */
#define DIST_NONE ((char *)0)

#define dist_map(fn, items, n, ...) DIST__MAP(dist_map_fn, DIST__ANY, fn, items, n, __VA_ARGS__)
#define dist_thread_map(fn, items, n, ...)                                                         \
    DIST__MAP(dist_map_fn, DIST__THR, fn, items, n, __VA_ARGS__)
#define dist_process_map(fn, items, n, ...)                                                        \
    DIST__MAP(dist_map_fn, DIST__PRC, fn, items, n, __VA_ARGS__)

#define dist_map_chunks(fn, items, n, ...)                                                         \
    DIST__MAP(dist_map_chunks_fn, DIST__ANY, fn, items, n, __VA_ARGS__)
#define dist_thread_map_chunks(fn, items, n, ...)                                                  \
    DIST__MAP(dist_map_chunks_fn, DIST__THR, fn, items, n, __VA_ARGS__)
#define dist_process_map_chunks(fn, items, n, ...)                                                 \
    DIST__MAP(dist_map_chunks_fn, DIST__PRC, fn, items, n, __VA_ARGS__)

#define dist_apply(fn, arg, ...)         DIST__APPLY(dist_apply_fn, DIST__ANY, fn, arg, __VA_ARGS__)
#define dist_thread_apply(fn, arg, ...)  DIST__APPLY(dist_apply_fn, DIST__THR, fn, arg, __VA_ARGS__)
#define dist_process_apply(fn, arg, ...) DIST__APPLY(dist_apply_fn, DIST__PRC, fn, arg, __VA_ARGS__)

/* dist_for(body, n, .workers = 4): the arguments after fn are n, then options */
#define dist_for(fn, ...)         DIST__LIST(dist_for_fn, DIST__ANY, fn, __VA_ARGS__)
#define dist_thread_for(fn, ...)  DIST__LIST(dist_for_fn, DIST__THR, fn, __VA_ARGS__)
#define dist_process_for(fn, ...) DIST__LIST(dist_for_fn, DIST__PRC, fn, __VA_ARGS__)

/* dist_par(tasks, n, .silent = true): the arguments after tasks are n, then options */
#define dist_par(tasks, ...)         DIST__LIST(dist_par_fn, DIST__ANY, tasks, __VA_ARGS__)
#define dist_thread_par(tasks, ...)  DIST__LIST(dist_par_fn, DIST__THR, tasks, __VA_ARGS__)
#define dist_process_par(tasks, ...) DIST__LIST(dist_par_fn, DIST__PRC, tasks, __VA_ARGS__)

/* An entry of a dist_task array: DIST_TASK("xrp", price_task, &exchange, &prices.xrp) */
#define DIST_TASK(name, fn, arg, result)                                                           \
    { (name), (fn), (arg), sizeof *(arg), (result), sizeof *(result), 0, 0, 0, 0 }
#endif

/* Details of the last call of this thread that did not return DIST_OK. Never NULL; the status is
 * DIST_OK if there was none. Valid until the thread's next call. */
DIST_API const dist_error *dist_last_error(void);

/* 4. jobs: job.h; many items into one value: reduce.h */

/* 5. inside a task, 6. arenas and tokens: task.h */

/* 7. pools: pool.h, streams: stream.h, queues: queue.h */

/* ------------------------------------------------------------------ 8. the library */

/* CPUs that this process may use now: the least of affinity mask, cgroup quota (v1 and v2, rounded
 * up) and online CPUs, at least 1. $DIST_WORKERS, if it is a positive number, replaces all that. */
DIST_API unsigned dist_cpus(void);

/* Stops the threads of the shared pool and frees them: now if no call runs, else when the last one
 * ends. A later call starts new ones. Also done at exit and at dlclose. Inside a task: nothing. */
DIST_API void dist_shutdown(void);

DIST_API const char *dist_version(void); /* "0.1.0" */

/* ------------------------------------------------------------------ 9. splitting a range
 *
 * Pure functions. What lies past the end is an empty range; so is everything for parts or size 0.
 */

typedef struct dist_range {
    size_t begin, count;
} dist_range;

/* Part k of 0..n-1 in `parts` parts: sizes differ by at most 1, the larger ones first. */
DIST_API dist_range dist_split(size_t n, size_t parts, size_t k);

/* Block k of 0..n-1 in blocks of `size`; the last may be shorter. */
DIST_API dist_range dist_chunk(size_t n, size_t size, size_t k);

/* ------------------------------------------------------------------ machinery */
#ifndef __cplusplus
#define DIST__ANY
#define DIST__THR               .executor = DIST_THREAD,
#define DIST__PRC               .executor = DIST_PROCESS,
#define DIST__HEAD(...)         DIST__HEAD_(__VA_ARGS__, ~)
#define DIST__HEAD_(first, ...) first
#define DIST__REST(...)         DIST__TAIL_(__VA_ARGS__, )
#define DIST__TAIL_(first, ...) __VA_ARGS__
#define DIST__MAP(call, as, fn, items, n, ...)                                                     \
    call((fn), (items), (n), sizeof *(items), (DIST__HEAD(__VA_ARGS__)),                           \
         sizeof *(DIST__HEAD(__VA_ARGS__)),                                                        \
         &(dist_opts){.size = sizeof(dist_opts), as DIST__REST(__VA_ARGS__)})
#define DIST__APPLY(call, as, fn, arg, ...)                                                        \
    call((fn), (arg), sizeof *(arg), (DIST__HEAD(__VA_ARGS__)), sizeof *(DIST__HEAD(__VA_ARGS__)), \
         &(dist_opts){.size = sizeof(dist_opts), as DIST__REST(__VA_ARGS__)})
#define DIST__LIST(call, as, first, ...)                                                           \
    call((first), (DIST__HEAD(__VA_ARGS__)),                                                       \
         &(dist_opts){.size = sizeof(dist_opts), as DIST__REST(__VA_ARGS__)})
#endif

#ifdef __cplusplus
}
#endif

#include "job.h"

#include "task.h"

#include "pool.h"

#include "stream.h"

#include "queue.h"

#include "pipe.h"

#include "reduce.h"

#include "define.h"

#endif
