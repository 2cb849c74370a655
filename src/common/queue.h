/* queue.h - a queue: what all kinds have in common, and what a kind is. */
#ifndef DIST_COMMON_QUEUE_H
#define DIST_COMMON_QUEUE_H

#include "dist/dist.h"
#include "eventcount.h"

/* One way to keep items. None of these waits for long. */
struct dist__queue_kind {
    /* DIST_OK, DIST_FULL or DIST_EMPTY, DIST_CLOSED, or DIST_PENDING: somebody else is at it, and
     * the answer is not known. */
    dist_status (*put)(struct dist_queue *queue, int priority, const void *item);
    dist_status (*get)(struct dist_queue *queue, void *item);

    /* Would they do anything but wait? Hints, but for who has taken a signal: there it is true if
     * there is an item, or room, whose signal nobody else will take. */
    bool (*has_item)(const struct dist_queue *queue);
    bool (*has_room)(const struct dist_queue *queue);

    /* How many items have been put, and got. */
    uint64_t (*puts)(const struct dist_queue *queue);
    uint64_t (*gets)(const struct dist_queue *queue);

    void (*close)(struct dist_queue *queue);
    void (*free)(struct dist_queue *queue); /* and the queue itself */
};

enum dist__queue_side { DIST__TAKES, DIST__GIVES };

struct dist_queue { /* first in what the kind opens */
    const struct dist__queue_kind *kind;
    size_t item_size, capacity;
    bool priority, shared;
    uint32_t process;                           /* that opened it: dist__process */
    struct dist__eventcount items, room, quiet; /* getters, putters, and joiners wait there */
    _Atomic(uint32_t) stages[2];                /* that take from it and give to it [stages] */
    _Atomic(uint32_t) users;                    /* a futex: stages that have not done with it */
    alignas(64) _Atomic(uint64_t) done;         /* task_done so far, never above puts [done] */
};

/* Each: the options are checked, and complete. NULL: no memory, errno tells why. */
struct dist_queue *dist__queue_ring(const dist_queue_opts *opts);   /* mpmc.h */
struct dist_queue *dist__queue_locked(const dist_queue_opts *opts); /* a lock that survives */

/* For stages (stage.c). As dist_queue_put and dist_queue_get, until a time (dist__now_ns; 0: they
 * do not wait); and where these would wait while *stop is not 0: DIST_CANCELLED. Who sets that
 * stirs the queue then. */
dist_status dist__queue_put(struct dist_queue *queue, const void *item, uint64_t limit_ns,
                            const _Atomic(uint32_t) *stop);
dist_status dist__queue_get(struct dist_queue *queue, void *item, uint64_t limit_ns,
                            const _Atomic(uint32_t) *stop);
void dist__queue_stir(struct dist_queue *queue);

/* DIST_OK, or this process cannot use it. */
dist_status dist__queue_check(const struct dist_queue *queue);

/* A stage uses the queue from now on; the last one of a side to leave closes it, if it says so. */
void dist__queue_enter(struct dist_queue *queue, enum dist__queue_side side);
void dist__queue_leave(struct dist_queue *queue, enum dist__queue_side side, bool closes);

#endif
