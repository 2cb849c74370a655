/* pool.c - pools that users open: their doors, their jobs, their end. */
#include "pool.h"
#include "call.h"
#include "check.h"
#include "deadlock.h"
#include "error.h"
#include "job.h"
#include "light.h"
#include "os.h"
#include "stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ the door */

static dist_status check(const struct dist_pool *pool) {
    if (!pool) return dist__refuse(DIST_INVALID, 0, "pool: is NULL");
    if (pool->maker != getpid())
        return dist__refuse(DIST_UNSUPPORTED, 0, "pool: belongs to another process");
    return DIST_OK;
}

bool dist__pool_is_inside_locked(const struct dist_pool *pool) {
    if (dist__hand_lender(pool)) return true;
    for (const struct dist__guest *g = pool->guest; g; g = g->next)
        if (pthread_equal(g->supervisor, pthread_self())) return true;
    return false;
}

bool dist__pool_is_inside(struct dist_pool *pool) {
    if (pool->maker != getpid()) return false;
    pthread_mutex_lock(&pool->lock);
    bool inside = dist__pool_is_inside_locked(pool);
    pthread_mutex_unlock(&pool->lock);
    return inside;
}

dist_status dist__pool_begin_call(struct dist_pool *pool) {
    dist_status refused = check(pool);
    if (refused) return refused;
    pthread_mutex_lock(&pool->lock);
    bool open = pool->phase == DIST__POOL_OPEN;
    pool->under_way += open;
    pthread_mutex_unlock(&pool->lock);
    return open ? DIST_OK : dist__refuse(DIST_CLOSED, 0, "pool: is closed");
}

void dist__pool_count_again(struct dist_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->under_way++;
    pthread_mutex_unlock(&pool->lock);
}

void dist__pool_end_call(struct dist_pool *pool) { dist__pool_end_single(pool, false); }

static void add_guest(struct dist_pool *pool, struct dist__guest *guest) {
    guest->supervisor = pthread_self();
    pthread_mutex_lock(&pool->lock);
    guest->next = pool->guest;
    pool->guest = guest;
    pthread_mutex_unlock(&pool->lock);
}

void dist__pool_joins(struct dist_pool *pool, struct dist__guest *guest,
                      struct dist__control *control) {
    control->stopped = &pool->stopped;
    control->supervisor = pthread_self();
    *guest = (struct dist__guest){.control = control};
    add_guest(pool, guest);
}

void dist__pool_leaves(struct dist_pool *pool, struct dist__control *control) {
    pthread_mutex_lock(&pool->lock);
    struct dist__guest **link = &pool->guest;
    while (*link && (*link)->control != control) link = &(*link)->next;
    if (*link) *link = (*link)->next; /* it may have left before */
    pthread_mutex_unlock(&pool->lock);
}

void dist__pool_joins_stage(struct dist_pool *pool, struct dist__guest *guest,
                            struct dist_job *job) {
    *guest = (struct dist__guest){.stage = job};
    add_guest(pool, guest);
    /* relaxed: terminate sets it before it looks for guests under the lock */
    if (atomic_load_explicit(&pool->stopped, memory_order_relaxed)) dist__stage_stop(job->stage);
}

void dist__pool_leaves_stage(struct dist_pool *pool, struct dist__guest *guest) {
    pthread_mutex_lock(&pool->lock);
    struct dist__guest **link = &pool->guest;
    while (*link != guest) link = &(*link)->next;
    *link = guest->next;
    pthread_mutex_unlock(&pool->lock);
}

/* With the lock held: tells all that run. A stage is told without it, for it has a lock of its own
 * and wants this one under it. */
static void tell_guests(struct dist_pool *pool) {
    for (struct dist__guest *g = pool->guest; g;) {
        struct dist_job *job = g->told ? NULL : g->stage;
        g->told = true;
        if (g->control) dist__control_ring(g->control);
        g = g->next;
        if (!job) continue;
        dist__job_ref(job);
        pthread_mutex_unlock(&pool->lock);
        dist__stage_stop(job->stage);
        dist__job_unref(job);
        pthread_mutex_lock(&pool->lock);
        g = pool->guest; /* others may have gone */
    }
}

/* ------------------------------------------------------------------ open and end */

/* Workers come later, and the array may be gone. */
static unsigned *copy_cpus(const dist_opts *opts) {
    unsigned *copy = opts->n_cpus ? malloc(opts->n_cpus * sizeof *copy) : NULL;
    return copy ? memcpy(copy, opts->cpus, opts->n_cpus * sizeof *copy) : NULL;
}

static struct dist_pool *new_pool(const struct dist__backend *backend, const dist_opts *opts) {
    struct dist_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->backend = backend;
    pool->opts = *opts;
    pool->opts.error = NULL;
    pool->opts.cpus = pool->cpus = copy_cpus(opts);
    if (opts->n_cpus && !pool->cpus) {
        free(pool);
        return NULL;
    }
    pool->maker = getpid();
    pool->process = dist__process;
    pool->workers = backend->executor == DIST_INLINE ? 1
                    : opts->workers                  ? opts->workers
                                                     : backend->default_workers(NULL);
    pool->alone.pool = pool;
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&pool->alone_lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    dist__cond_init(&pool->changed);
    pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

static void free_pool(struct dist_pool *pool) {
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->alone_lock);
    pthread_cond_destroy(&pool->changed);
    free(pool->cpus);
    free(pool);
}

static dist_pool *open_pool(const dist_opts *opts) {
    const struct dist__backend *backend = dist__backend_choose(opts->executor);
    if (!backend) return NULL;
    if (backend->executor != DIST_INLINE && !backend->pool_open) {
        dist__refuse(DIST_UNSUPPORTED, 0, "executor: %s has no pools", backend->name);
        return NULL;
    }
    struct dist_pool *pool = new_pool(backend, opts);
    if (!pool) {
        dist__refuse(DIST_NOMEM, 0, "no memory for a pool");
        return NULL;
    }
    if (!backend->pool_open || backend->pool_open(pool) == DIST_OK) return pool;
    free_pool(pool);
    return NULL;
}

dist_pool *dist_pool_open_fn(const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_pool *pool = dist__check_pool_opts(opts) ? NULL : open_pool(opts);
    if (!pool) dist__call_leave(dist_last_error()->status, opts);
    dist__cancel_restore(cancel_state);
    if (pool) errno = saved;
    return pool;
}

unsigned dist_pool_workers(const dist_pool *pool) {
    if (!pool || pool->maker != getpid()) return 0;
    struct dist_pool *own = (struct dist_pool *)pool; /* for its lock */
    int cancel_state = dist__cancel_disable();
    pthread_mutex_lock(&own->lock);
    unsigned workers = own->workers;
    pthread_mutex_unlock(&own->lock);
    dist__cancel_restore(cancel_state);
    return workers;
}

dist_status dist_pool_close(dist_pool *pool) {
    dist_status refused = check(pool);
    if (refused) return refused;
    int cancel_state = dist__cancel_disable();
    pthread_mutex_lock(&pool->lock);
    if (pool->phase == DIST__POOL_OPEN) pool->phase = DIST__POOL_CLOSED;
    pthread_mutex_unlock(&pool->lock);
    dist__cancel_restore(cancel_state);
    return DIST_OK;
}

dist_status dist_pool_terminate(dist_pool *pool) {
    dist_status refused = check(pool);
    if (refused) return refused;
    int cancel_state = dist__cancel_disable();
    pthread_mutex_lock(&pool->lock);
    pool->phase = DIST__POOL_TERMINATED;
    /* relaxed: a fact by itself */
    atomic_store_explicit(&pool->stopped, 1, memory_order_relaxed);
    pool->foremen++; /* nobody frees the pool meanwhile */
    tell_guests(pool);
    dist__pool_drop_pending(pool);
    bool has_team = pool->team && !pool->ending; /* and keeps it: this counts as a foreman */
    pthread_mutex_unlock(&pool->lock);
    if (has_team && pool->backend->pool_clear) pool->backend->pool_clear(pool);
    pthread_mutex_lock(&pool->lock);
    pool->foremen--;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    dist__cancel_restore(cancel_state);
    return DIST_OK;
}

/* With the lock held: waits until nothing is under way. */
static dist_status await_idle(struct dist_pool *pool, uint64_t limit_ns) {
    if (dist__pool_is_inside_locked(pool))
        return dist__refuse(DIST_DEADLOCK, 0, "pool: this task or hook is a part of it");
    dist_status status = DIST_OK;
    struct dist__wait wait;
    dist__wait_begin(&wait, NULL, 1, limit_ns);
    wait.pool = pool;
    while (!status && (pool->under_way || pool->foremen || pool->ending || pool->sweepers)) {
        if (pool->mailed) status = dist__pool_sweep(pool, limit_ns) ? DIST_OK : DIST_TIMEOUT;
        else if (dist__wait_is_vain(&wait)) status = dist__wait_refuse();
        else if (wait.look_ns) dist__cond_wait(&pool->changed, &pool->lock, wait.look_ns);
        else if (!dist__cond_wait(&pool->changed, &pool->lock, limit_ns)) status = DIST_TIMEOUT;
    }
    dist__wait_end(&wait);
    return status;
}

dist_status dist_pool_wait(dist_pool *pool, double seconds) {
    dist_status status = check(pool);
    if (status) return status;
    int cancel_state = dist__cancel_disable();
    pthread_mutex_lock(&pool->lock);
    status = await_idle(pool, dist__limit_of(seconds));
    if (status == DIST_TIMEOUT)
        dist__refuse(DIST_TIMEOUT, 0, "the pool is not idle within %g s", seconds);
    pthread_mutex_unlock(&pool->lock);
    dist__cancel_restore(cancel_state);
    return status;
}

/* With the lock held, and nothing under way or to come. */
static void end_workers(struct dist_pool *pool) {
    bool any = pool->team != NULL;
    pool->ending = true;
    pthread_mutex_unlock(&pool->lock);
    if (any) pool->backend->pool_end(pool);
    dist__hand_end(&pool->alone);
    pthread_mutex_lock(&pool->lock);
    pool->team = NULL;
    pool->ending = false;
    pthread_cond_broadcast(&pool->changed);
}

static void *end_main(void *arg) {
    struct dist_pool *pool = arg;
    dist__thread_name("end", 0);
    pthread_mutex_lock(&pool->lock);
    end_workers(pool);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* With the lock held, and nothing under way: worker_exit, and tasks that were abandoned, may take
 * long. So a thread of its own ends the workers for somebody who must be back in time. */
static dist_status end_workers_until(struct dist_pool *pool, uint64_t limit_ns) {
    bool in_time = limit_ns != UINT64_MAX && pool->team;
    pool->ending = in_time;
    if (in_time && !dist__thread_start(&pool->ender, end_main, pool, dist__record_affinity()))
        pool->has_ender = true;
    else end_workers(pool);
    while (pool->ending)
        if (!dist__cond_wait(&pool->changed, &pool->lock, limit_ns)) return DIST_TIMEOUT;
    if (pool->has_ender) pthread_join(pool->ender, NULL); /* it has done with the lock */
    pool->has_ender = false;
    return DIST_OK;
}

dist_status dist_pool_join(dist_pool *pool, double seconds) {
    dist_status status = check(pool);
    if (status) return status;
    uint64_t limit = dist__limit_of(seconds);
    int cancel_state = dist__cancel_disable();
    pthread_mutex_lock(&pool->lock);
    if (pool->phase == DIST__POOL_OPEN)
        status = dist__refuse(DIST_STATE, 0, "pool: is neither closed nor terminated");
    else status = await_idle(pool, limit);
    if (!status) status = end_workers_until(pool, limit);
    if (status == DIST_TIMEOUT)
        dist__refuse(DIST_TIMEOUT, 0, "the pool has not ended within %g s", seconds);
    pthread_mutex_unlock(&pool->lock);
    dist__cancel_restore(cancel_state);
    return status;
}

void dist_pool_free(dist_pool **handle) {
    if (!handle || !*handle) return;
    dist_pool *pool = *handle;
    if (pool->maker != getpid()) { /* its workers are in another process: it stays as it is */
        *handle = NULL;
        return;
    }
    dist_pool_close(pool);
    if (dist_pool_join(pool, DIST_FOREVER)) return;
    *handle = NULL;
    free_pool(pool);
}

dist_status dist_pool_resize(dist_pool *pool, unsigned workers) {
    dist_status status = check(pool);
    if (status) return status;
    if (workers == 0) return dist__refuse(DIST_INVALID, 0, "workers: is 0");
    if (pool->backend->executor == DIST_INLINE) {
        if (workers == 1) return DIST_OK;
        return dist__refuse(DIST_INVALID, 0, "workers: is %u, INLINE has one", workers);
    }
    int cancel_state = dist__cancel_disable();
    pthread_mutex_lock(&pool->lock);
    if (pool->phase != DIST__POOL_OPEN) status = dist__refuse(DIST_CLOSED, 0, "pool: is closed");
    if (!status) status = pool->backend->pool_resize(pool, workers);
    if (!status) pool->workers = workers;
    dist__pool_begin_and_unlock(pool);
    dist__cancel_restore(cancel_state);
    return status;
}
