/* backend.h - what a backend is: one folder, this table, and its name in DIST_BACKENDS (CMake). */
#ifndef DIST_COMMON_BACKEND_H
#define DIST_COMMON_BACKEND_H

#include "batch.h"

/* Something that a thread shall do when it has time. */
struct dist__errand {
    void *link[4]; /* the backend's */
    bool of_pool;  /* a user's pool has its own limit on how many run at once */
    bool (*run)(struct dist__errand *errand); /* false: somebody else has done it */
    void (*done)(struct dist__errand *errand,
                 bool ran); /* after run, and after whatever the backend
                             * counts: others hear of the end now */
};

struct dist__light;

/* One item, and nothing to look after. */
struct dist__single {
    dist_fn fn;
    const void *item; /* NULL: none, and the size is 0 */
    size_t item_size;
    void *result; /* as the item */
    size_t result_size;
    const dist_opts *opts;
};

/* Where light jobs (light.h) wait for a thread, and the memory that they are. */
struct dist__lanes {
    struct dist__light *(*get)(void); /* room for one; NULL: no memory */
    void (*put)(struct dist__light *light);

    /* Has a thread of the backend's take it. False: no memory to tell one. */
    bool (*submit)(struct dist__light *light);

    /* True: it was the last that this thread has submitted, nobody has taken it, and now this
     * thread has. */
    bool (*take_back)(struct dist__light *light);

    /* The calling thread waits, and will not take back what it has submitted last. */
    void (*hand_over)(void);
};

/* Light jobs that workers of a process pool run: "mail". Their words are in memory that all these
 * processes share; a job that has ended there is landed here by whoever sees it first. */
struct dist__post {
    dist_job *(*begin)(struct dist_pool *pool, const struct dist__single *single, uint32_t bits);
    void (*land)(struct dist__light *light); /* it has ended */
    const struct dist__light_end *(*ended)(const struct dist__light *light);
    bool (*await)(struct dist__light *light,
                  uint64_t limit_ns); /* its end; false: the time is up */

    /* Returns what the word was. */
    uint32_t (*cancel)(struct dist__light *light, bool running_too);

    void (*leave)(struct dist__light *light);   /* the handle of one that has landed */
    void (*give_up)(struct dist__light *light); /* of one that may not have ended: it lands */

    /* Is there anybody for it? Whoever waits long asks now and then. */
    void (*tend)(struct dist__light *light);
};

struct dist__backend {
    const char *name; /* as in DIST_BACKENDS and $DIST_EXECUTOR */
    dist_executor executor;

    /* Workers of a call that did not ask for a number, made from inside `caller` (or NULL). */
    unsigned (*default_workers)(const struct dist__record *caller);

    /* Runs the batch to its end. On DIST_OK each item has succeeded, or stands in batch->outcome.
     * On anything else (by dist__refuse) nothing has run. */
    dist_status (*run)(struct dist__batch *batch);

    /* Has a thread of the backend's run the errand; NULL: it has none. */
    void (*submit)(struct dist__errand *errand);

    const struct dist__lanes *lanes; /* NULL: it has none */
    const struct dist__post *post;   /* for its pools; NULL: it has none */

    /* Somebody has waited for an errand: what a shutdown during it has left undone; may be NULL. */
    void (*rest)(void);

    /* Pools (common/pool.h); NULL, all: there are none. open: makes pool->team, with room for
     * pool->workers; a refusal if not even one can be had. A batch with a pool runs in its team.
     * resize: under the pool's lock. end: nothing is under way; in any thread, its workers end
     * and the team is freed. errand: has a worker of the team run it; NULL: any thread does. clear:
     * it was terminated: runs errands that no worker has taken yet here and now, when there is
     * nothing left to do in them, and cancels what came by a short way; may be NULL. take, give:
     * memory that all its workers see, at the same address, with whatever was there before; NULL
     * from take: there is none. NULL, both: they see all memory that the caller has.
     * The short way, NULL, all: there is none. apply: a call of one item; false: not that way,
     * nothing has run. sweep: waits for the jobs that came that way, and lands them; false: the
     * time is up. turn: which jobs came that way so far; one that comes the other way now does not
     * begin before those have. */
    dist_status (*pool_open)(struct dist_pool *pool);
    dist_status (*pool_resize)(struct dist_pool *pool, unsigned workers);
    void (*pool_end)(struct dist_pool *pool);
    void (*pool_clear)(struct dist_pool *pool);
    void (*pool_errand)(struct dist_pool *pool, struct dist__errand *errand);
    void *(*pool_take)(struct dist_pool *pool, size_t bytes);
    void (*pool_give)(struct dist_pool *pool, void *memory, size_t bytes);
    bool (*pool_apply)(struct dist_pool *pool, const struct dist__single *single,
                       dist_status *status);
    bool (*pool_sweep)(struct dist_pool *pool, uint64_t limit_ns);
    uint64_t (*pool_turn)(struct dist_pool *pool);

    /* Stops what the backend keeps between calls; may be NULL. */
    void (*shutdown)(void);
};

/* All backends that are built, generated by CMake; ends with NULL. */
extern const struct dist__backend *const dist__backends[];

/* Has the errand run by a thread: of a backend that has some, else by a new one; if the system has
 * none, by this one. */
void dist__errand_submit(struct dist__errand *errand);

/* The one of an executor; NULL and a refusal if there is none. */
const struct dist__backend *dist__backend_choose(dist_executor executor);

#endif
