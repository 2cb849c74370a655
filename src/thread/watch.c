/* watch.c - the calls under way, and the thread that looks after them. */
#include "watch.h"
#include "common/cpus.h"
#include "lanes.h"

#include <stdlib.h>

enum {
    KEPT = 2,           /* loops for each level: the last call's helpers may not have left yet */
    LEVELS = 8,         /* calls inside calls of one thread that can be watched */
    LINGER_TICKS = 10,  /* without any call, before the watch sleeps */
    PATIENCE_TICKS = 10 /* without a hand-out, before all places are opened */
};

struct level {
    _Atomic(struct dist__loop *) loop; /* caller writes; publishes it [watch] */
    _Atomic(uint64_t) serial;          /* of the call; the caller writes */
    struct dist__loop *kept[KEPT]; /* caller only: of earlier calls, with the caller's reference */

    /* The watch's own notes on the call with number `seen`. */
    uint64_t seen, signature, cpu_ns;
    unsigned ticks;
};

struct dist__caller {
    struct dist__caller *next; /* all callers there ever were; never unlinked */
    _Atomic(bool) taken;       /* by a living thread */
    _Atomic(uint64_t) calls;   /* caller writes: so far */
    _Atomic(clockid_t) clock;  /* of its CPU time */
    unsigned depth;            /* caller only: levels in use */
    struct level level[LEVELS];
};

static _Atomic(struct dist__caller *) callers; /* publishes them [callers] */

enum { ASLEEP, AWAKE, STOPPED }; /* of watch.state */

static struct {
    _Atomic(uint32_t) state; /* a futex; ASLEEP against published loops: see [armed] */
    pthread_mutex_t lock;    /* over starting and stopping */
    bool started;
    pthread_t thread;
    uint64_t calls; /* the watch's own: sum over all callers at the last tick */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ------------------------------------------------------------------ callers */

static _Thread_local struct dist__caller *self __attribute__((tls_model("initial-exec")));
static pthread_key_t key;
static bool has_key;

static void give_back(struct dist__caller *caller) {
    /* release: the slot as its thread left it; pairs with [taken] */
    atomic_store_explicit(&caller->taken, false, memory_order_release);
}

static bool take(struct dist__caller *caller) {
    bool taken = false;
    /* acquire: pairs with [taken] */
    return atomic_compare_exchange_strong_explicit(&caller->taken, &taken, true,
                                                   memory_order_acquire, memory_order_relaxed);
}

static void thread_ends(void *caller) {
    self = NULL;
    give_back(caller);
}

/* Before the first call, so that no fork comes in the middle of it: see begin() in thread.c. */
__attribute__((constructor)) static void make_key(void) {
    has_key = pthread_key_create(&key, thread_ends) == 0;
}

static struct dist__caller *take_old(void) {
    /* acquire: pairs with [callers] */
    struct dist__caller *caller = atomic_load_explicit(&callers, memory_order_acquire);
    while (caller && !take(caller)) caller = caller->next;
    return caller;
}

static struct dist__caller *make_new(void) {
    struct dist__caller *caller = calloc(1, sizeof *caller);
    if (!caller) return NULL;
    atomic_store_explicit(&caller->taken, true, memory_order_relaxed); /* published below */
    struct dist__caller *head = atomic_load_explicit(&callers, memory_order_relaxed);
    do caller->next = head;
    /* seq_cst: as release, the zeroed slot, pairs with [callers]; and before the look whether the
     * watch is awake, see [armed] */
    while (!atomic_compare_exchange_weak_explicit(&callers, &head, caller, memory_order_seq_cst,
                                                  memory_order_relaxed));
    return caller;
}

/* Of the calling thread. */
static void note_clock(struct dist__caller *caller) {
    clockid_t clock;
    if (pthread_getcpuclockid(pthread_self(), &clock)) clock = CLOCK_MONOTONIC;
    atomic_store_explicit(&caller->clock, clock, memory_order_relaxed); /* a number by itself */
}

struct dist__caller *dist__caller_self(void) {
    if (self) return self;
    struct dist__caller *caller = take_old();
    if (!caller) caller = make_new();
    if (!caller) return NULL;
    note_clock(caller);
    caller->depth = 0;
    if (has_key) pthread_setspecific(key, caller);
    return self = caller;
}

/* A loop of an earlier call on this level that all others have left. */
static struct dist__loop *take_kept(struct level *level) {
    for (unsigned i = 0; i < KEPT; i++) {
        struct dist__loop *loop = level->kept[i];
        if (!loop || !dist__loop_reclaim(loop)) continue;
        level->kept[i] = NULL;
        return loop;
    }
    return NULL;
}

static void keep(struct level *level, struct dist__loop *loop) {
    unsigned i = 0;
    while (i < KEPT - 1 && level->kept[i]) i++;
    if (level->kept[i]) dist__loop_unref(level->kept[i]);
    level->kept[i] = loop;
}

struct dist__loop *dist__caller_loop(struct dist__caller *caller, struct dist__batch *batch,
                                     uint32_t width, bool wants, bool at_once) {
    struct dist__loop *kept = NULL;
    if (caller && caller->depth < LEVELS && width <= DIST__LOOP_SMALL)
        kept = take_kept(&caller->level[caller->depth]);
    struct dist__loop *loop = dist__loop_new(kept, batch, width, wants, at_once);
    if (loop && caller) caller->depth++;
    return loop;
}

static bool start_watch(bool for_call);

bool dist__caller_watch(struct dist__caller *caller, struct dist__loop *loop) {
    if (!caller || caller->depth > LEVELS || loop->room != DIST__LOOP_SMALL) return false;
    struct level *level = &caller->level[caller->depth - 1];
    /* relaxed: the caller's own counter */
    uint64_t serial = atomic_load_explicit(&caller->calls, memory_order_relaxed) + 1;
    atomic_store_explicit(&caller->calls, serial, memory_order_relaxed);
    atomic_store_explicit(&level->serial, serial, memory_order_relaxed); /* published by the next */
    /* seq_cst, both lines: the loop is published before the look whether the watch is awake; the
     * watch says that it sleeps before its last look at the loops. Release for [watch]. [armed] */
    atomic_store_explicit(&level->loop, loop, memory_order_seq_cst);
    uint32_t state = atomic_load_explicit(&watch.state, memory_order_seq_cst);
    return state == AWAKE || start_watch(true);
}

void dist__caller_release(struct dist__caller *caller, struct dist__loop *loop) {
    if (!caller || --caller->depth >= LEVELS) {
        dist__loop_unref(loop);
        return;
    }
    struct level *level = &caller->level[caller->depth];
    /* relaxed: the watch tries for a reference of its own, and looks here again after that */
    atomic_store_explicit(&level->loop, NULL, memory_order_relaxed);
    if (loop->room == DIST__LOOP_SMALL) keep(level, loop);
    else dist__loop_unref(loop);
}

/* ------------------------------------------------------------------ the watch */

static bool is_state(uint32_t state) {
    /* seq_cst: see [armed] */
    return atomic_load_explicit(&watch.state, memory_order_seq_cst) == state;
}

/* A call has been seen for the second time or more: how many places does it need? */
static uint32_t places_for(struct dist__caller *caller, struct level *level) {
    clockid_t clock = atomic_load_explicit(&caller->clock, memory_order_relaxed); /* a number */
    uint64_t cpu_ns = dist__cpu_ns(clock), before = level->cpu_ns;
    level->cpu_ns = cpu_ns;
    bool blocks = cpu_ns - before < DIST__TICK_NS / 2;
    return blocks || level->ticks >= PATIENCE_TICKS ? UINT32_MAX : dist__cpus_cached();
}

/* True: the loop needs to be looked at again. */
static bool look_at(struct dist__caller *caller, struct level *level, struct dist__loop *loop,
                    uint64_t serial) {
    struct dist__loop_sight sight = dist__loop_look(loop);
    if (sight.all_open || sight.untaken == 0) return false;
    bool same = level->seen == serial && level->signature == sight.signature;
    level->seen = serial;
    level->signature = sight.signature;
    level->ticks = same ? level->ticks + 1 : 0;
    if (same) dist__loop_open(loop, places_for(caller, level));
    else level->cpu_ns = dist__cpu_ns(atomic_load_explicit(&caller->clock, memory_order_relaxed));
    return true;
}

static bool look_at_level(struct dist__caller *caller, struct level *level) {
    /* seq_cst: see [armed]; the acquire of [watch] */
    struct dist__loop *loop = atomic_load_explicit(&level->loop, memory_order_seq_cst);
    if (!loop || !dist__loop_try_ref(loop)) return false;
    /* relaxed: equal only if this is the call whose loop was read, or a later one in the same loop
     * object, and the reference is good for that as well */
    bool published = atomic_load_explicit(&level->loop, memory_order_relaxed) == loop;
    uint64_t serial = atomic_load_explicit(&level->serial, memory_order_relaxed);
    bool again = published && look_at(caller, level, loop, serial);
    dist__loop_unref(loop);
    return again;
}

/* True: there are loops to watch, or there were calls since the last look. */
static bool look_around(void) {
    uint64_t calls = 0;
    bool again = false;
    /* seq_cst: see [armed]; the acquire of [callers] */
    struct dist__caller *caller = atomic_load_explicit(&callers, memory_order_seq_cst);
    for (; caller; caller = caller->next) {
        calls += atomic_load_explicit(&caller->calls, memory_order_relaxed); /* a hint */
        for (unsigned k = 0; k < LEVELS; k++) again |= look_at_level(caller, &caller->level[k]);
    }
    again |= dist__lanes_look();
    again |= calls != watch.calls;
    watch.calls = calls;
    return again;
}

static void go_to_sleep(void) {
    uint32_t awake = AWAKE;
    /* seq_cst: says so before the last look; see [armed] */
    if (!atomic_compare_exchange_strong_explicit(&watch.state, &awake, ASLEEP, memory_order_seq_cst,
                                                 memory_order_seq_cst))
        return;
    uint32_t asleep = ASLEEP;
    if (look_around()) /* seq_cst: as above, and only if nobody has done it or stopped the watch */
        atomic_compare_exchange_strong_explicit(&watch.state, &asleep, AWAKE, memory_order_seq_cst,
                                                memory_order_seq_cst);
    while (is_state(ASLEEP)) dist__futex_wait(&watch.state, ASLEEP, -1, false);
}

static void *watch_main(void *unused) {
    (void)unused;
    dist__thread_name("wat", 0);
    unsigned idle = 0;
    while (!is_state(STOPPED)) {
        dist__futex_wait(&watch.state, AWAKE, DIST__TICK_NS, false);
        idle = look_around() ? 0 : idle + 1;
        if (idle < LINGER_TICKS) continue;
        go_to_sleep();
        idle = 0;
    }
    return NULL;
}

/* The watch is not awake: wakes it, or starts it, though not behind a shutdown that has gone by,
 * unless it is for a call that is under way. */
static bool start_watch(bool for_call) {
    pthread_mutex_lock(&watch.lock);
    uint32_t asleep = ASLEEP;
    /* seq_cst: see [armed] */
    if (atomic_compare_exchange_strong_explicit(&watch.state, &asleep, AWAKE, memory_order_seq_cst,
                                                memory_order_seq_cst) &&
        watch.started)
        dist__futex_wake(&watch.state, 1, false);
    if (!watch.started && !is_state(STOPPED) && (for_call || !dist__pool_is_retiring()))
        watch.started =
            dist__thread_start(&watch.thread, watch_main, NULL, dist__record_affinity()) == 0;
    bool watched = watch.started && is_state(AWAKE);
    pthread_mutex_unlock(&watch.lock);
    return watched;
}

bool dist__watch_lanes(void) { return is_state(AWAKE) || start_watch(false); }

static void set_state(uint32_t state) {
    /* seq_cst: see [armed] */
    atomic_store_explicit(&watch.state, state, memory_order_seq_cst);
}

/* Loops that were kept for reuse by threads that have ended, and by this one. */
static void free_kept(void) {
    /* acquire: pairs with [callers] */
    struct dist__caller *caller = atomic_load_explicit(&callers, memory_order_acquire);
    for (; caller; caller = caller->next) {
        if (caller != self && !take(caller)) continue; /* its thread lives, and may be calling */
        for (unsigned k = 0; k < LEVELS; k++)
            for (unsigned i = 0; i < KEPT; i++) {
                if (caller->level[k].kept[i]) dist__loop_unref(caller->level[k].kept[i]);
                caller->level[k].kept[i] = NULL;
            }
        if (caller != self) give_back(caller);
    }
}

static bool any_published(void) {
    /* seq_cst, both: see [armed] */
    struct dist__caller *caller = atomic_load_explicit(&callers, memory_order_seq_cst);
    for (; caller; caller = caller->next)
        for (unsigned k = 0; k < LEVELS; k++)
            if (atomic_load_explicit(&caller->level[k].loop, memory_order_seq_cst)) return true;
    return false;
}

void dist__watch_shutdown(void) {
    pthread_mutex_lock(&watch.lock);
    set_state(STOPPED);
    dist__futex_wake(&watch.state, 1, false);
    if (watch.started) pthread_join(watch.thread, NULL);
    watch.started = false;
    free_kept();
    dist__loop_free_all();
    set_state(ASLEEP);
    pthread_mutex_unlock(&watch.lock);
    if (any_published()) start_watch(true); /* by a call that still saw the old one awake */
}

void dist__watch_unload(void) {
    if (has_key) pthread_key_delete(key);
    has_key = false;
}

void dist__watch_forget(void) {
    struct dist__caller *caller = atomic_load_explicit(&callers, memory_order_relaxed);
    for (; caller; caller = caller->next) {
        for (unsigned k = 0; k < LEVELS; k++) atomic_init(&caller->level[k].loop, NULL);
        if (caller != self) atomic_init(&caller->taken, false);
    }
    if (self) note_clock(self);
    atomic_init(&watch.state, ASLEEP);
    watch.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    watch.started = false;
}
