/* stream.c - a loop whose items come one by one. The calling thread reads items into free lanes
 * and delivers those that have ended. */
#include "call.h"
#include "check.h"
#include "deadlock.h"
#include "error.h"
#include "flow.h"
#include "job.h"
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const double LONG_S = 1e9; /* a wait that is one for ever, but never runs the job itself */

struct stream {
    struct dist__flow flow;
    dist_next_fn next;
    void *source;
    dist_sink_fn sink;
    dist_job **jobs; /* of all lanes, for a wait for any */
    bool at_end;
    struct dist__record reader; /* of the source, for its dist_fail */
};

/* ------------------------------------------------------------------ reading */

/* One item into the lane. False: there is none. */
static bool read_item(struct stream *s, struct dist__lane *lane) {
    struct dist__record *outer = dist__record_current();
    s->reader.code = 0;
    dist__record_switch(&s->reader);
    s->at_end = !s->next(lane->items + lane->count * s->flow.item_size, s->source);
    dist__record_switch(outer);
    lane->count += !s->at_end;
    return !s->at_end;
}

static bool may_read(const struct stream *s) {
    return !s->at_end && dist__flow_has_room(&s->flow) &&
           (s->flow.interval_ns == 0 || dist__now_ns() >= s->flow.turn_ns);
}

/* Fills one lane and sends it off. */
static dist_status fill_lane(struct stream *s) {
    struct dist__flow *flow = &s->flow;
    size_t most;
    struct dist__lane *lane = dist__flow_lane(flow, &most);
    while (lane->count < most && read_item(s, lane)) continue;
    if (flow->interval_ns) flow->turn_ns = dist__now_ns() + flow->interval_ns;
    if (lane->count == 0) return DIST_OK;
    dist_job *job = dist__flow_start(flow, lane);
    if (!job) return dist_last_error()->status;
    dist__flow_began(flow, lane, job);
    return DIST_OK;
}

/* ------------------------------------------------------------------ delivering */

static dist_status deliver_item(struct stream *s, struct dist__lane *lane, size_t k, bool *enough) {
    dist_event event;
    dist_error error;
    bool stops;
    dist_status status = dist__flow_settle(&s->flow, lane, k, &event, &error, &stops);
    if (status) return status;
    *enough = !s->sink(&event, s->flow.opts->user);
    return stops ? dist__flow_failure(&s->flow) : DIST_OK;
}

static dist_status deliver(struct stream *s, struct dist__lane *lane, bool *enough) {
    dist_status status = DIST_OK;
    for (size_t k = 0; k < lane->count && !status && !*enough; k++)
        status = deliver_item(s, lane, k, enough);
    dist__flow_free(&s->flow, lane);
    return status;
}

/* Seconds that it is worth to wait for the next end. */
static double patience(const struct stream *s) {
    const struct dist__flow *flow = &s->flow;
    if (flow->interval_ns && !s->at_end && dist__flow_has_room(flow)) {
        uint64_t now = dist__now_ns();
        return flow->turn_ns > now ? (double)(flow->turn_ns - now) * 1e-9 : 0;
    }
    /* a worker of the pool that waits may have to run the job itself */
    return flow->pool && dist__hand_lender(flow->pool) ? DIST_FOREVER : LONG_S;
}

/* The next lane to deliver, when it has ended; NULL: not yet. */
static struct dist__lane *await_lane(struct stream *s) {
    struct dist__flow *flow = &s->flow;
    bool any = flow->opts->unordered;
    for (size_t k = 0; any && k < flow->lanes; k++) s->jobs[k] = flow->lane[k].job;
    struct dist__lane *oldest = &flow->lane[flow->oldest];
    struct dist__wait wait;
    dist__wait_begin(&wait, any ? s->jobs : &oldest->job, any ? flow->lanes : 1, UINT64_MAX);
    dist__wait_list(&wait);
    size_t k = any ? dist_job_wait_any(s->jobs, flow->lanes, patience(s)) : 0;
    if (!any) dist_job_wait(oldest->job, patience(s));
    dist__wait_end(&wait);
    if (any) return k < flow->lanes ? &flow->lane[k] : NULL;
    if (dist_job_state(oldest->job) == DIST_RUNNING) return NULL;
    flow->oldest = (flow->oldest + 1) % flow->lanes;
    return oldest;
}

/* ------------------------------------------------------------------ the whole */

static dist_status source_failed(const struct stream *s) {
    dist_error error = {.status = DIST_FAILED, .code = s->reader.code, .index = s->flow.read};
    memcpy(error.message, s->reader.message, sizeof error.message);
    dist__remember(&error);
    return DIST_FAILED;
}

static dist_status go_on(struct stream *s) {
    bool enough = false;
    dist_status status = DIST_OK;
    while (!status && !enough) {
        while (!status && may_read(s)) status = fill_lane(s);
        if (status) break;
        if (s->flow.used == 0) {
            if (s->at_end) return s->reader.code ? source_failed(s) : DIST_OK;
            dist__sleep_until(s->flow.turn_ns);
            continue;
        }
        struct dist__lane *lane = await_lane(s);
        if (lane) status = deliver(s, lane, &enough);
    }
    if (enough && !status) status = dist__refuse(DIST_CANCELLED, 0, "the sink has had enough");
    return status;
}

static dist_status run(struct stream *s) {
    dist_status status = dist__flow_open(&s->flow);
    if (status) return status;
    struct dist__batch none = {.n = 1, .workers = 1};
    dist__record_enter(&s->reader, &none, 0, DIST__ALONE);
    dist__record_switch(s->reader.outer);
    s->jobs = calloc(s->flow.lanes, sizeof *s->jobs);
    status = s->jobs ? go_on(s) : dist__refuse(DIST_NOMEM, 0, "no memory for a stream");
    free(s->jobs);
    dist__flow_close(&s->flow);
    return status;
}

dist_status dist_stream_fn(dist_fn fn, size_t item_size, size_t result_size, dist_next_fn next,
                           void *source, dist_sink_fn sink, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_status status = dist__check_stream(fn, next, sink, opts);
    if (!status) {
        struct stream s = {
            .flow = {.opts = opts, .fn = fn, .item_size = item_size, .result_size = result_size},
            .next = next,
            .source = source,
            .sink = sink};
        status = run(&s);
    }
    dist__cancel_restore(cancel_state);
    if (!status) errno = saved;
    return dist__call_leave(status, opts);
}
