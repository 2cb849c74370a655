/* mail.h - single items for the workers of a pool: how they are posted, taken, ended, and what
 * becomes of them when a worker dies. Without libc, for the model checker.
 *
 * An item lies in a cell. Its word goes NEW -> QUEUED -> UNDER_WAY -> ENDED (common/phase.h), its
 * stamp says who may move it:
 *
 *     NONE -> POSTED (number) -> TAKEN (bearer)      host, worker
 *             POSTED -> NONE                         host: it was cancelled
 *             TAKEN -> NONE                          worker: it finds it cancelled
 *             TAKEN -> POSTED                        nursery: its bearer died before it began
 *     ENDED, TAKEN -> POSTED (another number)        host: the next item in this cell
 *
 * A bearer is one worker for ever (its number and its generation), and takes a stamp by CAS, so who
 * has it is never in doubt. It moves the word to UNDER_WAY after that, and ENDED is the last touch.
 * Before all that it writes into its `at` which cell it is about to take: whoever buries it looks
 * there, and nowhere else.
 *
 * Numbers are in the order of the posts. The rack leads from a number to its cell. The head is a
 * hint: below it there is nothing POSTED, but for one whose bearer died, and then the nursery has
 * moved the head back, with a new version, so that no worker moves it on by what it saw before.
 *
 * Looking and sleeping: see struct dist__calls below. */
#ifndef DIST_PROCESS_MAIL_H
#define DIST_PROCESS_MAIL_H

#include "common/phase.h"

#include <stdalign.h>
#include <stddef.h>

enum { DIST__STAMP_NONE, DIST__STAMP_POSTED, DIST__STAMP_TAKEN, DIST__STAMP_STATES = 4 };

struct dist__stamp {
    _Atomic(uint64_t) word;   /* number or bearer * DIST__STAMP_STATES + state [stamp] */
    _Atomic(uint64_t) number; /* host, before it is POSTED */
};

enum { DIST__BEARERS = 1 << 16 }; /* numbers of workers */

static inline uint64_t dist__bearer(unsigned worker, uint64_t generation) {
    return generation * DIST__BEARERS + worker;
}

#ifndef DIST__RACK_ROOM
#define DIST__RACK_ROOM (1u << 17)
#endif

struct dist__rack {                     /* shared */
    alignas(64) _Atomic(uint64_t) tail; /* numbers that were posted; host [tail] */
    alignas(64) _Atomic(uint64_t) head; /* version * DIST__NUMBERS + number [head] */
    alignas(64) _Atomic(uint32_t) cell[DIST__RACK_ROOM]; /* of number % room; host */
};

#define DIST__NUMBERS (UINT64_C(1) << 48)

struct dist__mailbox { /* where the cells' stamps are: one behind the other, so many bytes apart */
    struct dist__rack *rack;
    unsigned char *stamps;
    size_t stride;
    uint32_t cells;
};

static inline struct dist__stamp *dist__stamp_of(const struct dist__mailbox *box, uint32_t cell) {
    return (struct dist__stamp *)(void *)(box->stamps + cell * box->stride);
}

/* ------------------------------------------------------------------ the host, one thread at a time
 */

/* True: there is a number for one more. */
static inline bool dist__rack_has_room(const struct dist__mailbox *box) {
    /* relaxed, both: its own words */
    uint64_t number = atomic_load_explicit(&box->rack->tail, memory_order_relaxed);
    uint32_t cell =
        atomic_load_explicit(&box->rack->cell[number % DIST__RACK_ROOM], memory_order_relaxed);
    if (number < DIST__RACK_ROOM) return true;
    uint64_t old = (number - DIST__RACK_ROOM) * DIST__STAMP_STATES + DIST__STAMP_POSTED;
    /* relaxed: if it is POSTED no more it never will be, or stands where the nursery found it */
    return atomic_load_explicit(&dist__stamp_of(box, cell)->word, memory_order_relaxed) != old;
}

/* An item is about to be written into a cell that is the host's. */
static inline void dist__stamp_clear(struct dist__stamp *stamp) {
    /* relaxed: published with the word that is QUEUED next: from then on nobody takes this for the
     * item before */
    atomic_store_explicit(&stamp->word, DIST__STAMP_NONE, memory_order_relaxed);
}

/* The cell is full. `word`: as it is to be, QUEUED. */
static inline void dist__rack_post(const struct dist__mailbox *box, uint32_t cell,
                                   _Atomic(uint32_t) *word, uint32_t queued) {
    struct dist__stamp *stamp = dist__stamp_of(box, cell);
    /* release: the stamp is cleared; pairs with [phase] */
    atomic_store_explicit(word, queued, memory_order_release);
    /* relaxed: its own word */
    uint64_t number = atomic_load_explicit(&box->rack->tail, memory_order_relaxed);
    /* relaxed: published by the stamp */
    atomic_store_explicit(&stamp->number, number, memory_order_relaxed);
    /* release: what is in the cell; pairs with [stamp] */
    atomic_store_explicit(&stamp->word, number * DIST__STAMP_STATES + DIST__STAMP_POSTED,
                          memory_order_release);
    /* relaxed: published by the tail */
    atomic_store_explicit(&box->rack->cell[number % DIST__RACK_ROOM], cell, memory_order_relaxed);
    /* seq_cst: as release, the entry [tail]; and before the look at the workers [calls] */
    atomic_store_explicit(&box->rack->tail, number + 1, memory_order_seq_cst);
}

/* Of an item that was cancelled before it began. True: no worker will look into the cell. */
static inline bool dist__stamp_withdraw(struct dist__stamp *stamp) {
    /* relaxed: its own word */
    uint64_t number = atomic_load_explicit(&stamp->number, memory_order_relaxed);
    uint64_t posted = number * DIST__STAMP_STATES + DIST__STAMP_POSTED;
    /* acquire, both: a worker has done with the cell; pairs with [stamp] */
    if (atomic_load_explicit(&stamp->word, memory_order_acquire) == DIST__STAMP_NONE) return true;
    return atomic_compare_exchange_strong_explicit(&stamp->word, &posted, DIST__STAMP_NONE,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Asks for its end. One that is QUEUED has ended by this, with `status`; a worker that runs one is
 * condemned, if it is meant too. Returns what the word was before. */
static inline uint32_t dist__mail_cancel(_Atomic(uint32_t) *word, bool running_too,
                                         uint32_t status) {
    uint32_t next, old = atomic_load_explicit(word, memory_order_relaxed);
    do {
        next = old | DIST__CANCEL;
        if (dist__phase_of(old) == DIST__ENDED) return old;
        if (dist__phase_of(old) == DIST__UNDER_WAY && !running_too) return old;
        if (dist__phase_of(old) == DIST__QUEUED)
            next += DIST__ENDED - DIST__QUEUED + (status << DIST__STATUS_AT);
        /* seq_cst: as acq_rel, what was done before [phase]; and see [onlookers] */
    } while (!atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_seq_cst,
                                                    memory_order_relaxed));
    return old;
}

/* ------------------------------------------------------------------ workers */

/* Is there anything? A look that costs little, and may be wrong for a moment. */
static inline bool dist__rack_any(const struct dist__rack *rack) {
    /* seq_cst, both: after this worker has said what it does [calls] */
    uint64_t head = atomic_load_explicit(&rack->head, memory_order_seq_cst);
    return head % DIST__NUMBERS < atomic_load_explicit(&rack->tail, memory_order_seq_cst);
}

/* Is there anything that was posted before this number? */
static inline bool dist__rack_any_before(const struct dist__rack *rack, uint64_t number) {
    /* relaxed: whoever wants it looks again */
    uint64_t head = atomic_load_explicit(&rack->head, memory_order_relaxed);
    return head % DIST__NUMBERS < number;
}

/* Everything below `number` is taken, as of the head that was `seen`. */
static inline void dist__rack_advance(struct dist__rack *rack, uint64_t seen, uint64_t number) {
    uint64_t next = seen - seen % DIST__NUMBERS + number;
    /* relaxed: a hint, unless the nursery has moved it: then this fails */
    if (next != seen)
        atomic_compare_exchange_strong_explicit(&rack->head, &seen, next, memory_order_relaxed,
                                                memory_order_relaxed);
}

/* Takes the oldest there is for this bearer. False: there is none. */
static inline bool dist__rack_take(const struct dist__mailbox *box, _Atomic(uint64_t) *at,
                                   uint64_t bearer, uint32_t *taken) {
    struct dist__rack *rack = box->rack;
    /* seq_cst: as acquire, what the nursery has posted again [head]; and see [calls] */
    uint64_t seen = atomic_load_explicit(&rack->head, memory_order_seq_cst);
    uint64_t number = seen % DIST__NUMBERS;
    /* seq_cst: as acquire, the entries [tail]; and see [calls] */
    uint64_t tail = atomic_load_explicit(&rack->tail, memory_order_seq_cst);
    for (; number < tail; number++) {
        /* relaxed: an entry that was overwritten leads to a stamp with another number */
        uint32_t cell =
            atomic_load_explicit(&rack->cell[number % DIST__RACK_ROOM], memory_order_relaxed);
        uint64_t posted = number * DIST__STAMP_STATES + DIST__STAMP_POSTED;
        if (cell >= box->cells) continue; /* a wild task can write anything */
        struct dist__stamp *stamp = dist__stamp_of(box, cell);
        /* relaxed: a first look */
        if (atomic_load_explicit(&stamp->word, memory_order_relaxed) != posted) continue;
        /* relaxed: whoever buries this worker sees all that it wrote */
        atomic_store_explicit(at, (uint64_t)cell + 1, memory_order_relaxed);
        /* acq_rel: what is in the cell, and `at` before it; pairs with [stamp] */
        if (!atomic_compare_exchange_strong_explicit(
                &stamp->word, &posted, bearer * DIST__STAMP_STATES + DIST__STAMP_TAKEN,
                memory_order_acq_rel, memory_order_relaxed))
            continue;
        dist__rack_advance(rack, seen, number + 1);
        *taken = cell;
        return true;
    }
    if (number > seen % DIST__NUMBERS) dist__rack_advance(rack, seen, number);
    return false;
}

/* The bearer begins. False: it was cancelled, and the cell is not the bearer's any more. */
static inline bool dist__mail_begin(struct dist__stamp *stamp, _Atomic(uint32_t) *word) {
    if (dist__phase_move(word, DIST__QUEUED, DIST__UNDER_WAY)) return true;
    /* release: it has done with the cell; pairs with [stamp] */
    atomic_store_explicit(&stamp->word, DIST__STAMP_NONE, memory_order_release);
    return false;
}

/* The bearer has run it, and does not touch the cell after this. False: it was condemned before:
 * it must do nothing any more but wait for its end. *waited: wake those who sleep on the word. */
static inline bool dist__mail_settle(_Atomic(uint32_t) *word, uint32_t status, bool *waited) {
    uint32_t old = atomic_load_explicit(word, memory_order_relaxed);
    do {
        if (old & DIST__CANCEL) return false;
        /* seq_cst: as release, what the task has left [phase]; and see [onlookers] */
    } while (!atomic_compare_exchange_weak_explicit(
        word, &old, old + DIST__ENDED - DIST__UNDER_WAY + (status << DIST__STATUS_AT),
        memory_order_seq_cst, memory_order_relaxed));
    *waited = old & DIST__WAITED;
    return true;
}

/* ------------------------------------------------------------------ the nursery */

/* Has this bearer taken it, and, if that is a worker that is dead, does it have it still? */
static inline bool dist__stamp_is_of(const struct dist__stamp *stamp, uint64_t bearer) {
    /* acquire: pairs with [stamp] */
    return atomic_load_explicit(&stamp->word, memory_order_acquire) ==
           bearer * DIST__STAMP_STATES + DIST__STAMP_TAKEN;
}

/* Does this bearer run what is in the cell? Then *word is what it was: the stamp of a worker that
 * is dead, or condemned, leads to no other item later. */
static inline bool dist__mail_is_run_by(const struct dist__stamp *stamp,
                                        const _Atomic(uint32_t) *word, uint64_t bearer,
                                        uint32_t *old) {
    /* acquire: in this order; an item before it in this cell has left another stamp [stamp] */
    *old = atomic_load_explicit(word, memory_order_acquire);
    return dist__stamp_is_of(stamp, bearer) && dist__phase_of(*old) == DIST__UNDER_WAY;
}

/* The bearer is dead, and did not run it: gives it back if it had taken it. True: ring. */
static inline bool dist__mail_give_back(const struct dist__mailbox *box, uint32_t cell,
                                        const _Atomic(uint32_t) *word, uint64_t bearer) {
    struct dist__stamp *stamp = dist__stamp_of(box, cell);
    uint64_t taken = bearer * DIST__STAMP_STATES + DIST__STAMP_TAKEN;
    /* acquire: pairs with [stamp]; after this the cell has no other item than that */
    if (atomic_load_explicit(&stamp->word, memory_order_acquire) != taken) return false;
    bool queued = dist__phase_of(dist__phase_look(word)) == DIST__QUEUED;
    /* relaxed: published by the stamp that the bearer took */
    uint64_t number = atomic_load_explicit(&stamp->number, memory_order_relaxed);
    uint64_t next = queued ? number * DIST__STAMP_STATES + DIST__STAMP_POSTED : DIST__STAMP_NONE;
    /* acq_rel: as the bearer's [stamp]. It fails if the item had ended, and the host has the next
     */
    if (!atomic_compare_exchange_strong_explicit(&stamp->word, &taken, next, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    if (!queued) return false;
    uint64_t lower, seen = atomic_load_explicit(&box->rack->head, memory_order_relaxed);
    do {
        lower = seen % DIST__NUMBERS < number ? seen % DIST__NUMBERS : number;
        lower += seen - seen % DIST__NUMBERS + DIST__NUMBERS; /* the next version */
        /* seq_cst: as release, the stamp [head]; and before the look at the workers [calls] */
    } while (!atomic_compare_exchange_weak_explicit(&box->rack->head, &seen, lower,
                                                    memory_order_seq_cst, memory_order_relaxed));
    return true;
}

/* Ends what a dead bearer was running, if the word is still `*old`; else *old is what it is. */
static inline bool dist__mail_bury(_Atomic(uint32_t) *word, uint32_t *old, uint32_t status) {
    uint32_t next = *old + DIST__ENDED - DIST__UNDER_WAY + (status << DIST__STATUS_AT);
    /* seq_cst: as release, how it ended [phase]; and see [onlookers] */
    return atomic_compare_exchange_strong_explicit(word, old, next, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

/* ------------------------------------------------------------------ who looks, who sleeps
 *
 * Two bits for each worker. Whoever posts does so first and then looks at them: if one is LOOKING
 * nobody need be woken, else one that is ASLEEP is. A worker changes its bits first and then looks
 * at the rack: before it sleeps, and, when it stops LOOKING because it has found something, whether
 * there is more, for which it then wakes another. All in one order (seq_cst): so of a post and a
 * worker that stops looking, one sees the other. */
enum { DIST__BUSY, DIST__LOOKING, DIST__ASLEEP, DIST__CALLS_PER_WORD = 32 };

struct dist__calls {
    alignas(64) _Atomic(uint64_t) word[DIST__BEARERS / DIST__CALLS_PER_WORD]; /* [calls] */
};

static const uint64_t dist__all_looking = UINT64_MAX / 3;

static inline uint64_t dist__call_of(unsigned worker, uint64_t state) {
    return state << 2 * (worker % DIST__CALLS_PER_WORD);
}

/* Worker: the state that it had, and the next. */
static inline void dist__calls_move(struct dist__calls *calls, unsigned worker, uint64_t from,
                                    uint64_t to) {
    /* seq_cst: before its look at the rack [calls] */
    atomic_fetch_add_explicit(&calls->word[worker / DIST__CALLS_PER_WORD],
                              dist__call_of(worker, to) - dist__call_of(worker, from),
                              memory_order_seq_cst);
}

/* Nursery: it is dead. */
static inline void dist__calls_clear(struct dist__calls *calls, unsigned worker) {
    /* seq_cst: before the look at the rack [calls] */
    atomic_fetch_and_explicit(&calls->word[worker / DIST__CALLS_PER_WORD],
                              ~dist__call_of(worker, 3), memory_order_seq_cst);
}

/* After a post: the states of some 32 workers, from `worker` on. */
static inline uint64_t dist__calls_look(const struct dist__calls *calls, unsigned worker) {
    /* seq_cst: after the post [calls] */
    return atomic_load_explicit(&calls->word[worker / DIST__CALLS_PER_WORD], memory_order_seq_cst);
}

#endif
