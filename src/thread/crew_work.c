/* crew_work.c - the workers of a call on threads that its caller looks after: they take items from
 * a shared cursor and tell the caller how those ended. */
#include "crew_work.h"
#include "common/arena.h"
#include "team.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the object */

void dist__crew_unref(struct dist__crew *crew) {
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

struct dist__crew *dist__crew_new(struct dist__batch *batch) {
    unsigned width = batch->workers < DIST__POOL_MOST ? batch->workers : DIST__POOL_MOST;
    struct dist__crew *crew = aligned_alloc(
        alignof(struct dist__crew),
        (sizeof *crew + width * sizeof *crew->place + alignof(struct dist__crew) - 1) /
            alignof(struct dist__crew) * alignof(struct dist__crew));
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
        dist__crew_unref(crew);
        return NULL;
    }
    memset(crew->desk, 0, dist__desk_size(width));
    for (unsigned k = 0; k < width; k++) {
        struct dist__crew_place *place = &crew->place[k];
        place->work.run = run_place;
        place->work.drop = drop_place;
        place->crew = crew;
        place->number = k;
    }
    return crew;
}

/* ------------------------------------------------------------------ a worker */

bool dist__crew_take_due(struct dist__crew *crew, struct dist__span *items) {
    /* relaxed: a hint; the supervisor invites a worker for what is there */
    if (atomic_load_explicit(&crew->due_hint, memory_order_relaxed) == 0) return false;
    pthread_mutex_lock(&crew->lock);
    bool any = crew->due_count > 0;
    if (any) *items = crew->due[--crew->due_count];
    atomic_store_explicit(&crew->due_hint, crew->due_count, memory_order_relaxed);
    pthread_mutex_unlock(&crew->lock);
    return any;
}

bool dist__crew_more_to_draw(const struct dist__crew *crew) {
    /* relaxed: a stale value only means another look */
    uint64_t drawn = atomic_load_explicit(&crew->cursor, memory_order_relaxed);
    if (drawn >= crew->units || dist__control_has_ended(crew->control)) return false;
    if (crew->batch->each_worker) return true;
    struct dist__span next = dist__batch_items(crew->batch, drawn, drawn + 1);
    return !dist__control_past_stop(crew->control, next.begin);
}

/* The item of a place; the cursor counts how many have been drawn. */
static bool draw_own(struct dist__crew *crew, struct dist__crew_place *place,
                     struct dist__span *items) {
    if (place->drawn) return false;
    place->drawn = true;
    *items = (struct dist__span){place->number, place->number + 1};
    atomic_fetch_add_explicit(&crew->cursor, 1, memory_order_relaxed); /* see draw */
    return true;
}

static bool draw(struct dist__crew *crew, unsigned number, uint64_t want,
                 struct dist__span *items) {
    if (dist__crew_take_due(crew, items)) return true;
    if (!dist__crew_more_to_draw(crew)) return false;
    if (crew->batch->each_worker) return draw_own(crew, &crew->place[number], items);
    /* relaxed: each number is drawn once, and what it stands for was there before the worker */
    uint64_t first = atomic_fetch_add_explicit(&crew->cursor, want, memory_order_relaxed);
    if (first >= crew->units) return false;
    uint64_t last = crew->units - first < want ? crew->units : first + want;
    *items = dist__batch_items(crew->batch, first, last);
    return true;
}

static uint64_t next_want(const struct dist__crew *crew, uint64_t want, uint64_t took_ns) {
    if (crew->control->turn_ns)
        return 1; /* what a worker holds while it waits, nobody else can run */
    /* relaxed: an estimate */
    uint64_t drawn = atomic_load_explicit(&crew->cursor, memory_order_relaxed);
    return dist__batch_next_want(crew->batch, want, took_ns, drawn);
}

static void enter_hand(struct dist__record *record, struct dist__hand *hand) {
    record->hand = hand;
    if (hand) record->worker = hand->number;
}

bool dist__crew_work_in(struct dist__crew *crew, unsigned number, struct dist__hand *hand,
                        enum dist__manner manner, const struct dist__helper *helper) {
    struct dist__record record;
    struct dist__span items;
    bool yields = false;
    uint64_t want = 1, before = dist__now_ns();
    dist__record_enter(&record, crew->batch, number, DIST__THREADED);
    enter_hand(&record, hand);
    record.direct = manner == DIST__STAYS;
    while (!yields && draw(crew, number, want, &items)) {
        if (!dist__attempt_items(crew->control, crew->batch, &record, items)) break;
        uint64_t now = dist__now_ns();
        want = next_want(crew, want, now - before);
        before = now;
        yields = manner == DIST__HELPS
                     ? helper->enough(helper)
                     : manner == DIST__TAKES_TURNS && hand && dist__team_must_yield(crew->pool);
    }
    dist__worker_end(crew->control, &record);
    dist__arena_leave(&record); /* it is there: the call waits for this place, or has left it */
    dist__record_leave(&record);
    return yields && dist__crew_more_to_draw(crew);
}

bool dist__crew_move(struct dist__crew_place *place, uint32_t from, uint32_t to) {
    /* acq_rel: whoever has the place next sees what was done in it [place] */
    return atomic_compare_exchange_strong_explicit(&place->state, &from, to, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

bool dist__crew_free_place(struct dist__crew_place *place, uint32_t from) {
    bool wants = place->crew->pool == NULL;
    if (from == DIST__TAKEN && wants)
        dist__pool_want(-1); /* now: the call may end with the next line */
    bool freed = dist__crew_move(place, from, DIST__FREE);
    if (from == DIST__INVITED && freed && wants) dist__pool_want(-1);
    return freed;
}

/* The pool has done with the place's work: after this the crew may be gone. */
static void end_work(struct dist__crew_place *place) {
    struct dist__crew *crew = place->crew;
    /* release: the node may be queued again; pairs with [queued] */
    atomic_store_explicit(&place->queued, false, memory_order_release);
    if (dist__bell_must_ring(&crew->desk->asleep)) dist__bell_ring(crew->bell, crew->bell_file);
    dist__crew_unref(crew);
}

static void run_place(struct dist__work *work) {
    struct dist__crew_place *place = (struct dist__crew_place *)work;
    if (dist__crew_move(place, DIST__INVITED, DIST__TAKEN)) {
        struct dist_pool *pool = place->crew->pool;
        struct dist__hand *hand = pool ? dist__team_self(pool) : NULL;
        bool yields = dist__crew_work_in(place->crew, place->number, hand, DIST__TAKES_TURNS, NULL);
        if (yields &&
            dist__crew_move(place, DIST__TAKEN, DIST__INVITED)) { /* at the end of the queue */
            dist__team_give_back(pool, work);
            return;
        }
        dist__crew_free_place(place, DIST__TAKEN);
    }
    end_work(place);
}

static void drop_place(struct dist__work *work) {
    struct dist__crew_place *place = (struct dist__crew_place *)work;
    dist__crew_free_place(place, DIST__INVITED);
    end_work(place);
}

bool dist__crew_owns(struct dist__work *work, void *crew) {
    return work->run == run_place && ((struct dist__crew_place *)work)->crew == crew;
}

/* ------------------------------------------------------------------ help */

/* A worker of the pool that waits for the job works in one of its places. The caller has a
 * reference for it. A place is only taken if it is offered: the supervisor stays while it is not
 * free. */
bool dist__crew_help(void *self, struct dist__record *lender, const struct dist__helper *helper) {
    struct dist__crew *crew = self;
    bool again, found = false;
    if (dist__hand_borrow(lender, &again)) {
        for (unsigned k = 0; k < crew->width && !found; k++) {
            struct dist__crew_place *place = &crew->place[k];
            found = dist__crew_move(place, DIST__INVITED, DIST__TAKEN);
            if (!found) continue;
            bool more = dist__crew_work_in(crew, k, lender->hand, DIST__HELPS, helper);
            /* relaxed: a hint; the bell comes after it */
            if (more) atomic_store_explicit(&crew->helped, true, memory_order_relaxed);
            dist__crew_free_place(place, DIST__TAKEN);
        }
        dist__hand_return(lender, again);
    }
    if (found && dist__bell_must_ring(&crew->desk->asleep))
        dist__bell_ring(crew->bell, crew->bell_file);
    dist__crew_unref(crew);
    return found;
}

void dist__crew_hold(void *self) {
    struct dist__crew *crew = self;
    /* relaxed: the supervisor has one, and cannot take back its offer now */
    atomic_fetch_add_explicit(&crew->refs, 1, memory_order_relaxed);
}

struct wait {
    const struct dist__crew *crew;
    pthread_t supervisor;
    bool idle; /* this thread is in no task */
};

/* In the middle of a task only what the supervisor's hook has called for: anything else might need
 * a lock that the task has. */
static bool may_run_meanwhile(struct dist__work *work, void *state) {
    const struct wait *wait = state;
    if (work->run != run_place) return wait->idle;
    const struct dist__crew *crew = ((struct dist__crew_place *)work)->crew;
    if (crew == wait->crew) return false;
    return wait->idle || pthread_equal(crew->control->supervisor, wait->supervisor);
}

bool dist__crew_meanwhile(const struct dist__control *control, struct dist__record *record) {
    struct wait wait = {.crew = control->crew, .supervisor = control->supervisor};
    struct dist_pool *pool = wait.crew->pool;
    if (!dist__team_self(pool)) return false;
    record->idle = true;
    wait.idle = !record->outer || record->outer->idle;
    struct dist__work *work = dist__team_take(pool, may_run_meanwhile, &wait);
    if (work) work->run(work);
    record->idle = false;
    return work != NULL;
}
