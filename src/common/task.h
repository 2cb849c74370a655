/* task.h - what a thread knows about the task it is running: the record behind dist_index,
 * dist_worker and dist_fail. */
#ifndef DIST_COMMON_TASK_H
#define DIST_COMMON_TASK_H

#include "dist/dist.h"
#include "os.h"

enum { DIST__MESSAGE_SIZE = sizeof((dist_error){0}.message) };

/* One item of a chunk that dist_fail_at has named. */
struct dist__named_item {
    size_t offset; /* in the chunk */
    int code;
    char message[DIST__MESSAGE_SIZE];
};

/* How a worker works: in the calling thread and nobody else, as one of several threads, in a
 * process of its own. */
enum dist__company { DIST__ALONE, DIST__THREADED, DIST__FORKED };

struct dist__light;

/* One for each worker of a call, on that worker's stack. The thread that runs the task is the
 * only one that reads or writes it. */
struct dist__record {
    size_t index;        /* of the item, or of the chunk's first item; */
    size_t scale;        /* times this for the task: items of a block that is one here, else 1; */
    size_t first;        /* plus this: dist_index() of the batch's item 0; */
    const size_t *order; /* or what stands there for it, if this is not NULL (batch.h) */
    int code;            /* from dist_fail, 0 if it was not called; else `message` is valid */
    dist_status status;  /* of an error with that code: DIST_FAILED, or DIST_NOMEM by dist_alloc */
    unsigned place;      /* in the call: of the worker's ring, claim and so on */
    unsigned worker;     /* dist_worker(): the same, or its number in its pool */
    unsigned attempt;
    const char *name;         /* of the par task */
    const char *const *names; /* of all items of the call, or NULL */
    size_t chunk_count;       /* items in the chunk that runs; 0 outside of chunk tasks */

    struct dist__named_item *named; /* by dist_fail_at */
    size_t named_count, named_room;
    bool named_lost; /* there was no memory to name one: the whole chunk fails */

    uint64_t seed;         /* of dist_random; the same for all workers of the call */
    uint64_t random_count; /* numbers drawn for the item and attempt below */
    uint64_t nested_count; /* calls made from them */
    size_t random_index;
    unsigned random_attempt;
    uint64_t random_base; /* of seed and index: valid with random_index */

    struct dist_arena *arena;         /* of the call, or NULL */
    unsigned char *block, *block_end; /* of the arena: taken for this worker and not yet used */
    size_t block_size;                /* of the next one */

    /* Of a call that is looked after (control.h); else control and state are NULL. */
    struct dist__control *control;
    void *state;             /* by worker_init */
    struct dist__hand *hand; /* of a worker of a pool; else NULL */
    _Atomic(uint32_t)
        borrower;      /* the thread that has the hand while the task waits for a call; 0 */
    bool direct;       /* the thread is the call's supervisor too, and tells itself */
    bool begun;        /* worker_init has run, worker_exit has not */
    bool idle;         /* its task has ended, and it waits for the supervisor */
    dist_status told;  /* why dist_cancelled() said yes to this attempt; DIST_OK: it did not */
    uint64_t began_ns; /* the attempt, if it is timed */
    uint64_t limit_ns; /* when it is late; UINT64_MAX: never */
    uint64_t took_ns;  /* the last attempt */
    uint64_t now_ns;   /* when it ended, for the start of the next one; 0: look again */
    struct dist__affinity before_pin;

    struct dist__meter *meter;       /* NULL: nothing is measured */
    uint64_t cpu_ns;                 /* of this thread, as of cpu_looked; */
    uint64_t cpu_looked;             /* a time; 0: never */
    uint64_t metered_ns;             /* when the last task ended, */
    bool follows;                    /* and the next one follows at once */
    const struct dist__light *light; /* the light job that runs; else NULL */
    uintptr_t base;                  /* where the stack of this thread's outermost record is */

    void *scratch; /* staging for results too large for the stack; owned */
    size_t scratch_size;

    unsigned crowd;         /* workers of this call times those of all enclosing calls */
    bool threaded;          /* a call around this one, in this process, shares the pool's threads */
    unsigned process_crowd; /* the same, process calls only: threads share one pool */
    enum dist__company company;
    struct dist__record *outer;        /* that this thread had before */
    const struct dist__record *caller; /* of the task that made the call; NULL: none, or it may be
                                        * gone before this one (.abandon) */
    char message[DIST__MESSAGE_SIZE];
};

/* What dist_index() tells. */
static inline size_t dist__record_index(const struct dist__record *record) {
    if (record->order) return record->order[record->index];
    return record->first + record->index * record->scale;
}

/* Makes another record, or none, the current one. */
void dist__record_switch(struct dist__record *record);

/* The record of the running task, NULL outside of tasks. */
struct dist__record *dist__record_current(void);

struct dist__batch;
struct dist__meter;

/* Makes `record` current for this thread, as worker `worker` of the batch; undone by leave, which
 * frees what it owns. */
void dist__record_enter(struct dist__record *record, const struct dist__batch *batch,
                        unsigned worker, enum dist__company company);

/* The same for a light job, which has one worker, and no caller. */
void dist__record_enter_light(struct dist__record *record, const struct dist__light *light,
                              uint64_t seed);

/* A number that depends on all three and shows no pattern. */
uint64_t dist__random_of(uint64_t seed, uint64_t index, uint64_t count);

/* This thread has been pinned, and stays so. */
void dist__thread_is_pinned(const struct dist__affinity *before);

/* The CPUs that threads started now may use, if this thread is pinned, for good or for the call it
 * works in; NULL: those of this thread. */
const struct dist__affinity *dist__record_affinity(void);

/* The seed of the next call made from inside `caller` without one; 0 if that is NULL. */
uint64_t dist__random_nested_seed(struct dist__record *caller);

void dist__record_leave(struct dist__record *record);

/* Staging memory of `size` bytes, aligned for any type, that lives until the next call or leave;
 * NULL if there is none. */
void *dist__record_scratch(struct dist__record *record, size_t size);

#endif
