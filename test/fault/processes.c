/* processes.c - no pidfd, no new processes, workers that die at once: the calls end, and say so. */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

enum { ITEMS = 5000, WORKERS = 4 };
enum { OWN_TASKS = THREAD_SANITIZED ? 2 : 1 }; /* that sanitizer has a thread of its own */

static int item[ITEMS];
static long out[ITEMS];
static _Atomic(unsigned) *started; /* by all workers */

static void prepare(void) {
    started = shared_memory(sizeof *started);
    for (int i = 0; i < ITEMS; i++) item[i] = i, out[i] = -1;
}

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    atomic_fetch_add_explicit(started, 1, memory_order_relaxed);
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static int triple_or_die(void *result, const void *number, void *ctx) {
    if (*(const int *)number % 1000 == 77) raise(SIGKILL);
    return triple(result, number, ctx);
}

static void check_all_right(void) {
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == 3L * i);
}

/* One call in which 5 of the items kill their worker. */
static void call_with_crashes(void) {
    dist_job *job;
    struct footprint before = footprint();
    CHECK(dist_process_map(triple_or_die, item, ITEMS, out, .workers = WORKERS, .silent = true,
                           .job = &job) == DIST_OK);
    CHECK(dist_job_failures(job) == 5);
    for (size_t k = 0; k < 5; k++) {
        const dist_error *error = dist_job_failure_at(job, k);
        CHECK(error->index == 1000 * k + 77 && error->status == DIST_CRASHED);
        CHECK(error->signal == SIGKILL);
        CHECK(out[error->index] == -1);
        out[error->index] = 3L * (long)error->index;
    }
    check_all_right();
    dist_job_finish(&job);
    check_footprint(before);
}

/* ------------------------------------------------------------------ no pidfd */

static void without_pidfd(void) {
    prepare();
    forbid((int[]){SYS_pidfd_open}, 1, ENOSYS);
    CHECK(syscall(SYS_pidfd_open, getpid(), 0) == -1 && errno == ENOSYS);
    call_with_crashes();
}

static void no_descriptors_left(void) {
    prepare();
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    struct rlimit none = {0, limit.rlim_max}; /* those that are open stay open */
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    dist_status status =
        dist_process_map(triple, item, ITEMS, out, .workers = WORKERS, .silent = true);
    CHECK(status == DIST_OK);
    check_all_right();
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* ------------------------------------------------------------------ no processes */

static void check_refused(dist_status status) {
    CHECK(status == DIST_SYSTEM);
    CHECK(dist_last_error()->status == DIST_SYSTEM && dist_last_error()->code == EAGAIN);
    CHECK(strlen(dist_last_error()->message) > 0);
    CHECK(atomic_load(started) == 0);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == -1);
}

static void no_process_at_all(void) {
    prepare();
    forbid_new_processes();
    struct footprint before = footprint();
    check_refused(dist_process_map(triple, item, ITEMS, out, .workers = WORKERS));
    dist_job *job = NULL;
    check_refused(dist_process_map(triple, item, ITEMS, out, .silent = true, .job = &job));
    CHECK(job == NULL);
    check_footprint(before);
}

static void the_user_has_no_process_left(void) {
    prepare();
    become_user_with(OWN_TASKS);
    check_refused(dist_process_map(triple, item, ITEMS, out, .workers = WORKERS));
}

static void room_for_few_workers(void) {
    prepare();
    become_user_with(OWN_TASKS + 2);
    for (unsigned workers = 1; workers <= 64; workers *= 4) {
        memset(out, -1, sizeof out);
        CHECK(dist_process_map(triple, item, ITEMS, out, .workers = workers) == DIST_OK);
        check_all_right();
    }
}

static void room_for_few_workers_that_crash(void) {
    prepare();
    become_user_with(OWN_TASKS + 1);
    call_with_crashes();
}

/* ------------------------------------------------------------------ workers die at once */

static void die_of_kill(void) { raise(SIGKILL); }
static void end_with_9(void) { _exit(9); }

/* The call cannot know that it never gets better, but it notices. */
static void check_gives_up(dist_status status) {
    CHECK(status == DIST_CRASHED);
    CHECK(dist_last_error()->status == DIST_CRASHED);
    CHECK(strlen(dist_last_error()->message) > 0);
    CHECK(atomic_load(started) == 0);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == -1);
}

static void workers_die_in_the_fork(void) {
    prepare();
    struct footprint before = footprint();
    CHECK(pthread_atfork(NULL, NULL, random_below(2) ? die_of_kill : end_with_9) == 0);
    check_gives_up(dist_process_map(triple, item, ITEMS, out, .workers = WORKERS));
    check_gives_up(dist_process_map(triple, item, ITEMS, out, .workers = 1));
    check_footprint(before);
}

static _Atomic(unsigned) *forks;

static void some_die(void) {
    if (atomic_fetch_add(forks, 1) % 3 != 2) raise(SIGKILL);
}

/* Two of three workers die before they run anything: the third does the work. */
static void most_workers_die_in_the_fork(void) {
    prepare();
    forks = shared_memory(sizeof *forks);
    CHECK(pthread_atfork(NULL, NULL, some_die) == 0);
    CHECK(dist_process_map(triple, item, ITEMS, out, .workers = WORKERS) == DIST_OK);
    check_all_right();
}

/* ------------------------------------------------------------------ memory */

/* Address space for `more` bytes beyond what is used now. */
static void limit_memory(size_t more) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    size_t bytes = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, RLIM_INFINITY}) == 0);
}

static void little_memory(void) {
    enum { MANY = 1 << 20 };
    if (SANITIZED) skip("a sanitizer needs all of the address space");
    prepare();
    int *items = calloc(MANY, sizeof *items);
    long *results = calloc(MANY, sizeof *results);
    CHECK(items && results);
    unsigned good = 0, refused = 0;
    for (size_t more = 0; more <= (size_t)1 << 29; more = more * 2 + 4096) {
        limit_memory(more);
        dist_status status = dist_process_map(triple, items, MANY / 8, results, .workers = 2);
        CHECK(status == DIST_OK || status == DIST_NOMEM);
        CHECK(status == DIST_OK || strlen(dist_last_error()->message) > 0);
        *(status ? &refused : &good) += 1;
        status = dist_process_map(triple, items, MANY, results, .workers = 2, .chunk = 5000);
        CHECK(status == DIST_OK || status == DIST_NOMEM);
    }
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) == 0);
    printf("%u calls succeeded, %u found no memory; ", good, refused);
    fflush(stdout);
    CHECK(good > 0 && refused > 0);
    CHECK(dist_process_map(triple, item, ITEMS, out, .workers = 2) == DIST_OK);
    check_all_right();
}

static const struct fault_case cases[] = {
    {"crashes are noticed without pidfd", without_pidfd, 20},
    {"no descriptor can be opened", no_descriptors_left, 20},
    {"fork fails", no_process_at_all, 20},
    {"the user has no process left", the_user_has_no_process_left, 20},
    {"room for few workers", room_for_few_workers, 20},
    {"room for few workers, and they crash", room_for_few_workers_that_crash, 20},
    {"workers die in the fork", workers_die_in_the_fork, 20},
    {"most workers die in the fork", most_workers_die_in_the_fork, 20},
    {"little memory", little_memory, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
