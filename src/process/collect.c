/* collect.c - what workers leave behind: failures, results, and items that nobody has run. */
#include "common/control.h"
#include "supervisor.h"

#include <stdio.h>
#include <string.h>

void dist__collect_untold(struct dist__supervisor *s) {
    for (size_t i = 0; i < s->call.batch->n; i++) {
        if (dist__region_state(&s->call.region, i) != DIST__ITEM_FAILED) continue;
        if (dist__control_has_ended(s->call.batch->control)) { /* it was sent a signal */
            dist__control_interrupted(s->call.batch->control, (struct dist__span){i, i + 1}, 0);
            continue;
        }
        struct dist__note note = {.kind = DIST__FAILED, .begin = i, .end = i + 1};
        note.error = (dist_error){.status = DIST_CRASHED,
                                  .attempts = dist__attempts_of(s->call.batch->control, i),
                                  .message = "its worker died before it could tell of a failure"};
        dist__control_take(s->call.batch->control, &note);
    }
}

bool dist__collect_lost(struct dist__supervisor *s) {
    const struct dist__batch *batch = s->call.batch;
    /* relaxed: no worker lives, and all are reaped */
    uint64_t cursor = atomic_load_explicit(&s->call.region.shared->cursor, memory_order_relaxed);
    size_t drawn = cursor == 0                          ? 0
                   : cursor >= dist__batch_units(batch) ? batch->n
                                                        : dist__batch_items(batch, 0, cursor).end;
    s->lost_count = 0;
    if (s->call.region.due)
        dist__due_clear(s->call.region.due); /* they are PENDING, all the same */
    for (size_t i = 0; i < drawn && !dist__region_past_stop(&s->call.region, i); i++) {
        if (dist__region_state(&s->call.region, i) != DIST__ITEM_PENDING) continue;
        size_t begin = i;
        while (i < drawn && dist__region_state(&s->call.region, i) == DIST__ITEM_PENDING) i++;
        dist__member_note_lost(s, (struct dist__span){begin, i});
    }
    return s->lost_count > 0 || !dist__member_cursor_at_end(s);
}

void dist__collect_give_up(struct dist__supervisor *s, dist_status status, int code,
                           const char *why) {
    struct dist__control *control = s->call.batch->control;
    if (control) {
        dist_error error = {.status = status, .code = code};
        snprintf(error.message, sizeof error.message, "%s", why);
        dist__control_end(control, &error);
        return;
    }
    for (size_t i = 0; i < s->call.batch->n; i++) {
        if (dist__region_state(&s->call.region, i) != DIST__ITEM_PENDING) continue;
        dist_error error = {.status = status, .code = code, .index = i};
        snprintf(error.message, sizeof error.message, "%s", why);
        dist__region_fail(&s->call.region, &error, DIST__ITEM_CRASHED);
        dist__outcome_cut(&s->call.batch->outcome, i);
        return;
    }
}

/* Failures of items into the outcome. Those whose worker died after writing them are left out: the
 * parent has written another one. */
static void collect_failures(struct dist__supervisor *s) {
    const struct dist__region *region = &s->call.region;
    struct dist__batch *batch = s->call.batch;
    uint64_t count = atomic_load_explicit(&region->shared->log_next, memory_order_acquire);
    for (size_t k = 0; k < count && k < region->log_room; k++) {
        /* acquire: pairs with [log] */
        if (!atomic_load_explicit(&region->log[k].written, memory_order_acquire)) continue;
        dist_error error = region->log[k].error;
        /* a wild task can write anything */
        if (error.index >= batch->n || error.status == DIST_OK) continue;
        enum dist__item_state state = dist__region_state(region, error.index);
        bool failed = state == DIST__ITEM_FAILED || state == DIST__ITEM_CRASHED;
        if (!failed || region->log[k].state != state) continue;
        error.message[sizeof error.message - 1] = '\0';
        dist__batch_describe(batch, &error);
        dist__outcome_fail(&batch->outcome, &error);
        dist__region_mark(region, error.index, DIST__ITEM_LOGGED);
    }
}

/* Items that never ran: they lie above the stop, unless a wild task has written to the region. */
static void collect_skipped(struct dist__batch *batch, struct dist__span items) {
    struct dist__control *control = batch->control;
    if (control && dist__control_has_ended(control)) {
        dist__control_skip(control, items);
        return;
    }
    if (!dist__outcome_past_stop(&batch->outcome, items.begin)) {
        dist_error error = {.status = DIST_CRASHED,
                            .index = items.begin,
                            .message = "not run: a task has overwritten the memory of the call"};
        dist__batch_describe(batch, &error);
        dist__outcome_fail(&batch->outcome, &error);
        dist__outcome_cut(&batch->outcome, items.begin++);
    }
    dist__outcome_skip(&batch->outcome, items.begin, items.end);
}

/* Successes that a worker did not live to tell: hooks and jobs hear of them here. */
static void take_unheard(struct dist__control *control, struct dist__span items) {
    struct dist__note note = {.kind = DIST__SUCCEEDED, .begin = items.begin, .end = items.end};
    dist__control_take(control, &note);
}

/* The result of every good item to its place; failures without an entry; what was skipped. */
static void collect_items(struct dist__supervisor *s) {
    const struct dist__region *region = &s->call.region;
    struct dist__batch *batch = s->call.batch;
    bool tells = batch->control && (batch->control->heard || batch->control->told);
    for (size_t i = 0; i < batch->n;) {
        enum dist__item_state state = dist__region_state(region, i);
        size_t begin = i++;
        if (state == DIST__ITEM_LOGGED || state == DIST__ITEM_LANDED) continue;
        if (state == DIST__ITEM_FAILED || state == DIST__ITEM_CRASHED) {
            dist_error error = {.status = state == DIST__ITEM_FAILED ? DIST_FAILED : DIST_CRASHED,
                                .index = begin,
                                .attempts = 1,
                                .message = "no memory to keep what it said"};
            dist__batch_describe(batch, &error);
            dist__outcome_fail(&batch->outcome, &error);
            continue;
        }
        while (i < batch->n && dist__region_state(region, i) == state) i++;
        struct dist__span items = {begin, i};
        if (state == DIST__ITEM_DONE && tells) take_unheard(batch->control, items);
        else if (state == DIST__ITEM_DONE) dist__region_copy_out(region, batch, items);
        else collect_skipped(batch, items);
    }
}

void dist__collect_all(struct dist__supervisor *s) {
    if (!s->call.batch->control) collect_failures(s);
    collect_items(s);
}

/* ------------------------------------------------------------------ for a control */

void dist__collect_land(void *supervisor, struct dist__span items) {
    struct dist__supervisor *s = supervisor;
    dist__region_copy_out(&s->call.region, s->call.batch, items);
    for (size_t i = items.begin; i < items.end; i++)
        dist__region_mark(&s->call.region, i, DIST__ITEM_LANDED);
}

void dist__collect_heard_of(void *supervisor, struct dist__span items, bool again) {
    struct dist__supervisor *s = supervisor;
    for (size_t i = items.begin; i < items.end; i++)
        dist__region_mark(&s->call.region, i, DIST__ITEM_LOGGED);
    if (again) return;
    /* relaxed: see dist__outcome_past_stop */
    size_t stop = atomic_load_explicit(&s->call.batch->outcome.stop, memory_order_relaxed);
    if (stop != SIZE_MAX) dist__region_lower_stop(&s->call.region, stop);
}
