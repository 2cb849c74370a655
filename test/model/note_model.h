/* note_model.h - workers and their supervisor as in common/attempt.c and control.c, cut down to
 * rings and bell. The bell is a number that only the supervisor takes back, and passes nothing on:
 * that is left to the rings. The supervisor ends its thread when it would sleep: then nothing but
 * the bell could bring it back. So once all threads have ended, what is left tells whether a wake
 * was lost. */
#ifndef DIST_TEST_NOTE_MODEL_H
#define DIST_TEST_NOTE_MODEL_H

#include "model.h"
#include "common/note.h"

enum { WORKERS = 2, PAYLOAD = 7 };

static struct dist__ring ring[WORKERS];
static _Atomic(uint32_t) asleep;
static _Atomic(int) bell;
static unsigned pushed[WORKERS]; /* notes; by their worker */
static unsigned heard[WORKERS];  /* by the supervisor */
static bool slept;               /* it ended in its sleep */

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

/* It tries so often. If the ring is still full it goes on waiting, which ends its thread. */
static inline bool tell(unsigned self, int tries) {
    for (int k = 0; k < tries; k++) {
        bool room = push(self);
        ring_bell();
        if (room) return true;
    }
    return false;
}

/* ------------------------------------------------------------------ the supervisor */

static inline bool hear(unsigned worker) {
    struct dist__note *note = dist__ring_peek(&ring[worker]);
    if (!note) return false;
    assert(note->worker == worker && note->error.code == PAYLOAD);
    assert(note->begin == heard[worker] && note->end == heard[worker] + 1);
    heard[worker]++;
    dist__ring_drop(&ring[worker]);
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

/* After all threads have ended: whoever sleeps has heard everything, or will be woken. */
static inline void no_wake_lost(void) {
    if (!slept || atomic_load_explicit(&bell, memory_order_relaxed) > 0) return;
    for (unsigned worker = 0; worker < WORKERS; worker++) assert(heard[worker] == pushed[worker]);
}

#endif
