/* contract_late.c - the limit of one attempt: exactly the late items are late. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 200 };

/* What each task saw, in memory that outlives its worker. */
struct trace {
    double begun[ITEMS], ended[ITEMS]; /* 0: it did not */
    double sleeps[ITEMS];              /* how long the item takes */
    _Atomic(unsigned) runs[ITEMS], told;
    bool polls; /* items ask whether they should return */
    bool spins; /* they end within microseconds of the time they want */
};

static struct trace *new_trace(void) {
    struct trace *trace = shared_memory(sizeof *trace);
    trace->polls = true;
    return trace;
}

static int step(void *result, const void *item, void *ctx) {
    struct trace *trace = ctx;
    int i = *(const int *)item;
    trace->begun[i] = now();
    count(&trace->runs[i]);
    *(int *)result = 10 * i;
    if (trace->spins)
        while (now() < trace->begun[i] + trace->sleeps[i]) continue;
    else if (!trace->polls) nap(trace->sleeps[i]);
    else if (trace->sleeps[i] > 0) doze(trace->sleeps[i]);
    trace->ended[i] = now();
    return 0;
}

/* Each item is right or late, and all have run once. The quick ones are right. */
static void check_mixture(const dist_job *job, struct trace *trace, const int *out, size_t late) {
    assert_int_equal(dist_job_failures(job), late);
    for (size_t i = 0; i < ITEMS; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        assert_int_equal(e ? e->status : DIST_OK, trace->sleeps[i] > 0 ? DIST_TIMEOUT : DIST_OK);
        assert_int_equal(out[i], e ? -1 : 10 * (int)i);
        assert_int_equal(counted(&trace->runs[i]), 1);
        if (!e) continue;
        assert_int_equal(e->index, i);
        assert_ptr_equal(e->item, &numbers()[i]);
        assert_int_equal(e->attempts, 1);
        assert_true(strlen(e->message) > 0);
    }
}

CASE_ON("G-06", exactly_the_late_items_are_late, ON_ALL, 40) {
    enum { LATE = 5 };
    uint32_t random = random_seed();
    for (size_t chunk = 0; chunk < 40; chunk += 13) {
        struct trace *trace = new_trace();
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        for (size_t late = 0; late < LATE;) {
            double *sleeps = &trace->sleeps[random_below(&random, ITEMS)];
            late += *sleeps == 0;
            *sleeps = 60;
        }
        double start = now();
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 3,
                                  .chunk = chunk, .ctx = trace, .task_timeout = AMPLE,
                                  .silent = true, .job = &job),
                         DIST_OK);
        ASSERT_SOON(start);
        check_mixture(job, trace, out, LATE);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
    }
}

CASE("P-33", the_lowest_late_item_is_the_failure_of_the_call) {
    struct trace *trace = new_trace();
    int out[ITEMS];
    dist_error e;
    memset(out, -1, sizeof out);
    trace->sleeps[31] = trace->sleeps[40] = 60;
    double start = now();
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 3,
                              .ctx = trace, .task_timeout = AMPLE, .error = &e),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(e.status, DIST_TIMEOUT);
    assert_int_equal(e.index, 31);
    assert_in_range(e.worker, 0, 2);
    assert_ptr_equal(e.item, &numbers()[31]);
    for (int i = 0; i < 31; i++) assert_int_equal(out[i], 10 * i);
    assert_int_equal(out[31], -1);
}

CASE("P-33", late_items_count_for_max_failures) {
    struct trace *trace = new_trace();
    int out[ITEMS];
    dist_job *job;
    memset(out, -1, sizeof out);
    trace->sleeps[10] = trace->sleeps[20] = trace->sleeps[30] = 60;
    assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 1, .chunk = 1,
                              .ctx = trace, .task_timeout = 0.25, .silent = true, .max_failures = 2,
                              .job = &job),
                     DIST_TIMEOUT);
    assert_int_equal(dist_job_failures(job), 2);
    for (size_t i = 0; i < ITEMS; i++) assert_int_equal(counted(&trace->runs[i]), i <= 20);
    dist_job_finish(&job);
}

CASE("G-06", a_late_task_that_returns_zero_is_late) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        struct trace *trace = new_trace();
        int out[2] = {-1, -1};
        dist_error e;
        trace->polls = false;
        trace->sleeps[0] = 0.25;
        double start = now();
        assert_int_equal(
            call_kind(kind, step, 2, out,
                      DIST_OPTS(.executor = X, .ctx = trace, .task_timeout = 0.02, .error = &e)),
            DIST_TIMEOUT);
        assert_true(now() - start >= 0.02);
        assert_int_equal(e.index, 0);
        assert_int_equal(out[0], -1);
    }
}

static int fail_when_late(size_t index, void *ctx) {
    (void)ctx;
    doze(60);
    return dist_fail(50 + (int)index, "gave up");
}

CASE("G-06", a_late_task_is_late_whatever_it_returns) {
    dist_error e;
    assert_int_equal(
        dist_for(fail_when_late, 3, .executor = X, .workers = 1, .error = &e, .task_timeout = 0.05),
        DIST_TIMEOUT);
    assert_int_equal(e.status, DIST_TIMEOUT);
    assert_int_equal(e.index, 0);
}

/* ------------------------------------------------------------------ around the limit */

/* Durations from a little below to a little above the limit, and quick ones in between. A task that
 * says itself that it took longer than the limit is late; one that took less than half is not. */
static void check_around(const dist_job *job, struct trace *trace, const int *out, double limit) {
    for (size_t i = 0; i < ITEMS; i++) {
        dist_status status = status_of(job, i);
        double took = trace->ended[i] - trace->begun[i];
        bool whole = trace->ended[i] > 0;
        assert_in_range(counted(&trace->runs[i]), trace->sleeps[i] == 0 || whole, 1);
        if (status == DIST_OK) {
            assert_true(whole);
            if (took > limit + 0.002) fail_msg("item %zu took %g s", i, took);
            assert_int_equal(out[i], 10 * (int)i);
            continue;
        }
        assert_int_equal(status, DIST_TIMEOUT);
        assert_int_equal(out[i], -1);
        if (trace->sleeps[i] == 0 && (!whole || took < limit / 2))
            fail_msg("item %zu is late after %g s", i, whole ? took : -1);
        if (X != DIST_PROCESS) assert_true(took > limit / 2);
    }
}

CASE_ON("G-06", items_that_end_close_to_the_limit_are_right_or_late, ON_ALL, 60) {
    uint32_t random = random_seed();
    double limit = 0.4; /* a quick task may be held up for long, on a machine under load */
    for (unsigned round = 0; again(round, rounds(4, 4)); round++) {
        struct trace *trace = new_trace();
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        trace->polls = round % 2;
        trace->spins = X == DIST_PROCESS && round % 3 == 2;
        for (size_t i = 0; i < ITEMS; i++)
            if (random_below(&random, X == DIST_INLINE ? 20 : 12) == 0)
                trace->sleeps[i] = trace->spins
                                       ? limit + 400e-6 * random_below(&random, 1000) / 1000
                                       : limit * (0.85 + 0.25 * random_below(&random, 1000) / 1000);
        assert_int_equal(dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 4,
                                  .chunk = round % 3, .ctx = trace, .task_timeout = limit,
                                  .silent = true, .job = &job),
                         DIST_OK);
        check_around(job, trace, out, limit);
        printf("%zu of %d late\n", dist_job_failures(job), ITEMS);
        dist_job_finish(&job);
    }
}

/* ------------------------------------------------------------------ how workers are ended */

static int ignore_sigterm(void *result, const void *item, void *ctx) {
    struct trace *trace = ctx;
    int i = *(const int *)item;
    count(&trace->runs[i]);
    *(int *)result = 10 * i;
    if (trace->sleeps[i] == 0) return 0;
    signal(SIGTERM, SIG_IGN);
    for (;;) random_spin(&(uint32_t){1}, 1000);
    return 0;
}

CASE_ON("G-06", an_endless_loop_that_ignores_sigterm_is_killed, ON_PROCESS, 40) {
    struct trace *trace = new_trace();
    int out[ITEMS];
    dist_job *job;
    memset(out, -1, sizeof out);
    trace->sleeps[7] = trace->sleeps[50] = trace->sleeps[ITEMS - 1] = 1;
    double start = now();
    assert_int_equal(dist_map(ignore_sigterm, numbers(), ITEMS, out, .executor = X, .workers = 2,
                              .ctx = trace, .task_timeout = 0.25, .silent = true, .job = &job),
                     DIST_OK);
    assert_true(now() - start >= 0.45);
    ASSERT_SOON(start);
    check_mixture(job, trace, out, 3);
    dist_job_finish(&job);
}

static _Atomic(unsigned) signals;

static void note_signal(int signal_number) {
    (void)signal_number;
    count(&signals);
}

/* Sleeps until SIGTERM comes, and takes a while to clean up. */
static int catch_sigterm(void *result, const void *item, void *ctx) {
    struct trace *trace = ctx;
    int i = *(const int *)item;
    struct sigaction action = {.sa_handler = note_signal};
    sigaction(SIGTERM, &action, NULL);
    unsigned before = counted(&signals);
    trace->begun[i] = now();
    *(int *)result = 10 * i;
    while (counted(&signals) == before) nap(0.001);
    if (dist_cancelled()) count(&trace->told);
    nap(0.03);
    trace->ended[i] = now();
    return 0;
}

CASE_ON("G-06", a_task_that_catches_sigterm_can_clean_up, ON_PROCESS, 40) {
    enum { COUNT = 6 };
    struct trace *trace = new_trace();
    int out[COUNT], cleaned = 0;
    dist_job *job;
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(catch_sigterm, numbers(), COUNT, out, .executor = X, .workers = 1,
                              .ctx = trace, .task_timeout = 0.1, .silent = true, .job = &job),
                     DIST_OK);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(status_of(job, i), DIST_TIMEOUT); /* also if it returned 0 in time */
        assert_int_equal(out[i], -1);
        cleaned += trace->ended[i] > 0;
    }
    printf("%d of %d cleaned up\n", cleaned, COUNT);
    assert_true(cleaned >= COUNT / 2); /* a machine under load may need more than the grace */
    assert_in_range(counted(&trace->told), cleaned, COUNT);
    dist_job_finish(&job);
}

/* The worker of a late item leaves nobody behind, and its number is taken over. */
static int note_worker(size_t index, void *ctx) {
    struct trace *trace = ctx;
    if (dist_worker() > 1) return dist_fail(1, "worker %u", dist_worker());
    count(&trace->runs[index]);
    doze(trace->sleeps[index]);
    return 0;
}

CASE_ON("G-06", all_items_may_be_late, ON_ALL, 40) {
    enum { COUNT = 24 };
    struct trace *trace = new_trace();
    dist_job *job;
    for (size_t i = 0; i < COUNT; i++) trace->sleeps[i] = 60;
    double start = now();
    assert_int_equal(dist_for(note_worker, COUNT, .executor = X, .workers = 2, .ctx = trace,
                              .task_timeout = 0.03, .silent = true, .job = &job),
                     DIST_OK);
    ASSERT_SOON(start);
    assert_int_equal(dist_job_failures(job), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(status_of(job, i), DIST_TIMEOUT);
        assert_int_equal(counted(&trace->runs[i]), 1);
    }
    assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
}

/* ------------------------------------------------------------------ with the limit of the call */

CASE("P-32", both_limits_hold_at_once) {
    enum { COUNT = 40 };
    struct trace *trace = new_trace();
    int out[ITEMS];
    size_t late = 0, skipped = 0;
    dist_job *job;
    memset(out, -1, sizeof out);
    for (size_t i = 0; i < COUNT; i++) trace->sleeps[i] = 60;
    double start = now();
    assert_int_equal(dist_map(step, numbers(), COUNT, out, .executor = X, .workers = 1,
                              .ctx = trace, .task_timeout = 0.1, .timeout = 0.35, .silent = true,
                              .job = &job),
                     DIST_TIMEOUT);
    assert_true(now() - start >= 0.35);
    ASSERT_SOON(start);
    for (size_t i = 0; i < COUNT; i++) {
        dist_status status = status_of(job, i);
        late += status == DIST_TIMEOUT;
        skipped += status == DIST_SKIPPED;
        assert_int_equal(counted(&trace->runs[i]), status == DIST_TIMEOUT);
    }
    assert_in_range(late, 1, 4); /* it ends in the fourth, or earlier if the machine is slow */
    assert_int_equal(late + skipped, COUNT);
    dist_job_finish(&job);
}

CASE("P-32", the_shorter_limit_counts) {
    struct trace *trace = new_trace();
    int out[ITEMS];
    dist_error e;
    trace->sleeps[0] = 60;
    double start = now();
    assert_int_equal(dist_map(step, numbers(), 2, out, .executor = X, .ctx = trace,
                              .task_timeout = 50, .timeout = 0.05, .error = &e),
                     DIST_TIMEOUT);
    assert_int_equal(dist_map(step, numbers(), 2, out, .executor = X, .ctx = trace,
                              .task_timeout = 0.05, .timeout = 50, .error = &e),
                     DIST_TIMEOUT);
    ASSERT_SOON(start);
    assert_int_equal(e.index, 0);
}

/* ------------------------------------------------------------------ chunks and par */

static int chunk_step(void *results, const void *items, size_t n, void *ctx) {
    for (size_t i = 0; i < n; i++) step((int *)results + i, (const int *)items + i, ctx);
    return 0;
}

CASE("P-57", a_late_chunk_is_late_as_a_whole) {
    struct trace *trace = new_trace();
    int out[ITEMS];
    dist_job *job;
    memset(out, -1, sizeof out);
    trace->sleeps[57] = 60;
    double start = now();
    assert_int_equal(dist_map_chunks(chunk_step, numbers(), ITEMS, out, .executor = X, .workers = 3,
                                     .chunk = 10, .ctx = trace, .task_timeout = AMPLE,
                                     .silent = true, .job = &job),
                     DIST_OK);
    ASSERT_SOON(start);
    assert_int_equal(dist_job_failures(job), 10);
    for (size_t i = 0; i < ITEMS; i++) {
        bool late = i / 10 == 5;
        assert_int_equal(status_of(job, i), late ? DIST_TIMEOUT : DIST_OK);
        assert_int_equal(out[i], late ? -1 : 10 * (int)i);
        assert_true(counted(&trace->runs[i]) == 1 || late);
    }
    dist_job_finish(&job);
}

/* Each item of the chunk is quick, all together are late: the limit is the chunk's. */
CASE("P-57", the_limit_of_a_chunk_is_for_all_its_items) {
    struct trace *trace = new_trace();
    int out[10];
    trace->polls = false;
    for (size_t i = 0; i < 10; i++) trace->sleeps[i] = 0.05;
    assert_int_equal(dist_map_chunks(chunk_step, numbers(), 10, out, .executor = X, .workers = 1,
                                     .chunk = 10, .ctx = trace, .task_timeout = 0.25),
                     DIST_TIMEOUT);
}

/* Outside of chunk functions .chunk is how many items are handed out: the limit is each item's. */
CASE("P-32", items_that_are_handed_out_together_have_a_limit_each) {
    struct trace *trace = new_trace();
    int out[10];
    trace->polls = false;
    for (size_t i = 0; i < 10; i++) trace->sleeps[i] = 0.15;
    assert_int_equal(dist_map(step, numbers(), 10, out, .executor = X, .workers = 1, .chunk = 10,
                              .ctx = trace, .task_timeout = 1.2), /* together they take 1.5 s */
                     DIST_OK);
    for (int i = 0; i < 10; i++) assert_int_equal(out[i], 10 * i);
}

CASE("P-30", a_task_of_par_may_have_its_own_limit) {
    struct trace *trace = new_trace();
    int out[4] = {-1, -1, -1, -1};
    static const dist_status expected[4] = {DIST_TIMEOUT, DIST_OK, DIST_TIMEOUT, DIST_OK};
    dist_task tasks[4];
    dist_job *job;
    for (int i = 0; i < 4; i++) tasks[i] = (dist_task)DIST_TASK(NULL, step, &numbers()[i], &out[i]);
    trace->sleeps[0] = 60, tasks[0].timeout = 0.05;        /* shorter than the call's */
    trace->sleeps[1] = 1.2 * AMPLE, tasks[1].timeout = 60; /* longer */
    trace->sleeps[2] = 60;                                 /* the call's */
    double start = now();
    assert_int_equal(dist_par(tasks, 4, .executor = X, .workers = 2, .ctx = trace,
                              .task_timeout = AMPLE, .silent = true, .job = &job),
                     DIST_OK);
    ASSERT_SOON(start);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(status_of(job, i), expected[i]);
        assert_int_equal(out[i], expected[i] ? -1 : 10 * (int)i);
    }
    dist_job_finish(&job);
    trace->sleeps[2] = 0;
    assert_int_equal(dist_par(tasks, 4, .executor = X, .workers = 2, .ctx = trace), DIST_TIMEOUT);
    assert_int_equal(dist_last_error()->index, 0); /* without a limit of the call */
}
