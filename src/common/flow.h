/* flow.h - items that pass through a function in groups: each group is a job, in a lane of its own.
 * What streams and the stages of a pipe share; who reads items and who delivers them is theirs. */
#ifndef DIST_COMMON_FLOW_H
#define DIST_COMMON_FLOW_H

#include "backend.h"
#include "pool.h"

#include <pthread.h>

struct dist__lane {
    struct dist__flow *flow;
    dist_job *job; /* NULL: it is free */
    size_t first, count;
    unsigned char *items, *results;
};

struct dist__flow {
    const dist_opts *opts;
    const struct dist__backend *backend;
    dist_pool *pool, *own;    /* NULL, both: INLINE without one; own: opened here */
    struct dist__quota quota; /* of its jobs in a pool that is not its own; most 0: none */
    dist_fn fn;
    size_t item_size, result_size;
    dist_job *job; /* that all this is; NULL: a stream */

    struct dist__lane *lane; /* a ring: `used` of them from `oldest` on (unordered: any of them) */
    size_t lanes, used, oldest;
    size_t in_flight, waiting; /* items, at most, and now */
    size_t group, most_group;  /* items of the next lane */
    size_t read, done, failed;
    uint64_t deadline_ns, turn_ns, interval_ns;
    pthread_mutex_t asking; /* one retry_if at a time */
    dist_error lowest;      /* failure so far, by index */
    dist_stats stats;       /* of what is delivered; no percentiles */
};

/* opts, fn and the sizes are set, all else is zero. DIST_OK, or a refusal, and nothing to close. */
dist_status dist__flow_open(struct dist__flow *flow);

/* What is still under way is of no use to anybody: it is cancelled. Keeps dist_last_error(). */
void dist__flow_close(struct dist__flow *flow);

/* Reading. If there is room: a free lane, and how many items it may hold. With one at least its job
 * is started (NULL: refused), and then it has begun. Nothing but these two and what is below
 * changes what two threads use. */
bool dist__flow_has_room(const struct dist__flow *flow);
struct dist__lane *dist__flow_lane(struct dist__flow *flow, size_t *most);
dist_job *dist__flow_start(struct dist__flow *flow, const struct dist__lane *lane);
void dist__flow_began(struct dist__flow *flow, struct dist__lane *lane, dist_job *job);

/* Delivering. What became of an item of a lane whose job has ended: *event, which holds as long as
 * *error and the lane. DIST_OK; else it was cut off, and so is the flow. *stops: this failure ends
 * it, and dist__flow_failure is how. */
dist_status dist__flow_settle(struct dist__flow *flow, const struct dist__lane *lane, size_t k,
                              dist_event *event, dist_error *error, bool *stops);
dist_status dist__flow_failure(const struct dist__flow *flow);

/* The lane, whose job has ended, is delivered or not wanted: it is free. Keeps dist_last_error().
 */
void dist__flow_free(struct dist__flow *flow, struct dist__lane *lane);

#endif
