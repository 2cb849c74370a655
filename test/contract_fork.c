/* contract_fork.c - the library in a child that the host has forked itself. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sanitizers do not survive a fork in the middle of threads: what they lock stays locked. */
static bool may_fork(void) { return !SANITIZED || X != DIST_THREAD; }

static void check_map(dist_executor executor) {
    int out[101];
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(square, numbers(), 101, out, .executor = executor, .workers = 3),
                     DIST_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(out[i], i * i);
}

static void check_all(void *unused) {
    static const dist_executor all[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    (void)unused;
    for (size_t k = 0; k < N(all); k++)
        if (built(all[k]) && (all[k] != DIST_THREAD || !SANITIZED)) check_map(all[k]);
    check_map(X);
}

CASE("G-03", a_forked_child_uses_the_library) {
    if (!may_fork()) skip();
    check_map(X);
    for (unsigned i = 0; again(i, rounds(50, 50)); i++)
        assert_int_equal(in_child(check_all, NULL), 0);
    check_map(X);
}

static void fork_again(void *depth) {
    check_map(X);
    if (*(const int *)depth > 0)
        assert_int_equal(in_child(fork_again, &(int){*(int *)depth - 1}), 0);
    check_map(X);
}

CASE("G-03", a_child_of_a_child_uses_the_library) {
    if (!may_fork()) skip();
    check_map(X);
    assert_int_equal(in_child(fork_again, &(int){5}), 0);
}

static void shut_down_and_call(void *unused) {
    (void)unused;
    dist_shutdown();
    check_map(X);
    dist_shutdown();
}

CASE("G-03", a_forked_child_shuts_down_for_itself) {
    if (!may_fork()) skip();
    check_map(X);
    assert_int_equal(in_child(shut_down_and_call, NULL), 0);
    check_map(X);
}

static void leave(void *unused) { (void)unused; }

CASE("G-03", a_child_that_never_calls_exits_at_once) {
    check_map(X);
    for (unsigned i = 0; again(i, rounds(50, 50)); i++) assert_int_equal(in_child(leave, NULL), 0);
}

static int fork_in_a_task(size_t index, void *ctx) {
    (void)index, (void)ctx;
    pid_t pid = fork();
    if (pid == 0) {
        int out[20];
        bool right = dist_map(square, numbers(), 20, out, .executor = X, .workers = 2) == DIST_OK;
        for (int i = 0; i < 20; i++) right &= out[i] == i * i;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0
                                                                     : dist_fail(1, "%d", status);
}

CASE_ON("G-03", a_child_that_a_task_forked_uses_the_library, ON_ALL, 30) {
    if (!may_fork()) skip();
    assert_int_equal(dist_for(fork_in_a_task, rounds(20, 20), .executor = X, .workers = 3),
                     DIST_OK);
}

static void *keep_calling(void *stop) {
    while (!counted(stop)) {
        int out[101];
        if (dist_map(square, numbers(), 101, out, .executor = X, .workers = 3)) break;
    }
    return NULL;
}

/* ThreadSanitizer itself does not survive a fork in the middle of other threads' calls. */
CASE_ON("G-02", a_child_forked_in_the_middle_of_calls_uses_the_library, ON_ALL, 60) {
    _Atomic(unsigned) stop = 0;
    pthread_t threads[3];
    if (SANITIZED) skip();
    for (size_t k = 0; k < N(threads); k++)
        assert_int_equal(pthread_create(&threads[k], NULL, keep_calling, &stop), 0);
    int wrong = 0;
    for (unsigned i = 0; again(i, rounds(100, 60)) && !wrong; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            int out[20];
            bool right =
                dist_map(square, numbers(), 20, out, .executor = X, .workers = 2) == DIST_OK;
            for (int k = 0; k < 20; k++) right &= out[k] == k * k;
            _exit(right ? 0 : 1);
        }
        if (!gone(pid, 10)) kill(pid, SIGKILL);
        int status = -1;
        waitpid(pid, &status, 0);
        wrong = status;
    }
    count(&stop);
    for (size_t k = 0; k < N(threads); k++) pthread_join(threads[k], NULL);
    assert_int_equal(wrong, 0);
}
