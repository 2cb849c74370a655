/* deadlock.h - waits that can never end: a task waits for a job, a task of which waits for a job
 * that the first task is a part of; or in a larger circle. */
#ifndef DIST_COMMON_DEADLOCK_H
#define DIST_COMMON_DEADLOCK_H

#include "job.h"

/* A thread that waits without limit, on its stack. */
struct dist__wait {
    dist_job *const *jobs; /* the end of one of them is enough, */
    size_t count;
    bool of_item;                      /* or that of an item of the only one, */
    size_t item;                       /* which is this one */
    const struct dist_pool *pool;      /* or of all that runs in this pool */
    const struct dist__record *record; /* of the task that waits, and the jobs whose hooks do: */
    const struct dist_job *running;    /* none of them goes on before this wait has ended */
    uint64_t look_ns, pause_ns;        /* when to look whether it can end, and when again */
    bool for_ever, listed, stuck;
    struct dist__wait *before, *after; /* in the list of all */
};

/* Without `jobs`: it waits for something else, to be filled in. */
void dist__wait_begin(struct dist__wait *wait, dist_job *const *jobs, size_t count,
                      uint64_t limit_ns);
void dist__wait_end(struct dist__wait *wait);

/* Has others see it, from now on: the thread does something else for what it waits for, or has to
 * wait to the end whatever they do. */
void dist__wait_list(struct dist__wait *wait);

/* Before each sleep: it has lasted long enough to look, and can never end. Most waits are too short
 * for that, and cost one look at the clock; in others there are pauses, which double. */
bool dist__wait_is_vain(struct dist__wait *wait);

/* After it: how long to sleep instead of `left_ns` (-1: for ever), so as not to miss the look. */
int64_t dist__wait_nap(const struct dist__wait *wait, int64_t left_ns);

dist_status dist__wait_refuse(void);

#endif
