/* dist's pools of worker processes. */
#include "peer_dist.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Opened once: the calls find it warm. */
static dist_pool *warm_pool(const struct load *l) {
    static dist_pool *pool;
    unsigned workers = l->workers ? l->workers : l->cpus;
    if (!pool) pool = dist_pool_open(.executor = DIST_PROCESS, .workers = workers);
    return pool;
}

static const char *map(struct load *l) {
    dist_pool *pool = warm_pool(l);
    if (!pool) return answer(dist_last_error()->status);
    return answer(dist_map(l->task, l->items, l->n, l->out, .pool = pool));
}

static const char *apply(struct load *l) {
    dist_pool *pool = warm_pool(l);
    if (!pool) return answer(dist_last_error()->status);
    return answer(dist_apply(l->task, l->items, l->out, .pool = pool));
}

static const char *start_and_stop(struct load *l) {
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = l->workers);
    if (!pool) return answer(dist_last_error()->status);
    dist_status status = dist_apply(l->task, l->items, l->out, .pool = pool);
    dist_pool_free(&pool);
    return answer(status);
}

static const char *jobs(struct load *l) {
    static dist_job **job;
    dist_pool *pool = warm_pool(l);
    dist_status failed = DIST_OK;
    if (!pool) return answer(dist_last_error()->status);
    if (!job) job = malloc(l->n * sizeof *job);
    for (size_t i = 0; i < l->n; i++)
        job[i] = dist_apply_async(l->task, &l->items[i], &l->out[i], .pool = pool);
    for (size_t i = 0; i < l->n; i++) {
        dist_status status = job[i] ? dist_job_finish(&job[i]) : dist_last_error()->status;
        if (status) failed = status;
    }
    return answer(failed);
}

/* ------------------------------------------------------------------ buffers in and out */

static int copy_buffer(void *result, const void *item, void *size) {
    memcpy(result, item, *(const size_t *)size);
    return 0;
}

static const char *copied(struct load *l) {
    dist_pool *pool = warm_pool(l);
    size_t size = l->buffer;
    if (!pool) return answer(dist_last_error()->status);
    return answer(
        dist_map_fn(copy_buffer, l->from, l->n, size, l->to, size,
                    DIST_OPTS(.pool = pool, .chunk = 1, .ctx = &size, .ctx_size = sizeof size)));
}

/* Memory that the workers see, too: a task of this process takes it from an arena. */
static int allocate(void *result, const void *size, void *ctx) {
    (void)ctx;
    return (*(void **)result = dist_alloc(*(const size_t *)size)) == NULL;
}

static const char *in_place(struct load *l) {
    static unsigned char *from, *to;
    static dist_arena *arena;
    dist_pool *pool = warm_pool(l);
    size_t size = l->buffer, all = l->n * size;
    if (!pool) return answer(dist_last_error()->status);
    if (!arena) {
        arena = dist_arena_new(2 * all + (1 << 20));
        dist_status status =
            dist_apply(allocate, &all, &from, .executor = DIST_INLINE, .arena = arena);
        if (!status)
            status = dist_apply(allocate, &all, &to, .executor = DIST_INLINE, .arena = arena);
        if (status) return answer(status);
        memcpy(from, l->from, all);
        l->to = to; /* where the check looks */
    }
    return answer(
        dist_map_fn(copy_buffer, from, l->n, size, to, size,
                    DIST_OPTS(.pool = pool, .chunk = 1, .ctx = &size, .ctx_size = sizeof size,
                              .arena = arena, .in_place = true)));
}

/* ------------------------------------------------------------------ what goes wrong */

static int hash_or_die(void *result, const void *item, void *ctx) {
    if (*(const uint32_t *)item == 50) raise(SIGKILL);
    return hash_task(result, item, ctx);
}

static int hash_or_stay(void *result, const void *item, void *ctx) {
    while (*(const uint32_t *)item == 50) pause();
    return hash_task(result, item, ctx);
}

/* One of the items has this status, all others their results. */
static const char *all_but_one(struct load *l, bench_task *task, double limit, dist_status one) {
    dist_pool *pool = warm_pool(l);
    dist_job *job;
    if (!pool) return answer(dist_last_error()->status);
    dist_status status = dist_map(task, l->items, l->n, l->out, .pool = pool, .silent = true,
                                  .task_timeout = limit, .job = &job);
    if (status) return answer(status);
    const dist_error *error = dist_job_outcome(job, 50);
    bool right = dist_job_failures(job) == 1 && error && error->status == one;
    dist_job_finish(&job);
    if (!right) return "fail not the one item that it should be";
    l->out[50] = l->expect(l->items[50]);
    return NULL;
}

static const char *killed(struct load *l) { return all_but_one(l, hash_or_die, 0, DIST_CRASHED); }

static const char *late(struct load *l) { return all_but_one(l, hash_or_stay, 0.1, DIST_TIMEOUT); }

static const struct variant variants[] = {
    {"map", map},
    {"apply", apply},
    {"jobs", jobs},
    {"start", start_and_stop},
    {"copied", copied},
    {"in-place", in_place},
    {"killed", killed},
    {"late", late},
    {0},
};

int main(int argc, char **argv) { return dist_main(argc, argv, variants); }
