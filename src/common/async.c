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

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum dist__item_fate { OPEN, WELL, BADLY, SKIPPED };
enum { BEGIN_NS = 10000000 }; /* so long a thread waits for others to begin a job */

/* Of light jobs too. */
static enum dist__phase phase_of(const struct dist_job *job) {
    return dist__phase_of(dist__phase_look((const _Atomic(uint32_t) *)job));
}

static bool move(struct dist_job *job, uint32_t from, uint32_t to) {
    return dist__phase_move(&job->phase, from, to);
}

/* ------------------------------------------------------------------ its life */

static void unref(struct dist_job *job) {
    /* acq_rel: all others have done with it [refs] */
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) > 1) return;
    pthread_mutex_destroy(&job->lock);
    free(job->item);
    free(job->order);
    dist__job_free(job);
}

/* What nobody has told of: a worker process may die between its item's end and the note. */
static void deliver_rest(struct dist_job *job) {
    for (size_t i = 0; job->ended < job->batch.n && i < job->batch.n; i++)
        if (job->item[i] == OPEN)
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

static void publish(struct dist_job *job) {
    dist__phase_end(&job->phase, DIST_OK); /* its own status says how */
    dist__futex_wake(&job->phase, INT_MAX, false);
    /* release: the end; pairs with [changes] */
    atomic_fetch_add_explicit(&job->changes, 1, memory_order_release);
    dist__futex_wake(&job->changes, INT_MAX, false);
    dist__tell_onlookers();
}

/* Differs between threads. */
static uintptr_t this_thread(void) {
    static _Thread_local char anchor;
    return (uintptr_t)&anchor;
}

static void set_runner(struct dist_job *job, uintptr_t thread) {
    /* relaxed: only the thread itself asks for its own name */
    atomic_store_explicit(&job->runner, thread, memory_order_relaxed);
}

static bool is_runner(const struct dist_job *job) {
    /* relaxed: see above */
    return atomic_load_explicit(&job->runner, memory_order_relaxed) == this_thread();
}

/* By whoever has moved it to UNDER_WAY. */
static void run(struct dist_job *job) {
    int saved = errno, cancel_state = dist__cancel_disable();
    set_runner(job, this_thread());
    dist_status refused, status = dist__call_run(job->backend, &job->batch, &job->opts, &refused);
    if (refused) skip_all(job);
    else deliver_rest(job);
    conclude(job, status);
    set_runner(job, 0);
    dist__cancel_restore(cancel_state);
    errno = saved;
}

static void run_here(struct dist_job *job) {
    run(job);
    publish(job);
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
    if (ran) publish(job_of(errand));
    unref(job_of(errand));
}

static void do_errand(struct dist__errand *errand) { errand_done(errand, run_errand(errand)); }

static void *errand_thread(void *errand) {
    dist__thread_name("job", 0);
    do_errand(errand);
    return NULL;
}

/* A thread of its own, where no backend has any. */
static void submit_to_new_thread(struct dist__errand *errand) {
    pthread_t thread;
    if (dist__thread_start(&thread, errand_thread, errand, NULL)) do_errand(errand);
    else pthread_detach(thread);
}

static void submit(struct dist_job *job) {
    void (*to)(struct dist__errand *) = submit_to_new_thread;
    for (size_t i = 0; dist__backends[i]; i++)
        if (dist__backends[i]->submit) to = dist__backends[i]->submit;
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed); /* this thread has one */
    job->errand.run = run_errand;
    job->errand.done = errand_done;
    to(&job->errand);
}

static void start(struct dist_job *job) {
    if (job->backend->executor == DIST_INLINE) {
        if (move(job, DIST__NEW, DIST__UNDER_WAY)) run_here(job);
    } else if (move(job, DIST__NEW, DIST__QUEUED)) {
        submit(job);
    }
}

dist_job *dist__job_start(const struct dist__batch *batch, const struct dist__backend *backend,
                          const dist_opts *opts) {
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
    dist__outcome_init(&job->batch.outcome, 0, true); /* until it runs */
    job->opts = *opts;
    if (!opts->seed) job->opts.seed = dist__random_nested_seed(caller);
    if (!opts->arena && caller) job->opts.arena = caller->arena;
    job->backend = backend;
    job->maker = getpid();
    atomic_init(&job->refs, 1);
    pthread_mutex_init(&job->lock, NULL);
    if (!opts->deferred) start(job);
    return job;
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

void dist__job_leaves(struct dist_job *job) {
    pthread_mutex_lock(&job->lock);
    job->control = NULL;
    pthread_mutex_unlock(&job->lock);
}

void dist__job_observe(struct dist_job *job, struct dist__span items, const dist_error *error) {
    uint8_t fate = !error ? WELL : error->status == DIST_SKIPPED ? SKIPPED : BADLY;
    pthread_mutex_lock(&job->lock);
    for (size_t i = items.begin; i < items.end; i++) {
        if (job->item[i] != OPEN) continue; /* skipped, and told twice */
        job->item[i] = fate;
        if (job->order) job->order[job->ended] = i;
        job->ended++;
    }
    pthread_mutex_unlock(&job->lock);
    /* release: see above [changes] */
    atomic_fetch_add_explicit(&job->changes, 1, memory_order_release);
    dist__futex_wake(&job->changes, INT_MAX, false);
}

/* ------------------------------------------------------------------ waiting */

/* DIST_OK, or why this thread must not wait for the job. */
static dist_status check(const struct dist_job *job) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (dist__is_light(job)) return dist__light_check(dist__light_of(job));
    enum dist__phase phase = phase_of(job);
    if (phase == DIST__ENDED) return DIST_OK;
    if (job->maker != getpid())
        return dist__refuse(DIST_UNSUPPORTED, 0, "job: belongs to another process");
    if (phase == DIST__NEW) return dist__refuse(DIST_STATE, 0, "job: was not started");
    if (is_runner(job)) return dist__refuse(DIST_DEADLOCK, 0, "job: this hook is a part of it");
    for (const struct dist__record *r = dist__record_current(); r; r = r->caller)
        if (r->control && r->control->batch->job == job)
            return dist__refuse(DIST_DEADLOCK, 0, "job: this task is a part of it");
    return DIST_OK;
}

/* Nanoseconds from now until a time; -1: never. */
static int64_t until(uint64_t limit_ns) {
    if (limit_ns == UINT64_MAX) return -1;
    uint64_t now = dist__now_ns();
    return limit_ns > now ? (int64_t)(limit_ns - now) : 0;
}

static uint64_t limit_of(double seconds) {
    return seconds < 0 ? UINT64_MAX : dist__after(dist__now_ns(), seconds);
}

static dist_status how_it_ended(const struct dist_job *job) {
    for (size_t i = 0; dist__backends[i]; i++)
        if (dist__backends[i]->rest) dist__backends[i]->rest();
    if (job->status) dist__remember(&job->why);
    return job->status;
}

dist_status dist_job_wait(dist_job *job, double seconds) {
    if (job && dist__is_light(job)) return dist__light_wait(dist__light_of(job), seconds);
    dist_status refused = check(job);
    if (refused) return refused;
    uint64_t limit = limit_of(seconds);
    if (limit == UINT64_MAX && move(job, DIST__QUEUED, DIST__UNDER_WAY)) run_here(job);
    for (enum dist__phase phase; (phase = phase_of(job)) != DIST__ENDED;) {
        int64_t left = until(limit);
        if (left == 0)
            return dist__refuse(DIST_TIMEOUT, 0, "the job has not ended within %g s", seconds);
        dist__futex_wait(&job->phase, phase, left, false);
    }
    return how_it_ended(job);
}

static void begin_hurried(struct dist_job *job) {
    if (move(job, DIST__QUEUED, DIST__UNDER_WAY)) run_here(job);
    unref(job);
}

static void *hurried_thread(void *job) {
    dist__thread_name("job", 1);
    begin_hurried(job);
    return NULL;
}

/* The threads there are may all be waiting for this job: one more begins it. */
static void hurry(struct dist_job *job) {
    pthread_t thread;
    if (dist__is_light(job)) {
        dist__light_hurry(dist__light_of(job));
        return;
    }
    if (job->hurried) return;
    job->hurried = true;
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed); /* this thread has one */
    if (dist__thread_start(&thread, hurried_thread, job, NULL)) begin_hurried(job);
    else pthread_detach(thread);
}

/* The next item to deliver, if it has ended. */
static bool next_ended(struct dist_job *job, size_t *index) {
    pthread_mutex_lock(&job->lock);
    *index = job->delivered;
    bool any = job->order ? job->delivered < job->ended : job->item[job->delivered] != OPEN;
    if (any && job->order) *index = job->order[job->delivered];
    pthread_mutex_unlock(&job->lock);
    return any;
}

/* Why an item has failed: the failures are sorted at the end. */
static void find_error(struct dist_job *job, size_t index, enum dist__phase phase) {
    const dist_error *error = phase == DIST__ENDED ? dist__job_outcome(job, index) : NULL;
    if (error) job->error = *error;
    else dist__outcome_find(&job->batch.outcome, index, &job->error);
}

static void fill_event(struct dist_job *job, size_t index, enum dist__phase phase,
                       dist_event *event) {
    const struct dist__batch *batch = &job->batch;
    job->delivered++;
    job->error = dist__skipped; /* unless it has failed */
    job->error.index = index;
    dist__batch_describe(batch, &job->error);
    *event = (dist_event){.index = index,
                          .total = batch->n,
                          .done = job->delivered,
                          .name = job->error.name,
                          .item = job->error.item};
    if (job->item[index] == WELL) {
        event->result = dist__batch_result(batch, index);
    } else {
        if (job->item[index] == BADLY) find_error(job, index, phase);
        job->failed += job->item[index] == BADLY;
        event->error = &job->error;
    }
    event->failed = job->failed;
}

dist_status dist_job_next(dist_job *job, dist_event *event, double seconds) {
    if (!event) return dist__refuse(DIST_INVALID, 0, "event: is NULL");
    if (job && dist__is_light(job)) return dist__light_next(dist__light_of(job), event, seconds);
    dist_status refused = check(job);
    if (refused) return refused;
    if (!job->item) return dist__refuse(DIST_INVALID, 0, "job: is one of a blocking call");
    uint64_t limit = limit_of(seconds), begin = dist__now_ns() + BEGIN_NS;
    for (size_t index; job->delivered < job->batch.n;) {
        /* acquire: pairs with [changes] */
        uint32_t changes = atomic_load_explicit(&job->changes, memory_order_acquire);
        enum dist__phase phase = phase_of(job); /* at the end all items have been told of */
        if (next_ended(job, &index)) {
            fill_event(job, index, phase, event);
            return DIST_OK;
        }
        bool queued = phase == DIST__QUEUED && limit == UINT64_MAX && !job->hurried;
        if (queued && dist__now_ns() >= begin) hurry(job), queued = false;
        int64_t left = until(queued ? begin : limit);
        if (left == 0 && !queued)
            return dist__refuse(DIST_TIMEOUT, 0, "no item has ended within %g s", seconds);
        if (left) dist__futex_wait(&job->changes, changes, left, false);
    }
    return DIST_EMPTY;
}

static bool was_hurried(const struct dist_job *job) {
    if (!dist__is_light(job)) return job->hurried;
    return dist__phase_look((const _Atomic(uint32_t) *)job) & DIST__HURRIED;
}

/* The first that has ended, or n. *waiting: one is on its way; *queued: one that has not begun. */
static size_t first_ended(dist_job *const *jobs, size_t n, bool *waiting,
                          struct dist_job **queued) {
    *waiting = false;
    *queued = NULL;
    for (size_t k = 0; k < n; k++) {
        if (!jobs[k] || check(jobs[k])) continue;
        enum dist__phase phase = phase_of(jobs[k]);
        if (phase == DIST__ENDED) return k;
        if (phase == DIST__QUEUED && !*queued && !was_hurried(jobs[k])) *queued = jobs[k];
        *waiting = true;
    }
    return n;
}

/* Looks, sleeps, and looks again. */
static size_t await_any(dist_job *const *jobs, size_t n, double seconds) {
    uint64_t limit = limit_of(seconds), begin = dist__now_ns() + BEGIN_NS;
    uint32_t ended = dist__onlookers_enter(&dist__onlookers);
    for (;;) {
        bool waiting;
        struct dist_job *queued;
        size_t first = first_ended(jobs, n, &waiting, &queued);
        if (first < n || !waiting) return first;
        if (limit != UINT64_MAX) queued = NULL;
        if (queued && dist__now_ns() >= begin) hurry(queued), queued = NULL;
        int64_t left = until(queued ? begin : limit);
        if (left == 0 && !queued) return n;
        if (left) dist__futex_wait(&dist__onlookers.ended, ended, left, false);
        ended = dist__onlookers_look(&dist__onlookers);
    }
}

size_t dist_job_wait_any(dist_job *const *jobs, size_t n, double seconds) {
    bool waiting;
    struct dist_job *queued;
    size_t first = first_ended(jobs, n, &waiting, &queued);
    if (first < n || !waiting || seconds == 0) return first;
    first = await_any(jobs, n, seconds);
    dist__onlookers_leave(&dist__onlookers);
    return first;
}

/* ------------------------------------------------------------------ the handle */

static bool is_foreign(const struct dist_job *job) { return job->maker != getpid(); }

dist_status dist_job_start(dist_job *job) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    int cancel_state = dist__cancel_disable();
    dist_status status = DIST_OK;
    if (dist__is_light(job)) status = dist__light_begin(dist__light_of(job));
    else if (phase_of(job) != DIST__ENDED && is_foreign(job))
        status = dist__refuse(DIST_UNSUPPORTED, 0, "job: belongs to another process");
    else if (phase_of(job) != DIST__NEW)
        status = dist__refuse(DIST_STATE, 0, "job: was started before");
    else start(job);
    dist__cancel_restore(cancel_state);
    return status;
}

dist_status dist_job_state(const dist_job *job) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (dist__is_light(job)) return dist__light_state(dist__light_of(job));
    enum dist__phase phase = phase_of(job);
    if (phase == DIST__ENDED) return job->status;
    if (is_foreign(job)) return DIST_UNSUPPORTED;
    return phase == DIST__NEW ? DIST_PENDING : DIST_RUNNING;
}

/* It has not begun, and will not. */
static void end_unrun(struct dist_job *job) {
    struct dist__batch *batch = &job->batch;
    batch->cut = DIST_CANCELLED;
    /* relaxed: see dist_job_cancel */
    atomic_store_explicit(&job->cancel, 1, memory_order_relaxed);
    skip_all(job);
    conclude(job, dist__refuse(DIST_CANCELLED, 0, "cancelled before it began"));
    publish(job);
}

static bool was_cancelled(const struct dist_job *job) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&job->cancel, memory_order_relaxed) != 0;
}

dist_status dist_job_cancel(dist_job *job, bool running_too) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (dist__is_light(job)) return dist__light_cancel(dist__light_of(job), running_too);
    if (phase_of(job) != DIST__ENDED && job->maker != getpid())
        return dist__refuse(DIST_UNSUPPORTED, 0, "job: belongs to another process");
    if (move(job, DIST__NEW, DIST__UNDER_WAY) || move(job, DIST__QUEUED, DIST__UNDER_WAY)) {
        end_unrun(job);
        return DIST_OK;
    }
    if (phase_of(job) == DIST__ENDED)
        return was_cancelled(job) ? DIST_OK : dist__refuse(DIST_STATE, 0, "job: had ended before");
    if (!running_too) return DIST_RUNNING;
    /* relaxed: a fact by itself */
    atomic_store_explicit(&job->cancel, 1, memory_order_relaxed);
    int cancel_state = dist__cancel_disable(); /* the lock must not go with the thread */
    pthread_mutex_lock(&job->lock);
    if (job->control) dist__control_ring(job->control);
    pthread_mutex_unlock(&job->lock);
    dist__cancel_restore(cancel_state);
    return DIST_OK;
}

dist_status dist_job_finish(dist_job **handle) {
    if (!handle || !*handle) return DIST_OK;
    if (dist__is_light(*handle)) return dist__light_finish(handle);
    dist_job *job = *handle;
    dist_status status = DIST_OK;
    if (phase_of(job) != DIST__NEW) {
        dist_status refused = check(job);
        if (refused == DIST_DEADLOCK) return refused;
        if (!refused) {
            dist_job_wait(job, DIST_FOREVER);
            status = dist__job_as_if_loud(job);
        } else {
            *handle = NULL; /* its threads are in another process: it stays as it is */
            return refused;
        }
    }
    *handle = NULL;
    if (job->item) unref(job);
    else dist__job_free(job);
    return status;
}
