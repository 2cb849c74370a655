/* contract_sigint.c - Ctrl-C in calls of every sort: a program that dies in one leaves nothing
 * behind. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The program under test: it makes calls in a loop until a signal ends it. */
struct program {
    _Atomic(unsigned) *calls; /* so many have ended */
    _Atomic(unsigned) *tasks; /* so many have begun */
    int how;
    int output[2];
    void (*prepare)(void);
};

static struct program *running;

static int sleep_in_task(size_t index, void *ctx) {
    (void)index, (void)ctx;
    count(running->tasks);
    doze(60);
    return 0;
}

static int compute_in_task(size_t index, void *ctx) {
    (void)ctx;
    count(running->tasks);
    random_spin(&(uint32_t){(uint32_t)index + 1}, 50);
    return 0;
}

static int call_in_task(size_t index, void *ctx) {
    (void)ctx;
    count(running->tasks);
    return (int)dist_for(compute_in_task, 20 + index % 5, .executor = X, .workers = 2);
}

static int be_late_in_task(size_t index, void *ctx) {
    (void)ctx;
    count(running->tasks);
    doze(index % 3 ? 0 : 60);
    return index % 7 == 5;
}

enum { WAYS = 5 };

static void make_a_call(int how) {
    switch (how) {
    case 0: dist_for(sleep_in_task, 20, .executor = X, .workers = 4); break;
    case 1: dist_for(compute_in_task, 200, .executor = X, .workers = 3); break;
    case 2: dist_for(call_in_task, 10, .executor = X, .workers = 2); break;
    case 3:
        dist_for(be_late_in_task, 20, .executor = X, .workers = 3, .task_timeout = 0.004,
                 .retries = 1, .backoff = 0.001, .silent = true);
        break;
    default: dist_for(sleep_in_task, 20, .executor = X, .workers = 3, .timeout = 0.003); break;
    }
}

static void be_the_program(void *arg) {
    running = arg;
    setpgid(0, 0);
    dup2(running->output[1], 1);
    dup2(running->output[1], 2);
    close(running->output[0]);
    close(running->output[1]);
    signal(SIGINT, SIG_DFL);
    if (running->prepare) running->prepare();
    for (;;) {
        make_a_call(running->how);
        count(running->calls);
    }
}

/* Reads to the end, which comes when the last process that could write is gone. False: it did not
 * come in time. */
static bool read_to_the_end(int fd, char *text, size_t size, double seconds) {
    size_t got = 0;
    double limit = now() + seconds;
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int left = (int)((limit - now()) * 1000);
        if (left <= 0 || poll(&ready, 1, left) == 0) return false;
        ssize_t one = read(fd, text + got, size - 1 - got);
        if (one < 0 && errno == EINTR) continue;
        if (one <= 0 || got + (size_t)one == size - 1) break;
        got += (size_t)one;
    }
    text[got] = '\0';
    return true;
}

static struct program *new_program(int how) {
    struct program *program = calloc(1, sizeof *program);
    program->how = how;
    program->calls = shared_memory(2 * sizeof *program->calls);
    program->tasks = program->calls + 1;
    assert_int_equal(pipe2(program->output, O_CLOEXEC), 0);
    return program;
}

/* Starts the program, sends SIGINT to all its processes after a while, and looks what is left. */
static void interrupt_once(int how, double after, int expected_signal) {
    struct program *program = new_program(how);
    char text[200] = "";
    pid_t pid = start_child(be_the_program, program);
    setpgid(pid, pid);
    close(program->output[1]);
    assert_true(reaches(program->tasks, 1));
    nap(after);
    double start = now();
    assert_int_equal(kill(-pid, SIGINT), 0);
    bool all_gone = read_to_the_end(program->output[0], text, sizeof text, SANITIZED ? 20 : 5);
    double took = now() - start;
    if (!all_gone) kill(-pid, SIGKILL);
    int status = wait_child(pid);
    close(program->output[0]);
    if (!all_gone) fail_msg("way %d: processes are left after %g s", how, took);
    if (text[0]) fail_msg("way %d printed \"%s\"", how, text);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != expected_signal)
        fail_msg("way %d ended with status %#x", how, (unsigned)status);
    free(program);
}

CASE_ON("G-07", an_interrupt_at_any_moment_leaves_nothing_behind, ON_ALL, 60) {
    uint32_t random = random_seed();
    for (unsigned i = 0; again(i, rounds(100, 100)); i++)
        interrupt_once((int)(i % WAYS), random_below(&random, 12000) * 1e-6, SIGINT);
}

/* Only the program itself is interrupted: its workers have to notice that it is gone. */
CASE_ON("G-08", workers_do_not_outlive_a_program_that_was_interrupted_alone, ON_PROCESS, 60) {
    uint32_t random = random_seed();
    for (unsigned i = 0; again(i, rounds(30, 30)); i++) {
        struct program *program = new_program((int)(i % WAYS));
        char text[200] = "";
        pid_t pid = start_child(be_the_program, program);
        close(program->output[1]);
        assert_true(reaches(program->tasks, 1));
        nap(random_below(&random, 12000) * 1e-6);
        assert_int_equal(kill(pid, SIGINT), 0);
        assert_true(read_to_the_end(program->output[0], text, sizeof text, SANITIZED ? 20 : 5));
        assert_string_equal(text, "");
        assert_int_equal(WTERMSIG(wait_child(pid)), SIGINT);
        close(program->output[0]);
        free(program);
    }
}

/* A program that ignores SIGINT goes on, and so do its workers. */
static void ignore_interrupts(void) { signal(SIGINT, SIG_IGN); }

CASE_ON("G-07", an_ignored_interrupt_disturbs_nobody, ON_ALL, 30) {
    struct program *program = new_program(1);
    program->prepare = ignore_interrupts;
    pid_t pid = start_child(be_the_program, program);
    setpgid(pid, pid);
    close(program->output[1]);
    assert_true(reaches(program->calls, 1));
    for (int i = 0; i < 5; i++) {
        unsigned before = counted(program->calls);
        assert_int_equal(kill(-pid, SIGINT), 0);
        assert_true(reaches(program->calls, before + 2));
    }
    kill(-pid, SIGKILL);
    assert_int_equal(WTERMSIG(wait_child(pid)), SIGKILL);
    close(program->output[0]);
    free(program);
}

/* A program that turns SIGINT into a cancelled token ends its call, and goes on by itself. */
static dist_token *token;

static void cancel(int signal_number) {
    (void)signal_number;
    dist_token_cancel(token);
}

static void cancel_by_interrupt(void *arg) {
    running = arg;
    setpgid(0, 0);
    token = dist_token_new();
    signal(SIGINT, cancel);
    dist_status status = dist_for(sleep_in_task, 20, .executor = X, .workers = 3, .token = token,
                                  .silent = running->how == 0);
    exit(status == DIST_CANCELLED ? 7 : 8);
}

CASE_ON("G-07", an_interrupt_can_be_made_a_cancellation, ON_ALL, 60) {
    uint32_t random = random_seed();
    for (unsigned i = 0; again(i, rounds(30, 30)); i++) {
        struct program *program = new_program((int)(i % 2));
        pid_t pid = start_child(cancel_by_interrupt, program);
        setpgid(pid, pid);
        assert_true(reaches(program->tasks, 1));
        nap(random_below(&random, 5000) * 1e-6);
        assert_int_equal(kill(-pid, SIGINT), 0);
        bool ended = gone(pid, SANITIZED ? 20 : 5);
        if (!ended) kill(-pid, SIGKILL);
        int status = wait_child(pid);
        assert_true(ended);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 7);
        close(program->output[0]);
        close(program->output[1]);
        free(program);
    }
}
