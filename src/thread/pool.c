/* pool.c - threads that search, run and sleep. The protocol of sleeping is park.h's. */
#include "pool.h"
#include "common/cpus.h"
#include "common/os.h"
#include "common/task.h"
#include "blocks.h"
#include "lanes.h"
#include "turns.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEQUE_SIZE = 64,          /* first block */
    INBOXES = 4,              /* shards, so that submitters do not all meet in one line */
    LEAVE_NS = 200000000,     /* for threads that are still busy at exit, */
    SHUTDOWN_NS = 1000000000, /* and in dist_shutdown */
    SPIN_NS = 20000,          /* about one wake latency */
    WAKES = 2,                /* of each thread that finds work, so that waking spreads as a tree */
    SPINS_PER_LOOK = 32
};
static const uint64_t SLOW_NS = 5000000000; /* for threads that only have to leave */

struct dist__thread {
    struct dist__deque deque;
    alignas(DIST__CACHE_LINE) _Atomic(uint32_t) wake; /* 1: woken. Waker writes, sleeper resets */
    unsigned index;
    _Atomic(bool) leave; /* it is to end when it has nothing to run [leave] */
    _Atomic(bool) gone;  /* it has nothing left to do but to be joined [gone] */
    bool present;        /* started and not joined; under the lock, as are those below */
    bool joining;        /* a shutdown is joining it */
    pthread_t handle;
};

static struct {
    struct dist__park park;
    struct dist__inbox inbox[INBOXES];
    alignas(DIST__CACHE_LINE) _Atomic(int) pending; /* work published and not taken */
    _Atomic(int) wanted;                            /* threads that running calls can use */
    _Atomic(int) busy;                              /* threads that run something */
    _Atomic(unsigned) count;       /* objects in thread[]; publishes them [start] */
    _Atomic(bool) retire;          /* stop when no call runs any more [retire] */
    _Atomic(int) live;             /* threads that are there and not leaving */
    pthread_mutex_t lock;          /* over starting threads, and stop */
    pthread_mutex_t shutdown_lock; /* one shutdown at a time */
    struct dist__thread *thread[DIST__POOL_MOST];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .shutdown_lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct dist__thread *self __attribute__((tls_model("initial-exec")));

/* relaxed, here and below, for pending, wanted and busy: they only steer how many are woken; that
 * no work is left lying is the business of park.h. */
static int load_int(_Atomic(int) *number) {
    return atomic_load_explicit(number, memory_order_relaxed);
}

static void add_int(_Atomic(int) *number, int delta) {
    atomic_fetch_add_explicit(number, delta, memory_order_relaxed);
}

static unsigned thread_count(void) {
    /* acquire: thread[k] for all k below the count; pairs with [start] */
    return atomic_load_explicit(&pool.count, memory_order_acquire);
}

static bool leaving(void) {
    /* acquire: pairs with [leave] */
    return atomic_load_explicit(&self->leave, memory_order_acquire);
}

bool dist__pool_has_threads(void) { return load_int(&pool.live) > 0; }

/* relaxed: a hint */
static uint32_t count_searching(void) {
    return atomic_load_explicit(&pool.park.searching, memory_order_relaxed);
}

bool dist__pool_is_hot(void) { return count_searching() > 0; }

bool dist__pool_is_retiring(void) {
    /* relaxed: a hint */
    return atomic_load_explicit(&pool.retire, memory_order_relaxed);
}

/* ------------------------------------------------------------------ finding work */

static struct dist__inbox *inbox_of_this_thread(void) {
    static _Thread_local unsigned char anchor; /* its address differs between threads */
    return &pool.inbox[((uintptr_t)&anchor >> 12) % INBOXES];
}

static void push(struct dist__work *work) {
    if (self && (dist__deque_push(&self->deque, work) ||
                 (dist__deque_enlarge(&self->deque) && dist__deque_push(&self->deque, work))))
        return;
    dist__inbox_push(inbox_of_this_thread(), &work->node);
}

/* Takes one from the inboxes; the others of its inbox go to the thread's own deque. */
static struct dist__work *take_inbox(void) {
    for (unsigned i = 0; i < INBOXES; i++) {
        struct dist__node *first = dist__inbox_drain(&pool.inbox[(self->index + i) % INBOXES]);
        if (!first) continue;
        for (struct dist__node *node = first->next, *next; node; node = next) {
            next = node->next;
            push((struct dist__work *)node);
        }
        return (struct dist__work *)first;
    }
    return NULL;
}

static struct dist__work *steal(void) {
    unsigned count = thread_count();
    for (unsigned i = 1; i < count; i++) {
        struct dist__thread *victim = pool.thread[(self->index + i) % count];
        bool lost;
        do {
            struct dist__work *work = dist__deque_steal(&victim->deque, &lost);
            if (work) return work;
        } while (lost);
    }
    return NULL;
}

/* A thread that serves the lanes has something else to do. */
static bool should_stop_serving(void) {
    return leaving() || load_int(&pool.pending) > 0 || dist__turn_is_awaited();
}

static void serve_lanes(struct dist__work *unused) {
    (void)unused;
    dist__lanes_serve(should_stop_serving);
}

static struct dist__work lanes_work = {.run = serve_lanes};

static struct dist__work *find(void) {
    struct dist__work *work = dist__deque_pop(&self->deque);
    if (!work) work = take_inbox();
    if (!work) work = steal();
    if (work) add_int(&pool.pending, -1);
    else if (dist__lanes_begin()) work = &lanes_work;
    return work;
}

/* ------------------------------------------------------------------ waking and starting */

static void *thread_main(void *arg);

/* An object for one more thread. It keeps its slot until all are freed together. */
static struct dist__thread *new_thread(unsigned index) {
    if (index >= DIST__POOL_MOST) return NULL;
    struct dist__thread *thread = aligned_alloc(alignof(struct dist__thread), sizeof *thread);
    struct dist__deque_block *block = dist__deque_new_block(DEQUE_SIZE);
    if (!thread || !block) {
        free(thread);
        free(block);
        return NULL;
    }
    dist__deque_init(&thread->deque, block);
    thread->index = index;
    thread->present = thread->joining = false;
    pool.thread[index] = thread;
    /* release: thread[index] before the count; pairs with [start] */
    atomic_store_explicit(&pool.count, index + 1, memory_order_release);
    return thread;
}

/* With the lock held: the object of a thread that is not there any more, or a new one. */
static struct dist__thread *vacant_thread(void) {
    unsigned count = thread_count();
    for (unsigned i = 0; i < count && load_int(&pool.live) < (int)count; i++) {
        struct dist__thread *thread = pool.thread[i];
        /* acquire: what it did; pairs with [gone] */
        if (thread->present && !thread->joining &&
            atomic_load_explicit(&thread->gone, memory_order_acquire)) {
            pthread_join(thread->handle, NULL);
            thread->present = false;
        }
        if (!thread->present) return thread;
    }
    return new_thread(count);
}

static bool wake_thread(void) {
    unsigned index;
    if (!dist__park_take(&pool.park, thread_count(), &index)) return false;
    struct dist__thread *thread = pool.thread[index];
    /* release: whatever the waker did before; pairs with the sleeper's acquire [woken] */
    atomic_store_explicit(&thread->wake, 1, memory_order_release);
    dist__futex_wake(&thread->wake, 1, false);
    return true;
}

/* With the lock held. The new thread counts as searching from now on. */
static bool start_thread_locked(void) {
    if (load_int(&pool.live) >= load_int(&pool.wanted)) return false;
    struct dist__thread *thread = vacant_thread();
    if (!thread) return false;
    /* relaxed: nobody else looks at them now; starting the thread publishes them */
    atomic_store_explicit(&thread->wake, 0, memory_order_relaxed);
    atomic_store_explicit(&thread->leave, false, memory_order_relaxed);
    atomic_store_explicit(&thread->gone, false, memory_order_relaxed);
    dist__park_search(&pool.park);
    add_int(&pool.live, 1);
    thread->present =
        !dist__thread_start(&thread->handle, thread_main, thread, dist__record_affinity());
    if (thread->present) return true;
    add_int(&pool.live, -1);
    dist__park_found(&pool.park);
    /* submitters may have relied on a thread that never came */
    if (load_int(&pool.pending) > 0 && dist__park_submitted(&pool.park) == 0) wake_thread();
    return false;
}

static bool start_thread(void) {
    if (load_int(&pool.live) >= load_int(&pool.wanted)) return false;
    pthread_mutex_lock(&pool.lock);
    bool started = start_thread_locked();
    pthread_mutex_unlock(&pool.lock);
    return started;
}

/* After work was published: wakes or starts threads, as far as those awake do not suffice. */
static void tell(void) {
    int searching = (int)dist__park_submitted(&pool.park);
    int missing = load_int(&pool.pending) - searching;
    if (missing > WAKES) missing = WAKES;
    if (searching == 0 && missing < 1) missing = 1;
    while (missing-- > 0)
        if (!wake_thread() && !start_thread()) return;
}

bool dist__pool_will_see(void) { return dist__park_offered(&pool.park) > 0; }

bool dist__pool_wake(void) { return wake_thread() || start_thread(); }

void dist__pool_submit(struct dist__work *(*next)(void *state, unsigned k), void *state,
                       unsigned count) {
    add_int(&pool.pending, (int)count);
    for (unsigned k = 0; k < count; k++) push(next(state, k));
    tell();
}

static void drop(struct dist__work *work) {
    add_int(&pool.pending, -1);
    work->drop(work);
}

static void retract_from_deque(bool (*mine)(struct dist__work *work, void *state), void *state) {
    struct dist__work *work;
    while ((work = dist__deque_pop(&self->deque))) {
        if (!mine(work, state)) {
            push(work);
            tell(); /* it was out of sight for a moment, and a thread may have gone to sleep */
            return;
        }
        drop(work);
    }
}

static void retract_from_inbox(bool (*mine)(struct dist__work *work, void *state), void *state) {
    bool others = false;
    struct dist__inbox *inbox = inbox_of_this_thread();
    struct dist__node *next, *node = dist__inbox_drain(inbox);
    for (; node; node = next) {
        next = node->next;
        if (mine((struct dist__work *)node, state)) {
            drop((struct dist__work *)node);
        } else {
            dist__inbox_push(inbox, node);
            others = true;
        }
    }
    if (others) tell(); /* see above */
}

void dist__pool_retract(bool (*mine)(struct dist__work *work, void *state), void *state) {
    if (self) retract_from_deque(mine, state);
    else if (load_int(&pool.pending) > 0) retract_from_inbox(mine, state);
}

/* ------------------------------------------------------------------ the life of a thread */

/* Sleeps until woken; the waker has counted this thread as searching. */
static void sleep_until_woken(void) {
    /* acquire: pairs with [woken] */
    while (!atomic_load_explicit(&self->wake, memory_order_acquire))
        dist__futex_wait(&self->wake, 0, -1, false);
    atomic_store_explicit(&self->wake, 0, memory_order_relaxed); /* nobody else writes it now */
}

static bool may_spin(void) {
    unsigned cpus = dist__cpus_cached();
    return count_searching() <= (cpus + 1) / 2 && load_int(&pool.busy) < (int)cpus;
}

/* Looks for work for one wake latency. NULL: none came, or the thread is to leave. */
static struct dist__work *look_and_spin(void) {
    uint64_t limit = 0;
    while (!leaving()) {
        struct dist__work *work = find();
        if (work || !may_spin()) return work;
        uint64_t now = dist__now_ns();
        if (limit == 0) limit = now + SPIN_NS;
        if (now > limit) return NULL;
        for (int i = 0; i < SPINS_PER_LOOK; i++) dist__cpu_pause();
    }
    return NULL;
}

/* The next piece of work; NULL: the thread is to leave. It is counted as searching when it comes
 * in, and is not when it goes out; if it was the one that others relied on, it tells them. */
static struct dist__work *search(void) {
    for (;;) {
        struct dist__work *work = look_and_spin();
        if (!work && !leaving()) {
            dist__lanes_rest();
            dist__park_announce(&pool.park, self->index);
            work = leaving() ? NULL : find();
            if (!work && !leaving()) {
                sleep_until_woken();
                continue;
            }
            if (!dist__park_stay(&pool.park, self->index)) sleep_until_woken();
        }
        dist__park_found(&pool.park);
        if (load_int(&pool.pending) > 0) tell();
        dist__lanes_tell_on(work == NULL);
        return work;
    }
}

/* A leaving thread hands over what it was keeping for others. */
static void empty_deque(void) {
    struct dist__work *work;
    bool any = false;
    while ((work = dist__deque_pop(&self->deque))) {
        dist__inbox_push(&pool.inbox[0], &work->node);
        any = true;
    }
    if (any) tell();
}

static void *thread_main(void *arg) {
    self = arg;
    dist__thread_name("thr", self->index);
    struct dist__work *work;
    while ((work = search())) {
        add_int(&pool.busy, 1);
        work->run(work);
        add_int(&pool.busy, -1);
        dist__park_search(&pool.park);
        if (work == &lanes_work) dist__lanes_end(); /* not before others count on it again */
    }
    empty_deque();
    dist__lanes_rest();
    /* release: all of the above; pairs with [gone] */
    atomic_store_explicit(&self->gone, true, memory_order_release);
    return NULL;
}

/* ------------------------------------------------------------------ the end */

static void free_thread(struct dist__thread *thread) {
    dist__deque_free_blocks(&thread->deque);
    free(thread);
}

/* Tells all threads to leave. From now on they do not count: calls may start new ones. `joins`: the
 * caller waits for them then. */
static void send_away(bool joins) {
    pthread_mutex_lock(&pool.lock);
    for (unsigned i = 0; i < thread_count(); i++) {
        struct dist__thread *thread = pool.thread[i];
        if (!thread->present || thread->joining) continue;
        thread->joining = joins;
        /* release: pairs with [leave]; a thread about to sleep looks at it after it announced */
        if (!atomic_exchange_explicit(&thread->leave, true, memory_order_acq_rel))
            add_int(&pool.live, -1);
    }
    pthread_mutex_unlock(&pool.lock);
    dist__park_submitted(&pool.park);
    while (wake_thread()) {
    }
}

/* With nobody busy all are on their way out, and only the machine may be slow. */
static bool join(pthread_t handle, const struct timespec *limit) {
    if (pthread_timedjoin_np(handle, NULL, limit) == 0) return true;
    struct timespec slow = dist__realtime_in(SLOW_NS);
    return load_int(&pool.busy) == 0 && pthread_timedjoin_np(handle, NULL, &slow) == 0;
}

/* Waits for those sent away; one that is still busy is joined when its object is wanted again. */
static void join_those_sent(uint64_t grace_ns) {
    struct timespec limit = dist__realtime_in(grace_ns);
    for (unsigned i = 0; i < thread_count(); i++) {
        struct dist__thread *thread = pool.thread[i];
        if (!thread->joining) continue; /* only this thread, with the shutdown lock, changes it */
        bool joined = join(thread->handle, &limit);
        pthread_mutex_lock(&pool.lock);
        thread->joining = false;
        if (joined) thread->present = false;
        pthread_mutex_unlock(&pool.lock);
    }
}

/* With the lock held. Without any thread nobody looks at the objects. A child that is forked in the
 * middle finds each in its slot or not at all, the lower ones longest. */
static void free_threads(void) {
    unsigned count = thread_count();
    for (unsigned i = 0; i < count; i++)
        if (pool.thread[i]->present) return;
    atomic_store_explicit(&pool.count, 0, memory_order_relaxed); /* under the lock */
    for (unsigned i = count; i-- > 0;) {
        struct dist__thread *thread = pool.thread[i];
        pool.thread[i] = NULL;
        free_thread(thread);
    }
}

/* With no thread left and no call that wants any: works whose calls have ended lie there still. */
static void drop_leftovers(void) {
    if (thread_count() > 0 || load_int(&pool.wanted) > 0) return;
    for (unsigned i = 0; i < INBOXES; i++)
        for (struct dist__node *next, *node = dist__inbox_drain(&pool.inbox[i]); node;
             node = next) {
            next = node->next;
            drop((struct dist__work *)node);
        }
}

/* Stops all threads that are idle, and, when they are, the others. */
static void stop_threads(uint64_t grace_ns) {
    send_away(true);
    join_those_sent(grace_ns);
    pthread_mutex_lock(&pool.lock);
    free_threads();
    pthread_mutex_unlock(&pool.lock);
    drop_leftovers();
    if (load_int(&pool.pending) > 0) tell(); /* for calls that have begun meanwhile */
    dist__lanes_revive();
}

static void stop_if_unwanted(uint64_t grace_ns) {
    pthread_mutex_lock(&pool.shutdown_lock);
    if (load_int(&pool.wanted) == 0) stop_threads(grace_ns);
    pthread_mutex_unlock(&pool.shutdown_lock);
}

void dist__pool_want(int threads) {
    /* acq_rel: against `retire`, so that the last call or the shutdown sees the other [retire] */
    int before = atomic_fetch_add_explicit(&pool.wanted, threads, memory_order_acq_rel);
    if (before + threads > 0) return;
    if (dist__pool_is_retiring() && /* a hint before the write */
        atomic_exchange_explicit(&pool.retire, false, memory_order_acq_rel)) {
        if (self) send_away(false); /* it cannot wait for itself */
        else stop_if_unwanted(SHUTDOWN_NS);
    }
}

void dist__pool_shutdown(void) {
    if (self) return;
    /* acq_rel, both, and writes: see [retire] */
    atomic_exchange_explicit(&pool.retire, true, memory_order_acq_rel);
    if (atomic_fetch_add_explicit(&pool.wanted, 0, memory_order_acq_rel) > 0) return;
    if (atomic_exchange_explicit(&pool.retire, false, memory_order_acq_rel))
        stop_if_unwanted(SHUTDOWN_NS);
}

void dist__pool_leave(void) {
    if (self || pthread_mutex_trylock(&pool.shutdown_lock)) return;
    if (load_int(&pool.wanted) == 0) stop_threads(LEAVE_NS);
    pthread_mutex_unlock(&pool.shutdown_lock);
}

void dist__pool_forget(void) {
    /* The objects of the parent's threads are used again; all else is as in a new program. */
    unsigned count = 0;
    for (; count < DIST__POOL_MOST && pool.thread[count]; count++) {
        struct dist__thread *thread = pool.thread[count];
        dist__deque_init(&thread->deque,
                         atomic_load_explicit(&thread->deque.block, memory_order_relaxed));
        thread->present = thread->joining = false;
    }
    atomic_init(&pool.park.searching, 0);
    for (unsigned w = 0; w < DIST__PARK_WORDS; w++) atomic_init(&pool.park.asleep[w], 0);
    for (unsigned i = 0; i < INBOXES; i++) atomic_init(&pool.inbox[i].head, NULL);
    atomic_init(&pool.pending, 0);
    atomic_init(&pool.wanted, 0);
    atomic_init(&pool.busy, 0);
    atomic_init(&pool.retire, false);
    atomic_init(&pool.live, 0);
    atomic_init(&pool.count, count);
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.shutdown_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    self = NULL;
}
