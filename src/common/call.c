/* call.c - the door: every public call comes in here, is checked, becomes a batch, and is handed
 * to a backend. */
#include "call.h"
#include "check.h"
#include "control.h"
#include "error.h"
#include "job.h"
#include "light.h"
#include "order.h"
#include "os.h"
#include "pool.h"
#include "stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const dist_opts dist__no_opts = {.size = sizeof dist__no_opts};

static const struct dist__backend *backend_named(const char *name) {
    for (size_t i = 0; dist__backends[i]; i++)
        if (!strcmp(dist__backends[i]->name, name)) return dist__backends[i];
    return NULL;
}

static const struct dist__backend *backend_of(dist_executor executor) {
    for (size_t i = 0; dist__backends[i]; i++)
        if (dist__backends[i]->executor == executor) return dist__backends[i];
    return NULL;
}

/* $DIST_EXECUTOR is read once: getenv is slow next to a small loop. */
static const struct dist__backend *default_backend(void) {
    static _Atomic(const struct dist__backend *) cached;
    /* relaxed: the backends are constants; two threads may both look the name up */
    const struct dist__backend *backend = atomic_load_explicit(&cached, memory_order_relaxed);
    if (backend) return backend;
    const char *name = getenv("DIST_EXECUTOR");
    if (name && *name) {
        backend = backend_named(name);
        if (!backend) dist__refuse(DIST_INVALID, 0, "$DIST_EXECUTOR: no executor \"%.40s\"", name);
    } else {
        backend = backend_of(DIST_THREAD);
        if (!backend) backend = dist__backends[0];
    }
    atomic_store_explicit(&cached, backend, memory_order_relaxed);
    return backend;
}

const struct dist__backend *dist__backend_choose(dist_executor executor) {
    if (executor == DIST_DEFAULT) return default_backend();
    const struct dist__backend *backend = backend_of(executor);
    if (!backend)
        dist__refuse(DIST_UNSUPPORTED, 0, "executor: %s is not built",
                     executor == DIST_AUTO ? "DIST_AUTO" : "this one");
    return backend;
}

dist_executor dist__call_executor(dist_executor executor) {
    const struct dist__backend *backend = dist__backend_choose(executor);
    return backend ? backend->executor : DIST_DEFAULT;
}

/* How many workers a call may have at most, but for its number of units. */
static unsigned workers_for(const struct dist__batch *batch, const dist_opts *opts,
                            const struct dist__backend *backend) {
    if (batch->pool) {
        unsigned all = dist_pool_workers(batch->pool);
        return opts->workers && opts->workers < all ? opts->workers : all;
    }
    bool alone = backend->executor == DIST_INLINE;
    return opts->workers && !alone ? opts->workers : backend->default_workers(batch->caller);
}

static void size_up(struct dist__batch *batch, const dist_opts *opts,
                    const struct dist__backend *backend) {
    batch->ctx = opts->ctx;
    batch->ctx_size = opts->ctx_size;
    batch->chunk = opts->chunk < batch->n ? opts->chunk : batch->n;
    if (batch->order && !batch->chunk) batch->chunk = 1;
    batch->in_place = opts->in_place;
    batch->caller = batch->job ? NULL : dist__record_current();
    batch->arena = opts->arena ? opts->arena : batch->caller ? batch->caller->arena : NULL;
    batch->seed = opts->seed ? opts->seed : dist__random_nested_seed(batch->caller);
    batch->workers_explicit = opts->workers != 0 || batch->pool;
    batch->workers = workers_for(batch, opts, backend);
    if (batch->kind == DIST__MAP_CHUNKS && !batch->chunk) {
        /* as many chunks as the caller asked for workers, also where they run one after another */
        if (opts->workers) batch->workers = opts->workers;
        if (batch->workers > batch->n) batch->workers = (unsigned)batch->n;
        return;
    }
    size_t units = dist__batch_units(batch);
    if (batch->workers > units) batch->workers = (unsigned)units;
}

/* What the caller hears of a batch that has run. */
static dist_status conclude(struct dist__batch *batch, bool silent) {
    struct dist__outcome *outcome = &batch->outcome;
    dist__outcome_sort(outcome);
    if (outcome->incomplete)
        return dist__refuse(DIST_NOMEM, 0, "no memory to keep %zu failures", outcome->failed_count);
    bool failed = outcome->failed_count > 0 && (!silent || dist__outcome_stopped(outcome));
    dist_error why;
    if (batch->control && dist__control_cut(batch->control, failed, &why)) {
        dist__remember(&why);
        return why.status;
    }
    if (failed) {
        why = outcome->lowest;
        why.index = dist__batch_index(batch, why.index);
        dist__remember(&why);
        return why.status;
    }
    dist_status around = batch->caller ? dist__record_reason(batch->caller) : DIST_OK;
    if (around) return dist__refuse(around, 0, "the task that made this call should have returned");
    return DIST_OK;
}

/* A call that its caller looks after while it runs. */
static dist_status run_looked_after(const struct dist__backend *backend, struct dist__batch *batch,
                                    const dist_opts *opts, dist_status *refused) {
    struct dist__control control;
    struct dist__guest guest;
    dist_error why;
    dist__control_open(&control, batch, opts);
    batch->control = &control;
    if (batch->job) dist__job_joins(batch->job, &control);
    if (batch->pool) dist__pool_joins(batch->pool, &guest, &control);
    if (batch->of) control.stopped = dist__stage_stopped(batch->of->stage); /* it hears the pool */
    /* a task of the pool that the call runs in works itself, and cannot leave */
    batch->abandoned = opts->abandon && backend->executor == DIST_THREAD &&
                       (opts->timeout > 0 || opts->token) &&
                       !(batch->pool && dist__hand_lender(batch->pool));
    /* workers may write when the meters are gone, or do not see them */
    bool apart = batch->abandoned || (batch->pool && backend->executor == DIST_PROCESS);
    if (apart && batch->meters) {
        control.meters = batch->meters;
        control.timed = control.told = true;
        batch->meters = NULL;
    }
    *refused = backend->run(batch);
    dist_status status = *refused ? *refused : conclude(batch, opts->silent);
    if (!*refused && dist__control_cut(&control, batch->outcome.failed_count > 0, &why))
        batch->cut = why.status;
    if (batch->job) dist__job_leaves(batch->job);
    if (batch->pool) dist__pool_leaves(batch->pool, &control);
    dist__control_close(&control);
    batch->control = NULL;
    return status;
}

static dist_status run_sized(const struct dist__backend *backend, struct dist__batch *batch,
                             const dist_opts *opts, dist_status *refused) {
    if (batch->job || batch->pool || dist__control_wanted(opts, batch))
        return run_looked_after(backend, batch, opts, refused);
    *refused = backend->run(batch);
    return *refused ? *refused : conclude(batch, opts->silent);
}

static dist_status run_measured(const struct dist__backend *backend, struct dist__batch *batch,
                                const dist_opts *opts, dist_status *refused) {
    size_up(batch, opts, backend);
    if (!batch->stats) return run_sized(backend, batch, opts, refused);
    struct dist__meters *meters =
        dist__meters_new(batch->workers, backend->executor == DIST_PROCESS && !batch->pool);
    batch->meters = meters;
    dist_status status = run_sized(backend, batch, opts, refused);
    dist__meters_end(meters, batch->stats);
    return status;
}

dist_status dist__call_run(const struct dist__backend *backend, struct dist__batch *batch,
                           const dist_opts *opts, dist_status *refused) {
    *refused = DIST_OK;
    size_t limit = opts->max_failures ? opts->max_failures : opts->silent ? 0 : 1;
    dist__outcome_init(&batch->outcome, limit, opts->job || batch->job);
    batch->control = NULL;
    batch->abandoned = false;
    batch->cut = DIST_OK;
    batch->meters = NULL;
    if (batch->stats) batch->stats->executor = backend->executor;
    if (batch->n == 0) return DIST_OK;
    *refused = dist__order_begin(batch);
    if (*refused) return *refused;
    dist_status status = run_measured(backend, batch, opts, refused);
    dist__order_end(batch);
    return status;
}

static dist_status run_job(const struct dist__backend *backend, const struct dist__batch *batch,
                           const dist_opts *opts) {
    dist_job *job = calloc(1, sizeof *job);
    if (!job) return dist__refuse(DIST_NOMEM, 0, "job: no memory");
    job->batch = *batch;
    job->batch.stats = &job->stats;
    dist_status refused, status = dist__call_run(backend, &job->batch, opts, &refused);
    job->status = status;
    if (status) job->why = *dist_last_error();
    atomic_init(&job->phase, DIST__ENDED);
    *opts->job = job;
    if (refused) dist_job_finish(opts->job);
    return status;
}

static const struct dist__backend *backend_for(const dist_opts *opts) {
    return opts->pool ? opts->pool->backend : dist__backend_choose(opts->executor);
}

/* Runs a batch that has its items and results but no options yet. */
static dist_status run(struct dist__batch *batch, const dist_opts *opts) {
    const struct dist__backend *backend = backend_for(opts);
    if (!backend) return dist_last_error()->status;
    batch->job = batch->of = NULL;
    batch->pool = opts->pool;
    batch->stats = NULL;
    int saved = errno;
    dist_status status;
    /* a thread that is cancelled in a task would take the batch with it, which workers still use */
    int cancel_state = dist__cancel_disable();
    if (opts->pool && (status = dist__pool_begin_call(opts->pool))) {
        dist__cancel_restore(cancel_state);
        return status;
    }
    if (opts->job) {
        status = run_job(backend, batch, opts);
    } else {
        dist_status refused;
        status = dist__call_run(backend, batch, opts, &refused);
        dist__outcome_free(&batch->outcome);
    }
    if (opts->pool) dist__pool_end_call(opts->pool);
    dist__cancel_restore(cancel_state);
    if (status == DIST_OK) errno = saved;
    return status;
}

dist_status dist__call_leave(dist_status status, const dist_opts *opts) {
    if (status && opts->size == sizeof *opts && opts->error) *opts->error = *dist_last_error();
    return status;
}

static dist_status check_arrays(const struct dist__batch *batch) {
    if (!batch->map) return dist__refuse(DIST_INVALID, 0, "fn: is NULL");
    dist_status refused = dist__check_array("items", batch->items, batch->n, batch->item_size);
    if (refused) return refused;
    return dist__check_array("out", batch->out, batch->n, batch->out_size);
}

static dist_status check_call(struct dist__batch *batch, bool needs_items, const dist_opts *opts) {
    dist_status status = check_arrays(batch);
    batch->names = status ? NULL : opts->names;
    if (batch->names) status = dist__check_names("names", batch);
    if (!status && needs_items && batch->n && !batch->items)
        status = dist__refuse(DIST_INVALID, 0, "items: is NULL and n is %zu", batch->n);
    return status;
}

static dist_status check_par(struct dist__batch *batch, const dist_opts *opts) {
    dist_status status = DIST_OK;
    if (opts->names)
        status = dist__refuse(DIST_INVALID, 0, "names: the tasks of par have names of their own");
    if (!status && opts->abandon)
        status =
            dist__refuse(DIST_INVALID, 0, "abandon: not for par, whose tasks are the caller's");
    if (!status) status = dist__check_tasks(batch->tasks, batch->n);
    return status ? status : dist__check_names("tasks", batch);
}

/* What map_fn, apply_fn ... have put together. */
static dist_status check(struct dist__batch *batch, bool needs_items, const dist_opts *opts) {
    if (batch->kind == DIST__PAR_TASKS) return check_par(batch, opts);
    return check_call(batch, needs_items, opts);
}

/* A blocking call. */
static dist_status block(struct dist__batch *batch, bool needs_items, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    batch->each_worker = false;
    dist_status status = dist__check_opts(opts, false);
    if (!status) status = check(batch, needs_items, opts);
    return dist__call_leave(status ? status : run(batch, opts), opts);
}

/* Can it go the short way in its pool? */
static bool is_simple(const struct dist__single *single) {
    const dist_opts *o = single->opts;
    return single->fn && (!single->item || single->item_size) &&
           (!single->result || single->result_size) && dist__mail_suits(o) && !o->deferred &&
           !dist__record_current();
}

/* A job of one item, and nothing to look after, in a pool: NULL if it has to go the longer way. */
static dist_job *go_on_by_mail(const struct dist__single *single) {
    if (!is_simple(single)) return NULL;
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_job *job = dist__mail_start(single);
    dist__cancel_restore(cancel_state);
    errno = saved;
    return job;
}

/* The same with or without a pool. */
static dist_job *go_lightly(dist_fn fn, const void *item, size_t item_size, void *out,
                            size_t out_size, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    bool well = fn && (!item || item_size - 1 < PTRDIFF_MAX) && (!out || out_size);
    if (opts->pool) {
        struct dist__single single = {fn,  item, item ? item_size : 0, out, out ? out_size : 0,
                                      opts};
        return go_on_by_mail(&single);
    }
    if (!well || !dist__light_suits(opts)) return NULL;
    const struct dist__backend *backend =
        opts->executor == DIST_DEFAULT ? default_backend() : backend_of(opts->executor);
    return backend ? dist__light_start(backend, fn, item, out, out_size, opts) : NULL;
}

/* The same for a blocking call in a pool. False: it has to go the longer way. */
static bool go_by_mail(const struct dist__single *single, dist_status *status) {
    const dist_opts *o = single->opts;
    if (!is_simple(single) || !o->pool->backend->pool_apply || o->unordered ||
        !dist__pool_begin_single(o->pool, false))
        return false;
    int saved = errno, cancel_state = dist__cancel_disable();
    bool went = o->pool->backend->pool_apply(o->pool, single, status);
    dist__pool_end_single(o->pool, false);
    dist__cancel_restore(cancel_state);
    if (went && *status == DIST_OK) errno = saved;
    return went;
}

/* A call that goes on by itself. */
static dist_job *go_on(struct dist__batch *batch, bool needs_items, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    int saved = errno, cancel_state = dist__cancel_disable();
    const struct dist__backend *backend = NULL;
    dist_status status = dist__check_opts(opts, true);
    if (!status) status = check(batch, needs_items, opts);
    if (!status) backend = backend_for(opts);
    batch->pool = opts->pool;
    batch->of = NULL;
    batch->each_worker = false;
    dist_job *job = backend ? dist__job_start(batch, backend, opts) : NULL;
    dist__cancel_restore(cancel_state);
    if (job) errno = saved;
    else dist__call_leave(dist_last_error()->status, opts);
    return job;
}

static void describe(struct dist__batch *batch, const void *items, size_t n, size_t item_size,
                     void *out, size_t out_size) {
    batch->first = 0;
    batch->order = NULL;
    batch->items = items, batch->n = n, batch->item_size = item_size;
    batch->out = out, batch->out_size = out_size;
}

dist_status dist_map_fn(dist_fn fn, const void *items, size_t n, size_t item_size, void *out,
                        size_t out_size, const dist_opts *opts) {
    struct dist__batch batch;
    batch.kind = DIST__MAP_ITEMS, batch.map = fn;
    describe(&batch, items, n, item_size, out, out_size);
    return block(&batch, true, opts);
}

dist_job *dist_map_async_fn(dist_fn fn, const void *items, size_t n, size_t item_size, void *out,
                            size_t out_size, const dist_opts *opts) {
    dist_job *light =
        n == 1 && items ? go_lightly(fn, items, item_size, out, out_size, opts) : NULL;
    if (light) return light;
    struct dist__batch batch;
    batch.kind = DIST__MAP_ITEMS, batch.map = fn;
    describe(&batch, items, n, item_size, out, out_size);
    return go_on(&batch, true, opts);
}

dist_status dist_apply_fn(dist_fn fn, const void *arg, size_t arg_size, void *out, size_t out_size,
                          const dist_opts *opts) {
    struct dist__single single = {fn, arg, arg ? arg_size : 0, out, out ? out_size : 0, opts};
    dist_status status;
    if (opts && opts->pool && go_by_mail(&single, &status)) return dist__call_leave(status, opts);
    struct dist__batch batch;
    batch.kind = DIST__MAP_ITEMS, batch.map = fn;
    describe(&batch, arg, 1, arg_size, out, out_size);
    return block(&batch, false, opts);
}

dist_job *dist_apply_async_fn(dist_fn fn, const void *arg, size_t arg_size, void *out,
                              size_t out_size, const dist_opts *opts) {
    dist_job *light = go_lightly(fn, arg, arg_size, out, out_size, opts);
    if (light) return light;
    struct dist__batch batch;
    batch.kind = DIST__MAP_ITEMS, batch.map = fn;
    describe(&batch, arg, 1, arg_size, out, out_size);
    return go_on(&batch, false, opts);
}

dist_status dist_map_chunks_fn(dist_chunk_fn fn, const void *items, size_t n, size_t item_size,
                               void *out, size_t out_size, const dist_opts *opts) {
    struct dist__batch batch;
    batch.kind = DIST__MAP_CHUNKS, batch.chunk_fn = fn;
    describe(&batch, items, n, item_size, out, out_size);
    return block(&batch, true, opts);
}

dist_status dist_for_fn(dist_index_fn fn, size_t n, const dist_opts *opts) {
    struct dist__batch batch;
    batch.kind = DIST__INDICES, batch.index = fn;
    describe(&batch, NULL, n, 0, NULL, 0);
    return block(&batch, false, opts);
}

dist_status dist_each_worker(dist_pool *pool, dist_index_fn fn, void *ctx) {
    if (!pool) return dist__refuse(DIST_INVALID, 0, "pool: is NULL");
    if (!fn) return dist__refuse(DIST_INVALID, 0, "fn: is NULL");
    /* others may do the same, each waiting for the other's worker */
    if (dist__pool_is_inside(pool))
        return dist__refuse(DIST_DEADLOCK, 0, "pool: this task or hook is a part of it");
    dist_opts opts = {.size = sizeof opts, .pool = pool, .ctx = ctx};
    struct dist__batch batch;
    batch.kind = DIST__INDICES, batch.index = fn, batch.names = NULL, batch.each_worker = true;
    describe(&batch, NULL, dist_pool_workers(pool), 0, NULL, 0);
    return run(&batch, &opts);
}

dist_status dist_par_fn(const dist_task *tasks, size_t n, const dist_opts *opts) {
    struct dist__batch batch;
    batch.kind = DIST__PAR_TASKS, batch.tasks = tasks, batch.names = NULL;
    describe(&batch, NULL, n, 0, NULL, 0);
    return block(&batch, false, opts);
}

dist_job *dist_par_async_fn(const dist_task *tasks, size_t n, const dist_opts *opts) {
    struct dist__batch batch;
    batch.kind = DIST__PAR_TASKS, batch.tasks = tasks, batch.names = NULL;
    describe(&batch, NULL, n, 0, NULL, 0);
    return go_on(&batch, false, opts);
}

void dist_shutdown(void) {
    for (size_t i = 0; dist__backends[i]; i++)
        if (dist__backends[i]->shutdown) dist__backends[i]->shutdown();
}
