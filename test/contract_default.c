/* contract_default.c - what holds if nothing is said: executor, workers, CPUs. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *executor_name(void) {
    return X == DIST_INLINE ? "inline" : X == DIST_THREAD ? "thread" : "process";
}

struct place {
    int pid, thread;
    unsigned worker;
};

static int tell_place(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(struct place *)result = (struct place){getpid(), thread_id(), dist_worker()};
    nap(0.001);
    return 0;
}

CASE("P-02", the_environment_chooses_the_executor) {
    struct place place[20];
    assert_int_equal(setenv("DIST_EXECUTOR", executor_name(), 1), 0);
    assert_int_equal(dist_map(tell_place, numbers(), 20, place, .workers = 2), DIST_OK);
    bool own_threads_only = true;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(place[i].pid == getpid(), X != DIST_PROCESS);
        own_threads_only &= place[i].thread == thread_id();
    }
    if (X == DIST_INLINE) assert_true(own_threads_only);
}

CASE("P-02", an_empty_environment_variable_is_none) {
    struct place place[4];
    if (!built(DIST_THREAD)) skip();
    assert_int_equal(setenv("DIST_EXECUTOR", "", 1), 0);
    assert_int_equal(dist_map(tell_place, numbers(), 4, place), DIST_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(place[i].pid, getpid());
}

CASE("P-02", an_explicit_executor_beats_the_environment) {
    struct place place[4];
    assert_int_equal(setenv("DIST_EXECUTOR", X == DIST_PROCESS ? "inline" : "process", 1), 0);
    assert_int_equal(dist_map(tell_place, numbers(), 4, place, .executor = X), DIST_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(place[i].pid == getpid(), X != DIST_PROCESS);
}

CASE("G-15", an_unknown_executor_in_the_environment_is_refused) {
    struct place place = {.pid = -1};
    assert_int_equal(setenv("DIST_EXECUTOR", "quantum", 1), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dist_map(tell_place, numbers(), 1, &place), DIST_INVALID);
        assert_non_null(strstr(dist_last_error()->message, "DIST_EXECUTOR"));
        assert_non_null(strstr(dist_last_error()->message, "quantum"));
    }
    assert_int_equal(place.pid, -1);
    assert_int_equal(dist_map(tell_place, numbers(), 1, &place, .executor = X), DIST_OK);
}

/* The number of workers that .workers = 0 stands for. */
static unsigned default_workers(unsigned cpus) {
    if (X == DIST_INLINE) return 1;
    return X == DIST_PROCESS ? cpus : cpus + 4 < 32 ? cpus + 4 : 32;
}

static void check_default_workers(const char *cpus) {
    static struct place place[PRIME];
    assert_int_equal(setenv("DIST_WORKERS", cpus, 1), 0);
    assert_int_equal(dist_map(tell_place, numbers(), 101, place, .executor = X, .chunk = 1),
                     DIST_OK);
    for (int i = 0; i < 101; i++)
        assert_true(place[i].worker < default_workers((unsigned)atoi(cpus)));
}

CASE("D-01", the_default_number_of_workers_follows_the_cpus) { check_default_workers("3"); }

CASE("D-01", the_default_number_of_workers_may_be_large) { check_default_workers("50"); }

struct meeting {
    _Atomic(unsigned) started, alone;
    unsigned expected;
};

static int meet(size_t index, void *ctx) {
    struct meeting *meeting = ctx;
    (void)index;
    count(&meeting->started);
    if (!reaches(&meeting->started, meeting->expected)) count(&meeting->alone);
    return 0;
}

CASE_ON("D-01", as_many_tasks_run_at_once_as_there_are_default_workers, ON_THREAD | ON_PROCESS,
        20) {
    struct meeting *meeting = shared_memory(sizeof *meeting);
    assert_int_equal(setenv("DIST_WORKERS", "3", 1), 0);
    meeting->expected = default_workers(3);
    assert_int_equal(dist_for(meet, meeting->expected, .executor = X, .ctx = meeting), DIST_OK);
    assert_int_equal(counted(&meeting->alone), 0);
}

CASE_ON("P-02", the_default_is_threads, ON_THREAD, 20) {
    struct meeting meeting = {.expected = 2};
    unsetenv("DIST_EXECUTOR");
    assert_int_equal(dist_for(meet, 2, .workers = 2, .ctx = &meeting), DIST_OK);
    assert_int_equal(counted(&meeting.started), 2); /* in memory that only threads share */
    assert_int_equal(counted(&meeting.alone), 0);
}

CASE_ON("M-02", one_allowed_cpu_counts_as_one, ON_INLINE, 20) {
    cpu_set_t all, one;
    unsetenv("DIST_WORKERS");
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(dist_cpus(), 1, (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all)) {
            CPU_SET(cpu, &one);
            break;
        }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(dist_cpus(), 1);
    assert_int_equal(setenv("DIST_WORKERS", "5", 1), 0);
    assert_int_equal(dist_cpus(), 5);
    unsetenv("DIST_WORKERS");
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

CASE_ON("M-02", only_a_positive_number_replaces_the_cpus, ON_INLINE, 20) {
    static const char *const ignored[] = {"", "0", "-3", "many", "3x", " 3", "0x3", "+3", "3.5"};
    unsetenv("DIST_WORKERS");
    unsigned cpus = dist_cpus();
    errno = 77;
    for (size_t k = 0; k < N(ignored); k++) {
        assert_int_equal(setenv("DIST_WORKERS", ignored[k], 1), 0);
        if (!strcmp(ignored[k], " 3") || !strcmp(ignored[k], "+3")) continue; /* said nowhere */
        assert_int_equal(dist_cpus(), cpus);
    }
    assert_int_equal(errno, 77);
    assert_int_equal(setenv("DIST_WORKERS", "7", 1), 0);
    assert_int_equal(dist_cpus(), 7);
    assert_int_equal(setenv("DIST_WORKERS", "1", 1), 0);
    assert_int_equal(dist_cpus(), 1);
}

CASE_ON("M-02", the_version_is_told, ON_INLINE, 20) {
    int major, minor, patch;
    assert_int_equal(sscanf(dist_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

/* The executors' own forms of the calls. */

static int chunk_square(void *results, const void *items, size_t n, void *ctx) {
    for (size_t i = 0; i < n; i++) square((int *)results + i, (const int *)items + i, ctx);
    return 0;
}

static int note_pid(size_t index, void *ctx) {
    ((int *)ctx)[index] = getpid();
    return 0;
}

static void check_pids(const int *pids, size_t n, bool own) {
    for (size_t i = 0; i < n; i++) assert_int_equal(pids[i] == getpid(), own);
}

CASE_ON("P-04", thread_forms_run_in_threads, ON_THREAD, 20) {
    int out[7], one, *pids = shared_memory(7 * sizeof *pids);
    assert_int_equal(dist_thread_map(square, numbers(), 7, out), DIST_OK);
    assert_int_equal(out[6], 36);
    assert_int_equal(dist_thread_map(square, numbers(), 7, out, .workers = 2), DIST_OK);
    assert_int_equal(dist_thread_map_chunks(chunk_square, numbers(), 6, out, .workers = 2),
                     DIST_OK);
    assert_int_equal(out[5], 25);
    assert_int_equal(dist_thread_apply(square, &numbers()[9], &one), DIST_OK);
    assert_int_equal(one, 81);
    assert_int_equal(dist_thread_for(note_pid, 7, .workers = 2, .ctx = pids), DIST_OK);
    check_pids(pids, 7, true);
    dist_task task = DIST_TASK("t", square, &numbers()[8], &one);
    assert_int_equal(dist_thread_par(&task, 1), DIST_OK);
    assert_int_equal(one, 64);
}

CASE_ON("P-04", process_forms_run_in_processes, ON_PROCESS, 20) {
    int out[7], one, *pids = shared_memory(7 * sizeof *pids);
    assert_int_equal(dist_process_map(square, numbers(), 7, out), DIST_OK);
    assert_int_equal(out[6], 36);
    assert_int_equal(dist_process_map(square, numbers(), 7, out, .workers = 2), DIST_OK);
    assert_int_equal(dist_process_map_chunks(chunk_square, numbers(), 6, out, .workers = 2),
                     DIST_OK);
    assert_int_equal(out[5], 25);
    assert_int_equal(dist_process_apply(square, &numbers()[9], &one), DIST_OK);
    assert_int_equal(one, 81);
    assert_int_equal(dist_process_for(note_pid, 7, .workers = 2, .ctx = pids), DIST_OK);
    check_pids(pids, 7, false);
    dist_task task = DIST_TASK("t", square, &numbers()[8], &one);
    assert_int_equal(dist_process_par(&task, 1), DIST_OK);
    assert_int_equal(one, 64);
}
