/* post.h - single items that go to the workers of a pool without being a call: the cells, and who
 * does what with them. How it is safe: mail.h. */
#ifndef DIST_PROCESS_POST_H
#define DIST_PROCESS_POST_H

#include "common/heap.h"
#include "common/light.h"
#include "common/onlookers.h"
#include "common/os.h"
#include "mail.h"
#include "supervisor.h"

#include <pthread.h>

struct dist__staff;
struct dist__hand;

enum {
    DIST__CELLS = DIST__RACK_ROOM,
    DIST__FEW_CELLS = 1024, /* if memory is short */
    DIST__SMALL_MAIL = 16,  /* items and results up to this size lie in the cell, */
    DIST__LARGE_MAIL = 128, /* up to this elsewhere */
    DIST__MAIL_IS_LARGE = 1,
    DIST__MAIL_HAS_CTX = 2 /* a copy; else it is the pointer */
};

struct dist__cell {           /* shared */
    struct dist__light light; /* item and result: the caller's, NULL if there is none */
    struct dist__stamp stamp;
    uint32_t flags;
    _Atomic(uint32_t) returns; /* how often its bearer died before it began; nursery */
    uint32_t unused[2];
    alignas(8) unsigned char item[DIST__SMALL_MAIL], result[DIST__SMALL_MAIL];
};

_Static_assert(sizeof(struct dist__cell) == 2 * DIST__CACHE_LINE, "no more than two lines");

struct dist__bulk { /* shared: of a cell that is too small */
    alignas(DIST__CACHE_LINE) unsigned char item[DIST__LARGE_MAIL];
    alignas(DIST__CACHE_LINE) unsigned char result[DIST__LARGE_MAIL], ctx[DIST__LARGE_MAIL];
};

struct dist__carrier { /* shared: of a worker */
    alignas(
        DIST__CACHE_LINE) _Atomic(uint64_t) at; /* 1 + the last cell it tried to take; 0: none */
};

/* Lets others have this CPU while it spins: what it waits for may need it. If that takes long,
 * others need it more, and for so many waits it does without. */
struct dist__courtesy {
    _Atomic(uint32_t) pause;
};

void dist__courtesy_begin(struct dist__courtesy *courtesy); /* a wait */
void dist__courtesy_yield(struct dist__courtesy *courtesy);

struct dist__letter { /* the host's own: of a cell */
    uint8_t use;
    bool given_up; /* a job of which there is no handle any more */
    uint32_t next; /* of those that are free, or in limbo */
    void *result;  /* of a job: where its result goes, and its size */
    size_t result_size;
    const void *item;
    dist_error *given;           /* the option .error */
    struct dist__light_end *end; /* when it has landed, if not well; owned */
};

struct dist__mail {
    struct dist__staff *staff;
    struct dist_pool *pool;
    struct dist__heap heap; /* shared: all down to the lock */
    struct dist__mailbox box;
    struct dist__cell *cell;
    struct dist__bulk *bulk;
    struct dist__light_end *end; /* how each failed; whoever ends it */
    struct dist__carrier *carrier;
    struct dist__calls *calls;
    struct dist__onlookers *onlookers; /* of the host; workers tell them */

    pthread_mutex_t lock;           /* the host's, over all that follows */
    struct dist__letter *letter;    /* it grows: looked at with the lock only */
    uint32_t room, fresh;           /* letters there are; cells from this on were never used */
    uint32_t free, limbo;           /* lists; limbo: a worker may still look into them */
    uint32_t jobs;                  /* that have not landed */
    uint64_t ended;                 /* items whose end was seen */
    uint32_t given_up;              /* letters */
    unsigned handles;               /* of jobs; and the heir */
    bool has_heir;                  /* somebody lands those that were given up */
    struct dist__courtesy courtesy; /* not under the lock */
    bool closed;                    /* the pool is gone, and the last handle frees this */
    struct dist__errand heir;

    pthread_mutex_t tending; /* over the next three: of the one who tends it */
    struct dist__desertion desertion;
    uint64_t tended_ns, ended_then;

    uint64_t *kill_ns; /* the nursery's: when the worker gets its SIGKILL; 0: it need not */
};

/* Where the item, the result and the copy of ctx are. */
static inline void *dist__mail_item(const struct dist__mail *mail, uint32_t c) {
    struct dist__cell *cell = &mail->cell[c];
    return cell->flags & DIST__MAIL_IS_LARGE ? mail->bulk[c].item : cell->item;
}

static inline void *dist__mail_result(const struct dist__mail *mail, uint32_t c) {
    struct dist__cell *cell = &mail->cell[c];
    return cell->flags & DIST__MAIL_IS_LARGE ? mail->bulk[c].result : cell->result;
}

static inline void *dist__mail_ctx(const struct dist__mail *mail, uint32_t c) {
    return mail->bulk[c].ctx;
}

/* ------------------------------------------------------------------ post.c: the host */

/* With the staff. Without the memory there is just no mail; if it is short, there is less. */
void dist__mail_open(struct dist__staff *staff, bool is_short);
void dist__mail_close(struct dist__staff *staff);

/* For the backend's table: see common/backend.h. */
bool dist__mail_apply(struct dist_pool *pool, const struct dist__single *single,
                      dist_status *status);
void dist__mail_stop(struct dist_pool *pool);
uint64_t dist__mail_turn(struct dist_pool *pool);

/* For handles.c. How a cell is used. */
enum {
    DIST__UNUSED,
    DIST__CALL, /* by a blocking call */
    DIST__JOB,  /* by a job; */
    DIST__LANDED_JOB,
    DIST__UNRUN = 8 /* and it was cancelled: a worker may still look into it */
};

bool dist__mail_suits_size(const struct dist__mail *mail, const struct dist__single *single);

/* False: it cannot be posted. *woken: a worker was woken for it. */
bool dist__mail_put(struct dist__mail *mail, const struct dist__single *single, uint32_t bits,
                    uint8_t use, uint32_t *cell, bool *woken);

/* Until it has ended. False: the time is up. */
bool dist__mail_await(struct dist__mail *mail, uint32_t cell, bool spins, uint64_t limit_ns);

/* Is there anybody for it? If there is nobody any more, all that is QUEUED ends. */
void dist__mail_tend(struct dist__mail *mail);

/* With the lock held: one that is QUEUED ends. Returns what the word was. */
uint32_t dist__mail_end(struct dist__mail *mail, uint32_t cell, bool running_too);

/* With the lock held: of an item that has ended. */
void dist__mail_give_cell(struct dist__mail *mail, uint32_t cell);

void dist__mail_free(struct dist__mail *mail);

/* ------------------------------------------------------------------ handles.c: jobs */

extern const struct dist__post dist__mail_post;
bool dist__mail_sweep(struct dist_pool *pool, uint64_t limit_ns);

/* So that a handle leads to its mail. False: there are too many pools. */
bool dist__mail_enlist(struct dist__mail *mail);
void dist__mail_delist(struct dist__mail *mail);

/* ------------------------------------------------------------------ mail.c: workers and nursery */

/* Wakes a worker, if one sleeps and none is looking: after a post. True: it has. */
bool dist__mail_ring(struct dist__staff *staff);

/* The same, even if one is looking. */
bool dist__mail_wake(struct dist__staff *staff);

/* Takes the oldest for this worker. */
bool dist__mail_take(struct dist__staff *staff, unsigned worker, uint64_t generation,
                     uint32_t *cell);

/* Runs it. Returns how many tasks that were. has_begun: worker_init has run for the first time. */
unsigned dist__mail_run(struct dist__staff *staff, uint32_t cell, struct dist__hand *hand,
                        void (*has_begun)(void));

/* Nursery: this worker is dead. */
void dist__mail_inherit(struct dist__staff *staff, unsigned worker, uint64_t generation, pid_t pid,
                        int32_t status);

/* Nursery: kills this worker if what it runs was cancelled. Returns in how many milliseconds to
 * look again; -1: there is no need. */
int dist__mail_enforce(struct dist__staff *staff, unsigned worker, uint64_t generation, pid_t pid);

#endif
