/* task.h - what a task may ask and do, and what it may share with its caller. Part of dist.h. */
#ifndef DIST_TASK_H
#define DIST_TASK_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ 5. inside a task
 *
 * Outside of any task these return 0 or NULL; dist_fail returns its code.
 */

/* Records why the task fails and returns `code`: return dist_fail(EIO, "cannot read %s", path).
 * A code of 0 counts as 1. The text is cut to fit dist_error.message. */
DIST_API int dist_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* In a chunk task: only item k of this chunk failed. A chunk task that then goes on and returns 0
 * has succeeded for all items it did not name. One that returns non-zero has stopped at the
 * highest item it named: the items before it stand, those after it are handed out again. */
DIST_API int dist_fail_at(size_t k, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

DIST_API int dist_failure(void);  /* the code recorded for this task, or 0 */
DIST_API size_t dist_index(void); /* of the item; in a chunk task of the chunk's first item */
DIST_API const char *dist_name(void);
DIST_API unsigned dist_attempt(void); /* 1 for the first start of this item */

/* True if this task should return: its time is up (.task_timeout, .timeout), its call was
 * cancelled, or a lower item has failed. Poll it in long loops; it costs about as much as reading
 * the clock. A task that has been told so has not succeeded, whatever it returns: its item is
 * DIST_TIMEOUT or DIST_CANCELLED, and its result is dropped. Calls with none of the options that
 * need it (limits, retries, rate, token, hooks, progress, worker_init and _exit, cpus) tell nothing
 * of their own, only what calls around them say; a call that ends well after the task around it was
 * told gives that status. */
DIST_API bool dist_cancelled(void);

/* What .worker_init of this worker has set. */
DIST_API void *dist_worker_state(void);

/* Memory from the call's .arena, aligned for any type, zero-filled, valid in the caller and in all
 * workers until dist_arena_free. NULL if the arena is full (the task then fails with DIST_NOMEM
 * unless it returns 0 or calls dist_fail) or if the call has none. 0 bytes give a pointer too.
 * With $DIST_STRICT=1 a DIST_FN or DIST_DEFINE task in a worker process fails with the code EFAULT
 * if the pointer it returns leads to memory that is private to its worker. */
DIST_API void *dist_alloc(size_t bytes);
DIST_API char *dist_strdup(const char *text);

/* A random number that depends only on the call's seed, the item's index, and how often this item
 * has asked before: the same for every executor, worker count, retry and crash history. In a chunk
 * task the index is that of the chunk's first item, so there it depends on .chunk (give one). Not
 * for secrets. */
DIST_API uint64_t dist_random(void);

/* In 0..workers-1, and never held by two running tasks of a call at once: an index for scratch
 * memory, one place for each worker. */
DIST_API unsigned dist_worker(void);

/* ------------------------------------------------------------------ 6. arenas and tokens */

/* Memory that tasks may return pointers to, from worker processes too: shared between the caller
 * and all workers forked later, at the same address. `reserve` bytes of address space, 0: 64 GiB;
 * halved until the system accepts it. Only what is used takes memory. NULL and dist_last_error() if
 * there is none. Any number of calls may use it, at once too. */
DIST_API dist_arena *dist_arena_new(size_t reserve);

/* Frees all that was allocated in it. NULL: nothing. Must not be in use by a running call. */
DIST_API void dist_arena_free(dist_arena *arena);

/* True if `pointer` lies in memory that dist_alloc has taken from the arena. */
DIST_API bool dist_arena_owns(const dist_arena *arena, const void *pointer);

/* A switch that cancels all calls that have it as their .token, now and later. NULL and
 * dist_last_error() if the system has no room. */
DIST_API dist_token *dist_token_new(void);

/* Async-signal-safe, from any thread and also from a worker process. A second time: nothing. */
DIST_API void dist_token_cancel(dist_token *token);
DIST_API bool dist_token_cancelled(const dist_token *token); /* async-signal-safe too */

/* NULL: nothing. Must not be in use by a running call; abandoned tasks may still have it. */
DIST_API void dist_token_free(dist_token *token);

#ifdef __cplusplus
}
#endif

#endif
