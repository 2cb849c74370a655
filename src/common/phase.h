/* phase.h - how far a job is, who still holds it, and how nobody sleeps through its end: all in one
 * word, which is a futex. Without libc, for the model checker.
 *
 *     NEW -> QUEUED -> UNDER_WAY -> ENDED
 *
 * Whoever moves a light job (light.h) to UNDER_WAY runs it, or ends it unrun. It may have three
 * holders: the caller's handle; IN_LANE, an entry in a lane that still leads to it; HURRIED, a
 * thread that was started for it. The handle leaves by GONE; whoever lets go last, and knows it by
 * what it has read, frees the job. All this is done by read-modify-write on the one word, so each
 * sees what the others did before, and exactly one is last.
 *
 * A thread that is about to sleep sets WAITED first; whoever ends the job reads the word with the
 * same operation that ends it, and so knows whether to wake anybody.
 *
 * The words of jobs that are no light ones have the phase and WAITED alone. */
#ifndef DIST_COMMON_PHASE_H
#define DIST_COMMON_PHASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum dist__phase { DIST__NEW, DIST__QUEUED, DIST__UNDER_WAY, DIST__ENDED, DIST__PHASES };

enum {
    DIST__IN_LANE = 1 << 2,
    DIST__LANDED = DIST__IN_LANE, /* of mail, which is in no lane: the caller has the result */
    DIST__HURRIED = 1 << 3,
    DIST__HOLDERS = DIST__IN_LANE | DIST__HURRIED,
    DIST__GONE = 1 << 4,
    DIST__WAITED = 1 << 5,
    DIST__CANCEL = 1 << 6,    /* asked for */
    DIST__DELIVERED = 1 << 7, /* dist_job_next has told of it */
    DIST__SILENT = 1 << 8,    /* these do not change */
    DIST__IN_PLACE = 1 << 9,
    DIST__LIGHT = 1 << 10,
    DIST__MAIL = 1 << 11, /* a light job that workers of a process pool run */
    DIST__STATUS_AT = 12, /* how it ended; 0 before */
    DIST__STATUS_BITS = 5,
    DIST__MAKER_AT = 17, /* which process made it */
    DIST__MAKERS = 1 << 15
};

static inline enum dist__phase dist__phase_of(uint32_t word) {
    return (enum dist__phase)(word % DIST__PHASES);
}

static inline uint32_t dist__phase_status(uint32_t word) {
    return word >> DIST__STATUS_AT & ((1u << DIST__STATUS_BITS) - 1);
}

/* Anybody. */
static inline uint32_t dist__phase_look(const _Atomic(uint32_t) *word) {
    /* seq_cst: as acquire, what was done to the job before its end, pairs with [phase]; and after
     * the look of somebody who waits for any job at [onlookers] */
    return atomic_load_explicit(word, memory_order_seq_cst);
}

/* Moves it on. False: it is not in that phase. */
static inline bool dist__phase_move(_Atomic(uint32_t) *word, uint32_t from, uint32_t to) {
    uint32_t old = atomic_load_explicit(word, memory_order_relaxed);
    while (old % DIST__PHASES == from) /* acq_rel: what was done to it before [phase] */
        if (atomic_compare_exchange_weak_explicit(word, &old, old - from + to, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* What whoever lets go of a holder's part has to do. */
enum dist__duty { DIST__NO_DUTY, DIST__MUST_RUN, DIST__MUST_FREE };

/* The entry has been taken out of its lane: it holds the job no longer. */
static inline enum dist__duty dist__phase_take(_Atomic(uint32_t) *word) {
    uint32_t next, old = atomic_load_explicit(word, memory_order_relaxed);
    do {
        next = old - DIST__IN_LANE;
        if (dist__phase_of(old) == DIST__QUEUED) next += DIST__UNDER_WAY - DIST__QUEUED;
        /* acq_rel: what all others did with it comes before it is freed [phase] */
    } while (!atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (dist__phase_of(old) == DIST__QUEUED) return DIST__MUST_RUN;
    return next & DIST__GONE && !(next & DIST__HOLDERS) ? DIST__MUST_FREE : DIST__NO_DUTY;
}

/* A thread that was started for it has done with it. True: free it. */
static inline bool dist__phase_unhurry(_Atomic(uint32_t) *word) {
    /* acq_rel: see above [phase] */
    uint32_t old = atomic_fetch_and_explicit(word, ~(uint32_t)DIST__HURRIED, memory_order_acq_rel);
    return old & DIST__GONE && !(old & DIST__IN_LANE) && dist__phase_of(old) == DIST__ENDED;
}

/* The handle leaves a job that has ended, or was never started. True: free it. */
static inline bool dist__phase_leave(_Atomic(uint32_t) *word) {
    /* acquire: the last holder has done with it; pairs with [phase] */
    if (!(atomic_load_explicit(word, memory_order_acquire) & DIST__HOLDERS)) return true;
    /* acq_rel: what the handle's owner did comes before another one frees it [phase] */
    uint32_t old = atomic_fetch_or_explicit(word, DIST__GONE, memory_order_acq_rel);
    return !(old & DIST__HOLDERS);
}

/* By whoever has moved it to UNDER_WAY, who must not touch it after this, unless it has been GONE
 * before and has no HOLDERS: then it is the one that frees it. Returns what it was before. */
static inline uint32_t dist__phase_end_word(_Atomic(uint32_t) *word, uint32_t status) {
    /* seq_cst: as release, the job before its end [phase]; and before the look at the [onlookers]
     */
    return atomic_fetch_add_explicit(
        word, DIST__ENDED - DIST__UNDER_WAY + (status << DIST__STATUS_AT), memory_order_seq_cst);
}

/* The same for a job that is not given up before its end. True: wake those who wait for it. */
static inline bool dist__phase_end(_Atomic(uint32_t) *word, uint32_t status) {
    return dist__phase_end_word(word, status) & DIST__WAITED;
}

/* The handle leaves a job that need not have ended: its end, or its last holder, frees it. True:
 * free it now. */
static inline bool dist__phase_give_up(_Atomic(uint32_t) *word) {
    /* acq_rel: what all others did with it comes before it is freed [phase] */
    uint32_t old = atomic_fetch_or_explicit(word, DIST__GONE, memory_order_acq_rel);
    return dist__phase_of(old) == DIST__ENDED && !(old & DIST__HOLDERS);
}

/* What a sleep on the word may expect; or it has ended. */
static inline uint32_t dist__phase_await(_Atomic(uint32_t) *word) {
    /* acquire: if it has ended, see above [phase]; a write, so that its end sees it */
    return atomic_fetch_or_explicit(word, DIST__WAITED, memory_order_acq_rel) | DIST__WAITED;
}

/* Asks for its end: a job that has not begun is the canceller's to end, unrun; one that is under
 * way is told if it is meant too. Returns what it was before. */
static inline uint32_t dist__phase_cancel(_Atomic(uint32_t) *word, bool running_too) {
    uint32_t next, old = atomic_load_explicit(word, memory_order_relaxed);
    do {
        enum dist__phase phase = dist__phase_of(old);
        next = old | DIST__CANCEL;
        if (phase == DIST__ENDED || (phase == DIST__UNDER_WAY && !running_too)) next = old;
        if (phase < DIST__UNDER_WAY) next += DIST__UNDER_WAY - phase;
        /* acq_rel: what was done to it before [phase] */
    } while (!atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return old;
}

/* A number that grows when items of a job have ended, and whether somebody sleeps on it. */
enum { DIST__CHANGE_WAITED = 1, DIST__CHANGE = 2 };

/* Before the look at what may have changed. */
static inline uint32_t dist__changes_look(const _Atomic(uint32_t) *changes) {
    /* acquire: what has changed; pairs with [changes] */
    return atomic_load_explicit(changes, memory_order_acquire);
}

/* Nothing has changed since then, as far as one can see. False: look again. True: sleep if the word
 * is *seen, as it is now. */
static inline bool dist__changes_await(_Atomic(uint32_t) *changes, uint32_t *seen) {
    if (*seen & DIST__CHANGE_WAITED) return true;
    /* relaxed, both: it says nothing; a change comes before, and it fails, or sees it */
    if (!atomic_compare_exchange_strong_explicit(changes, seen, *seen | DIST__CHANGE_WAITED,
                                                 memory_order_relaxed, memory_order_relaxed))
        return false;
    *seen |= DIST__CHANGE_WAITED;
    return true;
}

/* What has changed was written. True: wake who sleeps. */
static inline bool dist__changes_tell(_Atomic(uint32_t) *changes) {
    /* release: what has changed; pairs with [changes] */
    uint32_t old = atomic_fetch_add_explicit(changes, DIST__CHANGE, memory_order_release);
    if (!(old & DIST__CHANGE_WAITED)) return false;
    /* relaxed: who sleeps is woken; who is about to finds another word, or is woken, too */
    atomic_fetch_and_explicit(changes, ~(uint32_t)DIST__CHANGE_WAITED, memory_order_relaxed);
    return true;
}

/* Those who wait for whichever of several jobs ends first. While there are none, the end of a job
 * costs one look. An onlooker counts itself, then looks at its jobs; a job's end is written, then
 * the count is looked at: one of both sees the other. */
struct dist__onlookers {
    _Atomic(uint32_t) count;
    _Atomic(uint32_t) ended; /* a futex: changes when a job ends while there are onlookers */
};

/* Again before it looks at its jobs again. */
static inline uint32_t dist__onlookers_look(const struct dist__onlookers *onlookers) {
    /* acquire: the ends that are counted in it, and before the looks; pairs with [told] */
    return atomic_load_explicit(&onlookers->ended, memory_order_acquire);
}

/* Before an onlooker looks at its jobs. Returns what its sleep on `ended` may expect. */
static inline uint32_t dist__onlookers_enter(struct dist__onlookers *onlookers) {
    /* seq_cst: before the looks at the jobs [onlookers] */
    atomic_fetch_add_explicit(&onlookers->count, 1, memory_order_seq_cst);
    return dist__onlookers_look(onlookers);
}

static inline void dist__onlookers_leave(struct dist__onlookers *onlookers) {
    /* relaxed: at worst a wake in vain */
    atomic_fetch_sub_explicit(&onlookers->count, 1, memory_order_relaxed);
}

/* After the end of a job was written. True: wake all who sleep on `ended`. */
static inline bool dist__onlookers_told(struct dist__onlookers *onlookers) {
    /* seq_cst: after the end of the job; see [onlookers] */
    if (atomic_load_explicit(&onlookers->count, memory_order_seq_cst) == 0) return false;
    /* release: the end of the job before its count; pairs with [told] */
    atomic_fetch_add_explicit(&onlookers->ended, 1, memory_order_release);
    return true;
}

#endif
