/* contract_job_stats.c - what an ended job tells of its workers. */
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double NAP = 0.004;

static int nap_task(void *result, const void *item, void *ctx) {
    (void)ctx;
    nap(NAP);
    *(int *)result = *(const int *)item;
    return 0;
}

static dist_stats stats_of(const dist_job *job) {
    dist_stats s;
    memset(&s, -1, sizeof s);
    assert_int_equal(dist_job_stats(job, &s), DIST_OK);
    assert_true(s.busy >= 0 && s.waiting >= 0 && s.cpu >= 0);
    assert_true(s.busy + s.waiting <= s.wall * s.workers * (1 + 1e-9));
    assert_true(s.p50 <= s.p95 && s.p95 <= s.max && s.max <= s.wall);
    assert_true(s.max <= s.busy && s.busy <= s.max * (double)s.tasks * (1 + 1e-9));
    assert_int_equal(s.executor, X);
    assert_int_equal(s.failed, dist_job_failures(job));
    if (X != DIST_PROCESS) assert_int_equal(s.peak_rss + s.workers_lost, 0);
    return s;
}

static void check_naps(const dist_job *job, size_t n) {
    dist_stats s = stats_of(job);
    assert_int_equal(s.tasks, n);
    assert_int_equal(s.failed + s.retried + s.workers_lost, 0);
    assert_true(s.workers >= 1 && s.workers <= (X == DIST_INLINE ? 1 : 3));
    assert_true(s.busy >= NAP * (double)n && s.max >= NAP);
    assert_true(s.p50 >= NAP * 0.93 && s.wall * s.workers >= s.busy);
}

CASE("D-21", a_job_of_any_blocking_call_tells_how_busy_its_workers_were) {
    int out[KIND_ITEMS];
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (unsigned retries = 0; retries < 2; retries++) { /* plain, and looked after */
            dist_job *job;
            assert_int_equal(
                call_kind(kind, nap_task, 23, out,
                          DIST_OPTS(.executor = X, .workers = 3, .job = &job, .retries = retries)),
                DIST_OK);
            check_naps(job, kind_count(kind, 23));
            dist_job_finish(&job);
        }
}

CASE("D-21", a_job_that_goes_on_by_itself_tells_how_busy_its_workers_were) {
    int out[23];
    for (unsigned workers = 1; workers <= 3; workers += 2) {
        dist_job *job =
            dist_map_async(nap_task, numbers(), 23, out, .executor = X, .workers = workers);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        check_naps(job, 23);
        dist_job_finish(&job);
    }
}

CASE("D-21", chunks_count_as_one_task_each) {
    int out[KIND_ITEMS];
    dist_job *job;
    assert_int_equal(call_kind(CHUNKS, nap_task, 20, out,
                               DIST_OPTS(.executor = X, .workers = 2, .job = &job, .chunk = 8)),
                     DIST_OK);
    dist_stats s = stats_of(job);
    assert_int_equal(s.tasks, 3);
    assert_true(s.max >= 8 * NAP);
    dist_job_finish(&job);
}

static int nap_for_items(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    nap(*(const int *)item < 8 ? 10 * NAP : NAP);
    return 0;
}

CASE("D-21", percentiles_tell_the_usual_from_the_rare) {
    dist_job *job;
    assert_int_equal(dist_map(nap_for_items, numbers(), 101, DIST_NONE, .executor = X, .workers = 4,
                              .job = &job),
                     DIST_OK);
    dist_stats s = stats_of(job);
    assert_true(s.p50 >= NAP * 0.93);
    assert_true(s.p95 >= NAP * 10 * 0.93);
    assert_true(s.p50 < s.p95); /* 93 of 101 are ten times as short */
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ failures */

static int fail_some(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    int i = *(const int *)item;
    if (i % 10 == 3) return dist_fail(5, "never");
    return i % 10 == 4 && dist_attempt() == 1 ? dist_fail(6, "not yet") : 0;
}

CASE("D-21", attempts_and_failures_are_counted) {
    for (int async = 0; async < 2; async++) {
        dist_opts opts = *DIST_OPTS(.executor = X, .workers = 3, .retries = 2, .silent = true);
        dist_job *job = NULL;
        if (!async) opts.job = &job;
        if (async) job = dist_map_async_fn(fail_some, numbers(), 100, sizeof(int), NULL, 0, &opts);
        else dist_map_fn(fail_some, numbers(), 100, sizeof(int), NULL, 0, &opts);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        dist_stats s = stats_of(job);
        assert_int_equal(s.failed, 10);
        assert_int_equal(s.retried, 10 * 2 + 10);
        assert_int_equal(s.tasks, 100 + s.retried);
        dist_job_finish(&job);
    }
}

static int crash_some(void *result, const void *item, void *ctx) {
    (void)ctx, (void)result;
    if (*(const int *)item % 10 == 3) {
        nap(NAP);
        raise(SIGKILL);
    }
    return 0;
}

CASE_ON("D-21", workers_that_crash_are_counted_with_what_they_did, ON_PROCESS, 20) {
    for (unsigned retries = 0; retries < 2; retries++) {
        dist_job *job;
        assert_int_equal(dist_map(crash_some, numbers(), 50, DIST_NONE, .executor = X, .workers = 3,
                                  .silent = true, .retries = retries, .job = &job),
                         DIST_OK);
        dist_stats s = stats_of(job);
        size_t crashes = 5 * (1 + retries);
        assert_int_equal(s.workers_lost, crashes);
        assert_int_equal(s.failed, 5);
        assert_int_equal(s.tasks, 50 + 5 * retries);
        assert_int_equal(s.retried, 5 * retries);
        assert_true(s.busy >= NAP * (double)crashes);
        assert_true(s.max >= NAP);
        dist_job_finish(&job);
    }
}

static int doze_away(void *result, const void *item, void *ctx) {
    (void)ctx, (void)result;
    if (*(const int *)item != 2) return 0;
    if (X == DIST_PROCESS) nap(60); /* and is killed */
    doze(60);
    return 0;
}

CASE("D-21", an_attempt_that_was_ended_counts_with_its_time) {
    dist_job *job;
    assert_int_equal(dist_map(doze_away, numbers(), 5, DIST_NONE, .executor = X, .workers = 2,
                              .silent = true, .task_timeout = 0.3, .job = &job),
                     DIST_OK);
    dist_stats s = stats_of(job);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.tasks, 5);
    assert_int_equal(s.workers_lost, X == DIST_PROCESS);
    assert_true(s.max >= 0.3);
    dist_job_finish(&job);
}

static int wait_for_release(void *result, const void *item, void *ctx) {
    (void)result;
    if (*(const int *)item == 19)
        while (!counted(ctx)) nap(0.001);
    else nap(NAP);
    return 0;
}

CASE_ON("D-21", an_abandoned_call_tells_of_what_it_has_heard, ON_THREAD, 20) {
    _Atomic(unsigned) *release = shared_memory(sizeof *release);
    dist_job *job;
    assert_int_equal(dist_map(wait_for_release, numbers(), 20, DIST_NONE, .executor = X,
                              .workers = 2, .timeout = AMPLE, .abandon = true, .ctx = release,
                              .job = &job),
                     DIST_TIMEOUT);
    dist_stats s = stats_of(job);
    count(release);
    assert_int_equal(s.tasks, 19);
    assert_true(s.busy >= 19 * NAP && s.max >= NAP);
    assert_true(s.wall >= AMPLE);
    dist_job_finish(&job);
}

/* ------------------------------------------------------------------ CPU time and memory */

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compute(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    for (double end = cpu_now() + NAP; cpu_now() < end;) continue;
    return 0;
}

CASE("D-21", the_time_on_cpus_is_told) {
    for (unsigned retries = 0; retries < 2; retries++) {
        dist_job *job;
        assert_int_equal(dist_map(compute, numbers(), 30, DIST_NONE, .executor = X, .workers = 3,
                                  .job = &job, .retries = retries),
                         DIST_OK);
        dist_stats s = stats_of(job);
        assert_true(s.cpu >= 30 * NAP * 0.99 && s.busy >= 30 * NAP);
        if (X != DIST_PROCESS) assert_true(s.cpu <= s.wall * s.workers);
        dist_job_finish(&job);
        assert_int_equal(dist_map(nap_for_items, numbers(), 30, DIST_NONE, .executor = X,
                                  .workers = 3, .job = &job, .retries = retries),
                         DIST_OK);
        s = stats_of(job);
        assert_true(s.cpu < s.busy); /* they sleep */
        dist_job_finish(&job);
    }
}

enum { TOUCHED = 40 << 20 };

static int touch(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    if (*(const int *)item != 3) return 0;
    volatile char *memory = malloc(TOUCHED);
    if (!memory) return 1;
    for (size_t at = 0; at < TOUCHED; at += 4096) memory[at] = 7;
    free((void *)(uintptr_t)memory);
    return 0;
}

CASE_ON("D-21", the_memory_of_the_largest_worker_is_told, ON_PROCESS, 20) {
    for (unsigned retries = 0; retries < 2; retries++) {
        dist_job *job;
        assert_int_equal(dist_map(touch, numbers(), 3, DIST_NONE, .executor = X, .workers = 2,
                                  .job = &job, .retries = retries),
                         DIST_OK);
        size_t before = stats_of(job).peak_rss;
        dist_job_finish(&job);
        assert_true(before > 100 << 10);
        assert_int_equal(dist_map(touch, numbers(), 5, DIST_NONE, .executor = X, .workers = 2,
                                  .job = &job, .retries = retries),
                         DIST_OK);
        size_t after = stats_of(job).peak_rss;
        assert_true(after >= TOUCHED && after > before);
        dist_job_finish(&job);
    }
}

/* ------------------------------------------------------------------ nothing to tell */

CASE("D-21", a_job_of_nothing_has_empty_stats) {
    dist_job *job;
    int out[1];
    assert_int_equal(dist_map(nap_task, numbers(), 0, out, .executor = X, .job = &job), DIST_OK);
    dist_stats s = stats_of(job);
    assert_int_equal(s.tasks + s.workers, 0);
    assert_true(s.wall == 0);
    dist_job_finish(&job);
}

CASE("D-21", only_an_ended_job_has_stats) {
    int out[3];
    dist_stats s = {.tasks = 77};
    dist_job *job = dist_map_async(nap_task, numbers(), 3, out, .executor = X, .deferred = true);
    assert_int_equal(dist_job_stats(NULL, &s), DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "job"));
    assert_int_equal(dist_job_stats(job, &s), DIST_STATE);
    dist_job_start(job);
    dist_job_wait(job, DIST_FOREVER);
    assert_int_equal(dist_job_stats(job, NULL), DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "stats"));
    assert_int_equal(s.tasks, 77);
    assert_int_equal(stats_of(job).tasks, 3);
    dist_job_finish(&job);
    job = dist_map_async(nap_task, numbers(), 3, out, .executor = X, .deferred = true);
    assert_int_equal(dist_job_cancel(job, false), DIST_OK);
    assert_int_equal(dist_job_stats(job, &s), DIST_OK);
    assert_int_equal(s.tasks + s.workers, 0);
    dist_job_finish(&job);
}
