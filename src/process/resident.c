/* resident.c - a worker of a pool: it waits for invitations, works, and leaves when it is told to
 * or when it has done enough. */
#include "common/arena.h"
#include "common/os.h"
#include "staff.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPIN_NS = 20000 /* about one wake latency */, SPINS_PER_LOOK = 32 };

struct resident {
    struct dist__staff *staff;
    unsigned number;
    uint64_t generation;
    pid_t nursery;
    struct dist__hand hand;
    struct dist__life *life;
    uint64_t left; /* tasks before it is replaced; UINT64_MAX: any number */
};

static struct resident self;

/* ------------------------------------------------------------------ invitations */

/* The oldest one: its slot, and its word. False: there is none. */
static bool find_invitation(unsigned *slot, uint64_t *word) {
    bool any = false;
    for (unsigned k = 0; k < self.staff->slots; k++) {
        uint64_t seat = dist__seat_read(dist__seat_of(self.staff, self.number, k));
        if (dist__seat_state(seat) != DIST__SEAT_INVITED || (any && seat >= *word)) continue;
        any = true;
        *slot = k;
        *word = seat;
    }
    return any;
}

static bool must_leave(void) {
    const struct dist__office *office = self.staff->office;
    /* it would have died with its nursery, had no task changed its user id; its number is another's
     * now */
    if (getppid() != self.nursery) _exit(1);
    /* relaxed, both: facts by themselves */
    return self.left == 0 || atomic_load_explicit(&office->closing, memory_order_relaxed) ||
           self.number >= atomic_load_explicit(&office->size, memory_order_relaxed);
}

/* Looks for one wake latency. */
static bool look_and_spin(unsigned *slot, uint64_t *word) {
    for (uint64_t limit = 0;;) {
        if (find_invitation(slot, word)) return true;
        uint64_t now = dist__now_ns();
        if (limit == 0) limit = now + SPIN_NS;
        if (now > limit) return false;
        for (int i = 0; i < SPINS_PER_LOOK; i++) dist__cpu_pause();
    }
}

/* False: it is to leave. */
static bool await_invitation(unsigned *slot, uint64_t *word) {
    _Atomic(uint32_t) *asleep = &self.life->asleep;
    for (;;) {
        if (must_leave()) return false;
        if (look_and_spin(slot, word)) return true;
        dist__bell_arm(asleep);
        bool any = find_invitation(slot, word);
        if (!any && !must_leave()) dist__futex_wait(asleep, 1, -1, true);
        dist__bell_must_ring(asleep); /* awake */
        if (any) return true;
    }
}

/* With .workers fewer than the pool has, so many may come in. */
static bool sit_down(unsigned k) {
    uint32_t chairs = self.staff->slot[k].chairs;
    return !chairs || dist__chair_take(dist__chairs_of(self.staff, k), chairs, self.number);
}

/* Leaves the seat: for good, or until it is its turn again. From then on the call may be over, and
 * its memory another's: what is touched here belongs to the pool. */
static void leave_seat(unsigned k, bool comes_back) {
    struct dist__slot *slot = &self.staff->slot[k];
    struct dist__seat *seat = dist__seat_of(self.staff, self.number, k);
    const struct dist__file *bell = &self.staff->bell[k];
    uint64_t ticket = comes_back ? dist__staff_ticket(self.staff) : 0;
    dist__chair_give(dist__chairs_of(self.staff, k), slot->chairs, self.number);
    if (!dist__seat_leave(seat, self.generation, ticket))
        for (;;) pause(); /* it is condemned */
    if (dist__bell_must_ring(&slot->asleep)) dist__bell_ring(bell->fd, bell->id);
}

/* ------------------------------------------------------------------ a call */

/* Is there an older invitation than the one it has, or is it time to go? */
static bool must_yield(void) {
    unsigned slot = 0;
    uint64_t word = 0;
    return must_leave() || find_invitation(&slot, &word);
}

static uint64_t resident_bytes(void) {
    char text[64];
    if (dist__read_file("/proc/self/statm", text, sizeof text) == 0) return 0;
    char *second;
    strtoull(text, &second, 10);
    return strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* After a hand-out of so many tasks. */
static bool has_done_enough(uint64_t tasks) {
    size_t most = self.hand.pool->opts.worker_memory;
    if (self.left != UINT64_MAX) self.left -= tasks < self.left ? tasks : self.left;
    if (most && resident_bytes() > most) self.left = 0;
    return must_yield();
}

/* Its worker_init has run: if it dies now, that is not why. */
static void has_begun(void) {
    /* relaxed: one writer, and a number to look at */
    atomic_fetch_add_explicit(&self.life->begun, 1, memory_order_relaxed);
}

static void work_for(unsigned k) {
    const struct dist__parcel *parcel = self.staff->slot[k].parcel;
    struct dist__batch batch = parcel->batch;
    struct dist__control control;
    memcpy(&control, &parcel->control, sizeof control);
    batch.control = &control;
    control.batch = &batch;
    batch.arena = dist__arena_see(&parcel->arena);
    struct dist__process_call call = {.batch = &batch,
                                      .region = parcel->region,
                                      .has_begun = has_begun,
                                      .has_done_enough = has_done_enough,
                                      .most_tasks = &self.left};
    struct dist__record record;
    /* the supervisor is to watch over it */
    if (dist__bell_must_ring(&control.desk->asleep)) dist__control_ring(&control);
    dist__record_enter(&record, &batch, self.number, DIST__FORKED);
    record.hand = &self.hand;
    bool more = dist__worker_work(&call, self.number, &record);
    dist__arena_leave(&record);
    dist__record_leave(&record);
    dist__worker_flush();
    leave_seat(k, more && !must_leave());
}

/* Follows one invitation. False: it is to leave. */
static bool serve(void) {
    unsigned k = 0;
    uint64_t word = 0;
    if (!await_invitation(&k, &word)) return false;
    struct dist__seat *seat = dist__seat_of(self.staff, self.number, k);
    if (!dist__seat_take(seat, word, self.generation)) return true;
    if (sit_down(k)) work_for(k);
    else leave_seat(k, false); /* there are enough */
    return true;
}

/* ------------------------------------------------------------------ its life */

static void thread_ends(void *unused) {
    (void)unused;
    dist__worker_flush();
    _exit(0);
}

_Noreturn void dist__resident_main(struct dist__staff *staff, unsigned number, uint64_t generation,
                                   pid_t nursery) {
    const dist_opts *opts = &staff->pool->opts;
    dist__worker_become(nursery, false);
    self = (struct resident){.staff = staff,
                             .number = number,
                             .generation = generation,
                             .nursery = getppid(),
                             .hand = {.pool = staff->pool, .number = number},
                             .life = &staff->life[number],
                             .left = opts->tasks_per_worker ? opts->tasks_per_worker : UINT64_MAX};
    dist__thread_name("prc", number);
    struct dist__affinity before;
    if (opts->cpus) dist__pin(opts->cpus[number % opts->n_cpus], &before);
    dist__life_begin(self.life, generation, getpid());
    pthread_cleanup_push(thread_ends, NULL);
    while (serve()) continue;
    pthread_cleanup_pop(0);
    dist__hand_end(&self.hand);
    dist__worker_flush();
    _exit(0);
}
