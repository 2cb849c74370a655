/* crew_work.h - a crew: one call on threads that its caller looks after. What its workers do; the
 * caller's part is crew.c. */
#ifndef DIST_THREAD_CREW_WORK_H
#define DIST_THREAD_CREW_WORK_H

#include "common/control.h"
#include "common/job.h"
#include "common/pool.h"
#include "copy.h"
#include "pool.h"

#include <pthread.h>

/* DIST__FREE -> DIST__INVITED -> DIST__TAKEN -> DIST__FREE; or, by the supervisor, DIST__INVITED ->
 * DIST__FREE. */
enum { DIST__FREE, DIST__INVITED, DIST__TAKEN };

struct dist__crew_place {
    struct dist__work work; /* first: the pool passes works */
    struct dist__crew *crew;
    unsigned number;         /* dist_worker() */
    _Atomic(uint32_t) state; /* [place] */
    _Atomic(bool) queued;    /* its work is in the pool's hands [queued] */
    bool drawn;              /* each_worker: its item */
};

/* Lives until the last place's work has come back from the pool: after the call, if abandoned. */
struct dist__crew {
    _Atomic(uint32_t) refs; /* the caller's, and one for each queued or taken place [refs] */
    struct dist__batch *supervised; /* the caller's */
    struct dist__batch *batch;      /* what workers run: the same, or a copy of it */
    struct dist__control *control;  /* of `batch` */
    struct dist__desk *desk;        /* owned */
    _Atomic(uint32_t) *attempts;    /* owned; NULL: no retries */
    int bell;                       /* workers ring it */
    uint64_t bell_file;             /* see control.h */
    int own_bell;                   /* to close in the end; the caller's before its unref */
    uint64_t units;
    alignas(DIST__CACHE_LINE) _Atomic(uint64_t) cursor; /* units drawn */
    alignas(DIST__CACHE_LINE) pthread_mutex_t lock;     /* over the retries that are due */
    struct dist__span *due;
    size_t due_count, due_room;
    _Atomic(size_t) due_hint; /* due_count, for a look without the lock */

    struct dist_pool *pool; /* whose threads work; NULL: those that all calls share */

    /* The caller's, if it may work in the pool: */
    struct dist__hand *hand;
    struct dist__record *lender; /* whose hand that is; NULL: a worker's outside of tasks */
    bool hand_is_away;           /* at the last look */
    _Atomic(bool) helped;        /* somebody has given back a place while there was more to do */

    struct dist__copy *copy; /* of what an abandoned call still needs; NULL: it waits */
    unsigned width;
    struct dist__crew_place place[];
};

enum dist__manner {
    DIST__TAKES_TURNS, /* in a pool others shall have their turn before the next hand-out */
    DIST__STAYS,       /* until there is nothing to draw */
    DIST__HELPS        /* until the helper has enough */
};

/* NULL: no memory. Its works are run by the pool's threads or the team's. */
struct dist__crew *dist__crew_new(struct dist__batch *batch);
void dist__crew_unref(struct dist__crew *crew);

/* That of one of the crew's places. */
bool dist__crew_owns(struct dist__work *work, void *crew);

/* Units below the stop that nobody has drawn. */
bool dist__crew_more_to_draw(const struct dist__crew *crew);

bool dist__crew_move(struct dist__crew_place *place, uint32_t from, uint32_t to);

/* Gives a place back, with its part of the pool's wanted threads. */
bool dist__crew_free_place(struct dist__crew_place *place, uint32_t from);

bool dist__crew_take_due(struct dist__crew *crew, struct dist__span *items);

/* Works in a place that it has taken. `hand`: of a worker of the crew's pool, or NULL. True: there
 * is more. */
bool dist__crew_work_in(struct dist__crew *crew, unsigned number, struct dist__hand *hand,
                        enum dist__manner manner, const struct dist__helper *helper);

/* See control.h. */
bool dist__crew_meanwhile(const struct dist__control *control, struct dist__record *record);

/* For a job that others wait for: see job.h. */
void dist__crew_hold(void *crew);
bool dist__crew_help(void *crew, struct dist__record *lender, const struct dist__helper *helper);

#endif
