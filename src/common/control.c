/* control.c - the supervisor's side of a call that is looked after. */
#include "control.h"
#include "error.h"
#include "token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    BACKOFF_DOUBLINGS = 10,
    DEAF_NS = 1000000,   /* between looks without a bell */
    MOST_NS = 100000000, /* of sleep with one */
    HEAR_NS = 5000000    /* of listening, before other duties */
};

/* ------------------------------------------------------------------ begin and end */

bool dist__control_wanted(const dist_opts *o, const struct dist__batch *batch) {
    if (o->timeout > 0 || o->task_timeout > 0 || o->retries || o->rate > 0 || o->token ||
        o->worker_init || o->worker_exit || o->cpus || o->on_start || o->on_finish || o->progress)
        return true;
    for (size_t i = 0; batch->kind == DIST__PAR_TASKS && i < batch->n; i++)
        if (batch->tasks[i].timeout > 0 || batch->tasks[i].retries) return true;
    return batch->order != NULL; /* its workers draw from one cursor */
}

uint64_t dist__after(uint64_t from_ns, double seconds) {
    double ns = seconds * 1e9;
    return ns < (double)(UINT64_MAX / 2) ? from_ns + (uint64_t)ns : UINT64_MAX;
}

void dist__control_open(struct dist__control *control, struct dist__batch *batch,
                        const dist_opts *opts) {
    *control = (struct dist__control){.opts = *opts, .batch = batch, .lowest_open = SIZE_MAX};
    control->begin_ns = dist__now_ns();
    control->deadline_ns =
        opts->timeout > 0 ? dist__after(control->begin_ns, opts->timeout) : UINT64_MAX;
    control->turn_ns = opts->rate > 0 ? dist__after(0, 1 / opts->rate) : 0;
    control->limited = opts->task_timeout > 0;
    control->heard = opts->on_start || opts->on_finish;
    control->retried = opts->retries != 0;
    control->limit = batch->outcome.smallest.limit;
    for (size_t i = 0; batch->kind == DIST__PAR_TASKS && i < batch->n; i++) {
        control->limited |= batch->tasks[i].timeout > 0;
        control->retried |= batch->tasks[i].retries != 0;
    }
    control->timed = control->heard || control->limited;
    dist__token_ref(opts->token);
    dist__control_set_bell(control, -1);
    /* a bit for each item; without the memory an item may be told to start more than once */
    if (opts->on_start) control->started = calloc(batch->n / 8 + 1, 1);
    dist__progress_begin(&control->progress, opts->progress, batch->n);
}

void dist__control_add_bell(struct dist__control *control) {
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* relaxed: a ring that meets the old one is one in vain */
    atomic_store_explicit(&control->bell_file, dist__file_id(bell), memory_order_relaxed);
    dist__control_set_bell(control, bell);
}

size_t dist__desk_size(unsigned workers) {
    return sizeof(struct dist__desk) + workers * sizeof(struct dist__ring);
}

static size_t finished_so_far(const struct dist__control *control) {
    size_t finished = 0;
    for (unsigned k = 0; k < control->rings; k++) /* relaxed: a number to look at */
        finished += atomic_load_explicit(&control->desk->ring[k].finished, memory_order_relaxed);
    return control->rings ? finished : control->succeeded;
}

void dist__control_close(struct dist__control *control) {
    dist__progress_end(&control->progress, finished_so_far(control) + control->failed,
                       control->failed);
    int bell = dist__control_bell(control);
    if (bell >= 0) close(bell);
    dist__token_unref(control->opts.token);
    free(control->waiting);
    free(control->started);
}

bool dist__control_has_ended(const struct dist__control *control) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&control->desk->ended, memory_order_relaxed) != DIST_OK;
}

/* Wakes those who wait for their turn. */
static void announce(struct dist__control *control) {
    if (control->turn_ns == 0) return;
    /* release: what has changed; pairs with their acquire [changes] */
    atomic_fetch_add_explicit(&control->desk->changes, 1, memory_order_release);
    dist__futex_wake(&control->desk->changes, INT32_MAX, true);
}

void dist__control_end(struct dist__control *control, const dist_error *why) {
    if (dist__control_has_ended(control)) return;
    control->why = *why;
    /* relaxed: see dist__control_has_ended */
    atomic_store_explicit(&control->desk->ended, why->status, memory_order_relaxed);
    announce(control);
}

bool dist__control_check(struct dist__control *control) {
    if (dist__control_has_ended(control)) return true;
    dist_error why = {.status = DIST_OK};
    if (dist_token_cancelled(control->opts.token)) {
        why = (dist_error){.status = DIST_CANCELLED, .message = "cancelled by the call's token"};
    } else if (dist__control_is_cancelled(control)) {
        why =
            (dist_error){.status = DIST_CANCELLED, .message = "cancelled with its job or its pool"};
    } else if (control->deadline_ns != UINT64_MAX && dist__now_ns() >= control->deadline_ns) {
        why.status = DIST_TIMEOUT;
        snprintf(why.message, sizeof why.message, "the call's limit of %g s has passed",
                 control->opts.timeout);
    }
    if (why.status) dist__control_end(control, &why);
    return why.status != DIST_OK;
}

bool dist__control_cut(const struct dist__control *control, bool failed, dist_error *why) {
    const struct dist__batch *batch = control->batch;
    if (control->why.status == DIST_OK || control->lowest_open == SIZE_MAX) return false;
    if (failed && batch->outcome.lowest.index < control->lowest_open) return false;
    *why = control->why;
    why->index = control->lowest_open;
    why->attempts = control->open_attempts;
    why->worker = control->open_worker;
    dist__batch_describe(batch, why);
    why->index = dist__batch_index(batch, why->index);
    return true;
}

void dist__control_leave_desk(struct dist__control *control) {
    control->succeeded = finished_so_far(control);
    control->rings = 0;
    control->desk = NULL;
}

/* ------------------------------------------------------------------ retries */

static void settle(struct dist__control *control, const struct dist__note *note, dist_error *error);

/* There will be no further attempt: the failure of the last one stands. */
static void stand(struct dist__control *control, struct dist__retry *retry) {
    struct dist__note note = {
        .begin = retry->items.begin, .end = retry->items.end, .worker = retry->error.worker};
    settle(control, &note, &retry->error);
}

bool dist__control_due(struct dist__control *control, struct dist__span *items) {
    while (control->waiting_count && control->waiting[0].due_ns <= dist__now_ns()) {
        struct dist__retry first = dist__waiting_take(control);
        *items = first.items;
        if (!dist__outcome_past_stop(&control->batch->outcome, items->begin)) return true;
        stand(control, &first);
    }
    return false;
}

void dist__control_drop_retries(struct dist__control *control) {
    size_t kept = 0, count = control->waiting_count;
    control->waiting_count = 0; /* hooks are told meanwhile, and see none of these waiting */
    for (size_t k = 0; k < count; k++) {
        struct dist__retry retry = control->waiting[k];
        if (dist__control_has_ended(control) ||
            dist__outcome_past_stop(&control->batch->outcome, retry.items.begin))
            stand(control, &retry);
        else control->waiting[kept++] = retry;
    }
    control->waiting_count = kept;
    dist__waiting_order(control);
}

unsigned dist__control_retries_of(const struct dist__control *control, size_t i) {
    const struct dist__batch *batch = control->batch;
    bool own = batch->kind == DIST__PAR_TASKS && batch->tasks[i].retries;
    return own ? batch->tasks[i].retries : control->opts.retries;
}

/* Doubled for each attempt, and shortened by up to a half ("equal jitter", Marc Brooker,
 * "Exponential Backoff and Jitter", AWS Architecture Blog, 2015). */
static uint64_t pause_end(const struct dist__control *control, size_t index, unsigned attempts) {
    unsigned doublings = attempts - 1 < BACKOFF_DOUBLINGS ? attempts - 1 : BACKOFF_DOUBLINGS;
    double part =
        (double)(dist__random_of(control->batch->seed, index, ~(uint64_t)attempts) >> 11) /
        (double)(UINT64_C(1) << 53);
    double pause = control->opts.backoff * (double)(1u << doublings) * (1 - part / 2);
    return pause > 0 ? dist__after(dist__now_ns(), pause) : 0;
}

/* ------------------------------------------------------------------ notes */

static void take_success(struct dist__control *control, const struct dist__note *note) {
    if (control->land) control->land(control->self, (struct dist__span){note->begin, note->end});
    for (size_t i = note->begin; i < note->end; i++) {
        control->succeeded++;
        dist__hook_finish(control, note, i, NULL);
    }
    if (control->observe)
        control->observe(control->batch->job, (struct dist__span){note->begin, note->end}, NULL);
}

/* The end of the call has kept the item from ending: it was told to return, or has attempts left.
 */
static bool left_open(const struct dist__control *control, const dist_error *error) {
    if (!dist__control_has_ended(control)) return false;
    if (error->status == DIST_TIMEOUT || error->status == DIST_CANCELLED) return true;
    return error->attempts <= dist__control_retries_of(control, error->index) &&
           !dist__outcome_past_stop(&control->batch->outcome, error->index);
}

static bool worth_another(const struct dist__control *control, const dist_error *error) {
    if (dist__control_has_ended(control) ||
        error->attempts > dist__control_retries_of(control, error->index) ||
        dist__outcome_past_stop(&control->batch->outcome, error->index))
        return false;
    return dist__hook_retry(control, error);
}

/* What the outcome has found out, for the workers. */
static void lower_stop(struct dist__control *control) {
    /* relaxed, all: see dist__outcome_past_stop; this thread alone writes */
    uint64_t stop = atomic_load_explicit(&control->batch->outcome.stop, memory_order_relaxed);
    if (stop == SIZE_MAX) return;
    atomic_store_explicit(&control->desk->not_stop, ~stop, memory_order_relaxed);
    announce(control);
}

/* These items have failed for good. */
static void settle(struct dist__control *control, const struct dist__note *note,
                   dist_error *error) {
    struct dist__span items = {note->begin, note->end};
    if (left_open(control, error) && items.begin < control->lowest_open) {
        control->lowest_open = items.begin;
        control->open_attempts = error->attempts;
        control->open_worker = error->worker;
    }
    for (size_t i = items.begin; i < items.end; i++) {
        error->index = i;
        dist__batch_describe(control->batch, error);
        dist__outcome_fail(&control->batch->outcome, error);
        control->failed++;
        dist__hook_finish(control, note, i, error);
        if (control->observe)
            control->observe(control->batch->job, (struct dist__span){i, i + 1}, error);
    }
    if (control->heard_of) control->heard_of(control->self, items, false);
    lower_stop(control);
}

static void take_failure(struct dist__control *control, const struct dist__note *note) {
    dist_error error = note->error;
    struct dist__span items = {note->begin, note->end};
    bool known = error.status == DIST_NOMEM ||
                 (error.status >= DIST_FAILED && error.status <= DIST_CANCELLED);
    if (!known) error.status = DIST_CRASHED; /* a wild task has written to the note */
    error.index = items.begin;
    error.message[sizeof error.message - 1] = '\0';
    dist__batch_describe(control->batch, &error);
    if (worth_another(control, &error)) {
        struct dist__retry retry = {pause_end(control, items.begin, error.attempts), items, error};
        if (dist__waiting_add(control, &retry)) {
            if (control->heard_of) control->heard_of(control->self, items, true);
            return;
        }
    }
    settle(control, note, &error);
}

static void take_failed_init(struct dist__control *control, const struct dist__note *note) {
    dist_error why = {.status = DIST_FAILED, .code = note->error.code, .worker = note->worker};
    memcpy(why.message, note->error.message, sizeof why.message - 1); /* whatever it holds */
    dist__control_end(control, &why);
}

void dist__control_take(struct dist__control *control, const struct dist__note *note) {
    /* a worker may know already that the time is up, and then this must know it too */
    if (note->kind == DIST__FAILED || note->kind == DIST__LEFT_OUT) dist__control_check(control);
    bool valid = note->begin < note->end && note->end <= control->batch->n;
    if (valid) dist__meters_hear(control, note);
    switch (note->kind) {
    case DIST__STARTED:
        for (size_t i = note->begin; valid && i < note->end; i++)
            dist__hook_start(control, note, i);
        return;
    case DIST__SUCCEEDED:
        if (valid) take_success(control, note);
        return;
    case DIST__FAILED:
        if (valid) take_failure(control, note);
        return;
    case DIST__LEFT_OUT:
        if (valid) dist__control_skip(control, (struct dist__span){note->begin, note->end});
        return;
    case DIST__INIT_FAILED: take_failed_init(control, note); return;
    }
}

/* The ring whose next note is the oldest, or NULL. */
static struct dist__ring *oldest_ring(const struct dist__control *control) {
    struct dist__ring *oldest = NULL;
    uint64_t at_ns = UINT64_MAX;
    for (unsigned k = 0; k < control->rings; k++) {
        struct dist__ring *ring = &control->desk->ring[k];
        const struct dist__note *note = dist__ring_peek(ring);
        if (!note || (oldest && note->at_ns >= at_ns)) continue;
        oldest = ring;
        at_ns = note->at_ns;
    }
    return oldest;
}

static void hear_one(struct dist__control *control, struct dist__ring *ring) {
    dist__control_take(control, dist__ring_peek(ring));
    if (dist__ring_drop(ring)) dist__futex_wake(&ring->waits, 1, true);
}

void dist__control_hear(struct dist__control *control) {
    dist__control_check(control);
    uint64_t limit = dist__now_ns() + HEAR_NS;
    struct dist__ring *ring;
    while ((ring = oldest_ring(control))) {
        hear_one(control, ring);
        if (dist__now_ns() >= limit) break;
    }
    control->more = ring != NULL;
}

void dist__control_hear_all(struct dist__control *control) {
    do dist__control_hear(control);
    while (control->more);
}

void dist__control_hear_last(struct dist__control *control, unsigned worker) {
    dist__control_check(control);
    while (dist__ring_peek(&control->desk->ring[worker])) /* and what is older, in its order */
        hear_one(control, oldest_ring(control));
}

static void skip(struct dist__control *control, struct dist__span items) {
    if (items.begin >= items.end) return;
    if (items.begin < control->lowest_open) {
        control->lowest_open = items.begin;
        control->open_attempts = control->open_worker = 0;
    }
    dist__outcome_skip(&control->batch->outcome, items.begin, items.end);
    if (control->observe) control->observe(control->batch->job, items, &dist__skipped);
}

/* They had attempts, and the next one was already handed out, but not begun. */
static void leave_failed(struct dist__control *control, struct dist__span items) {
    struct dist__retry retry = {.items = items};
    retry.error = (dist_error){.status = DIST_FAILED,
                               .index = items.begin,
                               .attempts = dist__attempts_of(control, items.begin),
                               .message = "failed, and the call ended before the next attempt"};
    stand(control, &retry);
}

static bool was_tried(const struct dist__control *control, size_t i) {
    /* relaxed: see dist__attempts_of */
    return control->attempts &&
           atomic_load_explicit(&control->attempts[i], memory_order_relaxed) > 0;
}

void dist__control_skip(struct dist__control *control, struct dist__span items) {
    size_t begin = items.begin;
    for (size_t i = items.begin; control->attempts && i < items.end; i++) {
        if (!was_tried(control, i)) continue;
        skip(control, (struct dist__span){begin, i});
        leave_failed(control, (struct dist__span){i, i + 1});
        begin = i + 1;
    }
    skip(control, (struct dist__span){begin, items.end});
}

void dist__control_interrupted(struct dist__control *control, struct dist__span items,
                               unsigned worker) {
    struct dist__note note = {
        .kind = DIST__FAILED, .begin = items.begin, .end = items.end, .worker = worker};
    note.error =
        (dist_error){.status = control->why.status == DIST_TIMEOUT ? DIST_TIMEOUT : DIST_CANCELLED,
                     .attempts = dist__attempts_of(control, items.begin),
                     .worker = worker,
                     .message = "was running when the call ended"};
    dist__control_take(control, &note);
}

void dist__control_no_memory(struct dist__control *control, struct dist__span items) {
    struct dist__note note = {.begin = items.begin, .end = items.end};
    dist_error error = {.status = DIST_NOMEM,
                        .index = items.begin,
                        .attempts = dist__attempts_of(control, items.begin),
                        .message = "no memory for a further attempt"};
    settle(control, &note, &error);
}

void dist__control_desert(struct dist__control *control) {
    struct dist__desk *desk = control->desk;
    /* seq_cst, both: leaves, then looks; a worker says that it is in a callback, then looks whether
     * this has left [deserted] */
    atomic_store_explicit(&desk->deserted, 1, memory_order_seq_cst);
    for (unsigned k = 0; k < control->rings; k++)
        while (atomic_load_explicit(&desk->ring[k].in_callback, memory_order_seq_cst))
            poll(NULL, 0, 1);
}

/* ------------------------------------------------------------------ sleeping */

static uint64_t next_time(const struct dist__control *control, uint64_t until_ns) {
    uint64_t next = until_ns, drawn = dist__progress_due_ns(&control->progress);
    if (drawn < next) next = drawn;
    bool ended = dist__control_has_ended(control);
    if (control->waiting_count && ended) next = 0; /* they are to be dropped */
    else if (control->waiting_count && !control->held && control->waiting[0].due_ns < next)
        next = control->waiting[0].due_ns;
    if (!ended && control->deadline_ns < next) next = control->deadline_ns;
    return next;
}

void dist__control_arm(struct dist__control *control) { dist__bell_arm(&control->desk->asleep); }

void dist__control_draw(struct dist__control *control) {
    dist__progress_draw(&control->progress, finished_so_far(control) + control->failed,
                        control->failed);
}

int dist__control_sleep(struct dist__control *control, struct pollfd *polled, nfds_t count,
                        uint64_t until_ns) {
    dist__control_draw(control);
    bool watch_token =
        control->opts.token && !control->token_lost && !dist__control_has_ended(control);
    polled[0] = (struct pollfd){.fd = dist__control_bell(control), .events = POLLIN};
    polled[1] = (struct pollfd){.fd = watch_token ? dist__token_fd(control->opts.token) : -1,
                                .events = POLLIN};
    uint64_t now = dist__now_ns(), next = next_time(control, until_ns);
    uint64_t ns = next > now && !control->more ? next - now : 0;
    bool deaf = polled[0].fd < 0 && (control->rings || control->cancel || control->stopped);
    if (deaf && ns > DEAF_NS) ns = DEAF_NS;
    /* a task, or another thread of the host, may have closed the bell */
    bool capped = control->rings && ns > MOST_NS;
    if (capped) ns = MOST_NS;
    struct timespec limit = dist__timespec(ns);
    int ready =
        ppoll(polled, count + DIST__CONTROL_FDS,
              next == UINT64_MAX && !deaf && !capped && !control->more ? NULL : &limit, NULL);
    if (ready < 0 && errno != EINTR) poll(NULL, 0, 1); /* too many descriptors for the system */
    if (ready > 0 && polled[0].revents & POLLNVAL)
        dist__control_set_bell(control, -1); /* somebody has closed it */
    if (ready > 0 && polled[1].revents & POLLNVAL) control->token_lost = true;
    uint64_t rung;
    if (ready > 0 && polled[0].revents & POLLIN && read(polled[0].fd, &rung, sizeof rung) < 0) {
    } /* empty after all */
    return ready;
}
