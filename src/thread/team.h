/* team.h - the threads of one pool that a user has opened. They run works in the order in which
 * those were submitted, each one at a time. */
#ifndef DIST_THREAD_TEAM_H
#define DIST_THREAD_TEAM_H

#include "common/pool.h"
#include "pool.h"

/* For the backend's table: see common/backend.h. */
dist_status dist__team_open(struct dist_pool *pool);
dist_status dist__team_resize(struct dist_pool *pool, unsigned workers);
void dist__team_end(struct dist_pool *pool);

/* Appends works, next(state, k) being the k-th, all together: nobody else's come between them, so
 * that tasks of one call may wait for each other. `to_each`: the k-th is for worker k alone; if
 * that cannot be started it is dropped, and an errno returned, else 0. */
int dist__team_submit(struct dist_pool *pool, struct dist__work *(*next)(void *state, unsigned k),
                      void *state, unsigned count, bool to_each);

/* Appends one. */
void dist__team_append(struct dist_pool *pool, struct dist__work *work);

/* By a worker: the same for the work that it has run, to take another for it. That needs no further
 * worker. */
void dist__team_give_back(struct dist_pool *pool, struct dist__work *work);

/* Takes back all works for which mine(work, state) holds, and drops them. */
void dist__team_retract(struct dist_pool *pool, bool (*mine)(struct dist__work *work, void *state),
                        void *state);

/* Takes the first work for which fit(work, state) holds; NULL: there is none. */
struct dist__work *dist__team_take(struct dist_pool *pool,
                                   bool (*fit)(struct dist__work *work, void *state), void *state);

/* The worker of this pool that the calling thread is, or NULL. */
struct dist__hand *dist__team_self(const struct dist_pool *pool);

/* This worker should give back the work that it runs and take the next: others wait, or it is one
 * too many. */
bool dist__team_must_yield(const struct dist_pool *pool);

#endif
