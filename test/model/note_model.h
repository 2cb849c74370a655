/* note_model.h - workers and their supervisor as in common/attempt.c and control.c, cut down to
 * rings and bell. The bell is a number that only the supervisor takes back, and passes nothing on:
 * that is left to the rings. Who would sleep ends its thread instead: then nothing but the bell
 * could bring the supervisor back, and nothing but the futex a worker. So once all threads have
 * ended, what is left tells whether a wake was lost. */
#ifndef DIST_TEST_NOTE_MODEL_H
#define DIST_TEST_NOTE_MODEL_H

#include "model.h"
#include "common/note.h"

enum { WORKERS = 2, PAYLOAD = 7 };

static struct dist__ring ring[WORKERS];
static _Atomic(uint32_t) asleep;
static _Atomic(int) bell;
static _Atomic(int) wakes[WORKERS]; /* of the futex on ring[].waits */
static unsigned pushed[WORKERS];    /* notes; by their worker */
static unsigned heard[WORKERS];     /* by the supervisor */
static bool slept;                  /* it ended in its sleep */
static bool waits[WORKERS];         /* so did the worker, after so many wakes: */
static int wakes_before[WORKERS];

/* ------------------------------------------------------------------ a worker */

static inline void ring_bell(void) {
    if (dist__bell_must_ring(&asleep)) atomic_fetch_add_explicit(&bell, 1, memory_order_relaxed);
}

static inline bool push(unsigned self) {
    struct dist__note note = {
        .worker = self, .begin = pushed[self], .end = pushed[self] + 1, .error = {PAYLOAD}};
    bool room = dist__ring_push(&ring[self], &note);
    if (room) pushed[self]++;
    return room;
}

/* The futex on ring[].waits: whoever sleeps is in the queue before it looks at the word. True: it
 * sleeps for good. */
static inline bool falls_asleep(unsigned self) {
    wakes_before[self] = atomic_fetch_add_explicit(&wakes[self], 0, memory_order_acq_rel);
    waits[self] = atomic_load_explicit(&ring[self].waits, memory_order_relaxed) == 1;
    return waits[self];
}

/* It tries so often. False: it sleeps for good. */
static inline bool tell(unsigned self, int tries) {
    for (int k = 0; k < tries; k++) {
        if (push(self)) {
            ring_bell();
            return true;
        }
        uint32_t read = dist__ring_await(&ring[self]);
        if (dist__ring_is_full(&ring[self], read) && falls_asleep(self)) return false;
    }
    return true;
}

static inline bool wait_until_heard(unsigned self, int tries) {
    for (int k = 0; k < tries; k++) {
        dist__ring_await(&ring[self]);
        if (dist__ring_heard(&ring[self])) return true;
        if (falls_asleep(self)) return false;
    }
    return true;
}

/* ------------------------------------------------------------------ the supervisor */

static inline bool hear(unsigned worker) {
    struct dist__note *note = dist__ring_peek(&ring[worker]);
    if (!note) return false;
    assert(note->worker == worker && note->error.code == PAYLOAD);
    assert(note->begin == heard[worker] && note->end == heard[worker] + 1);
    heard[worker]++;
    if (dist__ring_drop(&ring[worker]))
        atomic_fetch_add_explicit(&wakes[worker], 1, memory_order_acq_rel);
    return true;
}

static inline void hear_all(void) {
    for (unsigned worker = 0; worker < WORKERS; worker++)
        while (hear(worker)) {
        }
}

/* True: the bell has rung; else it sleeps for good. */
static inline bool woken(void) {
    slept = atomic_exchange_explicit(&bell, 0, memory_order_relaxed) == 0;
    return !slept;
}

static inline void supervise(int looks) {
    for (int k = 0; k < looks; k++) {
        dist__bell_arm(&asleep);
        hear_all();
        if (!woken()) return;
    }
}

/* After all threads have ended: a supervisor that sleeps has heard everything, or will be woken;
 * then no worker waits for it that has not been woken. */
static inline void no_wake_lost(void) {
    if (!slept || atomic_load_explicit(&bell, memory_order_relaxed) > 0) return;
    for (unsigned worker = 0; worker < WORKERS; worker++) {
        assert(heard[worker] == pushed[worker]);
        int after = atomic_load_explicit(&wakes[worker], memory_order_relaxed);
        assert(!waits[worker] || after > wakes_before[worker]);
    }
}

#endif
