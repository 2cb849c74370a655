/* queue.c - the doors of queues: checks, waiting, and waking those who wait. */
#include "queue.h"
#include "control.h"
#include "cpus.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <limits.h>

enum {
    DEFAULT_CAPACITY = 65536,
    SPIN_US = 5, /* about what a sleep and its wake cost */
    SPINS_PER_LOOK = 16,
};

static const uint64_t LOOK_NS =
                          50000000, /* between two looks for what a dead process left undone */
    ASK_NS = 10000000,              /* before the first question whether the task is to return; */
    ASK_MOST_NS = 80000000;         /* between two of them, when it has waited for long */

/* ------------------------------------------------------------------ answers */

/* As dist__refuse, for what loops hear all the time: without formatting. */
static dist_status say(dist_status status) {
    static const dist_error known[] = {
        {.status = DIST_FULL, .message = "the queue is full"},
        {.status = DIST_EMPTY, .message = "the queue is empty"},
        {.status = DIST_CLOSED, .message = "the queue is closed"},
        {.status = DIST_CANCELLED, .message = "the task that waits for the queue is to return"},
        {.status = DIST_TIMEOUT, .message = "not every item of the queue is done"}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (known[k].status == status) dist__remember(&known[k]);
    return status;
}

static bool is_foreign(const struct dist_queue *queue) {
    return !queue->shared && queue->process != dist__process;
}

static dist_status check(const struct dist_queue *queue) {
    if (!queue) return dist__refuse(DIST_INVALID, 0, "queue: is NULL");
    if (is_foreign(queue))
        return dist__refuse(DIST_UNSUPPORTED, 0, "queue: belongs to another process");
    return DIST_OK;
}

static dist_status check_item(const struct dist_queue *queue, const void *item) {
    dist_status refused = check(queue);
    if (!refused && !item) refused = dist__refuse(DIST_INVALID, 0, "item: is NULL");
    return refused;
}

/* ------------------------------------------------------------------ opening and ending */

static dist_status check_opts(const dist_queue_opts *o) {
    if (!o) return dist__refuse(DIST_INVALID, 0, "opts: is NULL");
    if (o->size != sizeof *o)
        return dist__refuse(DIST_INVALID, 0,
                            "opts.size: is %zu, must be sizeof(dist_queue_opts) = %zu", o->size,
                            sizeof *o);
    if (o->item_size == 0) return dist__refuse(DIST_INVALID, 0, "item_size: is 0");
    enum { MORE = 64 }; /* than any kind adds to an item */
    size_t capacity = o->capacity ? o->capacity : DEFAULT_CAPACITY;
    if (o->item_size > PTRDIFF_MAX / 2 || capacity > PTRDIFF_MAX / (o->item_size + MORE))
        return dist__refuse(DIST_INVALID, 0, "capacity: %zu items of %zu bytes exceed memory",
                            capacity, o->item_size);
    return DIST_OK;
}

static struct dist_queue *open_queue(const dist_queue_opts *given) {
    dist_queue_opts opts = *given;
    if (opts.capacity == 0) opts.capacity = DEFAULT_CAPACITY;
    bool locked = opts.priority || opts.process_shared;
    struct dist_queue *queue = locked ? dist__queue_locked(&opts) : dist__queue_ring(&opts);
    if (!queue) {
        dist__refuse(DIST_NOMEM, errno, "no memory for a queue of %zu items of %zu bytes",
                     opts.capacity, opts.item_size);
        return NULL;
    }
    queue->item_size = opts.item_size;
    queue->capacity = opts.capacity;
    queue->priority = opts.priority;
    queue->shared = opts.process_shared;
    queue->process = dist__process;
    return queue;
}

dist_queue *dist_queue_open_fn(const dist_queue_opts *opts) {
    if (check_opts(opts)) return NULL;
    int saved = errno, cancel_state = dist__cancel_disable();
    struct dist_queue *queue = open_queue(opts);
    dist__cancel_restore(cancel_state);
    errno = saved;
    return queue;
}

/* A stage may be on its last steps after the end of its job, or be nobody's job. */
static void await_stages(struct dist_queue *queue) {
    uint32_t users;
    /* acquire: all that they did; pairs with [users] */
    while ((users = atomic_load_explicit(&queue->users, memory_order_acquire)))
        dist__futex_wait(&queue->users, users, -1, false);
}

void dist_queue_free(dist_queue **handle) {
    if (!handle || !*handle) return;
    struct dist_queue *queue = *handle;
    int cancel_state = dist__cancel_disable();
    *handle = NULL;
    if (queue->process == dist__process) await_stages(queue); /* stages of its opener's alone */
    if (!is_foreign(queue)) queue->kind->free(queue); /* else it stays as it was at the fork */
    dist__cancel_restore(cancel_state);
}

size_t dist_queue_length(const dist_queue *queue) {
    if (!queue || is_foreign(queue)) return 0;
    /* in this order: what is put between the two looks counts at most up to the bound */
    uint64_t puts = queue->kind->puts(queue), gets = queue->kind->gets(queue);
    uint64_t length = gets < puts ? puts - gets : 0;
    return length < queue->capacity ? (size_t)length : queue->capacity;
}

size_t dist_queue_capacity(const dist_queue *queue) {
    return !queue || is_foreign(queue) ? 0 : queue->capacity;
}

/* ------------------------------------------------------------------ waiting */

static void tell(struct dist_queue *queue, struct dist__eventcount *events, bool all) {
    int count = dist__eventcount_tell(events, all);
    if (count) dist__futex_wake(&events->epoch, count, queue->shared);
}

/* What a thread wants of a queue. */
struct want {
    struct dist_queue *queue;
    struct dist__eventcount *events; /* that it waits for */
    dist_status vain;                /* the answer that makes it wait */
    dist_status (*attempt)(const struct want *want);
    bool (*may)(const struct dist_queue *queue); /* a hint: would it succeed? */
    const void *put;
    int priority;
    void *got;
    const _Atomic(uint32_t) *stop; /* not 0: DIST_CANCELLED instead of a wait; or NULL */
};

/* DIST_PENDING is in vain too: nobody knows, so it must look again soon. */
static bool is_vain(const struct want *want, dist_status status) {
    return status == want->vain || status == DIST_PENDING;
}

/* Can anybody tell the running task to return? */
static bool is_in_task(void) {
    for (const struct dist__record *r = dist__record_current(); r; r = r->caller)
        if (r->control || r->light) return true;
    return false;
}

/* What comes within the time that a sleep takes is worth waiting for awake, if others can run
 * meanwhile. */
static void spin(const struct want *want) {
    if (dist__cpus_cached() < 2) return;
    uint64_t limit = dist__ticks() + SPIN_US * dist__ticks_per_us();
    do
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (want->may(want->queue)) return;
            dist__cpu_pause();
        }
    while (dist__ticks() < limit);
}

static bool is_stopped(const struct want *want) {
    /* seq_cst: after it has entered the eventcount, which is told after the stop [stop] */
    return want->stop && atomic_load_explicit(want->stop, memory_order_seq_cst) != 0;
}

/* Entered, and has looked: sleeps until there is a signal, or some time is up. True: it has taken
 * the signal, and has left. */
static bool sleep_in(const struct want *want, uint32_t epoch, uint64_t until) {
    for (;;) {
        if (dist__eventcount_take(want->events)) return true;
        uint64_t now = until == UINT64_MAX ? 0 : dist__now_ns();
        if (now >= until) return false;
        dist__futex_wait(&want->events->epoch, epoch,
                         until == UINT64_MAX ? -1 : (int64_t)(until - now), want->queue->shared);
        /* acquire: pairs with [epoch]; a signal that others took first leaves this one asleep */
        epoch = atomic_load_explicit(&want->events->epoch, memory_order_acquire);
    }
}

/* One sleep, and a look before and after it. *signal: it has taken one. */
static dist_status sleep_once(const struct want *want, uint64_t until, bool *signal) {
    uint32_t epoch = dist__eventcount_enter(want->events);
    dist_status status = want->attempt(want);
    if (is_vain(want, status) && is_stopped(want)) status = DIST_CANCELLED;
    bool sleeps = is_vain(want, status);
    if (status == DIST_PENDING && until > dist__now_ns() + LOOK_NS)
        until = dist__now_ns() + LOOK_NS;
    *signal = sleeps && sleep_in(want, epoch, until);
    if (!*signal) dist__eventcount_leave(want->events);
    return sleeps ? want->attempt(want) : status;
}

static uint64_t earlier(uint64_t a, uint64_t b) { return a < b ? a : b; }

static dist_status wait_until(const struct want *want, uint64_t limit) {
    bool asks = is_in_task(), signal = false;
    for (uint64_t ask = ASK_NS;; ask = earlier(2 * ask, ASK_MOST_NS)) {
        uint64_t until = limit;
        if (want->queue->shared) until = earlier(until, dist__now_ns() + LOOK_NS);
        if (asks) until = earlier(until, dist__now_ns() + ask);
        dist_status status = sleep_once(want, until, &signal);
        if (!is_vain(want, status)) {
            /* somebody may have been told of more than this, when it could not be seen yet */
            if (signal && want->may(want->queue)) tell(want->queue, want->events, false);
            return status;
        }
        /* it could not look: another may */
        if (signal && status == DIST_PENDING) tell(want->queue, want->events, false);
        if (limit != UINT64_MAX && dist__now_ns() >= limit) return want->vain;
        if (asks && dist_cancelled()) return DIST_CANCELLED;
    }
}

static dist_status await(const struct want *want, uint64_t limit) {
    int cancel_state = dist__cancel_disable();
    spin(want);
    dist_status status = wait_until(want, limit);
    dist__cancel_restore(cancel_state);
    return status;
}

/* The first attempt was in vain: until one is not. */
static dist_status fulfil(const struct want *want, uint64_t limit) {
    return limit == 0 ? want->vain : await(want, limit);
}

/* The time of a limit in seconds; 0: do not wait. */
static uint64_t limit_of(double seconds) { return seconds == 0 ? 0 : dist__limit_of(seconds); }

/* ------------------------------------------------------------------ items */

static dist_status attempt_put(const struct want *want) {
    return want->queue->kind->put(want->queue, want->priority, want->put);
}

static dist_status attempt_get(const struct want *want) {
    return want->queue->kind->get(want->queue, want->got);
}

static dist_status put(struct dist_queue *queue, int priority, const void *item, uint64_t limit,
                       const _Atomic(uint32_t) *stop) {
    dist_status status = queue->kind->put(queue, priority, item);
    if (status == DIST_FULL || status == DIST_PENDING)
        status = fulfil(&(struct want){.queue = queue,
                                       .events = &queue->room,
                                       .vain = DIST_FULL,
                                       .attempt = attempt_put,
                                       .may = queue->kind->has_room,
                                       .put = item,
                                       .priority = priority,
                                       .stop = stop},
                        limit);
    if (status) return say(status);
    tell(queue, &queue->items, false);
    return DIST_OK;
}

dist_status dist_queue_put(dist_queue *queue, const void *item, double seconds) {
    dist_status refused = check_item(queue, item);
    return refused ? refused : put(queue, INT_MAX, item, limit_of(seconds), NULL);
}

dist_status dist_queue_put_first(dist_queue *queue, int priority, const void *item,
                                 double seconds) {
    dist_status refused = check_item(queue, item);
    if (refused) return refused;
    if (!queue->priority)
        return dist__refuse(DIST_INVALID, 0, "queue: was opened without .priority");
    return put(queue, priority, item, limit_of(seconds), NULL);
}

dist_status dist__queue_get(struct dist_queue *queue, void *item, uint64_t limit_ns,
                            const _Atomic(uint32_t) *stop) {
    dist_status status = queue->kind->get(queue, item);
    if (status == DIST_EMPTY || status == DIST_PENDING)
        status = fulfil(&(struct want){.queue = queue,
                                       .events = &queue->items,
                                       .vain = DIST_EMPTY,
                                       .attempt = attempt_get,
                                       .may = queue->kind->has_item,
                                       .got = item,
                                       .stop = stop},
                        limit_ns);
    if (status) return say(status);
    tell(queue, &queue->room, false);
    return DIST_OK;
}

dist_status dist_queue_get(dist_queue *queue, void *item, double seconds) {
    dist_status refused = check_item(queue, item);
    return refused ? refused : dist__queue_get(queue, item, limit_of(seconds), NULL);
}

void dist__queue_stir(struct dist_queue *queue) {
    tell(queue, &queue->items, true);
    tell(queue, &queue->room, true);
}

dist_status dist_queue_close(dist_queue *queue) {
    dist_status refused = check(queue);
    if (refused) return refused;
    queue->kind->close(queue);
    dist__eventcount_over(&queue->items);
    dist__eventcount_over(&queue->room);
    dist__queue_stir(queue);
    return DIST_OK;
}

/* ------------------------------------------------------------------ what is unfinished */

static bool is_quiet(const struct dist_queue *queue) {
    /* seq_cst, which is an acquire too: what the tasks did; pairs with [done]. In the one order
     * with the eventcount. In this order: what was put in between keeps it from being quiet */
    uint64_t done = atomic_load_explicit(&queue->done, memory_order_seq_cst);
    return done == queue->kind->puts(queue);
}

dist_status dist_queue_task_done(dist_queue *queue) {
    dist_status refused = check(queue);
    if (refused) return refused;
    /* relaxed: the exchange has the order */
    uint64_t done = atomic_load_explicit(&queue->done, memory_order_relaxed);
    do
        if (done >= queue->kind->puts(queue))
            return dist__refuse(DIST_STATE, 0, "queue: task_done more often than items were put");
    /* seq_cst: see is_quiet [done] */
    while (!atomic_compare_exchange_weak_explicit(&queue->done, &done, done + 1,
                                                  memory_order_seq_cst, memory_order_relaxed));
    if (is_quiet(queue)) tell(queue, &queue->quiet, true);
    return DIST_OK;
}

static dist_status attempt_join(const struct want *want) {
    return is_quiet(want->queue) ? DIST_OK : DIST_TIMEOUT;
}

dist_status dist_queue_join(dist_queue *queue, double seconds) {
    dist_status refused = check(queue);
    if (refused) return refused;
    if (is_quiet(queue)) return DIST_OK;
    return say(fulfil(&(struct want){.queue = queue,
                                     .events = &queue->quiet,
                                     .vain = DIST_TIMEOUT,
                                     .attempt = attempt_join,
                                     .may = is_quiet},
                      limit_of(seconds)));
}

/* ------------------------------------------------------------------ stages */

dist_status dist__queue_put(struct dist_queue *queue, const void *item, uint64_t limit_ns,
                            const _Atomic(uint32_t) *stop) {
    return put(queue, INT_MAX, item, limit_ns, stop);
}

dist_status dist__queue_check(const struct dist_queue *queue) { return check(queue); }

void dist__queue_enter(struct dist_queue *queue, enum dist__queue_side side) {
    /* relaxed, both: whoever enters knows that the queue is there [stages] */
    atomic_fetch_add_explicit(&queue->users, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&queue->stages[side], 1, memory_order_relaxed);
}

void dist__queue_leave(struct dist_queue *queue, enum dist__queue_side side, bool closes) {
    /* acq_rel: what the others have put comes before the close [stages] */
    bool last = atomic_fetch_sub_explicit(&queue->stages[side], 1, memory_order_acq_rel) == 1;
    if (last && closes) dist_queue_close(queue);
    /* release: the last touch, before the free [users]; after it only the address is used */
    if (atomic_fetch_sub_explicit(&queue->users, 1, memory_order_release) == 1)
        dist__futex_wake(&queue->users, INT_MAX, false);
}
