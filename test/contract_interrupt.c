/* contract_interrupt.c - Ctrl-C in a terminal: SIGINT to the host and all its workers at once. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int nap_and_square(void *result, const void *item, void *ctx) {
    (void)ctx;
    int x = *(const int *)item;
    if (x % 3 == 0) nap(0.0005);
    *(int *)result = x * x;
    return 0;
}

static void call_for_ever(void *ready) {
    int out[20];
    setpgid(0, 0);
    printf("once");
    count(ready);
    for (;;) dist_map(nap_and_square, numbers(), 20, out, .executor = X, .workers = 3);
}

/* No process of the group is left within the limit, dead ones not counted: this process has become
 * their reaper. */
static bool group_ends(pid_t group, double seconds) {
    double limit = now() + seconds;
    while (waitpid(-group, NULL, WNOHANG) >= 0 || errno != ECHILD) {
        if (now() > limit) return false;
        nap(0.001);
    }
    return true;
}

CASE_ON("G-07", an_interrupt_at_any_moment_leaves_no_process, ON_ALL, 60) {
    uint32_t state = random_seed();
    _Atomic(unsigned) *ready = shared_memory(sizeof *ready);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (unsigned i = 0; again(i, rounds(100, 100)); i++) {
        int status;
        pid_t pid = start_child(call_for_ever, ready);
        assert_true(reaches(ready, i + 1));
        nap(random_below(&state, 5000) * 1e-6);
        assert_int_equal(kill(-pid, SIGINT), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
        assert_true(group_ends(pid, SANITIZED ? 5 : 1));
    }
}

/* Item 7 presses Ctrl-C. */
static int interrupt_all(void *result, const void *item, void *ctx) {
    if (*(const int *)item == 7) kill(0, SIGINT);
    return nap_and_square(result, item, ctx);
}

static void print_and_be_interrupted(void *unused) {
    int out[20];
    (void)unused;
    setpgid(0, 0);
    printf("once");
    dist_map(interrupt_all, numbers(), 20, out, .executor = X, .workers = 3);
    printf("never");
}

CASE("G-07", an_interrupted_worker_prints_nothing) {
    static char text[OUTPUT_SIZE];
    for (int i = 0; i < 10; i++) {
        int status;
        output_of(print_and_be_interrupted, NULL, text, &status);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
        assert_string_equal(text, X == DIST_PROCESS ? "once" : ""); /* flushed before the fork */
    }
}

static pid_t host;
static _Atomic(unsigned) *in_host, *elsewhere;
static void note_interrupt(int signal_number) {
    (void)signal_number;
    count(getpid() == host ? in_host : elsewhere);
}

CASE("G-07", a_handler_of_the_host_stays_and_runs_in_the_host_alone) {
    struct sigaction action = {.sa_handler = note_interrupt};
    host = getpid();
    in_host = shared_memory(sizeof *in_host);
    elsewhere = shared_memory(sizeof *elsewhere);
    assert_int_equal(sigaction(SIGINT, &action, NULL), 0);
    for (unsigned i = 0; again(i, rounds(50, 50)); i++) {
        int out[20];
        dist_job *job;
        assert_int_equal(dist_map(interrupt_all, numbers(), 20, out, .executor = X, .workers = 3,
                                  .silent = true, .job = &job),
                         DIST_OK);
        for (int k = 0; k < 20; k++) {
            const dist_error *e = dist_job_outcome(job, (size_t)k);
            if (!e) assert_int_equal(out[k], k * k);
            else assert_int_equal(e->signal, SIGINT);
        }
        assert_in_range(dist_job_failures(job), X == DIST_PROCESS, X == DIST_PROCESS ? 3 : 0);
        dist_job_finish(&job);
        assert_int_equal(counted(in_host), i + 1);
    }
    assert_int_equal(counted(elsewhere), 0);
}

CASE("G-07", workers_of_a_host_that_ignores_interrupts_ignore_them_too) {
    int out[20];
    signal(SIGINT, SIG_IGN);
    assert_int_equal(
        dist_map(interrupt_all, numbers(), 20, out, .executor = X, .workers = 3, .chunk = 1),
        DIST_OK);
    for (int k = 0; k < 20; k++) assert_int_equal(out[k], k * k);
}
