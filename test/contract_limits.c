/* contract_limits.c - hosts that are short of something, or busy with something else. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int crash_at_seven(void *result, const void *item, void *ctx) {
    if (*(const int *)item == 7) raise(SIGKILL);
    return square(result, item, ctx);
}

static void check_map(unsigned workers) {
    int out[101];
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(square, numbers(), 101, out, .executor = X, .workers = workers),
                     DIST_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(out[i], i * i);
}

static void tick(int signal_number) { (void)signal_number; }

CASE("G-10", a_timer_that_fires_all_the_time_disturbs_nothing) {
    struct sigaction action = {.sa_handler = tick}; /* without SA_RESTART */
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (unsigned i = 0; again(i, rounds(100, 50)); i++) check_map(3);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static int print_both(void *result, const void *item, void *ctx) {
    printf("item %d\n", *(const int *)item);
    fprintf(stderr, "item %d\n", *(const int *)item);
    if (fflush(stdout)) clearerr(stdout);
    return square(result, item, ctx);
}

static void work_without_standard_streams(void *unused) {
    int out[101];
    (void)unused;
    for (int fd = 0; fd < 3; fd++) close(fd);
    for (int t = 0; t < 3; t++) {
        memset(out, -1, sizeof out);
        if (dist_map(print_both, numbers(), 101, out, .executor = X, .workers = 3)) _exit(1);
        for (int i = 0; i < 101; i++)
            if (out[i] != i * i) _exit(2);
    }
    for (int fd = 0; fd < 3; fd++)
        if (write(fd, "", 0) == 0 || errno != EBADF) _exit(3);
    _exit(0);
}

CASE("G-11", a_host_without_standard_streams_may_print) {
    assert_int_equal(in_child(work_without_standard_streams, NULL), 0);
}

CASE("P-05", few_descriptors_are_enough) {
    int spare = dup(0);
    assert_true(spare >= 0);
    struct rlimit few = {(rlim_t)spare + 4, (rlim_t)spare + 4};
    close(spare);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < 10; i++) check_map(16);
}

CASE("P-05", without_room_for_threads_a_call_runs_all_the_same) {
    if (SANITIZED) skip(); /* which map terabytes */
    rlim_t most = mapped_bytes() + (4 << 20);
    assert_int_equal(setrlimit(RLIMIT_AS, &(struct rlimit){most, most}), 0);
    for (int i = 0; i < 10; i++) check_map(8);
}

CASE("M-05", a_silent_call_leaves_errno_alone_whatever_failed) {
    int out[101];
    errno = 4321;
    dist_status status = dist_map(X == DIST_PROCESS ? crash_at_seven : square, numbers(), 101, out,
                                  .executor = X, .workers = 3, .silent = true);
    int after = errno;
    assert_int_equal(status, DIST_OK);
    assert_int_equal(after, 4321);
}

static int change_errno(size_t index, void *ctx) {
    (void)ctx;
    errno = (int)index + 1;
    return 0;
}

CASE("M-05", what_tasks_make_of_errno_stays_with_them) {
    for (unsigned workers = 1; workers < 5; workers++) {
        errno = 4321;
        dist_status status = dist_for(change_errno, 101, .executor = X, .workers = workers);
        int after = errno;
        assert_int_equal(status, DIST_OK);
        assert_int_equal(after, 4321);
    }
}

CASE("G-11", a_stream_being_read_goes_on_where_it_was) {
    char path[] = "/tmp/dist-input-XXXXXX", line[32], expected[32];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (int i = 0; i < 2000; i++) dprintf(fd, "line %d\n", i);
    FILE *in = fopen(path, "re");
    assert_non_null(in);
    unlink(path);
    close(fd);
    for (int i = 0; i < 2000; i++) {
        assert_non_null(fgets(line, sizeof line, in));
        snprintf(expected, sizeof expected, "line %d\n", i);
        assert_string_equal(line, expected);
        if (i % 400 == 10) check_map(3);
    }
    assert_null(fgets(line, sizeof line, in));
    fclose(in);
}

static int fail_with_number(size_t index, void *ctx) {
    (void)ctx;
    return dist_fail((int)index + 1, "failure number %zu of very many", index);
}

CASE("P-37", twenty_thousand_failures_are_all_kept) {
    size_t n = SANITIZED ? 2003 : 20011;
    dist_job *job;
    assert_int_equal(
        dist_for(fail_with_number, n, .executor = X, .workers = 3, .silent = true, .job = &job),
        DIST_OK);
    assert_int_equal(dist_job_failures(job), n);
    for (size_t i = 0; i < n; i++) {
        char expected[64];
        const dist_error *e = dist_job_failure_at(job, i);
        snprintf(expected, sizeof expected, "failure number %zu of very many", i);
        assert_int_equal(e->index, i);
        assert_int_equal(e->code, (int)i + 1);
        assert_string_equal(e->message, expected);
    }
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

static _Atomic(unsigned) *called_at_exit;

static void call_at_exit(void) {
    int out[20];
    if (dist_map(square, numbers(), 20, out, .executor = X, .workers = 3)) _exit(4);
    for (int i = 0; i < 20; i++)
        if (out[i] != i * i) _exit(5);
    count(called_at_exit);
}

static void exit_with_calls(void *first_call) {
    if (!*(const bool *)first_call) atexit(call_at_exit);
    check_map(3);
    if (*(const bool *)first_call) atexit(call_at_exit);
}

CASE("M-23", an_exit_handler_may_call) {
    called_at_exit = shared_memory(sizeof *called_at_exit);
    assert_int_equal(in_child(exit_with_calls, &(bool){false}), 0);
    assert_int_equal(in_child(exit_with_calls, &(bool){true}), 0);
    assert_int_equal(counted(called_at_exit), 2);
}

static void *call_for_ever(void *unused) {
    int out[101];
    while (dist_map(square, numbers(), 101, out, .executor = X, .workers = 3) == DIST_OK) {
    }
    return unused;
}

static void leave_in_the_middle(void *unused) {
    pthread_t threads[3];
    (void)unused;
    for (size_t k = 0; k < N(threads); k++) pthread_create(&threads[k], NULL, call_for_ever, NULL);
    nap(0.02);
}

CASE("M-23", a_host_exits_while_its_threads_call) {
    if (THREAD_SANITIZED && X == DIST_PROCESS) skip(); /* which deadlocks with itself in a fork */
    for (unsigned i = 0; again(i, rounds(20, 20)); i++) {
        pid_t pid = start_child(leave_in_the_middle, NULL);
        assert_true(gone(pid, 15));
        assert_int_equal(wait_child(pid), 0);
    }
}
