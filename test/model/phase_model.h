/* phase_model.h - one light job, its handle, the thief of its lane's entry, and who else may come.
 * What the job holds is plain memory, so that the model checker sees whoever touches it too late.
 */
#ifndef DIST_TEST_PHASE_MODEL_H
#define DIST_TEST_PHASE_MODEL_H

#include "common/phase.h"
#include "model.h"

enum { STATUS = 5 };

static _Atomic(uint32_t) word;
static int item, result, freed; /* plain: written before the submission, by its run, at its end */

static inline void free_it(void) {
    item = 0; /* a race with anybody who still looks at it */
    freed++;
}

/* What a run reads and writes; it frees what was given up. True: wake those who wait. */
static inline bool run(void) {
    assert(!freed);
    result += item;
    uint32_t old = dist__phase_end_word(&word, STATUS);
    if (old & DIST__GONE && !(old & DIST__HOLDERS)) free_it();
    return old & DIST__WAITED;
}

static inline void take_entry(void) {
    switch (dist__phase_take(&word)) {
    case DIST__MUST_RUN: run(); break;
    case DIST__MUST_FREE: free_it(); break;
    case DIST__NO_DUTY: break;
    }
}

THREAD(thief) {
    take_entry();
    return NULL;
}

static inline bool has_ended(void) {
    return dist__phase_of(dist__phase_look(&word)) == DIST__ENDED;
}

static inline void leave(void) {
    assert(item == 1); /* the handle's owner looks at the job as long as it has it */
    if (dist__phase_leave(&word)) free_it();
}

static inline void submit(uint32_t holders) {
    item = 1;
    atomic_store_explicit(&word, DIST__LIGHT | DIST__QUEUED | holders, memory_order_relaxed);
}

#endif
