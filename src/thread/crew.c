/* crew.c - a call on threads that its caller looks after: the pool's threads take items from a
 * shared cursor, and the calling thread only supervises, so that it can return in time. */
#include "crew.h"
#include "common/control.h"
#include "common/error.h"
#include "common/here.h"
#include "common/job.h"
#include "copy.h"
#include "pool.h"
#include "team.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_HEARINGS = 8,     /* at the limit of an abandoned call, whose workers may go on telling */
    PATIENCE_NS = 50000000 /* without any worker, before the caller works itself */
};
static const uint64_t LONG_PATIENCE_NS = 5000000000; /* or gives up, if it must be able to leave */

/* FREE -> INVITED -> TAKEN -> FREE; or, by the supervisor, INVITED -> FREE. */
enum { FREE, INVITED, TAKEN };

struct place {
    struct dist__work work; /* first: the pool passes works */
    struct crew *crew;
    unsigned number;         /* dist_worker() */
    _Atomic(uint32_t) state; /* [place] */
    _Atomic(bool) queued;    /* its work is in the pool's hands [queued] */
    bool drawn;              /* each_worker: its item */
};

/* Lives until the last place's work has come back from the pool: after the call, if abandoned. */
struct crew {
    _Atomic(uint32_t) refs; /* the caller's, and one for each queued or taken place [refs] */
    struct dist__batch *supervised; /* the caller's */
    struct dist__batch *batch;      /* what workers run: the same, or a copy of it */
    struct dist__control *control;  /* of `batch` */
    struct dist__desk *desk;        /* owned */
    _Atomic(uint32_t) *attempts;    /* owned; NULL: no retries */
    int bell;                       /* workers ring it */
    uint64_t bell_file;             /* see control.h */
    int own_bell;                   /* to close in the end; the caller's before its unref */
    uint64_t units;
    alignas(DIST__CACHE_LINE) _Atomic(uint64_t) cursor; /* units drawn */
    alignas(DIST__CACHE_LINE) pthread_mutex_t lock;     /* over the retries that are due */
    struct dist__span *due;
    size_t due_count, due_room;
    _Atomic(size_t) due_hint; /* due_count, for a look without the lock */

    struct dist_pool *pool; /* whose threads work; NULL: those that all calls share */

    struct dist__copy *copy; /* of what an abandoned call still needs; NULL: it waits */
    unsigned width;
    struct place place[];
};

/* ------------------------------------------------------------------ the object */

static void unref(struct crew *crew) {
    /* acq_rel: all others have done with it [refs] */
    if (atomic_fetch_sub_explicit(&crew->refs, 1, memory_order_acq_rel) > 1) return;
    if (crew->own_bell >= 0) close(crew->own_bell);
    pthread_mutex_destroy(&crew->lock);
    dist__copy_free(crew->copy);
    free(crew->due);
    free(crew->attempts);
    free(crew->desk);
    free(crew);
}

static void run_place(struct dist__work *work);
static void drop_place(struct dist__work *work);

static struct crew *new_crew(struct dist__batch *batch) {
    unsigned width = batch->workers < DIST__POOL_MOST ? batch->workers : DIST__POOL_MOST;
    struct crew *crew =
        aligned_alloc(alignof(struct crew),
                      (sizeof *crew + width * sizeof *crew->place + alignof(struct crew) - 1) /
                          alignof(struct crew) * alignof(struct crew));
    if (!crew) return NULL;
    memset(crew, 0, sizeof *crew + width * sizeof *crew->place);
    atomic_init(&crew->refs, 1);
    pthread_mutex_init(&crew->lock, NULL);
    crew->bell = crew->own_bell = -1;
    crew->batch = batch;
    crew->pool = batch->pool;
    crew->control = batch->control;
    crew->width = width;
    crew->units = dist__batch_units(batch);
    crew->desk = aligned_alloc(alignof(struct dist__desk), dist__desk_size(width));
    if (batch->control->retried) crew->attempts = calloc(batch->n, sizeof *crew->attempts);
    if (!crew->desk || (batch->control->retried && !crew->attempts)) {
        unref(crew);
        return NULL;
    }
    memset(crew->desk, 0, dist__desk_size(width));
    for (unsigned k = 0; k < width; k++) {
        struct place *place = &crew->place[k];
        place->work.run = run_place;
        place->work.drop = drop_place;
        place->crew = crew;
        place->number = k;
    }
    return crew;
}

/* The supervisor's: results of abandoned calls arrive when it hears of them. */
static void land(void *self, struct dist__span items) {
    struct crew *crew = self;
    const struct dist__batch *from = crew->batch;
    struct dist__batch *to = crew->supervised;
    if (to->out)
        memcpy(dist__batch_result(to, items.begin), dist__batch_result(from, items.begin),
               (items.end - items.begin) * to->out_size);
    memset(crew->copy->settled + items.begin, 1, items.end - items.begin);
}

static void heard_of(void *self, struct dist__span items, bool again) {
    struct crew *crew = self;
    if (!again) memset(crew->copy->settled + items.begin, 1, items.end - items.begin);
}

/* ------------------------------------------------------------------ a worker */

static bool take_due(struct crew *crew, struct dist__span *items) {
    /* relaxed: a hint; the supervisor invites a worker for what is there */
    if (atomic_load_explicit(&crew->due_hint, memory_order_relaxed) == 0) return false;
    pthread_mutex_lock(&crew->lock);
    bool any = crew->due_count > 0;
    if (any) *items = crew->due[--crew->due_count];
    atomic_store_explicit(&crew->due_hint, crew->due_count, memory_order_relaxed);
    pthread_mutex_unlock(&crew->lock);
    return any;
}

/* Units below the stop that nobody has drawn. */
static bool more_to_draw(const struct crew *crew) {
    /* relaxed: a stale value only means another look */
    uint64_t drawn = atomic_load_explicit(&crew->cursor, memory_order_relaxed);
    if (drawn >= crew->units || dist__control_has_ended(crew->control)) return false;
    if (crew->batch->each_worker) return true;
    struct dist__span next = dist__batch_items(crew->batch, drawn, drawn + 1);
    return !dist__control_past_stop(crew->control, next.begin);
}

/* The item of a place; the cursor counts how many have been drawn. */
static bool draw_own(struct crew *crew, struct place *place, struct dist__span *items) {
    if (place->drawn) return false;
    place->drawn = true;
    *items = (struct dist__span){place->number, place->number + 1};
    atomic_fetch_add_explicit(&crew->cursor, 1, memory_order_relaxed); /* see draw */
    return true;
}

static bool draw(struct crew *crew, unsigned number, uint64_t want, struct dist__span *items) {
    if (take_due(crew, items)) return true;
    if (!more_to_draw(crew)) return false;
    if (crew->batch->each_worker) return draw_own(crew, &crew->place[number], items);
    /* relaxed: each number is drawn once, and what it stands for was there before the worker */
    uint64_t first = atomic_fetch_add_explicit(&crew->cursor, want, memory_order_relaxed);
    if (first >= crew->units) return false;
    uint64_t last = crew->units - first < want ? crew->units : first + want;
    *items = dist__batch_items(crew->batch, first, last);
    return true;
}

static uint64_t next_want(const struct crew *crew, uint64_t want, uint64_t took_ns) {
    if (crew->control->turn_ns)
        return 1; /* what a worker holds while it waits, nobody else can run */
    /* relaxed: an estimate */
    uint64_t drawn = atomic_load_explicit(&crew->cursor, memory_order_relaxed);
    return dist__batch_next_want(crew->batch, want, took_ns, drawn);
}

static void enter_hand(const struct crew *crew, struct dist__record *record) {
    record->hand = crew->pool ? dist__team_self(crew->pool) : NULL;
    if (record->hand) record->worker = record->hand->number;
}

/* Until there is nothing to draw. True: others shall have their turn before the next hand-out. */
static bool work_in(struct crew *crew, unsigned number, bool direct) {
    struct dist__record record;
    struct dist__span items;
    bool yields = false;
    uint64_t want = 1, before = dist__now_ns();
    dist__record_enter(&record, crew->batch, number, DIST__THREADED);
    enter_hand(crew, &record);
    record.direct = direct;
    while (!yields && draw(crew, number, want, &items)) {
        if (!dist__attempt_items(crew->control, crew->batch, &record, items)) break;
        uint64_t now = dist__now_ns();
        want = next_want(crew, want, now - before);
        before = now;
        yields = crew->pool && !direct && dist__team_must_yield(crew->pool);
    }
    dist__worker_end(crew->control, &record);
    dist__record_leave(&record);
    return yields && more_to_draw(crew);
}

static bool move(struct place *place, uint32_t from, uint32_t to) {
    /* acq_rel: whoever has the place next sees what was done in it [place] */
    return atomic_compare_exchange_strong_explicit(&place->state, &from, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* Gives a place back, with its part of the pool's wanted threads. */
static bool free_place(struct place *place, uint32_t from) {
    bool wants = place->crew->pool == NULL;
    if (from == TAKEN && wants) dist__pool_want(-1); /* now: the call may end with the next line */
    bool freed = move(place, from, FREE);
    if (from == INVITED && freed && wants) dist__pool_want(-1);
    return freed;
}

/* The pool has done with the place's work: after this the crew may be gone. */
static void end_work(struct place *place) {
    struct crew *crew = place->crew;
    /* release: the node may be queued again; pairs with [queued] */
    atomic_store_explicit(&place->queued, false, memory_order_release);
    if (dist__bell_must_ring(&crew->desk->asleep)) dist__bell_ring(crew->bell, crew->bell_file);
    unref(crew);
}

static void run_place(struct dist__work *work) {
    struct place *place = (struct place *)work;
    if (move(place, INVITED, TAKEN)) {
        bool yields = work_in(place->crew, place->number, false);
        if (yields && move(place, TAKEN, INVITED)) { /* at the end of the queue */
            dist__team_submit(place->crew->pool, work, -1);
            return;
        }
        free_place(place, TAKEN);
    }
    end_work(place);
}

static void drop_place(struct dist__work *work) {
    struct place *place = (struct place *)work;
    free_place(place, INVITED);
    end_work(place);
}

/* ------------------------------------------------------------------ the supervisor */

struct invitation {
    struct crew *crew;
    unsigned next;
};

static uint32_t state_of(struct place *place) {
    /* acquire: what its worker did, if it is free; pairs with [place] */
    return atomic_load_explicit(&place->state, memory_order_acquire);
}

static bool can_invite(struct place *place) {
    /* acquire: pairs with [queued] */
    return state_of(place) == FREE && !atomic_load_explicit(&place->queued, memory_order_acquire);
}

static struct dist__work *next_invited(void *state, unsigned k) {
    struct invitation *invitation = state;
    (void)k;
    struct place *place;
    do place = &invitation->crew->place[invitation->next++];
    while (!can_invite(place));
    atomic_fetch_add_explicit(&invitation->crew->refs, 1, memory_order_relaxed); /* has one */
    /* relaxed: the pool publishes the work with all of this */
    atomic_store_explicit(&place->queued, true, memory_order_relaxed);
    atomic_store_explicit(&place->state, INVITED, memory_order_relaxed);
    return &place->work;
}

/* Asks the pool for so many workers more, as far as there are places. */
static void invite(struct crew *crew, size_t count) {
    unsigned possible = 0;
    for (unsigned k = 0; k < crew->width && possible < count; k++)
        possible += can_invite(&crew->place[k]);
    if (possible == 0) return;
    struct invitation invitation = {crew, 0};
    for (; crew->pool && possible > 0; possible--) {
        struct dist__work *work = next_invited(&invitation, 0);
        int number = crew->batch->each_worker ? (int)((struct place *)work)->number : -1;
        dist__team_submit(crew->pool, work, number);
    }
    if (possible == 0) return;
    dist__pool_want((int)possible);
    dist__pool_submit(next_invited, &invitation, possible);
}

static bool is_mine(struct dist__work *work, void *crew) {
    return work->run == run_place && ((struct place *)work)->crew == crew;
}

/* True: nobody works, and nobody will. */
static bool dismiss(struct crew *crew) {
    bool all = true, invited = false;
    if (!crew->pool) dist__pool_retract(is_mine, crew);
    for (unsigned k = 0; k < crew->width; k++) {
        invited |= free_place(&crew->place[k], INVITED);
        all &= state_of(&crew->place[k]) == FREE;
    }
    if (crew->pool && invited) dist__team_retract(crew->pool, is_mine, crew);
    return all;
}

static void add_due(struct crew *crew, struct dist__span items) {
    pthread_mutex_lock(&crew->lock);
    bool room = crew->due_count < crew->due_room;
    if (!room) {
        size_t more = crew->due_room ? 2 * crew->due_room : 16;
        struct dist__span *grown = realloc(crew->due, more * sizeof *grown);
        room = grown != NULL;
        if (grown) crew->due = grown, crew->due_room = more;
    }
    if (room) crew->due[crew->due_count++] = items;
    /* relaxed: a hint */
    atomic_store_explicit(&crew->due_hint, crew->due_count, memory_order_relaxed);
    pthread_mutex_unlock(&crew->lock);
    if (!room) dist__control_no_memory(crew->supervised->control, items);
}

static bool anybody_works(struct crew *crew) {
    for (unsigned k = 0; k < crew->width; k++)
        if (state_of(&crew->place[k]) == TAKEN) return true;
    return false;
}

/* No thread has come, or the caller is a worker of the pool: it works itself, unless it must be
 * able to leave. False: all places are taken. */
static bool step_in(struct crew *crew) {
    if (crew->copy) {
        dist_error why = {.status = DIST_SYSTEM, .message = "no thread has come to run a task"};
        dist__control_end(crew->supervised->control, &why);
        return true;
    }
    for (unsigned k = 0; k < crew->width; k++) {
        if (crew->batch->each_worker && k != dist__team_self(crew->pool)->number) continue;
        bool invited = move(&crew->place[k], INVITED, TAKEN);
        if (!invited && !move(&crew->place[k], FREE, TAKEN)) continue;
        /* relaxed, both: a fact by itself */
        atomic_store_explicit(&crew->desk->stepped_in, 1, memory_order_relaxed);
        work_in(crew, k, true);
        atomic_store_explicit(&crew->desk->stepped_in, 0, memory_order_relaxed);
        if (!invited && !crew->pool) dist__pool_want(1);
        free_place(&crew->place[k], TAKEN);
        return true;
    }
    return false;
}

/* For a worker of the pool that waits for its own call: is there something that it can run? */
static bool more_for_this_thread(struct crew *crew) {
    if (!more_to_draw(crew) && atomic_load_explicit(&crew->due_hint, memory_order_relaxed) == 0)
        return false; /* relaxed: see take_due */
    if (!crew->batch->each_worker) return true;
    const struct dist__hand *self = dist__team_self(crew->pool);
    return self->number < crew->width && !crew->place[self->number].drawn;
}

/* What is due, what is over; true: there is something to do, now or later. */
static bool arrange(struct crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct dist__span items;
    dist__control_hear(control);
    if (control->waiting_count) dist__control_drop_retries(control);
    while (dist__control_due(control, &items)) add_due(crew, items);
    size_t due = atomic_load_explicit(&crew->due_hint, memory_order_relaxed); /* its own store */
    if (due && !dist__control_has_ended(control)) invite(crew, due);
    return control->more || control->waiting_count > 0 || more_to_draw(crew) ||
           (due && !dist__control_has_ended(control));
}

static void skip_rest(struct crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct dist__span items;
    while (take_due(crew, &items)) dist__control_skip(control, items);
    for (unsigned k = 0; crew->batch->each_worker && k < crew->width; k++)
        if (!crew->place[k].drawn) dist__control_skip(control, (struct dist__span){k, k + 1});
    if (crew->batch->each_worker) return;
    /* relaxed: nobody draws any more, or, if the call is abandoned, nobody starts what it draws */
    uint64_t drawn = atomic_exchange_explicit(&crew->cursor, crew->units, memory_order_relaxed);
    if (drawn < crew->units)
        dist__control_skip(control, dist__batch_items(crew->supervised, drawn, crew->units));
}

/* Nobody works any more. */
static void end_all(struct crew *crew) {
    dist__control_hear_all(crew->supervised->control);
    dist__control_drop_retries(crew->supervised->control);
    skip_rest(crew);
}

static void supervise(struct crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct pollfd polled[DIST__CONTROL_FDS];
    if (!dist__control_check(control)) invite(crew, crew->width);
    uint64_t patience = crew->copy ? LONG_PATIENCE_NS : PATIENCE_NS, alone_ns = 0;
    if (crew->pool) patience = dist__team_self(crew->pool) && !crew->copy ? 0 : UINT64_MAX;
    for (;;) {
        dist__control_arm(control);
        bool more = arrange(crew);
        if (crew->copy && dist__control_has_ended(control)) return;
        if (!more && dismiss(crew) && !arrange(crew)) return;
        bool helps = patience == 0 && more_for_this_thread(crew);
        if (!more || anybody_works(crew)) alone_ns = 0;
        if ((helps || (patience && alone_ns >= patience)) && step_in(crew)) {
            alone_ns = 0;
            continue;
        }
        uint64_t before = dist__now_ns();
        dist__control_sleep(control, polled, 0, more ? before + PATIENCE_NS : UINT64_MAX);
        alone_ns += dist__now_ns() - before;
        /* a thread that could not be started may be possible now */
        if (more && alone_ns >= PATIENCE_NS && !crew->pool)
            dist__pool_submit(next_invited, NULL, 0);
    }
}

/* Leaves the workers that still run a task to themselves. */
static void abandon(struct crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct dist__span running[DIST__POOL_MOST];
    for (unsigned k = 0; k < crew->width; k++) {
        struct dist__ring *ring = &crew->desk->ring[k];
        /* relaxed: at worst an item that ends right now counts as skipped */
        running[k].begin = atomic_load_explicit(&ring->running_begin, memory_order_relaxed);
        running[k].end = atomic_load_explicit(&ring->running_end, memory_order_relaxed);
    }
    for (int k = 0; k == 0 || (control->more && k < MOST_HEARINGS); k++)
        dist__control_hear(control);
    dist__control_desert(control);
    unsigned char *settled = crew->copy->settled;
    for (unsigned k = 0; k < crew->width; k++)
        if (running[k].begin < running[k].end && running[k].end <= crew->batch->n &&
            !settled[running[k].begin])
            dist__control_interrupted(control, running[k], k);
    for (size_t i = 0, begin; i < crew->batch->n;) {
        for (begin = i; i < crew->batch->n && !settled[i]; i++) continue;
        dist__control_skip(control, (struct dist__span){begin, i});
        while (i < crew->batch->n && settled[i]) i++;
    }
}

dist_status dist__crew_run(struct dist__batch *batch) {
    struct dist__control *control = batch->control;
    struct dist__hand *hand = batch->pool ? dist__team_self(batch->pool) : NULL;
    bool alone = batch->pool ? hand != NULL : batch->job != NULL;
    if (alone && batch->workers == 1 && !batch->abandoned) return dist__run_here(batch, hand);
    dist__control_add_bell(control);
    struct crew *crew = new_crew(batch);
    if (!crew) return dist__refuse(DIST_NOMEM, 0, "no memory for %u workers", batch->workers);
    crew->supervised = batch;
    control->desk = crew->desk;
    control->rings = crew->width;
    control->attempts = crew->attempts;
    if (batch->abandoned) {
        control->land = land, control->heard_of = heard_of, control->self = crew;
        control->told = true;
        crew->copy = dist__copy_new(batch);
        if (!crew->copy) {
            dist__control_leave_desk(control);
            unref(crew);
            return dist__refuse(DIST_NOMEM, 0, "abandon: no memory to copy %zu items", batch->n);
        }
        crew->batch = &crew->copy->batch;
        crew->control = &crew->copy->control;
    }
    crew->bell = dist__control_bell(control); /* workers may ring it after the call */
    crew->bell_file = dist__file_id(crew->bell);
    supervise(crew);
    if (crew->copy && !dismiss(crew)) abandon(crew);
    else end_all(crew);
    dist__control_leave_desk(control);
    crew->own_bell = dist__control_bell(control); /* none, if somebody has closed it */
    dist__control_set_bell(control, -1);
    if (batch->job) dist__job_leaves(batch->job); /* nobody is in the middle of ringing it */
    unref(crew);
    dist__pool_want(0); /* a shutdown may have waited for this call */
    return DIST_OK;
}
