/* staff.h - the worker processes of one pool: what the host and they share, and who makes them.
 *
 *     host --fork--> nursery --fork--> workers
 *
 * The nursery (nursery.c) has one thread, forks workers and waits for their ends, so that neither
 * the host's threads nor its SIGCHLD are any of its business. Workers (resident.c) wait for
 * invitations to calls (board.h). A call is packed into shared memory (parcel.c); the thread that
 * made it looks after it (seats.c) as it looks after workers that are forked for one call. */
#ifndef DIST_PROCESS_STAFF_H
#define DIST_PROCESS_STAFF_H

#include "board.h"
#include "common/arena.h"
#include "common/heap.h"
#include "common/pool.h"
#include "post.h"
#include "supervisor.h"

struct dist__office {                      /* shared; made before the nursery is forked */
    _Atomic(uint32_t) size;                /* workers from this number on leave; host */
    _Atomic(uint32_t) closing;             /* all leave; host */
    _Atomic(uint32_t) filled;              /* the last nursery that has forked workers; nursery */
    alignas(64) _Atomic(uint64_t) tickets; /* drawn; host and workers */
};

struct dist__slot { /* shared; the first three: host, while all seats are FREE; published by them */
    struct dist__parcel *parcel;
    _Atomic(uint64_t) turn;               /* mail below this number is taken first */
    uint32_t chairs;                      /* see .workers; 0: one for each worker of the pool */
    alignas(64) _Atomic(uint32_t) asleep; /* the host's thread is, or will be; see note.h */
};

struct dist__staff {
    struct dist_pool *pool;
    unsigned room, slots; /* workers, calls at a time */

    /* In shared memory, and at the same address in all. */
    struct dist__heap heap; /* parcels, after all that follows; the host's */
    struct dist__office *office;
    struct dist__life *life; /* one for each worker */
    struct dist__slot *slot;
    struct dist__seat *seat;   /* slots of worker 0, slots of worker 1 ... */
    struct dist__chair *chair; /* `room` of slot 0, of slot 1 ... */
    struct dist__mail *mail;   /* single items; NULL: there is no memory for them */

    struct dist__file *bell; /* one for each slot, inherited by all; fd -1: none */

    /* The host's own. */
    pthread_mutex_t lock; /* over all that follows, and the heap */
    pthread_cond_t changed;
    bool *used; /* slots */
    pid_t nursery;
    uint32_t nurseries;                 /* that there were; each knows by it which it is */
    struct dist__file nursery_fd, line; /* its pidfd, and a socket: its end tells the host's */
};

static inline struct dist__seat *dist__seat_of(const struct dist__staff *staff, unsigned worker,
                                               unsigned slot) {
    return &staff->seat[(size_t)worker * staff->slots + slot];
}

static inline struct dist__chair *dist__chairs_of(const struct dist__staff *staff, unsigned slot) {
    return &staff->chair[(size_t)slot * staff->room];
}

static inline uint64_t dist__staff_ticket(const struct dist__staff *staff) {
    /* relaxed: numbers that differ are all there is to it */
    return atomic_fetch_add_explicit(&staff->office->tickets, 1, memory_order_relaxed) + 1;
}

/* For the backend's table: see common/backend.h. */
dist_status dist__staff_open(struct dist_pool *pool);
dist_status dist__staff_resize(struct dist_pool *pool, unsigned workers);
void dist__staff_end(struct dist_pool *pool);

/* Host: is the nursery there? If not, another is made. False: it cannot be had. */
bool dist__staff_is_alive(struct dist__staff *staff);

/* Host: has there been no worker for so long that none will come? To be asked now and then; `any`:
 * some work on what the caller waits for. Makes another nursery if there is none, and has it go on
 * if somebody has stopped it. */
bool dist__staff_is_deserted(struct dist__staff *staff, struct dist__desertion *desertion,
                             bool any);

/* Has the nursery go on if somebody has stopped it. */
void dist__staff_prod(struct dist__staff *staff);

/* Memory for a call. NULL: there is none. */
void *dist__staff_take(struct dist__staff *staff, size_t bytes);
void dist__staff_give(struct dist__staff *staff, void *memory, size_t bytes);

/* A slot for a call, waited for; if the call ends before there is one: staff->slots. */
unsigned dist__staff_take_slot(struct dist__staff *staff, struct dist__control *control);
void dist__staff_give_slot(struct dist__staff *staff, unsigned slot);

/* The nursery is to look around. */
void dist__staff_tell_nursery(struct dist__staff *staff);

/* Wakes worker k if it sleeps; true: it did. */
bool dist__staff_wake(struct dist__staff *staff, unsigned worker);

/* The nursery's side: does not return. `line`: its end of the socket. */
_Noreturn void dist__nursery_main(struct dist__staff *staff, pid_t host, int line);

/* A worker's side: does not return. Signals are blocked. */
_Noreturn void dist__resident_main(struct dist__staff *staff, unsigned number, uint64_t generation,
                                   pid_t nursery);

/* ------------------------------------------------------------------ parcel.c: a call that travels
 */

struct dist__parcel { /* shared: what a worker needs to know of a call */
    struct dist__batch batch;
    struct dist__control control;
    struct dist__region region;
    struct dist__arena_view arena;
};

/* Lays a call out in shared memory: fills the region, and the parcel it stands in. DIST_OK, or a
 * refusal. */
dist_status dist__parcel_pack(struct dist__staff *staff, struct dist__region *region,
                              const struct dist__batch *batch, struct dist__parcel **parcel);

/* Tells its workers what has been decided about the control since. */
void dist__parcel_seal(struct dist__parcel *parcel, const struct dist__control *control);

/* ------------------------------------------------------------------ seats.c: the members of a call
 */

/* What members.c does for workers that are forked, done with those of a pool. open: DIST_OK too if
 * the call has ended while it waited for a slot, which it then has not. */
dist_status dist__seats_open(struct dist__supervisor *s);
bool dist__seats_are_open(const struct dist__supervisor *s);
void dist__seats_close(struct dist__supervisor *s);
void dist__seats_invite(struct dist__supervisor *s);

/* Counts in s->live who is there and who has been invited. */
void dist__seats_refresh(struct dist__supervisor *s);

/* Nobody shall come any more: takes the invitations back, and counts who is left. */
void dist__seats_withdraw(struct dist__supervisor *s);
bool dist__seats_is_dead(const struct dist__supervisor *s, unsigned place);

/* Closes its pidfd. */
void dist__seats_unwatch(struct dist__supervisor *s, unsigned place);
struct dist__exit dist__seats_end_of(const struct dist__supervisor *s, unsigned place);
void dist__seats_clear(struct dist__supervisor *s, unsigned place);

/* The call has ended, and its worker has not left. True: now it will not come to another one. */
bool dist__seats_condemn(struct dist__supervisor *s, unsigned place);

#endif
