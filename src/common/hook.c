/* hook.c - the caller's hooks, called by the supervisor. */
#include "control.h"

/* A hook may wait for the pool whose workers wait for this supervisor. */
static void is_in_hook(const struct dist__control *control, bool is) {
    /* relaxed: a hint; workers look again */
    if (control->meanwhile)
        atomic_store_explicit(&control->desk->in_hook, is, memory_order_relaxed);
}

static dist_event event_of(const struct dist__control *control, const struct dist__note *note,
                           size_t i) {
    dist_error about = {.index = i};
    dist__batch_describe(control->batch, &about);
    dist_event event = {.index = dist__batch_index(control->batch, i),
                        .done = control->succeeded + control->failed,
                        .failed = control->failed,
                        .total = control->batch->n,
                        .name = about.name,
                        .item = about.item,
                        .worker = note->worker};
    double seconds = (double)(dist__now_ns() - control->begin_ns) * 1e-9;
    event.eta = dist__progress_eta(event.done, event.total, seconds);
    return event;
}

/* As the caller knows the item. */
static const dist_error *translate(const struct dist__control *control, const dist_error *error,
                                   dist_error *own) {
    if (!control->batch->order) return error;
    *own = *error;
    own->index = control->batch->order[error->index];
    return own;
}

void dist__hook_start(struct dist__control *control, const struct dist__note *note, size_t i) {
    if (!control->opts.on_start) return;
    if (control->started) {
        unsigned char bit = (unsigned char)(1 << i % 8), *bits = &control->started[i / 8];
        if (*bits & bit) return;
        *bits |= bit;
    }
    dist_event event = event_of(control, note, i);
    is_in_hook(control, true);
    control->opts.on_start(&event, control->opts.user);
    is_in_hook(control, false);
}

void dist__hook_finish(struct dist__control *control, const struct dist__note *note, size_t i,
                       const dist_error *error) {
    if (control->started) dist__hook_start(control, note, i);
    if (!control->opts.on_finish) return;
    dist_event event = event_of(control, note, i);
    dist_error own;
    event.seconds = (double)note->took_ns * 1e-9;
    event.error = error ? translate(control, error, &own) : NULL;
    event.result = error ? NULL : dist__batch_result(control->batch, i);
    is_in_hook(control, true);
    control->opts.on_finish(&event, control->opts.user);
    is_in_hook(control, false);
}

bool dist__hook_retry(const struct dist__control *control, const dist_error *error) {
    if (!control->opts.retry_if) return true;
    dist_error own;
    error = translate(control, error, &own);
    is_in_hook(control, true);
    bool wanted = control->opts.retry_if(error, control->opts.user);
    is_in_hook(control, false);
    return wanted;
}
