/* batch.h - one call, lowered: what every backend runs.
 *
 * map, apply, chunks, for and par all become a batch: n items, handed out in units. A backend's
 * whole task is to run each unit once, in a worker, and to say how its items ended. */
#ifndef DIST_COMMON_BATCH_H
#define DIST_COMMON_BATCH_H

#include "meter.h"
#include "outcome.h"
#include "task.h"

enum dist__kind { DIST__MAP_ITEMS, DIST__MAP_CHUNKS, DIST__INDICES, DIST__PAR_TASKS };

struct dist__batch {
    enum dist__kind kind;
    union {
        dist_fn map;
        dist_chunk_fn chunk_fn;
        dist_index_fn index;
        const dist_task *tasks;
    };
    const size_t *order;    /* of par tasks with priorities (order.h): a position's index, while */
    const dist_task *given; /* these are the caller's; else NULL. Below, `item` is a position */
    size_t n;               /* items, > 0 */
    size_t first;           /* dist_index() of item 0 */
    const unsigned char *items; /* NULL: the tasks get NULL */
    size_t item_size;
    unsigned char *out; /* NULL: the tasks get NULL */
    size_t out_size;
    void *ctx;
    struct dist_arena *arena; /* of dist_alloc, or NULL */
    const char *const *names; /* NULL: the items have none (par tasks have their own) */
    uint64_t seed;            /* of dist_random */
    unsigned workers;         /* >= 1, never above the number of units */
    bool workers_explicit;    /* the caller gave the number */
    size_t chunk;             /* items per unit as the caller gave it; 0: the backend's choice */
    bool in_place;
    struct dist__record *caller;   /* the task that made the call, or NULL */
    bool abandoned;                /* workers may outlive the call: see .abandon */
    struct dist__control *control; /* of a call that is looked after; else NULL */
    struct dist_job *job;          /* of a call that goes on by itself; else NULL */
    struct dist_job *of;           /* the stage whose items these are, or NULL */
    struct dist_pool *pool;        /* whose workers run it, or NULL */
    size_t ctx_size;               /* of ctx, for workers that have a copy; 0: just the pointer */
    bool each_worker;              /* item k is for worker k of the pool */
    dist_stats *stats;             /* where to tell how it went; NULL: nobody will ask */
    struct dist__meters *meters;   /* of its workers, while it runs; NULL: nothing is measured */
    struct dist__outcome outcome;
    dist_status cut; /* why it ended before its time, if items were left; for a job */
};

/* Units: what is handed out whole. For chunk functions one chunk, else .chunk items, else one. */
size_t dist__batch_units(const struct dist__batch *batch);

/* The items of units begin..end-1, neighbours. */
struct dist__span dist__batch_items(const struct dist__batch *batch, size_t begin, size_t end);

/* For chunk functions: where the chunk that holds item i ends. */
size_t dist__batch_chunk_end(const struct dist__batch *batch, size_t i);

/* What of these items runs at once: one item, or for chunk functions what they hold of one chunk.
 */
static inline struct dist__span dist__batch_piece(const struct dist__batch *batch,
                                                  struct dist__span items) {
    size_t end = items.begin + 1;
    if (batch->kind == DIST__MAP_CHUNKS) end = dist__batch_chunk_end(batch, items.begin);
    return (struct dist__span){items.begin, end < items.end ? end : items.end};
}

/* How many units to hand out next, where workers draw from one cursor: as many as last for some 50
 * us, as the last `count` lasted `took_ns`; no more than a fair part of those that are not drawn.
 */
uint64_t dist__batch_next_want(const struct dist__batch *batch, uint64_t count, uint64_t took_ns,
                               uint64_t drawn);

/* Runs units begin..end-1 in the calling thread as the current task `record`, stages their
 * results, and tells batch->outcome what failed and what was skipped. */
void dist__batch_run(struct dist__batch *batch, size_t begin, size_t end,
                     struct dist__record *record);

/* The primitive: runs item i (or, for chunk functions, the n items from i) with `result` as the
 * place of its result. Returns what the task returned. */
int dist__batch_call(const struct dist__batch *batch, size_t i, size_t n, void *result,
                     struct dist__record *record);

/* Where items end up: `good` receives runs of items whose results stand in the stage, `bad` runs
 * that failed with the same error, whose index is that of the first one. */
struct dist__sink {
    void (*good)(void *self, struct dist__span items, const unsigned char *stage);
    void (*bad)(void *self, struct dist__span items, const dist_error *error);
    void *self;
};

/* Runs a chunk function over `chunk`, with results in `stage` (NULL: none). Returns how many items
 * from its begin are settled: fewer than all if the function stopped at an item it had named. */
size_t dist__batch_chunk(const struct dist__batch *batch, struct dist__span chunk,
                         unsigned char *stage, struct dist__record *record,
                         const struct dist__sink *sink);

/* Runs one item, or a chunk as above, and tells the sink. `stage` receives what out holds first.
 * Returns how many items are settled. */
size_t dist__batch_attempt(const struct dist__batch *batch, struct dist__span items,
                           unsigned char *stage, struct dist__record *record,
                           const struct dist__sink *sink);

/* The name of item i, or NULL. */
static inline const char *dist__batch_name(const struct dist__batch *batch, size_t i) {
    if (batch->kind == DIST__PAR_TASKS) return batch->tasks[i].name;
    return batch->names ? batch->names[i] : NULL;
}

/* What the caller knows it by. */
static inline size_t dist__batch_index(const struct dist__batch *batch, size_t i) {
    return batch->order ? batch->order[i] : i;
}

/* Where the result of item i goes in the caller's memory, and how large it is. */
static inline unsigned char *dist__batch_result(const struct dist__batch *batch, size_t i) {
    if (batch->kind == DIST__PAR_TASKS) return batch->tasks[i].result;
    return batch->out ? batch->out + i * batch->out_size : NULL;
}

static inline size_t dist__batch_result_size(const struct dist__batch *batch, size_t i) {
    if (batch->kind == DIST__PAR_TASKS)
        return batch->tasks[i].result ? batch->tasks[i].result_size : 0;
    return batch->out ? batch->out_size : 0;
}

/* Fills in *error for item `index` from the record of the task that has just returned `code`. */
void dist__batch_error(const struct dist__batch *batch, size_t index, int code,
                       const struct dist__record *record, dist_error *error);

/* Fills in the name and the item of an error that has its index. */
void dist__batch_describe(const struct dist__batch *batch, dist_error *error);

#endif
