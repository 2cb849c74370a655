/* stage.c - one thread takes items from a queue and sends them off in groups (flow.h), another
 * delivers them into the next queue: each of them has one thing to wait for. */
#include "stage.h"
#include "call.h"
#include "check.h"
#include "error.h"
#include "flow.h"
#include "onlookers.h"
#include "pool.h"
#include "queue.h"
#include "token.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEPT = 1000 }; /* failures that the job tells of; on_finish hears of all */

static const double LONG_S = 1e9; /* a wait that is one for ever, but never runs the job itself */

struct dist__stage {
    struct dist__flow flow;
    dist_queue *in, *out; /* out: NULL if what the items give is not wanted */
    dist_opts opts;
    struct dist__guest guest; /* of its pool, if it was given one */
    bool left;
    _Atomic(uint32_t) stop; /* asked for: written under the lock, read without it */

    pthread_mutex_t lock; /* over all that follows, and what both threads use of `flow` */
    pthread_cond_t changed;
    bool is_open;       /* `flow` has lanes */
    bool at_end;        /* nothing more is read */
    dist_status status; /* why not: DIST_OK at the end of `in` */
    dist_error why;

    size_t taken; /* items off `in`; of the thread that reads, until it has ended */
    size_t told;  /* of these, to task_done; of the thread that delivers */
};

static bool is_stopped(const struct dist__stage *stage) {
    /* relaxed: whoever sleeps is woken after it, under a lock */
    return atomic_load_explicit(&stage->stop, memory_order_relaxed) != 0;
}

/* With the lock held. */
static void stop(struct dist__stage *stage) {
    /* seq_cst: before the queues are stirred [stop] */
    atomic_store_explicit(&stage->stop, 1, memory_order_seq_cst);
    pthread_cond_broadcast(&stage->changed);
    for (size_t k = 0; stage->is_open && k < stage->flow.lanes; k++)
        if (stage->flow.lane[k].job) dist_job_cancel(stage->flow.lane[k].job, true);
}

const _Atomic(uint32_t) *dist__stage_stopped(const struct dist__stage *stage) {
    return &stage->stop;
}

void dist__stage_stop(struct dist__stage *stage) {
    pthread_mutex_lock(&stage->lock);
    stop(stage);
    pthread_mutex_unlock(&stage->lock);
    dist__queue_stir(stage->in);
    if (stage->out) dist__queue_stir(stage->out);
    if (stage->opts.pool) dist__pool_stir(stage->opts.pool);
    dist__tell_onlookers();
}

/* ------------------------------------------------------------------ reading */

/* With the lock held: waits for room, and for the turn of the next by .rate. False: no more. */
static bool await_turn(struct dist__stage *stage) {
    struct dist__flow *flow = &stage->flow;
    while (!is_stopped(stage)) {
        uint64_t turn = flow->interval_ns ? flow->turn_ns : 0;
        bool room = dist__flow_has_room(flow);
        if (room && turn <= dist__now_ns()) return true;
        dist__cond_wait(&stage->changed, &stage->lock, room ? turn : UINT64_MAX);
    }
    return false;
}

static bool is_cancelled(const struct dist__stage *stage) {
    return is_stopped(stage) || (stage->opts.token && dist_token_cancelled(stage->opts.token));
}

/* DIST_CLOSED: the queue's end. DIST_EMPTY: not until then. */
static dist_status take(struct dist__stage *stage, struct dist__lane *lane, uint64_t limit_ns) {
    unsigned char *item = lane->items + lane->count * stage->flow.item_size;
    dist_status status;
    do {
        if (is_cancelled(stage)) return DIST_CANCELLED;
        uint64_t look = dist__token_look(stage->opts.token, limit_ns);
        status = dist__queue_get(stage->in, item, look, &stage->stop);
        if (status == DIST_EMPTY && look == limit_ns) return status;
    } while (status == DIST_EMPTY);
    lane->count += status == DIST_OK;
    stage->taken += status == DIST_OK;
    return status;
}

/* One group: an item as soon as there is one, and those that are there with it. */
static dist_status read_group(struct dist__stage *stage, struct dist__lane *lane, size_t most) {
    dist_status status = take(stage, lane, stage->flow.deadline_ns);
    while (!status && lane->count < most && !take(stage, lane, 0)) continue;
    return status;
}

/* Sends it off. */
static dist_status begin_group(struct dist__stage *stage, struct dist__lane *lane) {
    struct dist__flow *flow = &stage->flow;
    dist_job *job = dist__flow_start(flow, lane);
    if (!job && dist_last_error()->status == DIST_CLOSED) return DIST_CANCELLED; /* its pool ends */
    if (!job) return dist_last_error()->status;
    pthread_mutex_lock(&stage->lock);
    dist__flow_began(flow, lane, job);
    if (is_stopped(stage)) dist_job_cancel(job, true);
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
    if (stage->opts.unordered) dist__tell_onlookers(); /* it may have ended before it was seen */
    return DIST_OK;
}

/* Until the end of the queue, or until it cannot or must not go on. */
static dist_status read_all(struct dist__stage *stage) {
    struct dist__flow *flow = &stage->flow;
    for (;;) {
        size_t most;
        struct dist__lane *lane = NULL;
        pthread_mutex_lock(&stage->lock);
        if (await_turn(stage)) lane = dist__flow_lane(flow, &most);
        pthread_mutex_unlock(&stage->lock);
        dist_status status = lane ? read_group(stage, lane, most) : DIST_CANCELLED;
        if (status == DIST_CLOSED) return DIST_OK;
        if (status == DIST_EMPTY) return dist__refuse(DIST_TIMEOUT, 0, "the stage's time is up");
        if (flow->interval_ns) flow->turn_ns = dist__now_ns() + flow->interval_ns;
        if (!status) status = begin_group(stage, lane);
        if (status == DIST_CANCELLED) return dist__refuse(DIST_CANCELLED, 0, "cancelled");
        if (status) return status;
    }
}

static void *reader_main(void *arg) {
    struct dist__stage *stage = arg;
    dist__thread_name("stage", 0);
    dist_status status = read_all(stage);
    pthread_mutex_lock(&stage->lock);
    stage->at_end = true;
    stage->status = status;
    if (status) stage->why = *dist_last_error();
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
    dist__tell_onlookers();
    return NULL;
}

/* ------------------------------------------------------------------ delivering */

/* With the lock held: one of those under way that has ended, or NULL. */
static struct dist__lane *first_ended(const struct dist__stage *stage) {
    const struct dist__flow *flow = &stage->flow;
    for (size_t k = 0; k < flow->lanes; k++) {
        struct dist__lane *lane = &flow->lane[k];
        if (lane->job && dist__job_phase(lane->job) == DIST__ENDED) return lane;
    }
    return NULL;
}

static bool any_has_ended(void *arg) {
    struct dist__stage *stage = arg;
    pthread_mutex_lock(&stage->lock);
    bool ended =
        is_stopped(stage) || first_ended(stage) || (stage->flow.used == 0 && stage->at_end);
    pthread_mutex_unlock(&stage->lock);
    return ended;
}

/* The next lane to deliver, whose job has ended. NULL: there will be none. */
static struct dist__lane *await_lane(struct dist__stage *stage) {
    struct dist__flow *flow = &stage->flow;
    struct dist__lane *lane = NULL;
    if (stage->opts.unordered) dist__await(any_has_ended, stage);
    pthread_mutex_lock(&stage->lock);
    while (!is_stopped(stage) && flow->used == 0 && !stage->at_end)
        pthread_cond_wait(&stage->changed, &stage->lock);
    if (!is_stopped(stage) && flow->used > 0)
        lane = stage->opts.unordered ? first_ended(stage) : &flow->lane[flow->oldest];
    pthread_mutex_unlock(&stage->lock);
    if (lane) dist_job_wait(lane->job, LONG_S);
    return lane;
}

/* DIST_CLOSED: nobody wants it any more. */
static dist_status put(struct dist__stage *stage, const void *result) {
    uint64_t limit_ns = stage->flow.deadline_ns;
    for (;;) {
        if (is_cancelled(stage)) return dist__refuse(DIST_CANCELLED, 0, "cancelled");
        uint64_t look = dist__token_look(stage->opts.token, limit_ns);
        dist_status status = dist__queue_put(stage->out, result, look, &stage->stop);
        if (status == DIST_FULL && look == limit_ns)
            return dist__refuse(DIST_TIMEOUT, 0, "the stage's time is up");
        if (status == DIST_CLOSED) return dist__refuse(status, 0, "out: is closed");
        if (status != DIST_FULL && status != DIST_CANCELLED) return status;
    }
}

/* The job tells of it when it has ended, when the item is no longer there. */
static void keep(struct dist__stage *stage, const dist_error *error) {
    struct dist__outcome *outcome = &stage->flow.job->batch.outcome;
    dist_error kept = *error;
    kept.item = NULL;
    if (outcome->kept_count == MOST_KEPT) outcome->keep_all = false;
    dist__outcome_fail(outcome, &kept);
}

static dist_status deliver_item(struct dist__stage *stage, const struct dist__lane *lane,
                                size_t k) {
    dist_event event;
    dist_error error;
    bool stops;
    dist_status status = dist__flow_settle(&stage->flow, lane, k, &event, &error, &stops);
    if (status) return status;
    if (event.error) keep(stage, event.error);
    else if (stage->out) status = put(stage, event.result);
    if (status) return status;
    if (stage->opts.on_finish) stage->opts.on_finish(&event, stage->opts.user);
    dist_queue_task_done(stage->in);
    stage->told++;
    return stops ? dist__flow_failure(&stage->flow) : DIST_OK;
}

static dist_status deliver(struct dist__stage *stage, struct dist__lane *lane) {
    dist_status status = DIST_OK;
    for (size_t k = 0; k < lane->count && !status; k++) status = deliver_item(stage, lane, k);
    pthread_mutex_lock(&stage->lock);
    if (!stage->opts.unordered) stage->flow.oldest = (stage->flow.oldest + 1) % stage->flow.lanes;
    dist__flow_free(&stage->flow, lane);
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
    return status;
}

static dist_status deliver_all(struct dist__stage *stage) {
    struct dist__lane *lane;
    dist_status status = DIST_OK;
    while (!status && (lane = await_lane(stage))) status = deliver(stage, lane);
    return status;
}

/* ------------------------------------------------------------------ the whole */

/* What it has taken off the queue and will not deliver is done with, too: somebody may wait. */
static void forget_rest(struct dist__stage *stage) {
    for (; stage->told < stage->taken; stage->told++) dist_queue_task_done(stage->in);
}

static dist_status run_open(struct dist__stage *stage) {
    pthread_t reader;
    int error = dist__thread_start(&reader, reader_main, stage, dist__record_affinity());
    if (error) return dist__refuse(DIST_SYSTEM, error, "stage: no thread: %s", strerror(error));
    dist_status status = deliver_all(stage);
    if (status) {
        dist_error why = *dist_last_error();
        dist__stage_stop(stage); /* it may sleep */
        pthread_join(reader, NULL);
        dist__remember(&why);
        return status;
    }
    pthread_join(reader, NULL);
    if (stage->status) dist__remember(&stage->why);
    else if (stage->flow.used > 0) stage->status = dist__refuse(DIST_CANCELLED, 0, "cancelled");
    return stage->status;
}

static void set_open(struct dist__stage *stage, bool is_open) {
    pthread_mutex_lock(&stage->lock);
    stage->is_open = is_open;
    pthread_mutex_unlock(&stage->lock);
}

static void tell_stats(struct dist__stage *stage, uint64_t took_ns) {
    dist_stats *stats = &stage->flow.job->stats;
    *stats = stage->flow.stats;
    stats->wall = (double)took_ns * 1e-9;
    double waiting = stats->wall * stats->workers - stats->busy;
    stats->waiting = waiting > 0 ? waiting : 0;
}

dist_status dist__stage_run(struct dist__stage *stage) {
    struct dist_pool *pool = stage->opts.pool;
    uint64_t begin_ns = dist__now_ns();
    dist_status status = dist__flow_open(&stage->flow);
    if (!status) {
        set_open(stage, true);
        if (pool) dist__pool_joins_stage(pool, &stage->guest, stage->flow.job);
        status = run_open(stage);
        if (pool) dist__pool_leaves_stage(pool, &stage->guest);
        set_open(stage, false);
        tell_stats(stage, dist__now_ns() - begin_ns);
        dist__flow_close(&stage->flow);
        forget_rest(stage);
    }
    dist__stage_leave(stage);
    return status;
}

static void leave(struct dist__stage *stage, bool closes) {
    if (stage->left) return;
    stage->left = true;
    dist__queue_leave(stage->in, DIST__TAKES, closes);
    if (stage->out) dist__queue_leave(stage->out, DIST__GIVES, closes);
}

void dist__stage_leave(struct dist__stage *stage) { leave(stage, true); }
void dist__stage_withdraw(struct dist__stage *stage) { leave(stage, false); }

void dist__stage_free(struct dist__stage *stage) {
    dist__stage_leave(stage);
    pthread_mutex_destroy(&stage->lock);
    pthread_cond_destroy(&stage->changed);
    free(stage);
}

static struct dist__stage *new_stage(dist_queue *in, dist_fn fn, dist_queue *out,
                                     const dist_opts *opts) {
    struct dist__stage *stage = calloc(1, sizeof *stage);
    if (!stage) return NULL;
    stage->opts = *opts;
    stage->flow = (struct dist__flow){.opts = &stage->opts,
                                      .fn = fn,
                                      .item_size = in->item_size,
                                      .result_size = out ? out->item_size : 0};
    pthread_mutex_init(&stage->lock, NULL);
    dist__cond_init(&stage->changed);
    stage->in = in;
    stage->out = out;
    dist__queue_enter(in, DIST__TAKES);
    if (out) dist__queue_enter(out, DIST__GIVES);
    return stage;
}

static dist_job *start(dist_queue *in, dist_fn fn, dist_queue *out, const dist_opts *opts) {
    const struct dist__backend *backend =
        opts->pool ? opts->pool->backend : dist__backend_choose(opts->executor);
    if (!backend) return NULL;
    struct dist__stage *stage = new_stage(in, fn, out, opts);
    if (!stage) {
        dist__refuse(DIST_NOMEM, 0, "no memory for a stage");
        return NULL;
    }
    return dist__job_start_stage(stage, &stage->flow.job, backend, opts);
}

dist_job *dist_pipe_fn(dist_queue *in, dist_fn fn, dist_queue *out, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_status refused = dist__check_stage(in, fn, out, opts);
    dist_job *job = refused ? NULL : start(in, fn, out, opts);
    if (!job) dist__call_leave(dist_last_error()->status, opts);
    dist__cancel_restore(cancel_state);
    if (job) errno = saved;
    return job;
}
