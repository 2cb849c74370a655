/* pool.c - threads that search, run and sleep. The protocol of sleeping is park.h's. */
#include "pool.h"
#include "common/cpus.h"
#include "common/os.h"
#include "deque.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEQUE_SIZE = 64, /* first block */
    INBOXES = 4,     /* shards, so that submitters do not all meet in one line */
    SPIN_NS = 20000, /* about one wake latency */
    WAKES = 2,       /* of each thread that finds work, so that waking spreads as a tree */
    SPINS_PER_LOOK = 32
};

struct dist__thread {
    struct dist__deque deque;
    alignas(DIST__CACHE_LINE) _Atomic(uint32_t) wake; /* 1: woken. Waker writes, sleeper resets */
    unsigned index;
    pthread_t handle;
};

static struct {
    struct dist__park park;
    struct dist__inbox inbox[INBOXES];
    alignas(DIST__CACHE_LINE) _Atomic(int) pending; /* work published and not taken */
    _Atomic(int) wanted;                            /* threads that running calls can use */
    _Atomic(int) busy;                              /* threads that run something */
    _Atomic(unsigned) count;       /* threads started; publishes thread[] [start] */
    _Atomic(bool) stop;            /* shutdown is under way */
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

static bool stopping(void) {
    /* acquire: pairs with the release in stop_threads [stop] */
    return atomic_load_explicit(&pool.stop, memory_order_acquire);
}

void dist__pool_want(int threads) { add_int(&pool.wanted, threads); }

bool dist__pool_is_hot(void) {
    /* relaxed: a hint */
    return atomic_load_explicit(&pool.park.searching, memory_order_relaxed) > 0;
}

/* ------------------------------------------------------------------ finding work */

static struct dist__deque_block *new_block(int64_t size) {
    struct dist__deque_block *block =
        malloc(sizeof *block + (size_t)size * sizeof(_Atomic(void *)));
    if (!block) return NULL;
    block->older = NULL;
    block->size = size;
    for (int64_t i = 0; i < size; i++) atomic_init(&block->slot[i], NULL);
    return block;
}

static struct dist__inbox *inbox_of_this_thread(void) {
    static _Thread_local unsigned char anchor; /* its address differs between threads */
    return &pool.inbox[((uintptr_t)&anchor >> 12) % INBOXES];
}

static void push(struct dist__work *work) {
    if (self && !dist__deque_push(&self->deque, work)) {
        struct dist__deque_block *old =
            atomic_load_explicit(&self->deque.block, memory_order_relaxed); /* our own store */
        struct dist__deque_block *block = new_block(2 * old->size);
        if (block) {
            dist__deque_grow(&self->deque, block);
            if (dist__deque_push(&self->deque, work)) return;
        }
    } else if (self) {
        return;
    }
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

static struct dist__work *find(void) {
    struct dist__work *work = dist__deque_pop(&self->deque);
    if (!work) work = take_inbox();
    if (!work) work = steal();
    if (work) add_int(&pool.pending, -1);
    return work;
}

/* ------------------------------------------------------------------ waking and starting */

static void *thread_main(void *arg);

/* The object of the thread to start next. It stays for good: an attempt that failed leaves it. */
static struct dist__thread *new_thread(unsigned index) {
    if (pool.thread[index]) return pool.thread[index];
    struct dist__thread *thread = aligned_alloc(alignof(struct dist__thread), sizeof *thread);
    struct dist__deque_block *block = new_block(DEQUE_SIZE);
    if (!thread || !block) {
        free(thread);
        free(block);
        return NULL;
    }
    dist__deque_init(&thread->deque, block);
    atomic_init(&thread->wake, 0);
    thread->index = index;
    return thread;
}

/* With the lock held. The new thread counts as searching from now on. */
static bool start_thread_locked(void) {
    unsigned index = atomic_load_explicit(&pool.count, memory_order_relaxed); /* under the lock */
    if (index >= DIST__POOL_MOST || (int)index >= load_int(&pool.wanted) || stopping())
        return false;
    struct dist__thread *thread = new_thread(index);
    if (!thread) return false;
    pool.thread[index] = thread;
    dist__park_search(&pool.park);
    /* release: thread[index] before the count, and the count before the thread can sleep, so that
     * wakers see it; pairs with [start] */
    atomic_store_explicit(&pool.count, index + 1, memory_order_release);
    if (!dist__thread_start(&thread->handle, thread_main, thread)) return true;
    atomic_store_explicit(&pool.count, index, memory_order_relaxed);
    dist__park_found(&pool.park);
    return false;
}

static bool start_thread(void) {
    if ((int)thread_count() >= load_int(&pool.wanted)) return false;
    pthread_mutex_lock(&pool.lock);
    bool started = start_thread_locked();
    pthread_mutex_unlock(&pool.lock);
    return started;
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

/* After work was published: wakes or starts threads, as far as those awake do not suffice. */
static void tell(void) {
    int searching = (int)dist__park_submitted(&pool.park);
    int missing = load_int(&pool.pending) - searching;
    if (missing > WAKES) missing = WAKES;
    if (searching == 0 && missing < 1) missing = 1;
    while (missing-- > 0)
        if (!wake_thread() && !start_thread()) return;
}

void dist__pool_submit(struct dist__work *(*next)(void *state, unsigned k), void *state,
                       unsigned count) {
    add_int(&pool.pending, (int)count);
    for (unsigned k = 0; k < count; k++) push(next(state, k));
    tell();
}

/* If no thread could be started at all, nobody would ever take what is in the inboxes. */
static void drop_unserved(void) {
    if (thread_count() > 0) return;
    for (unsigned i = 0; i < INBOXES; i++) {
        struct dist__node *next, *node = dist__inbox_drain(&pool.inbox[i]);
        for (; node; node = next) {
            next = node->next;
            add_int(&pool.pending, -1);
            ((struct dist__work *)node)->drop((struct dist__work *)node);
        }
    }
}

void dist__pool_retract(bool (*mine)(struct dist__work *work, void *state), void *state) {
    if (!self) {
        drop_unserved();
        return;
    }
    struct dist__work *work;
    while ((work = dist__deque_pop(&self->deque))) {
        if (!mine(work, state)) {
            push(work);
            tell(); /* it was out of sight for a moment, and a thread may have gone to sleep */
            return;
        }
        add_int(&pool.pending, -1);
        work->drop(work);
    }
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
    /* relaxed: a hint */
    uint32_t searching = atomic_load_explicit(&pool.park.searching, memory_order_relaxed);
    return searching <= (cpus + 1) / 2 && load_int(&pool.busy) < (int)cpus;
}

/* Looks for work for one wake latency. NULL: none came. */
static struct dist__work *look_and_spin(void) {
    uint64_t limit = 0;
    for (;;) {
        struct dist__work *work = find();
        if (work || stopping() || !may_spin()) return work;
        uint64_t now = dist__now_ns();
        if (limit == 0) limit = now + SPIN_NS;
        if (now > limit) return NULL;
        for (int i = 0; i < SPINS_PER_LOOK; i++) dist__cpu_pause();
    }
}

/* The next piece of work; NULL: the pool is stopping. The thread is counted as searching when it
 * comes in, and is not when it leaves. */
static struct dist__work *search(void) {
    for (;;) {
        struct dist__work *work = look_and_spin();
        if (!work && !stopping()) {
            dist__park_announce(&pool.park, self->index);
            work = find();
            if (!work && !stopping()) {
                sleep_until_woken();
                continue;
            }
            if (!dist__park_stay(&pool.park, self->index)) sleep_until_woken();
        }
        dist__park_found(&pool.park);
        if (work && load_int(&pool.pending) > 0) tell();
        return work;
    }
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
    }
    return NULL;
}

/* ------------------------------------------------------------------ the end */

static void free_thread(struct dist__thread *thread) {
    struct dist__deque_block *older,
        *block = atomic_load_explicit(&thread->deque.block, memory_order_relaxed); /* joined */
    for (; block; block = older) {
        older = block->older;
        free(block);
    }
    free(thread);
}

static void drop_all(unsigned count) {
    struct dist__work *work;
    for (unsigned i = 0; i < count; i++)
        while ((work = dist__deque_pop(&pool.thread[i]->deque))) work->drop(work);
    for (unsigned i = 0; i < INBOXES; i++) {
        struct dist__node *next, *node = dist__inbox_drain(&pool.inbox[i]);
        for (; node; node = next) {
            next = node->next;
            ((struct dist__work *)node)->drop((struct dist__work *)node);
        }
    }
}

/* Without the lock while it joins: a thread may wait for the lock to start another. */
static unsigned stop_threads(void) {
    pthread_mutex_lock(&pool.lock);
    /* release: pairs with [stop]; a thread about to sleep looks at it after it has announced */
    atomic_store_explicit(&pool.stop, true, memory_order_release);
    unsigned count = thread_count();
    pthread_mutex_unlock(&pool.lock);
    dist__park_submitted(&pool.park);
    while (wake_thread()) {
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(pool.thread[i]->handle, NULL);
        while (wake_thread()) {
        } /* those that fell asleep in between */
    }
    return count;
}

void dist__pool_shutdown(bool wait) {
    if (self) return;
    pthread_mutex_lock(&pool.shutdown_lock);
    if (wait || load_int(&pool.busy) == 0) {
        unsigned count = stop_threads();
        drop_all(count);
        for (unsigned i = 0; i < count; i++) free_thread(pool.thread[i]);
        memset(pool.thread, 0, DIST__POOL_MOST * sizeof *pool.thread);
        /* relaxed: all threads are joined, and whoever submits now sees 0 threads or the stop */
        atomic_store_explicit(&pool.count, 0, memory_order_relaxed);
        atomic_store_explicit(&pool.pending, 0, memory_order_relaxed);
        /* release: the threads of the next start come after all that; pairs with [stop] */
        atomic_store_explicit(&pool.stop, false, memory_order_release);
    }
    pthread_mutex_unlock(&pool.shutdown_lock);
}

void dist__pool_forget(void) {
    /* The objects of the parent's threads are used again; all values are those of a new program. */
    for (unsigned i = 0; i < DIST__POOL_MOST && pool.thread[i]; i++) {
        struct dist__thread *thread = pool.thread[i];
        dist__deque_init(&thread->deque,
                         atomic_load_explicit(&thread->deque.block, memory_order_relaxed));
        atomic_init(&thread->wake, 0);
    }
    atomic_init(&pool.park.searching, 0);
    for (unsigned w = 0; w < DIST__PARK_WORDS; w++) atomic_init(&pool.park.asleep[w], 0);
    for (unsigned i = 0; i < INBOXES; i++) atomic_init(&pool.inbox[i].head, NULL);
    atomic_init(&pool.pending, 0);
    atomic_init(&pool.wanted, 0);
    atomic_init(&pool.busy, 0);
    atomic_init(&pool.count, 0);
    atomic_init(&pool.stop, false);
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.shutdown_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    self = NULL;
}
