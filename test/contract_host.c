/* contract_host.c - what the library leaves alone in its host, and what becomes of the workers if
 * the host dies. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int crash_at_seven(void *result, const void *item, void *ctx) {
    if (*(const int *)item == 7) raise(SIGKILL);
    return square(result, item, ctx);
}

/* Calls that succeed, and one that crashes if X allows that, give what they always give. */
static void check_calls(unsigned times) {
    for (unsigned t = 0; again(t, times); t++) {
        int out[101];
        dist_job *job;
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map(square, numbers(), 101, out, .executor = X, .workers = 3),
                         DIST_OK);
        for (int i = 0; i < 101; i++) assert_int_equal(out[i], i * i);
        if (X != DIST_PROCESS) continue;
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map(crash_at_seven, numbers(), 101, out, .executor = X, .workers = 3,
                                  .silent = true, .job = &job),
                         DIST_OK);
        for (int i = 0; i < 101; i++) assert_int_equal(out[i], i == 7 ? -1 : i * i);
        assert_int_equal(dist_job_failures(job), 1);
        assert_int_equal(dist_job_failure_at(job, 0)->status, DIST_CRASHED);
        assert_int_equal(dist_job_failure_at(job, 0)->index, 7);
        dist_job_finish(&job);
    }
}

CASE("G-10", calls_work_where_sigchld_is_ignored) {
    signal(SIGCHLD, SIG_IGN);
    check_calls(rounds(20, 20));
    struct sigaction now_set;
    assert_int_equal(sigaction(SIGCHLD, NULL, &now_set), 0);
    assert_true(now_set.sa_handler == SIG_IGN);
}

static void reap_everything(int signal_number) {
    int saved = errno;
    (void)signal_number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = saved;
}

CASE("G-10", calls_work_where_a_handler_reaps_every_child) {
    struct sigaction action = {.sa_handler = reap_everything, .sa_flags = SA_RESTART};
    assert_int_equal(sigaction(SIGCHLD, &action, NULL), 0);
    check_calls(rounds(50, 50));
}

CASE("G-10", calls_work_where_signals_interrupt_system_calls) {
    struct sigaction action = {.sa_handler = reap_everything}; /* without SA_RESTART */
    assert_int_equal(sigaction(SIGCHLD, &action, NULL), 0);
    check_calls(rounds(50, 50));
}

static void *reap_in_a_loop(void *stop) {
    while (!counted(stop))
        if (waitpid(-1, NULL, 0) < 0) nap(0.0002);
    return NULL;
}

CASE("G-10", calls_work_where_a_thread_reaps_every_child) {
    _Atomic(unsigned) stop = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reap_in_a_loop, &stop), 0);
    check_calls(rounds(50, 50));
    count(&stop);
    contract_end_pools(); /* whose processes it may be waiting for */
    pthread_join(thread, NULL);
}

CASE("G-10", children_of_the_host_stay_its_own) {
    pid_t before = fork();
    if (before == 0) _exit(5);
    pid_t sleeper = fork();
    if (sleeper == 0) {
        nap(60);
        _exit(0);
    }
    check_calls(rounds(10, 10));
    int status;
    assert_int_equal(waitpid(before, &status, 0), before);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    assert_int_equal(waitpid(sleeper, &status, WNOHANG), 0);
    kill(sleeper, SIGKILL);
    assert_int_equal(waitpid(sleeper, &status, 0), sleeper);
}

static void ignore_me(int signal_number) { (void)signal_number; }

CASE("G-10", handlers_and_mask_of_the_host_are_as_before) {
    struct sigaction before[32], after;
    sigset_t mask_before, mask_after;
    signal(SIGUSR1, ignore_me);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&mask_before);
    sigaddset(&mask_before, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &mask_before, NULL);
    pthread_sigmask(SIG_BLOCK, NULL, &mask_before);
    for (int s = 1; s < 32; s++) sigaction(s, NULL, &before[s]);
    check_calls(3);
    dist_shutdown();
    pthread_sigmask(SIG_BLOCK, NULL, &mask_after);
    for (int s = 1; s < 32; s++) {
        assert_int_equal(sigaction(s, NULL, &after), 0);
        assert_true(before[s].sa_handler == after.sa_handler);
        assert_int_equal(before[s].sa_flags, after.sa_flags);
        assert_int_equal(sigismember(&mask_before, s), sigismember(&mask_after, s));
    }
}

struct signals {
    bool usr1_is_default, pipe_is_ignored, chld_is_default, nothing_blocked, caller;
    bool all_blocked;
};

static int look_at_signals(void *result, const void *item, void *ctx) {
    struct signals *seen = result;
    struct sigaction action;
    sigset_t mask;
    (void)item;
    sigaction(SIGUSR1, NULL, &action);
    seen->usr1_is_default = action.sa_handler == SIG_DFL;
    sigaction(SIGCHLD, NULL, &action);
    seen->chld_is_default = action.sa_handler == SIG_DFL;
    sigaction(SIGPIPE, NULL, &action);
    seen->pipe_is_ignored = action.sa_handler == SIG_IGN;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    seen->nothing_blocked = true;
    for (int s = 1; s < 65; s++) seen->nothing_blocked &= sigismember(&mask, s) != 1;
    seen->all_blocked = true;
    static const int asynchronous[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGCHLD, SIGUSR1, SIGUSR2};
    for (size_t k = 0; k < N(asynchronous); k++)
        seen->all_blocked &= sigismember(&mask, asynchronous[k]) == 1;
    seen->caller = *(const int *)ctx == thread_id();
    nap(0.001);
    return 0;
}

CASE_ON("G-10", workers_start_with_default_handlers_and_no_signal_blocked, ON_PROCESS, 20) {
    struct signals seen[10];
    int own = thread_id();
    sigset_t some;
    signal(SIGUSR1, ignore_me);
    signal(SIGCHLD, ignore_me);
    signal(SIGPIPE, SIG_IGN);
    sigfillset(&some);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    assert_int_equal(
        dist_map(look_at_signals, numbers(), 10, seen, .executor = X, .workers = 3, .ctx = &own),
        DIST_OK);
    for (int i = 0; i < 10; i++) {
        assert_true(seen[i].usr1_is_default && seen[i].chld_is_default);
        assert_true(seen[i].pipe_is_ignored && seen[i].nothing_blocked);
    }
}

CASE_ON("G-10", threads_of_the_library_block_signals, ON_THREAD, 20) {
    struct signals seen[30];
    int own = thread_id();
    assert_int_equal(dist_map(look_at_signals, numbers(), 30, seen, .executor = X, .workers = 3,
                              .chunk = 1, .ctx = &own),
                     DIST_OK);
    for (int i = 0; i < 30; i++) assert_int_equal(seen[i].all_blocked, !seen[i].caller);
}

/* A host that dies in the middle of a call. */
enum { WORKERS = 5 };

struct victim {
    _Atomic(int) pid[WORKERS];
    _Atomic(unsigned) running;
    bool spinning;
    void *(*call)(void *);
};

static int run_for_ever(size_t index, void *ctx) {
    struct victim *victim = ctx;
    atomic_store(&victim->pid[index], getpid());
    count(&victim->running);
    while (victim->spinning) {
    }
    nap(600);
    return 0;
}

static void *call_for_ever(void *victim) {
    dist_for(run_for_ever, WORKERS, .executor = DIST_PROCESS, .workers = WORKERS, .ctx = victim);
    return NULL;
}

/* One task keeps the caller busy, so that the other calls from a thread of the pool. */
static int call_below(size_t index, void *ctx) {
    if (index == 0) nap(600);
    else call_for_ever(ctx);
    return 0;
}

static void *call_from_a_thread_pool(void *victim) {
    dist_for(call_below, 2, .executor = DIST_THREAD, .workers = 2, .ctx = victim);
    return NULL;
}

static void be_the_host(void *arg) {
    struct victim *victim = arg;
    victim->call(victim);
}

static void be_a_host_that_calls_from_a_thread(void *arg) {
    struct victim *victim = arg;
    pthread_t thread;
    pthread_create(&thread, NULL, victim->call, victim);
    pthread_join(thread, NULL);
}

static void be_a_host_that_leaves(void *arg) {
    struct victim *victim = arg;
    pthread_t thread;
    pthread_create(&thread, NULL, victim->call, victim);
    reaches(&victim->running, WORKERS);
    _exit(0);
}

/* Starts a host, ends it once all workers run, and sees them go. */
static void end_host(void (*host)(void *), struct victim plan, int signal_number) {
    struct victim *victim = shared_memory(sizeof *victim);
    victim->spinning = plan.spinning;
    victim->call = plan.call ? plan.call : call_for_ever;
    pid_t pid = start_child(host, victim);
    assert_true(reaches(&victim->running, WORKERS));
    if (signal_number) kill(pid, signal_number);
    double limit = now() + (SANITIZED ? 5 : 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (int i = 0; i < WORKERS; i++) {
        int worker = atomic_load(&victim->pid[i]);
        assert_true(worker > 0 && worker != pid);
        assert_true(gone(worker, limit - now()));
    }
}

CASE_ON("G-08", workers_die_with_their_host, ON_PROCESS, 30) {
    for (unsigned i = 0; again(i, rounds(10, 10)); i++) {
        end_host(be_the_host, (struct victim){.spinning = i % 2}, SIGKILL);
        end_host(be_a_host_that_calls_from_a_thread, (struct victim){.spinning = i % 2}, SIGKILL);
    }
}

CASE_ON("G-08", workers_die_with_a_host_that_is_terminated, ON_PROCESS, 20) {
    end_host(be_the_host, (struct victim){.spinning = true}, SIGTERM);
    end_host(be_the_host, (struct victim){.spinning = false}, SIGINT);
}

CASE_ON("G-08", workers_die_with_a_host_that_leaves, ON_PROCESS, 20) {
    end_host(be_a_host_that_leaves, (struct victim){.spinning = true}, 0);
    end_host(be_a_host_that_leaves, (struct victim){.spinning = false}, 0);
}

CASE_ON("G-08", workers_of_nested_calls_die_with_the_host, ON_PROCESS, 20) {
    if (!built(DIST_THREAD)) skip();
    end_host(be_the_host, (struct victim){.call = call_from_a_thread_pool}, SIGKILL);
}

static int host_a_call(size_t index, void *ctx) {
    (void)index;
    call_for_ever(ctx);
    return 0;
}

static void *call_two_deep(void *victim) {
    dist_for(host_a_call, 1, .executor = DIST_PROCESS, .workers = 1, .ctx = victim);
    return NULL;
}

CASE_ON("G-08", workers_of_workers_die_with_the_host, ON_PROCESS, 20) {
    end_host(be_the_host, (struct victim){.call = call_two_deep}, SIGKILL);
    end_host(be_the_host, (struct victim){.call = call_two_deep, .spinning = true}, SIGKILL);
}

static void be_process_one(void *arg) {
    (void)arg;
    if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID)) exit(77);
    pid_t pid = fork();
    if (pid == 0) {
        if (getpid() != 1) exit(77);
        check_calls(5);
        _exit(0); /* a leak check does not work in a namespace without its own /proc */
    }
    int status = -1;
    waitpid(pid, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

CASE("G-08", the_host_may_be_process_one) {
    int status = in_child(be_process_one, NULL);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip(); /* no right to make a namespace */
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* /dev/shm */

enum { NAMES = 256 };

struct names {
    size_t count;
    char name[NAMES][NAME_MAX + 1];
};

static void list_names(struct names *names) {
    DIR *open = opendir("/dev/shm");
    names->count = 0;
    for (struct dirent *e; open && (e = readdir(open)) && names->count < NAMES;)
        strcpy(names->name[names->count++], e->d_name);
    if (open) closedir(open);
}

static bool new_name(const struct names *before, const struct names *after) {
    for (size_t a = 0; a < after->count; a++) {
        bool known = false;
        for (size_t b = 0; b < before->count; b++)
            known |= !strcmp(before->name[b], after->name[a]);
        if (!known) return true;
    }
    return false;
}

/* Lines of /proc/self/maps and names of descriptors that lie in /dev/shm. */
static int look_for_names(size_t index, void *ctx) {
    struct names *during = malloc(sizeof *during);
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "re");
    (void)index;
    bool found = false;
    while (maps && fgets(line, sizeof line, maps)) found |= strstr(line, "/dev/shm/") != NULL;
    if (maps) fclose(maps);
    list_names(during);
    found |= new_name(ctx, during);
    free(during);
    return found ? dist_fail(EEXIST, "something new in /dev/shm") : 0;
}

CASE("G-09", nothing_appears_in_dev_shm) {
    static struct names before, after;
    bool clean = false;
    for (int tries = 0; tries < 5 && !clean; tries++) { /* other programs may use it */
        list_names(&before);
        dist_status status =
            dist_for(look_for_names, 4, .executor = X, .workers = 3, .ctx = &before);
        if (X == DIST_PROCESS)
            end_host(be_the_host, (struct victim){.spinning = tries % 2}, SIGKILL);
        check_calls(1);
        list_names(&after);
        clean = status == DIST_OK && !new_name(&before, &after);
    }
    assert_true(clean);
}
