/* range_model.h - the parts of which the range's harnesses are made. Every thread notes the units
 * it got in a mask of its own; they are compared once all have been joined. */
#ifndef DIST_TEST_RANGE_MODEL_H
#define DIST_TEST_RANGE_MODEL_H

#include "model.h"
#include "thread/range.h"

enum { PLACES_MOST = 3, UNITS_MOST = 5 };

static struct dist__range range[PLACES_MOST];
static unsigned got[PLACES_MOST]; /* by the thread of that place */

static inline void note(int place, struct dist__units units) {
    assert(units.begin < units.end && units.end <= UNITS_MOST);
    for (uint32_t k = 0; k < UNITS_MOST; k++) {
        if (k < units.begin || k >= units.end) continue;
        assert(!(got[place] & 1u << k));
        got[place] |= 1u << k;
    }
}

static inline bool take(int place, uint32_t want, bool share) {
    struct dist__units units;
    if (!dist__range_take(&range[place], want, share, &units)) return false;
    assert(units.end - units.begin <= want);
    note(place, units);
    return true;
}

/* As loop.c does it: keeps the first stolen unit, and puts the others into its own empty range. */
static inline bool steal(int place, int victim) {
    struct dist__units units;
    if (!dist__range_steal(&range[victim], &units)) return false;
    struct dist__units first = {units.begin, units.begin + 1}, rest = {units.begin + 1, units.end};
    if (rest.begin < rest.end) dist__range_put(&range[place], rest);
    note(place, first);
    return true;
}

/* Whatever nobody has taken, after all threads have ended. */
static inline void take_rest(int place) {
    struct dist__units units;
    while (dist__range_take(&range[place], 1, false, &units)) note(place, units);
}

/* Each of the first `units` was taken once. */
static inline void each_taken_once(uint32_t units) {
    unsigned all = 0;
    for (int place = 0; place < PLACES_MOST; place++) {
        take_rest(place);
        assert((all & got[place]) == 0);
        all |= got[place];
    }
    assert(all == (1u << units) - 1);
}

#endif
