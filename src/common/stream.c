/* stream.c - a loop whose items come one by one: groups of them travel as jobs of a pool, in a ring
 * of lanes. The calling thread reads items into free lanes and delivers those that have ended. */
#include "call.h"
#include "check.h"
#include "error.h"
#include "job.h"
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_GROUP = 1024, /* items in a lane */
    LEAST_LANES = 4,   /* for each worker, before groups are larger than one */
    SHORT_NS = 50000,  /* a group that takes less is too small, */
    LONG_NS = 1000000  /* and one that takes more too large */
};
static const double LONG_S = 1e9; /* a wait that is one for ever, but never runs the job itself */

struct lane {
    dist_job *job; /* NULL: it is free */
    size_t first, count;
    unsigned char *items, *results;
};

struct stream {
    const dist_opts *opts;
    const struct dist__backend *backend;
    dist_pool *pool, *own; /* NULL, both: INLINE without one; own: opened here */
    dist_fn fn;
    size_t item_size, result_size;
    dist_next_fn next;
    void *source;
    dist_sink_fn sink;

    struct lane *lane; /* a ring: `used` of them from `oldest` on (unordered: any of them) */
    dist_job **jobs;   /* of all lanes, for a wait for any */
    size_t lanes, used, oldest;
    size_t in_flight, waiting; /* items, at most, and now */
    size_t group, most_group;  /* items of the next lane */
    size_t read, done, failed;
    bool at_end;
    struct dist__record reader; /* of the source, for its dist_fail */
    uint64_t deadline_ns, turn_ns, interval_ns;
    pthread_mutex_t asking; /* one retry_if at a time */
    dist_error lowest;      /* failure so far, by index */
};

/* ------------------------------------------------------------------ reading */

/* One item into the lane. False: there is none. */
static bool read_item(struct stream *s, struct lane *lane) {
    struct dist__record *outer = dist__record_current();
    s->reader.code = 0;
    dist__record_switch(&s->reader);
    s->at_end = !s->next(lane->items + lane->count * s->item_size, s->source);
    dist__record_switch(outer);
    if (s->at_end) return false;
    lane->count++;
    s->read++;
    s->waiting++;
    return true;
}

static bool may_read(const struct stream *s) {
    return !s->at_end && s->used < s->lanes && s->waiting < s->in_flight &&
           (s->interval_ns == 0 || dist__now_ns() >= s->turn_ns);
}

static bool ask_retry(const dist_error *e, void *stream) {
    struct stream *s = stream;
    pthread_mutex_lock(&s->asking);
    bool again = s->opts->retry_if(e, s->opts->user);
    pthread_mutex_unlock(&s->asking);
    return again;
}

/* The options of one group. */
static dist_opts group_opts(struct stream *s, const struct lane *lane) {
    const dist_opts *o = s->opts;
    dist_opts opts = {.size = sizeof opts,
                      .pool = s->pool,
                      .executor = s->backend->executor,
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
                      .user = s};
    if (o->retry_if) opts.retry_if = ask_retry;
    if (s->deadline_ns != UINT64_MAX) {
        uint64_t now = dist__now_ns();
        opts.timeout = now < s->deadline_ns ? (double)(s->deadline_ns - now) * 1e-9 : 1e-9;
    }
    return opts;
}

static dist_status start_lane(struct stream *s, struct lane *lane) {
    struct dist__batch batch = {.kind = DIST__MAP_ITEMS,
                                .map = s->fn,
                                .n = lane->count,
                                .items = lane->items,
                                .item_size = s->item_size,
                                .out = s->result_size ? lane->results : NULL,
                                .out_size = s->result_size,
                                .pool = s->pool,
                                .first = lane->first};
    dist_opts opts = group_opts(s, lane);
    if (s->result_size) memset(lane->results, 0, lane->count * s->result_size);
    lane->job = dist__job_start(&batch, s->backend, &opts);
    if (!lane->job) return dist_last_error()->status;
    s->used++;
    return DIST_OK;
}

static struct lane *free_lane(struct stream *s) {
    for (size_t k = 0; k < s->lanes; k++) {
        struct lane *lane = &s->lane[(s->oldest + s->used + k) % s->lanes];
        if (!lane->job) return lane;
    }
    return NULL;
}

/* Fills one lane and sends it off. */
static dist_status fill_lane(struct stream *s) {
    struct lane *lane = free_lane(s);
    lane->first = s->read;
    lane->count = 0;
    while (lane->count < s->group && s->waiting < s->in_flight && read_item(s, lane)) continue;
    if (s->interval_ns) s->turn_ns = dist__now_ns() + s->interval_ns;
    return lane->count ? start_lane(s, lane) : DIST_OK;
}

/* ------------------------------------------------------------------ delivering */

static dist_event event_of(const struct stream *s, const struct lane *lane, size_t k) {
    return (dist_event){.index = lane->first + k,
                        .done = s->done,
                        .failed = s->failed,
                        .total = SIZE_MAX,
                        .item = lane->items + k * s->item_size};
}

/* Remembers a failure; true: it ends the stream. */
static bool note_failure(struct stream *s, const dist_error *error) {
    if (s->failed++ == 0 || error->index < s->lowest.index) {
        s->lowest = *error;
        s->lowest.item = NULL; /* it will not be there any more */
    }
    size_t most = s->opts->max_failures ? s->opts->max_failures : s->opts->silent ? 0 : 1;
    return most && s->failed >= most;
}

/* The stream ends as this group's job has ended, at an item that did not run. */
static dist_status cut(const struct lane *lane, const dist_error *skipped) {
    dist_status status = dist_job_wait(lane->job, 0);
    dist_error why = status ? *dist_last_error() : *skipped;
    why.index = skipped->index;
    why.item = NULL;
    dist__remember(&why);
    return why.status;
}

static dist_status deliver_item(struct stream *s, struct lane *lane, size_t k, bool *enough) {
    dist_event event = event_of(s, lane, k);
    const dist_error *outcome = dist_job_outcome(lane->job, k);
    dist_error error;
    bool stops = false;
    if (outcome) {
        error = *outcome;
        error.index = event.index;
        error.item = event.item;
        /* ended before its time, with the group */
        bool ended = dist__job_cut(lane->job) &&
                     (error.status == DIST_TIMEOUT || error.status == DIST_CANCELLED);
        if (error.status == DIST_SKIPPED || ended) return cut(lane, &error);
        stops = note_failure(s, &error);
        event.error = &error;
        event.worker = error.worker;
    } else if (s->result_size) {
        event.result = lane->results + k * s->result_size;
    }
    event.done = ++s->done;
    event.failed = s->failed;
    *enough = !s->sink(&event, s->opts->user);
    if (!stops) return DIST_OK;
    dist__remember(&s->lowest);
    return s->lowest.status;
}

/* Groups that end at once may be larger, such that last long are to be smaller. */
static void adapt(struct stream *s, const struct lane *lane) {
    uint64_t took = dist__job_took_ns(lane->job);
    if (lane->count == s->group && took < SHORT_NS && s->group < s->most_group) s->group *= 2;
    if (s->group > s->most_group) s->group = s->most_group;
    if (took > LONG_NS && s->group > 1) s->group /= 2;
}

static dist_status deliver(struct stream *s, struct lane *lane, bool *enough) {
    dist_status status = DIST_OK;
    for (size_t k = 0; k < lane->count && !status && !*enough; k++)
        status = deliver_item(s, lane, k, enough);
    adapt(s, lane);
    s->waiting -= lane->count;
    s->used--;
    dist_error why = *dist_last_error(); /* what follows has its own */
    if (status || *enough) dist_job_cancel(lane->job, true);
    dist_job_finish(&lane->job);
    if (status) dist__remember(&why);
    return status;
}

/* Seconds that it is worth to wait for the next end. */
static double patience(const struct stream *s) {
    if (s->interval_ns && !s->at_end && s->used < s->lanes && s->waiting < s->in_flight) {
        uint64_t now = dist__now_ns();
        return s->turn_ns > now ? (double)(s->turn_ns - now) * 1e-9 : 0;
    }
    /* a worker of the pool that waits may have to run the job itself */
    return s->pool && dist__hand_lender(s->pool) ? DIST_FOREVER : LONG_S;
}

/* The next lane to deliver, when it has ended; NULL: not yet. */
static struct lane *await_lane(struct stream *s) {
    if (s->opts->unordered) {
        for (size_t k = 0; k < s->lanes; k++) s->jobs[k] = s->lane[k].job;
        size_t k = dist_job_wait_any(s->jobs, s->lanes, patience(s));
        return k < s->lanes ? &s->lane[k] : NULL;
    }
    struct lane *lane = &s->lane[s->oldest];
    dist_job_wait(lane->job, patience(s));
    if (dist_job_state(lane->job) == DIST_RUNNING) return NULL;
    s->oldest = (s->oldest + 1) % s->lanes;
    return lane;
}

/* ------------------------------------------------------------------ the whole */

static dist_status source_failed(const struct stream *s) {
    dist_error error = {.status = DIST_FAILED, .code = s->reader.code, .index = s->read};
    memcpy(error.message, s->reader.message, sizeof error.message);
    dist__remember(&error);
    return DIST_FAILED;
}

static dist_status flow(struct stream *s) {
    bool enough = false;
    dist_status status = DIST_OK;
    while (!status && !enough) {
        while (!status && may_read(s)) status = fill_lane(s);
        if (status) break;
        if (s->used == 0) {
            if (s->at_end) return s->reader.code ? source_failed(s) : DIST_OK;
            dist__sleep_until(s->turn_ns);
            continue;
        }
        struct lane *lane = await_lane(s);
        if (lane) status = deliver(s, lane, &enough);
    }
    if (enough && !status) status = dist__refuse(DIST_CANCELLED, 0, "the sink has had enough");
    return status;
}

/* What is still under way is of no use to anybody. */
static void stop(struct stream *s) {
    dist_error why = *dist_last_error();
    for (size_t k = 0; k < s->lanes; k++)
        if (s->lane[k].job) dist_job_cancel(s->lane[k].job, true);
    for (size_t k = 0; k < s->lanes; k++) dist_job_finish(&s->lane[k].job);
    dist__remember(&why);
}

static bool make_lanes(struct stream *s, unsigned workers) {
    bool alone = s->backend->executor == DIST_INLINE;
    s->in_flight = alone ? 1 : s->opts->in_flight ? s->opts->in_flight : 2 * (size_t)workers;
    s->most_group = s->in_flight / (LEAST_LANES * (size_t)workers);
    if (s->opts->chunk && s->most_group > s->opts->chunk) s->most_group = s->opts->chunk;
    if (s->most_group > MOST_GROUP) s->most_group = MOST_GROUP;
    if (s->most_group == 0 || s->interval_ns) s->most_group = 1;
    s->group = 1;
    /* as many as may be there at once; those that hold one item must be enough for the workers */
    s->lanes = s->in_flight / s->most_group;
    if (s->lanes > 2 * LEAST_LANES * (size_t)workers && s->most_group > 1)
        s->lanes = 2 * LEAST_LANES * (size_t)workers;
    s->lane = calloc(s->lanes, sizeof *s->lane);
    s->jobs = calloc(s->lanes, sizeof *s->jobs);
    for (size_t k = 0; s->lane && s->jobs && k < s->lanes; k++) {
        s->lane[k].items = calloc(s->most_group, s->item_size ? s->item_size : 1);
        s->lane[k].results = calloc(s->most_group, s->result_size ? s->result_size : 1);
        if (!s->lane[k].items || !s->lane[k].results) return false;
    }
    return s->lane && s->jobs;
}

static void free_lanes(struct stream *s) {
    for (size_t k = 0; s->lane && k < s->lanes; k++) {
        free(s->lane[k].items);
        free(s->lane[k].results);
    }
    free(s->lane);
    free(s->jobs);
}

/* The pool that the groups run in. */
static dist_status find_pool(struct stream *s) {
    const dist_opts *o = s->opts;
    s->pool = o->pool;
    if (s->pool) {
        s->backend = s->pool->backend;
        return DIST_OK;
    }
    s->backend = dist__backend_choose(o->executor);
    if (!s->backend) return dist_last_error()->status;
    bool plain = s->backend->executor == DIST_INLINE && !o->worker_init && !o->worker_exit;
    if (plain && !o->cpus) return DIST_OK;
    s->own = s->pool = dist_pool_open(.executor = s->backend->executor, .workers = o->workers,
                                      .worker_init = o->worker_init, .worker_exit = o->worker_exit,
                                      .cpus = o->cpus, .n_cpus = o->n_cpus, .user = o->user);
    return s->pool ? DIST_OK : dist_last_error()->status;
}

static dist_status run(struct stream *s) {
    dist_status status = find_pool(s);
    if (status) return status;
    unsigned workers = s->pool ? dist_pool_workers(s->pool) : 1;
    if (s->opts->workers && s->opts->workers < workers) workers = s->opts->workers;
    struct dist__batch none = {.n = 1, .workers = 1};
    dist__record_enter(&s->reader, &none, 0, DIST__ALONE);
    dist__record_switch(s->reader.outer);
    pthread_mutex_init(&s->asking, NULL);
    if (!make_lanes(s, workers ? workers : 1))
        status = dist__refuse(DIST_NOMEM, 0, "no memory for %zu items in flight", s->in_flight);
    else if ((status = flow(s))) stop(s);
    free_lanes(s);
    pthread_mutex_destroy(&s->asking);
    if (s->own) {
        dist_error why = *dist_last_error();
        dist_pool_free(&s->own);
        dist__remember(&why);
    }
    return status;
}

dist_status dist_stream_fn(dist_fn fn, size_t item_size, size_t result_size, dist_next_fn next,
                           void *source, dist_sink_fn sink, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_status status = dist__check_stream(fn, next, sink, opts);
    if (!status) {
        struct stream s = {.opts = opts,
                           .fn = fn,
                           .item_size = item_size,
                           .result_size = result_size,
                           .next = next,
                           .source = source,
                           .sink = sink,
                           .deadline_ns = UINT64_MAX};
        if (opts->timeout > 0) s.deadline_ns = dist__limit_of(opts->timeout);
        if (opts->rate > 0) s.interval_ns = dist__after(0, 1 / opts->rate);
        status = run(&s);
    }
    dist__cancel_restore(cancel_state);
    if (!status) errno = saved;
    return dist__call_leave(status, opts);
}
