/* single.c - calls and jobs of one item that go a backend's short way (backend.h): how their pool
 * counts them, and waits for them. */
#include "light.h"
#include "pool.h"

/* Jobs that wait, or would have to, are in the list: nothing passes them by. */
bool dist__pool_begin_single(struct dist_pool *pool, bool is_job) {
    if (pool->process != dist__process) return false;
    pthread_mutex_lock(&pool->lock);
    bool open = pool->phase == DIST__POOL_OPEN;
    if (is_job)
        open = open && !pool->first && !pool->opts.max_pending && pool->foremen < pool->workers;
    pool->under_way += open;
    /* who sleeps until all has ended looks at it when the rest has */
    pool->mailed += open && is_job;
    pthread_mutex_unlock(&pool->lock);
    return open;
}

void dist__pool_end_single(struct dist_pool *pool, bool is_job) {
    pthread_mutex_lock(&pool->lock);
    pool->mailed -= is_job;
    pool->under_way--;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

bool dist__pool_sweep(struct dist_pool *pool, uint64_t limit_ns) {
    pool->sweepers++; /* nobody frees the pool meanwhile */
    pthread_mutex_unlock(&pool->lock);
    bool in_time = pool->backend->pool_sweep(pool, limit_ns);
    pthread_mutex_lock(&pool->lock);
    pool->sweepers--;
    pthread_cond_broadcast(&pool->changed);
    return in_time;
}
