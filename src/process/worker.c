/* worker.c - a worker draws items and runs them until none are left. It holds no lock that another
 * process could wait for, so it may be killed between any two instructions. */
#include "worker.h"
#include "common/arena.h"
#include "common/control.h"
#include "common/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* ------------------------------------------------------------------ becoming a worker */

static bool flush_all_at_end;

static bool flush_unless_locked(FILE *stream) {
    if (ftrylockfile(stream)) return false; /* somebody is at it: its bytes stay the host's */
    /* fflush with nothing to write would still take locks of AddressSanitizer, whose runtime does
     * not free them in a child as the C library does */
    if (__fpending(stream)) fflush(stream);
    funlockfile(stream);
    return true;
}

/* Other streams of the host may hold bytes that the host will write itself; and with a second
 * thread in the worker, one may be locked by it for ever. */
void dist__worker_flush(void) {
    if (flush_all_at_end && dist__single_threaded()) {
        fflush(NULL);
    } else {
        flush_unless_locked(stdout);
        flush_unless_locked(stderr);
    }
}

/* Runs first when a task calls exit(): the host's handlers behind it must not run here. */
static void leave(int status) {
    dist__worker_flush();
    _exit(status);
}

bool dist__worker_flush_host(void) {
    /* fflush(NULL) waits for every stream's lock, and a thread that sits in fgets holds one */
    if (dist__single_threaded()) {
        fflush(NULL);
        return true;
    }
    flush_unless_locked(stdout);
    flush_unless_locked(stderr);
    return false;
}

/* As execve does: handlers go back to the default, ignored signals stay ignored. */
static void reset_signals(void) {
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action)) continue;
        if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) continue;
        action = (struct sigaction){.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Dies with the thread that forked it, which waits in the call as long as it lives. */
static void follow_parent(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pid_t now = getppid(); /* 0: the parent is outside of this pid namespace */
    if (now != parent && now != 0) _exit(1);
}

void dist__worker_become(pid_t parent, bool all_flushed) {
    follow_parent(parent);
    reset_signals();
    flush_all_at_end = all_flushed;
    __fpurge(stdout); /* what a thread of the host wrote since the flush: the host has it too */
    __fpurge(stderr);
    dist__oom_prefer();
    dist__keep_stacks();
    dist__on_exit(leave);
}

/* ------------------------------------------------------------------ running items */

struct chunk_sink {
    const struct dist__region *region;
};

static void chunk_good(void *self, struct dist__span items, const unsigned char *stage) {
    (void)stage; /* it is where the parent reads it */
    for (size_t i = items.begin; i < items.end; i++)
        dist__region_mark(((struct chunk_sink *)self)->region, i, DIST__ITEM_DONE);
}

static void chunk_bad(void *self, struct dist__span items, const dist_error *error) {
    dist_error one = *error;
    for (one.index = items.begin; one.index < items.end; one.index++)
        dist__region_fail(((struct chunk_sink *)self)->region, &one, DIST__ITEM_FAILED);
}

/* One chunk, or what is left of it. */
static void run_chunk(const struct dist__process_call *call, struct dist__span chunk,
                      struct dist__record *record) {
    struct chunk_sink own = {&call->region};
    struct dist__sink sink = {chunk_good, chunk_bad, &own};
    while (chunk.begin < chunk.end && !dist__region_past_stop(&call->region, chunk.begin)) {
        for (size_t i = chunk.begin; i < chunk.end; i++)
            dist__region_mark(&call->region, i, DIST__ITEM_RUNNING);
        unsigned char *stage = dist__region_result(&call->region, call->batch, chunk.begin);
        size_t settled = dist__batch_chunk(call->batch, chunk, stage, record, &sink);
        chunk.begin += settled;
        for (size_t i = chunk.begin; i < chunk.end; i++) /* not yet run: not to blame for a crash */
            dist__region_mark(&call->region, i, DIST__ITEM_PENDING);
    }
}

static void run_item(const struct dist__process_call *call, size_t i, struct dist__record *record) {
    if (dist__region_state(&call->region, i) != DIST__ITEM_PENDING) return; /* never twice */
    unsigned char *stage = dist__region_result(&call->region, call->batch, i);
    unsigned char *result = dist__batch_result(call->batch, i);
    dist__region_mark(&call->region, i, DIST__ITEM_RUNNING);
    if (stage && stage != result) memcpy(stage, result, dist__batch_result_size(call->batch, i));
    int code = dist__batch_call(call->batch, i, 1, stage, record);
    if (!code) {
        dist__region_mark(&call->region, i, DIST__ITEM_DONE);
        return;
    }
    dist_error error;
    dist__batch_error(call->batch, i, code, record, &error);
    dist__region_fail(&call->region, &error, DIST__ITEM_FAILED);
}

static void run_items(const struct dist__process_call *call, struct dist__span items,
                      struct dist__record *record) {
    if (call->batch->kind != DIST__MAP_CHUNKS) {
        for (size_t i = items.begin; i < items.end; i++) {
            if (dist__region_past_stop(&call->region, i)) return;
            run_item(call, i, record);
            dist__claim_count(&call->region.claim[record->place]);
        }
        return;
    }
    while (items.begin < items.end) {
        struct dist__span chunk = dist__batch_piece(call->batch, items);
        run_chunk(call, chunk, record);
        dist__claim_count(&call->region.claim[record->place]);
        items.begin = chunk.end;
    }
}

/* ------------------------------------------------------------------ items that are looked after */

struct told_sink {
    const struct dist__process_call *call;
    struct dist__record *record;
    bool settled; /* the attempt has ended in time */
};

/* First of all: only what ended in time counts. Else the worker waits for its end. */
static void settle(struct told_sink *to) {
    if (!to->settled && !dist__verdict_end(&to->call->region.verdict[to->record->place]))
        for (;;) pause();
    to->settled = true;
}

static void told_good(void *self, struct dist__span items, const unsigned char *stage) {
    struct told_sink *to = self;
    (void)stage; /* it is where the parent reads it */
    settle(to);
    if (items.begin >= items.end) return;
    for (size_t i = items.begin; i < items.end; i++)
        dist__region_mark(&to->call->region, i, DIST__ITEM_DONE);
    dist__claim_advance(&to->call->region.claim[to->record->place], items.end);
    dist__worker_succeeded(to->call->batch->control, to->record, items);
}

/* Once it is told, the item may be another worker's. If this one dies before the note, the parent
 * finds it FAILED, and unheard, when no worker lives. */
static void told_bad(void *self, struct dist__span items, const dist_error *error) {
    struct told_sink *to = self;
    settle(to);
    for (size_t i = items.begin; i < items.end; i++)
        dist__region_mark(&to->call->region, i, DIST__ITEM_FAILED);
    dist__claim_advance(&to->call->region.claim[to->record->place], items.end);
    dist__worker_tell(to->call->batch->control, to->record, DIST__FAILED, items, error);
}

/* One item or one chunk. Returns how many are settled. */
static size_t attempt(const struct dist__process_call *call, struct dist__span items,
                      struct dist__record *record) {
    const struct dist__region *region = &call->region;
    struct told_sink own = {.call = call, .record = record};
    struct dist__sink sink = {told_good, told_bad, &own};
    for (size_t i = items.begin; i < items.end; i++)
        dist__region_mark(region, i, DIST__ITEM_RUNNING);
    dist__attempt_begin(call->batch->control, record, items);
    dist__verdict_begin(&region->verdict[record->place], record->limit_ns);
    unsigned char *stage = dist__region_result(region, call->batch, items.begin);
    size_t settled = dist__batch_attempt(call->batch, items, stage, record, &sink);
    settle(&own);
    dist__attempt_end(call->batch->control, record);
    struct dist__span unused = {items.begin + settled, items.end};
    dist__attempt_unused(call->batch->control, unused);
    for (size_t i = unused.begin; i < unused.end; i++)
        dist__region_mark(region, i, DIST__ITEM_PENDING);
    dist__claim_count(&region->claim[record->place]);
    return settled;
}

static void attempt_items(const struct dist__process_call *call, struct dist__span items,
                          struct dist__record *record) {
    struct dist__control *control = call->batch->control;
    while (items.begin < items.end) {
        if (!dist__worker_turn(control, record, items.begin)) return;
        struct dist__span next = dist__batch_piece(call->batch, items);
        bool pending = dist__region_state(&call->region, items.begin) == DIST__ITEM_PENDING;
        items.begin += pending ? attempt(call, next, record) : 1; /* never twice */
    }
}

/* ------------------------------------------------------------------ the life of a worker */

static void run(const struct dist__process_call *call, struct dist__span items,
                struct dist__record *record) {
    if (call->batch->control) attempt_items(call, items, record);
    else run_items(call, items, record);
}

/* The next items, which the claim then names. False: there are none. */
static bool draw(struct dist__process_call *call, struct dist__claim *claim, uint64_t want,
                 struct dist__span *items) {
    uint64_t begin, end, first, last, units = dist__batch_units(call->batch);
    if (call->region.due && dist__due_count(call->region.due) > 0) {
        dist__claim_set(claim, DIST__CLAIMING);
        bool taken = dist__due_take(call->region.due, &begin, &end);
        if (taken && begin < end && end <= call->batch->n) { /* a wild task can write anything */
            *items = (struct dist__span){begin, end};
            dist__claim_hold(claim, begin, end);
            return true;
        }
    }
    if (!dist__claim_draw(claim, &call->region.shared->cursor, units, want, &first, &last))
        return false;
    *items = dist__batch_items(call->batch, first, last);
    dist__claim_hold(claim, items->begin, items->end);
    return true;
}

/* More than one at a time would be one that nobody else can take when it has to go. */
static uint64_t limited(const struct dist__process_call *call, uint64_t want) {
    return call->most_tasks && *call->most_tasks != UINT64_MAX ? 1 : want;
}

static bool more_to_draw(const struct dist__process_call *call) {
    /* relaxed: the supervisor finds out in the end */
    uint64_t drawn = atomic_load_explicit(&call->region.shared->cursor, memory_order_relaxed);
    return drawn < dist__batch_units(call->batch) || dist__due_count(call->region.due) > 0;
}

static bool has_done_enough(const struct dist__process_call *call, size_t items) {
    if (!call->has_done_enough) return false;
    return call->has_done_enough(call->batch->kind == DIST__MAP_CHUNKS ? 1 : items);
}

bool dist__worker_work(struct dist__process_call *call, unsigned place,
                       struct dist__record *record) {
    struct dist__claim *claim = &call->region.claim[place];
    struct dist__control *control = call->batch->control;
    struct dist__span items;
    uint64_t begin, end, want = 1;
    bool enough = false;
    if (control && !dist__worker_begin(control, record)) return false;
    if (call->has_begun) call->has_begun();
    if (dist__claim_read(claim, &begin, &end) == DIST__HELD) {
        run(call, (struct dist__span){begin, end}, record);
        enough = has_done_enough(call, end - begin);
    }
    uint64_t before = dist__now_ns();
    while (!enough && draw(call, claim, want, &items)) {
        if (dist__region_past_stop(&call->region, items.begin)) break;
        if (control && dist__control_has_ended(control)) break;
        size_t count = items.end - items.begin;
        run(call, items, record);
        uint64_t now = dist__now_ns();
        /* relaxed: an estimate */
        uint64_t drawn = atomic_load_explicit(&call->region.shared->cursor, memory_order_relaxed);
        want = limited(call, dist__batch_next_want(call->batch, count, now - before, drawn));
        before = now;
        enough = has_done_enough(call, count);
    }
    if (control) dist__worker_end(control, record);
    dist__claim_set(claim, DIST__IDLE);
    return enough && more_to_draw(call);
}

/* A task has called pthread_exit. Other threads that tasks have started would keep the process, and
 * with it the call, waiting for ever. */
static void thread_ends(void *unused) {
    (void)unused;
    leave(0);
}

_Noreturn void dist__worker_main(struct dist__process_call *call, unsigned place) {
    struct dist__record record;
    dist__worker_become(call->parent, call->all_flushed);
    dist__record_enter(&record, call->batch, place, DIST__FORKED);
    pthread_cleanup_push(thread_ends, NULL);
    dist__worker_work(call, place, &record);
    pthread_cleanup_pop(0);
    dist__arena_leave(&record);
    dist__claim_set(&call->region.claim[place], DIST__LEFT);
    dist__worker_flush();
    _exit(0);
}
