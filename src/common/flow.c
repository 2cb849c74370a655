/* flow.c - groups of items in lanes: as many items at once as last for a while, and no more of them
 * than may be in flight. */
#include "flow.h"
#include "call.h"
#include "deadlock.h"
#include "error.h"
#include "job.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_GROUP = 1024, /* items in a lane */
    LEAST_LANES = 4,   /* for each worker, before groups are larger than one */
    SHORT_NS = 50000,  /* a group that takes less is too small, */
    LONG_NS = 1000000  /* and one that takes more too large */
};

/* ------------------------------------------------------------------ open and end */

/* The pool that the groups run in. */
static dist_status find_pool(struct dist__flow *f) {
    const dist_opts *o = f->opts;
    f->pool = o->pool;
    if (f->pool) {
        f->backend = f->pool->backend;
        return DIST_OK;
    }
    f->backend = dist__backend_choose(o->executor);
    if (!f->backend) return dist_last_error()->status;
    bool plain = f->backend->executor == DIST_INLINE && !o->worker_init && !o->worker_exit;
    if (plain && !o->cpus) return DIST_OK;
    f->own = f->pool = dist_pool_open(.executor = f->backend->executor, .workers = o->workers,
                                      .worker_init = o->worker_init, .worker_exit = o->worker_exit,
                                      .cpus = o->cpus, .n_cpus = o->n_cpus, .user = o->user);
    return f->pool ? DIST_OK : dist_last_error()->status;
}

static bool make_lanes(struct dist__flow *f, unsigned workers) {
    bool alone = f->backend->executor == DIST_INLINE && !f->job; /* one thread does it all */
    f->in_flight = alone ? 1 : f->opts->in_flight ? f->opts->in_flight : 2 * (size_t)workers;
    f->most_group = f->in_flight / (LEAST_LANES * (size_t)workers);
    if (f->opts->chunk && f->most_group > f->opts->chunk) f->most_group = f->opts->chunk;
    if (f->most_group > MOST_GROUP) f->most_group = MOST_GROUP;
    if (f->most_group == 0 || f->interval_ns) f->most_group = 1;
    f->group = 1;
    /* as many as may be there at once; those that hold one item must be enough for the workers */
    f->lanes = f->in_flight / f->most_group;
    if (f->lanes > 2 * LEAST_LANES * (size_t)workers && f->most_group > 1)
        f->lanes = 2 * LEAST_LANES * (size_t)workers;
    f->lane = calloc(f->lanes, sizeof *f->lane);
    for (size_t k = 0; f->lane && k < f->lanes; k++) {
        f->lane[k].flow = f;
        f->lane[k].items = calloc(f->most_group, f->item_size ? f->item_size : 1);
        f->lane[k].results = calloc(f->most_group, f->result_size ? f->result_size : 1);
        if (!f->lane[k].items || !f->lane[k].results) return false;
    }
    return f->lane != NULL;
}

static void free_lanes(struct dist__flow *f) {
    for (size_t k = 0; f->lane && k < f->lanes; k++) {
        free(f->lane[k].items);
        free(f->lane[k].results);
    }
    free(f->lane);
}

dist_status dist__flow_open(struct dist__flow *f) {
    f->deadline_ns = f->opts->timeout > 0 ? dist__limit_of(f->opts->timeout) : UINT64_MAX;
    f->interval_ns = f->opts->rate > 0 ? dist__after(0, 1 / f->opts->rate) : 0;
    dist_status status = find_pool(f);
    if (status) return status;
    unsigned workers = f->pool ? dist_pool_workers(f->pool) : 1;
    if (f->opts->workers && f->opts->workers < workers) workers = f->opts->workers;
    if (f->opts->pool && f->opts->workers) f->quota.most = f->opts->workers;
    f->stats.workers = workers;
    pthread_mutex_init(&f->asking, NULL);
    if (make_lanes(f, workers ? workers : 1)) return DIST_OK;
    dist__refuse(DIST_NOMEM, 0, "no memory for %zu items in flight", f->in_flight);
    dist__flow_close(f);
    return DIST_NOMEM;
}

/* A flow cannot leave a job of its own, even in a circle of waits: others are told. */
static void end_job(dist_job **job) {
    struct dist__wait wait;
    dist__wait_begin(&wait, job, 1, UINT64_MAX);
    if (dist_job_state(*job) == DIST_RUNNING) dist__wait_list(&wait);
    do dist_job_finish(job);
    while (*job);
    dist__wait_end(&wait);
}

void dist__flow_close(struct dist__flow *f) {
    dist_error why = *dist_last_error(); /* what follows has its own */
    for (size_t k = 0; f->lane && k < f->lanes; k++)
        if (f->lane[k].job) dist_job_cancel(f->lane[k].job, true);
    for (size_t k = 0; f->lane && k < f->lanes; k++)
        if (f->lane[k].job) end_job(&f->lane[k].job);
    free_lanes(f);
    pthread_mutex_destroy(&f->asking);
    dist_pool_free(&f->own);
    dist__remember(&why);
}

/* ------------------------------------------------------------------ reading */

static bool ask_retry(const dist_error *e, void *user) {
    const struct dist__lane *lane = user;
    struct dist__flow *f = lane->flow;
    dist_error error = *e;
    error.index += lane->first;
    pthread_mutex_lock(&f->asking);
    bool again = f->opts->retry_if(&error, f->opts->user);
    pthread_mutex_unlock(&f->asking);
    return again;
}

/* The options of one group. */
static dist_opts group_opts(struct dist__flow *f, const struct dist__lane *lane) {
    const dist_opts *o = f->opts;
    dist_opts opts = {.size = sizeof opts,
                      .pool = f->pool,
                      .executor = f->backend->executor,
                      .chunk = lane->count,
                      .silent = o->silent || o->max_failures > 1,
                      .task_timeout = o->task_timeout,
                      .retries = o->retries,
                      .backoff = o->backoff,
                      .ctx = o->ctx,
                      .ctx_size = o->ctx_size,
                      .arena = o->arena,
                      .token = o->token,
                      .seed = o->seed,
                      .user = (void *)lane};
    if (o->retry_if) opts.retry_if = ask_retry;
    if (f->deadline_ns != UINT64_MAX) {
        uint64_t now = dist__now_ns();
        opts.timeout = now < f->deadline_ns ? (double)(f->deadline_ns - now) * 1e-9 : 1e-9;
    }
    return opts;
}

bool dist__flow_has_room(const struct dist__flow *f) {
    return f->used < f->lanes && f->waiting < f->in_flight;
}

struct dist__lane *dist__flow_lane(struct dist__flow *f, size_t *most) {
    struct dist__lane *lane;
    size_t k = f->oldest + f->used;
    do lane = &f->lane[k++ % f->lanes];
    while (lane->job);
    size_t room = f->in_flight - f->waiting;
    *most = f->group < room ? f->group : room;
    lane->first = f->read;
    lane->count = 0;
    return lane;
}

dist_job *dist__flow_start(struct dist__flow *f, const struct dist__lane *lane) {
    struct dist__batch batch = {.kind = DIST__MAP_ITEMS,
                                .map = f->fn,
                                .n = lane->count,
                                .items = lane->items,
                                .item_size = f->item_size,
                                .out = f->result_size ? lane->results : NULL,
                                .out_size = f->result_size,
                                .pool = f->pool,
                                .of = f->job,
                                .first = lane->first};
    dist_opts opts = group_opts(f, lane);
    if (f->result_size) memset(lane->results, 0, lane->count * f->result_size);
    opts.deferred = true;
    dist_job *job = dist__job_start(&batch, f->backend, &opts);
    if (!job) return NULL;
    if (f->quota.most) job->quota = &f->quota;
    if (!f->job) job->batch.stats = NULL; /* nobody will ask */
    if (dist_job_start(job)) dist_job_finish(&job);
    return job;
}

void dist__flow_began(struct dist__flow *f, struct dist__lane *lane, dist_job *job) {
    lane->job = job;
    f->used++;
    f->read += lane->count;
    f->waiting += lane->count;
}

/* ------------------------------------------------------------------ delivering */

/* Remembers a failure; true: it ends the flow. */
static bool note_failure(struct dist__flow *f, const dist_error *error) {
    if (f->failed++ == 0 || error->index < f->lowest.index) {
        f->lowest = *error;
        f->lowest.item = NULL; /* it will not be there any more */
    }
    size_t most = f->opts->max_failures ? f->opts->max_failures : f->opts->silent ? 0 : 1;
    return most && f->failed >= most;
}

dist_status dist__flow_failure(const struct dist__flow *f) {
    dist__remember(&f->lowest);
    return f->lowest.status;
}

/* The flow ends as this group's job has ended, at an item that did not run. */
static dist_status cut(const struct dist__lane *lane, const dist_error *skipped) {
    dist_status status = dist_job_wait(lane->job, 0);
    dist_error why = status ? *dist_last_error() : *skipped;
    why.index = skipped->index;
    why.item = NULL;
    dist__remember(&why);
    return why.status;
}

dist_status dist__flow_settle(struct dist__flow *f, const struct dist__lane *lane, size_t k,
                              dist_event *event, dist_error *error, bool *stops) {
    *event = (dist_event){
        .index = lane->first + k, .total = SIZE_MAX, .item = lane->items + k * f->item_size};
    *stops = false;
    const dist_error *outcome = dist_job_outcome(lane->job, k);
    if (outcome) {
        *error = *outcome;
        error->index = event->index;
        error->item = event->item;
        /* ended before its time, with the group */
        bool ended = dist__job_cut(lane->job) &&
                     (error->status == DIST_TIMEOUT || error->status == DIST_CANCELLED);
        if (error->status == DIST_SKIPPED || ended) return cut(lane, error);
        *stops = note_failure(f, error);
        event->error = error;
        event->worker = error->worker;
    } else if (f->result_size) {
        event->result = lane->results + k * f->result_size;
    }
    event->done = ++f->done;
    event->failed = f->failed;
    return DIST_OK;
}

/* Groups that end at once may be larger, such that last long are to be smaller. */
static void adapt(struct dist__flow *f, const struct dist__lane *lane) {
    uint64_t took = dist__job_took_ns(lane->job);
    if (lane->count == f->group && took < SHORT_NS && f->group < f->most_group) f->group *= 2;
    if (f->group > f->most_group) f->group = f->most_group;
    if (took > LONG_NS && f->group > 1) f->group /= 2;
}

static void add_stats(struct dist__flow *f, const struct dist__lane *lane) {
    dist_stats group, *all = &f->stats;
    if (dist_job_stats(lane->job, &group)) return;
    all->executor = group.executor;
    all->tasks += group.tasks;
    all->failed += group.failed;
    all->retried += group.retried;
    all->workers_lost += group.workers_lost;
    all->cpu += group.cpu;
    all->busy += group.busy;
    if (group.max > all->max) all->max = group.max;
    if (group.peak_rss > all->peak_rss) all->peak_rss = group.peak_rss;
}

void dist__flow_free(struct dist__flow *f, struct dist__lane *lane) {
    dist_error why = *dist_last_error(); /* what follows has its own */
    adapt(f, lane);
    if (f->job) add_stats(f, lane);
    f->waiting -= lane->count;
    f->used--;
    dist_job_finish(&lane->job);
    dist__remember(&why);
}
