/* note.h - what workers tell the caller of a call that is looked after: one ring for each worker,
 * written by it alone and read by the caller alone, in memory that both can see.
 *
 * A worker that dies between two instructions leaves a ring that is right: a note counts once
 * `written` has passed it. Sleeping: the caller writes `asleep`, looks at the rings after that, and
 * sleeps; a worker publishes its note and then writes `asleep`. The two writes have an order: if
 * the worker's comes second it finds the caller asleep and wakes it, if the caller's comes second
 * it sees the note. */
#ifndef DIST_COMMON_NOTE_H
#define DIST_COMMON_NOTE_H

#include "dist/dist.h"
#include <stdalign.h>
#include <stdatomic.h>

enum dist__note_kind {
    DIST__STARTED,     /* the first attempt of these items begins */
    DIST__SUCCEEDED,   /* they have their results */
    DIST__FAILED,      /* this attempt has failed, with `error`, index and names still missing */
    DIST__LEFT_OUT,    /* they were handed out, and not started: the call had stopped */
    DIST__INIT_FAILED, /* no item: worker_init has failed, with `error` */
};

struct dist__note {
    enum dist__note_kind kind;
    unsigned worker;
    size_t begin, end; /* items */
    uint64_t at_ns;    /* when it happened */
    uint64_t took_ns;  /* the attempt */
    dist_error error;
};

#ifndef DIST__RING_NOTES
#define DIST__RING_NOTES 64
#endif

struct dist__ring {
    alignas(64) _Atomic(uint32_t) written;        /* worker; publishes the note [note] */
    _Atomic(uint64_t) finished;                   /* items that have succeeded; worker */
    _Atomic(uint64_t) running_begin, running_end; /* items of the attempt under way; worker */
    _Atomic(uint64_t) running_since;              /* when it began, if attempts are timed */
    _Atomic(uint32_t) in_callback;                /* worker_init or worker_exit runs [deserted] */
    _Atomic(uint32_t) waits;            /* the worker waits for the caller to read [waits] */
    alignas(64) _Atomic(uint32_t) read; /* caller; gives the slot back [slot] */
    struct dist__note note[DIST__RING_NOTES];
};

/* Worker: false if the ring is full. */
static inline bool dist__ring_push(struct dist__ring *ring, const struct dist__note *note) {
    /* relaxed: the worker's own word */
    uint32_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    /* acquire: the caller has done with the slot; pairs with [slot] */
    uint32_t read = atomic_load_explicit(&ring->read, memory_order_acquire);
    if (written - read >= DIST__RING_NOTES) return false;
    ring->note[written % DIST__RING_NOTES] = *note;
    /* release: the note; pairs with [note] */
    atomic_store_explicit(&ring->written, written + 1, memory_order_release);
    return true;
}

/* Caller: the oldest note, or NULL. */
static inline struct dist__note *dist__ring_peek(struct dist__ring *ring) {
    uint32_t read = atomic_load_explicit(&ring->read, memory_order_relaxed); /* its own word */
    /* acquire: pairs with [note] */
    uint32_t written = atomic_load_explicit(&ring->written, memory_order_acquire);
    /* more than there is room for: a wild task has written here */
    return written - read - 1 >= DIST__RING_NOTES ? NULL : &ring->note[read % DIST__RING_NOTES];
}

/* Caller: has done with the note that peek gave. True: the worker waits for this; it must be woken
 * (a futex on `waits`). That happens when the ring is half empty, and when it is empty. */
static inline bool dist__ring_drop(struct dist__ring *ring) {
    uint32_t read = atomic_load_explicit(&ring->read, memory_order_relaxed) + 1; /* its own word */
    /* release: pairs with [slot] */
    atomic_store_explicit(&ring->read, read, memory_order_release);
    /* acquire: pairs with [note] */
    uint32_t left = atomic_load_explicit(&ring->written, memory_order_acquire) - read;
    if (left != 0 && left != DIST__RING_NOTES / 2) return false;
    /* acq_rel: a write, so that it and the worker's have an order, as with the bell [waits] */
    return atomic_exchange_explicit(&ring->waits, 0, memory_order_acq_rel) != 0;
}

/* Worker: before it looks whether it has to wait for the caller. Returns `read`; the wait
 * is for `waits` not to be 1 any more. */
static inline uint32_t dist__ring_await(struct dist__ring *ring) {
    /* acq_rel: see above [waits] */
    atomic_exchange_explicit(&ring->waits, 1, memory_order_acq_rel);
    /* acquire: pairs with [slot] */
    return atomic_load_explicit(&ring->read, memory_order_acquire);
}

/* Worker: true if there is no room, as of `read`. */
static inline bool dist__ring_is_full(struct dist__ring *ring, uint32_t read) {
    return atomic_load_explicit(&ring->written, memory_order_relaxed) - read >=
           DIST__RING_NOTES; /* relaxed: its own word */
}

/* Worker: true if the caller has done with all notes so far. */
static inline bool dist__ring_heard(struct dist__ring *ring) {
    /* acquire: what the caller did with them; pairs with [slot] */
    return atomic_load_explicit(&ring->read, memory_order_acquire) ==
           atomic_load_explicit(&ring->written, memory_order_relaxed); /* its own word */
}

/* Caller: before it looks at the rings, and then sleeps. */
static inline void dist__bell_arm(_Atomic(uint32_t) *asleep) {
    /* acq_rel: a write, so that it and the worker's have an order [bell] */
    atomic_exchange_explicit(asleep, 1, memory_order_acq_rel);
}

/* Worker, after it has pushed a note: true if it must wake the caller. */
static inline bool dist__bell_must_ring(_Atomic(uint32_t) *asleep) {
    /* acq_rel: a write even if it changes nothing; see above [bell] */
    return atomic_exchange_explicit(asleep, 0, memory_order_acq_rel) != 0;
}

#endif
