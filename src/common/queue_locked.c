/* queue_locked.c - the queue of processes, and the one with priorities: cells under a lock that
 * outlives its holder. src/README.md, "Queues", says why nobody's death at any instruction harms
 * it.
 *
 * What is true is one word in each cell: FREE, or the number of the put that filled it, stored
 * last. All else is derived, and made anew by whoever finds that the holder of the lock has died.
 *
 *     puts == number of the last put;  gets == puts - full cells
 *     in order:       the item of number k is in cell (k - 1) % capacity
 *     by priority:    order[0 .. full-1] is a heap of the full cells, the rest are the free ones */
#include "os.h"
#include "queue.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { FREE = 0 };

struct cell {
    _Atomic(uint64_t)
        number; /* under the lock; publishes the rest to whoever comes after a death */
    int priority;
    unsigned char item[];
};

struct locked_queue {
    struct dist_queue queue; /* first */
    pthread_mutex_t lock;
    size_t bytes; /* of the mapping */
    size_t capacity, item_bytes, cell_bytes;
    bool by_priority;
    unsigned char *cells;
    uint32_t *order;
    alignas(64) _Atomic(uint64_t) puts, gets; /* under the lock; others read them as hints */
    _Atomic(bool) closed;                     /* set without the lock, read under it */
};

static struct locked_queue *own(struct dist_queue *queue) { return (struct locked_queue *)queue; }

static const struct locked_queue *own_const(const struct dist_queue *queue) {
    return (const struct locked_queue *)queue;
}

static struct cell *at(const struct locked_queue *q, size_t index) {
    return (struct cell *)(void *)(q->cells + index * q->cell_bytes);
}

/* relaxed, both: under the lock, or hints. After a death they see all that was stored [step]: the
 * kernel gives the lock on when the holder has done its last instruction. */
static uint64_t number_of(const struct cell *cell) {
    return atomic_load_explicit(&cell->number, memory_order_relaxed);
}

static uint64_t count(const _Atomic(uint64_t) *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* A step that must not be taken before those above it, as others see it after a death: what
 * compilers may move is the only danger, there being no other thread under the lock. */
static void store(_Atomic(uint64_t) *word, uint64_t value) {
    /* release: pairs with the lock of the next holder [step] */
    atomic_store_explicit(word, value, memory_order_release);
}

static size_t full(const struct locked_queue *q) {
    return (size_t)(count(&q->puts) - count(&q->gets));
}

/* ------------------------------------------------------------------ the heap */

static bool comes_before(const struct locked_queue *q, uint32_t a, uint32_t b) {
    const struct cell *one = at(q, a), *other = at(q, b);
    if (one->priority != other->priority) return one->priority < other->priority;
    return number_of(one) < number_of(other);
}

static void swap(uint32_t *order, size_t a, size_t b) {
    uint32_t kept = order[a];
    order[a] = order[b];
    order[b] = kept;
}

/* The last of the first `n` finds its place. */
static void sift_up(struct locked_queue *q, size_t n) {
    for (size_t k = n - 1; k > 0 && comes_before(q, q->order[k], q->order[(k - 1) / 2]);
         k = (k - 1) / 2)
        swap(q->order, k, (k - 1) / 2);
}

/* The first of the first `n` does. */
static void sift_down(struct locked_queue *q, size_t n) {
    for (size_t k = 0, least;; k = least) {
        least = k;
        for (size_t child = 2 * k + 1; child <= 2 * k + 2 && child < n; child++)
            if (comes_before(q, q->order[child], q->order[least])) least = child;
        if (least == k) return;
        swap(q->order, k, least);
    }
}

/* ------------------------------------------------------------------ the lock */

/* Makes anew what is derived. If its maker dies too, so does the next. */
static void rebuild(struct locked_queue *q) {
    uint64_t last = count(&q->puts);
    size_t filled = 0, unfilled = 0;
    for (size_t k = 0; k < q->capacity; k++) {
        uint64_t number = number_of(at(q, k));
        if (number > last) last = number;
        if (number != FREE && q->by_priority) {
            q->order[filled] = (uint32_t)k;
            sift_up(q, filled + 1);
        } else if (q->by_priority) {
            q->order[q->capacity - ++unfilled] = (uint32_t)k;
        }
        filled += number != FREE;
    }
    store(&q->puts, last);
    store(&q->gets, last - filled);
}

/* Tries for a while: the lock is held for less than a microsecond, unless its holder is not
 * running. Nobody sleeps in it, so nobody has to be woken by who unlocks it, or dies. */
static bool lock(struct locked_queue *q) {
    static const uint64_t PATIENCE_NS = 20000000, FIRST_NAP_NS = 20000, LONGEST_NAP_NS = 1000000;
    enum { TRIES = 100 };
    uint64_t limit = 0, nap = FIRST_NAP_NS;
    for (unsigned tries = 0;; tries++) {
        int failed = pthread_mutex_trylock(&q->lock);
        if (!failed) return true;
        if (failed == EOWNERDEAD) {
            rebuild(q);
            pthread_mutex_consistent(&q->lock);
            return true;
        }
        dist__cpu_pause();
        if (tries < TRIES) continue;
        uint64_t now = dist__now_ns();
        if (limit == 0) limit = now + PATIENCE_NS;
        if (now >= limit) return false;
        int cancel_state = dist__cancel_disable();
        dist__sleep_until(now + nap);
        dist__cancel_restore(cancel_state);
        if (nap < LONGEST_NAP_NS) nap *= 2;
    }
}

static void unlock(struct locked_queue *q) { pthread_mutex_unlock(&q->lock); }

/* ------------------------------------------------------------------ items */

/* Each of these steps may be the last one. */
static void fill(struct locked_queue *q, int priority, const void *item) {
    uint64_t number = count(&q->puts) + 1;
    size_t filled = full(q);
    uint32_t index = q->by_priority ? q->order[filled] : (uint32_t)((number - 1) % q->capacity);
    struct cell *cell = at(q, index);
    cell->priority = priority;
    memcpy(cell->item, item, q->item_bytes);
    store(&cell->number, number); /* from here on it has been put */
    if (q->by_priority) sift_up(q, filled + 1);
    store(&q->puts, number);
}

static void empty(struct locked_queue *q, void *item) {
    uint64_t taken = count(&q->gets);
    size_t filled = full(q);
    uint32_t index = q->by_priority ? q->order[0] : (uint32_t)(taken % q->capacity);
    struct cell *cell = at(q, index);
    memcpy(item, cell->item, q->item_bytes);
    store(&cell->number, FREE); /* from here on it has been taken */
    if (q->by_priority) {
        swap(q->order, 0, filled - 1);
        sift_down(q, filled - 1);
    }
    store(&q->gets, taken + 1);
}

static bool is_closed(const struct locked_queue *q) {
    /* acquire: what the closer did before; pairs with [closed] */
    return atomic_load_explicit(&q->closed, memory_order_acquire);
}

static dist_status put(struct dist_queue *queue, int priority, const void *item) {
    struct locked_queue *q = own(queue);
    if (!lock(q)) return is_closed(q) ? DIST_CLOSED : DIST_PENDING;
    dist_status status = is_closed(q) ? DIST_CLOSED : full(q) < q->capacity ? DIST_OK : DIST_FULL;
    if (status == DIST_OK) fill(q, priority, item);
    unlock(q);
    return status;
}

static dist_status get(struct dist_queue *queue, void *item) {
    struct locked_queue *q = own(queue);
    if (!lock(q)) return DIST_PENDING;
    /* in this order: who was putting while it was closed has done so */
    dist_status status = is_closed(q) ? DIST_CLOSED : DIST_EMPTY;
    if (full(q) > 0) {
        empty(q, item);
        status = DIST_OK;
    }
    unlock(q);
    return status;
}

static bool has_item(const struct dist_queue *queue) { return full(own_const(queue)) > 0; }

static bool has_room(const struct dist_queue *queue) {
    return full(own_const(queue)) < queue->capacity || is_closed(own_const(queue));
}

static uint64_t puts_of(const struct dist_queue *queue) { return count(&own_const(queue)->puts); }

static uint64_t gets_of(const struct dist_queue *queue) { return count(&own_const(queue)->gets); }

static void close_locked(struct dist_queue *queue) {
    /* release: see is_closed [closed] */
    atomic_store_explicit(&own(queue)->closed, true, memory_order_release);
}

static void free_locked(struct dist_queue *queue) { munmap(queue, own(queue)->bytes); }

static const struct dist__queue_kind kind = {put,     get,     has_item,     has_room,
                                             puts_of, gets_of, close_locked, free_locked};

/* ------------------------------------------------------------------ opening */

static bool init_lock(pthread_mutex_t *lock, bool shared) {
    pthread_mutexattr_t attr;
    if (pthread_mutexattr_init(&attr)) return false;
    bool made = (!shared || !pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED)) &&
                !pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) &&
                !pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
    return made;
}

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

struct dist_queue *dist__queue_locked(const dist_queue_opts *opts) {
    size_t head = round_up(sizeof(struct locked_queue), alignof(struct locked_queue));
    size_t cell = round_up(offsetof(struct cell, item) + opts->item_size, alignof(struct cell));
    size_t order = opts->priority ? round_up(opts->capacity * sizeof(uint32_t), 64) : 0;
    size_t bytes = head + order + opts->capacity * cell;
    int scope = opts->process_shared ? MAP_SHARED : MAP_PRIVATE;
    errno = ENOMEM;
    if (opts->capacity > UINT32_MAX) return NULL;
    unsigned char *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, scope | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return NULL;
    struct locked_queue *q = (struct locked_queue *)(void *)base; /* zeros: open, all cells free */
    if (!init_lock(&q->lock, opts->process_shared)) {
        munmap(base, bytes);
        return NULL;
    }
    q->queue.kind = &kind;
    q->bytes = bytes;
    q->capacity = opts->capacity;
    q->item_bytes = opts->item_size;
    q->cell_bytes = cell;
    q->by_priority = opts->priority;
    q->order = (uint32_t *)(void *)(base + head);
    q->cells = base + head + order;
    for (size_t k = 0; opts->priority && k < opts->capacity; k++) q->order[k] = (uint32_t)k;
    return &q->queue;
}
