/* mail.c - single items in the hands of a pool's workers, and what the nursery does with those of
 * dead ones. */
#include "common/error.h"
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t GRACE_NS = 200000000; /* between SIGTERM and SIGKILL */
enum { MOST_RETURNS = 10 }; /* of an item whose worker died before it began, and it is given up */

/* Of 32 workers: wakes one that sleeps. */
static bool wake_one(struct dist__staff *staff, unsigned from, uint64_t states) {
    for (uint64_t asleep = states >> 1 & dist__all_looking; asleep; asleep &= asleep - 1)
        if (dist__staff_wake(staff, from + (unsigned)__builtin_ctzll(asleep) / 2)) return true;
    return false;
}

bool dist__mail_ring(struct dist__staff *staff) {
    const struct dist__calls *calls = staff->mail->calls;
    for (unsigned k = 0; k < staff->room; k += DIST__CALLS_PER_WORD)
        if (dist__calls_look(calls, k) & dist__all_looking) return false;
    return dist__mail_wake(staff);
}

bool dist__mail_wake(struct dist__staff *staff) {
    for (unsigned k = 0; k < staff->room; k += DIST__CALLS_PER_WORD)
        if (wake_one(staff, k, dist__calls_look(staff->mail->calls, k))) return true;
    return false;
}

/* ------------------------------------------------------------------ a worker */

bool dist__mail_take(struct dist__staff *staff, unsigned worker, uint64_t generation,
                     uint32_t *cell) {
    struct dist__mail *mail = staff->mail;
    return dist__rack_take(&mail->box, &mail->carrier[worker].at, dist__bearer(worker, generation),
                           cell);
}

static void tell_failure(struct dist__light_end *end, const struct dist__record *record, int code,
                         bool silent) {
    end->item = (dist_error){.status = record->code ? record->status : DIST_FAILED,
                             .code = code,
                             .attempts = 1,
                             .worker = record->worker};
    if (record->code) memcpy(end->item.message, record->message, sizeof end->item.message);
    else snprintf(end->item.message, sizeof end->item.message, "the task returned %d", code);
    end->why = end->item;
    if (silent) end->why.status = DIST_OK;
}

static void tell_failed_init(struct dist__light_end *end, const struct dist__record *record,
                             int code) {
    end->item = dist__skipped;
    end->why = (dist_error){.status = DIST_FAILED, .code = code, .worker = record->worker};
    if (record->code)
        snprintf(end->why.message, sizeof end->why.message, "worker_init: %.140s", record->message);
    else snprintf(end->why.message, sizeof end->why.message, "worker_init: returned %d", code);
}

/* Returns the status of the whole. */
static dist_status call(const struct dist__mail *mail, uint32_t c, struct dist__record *record) {
    struct dist__cell *cell = &mail->cell[c];
    struct dist__light *light = &cell->light;
    record->code = 0;
    void *ctx = cell->flags & DIST__MAIL_HAS_CTX ? dist__mail_ctx(mail, c) : light->ctx;
    int code = light->fn(light->result ? dist__mail_result(mail, c) : NULL,
                         light->item ? dist__mail_item(mail, c) : NULL, ctx);
    if (code == 0) return DIST_OK;
    /* relaxed: the bit never changes */
    uint32_t word = atomic_load_explicit(&light->word, memory_order_relaxed);
    light->end = &mail->end[c];
    tell_failure(light->end, record, code, word & DIST__SILENT);
    return light->end->why.status;
}

static void enter(struct dist__record *record, const struct dist__light *light,
                  struct dist__hand *hand) {
    dist__record_enter_light(record, light, light->seed);
    record->place = record->worker = hand->number;
    record->company = DIST__FORKED;
    record->hand = hand;
}

/* Ends with its word. */
static void settle(struct dist__mail *mail, struct dist__cell *cell, dist_status status) {
    bool waited = false;
    if (!dist__mail_settle(&cell->light.word, status, &waited))
        for (;;) pause();
    if (waited) dist__futex_wake(&cell->light.word, INT_MAX, true);
    dist__onlookers_tell(mail->onlookers);
}

unsigned dist__mail_run(struct dist__staff *staff, uint32_t c, struct dist__hand *hand,
                        void (*has_begun)(void)) {
    struct dist__cell *cell = &staff->mail->cell[c];
    struct dist__record record;
    bool is_first = !hand->ready;
    enter(&record, &cell->light, hand);
    /* before the item begins: a worker that dies in its worker_init has not run it */
    int code = dist__hand_begin(hand, &record);
    if (is_first && !code) has_begun();
    bool begun = dist__mail_begin(&cell->stamp, &cell->light.word);
    dist_status status = DIST_FAILED;
    if (begun && !code) status = call(staff->mail, c, &record);
    else if (begun) tell_failed_init(cell->light.end = &staff->mail->end[c], &record, code);
    dist__record_leave(&record);
    dist__worker_flush(); /* before the end is known */
    if (begun) settle(staff->mail, cell, status);
    return begun && !code;
}

/* ------------------------------------------------------------------ the nursery */

static dist_error crash(unsigned worker, pid_t pid, int32_t status) {
    struct dist__exit death = {.known = true};
    if (WIFSIGNALED(status)) death.signal = WTERMSIG(status);
    else death.exit_code = WEXITSTATUS(status);
    dist_error error = {.status = DIST_CRASHED,
                        .attempts = 1,
                        .worker = worker,
                        .signal = death.signal,
                        .exit_code = death.exit_code};
    dist__death_describe(error.message, sizeof error.message, worker, pid, death);
    return error;
}

static void tell_death(struct dist__light_end *end, const dist_error *error, bool silent) {
    end->item = end->why = *error;
    if (silent) end->why.status = DIST_OK;
}

static void tell_cancelled(struct dist__light_end *end, unsigned worker) {
    end->item = (dist_error){.status = DIST_CANCELLED, .attempts = 1, .worker = worker};
    end->why = end->item;
    snprintf(end->item.message, sizeof end->item.message, "was running when it was cancelled");
    snprintf(end->why.message, sizeof end->why.message, "cancelled with its job or its pool");
}

/* Its bearer is dead and was running it, or it is given up. */
static void end_with(const struct dist__mail *mail, uint32_t c, uint32_t old,
                     const dist_error *error) {
    struct dist__cell *cell = &mail->cell[c];
    struct dist__light_end *end = cell->light.end = &mail->end[c];
    do {
        if (old & DIST__CANCEL) tell_cancelled(end, error->worker);
        else tell_death(end, error, old & DIST__SILENT);
    } while (!dist__mail_bury(&cell->light.word, &old, end->why.status));
    if (old & DIST__WAITED) dist__futex_wake(&cell->light.word, INT_MAX, true);
}

/* Too many workers have died when they had taken it and not begun. True: it counts as begun now. */
static bool is_hopeless(struct dist__cell *cell, uint64_t bearer) {
    if (!dist__stamp_is_of(&cell->stamp, bearer) ||
        dist__phase_of(dist__phase_look(&cell->light.word)) != DIST__QUEUED)
        return false;
    /* relaxed: nurseries, one after the other; the host before it posts */
    return atomic_fetch_add_explicit(&cell->returns, 1, memory_order_relaxed) + 1 >= MOST_RETURNS &&
           dist__mail_begin(&cell->stamp, &cell->light.word);
}

static void inherit_cell(const struct dist__mail *mail, uint32_t c, uint64_t bearer,
                         dist_error *error) {
    struct dist__cell *cell = &mail->cell[c];
    uint32_t old;
    if (is_hopeless(cell, bearer))
        snprintf(error->message, sizeof error->message,
                 "workers keep dying before they run anything");
    if (dist__mail_is_run_by(&cell->stamp, &cell->light.word, bearer, &old))
        end_with(mail, c, old, error);
    else dist__mail_give_back(&mail->box, c, &cell->light.word, bearer);
}

void dist__mail_inherit(struct dist__staff *staff, unsigned worker, uint64_t generation, pid_t pid,
                        int32_t status) {
    struct dist__mail *mail = staff->mail;
    if (!mail) return;
    mail->kill_ns[worker] = 0;
    dist__calls_clear(mail->calls, worker);
    /* relaxed: its writer is dead and reaped */
    uint64_t at = atomic_load_explicit(&mail->carrier[worker].at, memory_order_relaxed);
    dist_error error = crash(worker, pid, status);
    if (at - 1 < mail->box.cells)
        inherit_cell(mail, (uint32_t)(at - 1), dist__bearer(worker, generation), &error);
    dist__onlookers_tell(mail->onlookers); /* it may not have come to that */
    if (dist__rack_any(mail->box.rack))
        dist__mail_ring(staff); /* it may have been the one to look */
}

/* Milliseconds until then, rounded up. */
static int until(uint64_t limit_ns, uint64_t now) { return (int)((limit_ns - now) / 1000000) + 1; }

int dist__mail_enforce(struct dist__staff *staff, unsigned worker, uint64_t generation, pid_t pid) {
    struct dist__mail *mail = staff->mail;
    if (!mail) return -1;
    uint64_t now = dist__now_ns(), *kill_ns = &mail->kill_ns[worker];
    if (*kill_ns) {
        if (now < *kill_ns) return until(*kill_ns, now);
        kill(pid, SIGKILL);
        return -1;
    }
    /* relaxed: if it is another's already, so is the stamp */
    uint64_t at = atomic_load_explicit(&mail->carrier[worker].at, memory_order_relaxed);
    if (at - 1 >= mail->box.cells) return -1;
    uint32_t old;
    struct dist__cell *cell = &mail->cell[at - 1];
    if (!dist__mail_is_run_by(&cell->stamp, &cell->light.word, dist__bearer(worker, generation),
                              &old) ||
        !(old & DIST__CANCEL))
        return -1;
    kill(pid, SIGTERM);
    *kill_ns = now + GRACE_NS;
    return until(*kill_ns, now);
}
