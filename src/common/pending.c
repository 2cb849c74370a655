/* pending.c - jobs of a pool that have not begun: they wait for room in its list, and there for
 * their turn. */
#include "control.h"
#include "error.h"
#include "job.h"
#include "os.h"
#include "pool.h"
#include "stage.h"
#include "token.h"

/* With the lock held. */
static void unlink_job(struct dist_pool *pool, struct dist_job *job) {
    *(job->before ? &job->before->after : &pool->first) = job->after;
    *(job->after ? &job->after->before : &pool->last) = job->before;
    job->before = job->after = NULL;
    job->queued = false;
    pool->waiting--;
    pthread_cond_broadcast(&pool->changed);
}

static bool may_begin(const struct dist_job *job) {
    return !job->quota || job->quota->running < job->quota->most;
}

/* It begins: takes it off the list. */
static void unlink_begun(struct dist_pool *pool, struct dist_job *job) {
    unlink_job(pool, job);
    if (!job->quota) return;
    job->quota->running++;
    job->counted = true;
}

void dist__pool_begin_and_unlock(struct dist_pool *pool) {
    struct dist_job *begun = NULL, **end = &begun;
    for (struct dist_job *job = pool->first, *next; job && pool->foremen < pool->workers;
         job = next) {
        next = job->after;
        if (!may_begin(job)) continue;
        unlink_begun(pool, job);
        pool->foremen++;
        *end = job;
        end = &job->after;
    }
    pthread_mutex_unlock(&pool->lock);
    for (struct dist_job *next; begun; begun = next) {
        next = begun->after;
        begun->after = NULL;
        dist__job_submit(begun);
    }
}

static bool was_cancelled(const struct dist_job *job) {
    return dist__job_phase(job) != DIST__QUEUED;
}

/* Is it of use to wait on? DIST_OK, or why not. */
static dist_status check_wait(const struct dist_job *job, uint64_t limit_ns) {
    const struct dist_job *of = job->batch.of;
    /* relaxed: the pool is stirred after it */
    bool stopped =
        of && atomic_load_explicit(dist__stage_stopped(of->stage), memory_order_relaxed) != 0;
    if (stopped || (job->opts.token && dist_token_cancelled(job->opts.token)))
        return dist__refuse(DIST_CANCELLED, 0, "cancelled while it waited for room in its pool");
    if (dist__now_ns() >= limit_ns)
        return dist__refuse(DIST_TIMEOUT, 0, "pool: no room within .timeout");
    return DIST_OK;
}

/* With the lock held: sleeps until there may be room. */
static dist_status sleep_for_room(struct dist_pool *pool, const struct dist_job *job,
                                  uint64_t limit_ns) {
    dist_status over = check_wait(job, limit_ns);
    if (!over)
        dist__cond_wait(&pool->changed, &pool->lock, dist__token_look(job->opts.token, limit_ns));
    return over;
}

/* With the lock held: waits for room in the list, or until the job is cancelled. */
static dist_status await_room(struct dist_pool *pool, const struct dist_job *job) {
    size_t most = pool->opts.max_pending;
    bool no_wait = job->opts.no_wait;
    uint64_t limit_ns = job->opts.timeout > 0 ? dist__limit_of(job->opts.timeout) : UINT64_MAX;
    if (most && dist__pool_is_inside_locked(pool))
        no_wait = true; /* the room may depend on this very task */
    while (most && pool->waiting >= most && pool->phase != DIST__POOL_TERMINATED &&
           !was_cancelled(job)) {
        if (no_wait)
            return dist__refuse(DIST_FULL, 0, "pool: %zu jobs wait already", pool->waiting);
        dist_status over = sleep_for_room(pool, job, limit_ns);
        if (over) return over;
    }
    if (pool->phase == DIST__POOL_TERMINATED)
        return dist__refuse(DIST_CLOSED, 0, "pool: is closed");
    return DIST_OK;
}

/* With the lock held. */
static void append(struct dist_pool *pool, struct dist_job *job) {
    job->before = pool->last;
    job->after = NULL;
    *(pool->last ? &pool->last->after : &pool->first) = job;
    pool->last = job;
    job->queued = true;
    pool->waiting++;
}

dist_status dist__pool_queue(struct dist_pool *pool, struct dist_job *job, bool *listed) {
    pthread_mutex_lock(&pool->lock);
    dist_status refused = await_room(pool, job);
    *listed = !refused && !was_cancelled(job);
    uint64_t turn = pool->backend->pool_turn ? pool->backend->pool_turn(pool) : 0;
    /* relaxed: somebody who waits may have begun it, and then it has its turn at once */
    atomic_store_explicit(&job->turn, turn, memory_order_relaxed);
    if (*listed) append(pool, job);
    dist__pool_begin_and_unlock(pool);
    return refused;
}

void dist__pool_stir(struct dist_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

bool dist__pool_unqueue(struct dist_pool *pool, struct dist_job *job) {
    pthread_mutex_lock(&pool->lock);
    bool queued = job->queued;
    if (queued) unlink_job(pool, job);
    else pthread_cond_broadcast(&pool->changed); /* it may wait for room */
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

bool dist__pool_take(struct dist_pool *pool, struct dist_job *job, bool *listed) {
    *listed = false;
    if (dist__job_phase(job) != DIST__QUEUED) return false;
    pthread_mutex_lock(&pool->lock);
    bool mine = (!job->queued || may_begin(job)) &&
                dist__phase_move(&job->phase, DIST__QUEUED, DIST__UNDER_WAY);
    *listed = mine && job->queued;
    if (*listed) unlink_begun(pool, job);
    else if (mine) pthread_cond_broadcast(&pool->changed); /* it may wait for room */
    pthread_mutex_unlock(&pool->lock);
    return mine;
}

void dist__pool_give_back(struct dist_pool *pool, struct dist_job *job) {
    pthread_mutex_lock(&pool->lock);
    if (job->counted) job->quota->running--;
    job->counted = false;
    dist__pool_begin_and_unlock(pool);
}

void dist__pool_next(struct dist_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->foremen--;
    pthread_cond_broadcast(&pool->changed);
    dist__pool_begin_and_unlock(pool);
}

void dist__pool_drop_pending(struct dist_pool *pool) {
    for (struct dist_job *job; (job = pool->first);) {
        unlink_job(pool, job);
        pthread_mutex_unlock(&pool->lock);
        dist__job_drop(job);
        pthread_mutex_lock(&pool->lock);
    }
}
