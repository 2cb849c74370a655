/* members.c - workers come and go: forks, deaths, and what the dead held. */
#include "common/control.h"
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    POLL_MS = 2,           /* between looks where the kernel has no pidfd */
    GRACE_NS = 200000000,  /* between SIGTERM and SIGKILL */
    SOON_NS = 1000000,     /* between looks at a worker of a pool that should leave the call, */
    PATIENCE_NS = 50000000 /* until it is taken for one that is stuck, in its init perhaps */
};

/* ------------------------------------------------------------------ forking */

bool dist__member_cursor_at_end(const struct dist__supervisor *s) {
    /* relaxed: a hint; what is left is found in the end */
    uint64_t cursor = atomic_load_explicit(&s->call.region.shared->cursor, memory_order_relaxed);
    if (cursor >= dist__batch_units(s->call.batch)) return true;
    struct dist__span next = dist__batch_items(s->call.batch, cursor, cursor + 1);
    return dist__region_past_stop(&s->call.region, next.begin);
}

/* In a worker: those of its siblings would use up the descriptors that tasks may open. */
static void close_pidfds(const struct dist__supervisor *s) {
    for (unsigned place = 0; place < s->width; place++)
        if (s->member[place].pid && s->member[place].pidfd >= 0) close(s->member[place].pidfd);
}

bool dist__member_spawn(struct dist__supervisor *s, unsigned place, struct dist__span items) {
    struct dist__claim *claim = &s->call.region.claim[place];
    if (items.begin < items.end) dist__claim_hold(claim, items.begin, items.end);
    else dist__claim_set(claim, DIST__IDLE);
    if (s->call.region.verdict) dist__verdict_reset(&s->call.region.verdict[place]);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* no handler of the host may run in the worker */
    pid_t pid = fork();
    if (pid == 0) {
        close_pidfds(s);
        dist__worker_main(&s->call, place);
    }
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        s->fork_error = error;
        return false;
    }
    s->member[place] = (struct dist__member){.pid = pid, .pidfd = dist__pidfd_open(pid)};
    s->live++;
    return true;
}

void dist__member_spawn_missing(struct dist__supervisor *s) {
    if (s->staff) {
        dist__seats_refresh(s);
        dist__seats_invite(s);
        dist__seats_refresh(s);
        return;
    }
    struct dist__due *ring = s->call.region.due;
    uint64_t due = ring ? dist__due_count(ring) : 0;
    for (unsigned place = 0; place < s->width; place++) {
        if (s->lost_count == 0 && due == 0 && dist__member_cursor_at_end(s)) return;
        if (s->member[place].pid) continue;
        struct dist__span items = {0, 0};
        if (s->lost_count) items = s->lost[--s->lost_count];
        else if (due) due--;
        if (dist__member_spawn(s, place, items)) continue;
        if (items.begin < items.end) s->lost[s->lost_count++] = items;
        return;
    }
}

/* ------------------------------------------------------------------ deaths */

void dist__member_note_lost(struct dist__supervisor *s, struct dist__span items) {
    if (items.begin >= items.end || dist__region_past_stop(&s->call.region, items.begin)) return;
    if (s->lost_count == s->lost_room) {
        size_t room = s->lost_room ? 2 * s->lost_room : 8;
        struct dist__span *grown = realloc(s->lost, room * sizeof *grown);
        if (!grown) return; /* they are found again when no worker lives */
        s->lost = grown;
        s->lost_room = room;
    }
    s->lost[s->lost_count++] = items;
}

void dist__death_describe(char *text, size_t size, unsigned place, pid_t pid,
                          struct dist__exit end) {
    char buffer[16];
    if (!end.known)
        snprintf(text, size, "worker %u (pid %d) died; its exit status was taken by another wait",
                 place, (int)pid);
    else if (end.signal)
        snprintf(text, size, "worker %u (pid %d) killed by %s", place, (int)pid,
                 dist__signal_name(end.signal, buffer));
    else
        snprintf(text, size, "worker %u (pid %d) ended with exit status %d inside the task", place,
                 (int)pid, end.exit_code);
}

/* What became of the items that a worker was running when it died. */
static void blame(struct dist__supervisor *s, struct dist__span items, unsigned place,
                  struct dist__member dead, struct dist__exit end) {
    struct dist__control *control = s->call.batch->control;
    dist_error error = {.status = DIST_CRASHED,
                        .signal = end.signal,
                        .exit_code = end.exit_code,
                        .attempts = 1,
                        .worker = place};
    dist__death_describe(error.message, sizeof error.message, place, dead.pid, end);
    if (!control) {
        for (error.index = items.begin; error.index < items.end; error.index++)
            dist__region_fail(&s->call.region, &error, DIST__ITEM_CRASHED);
        return;
    }
    /* by the call's end, or by the terminal's signal that came with it */
    bool stopped = dead.kill_ns || end.signal == SIGINT || end.signal == SIGTERM;
    if (dist__control_has_ended(control) && stopped && !dead.late) {
        dist__control_interrupted(control, items, place);
        return;
    }
    struct dist__note note = {
        .kind = DIST__FAILED, .worker = place, .begin = items.begin, .end = items.end};
    /* relaxed: its writer is dead and reaped */
    uint64_t since =
        atomic_load_explicit(&control->desk->ring[place].running_since, memory_order_relaxed);
    if (since) note.took_ns = dist__now_ns() - since;
    if (dead.late) {
        error = (dist_error){.status = DIST_TIMEOUT, .code = ETIMEDOUT, .worker = place};
        snprintf(error.message, sizeof error.message, "killed after its limit of %g s",
                 dist__attempt_limit(control, items.begin));
    }
    error.attempts = dist__attempts_of(control, items.begin);
    note.error = error;
    dist__control_count(control, &note);
    dist__control_take(control, &note);
}

/* Goes through what a dead worker held. True: it was running one of them. */
static bool inherit(struct dist__supervisor *s, unsigned place, struct dist__member dead,
                    struct dist__exit end) {
    uint64_t begin, last;
    if (dist__claim_read(&s->call.region.claim[place], &begin, &last) != DIST__HELD) return false;
    if (last > s->call.batch->n) last = s->call.batch->n; /* a wild task can write anything */
    bool blamed = false, chunks = s->call.batch->kind == DIST__MAP_CHUNKS;
    for (size_t i = begin; i < last;) {
        size_t first = i++;
        if (dist__region_state(&s->call.region, first) == DIST__ITEM_RUNNING) {
            while (chunks && i < last &&
                   dist__region_state(&s->call.region, i) == DIST__ITEM_RUNNING)
                i++;
            blame(s, (struct dist__span){first, i}, place, dead, end);
            blamed = true;
        } else if (dist__region_state(&s->call.region, first) == DIST__ITEM_PENDING) {
            while (i < last && dist__region_state(&s->call.region, i) == DIST__ITEM_PENDING) i++;
            dist__member_note_lost(s, (struct dist__span){first, i});
        }
    }
    return blamed;
}

static uint64_t finished_items(const struct dist__supervisor *s) {
    uint64_t sum = 0;
    for (unsigned place = 0; place < s->width; place++) /* relaxed: see dist__claim_count */
        sum += atomic_load_explicit(&s->call.region.claim[place].finished, memory_order_relaxed);
    return sum;
}

/* True: the worker had done its work, or an item explains its death. */
static bool bury(struct dist__supervisor *s, unsigned place) {
    struct dist__member dead = s->member[place];
    struct dist__exit end =
        s->staff ? dist__seats_end_of(s, place) : dist__reap(dead.pid, dead.pidfd);
    if (s->call.batch->control) dist__control_hear_last(s->call.batch->control, place);
    if (!s->staff && dead.pidfd >= 0) close(dead.pidfd);
    if (!s->staff) s->member[place].pid = 0;
    s->live--;
    uint64_t begin, last;
    bool left = dist__claim_read(&s->call.region.claim[place], &begin, &last) == DIST__LEFT;
    dist__meters_bury(s->call.batch->meters, place, &end, !left);
    bool explained = left || inherit(s, place, dead, end);
    if (s->staff) dist__seats_clear(s, place);
    return explained;
}

static bool has_ended(const struct dist__supervisor *s, unsigned place) {
    return s->staff ? dist__seats_is_dead(s, place) : dist__has_ended(s->member[place].pid);
}

/* If the host has closed descriptors that are not its own, the pids must do. */
static bool lost_pidfd(struct dist__supervisor *s, nfds_t count) {
    bool lost = false;
    for (nfds_t k = 0; k < count; k++)
        lost |= (s->polled[DIST__CONTROL_FDS + k].revents & POLLNVAL) != 0;
    for (unsigned place = 0; lost && place < s->width; place++)
        if (s->staff) dist__seats_unwatch(s, place);
        else s->member[place].pidfd = -1;
    return lost;
}

/* Sleeps until a worker may have ended. True: pidfds have been asked, and polled[] tells in the
 * order of the places; else each worker must be looked at. */
static bool sleep_until_death(struct dist__supervisor *s, uint64_t until_ns) {
    struct dist__control *control = s->call.batch->control;
    struct pollfd *polled = s->polled + DIST__CONTROL_FDS;
    nfds_t count = 0; /* of pidfds: poll refuses more entries than a process may have open */
    bool all = true;
    for (unsigned place = 0; place < s->width; place++) {
        const struct dist__member *m = &s->member[place];
        if (!m->pid) continue;
        if (m->pidfd < 0) all = false;
        else polled[count++] = (struct pollfd){.fd = m->pidfd, .events = POLLIN};
    }
    int ready;
    if (control) {
        uint64_t look = dist__now_ns() + POLL_MS * 1000000;
        ready = dist__control_sleep(control, s->polled, count,
                                    all || look > until_ns ? until_ns : look);
    } else {
        ready = poll(polled, count, all ? -1 : POLL_MS);
    }
    if (ready >= 0) return !lost_pidfd(s, count);
    if (errno != EINTR) poll(NULL, 0, POLL_MS);
    return false;
}

void dist__member_wait(struct dist__supervisor *s, uint64_t until_ns) {
    bool asked = sleep_until_death(s, until_ns), any = false, explained = false;
    const struct pollfd *polled = s->polled + DIST__CONTROL_FDS;
    for (unsigned place = 0, k = 0; place < s->width; place++) {
        const struct dist__member *m = &s->member[place];
        if (!m->pid) continue;
        if (asked && m->pidfd >= 0 && polled[k++].revents == 0) continue;
        /* asked again: somebody may have closed the pidfd, and opened something else */
        if (!has_ended(s, place)) {
            if (asked && s->staff) dist__seats_unwatch(s, place);
            else if (asked) s->member[place].pidfd = -1;
            continue;
        }
        any = true;
        explained |= bury(s, place);
    }
    if (!any) return;
    uint64_t finished = finished_items(s);
    s->barren = explained || finished != s->finished ? 0 : s->barren + 1;
    s->finished = finished;
}

/* ------------------------------------------------------------------ killing */

static void end_member(struct dist__member *m) {
    if (m->kill_ns) return;
    dist__kill(m->pid, m->pidfd, SIGTERM);
    m->kill_ns = dist__now_ns() + GRACE_NS;
}

void dist__member_stop_all(struct dist__supervisor *s) {
    for (unsigned place = 0; place < s->width; place++)
        if (s->member[place].pid && !dist__has_ended(s->member[place].pid))
            end_member(&s->member[place]);
}

/* The least limit that an attempt may have that begins now. */
static uint64_t next_limit(const struct dist__supervisor *s) {
    const struct dist__batch *batch = s->call.batch;
    double least = batch->control->opts.task_timeout;
    for (size_t i = 0; batch->kind == DIST__PAR_TASKS && i < batch->n; i++) {
        double limit = dist__attempt_limit(batch->control, i);
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
    }
    return least > 0 ? dist__after(dist__now_ns(), least) : UINT64_MAX;
}

/* The call has ended, and a worker of a pool has not left though it runs no attempt. */
static uint64_t await_leaving(struct dist__supervisor *s, unsigned place, uint64_t now) {
    if (s->over_ns == 0) s->over_ns = now;
    if (now - s->over_ns < PATIENCE_NS || has_ended(s, place) || !dist__seats_condemn(s, place))
        return now + SOON_NS;
    end_member(&s->member[place]);
    return s->member[place].kill_ns;
}

/* Looks at one worker; returns when to look again. */
static uint64_t enforce(struct dist__supervisor *s, unsigned place, uint64_t now) {
    struct dist__member *m = &s->member[place];
    if (m->kill_ns) {
        if (now < m->kill_ns) return m->kill_ns;
        dist__kill(m->pid, m->pidfd, SIGKILL);
        m->kill_ns = UINT64_MAX;
        return UINT64_MAX;
    }
    uint64_t word, limit = dist__verdict_limit(&s->call.region.verdict[place], &word);
    bool runs = word % DIST__ATTEMPT_STATES == DIST__ATTEMPT_RUNS;
    bool over = s->staff && dist__control_has_ended(s->call.batch->control);
    if (over && !runs) return await_leaving(s, place, now);
    if (now < limit && !over) return limit;
    /* it may have died in time, and nobody has come to bury it yet */
    if (has_ended(s, place) || !dist__verdict_condemn(&s->call.region.verdict[place], word))
        return over ? now + SOON_NS : limit;
    m->late = now >= limit;
    end_member(m);
    return m->kill_ns;
}

uint64_t dist__member_enforce(struct dist__supervisor *s) {
    uint64_t now = dist__now_ns(), next = UINT64_MAX;
    if (s->call.batch->control->limited) next = next_limit(s);
    for (unsigned place = 0; place < s->width; place++) {
        if (!s->member[place].pid) continue;
        uint64_t look = enforce(s, place, now);
        if (look < next) next = look;
    }
    return next;
}
