/* verdict_model.h - a worker that runs attempts, each with a limit of its own, until it is
 * condemned, and a parent that asks for the limit and condemns. */
#ifndef DIST_TEST_VERDICT_MODEL_H
#define DIST_TEST_VERDICT_MODEL_H

#include "model.h"
#include "process/verdict.h"

enum { ATTEMPTS = 3, LIMIT = 100 };
enum outcome { NOT_BEGUN, RUNS, ENDED, CONDEMNED, DIED };

static struct dist__verdict verdict;
static enum outcome outcome[ATTEMPTS]; /* as the worker sees it */
static uint64_t condemned;             /* the limit that the parent was told; 0: it has not */

static inline uint64_t limit_of(int k) { return k == 1 ? UINT64_MAX : LIMIT + (uint64_t)k; }

/* Attempts from..to-1. A condemned worker does nothing more. */
static inline void work(int from, int to) {
    for (int k = from; k < to; k++) {
        outcome[k] = RUNS;
        dist__verdict_begin(&verdict, limit_of(k));
        outcome[k] = dist__verdict_end(&verdict) ? ENDED : CONDEMNED;
        if (outcome[k] == CONDEMNED) return;
    }
}

static inline void look(void) {
    uint64_t word, limit = dist__verdict_limit(&verdict, &word);
    if (limit == UINT64_MAX) return;
    assert(limit >= LIMIT && limit < LIMIT + ATTEMPTS);
    if (dist__verdict_condemn(&verdict, word)) condemned = limit;
}

/* After all threads have ended. */
static inline void one_of_both(void) {
    for (int k = 0; k < ATTEMPTS; k++) {
        if (outcome[k] == DIED) continue;
        assert(outcome[k] != RUNS);
        assert((outcome[k] == CONDEMNED) == (condemned == limit_of(k)));
        assert(outcome[k] != NOT_BEGUN || condemned);
    }
}

#endif
