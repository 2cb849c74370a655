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

enum {
    SPIN_NS = 20000, /* about one wake latency, */
    ALONE_NS = 2000, /* the first of it without letting others in */
    SPINS_PER_LOOK = 32
};

struct resident {
    struct dist__staff *staff;
    unsigned number;
    uint64_t generation;
    pid_t nursery;
    struct dist__hand hand;
    struct dist__life *life;
    uint64_t left;  /* tasks before it is replaced; UINT64_MAX: any number */
    uint64_t state; /* that it has told; see mail.h */
    bool posted;    /* what it ran last was mail */
    struct dist__courtesy courtesy;
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

enum work { NOTHING, INVITATION, MAIL };

static bool take_mail(uint32_t *cell) {
    const struct dist__mail *mail = self.staff->mail;
    if (!mail || !dist__rack_any(mail->box.rack)) return false;
    if (dist__life_has_heir(self.life, self.generation)) _exit(1); /* see leave_if_orphan */
    return dist__mail_take(self.staff, self.number, self.generation, cell);
}

/* Mail that is older than the job of an invitation goes first. */
static bool must_wait(unsigned slot) {
    const struct dist__mail *mail = self.staff->mail;
    /* relaxed: see dist__seats_open */
    uint64_t turn = atomic_load_explicit(&self.staff->slot[slot].turn, memory_order_relaxed);
    return mail && dist__rack_any_before(mail->box.rack, turn);
}

/* In turn, if there is both. */
static enum work find_work(unsigned *slot, uint64_t *word, uint32_t *cell) {
    if (!self.posted && take_mail(cell)) return MAIL;
    bool invited = find_invitation(slot, word);
    if (invited && !must_wait(*slot)) return INVITATION;
    if (take_mail(cell)) return MAIL;
    return invited ? INVITATION : NOTHING;
}

/* Says what it does now. If it was the one to look, and there is more, another one has to. */
static void become(uint64_t state) {
    const struct dist__mail *mail = self.staff->mail;
    if (!mail || state == self.state) return;
    dist__calls_move(mail->calls, self.number, self.state, state);
    self.state = state;
    if (state == DIST__BUSY && dist__rack_any(mail->box.rack)) dist__mail_ring(self.staff);
}

/* For a moment, unless there is mail. */
static void pause_looking(void) {
    const struct dist__mail *mail = self.staff->mail;
    for (int i = 0; i < SPINS_PER_LOOK; i++) {
        if (mail && dist__rack_any(mail->box.rack)) return;
        dist__cpu_pause();
    }
}

/* It would have died with its nursery, had no task changed its user id; its number is another's
 * now. */
static void leave_if_orphan(void) {
    if (getppid() != self.nursery) _exit(1);
}

static bool is_dismissed(void) {
    const struct dist__office *office = self.staff->office;
    /* relaxed, both: facts by themselves */
    return self.left == 0 || atomic_load_explicit(&office->closing, memory_order_relaxed) ||
           self.number >= atomic_load_explicit(&office->size, memory_order_relaxed);
}

static bool must_leave(void) {
    leave_if_orphan();
    return is_dismissed();
}

/* Looks for one wake latency. */
static enum work look_and_spin(unsigned *slot, uint64_t *word, uint32_t *cell) {
    dist__courtesy_begin(&self.courtesy);
    for (uint64_t limit = 0;;) {
        enum work work = find_work(slot, word, cell);
        if (work) return work;
        become(DIST__LOOKING);
        uint64_t now = dist__now_ns();
        if (limit == 0) limit = now + SPIN_NS;
        if (now > limit) return NOTHING;
        pause_looking();
        /* the host may have the next item for it */
        if (self.posted && now > limit - SPIN_NS + ALONE_NS) dist__courtesy_yield(&self.courtesy);
    }
}

/* NOTHING: it is to leave. */
static enum work await_work(unsigned *slot, uint64_t *word, uint32_t *cell) {
    _Atomic(uint32_t) *asleep = &self.life->asleep;
    for (;;) {
        if (self.posted ? is_dismissed() : must_leave()) return NOTHING;
        enum work work = look_and_spin(slot, word, cell);
        if (work) return work;
        if (self.posted) leave_if_orphan(); /* see must_leave */
        self.posted = false;                /* that was some time ago */
        dist__bell_arm(asleep);
        become(DIST__ASLEEP);
        work = find_work(slot, word, cell);
        if (!work && !must_leave()) dist__futex_wait(asleep, 1, -1, true);
        dist__bell_must_ring(asleep); /* awake */
        if (work) return work;
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

/* Does anything else wait, or is it time to go? */
static bool must_yield(void) {
    unsigned slot = 0;
    uint64_t word = 0;
    const struct dist__mail *mail = self.staff->mail;
    return must_leave() || find_invitation(&slot, &word) ||
           (mail && dist__rack_any(mail->box.rack));
}

static uint64_t resident_bytes(void) {
    char text[64];
    if (dist__read_file("/proc/self/statm", text, sizeof text) == 0) return 0;
    char *second;
    strtoull(text, &second, 10);
    return strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void count_tasks(uint64_t tasks) {
    size_t most = self.hand.pool->opts.worker_memory;
    if (self.left != UINT64_MAX) self.left -= tasks < self.left ? tasks : self.left;
    if (most && resident_bytes() > most) self.left = 0;
}

/* After a hand-out of so many tasks. */
static bool has_done_enough(uint64_t tasks) {
    count_tasks(tasks);
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

/* There was an invitation. */
static void accept(unsigned k, uint64_t word) {
    struct dist__seat *seat = dist__seat_of(self.staff, self.number, k);
    if (!dist__seat_take(seat, word, self.generation)) return;
    if (sit_down(k)) work_for(k);
    else leave_seat(k, false); /* there are enough */
}

/* Follows one invitation, or runs one item. False: it is to leave. */
static bool serve(void) {
    unsigned k = 0;
    uint64_t word = 0;
    uint32_t cell = 0;
    enum work work = await_work(&k, &word, &cell);
    if (!work) return false;
    become(DIST__BUSY);
    if (self.posted && work != MAIL) leave_if_orphan(); /* else it has just looked */
    self.posted = work == MAIL;
    if (work == MAIL) count_tasks(dist__mail_run(self.staff, cell, &self.hand, has_begun));
    else accept(k, word);
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
