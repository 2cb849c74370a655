/* attempt.c - the worker's side of a call that is looked after. */
#include "control.h"
#include "light.h"
#include "pool.h"
#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_NS = 10000000 }; /* for the supervisor, between two looks whether it has left */

/* ------------------------------------------------------------------ the worker */

/* True: the supervisor has left; see .abandon. */
static bool is_deserted(const struct dist__control *control) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&control->desk->deserted, memory_order_relaxed) != 0;
}

static bool has_stepped_in(const struct dist__control *control) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&control->desk->stepped_in, memory_order_relaxed) != 0;
}

void dist__bell_ring(int bell, uint64_t file) {
    if (bell < 0 || dist__file_id(bell) != file) return;
    uint64_t one = 1;
    int saved = errno;
    if (write(bell, &one, sizeof one) < 0) { /* it is full: it rings already */
    }
    errno = saved;
}

void dist__control_ring(const struct dist__control *control) {
    /* relaxed: see dist__control_bell */
    dist__bell_ring(dist__control_bell(control),
                    atomic_load_explicit(&control->bell_file, memory_order_relaxed));
}

static void ring_bell(const struct dist__control *control) {
    if (dist__bell_must_ring(&control->desk->asleep)) dist__control_ring(control);
}

/* Waits for the supervisor, or is of use while that is in a hook. */
static void await_supervisor(struct dist__control *control, struct dist__record *record,
                             struct dist__ring *ring) {
    /* relaxed: a hint; this comes back soon */
    bool in_hook =
        control->meanwhile && atomic_load_explicit(&control->desk->in_hook, memory_order_relaxed);
    if (in_hook && control->meanwhile(control, record)) return;
    dist__futex_wait(&ring->waits, 1, WAIT_NS, true);
}

static void push_note(struct dist__control *control, struct dist__record *record,
                      const struct dist__note *note) {
    struct dist__ring *ring = &control->desk->ring[record->place];
    while (!is_deserted(control)) {
        if (dist__ring_push(ring, note)) {
            ring_bell(control);
            return;
        }
        if (dist__ring_is_full(ring, dist__ring_await(ring)))
            await_supervisor(control, record, ring);
    }
}

bool dist__control_count(struct dist__control *control, const struct dist__note *note) {
    if (control->limit == 0 || note->kind != DIST__FAILED ||
        note->error.attempts <= dist__control_retries_of(control, note->begin))
        return false;
    uint64_t items = note->end - note->begin;
    /* relaxed: a count; whoever makes it reach the limit waits */
    return atomic_fetch_add_explicit(&control->desk->failures, items, memory_order_relaxed) +
               items >=
           control->limit;
}

/* A failure that may stop the call: the worker does not go on to items above it. Not if the
 * supervisor is busy with a task, which may wait for an item that this worker is to run. */
static void wait_until_heard(struct dist__control *control, struct dist__record *record) {
    struct dist__ring *ring = &control->desk->ring[record->place];
    while (!is_deserted(control) && !has_stepped_in(control)) {
        dist__ring_await(ring);
        if (dist__ring_heard(ring)) return;
        await_supervisor(control, record, ring);
    }
}

/* The supervisor's callbacks see the task that made the call, not the one that this thread runs. */
static void tell_oneself(struct dist__control *control, struct dist__record *record,
                         const struct dist__note *note) {
    dist__record_switch(record->outer);
    if (note) dist__control_take(control, note);
    else dist__control_hear(control);
    dist__record_switch(record);
}

void dist__worker_tell(struct dist__control *control, struct dist__record *record,
                       enum dist__note_kind kind, struct dist__span items,
                       const dist_error *error) {
    /* an attempt that has just ended, or something else */
    uint64_t at_ns = kind == DIST__SUCCEEDED && record->now_ns ? record->now_ns : dist__now_ns();
    struct dist__note note = {.kind = kind,
                              .worker = record->worker,
                              .begin = items.begin,
                              .end = items.end,
                              .at_ns = at_ns,
                              .took_ns = record->took_ns};
    if (error) note.error = *error;
    record->now_ns = 0; /* who knows how long this takes */
    if (!control->rings || record->direct) {
        tell_oneself(control, record, &note);
        return;
    }
    bool may_stop = dist__control_count(control, &note);
    push_note(control, record, &note);
    if (may_stop) wait_until_heard(control, record);
}

void dist__worker_succeeded(struct dist__control *control, struct dist__record *record,
                            struct dist__span items) {
    if (control->rings) {
        _Atomic(uint64_t) *finished = &control->desk->ring[record->place].finished;
        /* relaxed: one writer, and a number to look at */
        uint64_t so_far = atomic_load_explicit(finished, memory_order_relaxed);
        atomic_store_explicit(finished, so_far + (items.end - items.begin), memory_order_relaxed);
    }
    if (control->heard || control->told || !control->rings)
        dist__worker_tell(control, record, DIST__SUCCEEDED, items, NULL);
}

/* Around worker_init and worker_exit, which may use the caller's memory: a supervisor that leaves
 * waits for their end, or finds that they will not begin. False: it has left. */
static bool enter_callback(const struct dist__control *control, const struct dist__record *record) {
    if (!control->rings) return true;
    /* seq_cst, both: says so, then looks; the supervisor leaves, then looks [deserted] */
    atomic_store_explicit(&control->desk->ring[record->place].in_callback, 1, memory_order_seq_cst);
    return atomic_load_explicit(&control->desk->deserted, memory_order_seq_cst) == 0;
}

static void leave_callback(const struct dist__control *control, const struct dist__record *record) {
    if (control->rings) /* release: it has done with the caller's memory; pairs with [deserted] */
        atomic_store_explicit(&control->desk->ring[record->place].in_callback, 0,
                              memory_order_release);
}

static int init(const dist_opts *opts, struct dist__record *record) {
    bool alone = record->hand && record->hand == &record->hand->pool->alone;
    if (alone) opts = &record->hand->pool->opts; /* other hands are pinned for good */
    if (opts->cpus) dist__pin(opts->cpus[record->worker % opts->n_cpus], &record->before_pin);
    record->code = 0;
    if (record->hand) return dist__hand_begin(record->hand, record);
    return opts->worker_init ? opts->worker_init(&record->state, record->worker, opts->user) : 0;
}

bool dist__worker_begin(struct dist__control *control, struct dist__record *record) {
    bool here = enter_callback(control, record);
    int code = here ? init(&control->opts, record) : 0;
    leave_callback(control, record);
    record->begun = here && !code;
    if (record->begun || !here) return here;
    dist__unpin(&record->before_pin);
    dist_error error = {.status = DIST_FAILED, .code = code, .worker = record->worker};
    if (record->code)
        snprintf(error.message, sizeof error.message, "worker_init: %.140s", record->message);
    else snprintf(error.message, sizeof error.message, "worker_init: returned %d", code);
    dist__worker_tell(control, record, DIST__INIT_FAILED, (struct dist__span){0, 0}, &error);
    return false;
}

void dist__worker_end(struct dist__control *control, struct dist__record *record) {
    const dist_opts *opts = &control->opts;
    if (!record->begun) return;
    record->begun = false;
    if (record->hand) { /* it stays ready for the next call */
        dist__unpin(&record->before_pin);
        return;
    }
    record->told = DIST_OK;
    record->control = NULL; /* it is no part of the call: nothing tells it to return */
    if (enter_callback(control, record) && opts->worker_exit)
        opts->worker_exit(record->state, record->worker, opts->user);
    leave_callback(control, record);
    record->control = control;
    dist__unpin(&record->before_pin);
}

static uint64_t after(uint64_t time, uint64_t ns) {
    return ns < UINT64_MAX - time ? time + ns : UINT64_MAX;
}

/* The time of the next start, which is then this worker's. */
static uint64_t draw_turn(const struct dist__control *control) {
    _Atomic(uint64_t) *turn = &control->desk->turn;
    uint64_t mine, next = atomic_load_explicit(turn, memory_order_relaxed), now = dist__now_ns();
    do mine = next > now ? next : now; /* relaxed: a time by itself */
    while (!atomic_compare_exchange_weak_explicit(turn, &next, after(mine, control->turn_ns),
                                                  memory_order_relaxed, memory_order_relaxed));
    return mine;
}

/* The worker is the supervisor: it goes on with that while it waits. */
static void wait_as_supervisor(struct dist__control *control, struct dist__record *record,
                               uint64_t until_ns) {
    struct pollfd polled[DIST__CONTROL_FDS];
    dist__control_arm(control);
    tell_oneself(control, record, NULL);
    if (!dist__control_has_ended(control)) dist__control_sleep(control, polled, 0, until_ns);
}

/* Not by what the supervisor has noticed: it may be late itself. */
static bool may_start(const struct dist__control *control, struct dist__record *record, size_t i) {
    if (dist__control_has_ended(control) || dist__control_past_stop(control, i)) return false;
    if (dist_token_cancelled(control->opts.token) || dist__control_is_cancelled(control))
        return false;
    if (control->deadline_ns == UINT64_MAX) return true;
    uint64_t now = record->now_ns ? record->now_ns : dist__now_ns();
    record->now_ns = 0;
    return now < control->deadline_ns;
}

bool dist__worker_turn(struct dist__control *control, struct dist__record *record, size_t i) {
    if (control->turn_ns == 0) return may_start(control, record, i);
    uint64_t mine = draw_turn(control), now;
    for (;;) {
        /* acquire: what has changed; pairs with [changes] */
        uint32_t changes = atomic_load_explicit(&control->desk->changes, memory_order_acquire);
        if (!may_start(control, record, i)) return false;
        if ((now = dist__now_ns()) >= mine) return true;
        if (control->rings && !record->direct)
            dist__futex_wait(&control->desk->changes, changes,
                             mine < UINT64_MAX ? (int64_t)(mine - now) : -1, true);
        else wait_as_supervisor(control, record, mine);
    }
}

/* ------------------------------------------------------------------ one attempt */

unsigned dist__attempts_of(const struct dist__control *control, size_t i) {
    if (!control->attempts) return 1;
    /* relaxed: whoever holds the item writes it, and holding it is passed on by other means */
    uint32_t attempts = atomic_load_explicit(&control->attempts[i], memory_order_relaxed);
    return attempts ? attempts : 1;
}

static unsigned count_attempt(const struct dist__control *control, struct dist__span items) {
    if (!control->attempts) return 1;
    for (size_t i = items.begin; i < items.end; i++) {
        /* relaxed: see above */
        uint32_t before = atomic_load_explicit(&control->attempts[i], memory_order_relaxed);
        atomic_store_explicit(&control->attempts[i], before + 1, memory_order_relaxed);
    }
    return dist__attempts_of(control, items.begin);
}

double dist__attempt_limit(const struct dist__control *control, size_t i) {
    const struct dist__batch *batch = control->batch;
    bool own = batch->kind == DIST__PAR_TASKS && batch->tasks[i].timeout > 0;
    return own ? batch->tasks[i].timeout : control->opts.task_timeout;
}

void dist__attempt_begin(struct dist__control *control, struct dist__record *record,
                         struct dist__span items) {
    record->attempt = count_attempt(control, items);
    record->told = DIST_OK;
    record->took_ns = 0;
    record->limit_ns = UINT64_MAX;
    /* before the clock starts: the ring may be full, or the hook be called right here */
    if (control->opts.on_start) dist__worker_tell(control, record, DIST__STARTED, items, NULL);
    if (control->timed) record->began_ns = dist__now_ns();
    if (control->rings) {
        struct dist__ring *ring = &control->desk->ring[record->place];
        /* relaxed: for the supervisor's information */
        atomic_store_explicit(&ring->running_begin, items.begin, memory_order_relaxed);
        atomic_store_explicit(&ring->running_end, items.end, memory_order_relaxed);
        if (control->timed)
            atomic_store_explicit(&ring->running_since, record->began_ns, memory_order_relaxed);
    }
    double limit = control->limited ? dist__attempt_limit(control, items.begin) : 0;
    if (limit > 0) record->limit_ns = dist__after(record->began_ns, limit);
}

void dist__attempt_end(const struct dist__control *control, struct dist__record *record) {
    record->told = DIST_OK;
    record->limit_ns = UINT64_MAX;
    if (!control->rings) return;
    /* relaxed: see above */
    atomic_store_explicit(&control->desk->ring[record->place].running_end, 0, memory_order_relaxed);
}

/* Why its call tells the attempt to return, but for a failure below it. */
static dist_status reason(const struct dist__record *record, uint64_t now) {
    const struct dist__control *control = record->control;
    /* relaxed: a fact by itself */
    uint32_t ended = atomic_load_explicit(&control->desk->ended, memory_order_relaxed);
    if (ended) return ended == DIST_TIMEOUT ? DIST_TIMEOUT : DIST_CANCELLED;
    if (dist_token_cancelled(control->opts.token) || dist__control_is_cancelled(control))
        return DIST_CANCELLED;
    if (now && (now >= record->limit_ns || now >= control->deadline_ns)) return DIST_TIMEOUT;
    return DIST_OK;
}

/* The time, if anybody asks for it. */
static uint64_t time_of(const struct dist__record *record) {
    const struct dist__control *control = record->control;
    bool asked =
        control->timed || control->deadline_ns != UINT64_MAX || record->limit_ns != UINT64_MAX;
    return asked ? dist__now_ns() : 0;
}

dist_status dist__record_reason(const struct dist__record *record) {
    dist_status why = DIST_OK;
    for (const struct dist__record *r = record; r && !why; r = r->caller)
        if (r->light) {
            why = dist__light_reason(r->light);
        } else if (r->control) {
            why = reason(r, time_of(r));
            if (!why && dist__control_past_stop(r->control, r->index)) why = DIST_CANCELLED;
        }
    return why;
}

bool dist_cancelled(void) {
    struct dist__record *record = dist__record_current();
    if (!record) return false;
    if (!record->told) record->told = dist__record_reason(record);
    return record->told != DIST_OK;
}

static void explain(struct dist__record *record, dist_status why, uint64_t now) {
    if (now && now >= record->limit_ns)
        snprintf(record->message, sizeof record->message, "took longer than its limit of %g s",
                 dist__attempt_limit(record->control, record->index));
    else if (!record->code && why == DIST_TIMEOUT)
        snprintf(record->message, sizeof record->message, "was running when the time was up");
    else if (!record->code)
        snprintf(record->message, sizeof record->message, "was running when it was cancelled");
}

/* A task that ends well above the stop has ended well. */
int dist__attempt_verdict(struct dist__record *record, int code) {
    const struct dist__control *control = record->control;
    uint64_t now = record->now_ns = record->meter ? record->metered_ns : time_of(record);
    if (control->timed) record->took_ns = now - record->began_ns;
    dist_status why = record->told;
    if (!why && !dist__control_past_stop(control, record->index)) why = reason(record, now);
    if (why == DIST_OK) return code;
    explain(record, why, now);
    if (!record->code) record->code = code ? code : why == DIST_TIMEOUT ? ETIMEDOUT : ECANCELED;
    record->status = why;
    record->named_lost = true; /* a chunk has failed as a whole */
    return code ? code : record->code;
}

void *dist_worker_state(void) {
    struct dist__record *record = dist__record_current();
    return record ? record->state : NULL;
}

/* ------------------------------------------------------------------ items of a hand-out */

struct told_sink {
    struct dist__control *control;
    const struct dist__batch *batch;
    struct dist__record *record;
};

static void succeeded(void *self, struct dist__span items, const unsigned char *stage) {
    struct told_sink *to = self;
    if (items.begin >= items.end) return;
    unsigned char *result = dist__batch_result(to->batch, items.begin);
    if (stage && stage != result)
        memcpy(result, stage,
               (items.end - items.begin) * dist__batch_result_size(to->batch, items.begin));
    dist__worker_succeeded(to->control, to->record, items);
}

static void failed(void *self, struct dist__span items, const dist_error *error) {
    struct told_sink *to = self;
    dist__worker_tell(to->control, to->record, DIST__FAILED, items, error);
}

/* Memory for the results of these items. False: there is none, and this was told. */
static bool find_stage(const struct told_sink *to, struct dist__span items, unsigned char **stage) {
    size_t size = (items.end - items.begin) * dist__batch_result_size(to->batch, items.begin);
    *stage = dist__batch_result(to->batch, items.begin);
    if (size == 0 || to->batch->in_place) return true;
    *stage = dist__record_scratch(to->record, size);
    if (*stage) return true;
    dist_error error = {.status = DIST_NOMEM,
                        .code = ENOMEM,
                        .attempts = to->record->attempt,
                        .worker = to->record->worker};
    snprintf(error.message, sizeof error.message, "no memory to stage results of %zu bytes", size);
    dist__worker_tell(to->control, to->record, DIST__FAILED, items, &error);
    return false;
}

void dist__attempt_unused(const struct dist__control *control, struct dist__span items) {
    for (size_t i = items.begin; control->attempts && i < items.end; i++)
        /* relaxed: see dist__attempts_of */
        atomic_fetch_sub_explicit(&control->attempts[i], 1, memory_order_relaxed);
}

/* One item or one chunk. Returns how many items are settled. */
static size_t attempt(struct told_sink *to, struct dist__span items) {
    struct dist__sink sink = {succeeded, failed, to};
    unsigned char *stage;
    dist__attempt_begin(to->control, to->record, items);
    size_t settled = items.end - items.begin;
    if (find_stage(to, items, &stage))
        settled = dist__batch_attempt(to->batch, items, stage, to->record, &sink);
    dist__attempt_end(to->control, to->record);
    dist__attempt_unused(to->control, (struct dist__span){items.begin + settled, items.end});
    return settled;
}

/* What the supervisor would do meanwhile, where the worker is the supervisor. */
static void look_around(struct dist__control *control, struct dist__record *record) {
    if (record->direct) tell_oneself(control, record, NULL);
    if (record->direct || control->rings == 0) dist__control_draw(control);
}

bool dist__attempt_items(struct dist__control *control, const struct dist__batch *batch,
                         struct dist__record *record, struct dist__span items) {
    struct told_sink to = {control, batch, record};
    bool stays = true;
    while (items.begin < items.end) {
        look_around(control, record);
        if (!record->begun)
            stays = may_start(control, record, items.begin) && dist__worker_begin(control, record);
        if (!stays || !dist__worker_turn(control, record, items.begin)) break;
        items.begin += attempt(&to, dist__batch_piece(batch, items));
    }
    if (items.begin < items.end) dist__worker_tell(control, record, DIST__LEFT_OUT, items, NULL);
    return stays;
}
