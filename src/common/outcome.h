/* outcome.h - how the items of a call ended: the failures, what was skipped, and up to which item
 * the call goes on. Only what went wrong takes memory. */
#ifndef DIST_COMMON_OUTCOME_H
#define DIST_COMMON_OUTCOME_H

#include "dist/dist.h"
#include <pthread.h>
#include <stdatomic.h>

/* The `limit` smallest failure indices so far, ascending: the last one is where a sequential loop
 * that tolerates limit - 1 failures would have stopped. */
struct dist__smallest {
    size_t *index;
    size_t count, room, limit;
};

/* Adds an index; one that it holds already counts once. Returns the limit-th smallest, or SIZE_MAX
 * while there are fewer, or if the memory to count them cannot be had. */
size_t dist__smallest_add(struct dist__smallest *smallest, size_t index);
void dist__smallest_free(struct dist__smallest *smallest);

struct dist__span { /* items begin <= i < end */
    size_t begin, end;
};

struct dist__outcome {
    /* Items above it need not run; it only falls. Written under `lock`, read by all workers. */
    _Atomic(size_t) stop;
    pthread_mutex_t lock; /* over all that follows, while the call runs */
    bool keep_all;        /* a job was asked for: keep every failure, not just the lowest */
    struct dist__smallest smallest;
    size_t failed_count;
    dist_error lowest;  /* valid if failed_count > 0 */
    dist_error *failed; /* the first kept_count of failed_count; all unless `incomplete` */
    size_t kept_count, failed_room;
    struct dist__span *skipped;
    size_t skipped_count, skipped_room;
    bool incomplete;           /* no memory to keep a failure or a span */
    const size_t *order;       /* see dist__outcome_order; NULL: positions are indices */
    struct dist__span *unused; /* room for all items, for then */
};

/* `limit` failures stop the call; 0: none does. */
void dist__outcome_init(struct dist__outcome *outcome, size_t limit, bool keep_all);
void dist__outcome_free(struct dist__outcome *outcome);

/* Thread-safe. The name and item of the error may still be missing: see dist__batch_describe. */
void dist__outcome_fail(struct dist__outcome *outcome, const dist_error *error);
void dist__outcome_skip(struct dist__outcome *outcome, size_t begin, size_t end);

/* The call has ended before its time: what lies above `index` was not run, whatever .silent says.
 */
void dist__outcome_cut(struct dist__outcome *outcome, size_t index);

/* What is told of an item that never started; its index and names are still missing. */
extern const dist_error dist__skipped;

/* The failure of item `index` (not: position), if there is one that was kept. Thread-safe. */
void dist__outcome_find(struct dist__outcome *outcome, size_t index, dist_error *error);

/* While the call runs it counts positions of n items: these are their indices. False: no memory.
 * translate: now all that is kept counts indices, and is to be sorted; only `lowest` is what it
 * was, the first in the order of positions. */
bool dist__outcome_order(struct dist__outcome *outcome, const size_t *order, size_t n);
void dist__outcome_translate(struct dist__outcome *outcome);

/* Sorts failures and spans by index and merges the spans: after the last worker has left. */
void dist__outcome_sort(struct dist__outcome *outcome);

/* True if the failures so far have stopped the call. */
static inline bool dist__outcome_stopped(const struct dist__outcome *outcome) {
    /* relaxed: a hint while workers run, and the value is final once they have been waited for */
    return atomic_load_explicit(&outcome->stop, memory_order_relaxed) != SIZE_MAX;
}

/* May item `index` still be left out? It may not if it lies at or below the stop. */
static inline bool dist__outcome_past_stop(const struct dist__outcome *outcome, size_t index) {
    /* relaxed: a stale value only means that an item runs that could have been skipped */
    return index > atomic_load_explicit(&outcome->stop, memory_order_relaxed);
}

#endif
