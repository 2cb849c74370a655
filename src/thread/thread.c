/* thread.c - the backend: a call becomes a loop whose places the caller and pool threads take. */
#include "common/backend.h"
#include "common/cpus.h"
#include "crew.h"
#include "lanes.h"
#include "team.h"
#include "turns.h"
#include "watch.h"

enum { DEFAULT_MOST = 32, DEFAULT_MORE = 4 };

/* min(32, cpus + 4), as Python's ThreadPoolExecutor: more than the CPUs, since tasks may block. */
static unsigned default_workers(const struct dist__record *caller) {
    unsigned most = dist__cpus_cached() + DEFAULT_MORE;
    if (most > DEFAULT_MOST) most = DEFAULT_MOST;
    if (caller) most /= caller->process_crowd;
    return most ? most : 1;
}

static void run_alone(struct dist__batch *batch) {
    struct dist__record record;
    dist__record_enter(&record, batch, 0, DIST__ALONE);
    dist__batch_run(batch, 0, dist__batch_units(batch), &record);
    dist__record_leave(&record);
}

/* Shares of a nested call that did not say how many it wants come from the threads there are. */
static bool wants_threads(const struct dist__batch *batch) {
    return batch->workers_explicit || !batch->caller || !batch->caller->threaded;
}

/* Calls that ask for workers, and par, have them before the first task runs: their tasks may wait
 * for each other, and should not have to wait for the watch. */
static bool opens_at_once(const struct dist__batch *batch) {
    return batch->workers_explicit || batch->kind == DIST__PAR_TASKS;
}

/* What is found out once: here, and not in the middle of a pool thread's search. No pthread_once:
 * in the child of a fork that came in the middle of it, musl would wait for ever. */
static void begin(void) {
    dist__cpus_cached();
    dist__ticks_per_us();
}

static dist_status run(struct dist__batch *batch) {
    if (batch->control) {
        begin();
        return dist__crew_run(batch);
    }
    if (batch->workers == 1) {
        run_alone(batch);
        return DIST_OK;
    }
    begin();
    struct dist__caller *caller = dist__caller_self();
    bool at_once = opens_at_once(batch);
    uint32_t width = batch->workers <= DIST__POOL_MOST ? batch->workers : DIST__POOL_MOST + 1;
    struct dist__loop *loop =
        dist__caller_loop(caller, batch, width, wants_threads(batch), at_once);
    if (!loop) { /* no memory to share: one worker is enough for every promise */
        run_alone(batch);
        return DIST_OK;
    }
    if (at_once || !dist__caller_watch(caller, loop)) dist__loop_open(loop, loop->width);
    dist__loop_work(loop);
    dist__loop_finish(loop);
    dist__caller_release(caller, loop);
    return DIST_OK;
}

/* ------------------------------------------------------------------ errands */

enum { NEXT = 3 }; /* of an errand's links, behind its work */

static _Atomic(unsigned) errands; /* submitted and not done */

static struct {
    pthread_mutex_t lock;
    _Atomic(unsigned) running;          /* written under the lock [turns] */
    struct dist__errand *first, **last; /* those that wait for one of the running ones to end */
    _Atomic(bool) awaited;              /* there are such */
} desk = {.lock = PTHREAD_MUTEX_INITIALIZER, .last = &desk.first};

/* More errands do not want more threads: whoever waits for one does it itself. */
unsigned dist__turns_most(void) { return default_workers(NULL); }

static struct dist__errand *errand_of(struct dist__work *work) {
    return (struct dist__errand *)((char *)work - offsetof(struct dist__errand, link));
}

static struct dist__work *work_of(void *errand, unsigned k);

static void note_awaited(void) {
    /* relaxed: a hint */
    atomic_store_explicit(&desk.awaited, desk.first != NULL, memory_order_relaxed);
}

bool dist__turn_is_awaited(void) {
    /* relaxed: a hint */
    return atomic_load_explicit(&desk.awaited, memory_order_relaxed);
}

bool dist__turn_is_free(void) {
    /* seq_cst: after a job was pushed; who gives a turn back looks for jobs after that [turns] */
    return atomic_load_explicit(&desk.running, memory_order_seq_cst) < dist__turns_most();
}

/* With the lock held. */
static bool take_turn_locked(void) {
    if (!dist__turn_is_free()) return false;
    /* relaxed: one more that is taken is no news that anybody relies on */
    atomic_fetch_add_explicit(&desk.running, 1, memory_order_relaxed);
    return true;
}

bool dist__turn_take(void) {
    pthread_mutex_lock(&desk.lock);
    bool taken = (!desk.first || dist__lanes_starve()) && take_turn_locked();
    pthread_mutex_unlock(&desk.lock);
    return taken;
}

/* False: as many run as may. It waits then, for one of them to end. */
static bool begin_errand(struct dist__errand *errand) {
    pthread_mutex_lock(&desk.lock);
    bool begins = take_turn_locked();
    if (!begins) {
        errand->link[NEXT] = NULL;
        *desk.last = errand;
        desk.last = (struct dist__errand **)&errand->link[NEXT];
        note_awaited();
    }
    pthread_mutex_unlock(&desk.lock);
    return begins;
}

void dist__turn_give(bool to_lanes) {
    pthread_mutex_lock(&desk.lock);
    /* seq_cst: see above [turns] */
    atomic_fetch_sub_explicit(&desk.running, 1, memory_order_seq_cst);
    struct dist__errand *next = to_lanes && dist__lanes_starve() ? NULL : desk.first;
    if (next) desk.first = next->link[NEXT];
    if (!desk.first) desk.last = &desk.first;
    note_awaited();
    pthread_mutex_unlock(&desk.lock);
    if (next) dist__pool_submit(work_of, next, 1);
}

/* Of a pool: it lets as many run as it has workers. */
static void run_pool_errand(struct dist__work *work) {
    struct dist__errand *errand = errand_of(work);
    bool ran = errand->run(errand);
    dist__pool_want(-1);
    errand->done(errand, ran);
}

static void run_errand(struct dist__work *work) {
    struct dist__errand *errand = errand_of(work);
    if (!begin_errand(errand)) return;
    bool ran = errand->run(errand);
    dist__turn_give(true);
    /* relaxed, both: a number that steers how many threads there are */
    if (atomic_fetch_sub_explicit(&errands, 1, memory_order_relaxed) <= dist__turns_most())
        dist__pool_want(-1);
    errand->done(errand, ran);
}

static struct dist__work *work_of(void *errand, unsigned k) {
    (void)k;
    struct dist__work *work = (struct dist__work *)((struct dist__errand *)errand)->link;
    bool of_pool = ((struct dist__errand *)errand)->of_pool;
    work->run = of_pool ? run_pool_errand : run_errand;
    work->drop = work->run;
    return work;
}

static bool is_errand(struct dist__work *work, void *errand) {
    return work == (struct dist__work *)((struct dist__errand *)errand)->link;
}

static void submit(struct dist__errand *errand) {
    _Static_assert(sizeof(struct dist__work) <= NEXT * sizeof *errand->link, "a work fits there");
    begin();
    if (errand->of_pool ||
        atomic_fetch_add_explicit(&errands, 1, memory_order_relaxed) < dist__turns_most())
        dist__pool_want(1);
    bool of_pool = errand->of_pool; /* it may be done, and gone, any time from here on */
    dist__pool_submit(work_of, errand, 1);
    /* a pool's end waits for its jobs: if there is no thread at all, this one does it */
    if (of_pool && !dist__pool_has_threads()) dist__pool_retract(is_errand, errand);
}

static void run_in_team(struct dist__work *work) {
    struct dist__errand *errand = errand_of(work);
    errand->done(errand, errand->run(errand));
}

static void submit_to_team(struct dist_pool *pool, struct dist__errand *errand) {
    struct dist__work *work = (struct dist__work *)errand->link;
    begin();
    work->run = work->drop = run_in_team;
    dist__team_append(pool, work);
}

static bool is_in_team(struct dist__work *work, void *unused) {
    (void)unused;
    return work->run == run_in_team;
}

static void clear_team(struct dist_pool *pool) { dist__team_retract(pool, is_in_team, NULL); }

static void rest(void) { dist__pool_want(0); }

static void shutdown_threads(void) {
    if (dist__record_current()) return;
    dist__lanes_rest_all();
    dist__pool_shutdown();
    dist__watch_shutdown();
    dist__lanes_revive(); /* what relied on the watch, or on threads that have left */
}

static void forget(void) {
    atomic_init(&errands, 0);
    desk.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    atomic_init(&desk.running, 0);
    desk.first = NULL;
    desk.last = &desk.first;
    note_awaited();
    dist__lanes_forget();
    dist__pool_forget();
    dist__loop_forget();
    dist__watch_forget();
}

__attribute__((constructor)) static void enter(void) { pthread_atfork(NULL, NULL, forget); }

/* At exit and at dlclose. */
__attribute__((destructor)) static void leave(void) {
    if (dist__record_current()) return; /* exit() in a task: the process takes all with it */
    dist__lanes_rest_all();
    dist__pool_leave();
    dist__watch_shutdown();
    dist__watch_unload();
    dist__lanes_unload();
}

const struct dist__backend dist__backend_thread = {.name = "thread",
                                                   .executor = DIST_THREAD,
                                                   .default_workers = default_workers,
                                                   .run = run,
                                                   .submit = submit,
                                                   .lanes = &dist__lanes,
                                                   .pool_open = dist__team_open,
                                                   .pool_resize = dist__team_resize,
                                                   .pool_end = dist__team_end,
                                                   .pool_clear = clear_team,
                                                   .pool_errand = submit_to_team,
                                                   .rest = rest,
                                                   .shutdown = shutdown_threads};
