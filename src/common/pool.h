/* pool.h - a pool that a user has opened: who may come in, which jobs wait, who must hear of its
 * end. Its workers are the backend's (team). */
#ifndef DIST_COMMON_POOL_H
#define DIST_COMMON_POOL_H

#include "backend.h"
#include "control.h"

#include <sys/types.h>

/* A worker of a pool: what it keeps between calls. Its own alone. */
struct dist__hand {
    struct dist_pool *pool;
    unsigned number;
    bool ready;       /* worker_init has run, worker_exit has not */
    bool in_callback; /* one of these runs; what it calls in the pool finds no state */
    void *state;
};

/* A call that runs in a pool, or a stage whose items do. */
struct dist__guest {
    pthread_t supervisor;
    struct dist__control *control; /* of a call; else NULL */
    struct dist_job *stage;        /* or that of a stage */
    bool told;                     /* the stage, of the pool's end */
    struct dist__guest *next;
};

/* Of jobs that may have fewer workers than their pool has; under the pool's lock. */
struct dist__quota {
    unsigned most, running;
};

enum dist__pool_phase { DIST__POOL_OPEN, DIST__POOL_CLOSED, DIST__POOL_TERMINATED };

struct dist_pool {
    const struct dist__backend *backend;
    dist_opts opts;
    unsigned *cpus; /* of opts; owned */
    pid_t maker;
    uint32_t process;           /* see dist__process */
    uint64_t birth;             /* see common/arena.h */
    void *team;                 /* the backend's; NULL: ended, or the pool has none (INLINE) */
    struct dist__hand alone;    /* of INLINE, under its own lock: one call at a time */
    pthread_mutex_t alone_lock; /* recursive: calls nest */
    _Atomic(uint32_t) stopped;  /* by terminate: ends all calls in it */

    pthread_mutex_t lock; /* over all that follows */
    pthread_cond_t changed;
    enum dist__pool_phase phase;
    unsigned workers;
    size_t under_way; /* calls; and jobs that have started and not ended, those in the list too */
    unsigned foremen; /* jobs that were taken off the list, and threads that still look at them */
    struct dist_job *first, *last; /* jobs that have not begun */
    size_t waiting;                /* how many */
    bool ending;                   /* somebody ends the workers */
    bool has_ender;                /* a thread that does, or has done so, and is to be joined */
    pthread_t ender;
    size_t mailed;     /* of those under way: jobs that went the short way, which end unheard, */
    unsigned sweepers; /* and threads that wait for them, without the lock */
    struct dist__guest *guest; /* the first of those that run */
};

/* Before a call or a job in it is started. DIST_OK, or a refusal: it is closed, or foreign. */
dist_status dist__pool_begin_call(struct dist_pool *pool);

/* The same for something more, by somebody who has begun one: never refused. */
void dist__pool_count_again(struct dist_pool *pool);

/* This thread is in a task or a hook of the pool's. The second: the lock is held. */
bool dist__pool_is_inside(struct dist_pool *pool);
bool dist__pool_is_inside_locked(const struct dist_pool *pool);

/* The same for one that goes the short way; false: it has to go the other, and hear why not, or
 * wait behind jobs that went there before. And when it has ended. */
bool dist__pool_begin_single(struct dist_pool *pool, bool is_job);
void dist__pool_end_single(struct dist_pool *pool, bool is_job);

/* With the lock held: waits for the jobs among them. False: the time is up. */
bool dist__pool_sweep(struct dist_pool *pool, uint64_t limit_ns);

/* When it has ended: the last touch of the pool. */
void dist__pool_end_call(struct dist_pool *pool);

/* Around the run of a call, for terminate. */
void dist__pool_joins(struct dist_pool *pool, struct dist__guest *guest,
                      struct dist__control *control);
void dist__pool_leaves(struct dist_pool *pool, struct dist__control *control);

void dist__pool_joins_stage(struct dist_pool *pool, struct dist__guest *guest,
                            struct dist_job *job);
void dist__pool_leaves_stage(struct dist_pool *pool, struct dist__guest *guest);

/* Has one of the pool's jobs begun as soon as those before it have. DIST_OK, or a refusal. *listed:
 * the pool refers to the job until it is taken off; else it was refused, or cancelled meanwhile. */
dist_status dist__pool_queue(struct dist_pool *pool, struct dist_job *job, bool *listed);

/* Who waits for room looks again whether he is to: after the stage of his job was stopped. */
void dist__pool_stir(struct dist_pool *pool);

/* With the lock held: begins as many jobs as may run: with n workers, n. Unlocks. */
void dist__pool_begin_and_unlock(struct dist_pool *pool);

/* With the lock held, which it lets go meanwhile: none of those in the list will begin. */
void dist__pool_drop_pending(struct dist_pool *pool);

/* It is cancelled. True: it was in the list, and the reference is the caller's now. */
bool dist__pool_unqueue(struct dist_pool *pool, struct dist_job *job);

/* Moves it to UNDER_WAY, for somebody else than the pool. False: it was begun before, or is not to
 * begin yet, by its quota. *listed: it was in the list, and the reference is the caller's now. */
bool dist__pool_take(struct dist_pool *pool, struct dist_job *job, bool *listed);

/* A job with a quota has run: before others see that it has ended. */
void dist__pool_give_back(struct dist_pool *pool, struct dist_job *job);

/* A thread has done with a job that it was given: the next may begin. */
void dist__pool_next(struct dist_pool *pool);

/* Prepares this worker: runs the pool's worker_init if it is not ready. Non-zero: what that
 * returned. The record is current. */
int dist__hand_begin(struct dist__hand *hand, struct dist__record *record);

/* The hand that this thread may have for a call in the pool: that of the task around it, on
 * whatever thread, which waits for the call. NULL: there is no such task. A task has many calls
 * below it, if it has made one whose tasks make some, and one hand: one thread has it at a time.
 * dist__hand_borrow: false, it is somebody else's now. *again: it is this thread's already, and
 * returns later. */
struct dist__record *dist__hand_lender(const struct dist_pool *pool);
bool dist__hand_borrow(struct dist__record *lender, bool *again);
void dist__hand_return(struct dist__record *lender, bool again);

/* The worker leaves: worker_exit. */
void dist__hand_end(struct dist__hand *hand);

#endif
