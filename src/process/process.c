/* process.c - the backend: forks workers inside the call, watches them, and collects. */
#include "common/backend.h"
#include "common/cpus.h"
#include "common/error.h"
#include "common/os.h"
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BARREN_DEATHS = 10, /* rounds of deaths that no item explains, and the call gives up; */
    BARREN_CALM = 2, /* after so many it waits before each fork, from 1 ms on doubled each time */
    BARREN_PAUSE_MS = 100, /* up to this: a burst of kills from outside shall cost nothing */
    POLL_MS = 2,           /* between looks where the kernel has no pidfd */
    FORK_TRIES = 20,       /* while not one worker lives, */
    FORK_PAUSE_MS = 25     /* with a pause between them */
};

struct member { /* a worker, seen from its parent */
    pid_t pid;  /* 0: none */
    int pidfd;
};

struct supervisor {
    struct dist__process_call call;
    struct member *member; /* one for each place */
    struct pollfd *polled; /* the same */
    unsigned live;
    struct dist__span *lost; /* items that dead workers held and never started */
    size_t lost_count, lost_room;
    unsigned barren; /* rounds of deaths that no item explains, with nothing finished in between */
    uint64_t finished; /* by all workers, at the last death */
    int fork_error;    /* why there are fewer workers; 0: there are not */
};

/* ------------------------------------------------------------------ forking */

static bool cursor_at_end(const struct supervisor *s) {
    /* relaxed: a hint; what is left is found in the end */
    uint64_t cursor = atomic_load_explicit(&s->call.region.shared->cursor, memory_order_relaxed);
    if (cursor >= dist__batch_units(s->call.batch)) return true;
    struct dist__span next = dist__batch_items(s->call.batch, cursor, cursor + 1);
    return dist__region_past_stop(&s->call.region, next.begin);
}

/* In a worker: those of its siblings would use up the descriptors that tasks may open. */
static void close_pidfds(const struct supervisor *s) {
    for (unsigned place = 0; place < s->call.batch->workers; place++)
        if (s->member[place].pid && s->member[place].pidfd >= 0) close(s->member[place].pidfd);
}

/* Starts a worker that begins with `items`, which may be none. False: the system has no room. */
static bool spawn(struct supervisor *s, unsigned place, struct dist__span items) {
    struct dist__claim *claim = &s->call.region.claim[place];
    if (items.begin < items.end) dist__claim_hold(claim, items.begin, items.end);
    else dist__claim_set(claim, DIST__IDLE);
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
    s->member[place] = (struct member){pid, dist__pidfd_open(pid)};
    s->live++;
    return true;
}

/* Fills the places as long as there is something to do. */
static void spawn_missing(struct supervisor *s) {
    for (unsigned place = 0; place < s->call.batch->workers; place++) {
        if (s->lost_count == 0 && cursor_at_end(s)) return;
        if (s->member[place].pid) continue;
        struct dist__span items = {0, 0};
        if (s->lost_count) items = s->lost[--s->lost_count];
        if (spawn(s, place, items)) continue;
        if (items.begin < items.end) s->lost[s->lost_count++] = items;
        return;
    }
}

/* ------------------------------------------------------------------ deaths */

static void note_lost(struct supervisor *s, struct dist__span items) {
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

static void describe_death(char *text, size_t size, unsigned place, pid_t pid,
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

static void blame(struct supervisor *s, size_t i, unsigned place, pid_t pid,
                  struct dist__exit end) {
    dist_error error = {.status = DIST_CRASHED,
                        .index = i,
                        .signal = end.signal,
                        .exit_code = end.exit_code,
                        .attempts = 1,
                        .worker = place};
    describe_death(error.message, sizeof error.message, place, pid, end);
    dist__region_fail(&s->call.region, &error, DIST__ITEM_CRASHED);
}

/* Goes through what a dead worker held. True: it was running one of them. */
static bool inherit(struct supervisor *s, unsigned place, pid_t pid, struct dist__exit end) {
    uint64_t begin, last;
    if (dist__claim_read(&s->call.region.claim[place], &begin, &last) != DIST__HELD) return false;
    if (last > s->call.batch->n) last = s->call.batch->n; /* a wild task can write anything */
    bool blamed = false;
    struct dist__span untouched = {0, 0};
    for (size_t i = begin; i < last; i++) {
        enum dist__item_state state = dist__region_state(&s->call.region, i);
        if (state == DIST__ITEM_RUNNING) {
            blame(s, i, place, pid, end);
            blamed = true;
        }
        if (state != DIST__ITEM_PENDING) continue;
        if (untouched.end == i && untouched.begin < i) untouched.end = i + 1;
        else note_lost(s, untouched), untouched = (struct dist__span){i, i + 1};
    }
    note_lost(s, untouched);
    return blamed;
}

static uint64_t finished_items(const struct supervisor *s) {
    uint64_t sum = 0;
    for (unsigned place = 0; place < s->call.batch->workers; place++)
        /* relaxed: see dist__claim_count */
        sum += atomic_load_explicit(&s->call.region.claim[place].finished, memory_order_relaxed);
    return sum;
}

/* True: the worker had done its work, or an item explains its death. */
static bool bury(struct supervisor *s, unsigned place) {
    struct member dead = s->member[place];
    struct dist__exit end = dist__reap(dead.pid, dead.pidfd);
    if (dead.pidfd >= 0) close(dead.pidfd);
    s->member[place].pid = 0;
    s->live--;
    uint64_t begin, last;
    if (dist__claim_read(&s->call.region.claim[place], &begin, &last) == DIST__LEFT) return true;
    return inherit(s, place, dead.pid, end);
}

/* If the host has closed descriptors that are not its own, the pids must do. */
static bool lost_pidfd(struct supervisor *s, nfds_t count) {
    bool lost = false;
    for (nfds_t k = 0; k < count; k++) lost |= (s->polled[k].revents & POLLNVAL) != 0;
    for (unsigned place = 0; lost && place < s->call.batch->workers; place++)
        s->member[place].pidfd = -1;
    return lost;
}

/* Sleeps until a worker may have ended. True: pidfds have been asked, and polled[] tells in the
 * order of the places; else each worker must be looked at. */
static bool sleep_until_death(struct supervisor *s) {
    nfds_t count = 0; /* of pidfds: poll refuses more entries than a process may have open */
    bool all = true;
    for (unsigned place = 0; place < s->call.batch->workers; place++) {
        const struct member *m = &s->member[place];
        if (!m->pid) continue;
        if (m->pidfd < 0) all = false;
        else s->polled[count++] = (struct pollfd){.fd = m->pidfd, .events = POLLIN};
    }
    int ready = poll(s->polled, count, all ? -1 : POLL_MS);
    if (ready >= 0) return !lost_pidfd(s, count);
    if (errno != EINTR) poll(NULL, 0, POLL_MS);
    return false;
}

/* Waits until at least one worker may have ended, and buries all that have: one round, however many
 * they are, of deaths that mean something or do not. */
static void wait_for_deaths(struct supervisor *s) {
    bool asked = sleep_until_death(s), any = false, explained = false;
    for (unsigned place = 0, k = 0; place < s->call.batch->workers; place++) {
        const struct member *m = &s->member[place];
        if (!m->pid) continue;
        bool tells = asked && m->pidfd >= 0;
        if (tells ? s->polled[k++].revents == 0 : !dist__has_ended(m->pid)) continue;
        any = true;
        explained |= bury(s, place);
    }
    if (!any) return;
    uint64_t finished = finished_items(s);
    s->barren = explained || finished != s->finished ? 0 : s->barren + 1;
    s->finished = finished;
}

/* ------------------------------------------------------------------ collecting */

/* With no worker alive: items that were drawn and that nobody has started; they must run. Those
 * above the cursor will be drawn as before. True: there is something to do. */
static bool find_lost(struct supervisor *s) {
    const struct dist__batch *batch = s->call.batch;
    /* relaxed: no worker lives, and all are reaped */
    uint64_t cursor = atomic_load_explicit(&s->call.region.shared->cursor, memory_order_relaxed);
    size_t drawn = cursor == 0                          ? 0
                   : cursor >= dist__batch_units(batch) ? batch->n
                                                        : dist__batch_items(batch, 0, cursor).end;
    s->lost_count = 0;
    for (size_t i = 0; i < drawn && !dist__region_past_stop(&s->call.region, i); i++) {
        if (dist__region_state(&s->call.region, i) != DIST__ITEM_PENDING) continue;
        size_t begin = i;
        while (i < drawn && dist__region_state(&s->call.region, i) == DIST__ITEM_PENDING) i++;
        note_lost(s, (struct dist__span){begin, i});
    }
    return s->lost_count > 0 || !cursor_at_end(s);
}

static void give_up(struct supervisor *s, dist_status status, int code, const char *why) {
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
static void collect_failures(struct supervisor *s) {
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

/* The result of every good item to its place; failures without an entry; what was skipped. */
static void collect_items(struct supervisor *s) {
    const struct dist__region *region = &s->call.region;
    struct dist__batch *batch = s->call.batch;
    for (size_t i = 0; i < batch->n;) {
        enum dist__item_state state = dist__region_state(region, i);
        size_t begin = i++;
        if (state == DIST__ITEM_LOGGED) continue;
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
        if (state == DIST__ITEM_DONE) dist__region_copy_out(region, batch, items);
        else collect_skipped(batch, items);
    }
}

/* ------------------------------------------------------------------ the call */

static void calm_down(const struct supervisor *s) {
    if (s->barren <= BARREN_CALM) return;
    int pause = 1 << (s->barren - BARREN_CALM - 1);
    poll(NULL, 0, pause < BARREN_PAUSE_MS ? pause : BARREN_PAUSE_MS);
}

static void supervise(struct supervisor *s) {
    for (;;) {
        if (s->barren < BARREN_DEATHS) {
            calm_down(s);
            spawn_missing(s);
        }
        if (s->live) {
            wait_for_deaths(s);
            continue;
        }
        if (!find_lost(s)) return;
        if (s->barren >= BARREN_DEATHS) {
            give_up(s, DIST_CRASHED, 0, "workers keep dying before they run anything");
            return;
        }
        for (int i = 0; i < FORK_TRIES && !s->live; i++) {
            if (i) poll(NULL, 0, FORK_PAUSE_MS);
            spawn_missing(s);
        }
        if (!s->live) {
            give_up(s, DIST_SYSTEM, s->fork_error, "no worker process could be started");
            return;
        }
    }
}

static dist_status prepare(struct supervisor *s, struct dist__batch *batch) {
    size_t bytes = batch->out ? batch->n * batch->out_size : 0;
    bool in_place = batch->in_place && bytes && dist__is_mapped_shared(batch->out, bytes);
    *s = (struct supervisor){.call = {.batch = batch, .parent = getpid()}};
    s->member = calloc(batch->workers, sizeof *s->member);
    s->polled = calloc(batch->workers, sizeof *s->polled);
    s->lost = calloc(batch->workers, sizeof *s->lost);
    s->lost_room = batch->workers;
    if (!s->member || !s->polled || !s->lost)
        return dist__refuse(DIST_NOMEM, ENOMEM, "no memory for %u workers", batch->workers);
    return dist__region_open(&s->call.region, batch, in_place);
}

/* Nothing has run, and not even one worker could be started. */
static dist_status refuse_without_workers(struct supervisor *s) {
    return dist__refuse(DIST_SYSTEM, s->fork_error, "fork: %s", strerror(s->fork_error));
}

static bool first_worker(struct supervisor *s) {
    s->call.all_flushed = dist__worker_flush_host();
    for (int i = 0; i < FORK_TRIES; i++) {
        if (i) poll(NULL, 0, FORK_PAUSE_MS);
        if (spawn(s, 0, (struct dist__span){0, 0})) return true;
    }
    return false;
}

static dist_status run(struct dist__batch *batch) {
    struct supervisor s;
    if (batch->control) return dist__refuse(DIST_UNSUPPORTED, 0, "not built yet");
    dist_status status = prepare(&s, batch);
    if (!status && !first_worker(&s)) status = refuse_without_workers(&s);
    if (!status) {
        supervise(&s);
        collect_failures(&s);
        collect_items(&s);
    }
    dist__region_close(&s.call.region);
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

const struct dist__backend dist__backend_process = {
    .name = "process", .executor = DIST_PROCESS, .default_workers = default_workers, .run = run};
