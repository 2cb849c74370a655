/* crew.c - a call on threads that its caller looks after: the pool's threads take items from a
 * shared cursor, and the calling thread only supervises, so that it can return in time. */
#include "crew.h"
#include "common/error.h"
#include "common/here.h"
#include "crew_work.h"
#include "team.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_HEARINGS = 8,     /* at the limit of an abandoned call, whose workers may go on telling */
    PATIENCE_NS = 50000000 /* without any worker, before the caller works itself */
};
enum { BUSY_NS = 1000000 }; /* between two looks whether the hand of the task around is back */
static const uint64_t LONG_PATIENCE_NS = 5000000000; /* or gives up, if it must be able to leave */

/* The supervisor's: results of abandoned calls arrive when it hears of them. */
static void land(void *self, struct dist__span items) {
    struct dist__crew *crew = self;
    const struct dist__batch *from = crew->batch;
    struct dist__batch *to = crew->supervised;
    if (to->out)
        memcpy(dist__batch_result(to, items.begin), dist__batch_result(from, items.begin),
               (items.end - items.begin) * to->out_size);
    memset(crew->copy->settled + items.begin, 1, items.end - items.begin);
}

static void heard_of(void *self, struct dist__span items, bool again) {
    struct dist__crew *crew = self;
    if (!again) memset(crew->copy->settled + items.begin, 1, items.end - items.begin);
}

/* ------------------------------------------------------------------ the supervisor */

struct invitation {
    struct dist__crew *crew;
    unsigned next;
};

static uint32_t state_of(struct dist__crew_place *place) {
    /* acquire: what its worker did, if it is free; pairs with [place] */
    return atomic_load_explicit(&place->state, memory_order_acquire);
}

static bool can_invite(struct dist__crew_place *place) {
    /* acquire: pairs with [queued] */
    return state_of(place) == DIST__FREE &&
           !atomic_load_explicit(&place->queued, memory_order_acquire);
}

static struct dist__work *next_invited(void *state, unsigned k) {
    struct invitation *invitation = state;
    (void)k;
    struct dist__crew_place *place;
    do place = &invitation->crew->place[invitation->next++];
    while (!can_invite(place));
    atomic_fetch_add_explicit(&invitation->crew->refs, 1, memory_order_relaxed); /* has one */
    /* relaxed: the pool publishes the work with all of this */
    atomic_store_explicit(&place->queued, true, memory_order_relaxed);
    atomic_store_explicit(&place->state, DIST__INVITED, memory_order_relaxed);
    return &place->work;
}

/* dist_each_worker: there is no thread for one of them. */
static void end_without_worker(struct dist__crew *crew, int error) {
    dist_error why = {.status = DIST_SYSTEM, .code = error};
    snprintf(why.message, sizeof why.message, "pool: no thread: %s", strerror(error));
    dist__control_end(crew->supervised->control, &why);
}

/* Asks the pool for so many workers more, as far as there are places. */
static void invite(struct dist__crew *crew, size_t count) {
    unsigned possible = 0;
    for (unsigned k = 0; k < crew->width && possible < count; k++)
        possible += can_invite(&crew->place[k]);
    if (possible == 0) return;
    struct invitation invitation = {crew, 0};
    if (crew->pool) {
        int error = dist__team_submit(crew->pool, next_invited, &invitation, possible,
                                      crew->batch->each_worker);
        if (error) end_without_worker(crew, error);
        return;
    }
    dist__pool_want((int)possible);
    dist__pool_submit(next_invited, &invitation, possible);
}

/* True: nobody works, and nobody will. */
static bool dismiss(struct dist__crew *crew) {
    bool all = true, invited = false;
    if (!crew->pool) dist__pool_retract(dist__crew_owns, crew);
    for (unsigned k = 0; k < crew->width; k++) {
        invited |= dist__crew_free_place(&crew->place[k], DIST__INVITED);
        all &= state_of(&crew->place[k]) == DIST__FREE;
    }
    if (crew->pool && invited) dist__team_retract(crew->pool, dist__crew_owns, crew);
    return all;
}

/* Somebody has given back a place, whose work may still lie in the queue, to which nobody comes. */
static void invite_after_help(struct dist__crew *crew) {
    /* relaxed, both: a hint; the bell comes after it */
    if (!atomic_exchange_explicit(&crew->helped, false, memory_order_relaxed)) return;
    dist__team_retract(crew->pool, dist__crew_owns, crew);
    for (unsigned k = 0; k < crew->width; k++)
        if (state_of(&crew->place[k]) == DIST__FREE && !can_invite(&crew->place[k]))
            atomic_store_explicit(&crew->helped, true, memory_order_relaxed); /* once more */
    invite(crew, crew->width);
}

static void add_due(struct dist__crew *crew, struct dist__span items) {
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

static bool anybody_works(struct dist__crew *crew) {
    for (unsigned k = 0; k < crew->width; k++)
        if (state_of(&crew->place[k]) == DIST__TAKEN) return true;
    return false;
}

/* The caller's own place in the pool, if it may have one. False: the hand is away. */
static bool take_hand(struct dist__crew *crew, bool *again) {
    *again = true;
    crew->hand_is_away = crew->lender && !dist__hand_borrow(crew->lender, again);
    return !crew->hand_is_away;
}

static void work_directly(struct dist__crew *crew, struct dist__crew_place *place, bool invited) {
    /* relaxed, both: a fact by itself */
    atomic_store_explicit(&crew->desk->stepped_in, 1, memory_order_relaxed);
    dist__crew_work_in(crew, place->number, crew->hand, DIST__STAYS, NULL);
    atomic_store_explicit(&crew->desk->stepped_in, 0, memory_order_relaxed);
    if (!invited && !crew->pool) dist__pool_want(1);
    dist__crew_free_place(place, DIST__TAKEN);
}

/* No thread has come, or the caller has a hand of the pool: it works itself, unless it must be
 * able to leave. False: all places are taken, or the hand is away. */
static bool step_in(struct dist__crew *crew) {
    if (crew->copy) {
        dist_error why = {.status = DIST_SYSTEM, .message = "no thread has come to run a task"};
        dist__control_end(crew->supervised->control, &why);
        return true;
    }
    bool again;
    if (!take_hand(crew, &again)) return false;
    bool found = false;
    for (unsigned k = 0; k < crew->width && !found; k++) {
        bool invited = dist__crew_move(&crew->place[k], DIST__INVITED, DIST__TAKEN);
        found = invited || dist__crew_move(&crew->place[k], DIST__FREE, DIST__TAKEN);
        if (found) work_directly(crew, &crew->place[k], invited);
    }
    if (crew->lender) dist__hand_return(crew->lender, again);
    return found;
}

/* Is there something that anybody could run now? */
static bool more_to_run(struct dist__crew *crew) {
    /* relaxed: see take_due */
    return dist__crew_more_to_draw(crew) ||
           atomic_load_explicit(&crew->due_hint, memory_order_relaxed) > 0;
}

/* What is due, what is over; true: there is something to do, now or later. */
static bool arrange(struct dist__crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct dist__span items;
    dist__control_hear(control);
    if (control->waiting_count) dist__control_drop_retries(control);
    while (dist__control_due(control, &items)) add_due(crew, items);
    size_t due = atomic_load_explicit(&crew->due_hint, memory_order_relaxed); /* its own store */
    if (due && !dist__control_has_ended(control)) invite(crew, due);
    if (crew->pool) invite_after_help(crew);
    return control->more || control->waiting_count > 0 || dist__crew_more_to_draw(crew) ||
           (due && !dist__control_has_ended(control));
}

static void skip_rest(struct dist__crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct dist__span items;
    while (dist__crew_take_due(crew, &items)) dist__control_skip(control, items);
    for (unsigned k = 0; crew->batch->each_worker && k < crew->width; k++)
        if (!crew->place[k].drawn) dist__control_skip(control, (struct dist__span){k, k + 1});
    if (crew->batch->each_worker) return;
    /* relaxed: nobody draws any more, or, if the call is abandoned, nobody starts what it draws */
    uint64_t drawn = atomic_exchange_explicit(&crew->cursor, crew->units, memory_order_relaxed);
    if (drawn < crew->units)
        dist__control_skip(control, dist__batch_items(crew->supervised, drawn, crew->units));
}

/* Nobody works any more. */
static void end_all(struct dist__crew *crew) {
    dist__control_hear_all(crew->supervised->control);
    dist__control_drop_retries(crew->supervised->control);
    skip_rest(crew);
}

static void supervise(struct dist__crew *crew) {
    struct dist__control *control = crew->supervised->control;
    struct pollfd polled[DIST__CONTROL_FDS];
    if (!dist__control_check(control)) invite(crew, crew->width);
    uint64_t patience = crew->copy ? LONG_PATIENCE_NS : PATIENCE_NS, alone_ns = 0;
    if (crew->pool) patience = crew->hand ? 0 : UINT64_MAX;
    for (;;) {
        dist__control_arm(control);
        bool more = arrange(crew);
        if (crew->copy && dist__control_has_ended(control)) return;
        if (!more && dismiss(crew) && !arrange(crew)) return;
        bool helps = patience == 0 && more_to_run(crew);
        crew->hand_is_away = false;
        if (!more || anybody_works(crew)) alone_ns = 0;
        if ((helps || (patience && alone_ns >= patience)) && step_in(crew)) {
            alone_ns = 0;
            continue;
        }
        uint64_t before = dist__now_ns();
        uint64_t most = crew->hand_is_away ? BUSY_NS : PATIENCE_NS;
        dist__control_sleep(control, polled, 0, more ? before + most : UINT64_MAX);
        alone_ns += dist__now_ns() - before;
        /* a thread that could not be started may be possible now */
        if (more && alone_ns >= PATIENCE_NS && !crew->pool)
            dist__pool_submit(next_invited, NULL, 0);
    }
}

/* Leaves the workers that still run a task to themselves. */
static void abandon(struct dist__crew *crew) {
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

/* A call of one worker that the caller may run by itself. False: it may not, or not now. */
static bool runs_alone(struct dist__batch *batch, struct dist__hand *hand,
                       struct dist__record *lender, dist_status *status) {
    bool again = true;
    if (batch->workers > 1 || batch->abandoned || (batch->pool ? !hand : !batch->job)) return false;
    if (lender && !dist__hand_borrow(lender, &again)) return false;
    *status = dist__run_here(batch, hand);
    if (lender) dist__hand_return(lender, again);
    return true;
}

dist_status dist__crew_run(struct dist__batch *batch) {
    struct dist__control *control = batch->control;
    struct dist__record *lender = batch->pool ? dist__hand_lender(batch->pool) : NULL;
    struct dist__hand *hand = lender ? lender->hand : NULL;
    if (batch->pool && !lender && !dist__record_current()) hand = dist__team_self(batch->pool);
    dist_status status;
    if (runs_alone(batch, hand, lender, &status)) return status;
    dist__control_add_bell(control);
    struct dist__crew *crew = dist__crew_new(batch);
    if (!crew) return dist__refuse(DIST_NOMEM, 0, "no memory for %u workers", batch->workers);
    crew->supervised = batch;
    crew->hand = batch->abandoned ? NULL : hand;
    crew->lender = lender;
    control->desk = crew->desk;
    control->rings = crew->width;
    control->attempts = crew->attempts;
    if (batch->pool) control->meanwhile = dist__crew_meanwhile, control->crew = crew;
    if (batch->abandoned) {
        control->land = land, control->heard_of = heard_of, control->self = crew;
        control->told = true;
        crew->copy = dist__copy_new(batch);
        if (!crew->copy) {
            dist__control_leave_desk(control);
            dist__crew_unref(crew);
            return dist__refuse(DIST_NOMEM, 0, "abandon: no memory to copy %zu items", batch->n);
        }
        crew->batch = &crew->copy->batch;
        crew->control = &crew->copy->control;
    }
    crew->bell = dist__control_bell(control); /* workers may ring it after the call */
    crew->bell_file = dist__file_id(crew->bell);
    if (batch->job && batch->pool)
        dist__job_offer(batch->job, dist__crew_hold, dist__crew_help, crew);
    supervise(crew);
    if (crew->copy && !dismiss(crew)) abandon(crew);
    else end_all(crew);
    dist__control_leave_desk(control);
    crew->own_bell = dist__control_bell(control); /* none, if somebody has closed it */
    dist__control_set_bell(control, -1);
    /* whoever has seen the bell has done with it after this, and may not ring a stranger's */
    if (batch->job) dist__job_leaves(batch->job);
    if (batch->pool) dist__pool_leaves(batch->pool, control);
    dist__crew_unref(crew);
    dist__pool_want(0); /* a shutdown may have waited for this call */
    return DIST_OK;
}
