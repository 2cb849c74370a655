/* here.c - one thread, in index order: what DIST_INLINE does, and a job of one worker. */
#include "here.h"
#include "control.h"
#include "error.h"
#include "pool.h"

#include <stdlib.h>

static void run_items(struct dist__batch *batch, struct dist__record *record) {
    dist__batch_run(batch, 0, dist__batch_units(batch), record);
}

/* Retries come right after their item: the thread waits for them. */
static void run_retries(struct dist__batch *batch, struct dist__record *record) {
    struct dist__control *control = batch->control;
    struct pollfd polled[DIST__CONTROL_FDS];
    struct dist__span items;
    while (control->waiting_count) {
        if (dist__control_due(control, &items)) {
            dist__attempt_items(control, batch, record, items);
        } else if (control->waiting_count) {
            dist__control_sleep(control, polled, 0, UINT64_MAX);
            if (dist__control_check(control)) dist__control_drop_retries(control);
        }
    }
}

static void run_looked_after(struct dist__batch *batch, struct dist__record *record) {
    size_t units = dist__batch_units(batch), k = 0;
    for (; k < units && !dist__control_has_ended(batch->control); k++) {
        struct dist__span items = dist__batch_items(batch, k, k + 1);
        if (dist__outcome_past_stop(&batch->outcome, items.begin)) break;
        dist__attempt_items(batch->control, batch, record, items);
        run_retries(batch, record);
    }
    if (k < units) dist__control_skip(batch->control, dist__batch_items(batch, k, units));
    dist__worker_end(batch->control, record);
}

dist_status dist__run_here(struct dist__batch *batch, struct dist__hand *hand) {
    struct dist__control *control = batch->control;
    struct dist__desk desk = {.asleep = 0};
    struct dist__record record;
    if (control) control->desk = &desk;
    if (control && control->retried) {
        control->attempts = calloc(batch->n, sizeof *control->attempts);
        if (!control->attempts)
            return dist__refuse(DIST_NOMEM, 0, "no memory to count the attempts of %zu items",
                                batch->n);
    }
    dist__record_enter(&record, batch, 0, DIST__ALONE);
    if (hand) record.hand = hand, record.worker = hand->number;
    if (control) run_looked_after(batch, &record);
    else run_items(batch, &record);
    dist__record_leave(&record);
    if (control) free(control->attempts);
    if (control) dist__control_leave_desk(control);
    return DIST_OK;
}
