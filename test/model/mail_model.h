/* mail_model.h - a host that posts items, workers that run them, as in process/post.c and mail.c.
 *
 * Every store, and every compare and swap, is a place to die at, as in claim_model.h. */
#ifndef DIST_TEST_MAIL_MODEL_H
#define DIST_TEST_MAIL_MODEL_H

#include "model.h"

static _Thread_local int fuse; /* steps until death; 0: lives for ever */

static inline void step(void) {
    if (fuse && --fuse == 0) pthread_exit(NULL);
}

#undef atomic_store_explicit
#define atomic_store_explicit(object, value, order)                                                \
    (step(), __c11_atomic_store(object, value, order))
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(object, old, next, well, badly)                    \
    (step(), __c11_atomic_compare_exchange_strong(object, old, next, well, badly))
#undef atomic_compare_exchange_weak_explicit
#define atomic_compare_exchange_weak_explicit(object, old, next, well, badly)                      \
    (step(), __c11_atomic_compare_exchange_strong(object, old, next, well, badly))

#define DIST__RACK_ROOM 4u
#include "process/mail.h"

enum { CELLS = 2, ITEMS = 3, WORKERS = 3, WELL = 0, CRASHED = 1, CANCELLED = 2 };

static struct cell {
    struct dist__stamp stamp;
    _Atomic(uint32_t) word;
    int item, result;
} cell[CELLS];

static struct dist__rack rack;
static struct dist__mailbox box = {&rack, (unsigned char *)&cell[0].stamp, sizeof(struct cell),
                                   CELLS};
static _Atomic(uint64_t) at[WORKERS];
static _Atomic(int) runs[ITEMS]; /* how often each was started */
static bool settled[WORKERS];    /* a worker has ended its last item */
static int ended[ITEMS];         /* how, as the host saw it; -1: it has not looked */

static inline void post(uint32_t c, int item) {
    dist__stamp_clear(&cell[c].stamp);
    cell[c].item = item;
    cell[c].result = -1;
    ended[item] = -1;
    dist__rack_post(&box, c, &cell[c].word, DIST__QUEUED);
}

/* The host looks: has it ended? Then the cell is the host's. */
static inline bool look(uint32_t c) {
    uint32_t word = dist__phase_look(&cell[c].word);
    if (dist__phase_of(word) != DIST__ENDED) return false;
    int item = cell[c].item;
    ended[item] = (int)dist__phase_status(word);
    if (ended[item] == WELL) assert(cell[c].result == item + 100);
    return true;
}

/* One item, if there is one. False: there was none; or the worker is condemned. */
static inline bool work(unsigned k) {
    uint32_t c;
    bool waited;
    if (!dist__rack_take(&box, &at[k], dist__bearer(k, 1), &c)) return false;
    if (!dist__mail_begin(&cell[c].stamp, &cell[c].word)) return true;
    int item = cell[c].item;
    __c11_atomic_fetch_add(&runs[item], 1, memory_order_relaxed); /* not a step of its own */
    cell[c].result = item + 100;
    uint64_t taken = dist__bearer(k, 1) * DIST__STAMP_STATES + DIST__STAMP_TAKEN;
    assert(__c11_atomic_load(&cell[c].stamp.word, memory_order_relaxed) == taken);
    settled[k] = dist__mail_settle(&cell[c].word, WELL, &waited);
    return settled[k];
}

/* As dist__mail_inherit, of a worker that is dead. */
static inline void inherit(unsigned k) {
    uint64_t n = __c11_atomic_load(&at[k], memory_order_relaxed), bearer = dist__bearer(k, 1);
    uint32_t old, c = (uint32_t)n - 1;
    if (n == 0) return;
    if (!dist__mail_is_run_by(&cell[c].stamp, &cell[c].word, bearer, &old)) {
        dist__mail_give_back(&box, c, &cell[c].word, bearer);
        return;
    }
    while (!dist__mail_bury(&cell[c].word, &old, old & DIST__CANCEL ? CANCELLED : CRASHED))
        continue;
}

#endif
