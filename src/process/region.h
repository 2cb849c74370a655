/* region.h - the memory that a call shares with its workers: one anonymous mapping, made before
 * the first fork, so that it has the same address in all of them. Nothing in it has a name. */
#ifndef DIST_PROCESS_REGION_H
#define DIST_PROCESS_REGION_H

#include "claim.h"
#include "common/batch.h"
#include "due.h"
#include "verdict.h"

/* How an item stands. Its worker writes the first three, in this order; nobody writes an item that
 * another process holds. */
enum dist__item_state {
    DIST__ITEM_PENDING,
    DIST__ITEM_RUNNING,
    DIST__ITEM_DONE,    /* its result is complete [item] */
    DIST__ITEM_FAILED,  /* its failure is in the log [item] */
    DIST__ITEM_CRASHED, /* written by the parent, as are those below */
    DIST__ITEM_LOGGED,  /* a failure that the parent has read */
    DIST__ITEM_LANDED   /* DONE, copied to the caller's memory, and told */
};

struct dist__log_entry {
    _Atomic(uint32_t) written; /* the worker; publishes the error [log] */
    uint32_t state;            /* what the item became by it: DIST__ITEM_FAILED or _CRASHED */
    dist_error error;          /* without name and item */
};

struct dist__shared {
    alignas(64) _Atomic(uint64_t) cursor;   /* units drawn; workers [drawn] */
    alignas(64) _Atomic(uint64_t) stop;     /* items above it need not run; only falls */
    alignas(64) _Atomic(uint64_t) log_next; /* entries begun; only grows, so a dead writer wastes
                                             * one entry and blocks nobody */
};

struct dist__region { /* the view of one process; copied by fork */
    void *base;
    size_t size;
    struct dist__shared *shared;
    struct dist__claim *claim; /* one for each worker */
    _Atomic(uint8_t) *state;   /* one for each item */
    unsigned char *results;    /* NULL: none, or in place */
    size_t *offset;            /* of each result of par tasks; else NULL. Private. */
    struct dist__log_entry *log;
    size_t log_room;
    size_t limit; /* failures that stop the call; 0: none does */

    /* Of a call that is looked after; else NULL. */
    struct dist__desk *desk;
    struct dist__due *due;
    struct dist__verdict *verdict; /* one for each worker */
    _Atomic(uint32_t) *attempts;   /* one for each item; NULL too without retries */
};

/* DIST_OK, or a refusal. `in_place`: results go straight to the caller's shared memory. */
dist_status dist__region_open(struct dist__region *region, const struct dist__batch *batch,
                              bool in_place);
void dist__region_close(struct dist__region *region);

/* Where a worker writes the result of item i; NULL: there is none. */
unsigned char *dist__region_result(const struct dist__region *region,
                                   const struct dist__batch *batch, size_t i);

/* Copies the results of good items to the caller's memory. */
void dist__region_copy_out(const struct dist__region *region, const struct dist__batch *batch,
                           struct dist__span items);

static inline void dist__region_mark(const struct dist__region *region, size_t i,
                                     enum dist__item_state state) {
    /* release: the item's result, or its entry in the log; pairs with [item] */
    atomic_store_explicit(&region->state[i], (uint8_t)state, memory_order_release);
}

static inline enum dist__item_state dist__region_state(const struct dist__region *region,
                                                       size_t i) {
    /* acquire: pairs with [item] */
    return (enum dist__item_state)atomic_load_explicit(&region->state[i], memory_order_acquire);
}

static inline bool dist__region_past_stop(const struct dist__region *region, size_t i) {
    /* relaxed: a stale value only means that an item runs that could have been skipped */
    return i > atomic_load_explicit(&region->shared->stop, memory_order_relaxed);
}

/* Lowers the stop to this index, if it is above it. */
void dist__region_lower_stop(const struct dist__region *region, uint64_t stop);

/* Writes a failure to the log, then marks its item, then lowers the stop. Workers and parent. */
void dist__region_fail(const struct dist__region *region, const dist_error *error,
                       enum dist__item_state state);

#endif
