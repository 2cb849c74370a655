/* poolchaos.c - while calls run in a pool, its workers are killed at random moments, every few
 * hundred microseconds. All results are right but those of items whose worker was killed, no item
 * is lost or run more often than .retries allows, and nothing is left behind.
 *
 * By hand, with more of it:  fault_poolchaos "" SEED TASKS SECONDS  (of each case, at least) */
#include "fault.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open        434
#define SYS_pidfd_send_signal 424
#endif

enum { WORKERS = 4, CALLERS_MOST = 3, PAUSE_US = 400, TIMES_KEPT = 1 << 16 };

static uint64_t least_tasks = 100000;
static double least_seconds = 1.2;

static struct {
    _Atomic(unsigned) kills, active; /* the latter: calls */
    struct {
        _Atomic(int) pid;           /* of the last worker of this number that ran a task */
        _Atomic(uint64_t) since_ns; /* when it began its first one */
    } worker[WORKERS];
    _Atomic(unsigned) times;
    _Atomic(uint32_t) recovery_us[TIMES_KEPT]; /* from a kill to the first task of the next one */
} * shared;

static uint64_t now_ns(void) { return (uint64_t)(now() * 1e9); }

/* ------------------------------------------------------------------ the killer */

struct wait { /* for the successor of a killed worker */
    pid_t victim;
    uint64_t since_ns;
};

static bool is_among(pid_t pid, const pid_t *child, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (child[i] == pid) return true;
    return false;
}

/* A worker that has run a task, of this number. */
static bool kill_worker(pid_t nursery, unsigned number, struct wait *wait) {
    pid_t child[64], victim = atomic_load(&shared->worker[number].pid);
    int pidfd = victim ? (int)syscall(SYS_pidfd_open, victim, 0) : -1;
    if (pidfd < 0) return false;
    bool ours = is_among(victim, child, children_of(nursery, child, N(child)));
    *wait = (struct wait){victim, now_ns()};
    bool killed = ours && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
    close(pidfd);
    return killed;
}

/* One that may not have run any. */
static bool kill_any(pid_t nursery) {
    pid_t child[64];
    size_t count = children_of(nursery, child, N(child));
    if (count == 0) return false;
    pid_t victim = child[random_below((uint32_t)count)];
    int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
    if (pidfd < 0) return false;
    bool still = is_among(victim, child, children_of(nursery, child, N(child)));
    bool killed = still && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
    close(pidfd);
    return killed;
}

static void note_recovery(unsigned number, struct wait *wait) {
    if (!wait->victim || atomic_load(&shared->worker[number].pid) == wait->victim) return;
    uint64_t since = atomic_load(&shared->worker[number].since_ns);
    unsigned k = atomic_load(&shared->times);
    /* a call may have ended meanwhile: then there was nothing to run */
    if (since > wait->since_ns && k < TIMES_KEPT) {
        atomic_store(&shared->recovery_us[k], (uint32_t)((since - wait->since_ns) / 1000));
        atomic_store(&shared->times, k + 1);
    }
    wait->victim = 0;
}

_Noreturn static void kill_at_random(pid_t test, pid_t nursery) {
    struct wait wait[WORKERS] = {{0, 0}};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == test) {
        nap(1e-6 * (PAUSE_US / 2 + random_below(PAUSE_US)));
        for (unsigned k = 0; k < WORKERS; k++) {
            if (!atomic_load(&shared->active)) wait[k].victim = 0;
            note_recovery(k, &wait[k]);
        }
        if (!atomic_load(&shared->active)) continue;
        unsigned number = random_below(WORKERS);
        if (wait[number].victim) continue;
        bool known = random_below(8) > 0;
        if (known ? kill_worker(nursery, number, &wait[number]) : kill_any(nursery))
            atomic_fetch_add(&shared->kills, 1);
    }
    _exit(0);
}

/* ------------------------------------------------------------------ calls */

typedef struct {
    uint64_t value, check;
} answer;

struct plan {
    double task_us;
    uint32_t n; /* of each call */
    unsigned retries, callers, workers;
    bool singles; /* an item for each call: by jobs, by blocking calls, by both ways to go */
};

struct caller {
    const struct plan *plan;
    dist_pool *pool;
    uint32_t *items;
    answer *out;
    _Atomic(uint8_t) *runs;
    uint32_t random;
    uint64_t tasks, calls, crashed, again, gave_up;
};

static answer right_answer(uint32_t item) { return (answer){item * 3u + 1, ~(uint64_t)item}; }

struct what {
    _Atomic(uint8_t) *runs;
    double us;
};

static int task(void *result, const void *item, void *ctx) {
    const struct what *what = ctx;
    unsigned number = dist_worker();
    if (atomic_load_explicit(&shared->worker[number].pid, memory_order_relaxed) != getpid()) {
        atomic_store(&shared->worker[number].since_ns, now_ns());
        atomic_store(&shared->worker[number].pid, getpid());
    }
    atomic_fetch_add_explicit(&what->runs[*(const uint32_t *)item], 1, memory_order_relaxed);
    for (double limit = what->us > 0 ? now() + what->us * 1e-6 : 0;
         what->us > 0 && now() < limit;) {
    }
    *(answer *)result = right_answer(*(const uint32_t *)item);
    return 0;
}

static void check_call(struct caller *c, dist_job *job) {
    for (uint32_t i = 0; i < c->plan->n; i++) {
        const dist_error *error = dist_job_outcome(job, i);
        answer expected = right_answer(i);
        unsigned runs = atomic_load_explicit(&c->runs[i], memory_order_relaxed);
        CHECK(runs <= c->plan->retries + 1 && (error || runs >= 1));
        c->again += runs > 1;
        if (error) {
            if (error->signal != SIGKILL) printf("item %u: %s; ", i, error->message);
            CHECK(error->status == DIST_CRASHED && error->signal == SIGKILL && error->index == i);
            CHECK(error->attempts == c->plan->retries + 1);
            c->crashed++;
            expected = (answer){7, 7};
        }
        CHECK(c->out[i].value == expected.value && c->out[i].check == expected.check);
    }
}

static void check_single(struct caller *c, uint32_t i, dist_status status) {
    answer expected = status ? (answer){7, 7} : right_answer(i);
    unsigned runs = atomic_load_explicit(&c->runs[i], memory_order_relaxed);
    if (status) {
        if (status != DIST_CRASHED) printf("item %u: %s; ", i, dist_last_error()->message);
        CHECK(status == DIST_CRASHED && dist_last_error()->signal == SIGKILL);
        c->crashed++;
    }
    CHECK(runs <= 1 && (status || runs == 1));
    CHECK(c->out[i].value == expected.value && c->out[i].check == expected.check);
}

/* By its own numbers: those of fault.h are for one thread. */
static bool one_in(struct caller *c, uint32_t most) {
    c->random = c->random * 1664525 + 1013904223; /* Numerical Recipes */
    return (c->random >> 16) % most == 0;
}

/* An item without anything to look after, or with. */
static void one_call_for_each(struct caller *c, struct what *what) {
    dist_job **job = calloc(c->plan->n, sizeof(dist_job *));
    CHECK(job);
    for (uint32_t i = 0; i < c->plan->n; i++) {
        dist_opts opts = {
            .size = sizeof opts, .pool = c->pool, .ctx = what, .ctx_size = sizeof *what};
        if (one_in(c, 16)) opts.timeout = 1e6;
        if (one_in(c, 16)) {
            check_single(c, i,
                         dist_apply_fn(task, &c->items[i], sizeof *c->items, &c->out[i],
                                       sizeof *c->out, &opts));
            continue;
        }
        job[i] = dist_apply_async_fn(task, &c->items[i], sizeof *c->items, &c->out[i],
                                     sizeof *c->out, &opts);
        CHECK(job[i]);
    }
    for (uint32_t i = 0; i < c->plan->n; i++) {
        bool any = job[i] && one_in(c, 8);
        if (any) CHECK(dist_job_wait_any(&job[i], 1, DIST_FOREVER) == 0);
        if (job[i]) check_single(c, i, dist_job_finish(&job[i]));
    }
    free(job);
}

static void one_call(struct caller *c) {
    dist_job *job;
    struct what what = {c->runs, c->plan->task_us};
    for (uint32_t i = 0; i < c->plan->n; i++) {
        c->out[i] = (answer){7, 7};
        atomic_store_explicit(&c->runs[i], 0, memory_order_relaxed);
    }
    atomic_fetch_add(&shared->active, 1);
    if (c->plan->singles) {
        one_call_for_each(c, &what);
        atomic_fetch_sub(&shared->active, 1);
        c->tasks += c->plan->n;
        c->calls++;
        return;
    }
    dist_status status =
        dist_map(task, c->items, c->plan->n, c->out, .pool = c->pool, .silent = true, .job = &job,
                 .ctx = &what, .ctx_size = sizeof what, .retries = c->plan->retries,
                 .workers = c->plan->workers);
    atomic_fetch_sub(&shared->active, 1);
    CHECK(status == DIST_OK);
    check_call(c, job);
    dist_job_finish(&job);
    c->tasks += c->plan->n;
    c->calls++;
}

static void *make_calls(void *arg) {
    struct caller *c = arg;
    for (double begin = now();
         c->tasks * c->plan->callers < least_tasks || now() - begin < least_seconds;)
        one_call(c);
    return NULL;
}

/* ------------------------------------------------------------------ a plan */

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void print_recovery(void) {
    unsigned times = atomic_load(&shared->times);
    uint32_t *sorted = calloc(times + 1, sizeof *sorted);
    CHECK(sorted);
    for (unsigned k = 0; k < times; k++) sorted[k] = atomic_load(&shared->recovery_us[k]);
    qsort(sorted, times, sizeof *sorted, by_number);
    if (times)
        printf("recovery %.2f ms (median of %u; 99 %% within %.2f, all within %.2f); ",
               sorted[times / 2] * 1e-3, times, sorted[times * 99ul / 100] * 1e-3,
               sorted[times - 1] * 1e-3);
    free(sorted);
}

static size_t resident_kib(void) {
    unsigned long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%lu %lu", &size, &pages) == 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void make_caller(struct caller *c, const struct plan *plan, dist_pool *pool) {
    *c = (struct caller){.plan = plan, .pool = pool, .random = random_below(1u << 30)};
    c->items = malloc(plan->n * sizeof *c->items);
    c->out = malloc(plan->n * sizeof *c->out);
    c->runs = shared_memory(plan->n);
    CHECK(c->items && c->out);
    for (uint32_t i = 0; i < plan->n; i++) c->items[i] = i;
}

static void run_plan(const struct plan *plan) {
    struct caller caller[CALLERS_MOST];
    pthread_t thread[CALLERS_MOST];
    pid_t nursery;
    shared = shared_memory(sizeof *shared);
    for (unsigned k = 0; k < plan->callers; k++) make_caller(&caller[k], plan, NULL);
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS);
    CHECK(pool && children_of(getpid(), &nursery, 1) == 1);
    pid_t test = getpid(), killer = fork();
    CHECK(killer >= 0);
    if (killer == 0) kill_at_random(test, nursery);
    for (unsigned k = 0; k < plan->callers; k++) caller[k].pool = pool;
    one_call(&caller[0]);
    struct footprint before = footprint();
    size_t kib = resident_kib();
    double begin = now();
    for (unsigned k = 0; k < plan->callers; k++)
        CHECK(pthread_create(&thread[k], NULL, make_calls, &caller[k]) == 0);
    uint64_t tasks = 0, calls = 0, crashed = 0, again = 0;
    for (unsigned k = 0; k < plan->callers; k++) {
        pthread_join(thread[k], NULL);
        tasks += caller[k].tasks, calls += caller[k].calls;
        crashed += caller[k].crashed, again += caller[k].again;
    }
    double seconds = now() - begin;
    check_footprint(before);
    size_t now_kib = resident_kib();
    kill(killer, SIGKILL);
    waitpid(killer, NULL, 0);
    dist_pool_free(&pool);
    CHECK(gone(nursery, 1));
    printf("%llu tasks in %llu calls, %u kills, %llu items crashed, %llu run again, "
           "%.0f ns per task; ",
           (unsigned long long)tasks, (unsigned long long)calls, atomic_load(&shared->kills),
           (unsigned long long)crashed, (unsigned long long)again, seconds * 1e9 / (double)tasks);
    print_recovery();
    printf("%ld KiB more; ", (long)now_kib - (long)kib);
    fflush(stdout);
    for (unsigned k = 0; k < plan->callers; k++) free(caller[k].items), free(caller[k].out);
    size_t more = plan->singles ? 8192 : 4096; /* the memory of mail is touched bit by bit */
    CHECK(SANITIZED || now_kib < kib + more);
    CHECK(SANITIZED || atomic_load(&shared->kills) >= 50);
}

static void tiny_tasks(void) { run_plan(&(struct plan){.n = 50000, .callers = 1}); }
static void tiny_tasks_with_retries(void) {
    run_plan(&(struct plan){.n = 20000, .callers = 1, .retries = 2});
}
static void several_callers(void) {
    run_plan(&(struct plan){.n = 5000, .callers = 3, .retries = 1, .task_us = 2});
}
static void half_the_workers(void) {
    run_plan(&(struct plan){.n = 1000, .callers = 2, .workers = 2, .task_us = 20});
}

static void single_items(void) {
    run_plan(&(struct plan){.n = 2000, .callers = 1, .singles = true});
}
static void single_items_of_several(void) {
    run_plan(&(struct plan){.n = 500, .callers = 3, .singles = true, .task_us = 2});
}

static struct fault_case cases[] = {
    {"tiny tasks", tiny_tasks, 60},
    {"tiny tasks that are tried again", tiny_tasks_with_retries, 60},
    {"several callers", several_callers, 60},
    {"calls in half of the workers", half_the_workers, 60},
    {"a call for each item", single_items, 60},
    {"calls for each item by several", single_items_of_several, 60},
};

int main(int argc, char **argv) {
    if (SANITIZED) least_tasks /= 10;
    if (argc > 3) least_tasks = strtoull(argv[3], NULL, 0);
    if (argc > 4) least_seconds = strtod(argv[4], NULL);
    for (size_t k = 0; argc > 3 && k < N(cases); k++)
        cases[k].seconds += (unsigned)least_seconds + 600;
    return fault_main(cases, N(cases), argc, argv);
}
