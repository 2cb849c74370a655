/* async.c - calls that go on by themselves.
 *
 *     NEW -> QUEUED -> UNDER_WAY -> ENDED        (NEW or QUEUED -> UNDER_WAY -> ENDED by cancel)
 *
 * Whoever moves a job to UNDER_WAY runs it: a thread of a backend that has taken its errand, or a
 * thread that waits for it without limit and finds it not begun. So a wait needs no other thread.
 */
#include "call.h"
#include "error.h"
#include "job.h"
#include "light.h"
#include "onlookers.h"
#include "pool.h"
#include "stage.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of light jobs too. */
enum dist__phase dist__job_phase(const struct dist_job *job) {
    return dist__phase_of(dist__is_light(job) ? dist__light_look(dist__light_of(job))
                                              : dist__phase_look(&job->phase));
}

static bool move(struct dist_job *job, uint32_t from, uint32_t to) {
    return dist__phase_move(&job->phase, from, to);
}

/* ------------------------------------------------------------------ its life */

void dist__job_ref(struct dist_job *job) {
    /* relaxed: somebody has one [refs] */
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
}

void dist__job_unref(struct dist_job *job) {
    /* acq_rel: all others have done with it [refs] */
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) > 1) return;
    pthread_mutex_destroy(&job->lock);
    free(job->item);
    free(job->order);
    if (job->stage) dist__stage_free(job->stage);
    dist__job_free(job);
}

/* What nobody has told of: a worker process may die between its item's end and the note. */
static void deliver_rest(struct dist_job *job) {
    for (size_t i = 0; job->ended < job->batch.n && i < job->batch.n; i++)
        if (job->item[i] == DIST__OPEN)
            dist__job_observe(job, (struct dist__span){i, i + 1}, dist__job_outcome(job, i));
}

/* Nothing has run, and nothing will. */
static void skip_all(struct dist_job *job) {
    dist__outcome_skip(&job->batch.outcome, 0, job->batch.n);
    dist__outcome_sort(&job->batch.outcome);
    dist__job_observe(job, (struct dist__span){0, job->batch.n}, &dist__skipped);
}

/* Keeps how it ended; nobody sees it yet. */
static void conclude(struct dist_job *job, dist_status status) {
    job->status = status;
    if (status) job->why = *dist_last_error();
    if (status && job->opts.error) *job->opts.error = job->why;
}

static void tell_changes(struct dist_job *job) {
    if (dist__changes_tell(&job->changes)) dist__futex_wake(&job->changes, INT_MAX, false);
}

static void publish(struct dist_job *job) {
    bool waited = dist__phase_end(&job->phase, DIST_OK); /* its own status says how */
    if (waited) dist__futex_wake(&job->phase, INT_MAX, false);
    tell_changes(job);
    dist__tell_onlookers();
}

static _Thread_local const struct dist_job *running;

const struct dist_job *dist__job_running(void) { return running; }

/* By whoever has moved it to UNDER_WAY. */
static void run(struct dist_job *job) {
    int saved = errno, cancel_state = dist__cancel_disable();
    uint64_t begin_ns = dist__now_ns();
    job->below = running;
    running = job;
    dist_status refused = DIST_OK, status = job->stage ? dist__stage_run(job->stage)
                                                       : dist__call_run(job->backend, &job->batch,
                                                                        &job->opts, &refused);
    if (refused) skip_all(job);
    else deliver_rest(job);
    conclude(job, status);
    job->took_ns = dist__now_ns() - begin_ns;
    running = job->below;
    dist__cancel_restore(cancel_state);
    errno = saved;
}

/* It has ended, for all to see. It was started, so it counts in its pool. */
static void end(struct dist_job *job) {
    struct dist_pool *pool = job->batch.pool;
    if (pool && job->quota) dist__pool_give_back(pool, job);
    publish(job);
    if (pool) dist__pool_end_call(pool);
}

void dist__job_run_here(struct dist_job *job) {
    run(job);
    end(job);
}

/* It has not begun, and will not. */
static void conclude_unrun(struct dist_job *job) {
    struct dist__batch *batch = &job->batch;
    batch->cut = DIST_CANCELLED;
    /* relaxed: see dist_job_cancel */
    atomic_store_explicit(&job->cancel, 1, memory_order_relaxed);
    skip_all(job);
    if (job->stage) dist__stage_leave(job->stage);
    conclude(job, dist__refuse(DIST_CANCELLED, 0, "cancelled before it began"));
}

static void end_unrun(struct dist_job *job) {
    dist__job_ref(job);
    conclude_unrun(job);
    end(job);
    dist__job_unref(job);
}

bool dist__job_begin(struct dist_job *job) {
    if (!job->batch.pool) return move(job, DIST__QUEUED, DIST__UNDER_WAY);
    bool listed, mine = dist__pool_take(job->batch.pool, job, &listed);
    if (listed) dist__job_unref(job);
    return mine;
}

/* The same for somebody who ends it unrun. */
static bool take_unrun(struct dist_job *job) {
    if (!move(job, DIST__QUEUED, DIST__UNDER_WAY)) return false;
    if (job->batch.pool && dist__pool_unqueue(job->batch.pool, job)) dist__job_unref(job);
    return true;
}

static struct dist_job *job_of(struct dist__errand *errand) {
    return (struct dist_job *)((char *)errand - offsetof(struct dist_job, errand));
}

static bool run_errand(struct dist__errand *errand) {
    bool mine = move(job_of(errand), DIST__QUEUED, DIST__UNDER_WAY);
    if (mine) run(job_of(errand));
    return mine;
}

static void errand_done(struct dist__errand *errand, bool ran) {
    struct dist_job *job = job_of(errand);
    if (ran) end(job);
    if (job->batch.pool) dist__pool_next(job->batch.pool);
    dist__job_unref(job);
}

void dist__job_submit(struct dist_job *job) {
    job->errand.run = run_errand;
    job->errand.done = errand_done;
    job->errand.of_pool = job->batch.pool != NULL;
    /* one hand-out: a worker of the pool does it alone; else somebody must look after the workers
     */
    bool one = job->batch.n == 1 || job->opts.chunk >= job->batch.n;
    bool direct = job->batch.pool && job->backend->pool_errand && one && !job->opts.retries;
    if (direct) job->backend->pool_errand(job->batch.pool, &job->errand);
    else dist__errand_submit(&job->errand);
}

void dist__job_drop(struct dist_job *job) {
    if (move(job, DIST__QUEUED, DIST__UNDER_WAY)) end_unrun(job);
    dist__job_unref(job);
}

static void *stage_main(void *arg) {
    struct dist_job *job = arg;
    dist__thread_name("stage", 1);
    if (dist__job_begin(job)) dist__job_run_here(job);
    dist__job_unref(job);
    return NULL;
}

/* It lasts, so it has threads of its own. */
static dist_status submit_stage(struct dist_job *job) {
    pthread_t thread;
    int error = dist__thread_start(&thread, stage_main, job, dist__record_affinity());
    if (!error) {
        pthread_detach(thread);
        return DIST_OK;
    }
    if (move(job, DIST__QUEUED, DIST__NEW) && job->batch.pool) dist__pool_end_call(job->batch.pool);
    dist__job_unref(job);
    return dist__refuse(DIST_SYSTEM, error, "stage: no thread: %s", strerror(error));
}

/* From QUEUED on, the job may be over at any time. */
static dist_status submit(struct dist_job *job) {
    struct dist_pool *pool = job->batch.pool;
    dist__job_ref(job);
    if (job->stage) return submit_stage(job);
    if (!pool) {
        dist__job_submit(job);
        return DIST_OK;
    }
    bool listed;
    dist_status refused = dist__pool_queue(pool, job, &listed);
    if (refused && move(job, DIST__QUEUED, DIST__NEW)) dist__pool_end_call(pool);
    if (!listed) dist__job_unref(job);
    return refused;
}

/* A job counts in its pool from before QUEUED to its end; this thread counts, too, since the job
 * may be cancelled while this waits for room. */
static dist_status start(struct dist_job *job) {
    struct dist_pool *pool = job->batch.pool;
    bool here = job->backend->executor == DIST_INLINE && !job->stage;
    dist_status status = DIST_OK;
    if (pool && job->batch.of) dist__pool_count_again(pool); /* its stage has begun */
    else if (pool) status = dist__pool_begin_call(pool);
    if (status) return status;
    if (pool) dist__pool_count_again(pool);
    if (!move(job, DIST__NEW, here ? DIST__UNDER_WAY : DIST__QUEUED)) {
        if (pool) dist__pool_end_call(pool);
    } else if (here) {
        dist__job_ref(job);
        dist__job_run_here(job);
        dist__job_unref(job);
    } else {
        status = submit(job);
    }
    if (pool) dist__pool_end_call(pool);
    return status;
}

static struct dist_job *new_job(const struct dist__batch *batch,
                                const struct dist__backend *backend, const dist_opts *opts) {
    struct dist__record *caller = dist__record_current();
    struct dist_job *job = calloc(1, sizeof *job);
    if (job) {
        job->item = calloc(batch->n ? batch->n : 1, sizeof *job->item);
        if (opts->unordered) job->order = malloc((batch->n ? batch->n : 1) * sizeof *job->order);
    }
    if (!job || !job->item || (opts->unordered && !job->order)) {
        if (job) free(job->item);
        free(job);
        dist__refuse(DIST_NOMEM, 0, "no memory for a job of %zu items", batch->n);
        return NULL;
    }
    job->batch = *batch;
    job->batch.job = job;
    job->batch.stats = &job->stats;
    if (batch->kind == DIST__PAR_TASKS) job->tasks = batch->tasks;
    dist__outcome_init(&job->batch.outcome, 0, true); /* until it runs */
    job->opts = *opts;
    if (!opts->seed) job->opts.seed = dist__random_nested_seed(caller);
    if (!opts->arena && caller) job->opts.arena = caller->arena;
    job->backend = backend;
    job->maker = getpid();
    atomic_init(&job->refs, 1);
    pthread_mutex_init(&job->lock, NULL);
    return job;
}

static dist_job *started(struct dist_job *job, bool deferred) {
    if (deferred || start(job) == DIST_OK) return job;
    if (job->stage) dist__stage_withdraw(job->stage);
    dist__job_unref(job);
    return NULL;
}

dist_job *dist__job_start(const struct dist__batch *batch, const struct dist__backend *backend,
                          const dist_opts *opts) {
    struct dist_job *job = new_job(batch, backend, opts);
    return job ? started(job, opts->deferred) : NULL;
}

dist_job *dist__job_start_stage(struct dist__stage *stage, dist_job **handle,
                                const struct dist__backend *backend, const dist_opts *opts) {
    struct dist__batch none = {.kind = DIST__MAP_ITEMS, .workers = 1, .pool = opts->pool};
    struct dist_job *job = *handle = new_job(&none, backend, opts);
    if (!job) {
        dist__stage_withdraw(stage);
        dist__stage_free(stage);
        return NULL;
    }
    job->stage = stage;
    return started(job, opts->deferred);
}

/* ------------------------------------------------------------------ while it runs */

void dist__job_joins(struct dist_job *job, struct dist__control *control) {
    control->cancel = &job->cancel;
    control->observe = dist__job_observe;
    control->told = true;
    pthread_mutex_lock(&job->lock);
    job->control = control;
    pthread_mutex_unlock(&job->lock);
}

void dist__job_offer(struct dist_job *job, void (*hold)(void *crew), dist__help *help, void *crew) {
    pthread_mutex_lock(&job->lock);
    job->hold = hold;
    job->help = help;
    job->crew = crew;
    pthread_mutex_unlock(&job->lock);
}

void dist__job_leaves(struct dist_job *job) {
    pthread_mutex_lock(&job->lock);
    job->control = NULL;
    job->help = NULL;
    pthread_mutex_unlock(&job->lock);
}

void dist__job_observe(struct dist_job *job, struct dist__span items, const dist_error *error) {
    uint8_t fate = !error                          ? DIST__WELL
                   : error->status == DIST_SKIPPED ? DIST__SKIPPED
                                                   : DIST__BADLY;
    pthread_mutex_lock(&job->lock);
    for (size_t k = items.begin; k < items.end; k++) {
        size_t i = dist__batch_index(&job->batch, k);
        if (job->item[i] != DIST__OPEN) continue; /* skipped, and told twice */
        job->item[i] = fate;
        if (job->order) job->order[job->ended] = i;
        job->ended++;
    }
    pthread_mutex_unlock(&job->lock);
    tell_changes(job);
}

/* ------------------------------------------------------------------ the handle */

static bool is_foreign(const struct dist_job *job) { return job->maker != getpid(); }

dist_status dist_job_start(dist_job *job) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    int cancel_state = dist__cancel_disable();
    dist_status status = DIST_OK;
    if (dist__is_light(job)) status = dist__light_begin(dist__light_of(job));
    else if (dist__job_phase(job) != DIST__ENDED && is_foreign(job))
        status = dist__job_refuse_foreign();
    else if (dist__job_phase(job) != DIST__NEW)
        status = dist__refuse(DIST_STATE, 0, "job: was started before");
    else status = start(job);
    dist__cancel_restore(cancel_state);
    return status;
}

static bool was_cancelled(const struct dist_job *job) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&job->cancel, memory_order_relaxed) != 0;
}

dist_status dist_job_cancel(dist_job *job, bool running_too) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (dist__is_light(job)) return dist__light_cancel(dist__light_of(job), running_too);
    if (dist__job_phase(job) != DIST__ENDED && is_foreign(job)) return dist__job_refuse_foreign();
    if (move(job, DIST__NEW, DIST__UNDER_WAY)) { /* it never counted in its pool */
        dist__job_ref(job);
        conclude_unrun(job);
        publish(job);
        dist__job_unref(job);
        return DIST_OK;
    }
    if (take_unrun(job)) {
        end_unrun(job);
        return DIST_OK;
    }
    if (dist__job_phase(job) == DIST__ENDED)
        return was_cancelled(job) ? DIST_OK : dist__refuse(DIST_STATE, 0, "job: had ended before");
    if (!running_too) return DIST_RUNNING;
    /* relaxed: a fact by itself */
    atomic_store_explicit(&job->cancel, 1, memory_order_relaxed);
    int cancel_state = dist__cancel_disable(); /* the lock must not go with the thread */
    pthread_mutex_lock(&job->lock);
    if (job->control) dist__control_ring(job->control);
    pthread_mutex_unlock(&job->lock);
    if (job->stage) dist__stage_stop(job->stage);
    dist__cancel_restore(cancel_state);
    return DIST_OK;
}

dist_status dist_job_detach(dist_job **handle) {
    if (!handle || !*handle) return DIST_OK;
    if (dist__is_light(*handle)) return dist__light_detach(handle);
    dist_job *job = *handle;
    if (dist__job_phase(job) == DIST__NEW)
        return dist__refuse(DIST_STATE, 0, "job: was not started");
    *handle = NULL;
    if (job->item) dist__job_unref(job);
    else dist__job_free(job);
    return DIST_OK;
}

dist_status dist_job_finish(dist_job **handle) {
    if (!handle || !*handle) return DIST_OK;
    if (dist__is_light(*handle)) return dist__light_finish(handle);
    dist_job *job = *handle;
    dist_status status = DIST_OK;
    if (dist__job_phase(job) != DIST__NEW) {
        dist_status refused = dist__job_check(job);
        if (refused == DIST_DEADLOCK) return refused;
        if (!refused) {
            status = dist_job_wait(job, DIST_FOREVER);
            if (dist__job_phase(job) != DIST__ENDED) return status; /* it never does */
            status = dist__job_as_if_loud(job);
        } else {
            *handle = NULL; /* its threads are in another process: it stays as it is */
            return refused;
        }
    }
    *handle = NULL;
    if (job->item) dist__job_unref(job);
    else dist__job_free(job);
    return status;
}
