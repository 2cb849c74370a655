/* control.h - a call that its caller looks after while the workers run the items: limits, retries,
 * hooks, progress, cancelling, workers with a state. Calls without such options have none of this.
 *
 *     worker                                   caller ("supervisor")
 *     dist__worker_begin                       dist__control_open
 *     dist__attempt_begin, the task,           until all is done: dist__control_hear (notes from
 *     its outcome by dist__worker_tell          the rings), dist__control_due (retries), end, sleep
 *     dist__worker_end                         dist__control_close
 *
 * The supervisor alone writes the outcome, decides about retries and runs the caller's hooks. */
#ifndef DIST_COMMON_CONTROL_H
#define DIST_COMMON_CONTROL_H

#include "batch.h"
#include "note.h"
#include "os.h"
#include "progress.h"

#include <poll.h>

/* What all workers see: in shared memory for processes. Zero is the right beginning. */
struct dist__desk {
    alignas(64) _Atomic(uint32_t) asleep; /* the supervisor is, or will be in a moment [bell] */
    _Atomic(uint32_t) ended;              /* a dist_status: the call ends before its time */
    _Atomic(uint32_t) deserted;   /* the supervisor has left its workers; .abandon [deserted] */
    _Atomic(uint32_t) stepped_in; /* the supervisor runs a task, and hears nothing meanwhile */
    _Atomic(uint32_t) in_hook;    /* the supervisor is in a hook, which may wait for its pool */
    _Atomic(uint64_t) failures;   /* items whose final failure a worker has told, or is about to */
    alignas(64) _Atomic(uint64_t) not_stop; /* ~index: items above it need not run */
    _Atomic(uint32_t) changes; /* of ended and not_stop; a futex for those who wait their turn */
    alignas(64) _Atomic(uint64_t) turn; /* with a rate: when the next attempt may start */
    struct dist__ring ring[];           /* one for each worker */
};

enum { DIST__CONTROL_FDS = 2 }; /* of what dist__control_sleep polls, before the backend's own */

struct dist__retry { /* items that wait for their next attempt, or may have it now */
    uint64_t due_ns;
    struct dist__span items;
    dist_error error; /* of the attempt before */
};

struct dist__control {
    dist_opts opts; /* a copy */
    struct dist__batch *batch;
    uint64_t begin_ns, deadline_ns; /* of the call; no deadline: UINT64_MAX */
    uint64_t turn_ns;               /* between two starts; 0: no rate */
    bool limited;                   /* attempts have limits of their own */
    bool heard;                     /* hooks want to hear of each item */
    bool timed;                     /* the time of each attempt is taken: one of both */
    bool told;                      /* the supervisor wants to hear of each, too */
    bool held;                      /* the backend takes no due items now */
    bool more;                      /* notes are left: the next sleep is none */
    bool retried;                   /* items may get further attempts */
    size_t limit;                   /* failures that stop the call; 0: none does */
    struct dist__desk *desk;
    unsigned rings;              /* of the desk; 0: INLINE, where the caller is the worker */
    _Atomic(uint32_t) *attempts; /* of each item, so far: its worker counts; NULL: no retries */
    _Atomic(int) bell; /* an eventfd; -1: none, the supervisor looks around each millisecond if
                        * workers or `cancel` may want something */
    bool token_lost;   /* somebody has closed its descriptor: only looked at */
    _Atomic(uint64_t) bell_file;      /* which file that is: a task may close it and open another */
    const _Atomic(uint32_t) *cancel;  /* by dist_job_cancel; NULL: there is no such job */
    const _Atomic(uint32_t) *stopped; /* by the end of its pool or stage, or NULL */
    pthread_t supervisor;             /* who runs the call, and its hooks; for the pool */

    /* Of the backend; may be NULL. `land`: brings results to the caller's memory before a hook is
     * told. `heard_of`: a failure has been read; `again`: the items wait for a further attempt. */
    void (*land)(void *self, struct dist__span items);
    void (*heard_of)(void *self, struct dist__span items, bool again);
    void *self;

    struct dist__meters *meters; /* of an abandoned call, whose workers write none; else NULL */
    /* In a pool, or NULL: the worker waits for the supervisor, which is in a hook, and runs
     * something else meanwhile. False: there is nothing that it may run. */
    bool (*meanwhile)(const struct dist__control *control, struct dist__record *record);
    void *crew; /* for it */

    /* Of the job, or NULL: these items have ended, well if error is NULL. `events` go there too. */
    void (*observe)(struct dist_job *job, struct dist__span items, const dist_error *error);

    /* The supervisor's own. */
    size_t failed, succeeded; /* items, as far as notes tell */
    size_t lowest_open;       /* item that has not ended because the call did; SIZE_MAX: none */
    dist_error why;           /* the call's error, if it ended before its time */
    unsigned open_attempts, open_worker; /* of lowest_open */
    struct dist__retry *waiting;         /* a heap by due_ns */
    size_t waiting_count, waiting_room;
    unsigned char *started; /* with on_start: a bit for each item that was told to start */
    struct dist__progress progress;
};

/* ------------------------------------------------------------------ the supervisor */

/* True if the options ask for any of this. */
bool dist__control_wanted(const dist_opts *opts, const struct dist__batch *batch);

/* `seconds` after a time; UINT64_MAX if that is never. */
uint64_t dist__after(uint64_t from_ns, double seconds);

/* When a wait of `seconds` that begins now is over; UINT64_MAX: never. */
static inline uint64_t dist__limit_of(double seconds) {
    return seconds < 0 ? UINT64_MAX : dist__after(dist__now_ns(), seconds);
}

/* The backend then sets desk, rings (and attempts, if retried) before the first worker starts. */
void dist__control_open(struct dist__control *control, struct dist__batch *batch,
                        const dist_opts *opts);

/* Makes the bell, if the system has one, for workers that are not the calling thread. */
void dist__control_add_bell(struct dist__control *control);
size_t dist__desk_size(unsigned workers); /* bytes */

/* Frees what open and the retries took; draws the progress for the last time. */
void dist__control_close(struct dist__control *control);

/* Takes the notes there are, in the order in which they were written; not for long, even if more
 * keep coming: the caller has other duties, and comes back. */
void dist__control_hear(struct dist__control *control);

/* The same until there are none: for when no worker writes any more. */
void dist__control_hear_all(struct dist__control *control);

/* All that a dead worker has left. */
void dist__control_hear_last(struct dist__control *control, unsigned worker);

/* The same for one note; for INLINE, and for what a dead worker could not say. */
void dist__control_take(struct dist__control *control, const struct dist__note *note);

/* Ends the call if its time is up or its token cancelled. True: it has ended, now or before. */
bool dist__control_check(struct dist__control *control);
void dist__control_end(struct dist__control *control, const dist_error *why);
bool dist__control_has_ended(const struct dist__control *control);

unsigned dist__control_retries_of(const struct dist__control *control, size_t i);

/* The caller's hooks (hook.c). start: once for each item; a further attempt begins, or a worker has
 * died before it could tell. */
void dist__hook_start(struct dist__control *control, const struct dist__note *note, size_t i);
void dist__hook_finish(struct dist__control *control, const struct dist__note *note, size_t i,
                       const dist_error *error);
bool dist__hook_retry(const struct dist__control *control, const dist_error *error);

/* The heap of waiting retries (waiting.c). False: no memory. take: it must not be empty. order: its
 * entries were changed. */
bool dist__waiting_add(struct dist__control *control, const struct dist__retry *retry);
struct dist__retry dist__waiting_take(struct dist__control *control);
void dist__waiting_order(struct dist__control *control);

/* Takes the next items whose retry is due. False: there are none now. */
bool dist__control_due(struct dist__control *control, struct dist__span *items);

/* Gives up all retries above the stop, or, if the call has ended, all of them. */
void dist__control_drop_retries(struct dist__control *control);

/* Items that will not run. */
void dist__control_skip(struct dist__control *control, struct dist__span items);

/* An error for items that the end of the call interrupted. */
void dist__control_interrupted(struct dist__control *control, struct dist__span items,
                               unsigned worker);

/* The supervisor leaves: workers tell nothing any more and call nothing of the caller's. Waits for
 * those in the middle of worker_init or worker_exit. */
void dist__control_desert(struct dist__control *control);

/* Items that should have another attempt, and cannot: they have failed. */
void dist__control_no_memory(struct dist__control *control, struct dist__span items);

void dist__control_draw(struct dist__control *control); /* the progress, if it is time */

/* Wakes who sleeps on this descriptor, if it still is the one it was. */
void dist__bell_ring(int bell, uint64_t file);

/* From another thread: the supervisor is to look around. */
void dist__control_ring(const struct dist__control *control);

/* Before the supervisor looks at the rings and at what else workers may change: what they do after
 * that wakes it from its next sleep. */
void dist__control_arm(struct dist__control *control);

/* Sleeps until the bell, one of `count` descriptors behind the first DIST__CONTROL_FDS of
 * polled[], which are filled in here, the token, or a time: `until_ns` or whatever of the call's
 * own comes first. Returns as poll does. Draws the progress. */
int dist__control_sleep(struct dist__control *control, struct pollfd *polled, nfds_t count,
                        uint64_t until_ns);

/* True if the call ended before its time and this matters: an item had not ended, below the lowest
 * failure if it `failed`. Then *why is what the caller hears. */
bool dist__control_cut(const struct dist__control *control, bool failed, dist_error *why);

/* The workers are gone: the desk may go too. */
void dist__control_leave_desk(struct dist__control *control);

/* ------------------------------------------------------------------ a worker */

/* Before the first item: pins the worker and runs worker_init. False: that failed, and was told. */
bool dist__worker_begin(struct dist__control *control, struct dist__record *record);
void dist__worker_end(struct dist__control *control, struct dist__record *record);

/* Waits until an attempt of item i may start. False: it must not. */
bool dist__worker_turn(struct dist__control *control, struct dist__record *record, size_t i);

/* The bell: made, and perhaps found closed, while others look at it. */
static inline int dist__control_bell(const struct dist__control *control) {
    /* acquire: the descriptor and its file; pairs with [made]. A ring in vain, or none, does no
     * harm: the supervisor never sleeps for long */
    return atomic_load_explicit(&control->bell, memory_order_acquire);
}

static inline void dist__control_set_bell(struct dist__control *control, int bell) {
    atomic_store_explicit(&control->bell, bell, memory_order_release); /* see above [made] */
}

/* By dist_job_cancel. */
static inline bool dist__control_is_cancelled(const struct dist__control *control) {
    /* relaxed, both: a fact by itself */
    return (control->cancel && atomic_load_explicit(control->cancel, memory_order_relaxed) != 0) ||
           (control->stopped && atomic_load_explicit(control->stopped, memory_order_relaxed) != 0);
}

/* Item i need not run: the call has stopped below it. */
static inline bool dist__control_past_stop(const struct dist__control *control, size_t i) {
    /* relaxed: see dist__outcome_past_stop */
    return i > ~atomic_load_explicit(&control->desk->not_stop, memory_order_relaxed);
}

/* DIST_OK while this call goes on for the task that runs in the record; else why it should return.
 */
dist_status dist__record_reason(const struct dist__record *record);

/* Attempts of item i so far, at least 1. */
unsigned dist__attempts_of(const struct dist__control *control, size_t i);

/* Its limit in seconds; 0: none. */
double dist__attempt_limit(const struct dist__control *control, size_t i);

/* Counts an attempt of these items and sets its limit in the record. */
void dist__attempt_begin(struct dist__control *control, struct dist__record *record,
                         struct dist__span items);

void dist__attempt_end(const struct dist__control *control, struct dist__record *record);

/* These were part of the attempt and have not been run: it does not count for them. */
void dist__attempt_unused(const struct dist__control *control, struct dist__span items);

/* The code of an attempt that has returned `code`, late or cancelled attempts being failures. */
int dist__attempt_verdict(struct dist__record *record, int code);

/* These items have their results; told if somebody wants to hear of it, else just counted. */
void dist__worker_succeeded(struct dist__control *control, struct dist__record *record,
                            struct dist__span items);

/* Counts a final failure, before it is told. True: with it there are enough to stop the call. */
bool dist__control_count(struct dist__control *control, const struct dist__note *note);

/* Puts a note in the worker's ring, waits for room if need be, and wakes the supervisor. */
void dist__worker_tell(struct dist__control *control, struct dist__record *record,
                       enum dist__note_kind kind, struct dist__span items, const dist_error *error);

/* Runs the items of one hand-out one by one (chunk by chunk), with results staged and brought to
 * batch->out, and tells how each ended. False: the worker must leave, its init has failed. */
bool dist__attempt_items(struct dist__control *control, const struct dist__batch *batch,
                         struct dist__record *record, struct dist__span items);

#endif
