/* chaos.c - while a call runs, its workers are killed at random moments. Every kill costs one item
 * at most, all other results are right, and nothing is left behind.
 *
 * The killer is a process of its own, so that the test has one thread. It finds workers among the
 * children of the test, and kills through a pidfd that it has opened before it looked a second
 * time: so a process id that was used again hits nobody else. */
#include "fault.h"

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

enum { WORKERS = 4, KILLS_WANTED = 60, PAUSE_US = 400, SECONDS_MOST = 20, SECONDS_LEAST = 2 };

static struct {
    _Atomic(unsigned) kills;
    _Atomic(bool) active;
    _Atomic(bool)
        patient; /* kills nobody before a task has begun since the last kill, so that it */
    _Atomic(bool)
        progress; /* is never five times in a row that workers die before they run anything */
} * killer;

/* ------------------------------------------------------------------ the killer */

static bool is_among(pid_t pid, const pid_t *child, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (child[i] == pid) return true;
    return false;
}

static bool kill_one(pid_t parent) {
    pid_t child[64];
    size_t count = children_of(parent, child, N(child));
    if (count == 0) return false;
    pid_t victim = child[random_below((uint32_t)count)];
    int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
    if (pidfd < 0) return false;
    bool still = is_among(victim, child, children_of(parent, child, N(child)));
    bool killed = still && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
    close(pidfd);
    return killed;
}

_Noreturn static void kill_at_random(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) {
        nap(1e-6 * (PAUSE_US / 2 + random_below(PAUSE_US)));
        if (!atomic_load(&killer->active)) continue;
        if (atomic_load(&killer->patient) && !atomic_load(&killer->progress)) continue;
        atomic_store(&killer->progress, false);
        if (kill_one(parent)) atomic_fetch_add(&killer->kills, 1);
    }
    _exit(0);
}

static pid_t start_killer(void) {
    killer = shared_memory(sizeof *killer);
    pid_t test = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) kill_at_random(test);
    return pid;
}

static void check_prerequisites(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    if (access(path, R_OK)) skip("the kernel does not list children");
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (pidfd < 0) skip("the kernel has no pidfd");
    close(pidfd);
}

/* ------------------------------------------------------------------ the calls */

typedef struct {
    uint64_t value, check;
} answer;

static _Atomic(uint8_t) *starts; /* of each item in this call, by all workers */

static answer right_answer(uint64_t item) { return (answer){item * 3 + 1, ~item}; }

static int tiny(void *result, const void *item, void *ctx) {
    (void)ctx;
    atomic_fetch_add_explicit(&starts[*(const uint32_t *)item], 1, memory_order_relaxed);
    if (!atomic_load_explicit(&killer->progress, memory_order_relaxed))
        atomic_store_explicit(&killer->progress, true, memory_order_relaxed);
    *(answer *)result = right_answer(*(const uint32_t *)item);
    return 0;
}

static int of_50_us(void *result, const void *item, void *ctx) {
    int failed = tiny(result, item, ctx);
    for (double limit = now() + 50e-6; now() < limit;) {
    }
    return failed;
}

static int tiny_chunk(void *results, const void *items, size_t n, void *ctx) {
    for (size_t k = 0; k < n; k++) tiny((answer *)results + k, (const uint32_t *)items + k, ctx);
    return 0;
}

struct plan {
    const char *name;
    dist_fn fn;
    dist_chunk_fn chunk_fn; /* instead of fn */
    uint32_t n;
    size_t chunk;
    bool storm; /* kills follow each other so fast that the call may give up */
};

struct total {
    uint64_t tasks;
    size_t crashed, given_up;
    double seconds;
};

static dist_status call(const struct plan *plan, const uint32_t *items, answer *out,
                        dist_job **job) {
    if (plan->chunk_fn)
        return dist_process_map_chunks(plan->chunk_fn, items, plan->n, out, .workers = WORKERS,
                                       .chunk = plan->chunk, .silent = true, .job = job);
    return dist_process_map(plan->fn, items, plan->n, out, .workers = WORKERS, .chunk = plan->chunk,
                            .silent = true, .job = job);
}

/* An item whose worker was killed; or, in a storm, where the call gave up and what lies above. */
static void check_error(const struct plan *plan, const dist_error *error, size_t i,
                        struct total *total) {
    bool by_kill = error->status == DIST_CRASHED && error->signal == SIGKILL;
    bool gave_up = error->status == DIST_CRASHED && error->signal == 0;
    if (!by_kill && error->status != DIST_SKIPPED) printf("item %zu: %s; ", i, error->message);
    CHECK(error->index == i);
    CHECK(by_kill || (plan->storm && (gave_up || error->status == DIST_SKIPPED)));
    CHECK(!by_kill || strstr(error->message, "SIGKILL"));
    total->crashed += by_kill;
    total->given_up += gave_up;
}

/* Good items have their result, all others what out held before; no item was started twice. */
static void check_items(const struct plan *plan, dist_job *job, const answer *out,
                        struct total *total) {
    for (uint32_t i = 0; i < plan->n; i++) {
        answer expected = right_answer(i);
        const dist_error *error = dist_job_outcome(job, i);
        CHECK(starts[i] <= 1 && (error || starts[i] == 1));
        if (error) {
            check_error(plan, error, i, total);
            expected = (answer){7, 7};
        }
        CHECK(out[i].value == expected.value && out[i].check == expected.check);
    }
}

static void one_call(const struct plan *plan, uint32_t *items, answer *out, struct total *total) {
    dist_job *job;
    struct footprint before = footprint();
    for (uint32_t i = 0; i < plan->n; i++) {
        out[i] = (answer){7, 7};
        atomic_store_explicit(&starts[i], 0, memory_order_relaxed);
    }
    double begin = now();
    unsigned kills = atomic_load(&killer->kills);
    atomic_store(&killer->active, true);
    dist_status status = call(plan, items, out, &job);
    atomic_store(&killer->active, false);
    total->seconds += now() - begin;
    total->tasks += plan->n;
    CHECK(status == DIST_OK || (plan->storm && status == DIST_CRASHED));
    size_t crashed = total->crashed, each = plan->chunk_fn ? plan->chunk : 1;
    check_items(plan, job, out, total);
    nap(0.002); /* a kill that was under way has been counted then */
    CHECK(total->crashed - crashed <= (atomic_load(&killer->kills) - kills) * each);
    dist_job_finish(&job);
    check_footprint(before);
}

static void run_plan(const struct plan *plan) {
    struct total total = {0};
    check_prerequisites();
    uint32_t *items = malloc(plan->n * sizeof *items);
    answer *out = malloc(plan->n * sizeof *out);
    CHECK(items && out);
    for (uint32_t i = 0; i < plan->n; i++) items[i] = i;
    starts = shared_memory(plan->n);
    pid_t pid = start_killer();
    atomic_store(&killer->patient, !plan->storm);
    unsigned calls = 0;
    for (double begin = now(); now() - begin < SECONDS_MOST; calls++) {
        if (now() - begin > SECONDS_LEAST && atomic_load(&killer->kills) >= KILLS_WANTED) break;
        one_call(plan, items, out, &total);
    }
    unsigned kills = atomic_load(&killer->kills);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    printf("%u calls, %u kills, %zu items crashed, %.0f ns per task; ", calls, kills, total.crashed,
           total.seconds * 1e9 / (double)total.tasks);
    if (plan->storm) printf("%zu calls gave up; ", total.given_up);
    fflush(stdout);
    CHECK(SANITIZED || kills >= 50);
    free(items);
    free(out);
}

static void tiny_tasks(void) { run_plan(&(struct plan){.fn = tiny, .n = 200000}); }
static void tiny_tasks_one_by_one(void) {
    run_plan(&(struct plan){.fn = tiny, .n = 100000, .chunk = 1});
}
static void tiny_tasks_in_units(void) {
    run_plan(&(struct plan){.fn = tiny, .n = 200000, .chunk = 1000});
}
static void storm(void) {
    run_plan(&(struct plan){.fn = tiny, .n = 200000, .chunk = 1000, .storm = true});
}
static void tasks_of_50_us(void) { run_plan(&(struct plan){.fn = of_50_us, .n = 1000}); }
static void tasks_of_50_us_in_units(void) {
    run_plan(&(struct plan){.fn = of_50_us, .n = 1000, .chunk = 7});
}
static void chunk_functions(void) {
    run_plan(&(struct plan){.chunk_fn = tiny_chunk, .n = 200000, .chunk = 50});
}

static const struct fault_case cases[] = {
    {"tiny tasks", tiny_tasks, 60},
    {"tiny tasks, one by one", tiny_tasks_one_by_one, 60},
    {"tiny tasks in units of 1000", tiny_tasks_in_units, 60},
    {"a storm of kills", storm, 60},
    {"tasks of 50 us", tasks_of_50_us, 60},
    {"tasks of 50 us in units of 7", tasks_of_50_us_in_units, 60},
    {"a chunk function", chunk_functions, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
