/* contract_crash.c - whatever ends a worker process costs the item it was running, and no more. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ways to die. */

static void die_by_kill(void) { kill(getpid(), SIGKILL); }
static void die_by_term(void) { raise(SIGTERM); }
static void die_by_usr1(void) { raise(SIGUSR1); }
static void die_by_fpe(void) { raise(SIGFPE); }
static void die_by_abort(void) { abort(); }
static void die_by_exit_3(void) { exit(3); }
static void die_by_exit_0(void) { exit(0); }
static void die_by_exit_255(void) { exit(255); }
static void die_by__exit_3(void) { _exit(3); }
static void die_by__exit_0(void) { _exit(0); }
static void die_by_quick_exit(void) { quick_exit(4); }
static void die_by_thread_exit(void) { pthread_exit(NULL); }

static void *sleep_on(void *unused) {
    nap(600);
    return unused;
}

static void die_by_exit_of_the_main_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_on, NULL);
    pthread_exit(NULL);
}

static void die_by_segv(void) {
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *(volatile char *)page = 1;
}

static void die_by_realtime_signal(void) { raise(SIGRTMIN + 3); }

static int fill_stack(volatile char *above, int depth);
static int (*volatile fill_more)(volatile char *, int) = fill_stack; /* no loop can replace it */

static int fill_stack(volatile char *above, int depth) {
    volatile char frame[1 << 16];
    frame[0] = above[0];
    int deeper = depth > 1 << 16 ? depth : fill_more(frame, depth + 1);
    return deeper + frame[0];
}

static void die_by_stack_overflow(void) {
    setrlimit(RLIMIT_STACK, &(struct rlimit){8 << 20, RLIM_INFINITY});
    raise(fill_more((volatile char[1]){1}, 0) ? SIGTERM : SIGINT); /* neither of them is expected */
}

static void *exit_3(void *unused) {
    (void)unused;
    exit(3);
}

static void die_by_exit_in_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, exit_3, NULL);
    pthread_join(thread, NULL);
    nap(60);
}

static const struct cause {
    const char *name;
    void (*die)(void);
    int signal, exit_code;
    const char *said; /* in the message */
} causes[] = {
    {"SIGKILL", die_by_kill, SIGKILL, 0, "SIGKILL"},
    {"SIGTERM", die_by_term, SIGTERM, 0, "SIGTERM"},
    {"SIGUSR1", die_by_usr1, SIGUSR1, 0, "SIGUSR1"},
    {"SIGFPE", die_by_fpe, SIGFPE, 0, "SIGFPE"},
    {"SIGSEGV", die_by_segv, SIGSEGV, 0, "SIGSEGV"},
    {"abort", die_by_abort, SIGABRT, 0, "SIGABRT"},
    {"stack overflow", die_by_stack_overflow, SIGSEGV, 0, "SIGSEGV"},
    {"real-time signal", die_by_realtime_signal, -1, 0, ""},
    {"exit(3)", die_by_exit_3, 0, 3, "3"},
    {"exit(0)", die_by_exit_0, 0, 0, ""},
    {"exit(255)", die_by_exit_255, 0, 255, "255"},
    {"_exit(3)", die_by__exit_3, 0, 3, "3"},
    {"_exit(0)", die_by__exit_0, 0, 0, ""},
    {"quick_exit(4)", die_by_quick_exit, 0, 4, "4"},
    {"exit(3) in a thread", die_by_exit_in_thread, 0, 3, "3"},
    {"pthread_exit", die_by_thread_exit, 0, 0, ""},
    {"pthread_exit beside a thread", die_by_exit_of_the_main_thread, 0, 0, ""},
};

struct plan {
    void (*die)(void);
    int at, each; /* item `at` dies; or every so many, counted from `at` */
    _Atomic(unsigned) *runs;
};

static bool dies(const struct plan *plan, int item) {
    return plan->each ? item % plan->each == plan->at : item == plan->at;
}

static int work(void *result, const void *item, void *ctx) {
    const struct plan *plan = ctx;
    int i = *(const int *)item;
    count(&plan->runs[i]);
    *(int *)result = 10 * i;
    if (dies(plan, i)) plan->die();
    return 0;
}

static int chunk_work(void *results, const void *items, size_t n, void *ctx) {
    for (size_t i = 0; i < n; i++) work((int *)results + i, (const int *)items + i, ctx);
    return 0;
}

static void check_error(const dist_error *e, const struct cause *cause) {
    assert_int_equal(e->status, DIST_CRASHED);
    if (cause->signal >= 0) assert_int_equal(e->signal, cause->signal);
    else assert_int_equal(e->signal, SIGRTMIN + 3);
    assert_int_equal(e->exit_code, cause->exit_code);
    assert_int_equal(e->attempts, 1);
    assert_ptr_equal(e->item, &numbers()[e->index]);
    assert_true(strlen(e->message) > 0);
    if (!strstr(e->message, cause->said)) fail_msg("%s: \"%s\"", cause->name, e->message);
}

/* All items but those that die are right; each ran once. */
static void check_items(const dist_job *job, const struct plan *plan, const int *out, int n) {
    size_t dead = 0;
    for (int i = 0; i < n; i++) {
        const dist_error *e = dist_job_outcome(job, (size_t)i);
        bool dying = dies(plan, i);
        dead += dying;
        assert_int_equal(e ? e->status : DIST_OK, dying ? DIST_CRASHED : DIST_OK);
        assert_int_equal(out[i], dying ? -1 : 10 * i);
        assert_int_equal(counted(&plan->runs[i]), 1);
    }
    assert_int_equal(dist_job_failures(job), dead);
}

static void crash(const struct cause *cause, struct plan plan, int n, unsigned workers,
                  size_t chunk) {
    int out[PRIME];
    dist_job *job;
    static _Atomic(unsigned) *runs;
    if (!runs) runs = shared_memory(PRIME * sizeof *runs);
    plan.runs = runs;
    plan.die = cause->die;
    memset(runs, 0, PRIME * sizeof *runs);
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(work, numbers(), (size_t)n, out, .executor = X, .workers = workers,
                              .chunk = chunk, .ctx = &plan, .silent = true, .job = &job),
                     DIST_OK);
    check_items(job, &plan, out, n);
    for (size_t k = 0; k < dist_job_failures(job); k++)
        check_error(dist_job_failure_at(job, k), cause);
    assert_int_equal(dist_job_finish(&job), DIST_CRASHED);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

CASE_ON("G-01", every_way_to_die_costs_one_item, ON_PROCESS, 40) {
    for (size_t k = 0; k < N(causes); k++) {
        printf("%s\n", causes[k].name);
        for (unsigned workers = 1; workers < 4; workers++) {
            crash(&causes[k], (struct plan){.at = 1}, 100, workers, 0);
            crash(&causes[k], (struct plan){.at = 0}, 7, workers, 3);
        }
        crash(&causes[k], (struct plan){.at = 99}, 100, 0, 0);
    }
}

CASE_ON("P-58", ninety_nine_of_a_hundred_survive_a_kill, ON_PROCESS, 20) {
    crash(&causes[0], (struct plan){.at = 1}, 100, 2, 0);
}

CASE_ON("G-13", a_crash_costs_one_item_whatever_the_chunk, ON_PROCESS, 40) {
    enum { COUNT = 12 };
    for (size_t chunk = 1; chunk <= COUNT; chunk += SANITIZED ? 5 : 1)
        for (int bad = 0; bad < COUNT; bad++)
            crash(&causes[bad % 2 ? 0 : 8], (struct plan){.at = bad}, COUNT, 2, chunk);
}

CASE_ON("G-01", many_crashes_are_many_items, ON_PROCESS, 40) {
    int n = SANITIZED ? 201 : PRIME;
    crash(&causes[0], (struct plan){.at = 3, .each = 10}, n, 3, 0);
    crash(&causes[11], (struct plan){.at = 3, .each = 10}, n, 3, 50);
    crash(&causes[0], (struct plan){.at = 0, .each = 1}, 40, 2, 0);
    crash(&causes[8], (struct plan){.at = 0, .each = 1}, 40, 2, 7);
}

CASE_ON("P-61", a_crash_that_is_not_silent_stops_the_call, ON_PROCESS, 20) {
    struct plan plan = {.die = die_by_exit_3, .at = 5};
    int out[100];
    dist_error e;
    dist_job *job;
    plan.runs = shared_memory(PRIME * sizeof *plan.runs);
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(work, numbers(), 100, out, .executor = X, .workers = 2, .chunk = 1,
                              .ctx = &plan, .error = &e, .job = &job),
                     DIST_CRASHED);
    assert_int_equal(e.index, 5);
    check_error(&e, &causes[8]);
    check_error(dist_last_error(), &causes[8]);
    for (int i = 0; i < 100; i++) {
        const dist_error *outcome = dist_job_outcome(job, (size_t)i);
        if (i < 5) assert_null(outcome);
        if (i > 5 && outcome) assert_int_equal(outcome->status, DIST_SKIPPED);
        assert_int_equal(out[i], outcome ? -1 : 10 * i);
        assert_int_equal(counted(&plan.runs[i]), !outcome || outcome->status == DIST_CRASHED);
    }
    assert_int_equal(dist_job_finish(&job), DIST_CRASHED);
}

CASE_ON("G-14", the_lowest_of_a_crash_and_a_failure_is_reported, ON_PROCESS, 30) {
    for (unsigned i = 0; again(i, rounds(100, 100)); i++) {
        struct plan plan = {.die = i % 2 ? die_by_kill : die_by_exit_0, .at = 2, .each = 3};
        int out[20];
        dist_error e;
        plan.runs = shared_memory(PRIME * sizeof *plan.runs);
        assert_int_equal(dist_map(work, numbers(), 20, out, .executor = X, .workers = 1 + i % 4,
                                  .ctx = &plan, .error = &e),
                         DIST_CRASHED);
        assert_int_equal(e.index, 2);
        munmap(plan.runs, PRIME * sizeof *plan.runs);
    }
}

CASE_ON("D-11", apply_for_and_par_survive_a_crash, ON_PROCESS, 20) {
    struct plan plan = {.die = die_by_segv, .at = 7};
    int out[2] = {-1, -1};
    dist_error e;
    dist_job *job;
    plan.runs = shared_memory(PRIME * sizeof *plan.runs);
    assert_int_equal(dist_apply(work, &numbers()[7], out, .executor = X, .ctx = &plan, .error = &e),
                     DIST_CRASHED);
    assert_int_equal(e.index, 0);
    assert_int_equal(e.signal, SIGSEGV);
    assert_ptr_equal(e.item, &numbers()[7]);
    assert_int_equal(out[0], -1);
    dist_task tasks[2] = {DIST_TASK("bad", work, &numbers()[7], &out[0]),
                          DIST_TASK("good", work, &numbers()[8], &out[1])};
    assert_int_equal(dist_par(tasks, 2, .executor = X, .ctx = &plan, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(out[0], -1);
    assert_int_equal(out[1], 80);
    assert_string_equal(dist_job_failure_at(job, 0)->name, "bad");
    assert_int_equal(dist_job_failure_at(job, 0)->signal, SIGSEGV);
    assert_int_equal(dist_job_finish(&job), DIST_CRASHED);
}

CASE_ON("G-01", a_crash_in_a_chunk_function_leaves_other_chunks, ON_PROCESS, 20) {
    struct plan plan = {.die = die_by_kill, .at = 14};
    int out[100];
    dist_job *job;
    plan.runs = shared_memory(PRIME * sizeof *plan.runs);
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map_chunks(chunk_work, numbers(), 100, out, .executor = X, .workers = 2,
                                     .chunk = 10, .ctx = &plan, .silent = true, .job = &job),
                     DIST_OK);
    for (int i = 0; i < 100; i++) {
        const dist_error *e = dist_job_outcome(job, (size_t)i);
        assert_int_equal(e ? e->status : DIST_OK, i / 10 == 1 ? DIST_CRASHED : DIST_OK);
        assert_int_equal(out[i], e ? -1 : 10 * i);
    }
    assert_int_equal(dist_job_finish(&job), DIST_CRASHED);
}

static int fail_or_die(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    (void)ctx;
    *(int *)result = 10 * i;
    if (i % 10 == 3) return dist_fail(EIO, "item %d", i);
    if (i % 10 == 6) die_by_kill();
    return 0;
}

CASE_ON("D-13", failures_and_crashes_are_told_apart, ON_PROCESS, 20) {
    int out[100];
    dist_job *job;
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(fail_or_die, numbers(), 100, out, .executor = X, .workers = 3,
                              .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 20);
    for (int i = 0; i < 100; i++) {
        const dist_error *e = dist_job_outcome(job, (size_t)i);
        char text[32];
        snprintf(text, sizeof text, "item %d", i);
        if (i % 10 == 3) assert_string_equal(e->message, text);
        if (i % 10 == 6) assert_non_null(strstr(e->message, "SIGKILL"));
        assert_int_equal(e ? e->status : DIST_OK, i % 10 == 3   ? DIST_FAILED
                                                  : i % 10 == 6 ? DIST_CRASHED
                                                                : DIST_OK);
        assert_int_equal(out[i], e ? -1 : 10 * i);
    }
    dist_job_finish(&job);
}

CASE_ON("G-01", max_failures_counts_crashes, ON_PROCESS, 20) {
    struct plan plan = {.die = die_by_kill, .at = 5, .each = 10};
    int out[100];
    dist_job *job;
    plan.runs = shared_memory(PRIME * sizeof *plan.runs);
    assert_int_equal(dist_map(work, numbers(), 100, out, .executor = X, .workers = 1, .chunk = 1,
                              .ctx = &plan, .silent = true, .max_failures = 3, .job = &job),
                     DIST_CRASHED);
    assert_int_equal(dist_job_failures(job), 3);
    for (int i = 0; i < 100; i++) assert_int_equal(counted(&plan.runs[i]), i <= 25);
    dist_job_finish(&job);
}

static int crash_below(void *result, const void *item, void *ctx) {
    int out[10];
    dist_error e;
    dist_status status = dist_map(work, numbers(), 10, out, .executor = DIST_PROCESS, .workers = 2,
                                  .ctx = ctx, .error = &e);
    *(int *)result = status == DIST_CRASHED ? (int)e.index : -2;
    return *(const int *)item == 5 ? dist_fail(EIO, "%s", e.message) : 0;
}

CASE("P-58", a_crash_inside_a_nested_call_stays_inside) {
    if (!built(DIST_PROCESS)) skip();
    struct plan plan = {.die = die_by_kill, .at = 4};
    int out[6];
    dist_error e;
    plan.runs = shared_memory(PRIME * sizeof *plan.runs);
    assert_int_equal(dist_map(crash_below, numbers(), 6, out, .executor = X, .workers = 2,
                              .ctx = &plan, .error = &e),
                     DIST_FAILED);
    for (int i = 0; i < 5; i++) assert_int_equal(out[i], 4);
    assert_int_equal(e.index, 5);
    assert_non_null(strstr(e.message, "SIGKILL"));
}

/* Kills from outside, at any moment of a worker's life. */
enum { SLOTS = 8 };

struct targets {
    _Atomic(int) pid[SLOTS];
    _Atomic(unsigned) stop, kills;
    uint32_t random;
};

static int be_a_target(void *result, const void *item, void *ctx) {
    struct targets *targets = ctx;
    int i = *(const int *)item;
    unsigned worker = dist_worker();
    if (worker >= SLOTS) return dist_fail(EINVAL, "worker %u", worker);
    atomic_store(&targets->pid[worker], getpid());
    uint32_t state = (uint32_t)i + 1;
    random_spin(&state, 20);
    int *values = result;
    for (int k = 0; k < 64; k++) values[k] = i * 64 + k;
    return 0;
}

/* The pid in a slot may be another process's by now. A pidfd holds on to one process, and only
 * those of the case are in its group. */
static void kill_slot(struct targets *targets, size_t slot) {
    int pid = atomic_load(&targets->pid[slot]);
    if (pid == 0) return;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) return;
    if (getpgid(pid) == getpgrp() && syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0)
        count(&targets->kills);
    close(fd);
}

static void *kill_at_random(void *arg) {
    struct targets *targets = arg;
    while (!counted(&targets->stop)) {
        kill_slot(targets, random_below(&targets->random, SLOTS));
        nap(random_below(&targets->random, 300) * 1e-6);
    }
    return NULL;
}

struct wide {
    int values[64];
};

static void check_survivors(const dist_job *job, const struct wide *out) {
    for (int i = 0; i < PRIME; i++) {
        const dist_error *e = dist_job_outcome(job, (size_t)i);
        if (e) {
            assert_int_equal(e->status, DIST_CRASHED);
            assert_int_equal(e->signal, SIGKILL);
        }
        for (int k = 0; k < 64; k++) assert_int_equal(out[i].values[k], e ? -1 : i * 64 + k);
    }
}

CASE_ON("G-01", random_kills_cost_only_the_items_being_run, ON_PROCESS, 60) {
    static struct wide out[PRIME];
    struct targets *targets = shared_memory(sizeof *targets);
    pthread_t killer;
    size_t crashed = 0;
    targets->random = random_seed();
    assert_int_equal(pthread_create(&killer, NULL, kill_at_random, targets), 0);
    unsigned enough = rounds(1000, 1000);
    double limit = now() + 20;
    for (unsigned i = 0; counted(&targets->kills) < enough && now() < limit; i++) {
        dist_job *job;
        memset(out, -1, sizeof out);
        assert_int_equal(dist_map(be_a_target, numbers(), PRIME, out, .executor = X,
                                  .workers = 1 + i % SLOTS, .chunk = i % 3 * 5, .ctx = targets,
                                  .silent = true, .job = &job),
                         DIST_OK);
        check_survivors(job, out);
        crashed += dist_job_failures(job);
        dist_job_finish(&job);
    }
    count(&targets->stop);
    pthread_join(killer, NULL);
    printf("%u kills, %zu items crashed\n", counted(&targets->kills), crashed);
    assert_true(crashed <= counted(&targets->kills));
    assert_true(counted(&targets->kills) > 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}
