/* process.c - the backend: forks workers inside the call, watches them, and collects. */
#include "common/backend.h"
#include "common/control.h"
#include "common/cpus.h"
#include "common/error.h"
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BARREN_DEATHS = 10, /* rounds of deaths that no item explains, and the call gives up; */
    BARREN_CALM = 2, /* after so many it waits before each fork, from 1 ms on doubled each time */
    BARREN_PAUSE_MS = 100, /* up to this: a burst of kills from outside shall cost nothing */
    HELD_NS = 2000000,     /* between looks whether the ring of retries has room again */
    FORK_TRIES = 20,       /* while not one worker lives, */
    FORK_PAUSE_MS = 25     /* with a pause between them */
};

static void calm_down(const struct dist__supervisor *s) {
    if (s->barren <= BARREN_CALM) return;
    int pause = 1 << (s->barren - BARREN_CALM - 1);
    poll(NULL, 0, pause < BARREN_PAUSE_MS ? pause : BARREN_PAUSE_MS);
}

/* Starts as many workers as there is work for; true: some live. */
static bool keep_alive(struct dist__supervisor *s) {
    if (s->barren >= BARREN_DEATHS) {
        if (s->staff) dist__seats_withdraw(s);
        return s->live > 0;
    }
    calm_down(s);
    dist__member_spawn_missing(s);
    return s->live > 0;
}

/* With no worker alive. True: there is nothing more to do. */
static bool is_over(struct dist__supervisor *s) {
    if (!dist__collect_lost(s)) return true;
    if (s->barren >= BARREN_DEATHS) {
        dist__collect_give_up(s, DIST_CRASHED, 0, "workers keep dying before they run anything");
        return true;
    }
    for (int i = 0; i < FORK_TRIES && !s->live; i++) {
        if (i) poll(NULL, 0, FORK_PAUSE_MS);
        dist__member_spawn_missing(s);
    }
    if (s->live) return false;
    dist__collect_give_up(s, DIST_SYSTEM, s->fork_error, "no worker process could be started");
    return true;
}

static void supervise(struct dist__supervisor *s) {
    for (;;) {
        if (keep_alive(s)) dist__member_wait(s, UINT64_MAX);
        else if (is_over(s)) return;
    }
}

/* Hands out the retries whose time has come. */
static void hand_out_due(struct dist__supervisor *s) {
    struct dist__control *control = s->call.batch->control;
    struct dist__region *region = &s->call.region;
    struct dist__span items;
    if (control->waiting_count) dist__control_drop_retries(control);
    while (dist__due_count(region->due) < DIST__DUE_ROOM && dist__control_due(control, &items)) {
        for (size_t i = items.begin; i < items.end; i++)
            dist__region_mark(region, i, DIST__ITEM_PENDING);
        dist__due_put(region->due, items.begin, items.end);
    }
    control->held = dist__due_count(region->due) >= DIST__DUE_ROOM;
}

/* Nothing can run now. True: nor later. */
static bool give_up_waiting(struct dist__supervisor *s) {
    struct dist__control *control = s->call.batch->control;
    if (control->waiting_count) dist__control_drop_retries(control);
    if (control->waiting_count) dist__control_sleep(control, s->polled, 0, UINT64_MAX);
    return control->waiting_count == 0;
}

static bool anything_to_run(const struct dist__supervisor *s) {
    return s->lost_count > 0 || dist__due_count(s->call.region.due) > 0 ||
           !dist__member_cursor_at_end(s);
}

/* The same for a call that is looked after: notes, limits, retries, an end before its time. */
static void look_after(struct dist__supervisor *s) {
    struct dist__control *control = s->call.batch->control;
    keep_alive(s); /* all of them, before a hook takes its time */
    for (;;) {
        dist__control_arm(control);
        dist__control_hear(control);
        hand_out_due(s);
        bool ended = dist__control_has_ended(control);
        if (ended && s->staff) dist__seats_withdraw(s);
        else if (ended) dist__member_stop_all(s);
        uint64_t until_ns = dist__member_enforce(s);
        if (!ended && keep_alive(s)) until_ns = dist__member_enforce(s);
        if (s->live) {
            uint64_t soon = dist__now_ns() + HELD_NS;
            dist__member_wait(s, control->held && soon < until_ns ? soon : until_ns);
            continue;
        }
        dist__control_hear_all(control);
        dist__collect_untold(s);
        if (ended) return;
        if (dist__control_has_ended(control)) continue; /* a worker has told so, and left */
        if (control->waiting_count && !anything_to_run(s))
            dist__control_sleep(control, s->polled, 0, UINT64_MAX);
        else if (is_over(s) && give_up_waiting(s)) return;
    }
}

static dist_status prepare(struct dist__supervisor *s, struct dist__batch *batch) {
    size_t bytes = batch->out ? batch->n * batch->out_size : 0;
    bool in_place = batch->in_place && bytes && dist__is_mapped_shared(batch->out, bytes);
    *s = (struct dist__supervisor){.call = {.batch = batch, .parent = getpid()}};
    s->staff = batch->pool ? batch->pool->team : NULL;
    s->width = s->staff ? s->staff->room : batch->workers;
    s->member = calloc(s->width, sizeof *s->member);
    s->polled = calloc(s->width + DIST__CONTROL_FDS, sizeof *s->polled);
    s->lost = calloc(s->width, sizeof *s->lost);
    s->lost_room = s->width;
    if (!s->member || !s->polled || !s->lost)
        return dist__refuse(DIST_NOMEM, ENOMEM, "no memory for %u workers", s->width);
    if (s->staff) return dist__parcel_pack(s->staff, &s->call.region, batch, &s->parcel);
    return dist__region_open(&s->call.region, batch, in_place);
}

/* Nothing has run, and not even one worker could be started. */
static dist_status refuse_without_workers(struct dist__supervisor *s) {
    return dist__refuse(DIST_SYSTEM, s->fork_error, "fork: %s", strerror(s->fork_error));
}

static bool first_worker(struct dist__supervisor *s) {
    if (s->staff) return true; /* they are there, or will be */
    s->call.all_flushed = dist__worker_flush_host();
    for (int i = 0; i < FORK_TRIES; i++) {
        if (i) poll(NULL, 0, FORK_PAUSE_MS);
        if (dist__member_spawn(s, 0, (struct dist__span){0, 0})) return true;
    }
    return false;
}

/* Lends the control what it needs of this call. */
static void join_control(struct dist__supervisor *s, struct dist__control *control) {
    if (!s->staff) dist__control_add_bell(control);
    control->desk = s->call.region.desk;
    control->rings = s->width;
    control->attempts = s->call.region.attempts;
    control->land = dist__collect_land;
    control->heard_of = dist__collect_heard_of;
    control->self = s;
}

/* Comes into the pool. */
static dist_status enter(struct dist__supervisor *s) {
    dist_status refused = dist__seats_open(s);
    if (refused || !dist__seats_are_open(s)) return refused;
    if (s->call.batch->each_worker)
        for (unsigned k = 0; k < s->call.batch->n; k++)
            dist__member_note_lost(s, (struct dist__span){k, k + 1});
    dist__parcel_seal(s->parcel, s->call.batch->control);
    return DIST_OK;
}

static void close_region(struct dist__supervisor *s) {
    struct dist__region *region = &s->call.region;
    if (!s->staff) {
        dist__region_close(region);
        return;
    }
    if (region->base) dist__staff_give(s->staff, region->base, region->size);
    free(region->offset);
}

static dist_status run(struct dist__batch *batch) {
    struct dist__supervisor s;
    struct dist__control *control = batch->control;
    dist_status status = prepare(&s, batch);
    if (!status && control) join_control(&s, control);
    if (!status && s.staff) status = enter(&s);
    bool cancelled = !status && control && dist__control_check(control);
    if (!status && !cancelled && !first_worker(&s)) status = refuse_without_workers(&s);
    if (!status) {
        if (!control) supervise(&s);
        else if (!cancelled) look_after(&s);
        dist__collect_all(&s);
    }
    if (control && control->desk) dist__control_leave_desk(control);
    if (!status && s.staff) dist__seats_close(&s);
    close_region(&s);
    free(s.member);
    free(s.polled);
    free(s.lost);
    return status;
}

/* The CPUs, shared between the workers of all enclosing calls. */
static unsigned default_workers(const struct dist__record *caller) {
    unsigned cpus = dist__cpus_cached() / (caller ? caller->crowd : 1);
    return cpus ? cpus : 1;
}

static void *take(struct dist_pool *pool, size_t bytes) {
    return dist__staff_take(pool->team, bytes);
}

static void give(struct dist_pool *pool, void *memory, size_t bytes) {
    dist__staff_give(pool->team, memory, bytes);
}

const struct dist__backend dist__backend_process = {.name = "process",
                                                    .executor = DIST_PROCESS,
                                                    .default_workers = default_workers,
                                                    .run = run,
                                                    .pool_open = dist__staff_open,
                                                    .pool_resize = dist__staff_resize,
                                                    .pool_end = dist__staff_end,
                                                    .pool_apply = dist__mail_apply,
                                                    .pool_clear = dist__mail_stop,
                                                    .pool_sweep = dist__mail_sweep,
                                                    .pool_turn = dist__mail_turn,
                                                    .pool_take = take,
                                                    .pool_give = give,
                                                    .post = &dist__mail_post};
