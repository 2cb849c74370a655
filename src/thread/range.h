/* range.h - the units that a worker still has to do, in one 64-bit word: [hi:32][lo:32].
 *
 * Invariant: a unit that nobody has taken stands in exactly one word of its loop. The owner takes
 * from lo, thieves take the upper half from hi, both by CAS; only the owner stores, and only into
 * its empty word. A word that returns to an older value holds the same untaken units, so a CAS
 * that was prepared before may still succeed rightly: within a loop there is no ABA. Between loops
 * there is: a word must not be reused while a thief of the former loop may still look at it.
 *
 * Relaxed throughout: what a unit needs was published with its loop, and what it produced is
 * published by the loop's count of units left. The word carries nothing but itself. */
#ifndef DIST_THREAD_RANGE_H
#define DIST_THREAD_RANGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct dist__range {
    _Atomic(uint64_t) word; /* owner and thieves write */
};

struct dist__units { /* begin <= k < end */
    uint32_t begin, end;
};

static inline uint64_t dist__range_pack(struct dist__units units) {
    return (uint64_t)units.end << 32 | units.begin;
}

static inline struct dist__units dist__range_unpack(uint64_t word) {
    return (struct dist__units){(uint32_t)word, (uint32_t)(word >> 32)};
}

/* Owner only, and only while the range is empty. */
static inline void dist__range_put(struct dist__range *range, struct dist__units units) {
    /* relaxed: see above */
    atomic_store_explicit(&range->word, dist__range_pack(units), memory_order_relaxed);
}

static inline struct dist__units dist__range_peek(const struct dist__range *range) {
    /* relaxed: a hint */
    return dist__range_unpack(atomic_load_explicit(&range->word, memory_order_relaxed));
}

/* Owner: takes up to `want` units from the low end. `share`: but leaves half for thieves, as long
 * as there are two. False: empty. */
static inline bool dist__range_take(struct dist__range *range, uint32_t want, bool share,
                                    struct dist__units *taken) {
    uint64_t word = atomic_load_explicit(&range->word, memory_order_relaxed);
    for (;;) {
        struct dist__units units = dist__range_unpack(word);
        if (units.begin >= units.end) return false;
        uint32_t most = units.end - units.begin;
        if (share) most -= most / 2;
        uint32_t count = want < most ? want : most;
        struct dist__units rest = {units.begin + count, units.end};
        /* relaxed: see above */
        if (atomic_compare_exchange_weak_explicit(&range->word, &word, dist__range_pack(rest),
                                                  memory_order_relaxed, memory_order_relaxed)) {
            *taken = (struct dist__units){units.begin, rest.begin};
            return true;
        }
    }
}

/* Thief: takes the upper half, rounded up. False: empty, or lost a race. */
static inline bool dist__range_steal(struct dist__range *range, struct dist__units *taken) {
    uint64_t word = atomic_load_explicit(&range->word, memory_order_relaxed);
    struct dist__units units = dist__range_unpack(word);
    if (units.begin >= units.end) return false;
    struct dist__units rest = {units.begin, units.begin + (units.end - units.begin) / 2};
    /* relaxed: see above */
    if (!atomic_compare_exchange_strong_explicit(&range->word, &word, dist__range_pack(rest),
                                                 memory_order_relaxed, memory_order_relaxed))
        return false;
    *taken = (struct dist__units){rest.end, units.end};
    return true;
}

#endif
