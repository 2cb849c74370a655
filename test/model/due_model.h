/* due_model.h - a parent that puts entries into a ring with little room, and workers that take them
 * out. What each thread got is compared once all have been joined. */
#ifndef DIST_TEST_DUE_MODEL_H
#define DIST_TEST_DUE_MODEL_H

#include "model.h"
#include "process/due.h"

enum { ENTRIES_MOST = 5, THREADS = 3, BEGIN = 10, ITEMS = 7 };

static struct dist__due due;
static unsigned put_count;    /* by the parent */
static unsigned got[THREADS]; /* a mask of the entries that the thread has taken */

/* Entry k has ITEMS items from BEGIN * (k + 1) on. */
static inline bool put(void) {
    uint64_t begin = BEGIN * (put_count + 1);
    bool room = dist__due_put(&due, begin, begin + ITEMS);
    if (room) put_count++;
    return room;
}

static inline bool take(int self) {
    uint64_t begin = 0, end = 0;
    if (!dist__due_take(&due, &begin, &end)) return false;
    assert(begin >= BEGIN && begin % BEGIN == 0 && end == begin + ITEMS);
    uint64_t k = begin / BEGIN - 1;
    assert(k < ENTRIES_MOST);
    assert(!(got[self] & 1u << k));
    got[self] |= 1u << k;
    return true;
}

/* After all threads have ended: each entry that was put was taken once. */
static inline void each_taken_once(void) {
    assert(dist__due_count(&due) <= DIST__DUE_ROOM);
    while (take(0)) {
    }
    assert(dist__due_count(&due) == 0);
    unsigned all = 0;
    for (int k = 0; k < THREADS; k++) {
        assert((all & got[k]) == 0);
        all |= got[k];
    }
    assert(all == (1u << put_count) - 1);
}

#endif
