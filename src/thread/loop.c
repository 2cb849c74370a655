/* loop.c - taking, running and counting the units of one call. */
#include "loop.h"
#include "common/cpus.h"

#include <stdlib.h>

enum { RUNNING, DONE, AWAITED }; /* of done */

static const uint32_t CLOSED = UINT32_MAX; /* of open */
static const uint32_t ALL = UINT32_MAX;    /* of a worker's want */

enum {                    /* microseconds */
       CHUNK_US = 50,     /* aim of one hand-out: a few wake latencies */
       WORTH_WAKING = 40, /* work left that pays for waking a thread */
       WORTH_TELLING = 3, /* the same if one is awake */
       LONG_US = 100,     /* of a hand-out after which it pays to ask whether tasks block */
       LINGER_US = 3,     /* a worker looks so long for units that others let go */
       WAIT_SPIN_US = 10  /* the caller, before it sleeps */
};
enum { GROWTH = 4 }; /* most that a hand-out grows at a time */

/* ------------------------------------------------------------------ the object */

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct dist__loop *free_list; /* loops of DIST__LOOP_SMALL places without references */
static struct dist__loop *made;      /* all loops of this size */

static void run_place(struct dist__work *work);
static void drop_place(struct dist__work *work);

static struct dist__loop *take_free(void) {
    pthread_mutex_lock(&free_lock);
    struct dist__loop *loop = free_list;
    if (loop) {
        free_list = loop->next_free;
        loop->is_free = false;
    }
    pthread_mutex_unlock(&free_lock);
    return loop;
}

static void put_free(struct dist__loop *loop) {
    if (loop->room != DIST__LOOP_SMALL) {
        free(loop);
        return;
    }
    pthread_mutex_lock(&free_lock);
    loop->next_free = free_list;
    loop->is_free = true;
    free_list = loop;
    pthread_mutex_unlock(&free_lock);
}

void dist__loop_free_all(void) {
    pthread_mutex_lock(&free_lock);
    free_list = NULL;
    for (struct dist__loop **link = &made, *loop; (loop = *link);) {
        if (loop->is_free) {
            *link = loop->next_made;
            free(loop);
        } else {
            link = &loop->next_made;
        }
    }
    pthread_mutex_unlock(&free_lock);
}

void dist__loop_forget(void) {
    free_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    free_list = NULL;
    for (struct dist__loop *loop = made; loop; loop = loop->next_made) loop->is_free = false;
}

static void remember(struct dist__loop *loop) {
    pthread_mutex_lock(&free_lock);
    loop->next_made = made;
    made = loop;
    pthread_mutex_unlock(&free_lock);
}

static struct dist__loop *allocate(uint32_t places) {
    uint32_t room = places > DIST__LOOP_SMALL ? places : DIST__LOOP_SMALL;
    struct dist__loop *loop = NULL;
    size_t size = sizeof *loop + room * sizeof *loop->place;
    loop = aligned_alloc(alignof(struct dist__loop), size);
    if (!loop) return NULL;
    loop->room = room;
    loop->is_free = false;
    atomic_init(&loop->refs, 0);
    for (uint32_t k = 0; k < room; k++) {
        struct dist__place *place = &loop->place[k];
        atomic_init(&place->range.word, 0);
        place->work = (struct dist__work){.run = run_place, .drop = drop_place};
        place->loop = loop;
    }
    if (room == DIST__LOOP_SMALL) remember(loop);
    return loop;
}

/* Hands out the units of a new loop. If there is a place for each, each gets one: then no worker
 * ever holds a unit that it does not run, and units may wait for each other. */
static void place_units(struct dist__loop *loop, bool at_once) {
    if (!at_once || loop->count > loop->width) {
        dist__range_put(&loop->place[0].range, (struct dist__units){0, loop->count});
        return;
    }
    loop->steady = true;
    for (uint32_t k = 0; k < loop->count; k++)
        dist__range_put(&loop->place[k].range, (struct dist__units){k, k + 1});
}

struct dist__loop *dist__loop_new(struct dist__loop *again, struct dist__batch *batch,
                                  uint32_t width, bool wants, bool at_once) {
    struct dist__loop *loop = again;
    if (!loop && width <= DIST__LOOP_SMALL) loop = take_free();
    if (!loop) loop = allocate(width);
    if (!loop) return NULL;
    loop->units = dist__batch_units(batch);
    loop->group = (loop->units - 1) / UINT32_MAX + 1;
    loop->count = (uint32_t)((loop->units - 1) / loop->group + 1);
    loop->batch = batch;
    loop->width = width;
    loop->wants = wants;
    loop->steady = batch->chunk != 0 || batch->kind == DIST__MAP_CHUNKS;
    /* relaxed: published by the reference below, or by the submission of a place */
    atomic_store_explicit(&loop->open, 1, memory_order_relaxed);
    atomic_store_explicit(&loop->left, loop->count, memory_order_relaxed);
    atomic_store_explicit(&loop->done, RUNNING, memory_order_relaxed);
    place_units(loop, at_once);
    /* release: all of the above; pairs with [ref] */
    atomic_store_explicit(&loop->refs, 1, memory_order_release);
    return loop;
}

void dist__loop_unref(struct dist__loop *loop) {
    /* acq_rel: whoever frees or reuses it comes after all others that let go [unref] */
    if (atomic_fetch_sub_explicit(&loop->refs, 1, memory_order_acq_rel) == 1) put_free(loop);
}

bool dist__loop_reclaim(struct dist__loop *loop) {
    uint32_t own = 1;
    /* acquire: what those did who let go; pairs with [unref]. 0 keeps the watch out, see try_ref */
    return atomic_compare_exchange_strong_explicit(&loop->refs, &own, 0, memory_order_acquire,
                                                   memory_order_relaxed);
}

bool dist__loop_try_ref(struct dist__loop *loop) {
    uint32_t refs = atomic_load_explicit(&loop->refs, memory_order_relaxed);
    while (refs != 0) /* acquire: the fields that refs publishes; pairs with [ref] */
        if (atomic_compare_exchange_weak_explicit(&loop->refs, &refs, refs + 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

/* ------------------------------------------------------------------ opening places */

struct opening {
    struct dist__loop *loop;
    uint32_t first;
};

static struct dist__work *place_to_open(void *state, unsigned k) {
    struct opening *opening = state;
    return &opening->loop->place[opening->first + k].work;
}

void dist__loop_open(struct dist__loop *loop, uint32_t places) {
    if (places > loop->width) places = loop->width;
    uint32_t open = atomic_load_explicit(&loop->open, memory_order_relaxed);
    do
        if (open >= places) return; /* also if it is CLOSED */
    /* relaxed: decides who invites which places; the submission publishes them */
    while (!atomic_compare_exchange_weak_explicit(&loop->open, &open, places, memory_order_relaxed,
                                                  memory_order_relaxed));
    uint32_t count = places - open;
    /* relaxed: the opener holds a reference itself */
    atomic_fetch_add_explicit(&loop->refs, count, memory_order_relaxed);
    if (loop->wants) dist__pool_want((int)count);
    struct opening opening = {loop, open};
    dist__pool_submit(place_to_open, &opening, count);
}

static uint32_t open_places(const struct dist__loop *loop) {
    /* relaxed: too few or too many places to look into */
    uint32_t open = atomic_load_explicit(&loop->open, memory_order_relaxed);
    return open == CLOSED ? 0 : open;
}

/* ------------------------------------------------------------------ one worker */

struct worker {
    struct dist__loop *loop;
    uint32_t place;
    uint32_t want;     /* units of the next hand-out */
    uint32_t finished; /* units run and not yet taken off left */
    uint64_t per_us;   /* ticks */
    uint64_t time;     /* when the last hand-out ended, in ticks */
    uint64_t cpu_ns;   /* CPU time of the thread at `clock_ns`; clock_ns 0: not measured */
    uint64_t clock_ns;
    bool entered; /* the record is current */
    struct dist__record record;
};

static void announce_end(struct dist__loop *loop) {
    /* acq_rel: against the caller's AWAITED, so that one of the two sees the other [done] */
    if (atomic_exchange_explicit(&loop->done, DONE, memory_order_acq_rel) == AWAITED)
        dist__futex_wake(&loop->done, 1, false);
}

/* Takes what this worker has finished off the loop's count. True: nothing is left. */
static bool settle(struct worker *worker) {
    uint64_t finished = worker->finished;
    worker->finished = 0;
    if (finished == 0) return false;
    /* acq_rel: results before the count; the last one passes on all others'; pairs with [left] */
    if (atomic_fetch_sub_explicit(&worker->loop->left, finished, memory_order_acq_rel) != finished)
        return false;
    announce_end(worker->loop);
    return true;
}

static bool steal(struct worker *worker, struct dist__units *units) {
    struct dist__loop *loop = worker->loop;
    uint32_t open = open_places(loop);
    for (uint32_t i = 1; i < open; i++) {
        uint32_t victim = worker->place + i < open ? worker->place + i : worker->place + i - open;
        if (dist__range_steal(&loop->place[victim].range, units)) return true;
    }
    return false;
}

/* The next units to run. Stolen ones go through the own range, so that others may steal on. */
static bool next_units(struct worker *worker, struct dist__units *units) {
    struct dist__range *own = &worker->loop->place[worker->place].range;
    bool share = open_places(worker->loop) > 1 && worker->want < ALL;
    if (dist__range_take(own, worker->want, share, units)) return true;
    if (settle(worker)) return false;
    if (!steal(worker, units)) return false;
    if (units->end - units->begin > worker->want) {
        struct dist__units rest = {units->begin + worker->want, units->end};
        units->end = rest.begin;
        dist__range_put(own, rest);
    }
    return true;
}

static void run_units(struct worker *worker, struct dist__units units) {
    struct dist__loop *loop = worker->loop;
    struct dist__batch *batch = loop->batch;
    if (!worker->entered) dist__record_enter(&worker->record, batch, worker->place, DIST__THREADED);
    worker->entered = true;
    bool last = units.end == loop->count;
    dist__batch_run(batch, units.begin * loop->group, last ? loop->units : units.end * loop->group,
                    &worker->record);
    worker->finished += units.end - units.begin;
}

/* Do the tasks of this thread block, rather than compute? Asked after a long hand-out. */
static bool tasks_block(struct worker *worker) {
    uint64_t cpu = dist__cpu_ns(CLOCK_THREAD_CPUTIME_ID), clock = dist__now_ns();
    bool measured = worker->clock_ns != 0;
    bool block = measured && (cpu - worker->cpu_ns) * 2 < clock - worker->clock_ns;
    worker->cpu_ns = cpu;
    worker->clock_ns = clock;
    return block;
}

/* Opens places if the ticks that `count` units took say that the rest is worth it. */
static void consider_opening(struct worker *worker, uint32_t count, uint64_t took) {
    struct dist__loop *loop = worker->loop;
    uint32_t open = open_places(loop);
    if (open == 0 || open == loop->width) return;
    if (took >= LONG_US * worker->per_us && tasks_block(worker)) {
        dist__loop_open(loop, loop->width);
        return;
    }
    if (open > 1) return;
    struct dist__units rest = dist__range_peek(&loop->place[worker->place].range);
    uint64_t left = rest.end - rest.begin;
    uint64_t ahead = took < count ? took * left / count : took / count * left;
    if (ahead > (dist__pool_is_hot() ? WORTH_TELLING : WORTH_WAKING) * worker->per_us)
        dist__loop_open(loop, dist__cpus_cached());
}

/* Learns from a hand-out of `count` units how long the next one should be. */
static void pace(struct worker *worker, uint32_t count) {
    uint64_t before = worker->time;
    worker->time = dist__ticks();
    uint64_t took = worker->time > before ? worker->time - before : 1; /* CPUs may disagree */
    uint64_t aim = CHUNK_US * worker->per_us;
    uint64_t want = worker->loop->steady ? 1 : count * aim / took;
    if (want > (uint64_t)count * GROWTH) want = (uint64_t)count * GROWTH;
    worker->want = want == 0 ? 1 : want >= ALL ? ALL - 1 : (uint32_t)want;
    consider_opening(worker, count, took);
}

/* After a failure: is all that is left in the own range to be skipped? The caller still waits for
 * units that this worker has not settled, so the batch is there. */
static bool rest_is_skipped(const struct worker *worker) {
    const struct dist__batch *batch = worker->loop->batch;
    if (!dist__outcome_stopped(&batch->outcome)) return false;
    struct dist__units rest = dist__range_peek(&worker->loop->place[worker->place].range);
    if (rest.begin >= rest.end) return false;
    size_t unit = rest.begin * worker->loop->group;
    return dist__outcome_past_stop(&batch->outcome, dist__batch_items(batch, unit, unit + 1).begin);
}

static bool range_is_empty(const struct worker *worker) {
    struct dist__units rest = dist__range_peek(&worker->loop->place[worker->place].range);
    return rest.begin >= rest.end;
}

static void work(struct worker *worker) {
    struct dist__units units;
    while (next_units(worker, &units)) {
        run_units(worker, units);
        bool alone = open_places(worker->loop) == 1;
        if (alone && range_is_empty(worker)) continue; /* that was all: no need for the time */
        pace(worker, units.end - units.begin);
        if (rest_is_skipped(worker)) worker->want = ALL; /* in one span */
    }
}

/* Works, and looks for a while for units that other workers let go. */
static void work_and_linger(struct worker *worker) {
    work(worker);
    if (open_places(worker->loop) <= 1) return;
    uint64_t limit = dist__ticks() + LINGER_US * worker->per_us;
    /* relaxed: a hint whether there is anything to wait for */
    while (atomic_load_explicit(&worker->loop->left, memory_order_relaxed) > 0) {
        work(worker);
        dist__cpu_pause();
        if (dist__ticks() > limit) return;
    }
}

static void start_work(struct worker *worker, struct dist__loop *loop, uint32_t place) {
    worker->loop = loop;
    worker->place = place;
    worker->want = 1;
    worker->finished = 0;
    worker->clock_ns = 0;
    worker->entered = false;
    worker->per_us = dist__ticks_per_us();
    worker->time = dist__ticks();
}

static void end_work(struct worker *worker) {
    if (worker->entered) dist__record_leave(&worker->record);
}

/* A pool thread has taken the invitation to a place. */
static void run_place(struct dist__work *invitation) {
    struct dist__place *place =
        (struct dist__place *)((char *)invitation - offsetof(struct dist__place, work));
    struct dist__loop *loop = place->loop;
    struct worker worker;
    start_work(&worker, loop, (uint32_t)(place - loop->place));
    work_and_linger(&worker);
    end_work(&worker);
    dist__loop_unref(loop);
}

static void drop_place(struct dist__work *invitation) {
    struct dist__place *place =
        (struct dist__place *)((char *)invitation - offsetof(struct dist__place, work));
    dist__loop_unref(place->loop);
}

/* ------------------------------------------------------------------ the caller */

void dist__loop_work(struct dist__loop *loop) {
    struct worker worker;
    start_work(&worker, loop, 0);
    work_and_linger(&worker);
    end_work(&worker);
}

static bool is_done(struct dist__loop *loop) {
    /* acquire: all results; pairs with [left] */
    return atomic_load_explicit(&loop->left, memory_order_acquire) == 0;
}

/* Sleeps until the last unit is finished. */
static void await_end(struct dist__loop *loop) {
    uint64_t limit = dist__ticks() + WAIT_SPIN_US * dist__ticks_per_us();
    while (!is_done(loop) && dist__ticks() < limit) dist__cpu_pause();
    uint32_t running = RUNNING;
    while (!is_done(loop)) {
        /* acq_rel: either the last worker sees AWAITED, or this sees DONE [done] */
        if (atomic_compare_exchange_strong_explicit(&loop->done, &running, AWAITED,
                                                    memory_order_acq_rel, memory_order_acquire) ||
            running == AWAITED)
            dist__futex_wait(&loop->done, AWAITED, -1, false);
        running = RUNNING;
    }
}

static bool invites_to(struct dist__work *work, void *loop) {
    if (work->run != run_place) return false;
    return ((struct dist__place *)((char *)work - offsetof(struct dist__place, work)))->loop ==
           loop;
}

void dist__loop_finish(struct dist__loop *loop) {
    if (!is_done(loop)) await_end(loop);
    /* relaxed: against a watch that opens places at this moment, which then counts them itself */
    uint32_t open = atomic_exchange_explicit(&loop->open, CLOSED, memory_order_relaxed);
    if (open == 1) return;
    dist__pool_retract(invites_to, loop);
    if (loop->wants) dist__pool_want(-(int)(open - 1));
}

struct dist__loop_sight dist__loop_look(struct dist__loop *loop) {
    uint32_t open = open_places(loop);
    struct dist__loop_sight sight = {.all_open = open == 0 || open == loop->width};
    for (uint32_t k = 0; k < open; k++) {
        struct dist__units units = dist__range_peek(&loop->place[k].range);
        if (units.begin < units.end) sight.untaken += units.end - units.begin;
        sight.signature = sight.signature * 31 + dist__range_pack(units);
    }
    return sight;
}
