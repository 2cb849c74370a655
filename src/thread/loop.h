/* loop.h - one parallel call on threads: its units, its places, and who may still look at it. */
#ifndef DIST_THREAD_LOOP_H
#define DIST_THREAD_LOOP_H

#include "common/batch.h"
#include "common/os.h"
#include "pool.h"
#include "range.h"

#include <stdalign.h>

struct dist__loop;

struct dist__place { /* of one worker; its number is dist_worker() */
    alignas(DIST__CACHE_LINE) struct dist__range range;
    struct dist__work work; /* invites a thread to take this place */
    struct dist__loop *loop;
};

/* Invariant while the call runs: every unit is in exactly one place's range, or held by a worker,
 * or finished; left counts those that are not known to be finished. */
struct dist__loop {
    struct dist__loop *next_made; /* of all small loops; under the lock of the free list */
    struct dist__loop *next_free; /* likewise */
    bool is_free;                 /* likewise */
    uint32_t room;                /* places allocated */

    /* The caller, each submitted place, and the watch hold one each; 0: the object is free. Memory
     * of free loops is never returned while a watch may look at it. */
    alignas(DIST__CACHE_LINE) _Atomic(uint32_t) refs; /* publishes all below to the watch [ref], and
                                                       * its end to whoever reuses it [unref] */
    uint32_t width;                                   /* places that this call may use */
    uint64_t group;                                   /* units of the batch per unit here */
    uint32_t count;                                   /* units here */
    size_t units;                                     /* of the batch */
    struct dist__batch *batch; /* on the caller's stack: valid while one holds units of it */
    bool wants;                /* its open places count in the pool's wanted threads */
    bool steady;               /* units are handed out one by one: the caller fixed their size */
    _Atomic(uint32_t) open; /* places that are invited, the caller's included; CLOSED at the end */

    alignas(DIST__CACHE_LINE) _Atomic(uint64_t) left; /* publishes results [left] */
    _Atomic(uint32_t) done;                           /* RUNNING, DONE or AWAITED; a futex */
    struct dist__place place[];
};

enum { DIST__LOOP_SMALL = 32 }; /* places of loops that are kept for reuse */

/* A loop for `batch` with the caller's reference, or NULL. `again`: one that was reclaimed.
 * `at_once`: it will be opened before any unit runs, and its units may wait for each other. */
struct dist__loop *dist__loop_new(struct dist__loop *again, struct dist__batch *batch,
                                  uint32_t width, bool wants, bool at_once);

/* Gives up a reference; the last one gives the object to the free list. */
void dist__loop_unref(struct dist__loop *loop);

/* Caller: makes a loop of an earlier call its own again, for dist__loop_new. False: some thread
 * still has a reference. */
bool dist__loop_reclaim(struct dist__loop *loop);

/* For the watch: a reference to a loop that may have been freed. */
bool dist__loop_try_ref(struct dist__loop *loop);

/* Invites threads until `places` places are open. Any thread with a reference may call it. */
void dist__loop_open(struct dist__loop *loop, uint32_t places);

/* Caller: works in place 0 until no units can be had, opening the loop if that is worth while. */
void dist__loop_work(struct dist__loop *loop);

/* Caller: waits for the units that others hold, then closes. */
void dist__loop_finish(struct dist__loop *loop);

/* Units that nobody has taken yet, and a number that changes whenever some are taken. */
struct dist__loop_sight {
    uint64_t untaken, signature;
    bool all_open;
};
struct dist__loop_sight dist__loop_look(struct dist__loop *loop);

/* Frees what the free list holds: no watch may run. */
void dist__loop_free_all(void);

/* In the child of a fork: the free list may have been in the middle of a change. Its loops stay
 * reachable, and unused. */
void dist__loop_forget(void);

#endif
