/* steps.c - a worker of a pool is killed at one of its steps, then at the next, and so on: whatever
 * it holds then (a seat, a chair, a claim, an item, a note half told), the call ends, one item is
 * crashed at most, all others are run once, and the next call is whole.
 *
 * The linker puts the functions below (--wrap) between the parts of the library that a worker goes
 * through. */
#include "fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* ------------------------------------------------------------------ steps */

static struct {
    _Atomic(long) left;  /* steps until one is the last; below 1: it was taken */
    _Atomic(int) host;   /* neither the host nor the nursery takes them */
    _Atomic(int) victim; /* who was killed */
} * steps;

static void step(void) {
    if (!steps || getpid() == atomic_load(&steps->host)) return;
    if (atomic_fetch_sub(&steps->left, 1) != 1) return;
    atomic_store(&steps->victim, getpid());
    raise(SIGKILL);
}

/* Before and after each of these. */
#define STEP_VOID(name, parameters, arguments)                                                     \
    void __real_##name parameters;                                                                 \
    void __wrap_##name parameters;                                                                 \
    void __wrap_##name parameters {                                                                \
        step();                                                                                    \
        __real_##name arguments;                                                                   \
        step();                                                                                    \
    }
#define STEP(type, name, parameters, arguments)                                                    \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters {                                                                \
        step();                                                                                    \
        type result = __real_##name arguments;                                                     \
        step();                                                                                    \
        return result;                                                                             \
    }

struct span {
    size_t begin, end;
};

STEP_VOID(dist__worker_flush, (void), ())
STEP_VOID(dist__bell_ring, (int bell, uint64_t file), (bell, file))
STEP_VOID(dist__record_enter, (void *a, const void *b, unsigned c, int d), (a, b, c, d))
STEP_VOID(dist__record_leave, (void *a), (a))
STEP_VOID(dist__arena_leave, (void *a), (a))
STEP_VOID(dist__attempt_begin, (void *a, void *b, struct span c), (a, b, c))
STEP_VOID(dist__attempt_end, (const void *a, void *b), (a, b))
STEP_VOID(dist__worker_succeeded, (void *a, void *b, struct span c), (a, b, c))
STEP_VOID(dist__worker_tell, (void *a, void *b, int c, struct span d, const void *e),
          (a, b, c, d, e))
STEP_VOID(dist__worker_end, (void *a, void *b), (a, b))
STEP(bool, dist__worker_begin, (void *a, void *b), (a, b))
STEP(struct span, dist__batch_items, (const void *a, size_t b, size_t c), (a, b, c))
STEP(uint64_t, dist__batch_next_want, (const void *a, uint64_t b, uint64_t c, uint64_t d),
     (a, b, c, d))
STEP(int, dist__hand_begin, (void *a, void *b), (a, b))
STEP(void *, dist_alloc, (size_t bytes), (bytes))

/* ------------------------------------------------------------------ the calls */

enum { ITEMS = 30, WORKERS = 3 };

static int item[ITEMS];
static long out[ITEMS];
static _Atomic(unsigned) *runs; /* of each item, by all workers */
static dist_arena *arena;

static int triple(void *result, const void *number, void *ctx) {
    int i = *(const int *)number;
    atomic_fetch_add(&runs[i], 1);
    if (ctx && i % 5 == 3 && dist_attempt() == 1) return dist_fail(5, "not yet");
    long *memory = dist_alloc(sizeof *memory);
    if (!memory) return 1;
    *memory = 3L * i;
    *(long *)result = *memory;
    return 0;
}

static int triple_chunk(void *results, const void *items, size_t n, void *ctx) {
    for (size_t k = 0; k < n; k++)
        if (triple((long *)results + k, (const int *)items + k, ctx)) dist_fail_at(k, 5, "not yet");
    return 0;
}

static int init(void **state, unsigned worker, void *user) {
    (void)worker;
    *state = user;
    return 0;
}

struct sort {
    const char *what;
    bool chunks;
    dist_opts opts;
};

#define OPTS(...)                                                                                  \
    { .size = sizeof(dist_opts), .silent = true, __VA_ARGS__ }
static struct sort sorts[] = {
    {"plain", false, OPTS(.chunk = 0)},
    {"one at a time", false, OPTS(.chunk = 1)},
    {"one worker of three", false, OPTS(.workers = 1, .chunk = 3)},
    {"two workers of three", false, OPTS(.workers = 2, .chunk = 1)},
    {"retries", false, OPTS(.retries = 2, .ctx = &item, .ctx_size = 1)},
    {"a limit", false, OPTS(.timeout = 60, .task_timeout = 60, .chunk = 2)},
    {"chunks", true, OPTS(.chunk = 4)},
    {"chunks that name, tried again", true,
     OPTS(.chunk = 4, .retries = 2, .ctx = &item, .ctx_size = 1)},
};

static dist_status call(const struct sort *sort, dist_pool *pool, dist_job **job) {
    dist_opts opts = sort->opts;
    opts.pool = pool;
    opts.job = job;
    opts.arena = arena;
    for (int i = 0; i < ITEMS; i++) out[i] = -1, atomic_store(&runs[i], 0);
    return sort->chunks ? dist_map_chunks_fn(triple_chunk, item, ITEMS, sizeof *item, out,
                                             sizeof *out, &opts)
                        : dist_map_fn(triple, item, ITEMS, sizeof *item, out, sizeof *out, &opts);
}

/* One death: with retries it costs nothing, else the item (or the chunk) that was running. */
static void check_results(const struct sort *sort, dist_job *job, bool killed) {
    size_t crashed = dist_job_failures(job), most = sort->chunks ? sort->opts.chunk : 1;
    size_t allowed = killed && !sort->opts.retries ? most : 0;
    for (size_t k = 0; crashed > allowed && k < crashed; k++) {
        const dist_error *error = dist_job_failure_at(job, k);
        printf("%s, %s: item %zu: %s\n", sort->what, killed ? "killed" : "not killed", error->index,
               error->message);
        fflush(stdout); /* a check that fails ends the process */
    }
    CHECK(crashed <= allowed);
    for (size_t i = 0; i < ITEMS; i++) {
        const dist_error *error = dist_job_outcome(job, i);
        bool twice = sort->opts.ctx && i % 5 == 3;
        unsigned times = atomic_load(&runs[i]), once = twice ? 2 : 1;
        CHECK(!error || (error->status == DIST_CRASHED && error->index == i));
        CHECK(!error || !error->signal || error->signal == SIGKILL);
        CHECK(out[i] == (error ? -1 : 3L * (long)i));
        if (sort->opts.retries) CHECK(times >= (killed ? 1 : once) && times <= 3);
        else CHECK(times == once || (error && times < once));
    }
}

/* True: somebody was killed. */
static bool call_with_death(const struct sort *sort, dist_pool *pool, long number) {
    dist_job *job = NULL;
    atomic_store(&steps->victim, 0);
    atomic_store(&steps->left, number);
    CHECK(call(sort, pool, &job) == DIST_OK);
    atomic_store(&steps->left, 0);
    nap(2e-4); /* or it is killed when the call is over */
    bool killed = atomic_load(&steps->victim) != 0;
    check_results(sort, job, killed);
    dist_job_finish(&job);
    if (!killed || number % 4) return killed;
    CHECK(call(sort, pool, &job) == DIST_OK);
    check_results(sort, job, false);
    dist_job_finish(&job);
    return true;
}

/* Each step of one call, by whoever takes it. */
static void die_step_by_step(bool inits) {
    enum { STEPS_MOST = 5000 };
    unsigned deaths = 0;
    steps = shared_memory(sizeof *steps);
    runs = shared_memory(ITEMS * sizeof *runs);
    atomic_store(&steps->host, getpid());
    for (int i = 0; i < ITEMS; i++) item[i] = i;
    dist_opts opts = {.size = sizeof opts, .executor = DIST_PROCESS, .workers = WORKERS};
    if (inits) opts.worker_init = init, opts.tasks_per_worker = 7;
    dist_pool *pool = dist_pool_open_fn(&opts);
    CHECK(pool);
    CHECK((arena = dist_arena_new(0)));
    for (size_t s = 0; s < N(sorts); s++)
        for (long number = 1, calm = 0; calm < 3; number += SANITIZED ? 1 + random_below(9) : 1) {
            CHECK(number < STEPS_MOST);
            bool killed = call_with_death(&sorts[s], pool, number);
            deaths += killed;
            calm = killed ? 0 : calm + 1; /* not all calls take as many steps */
        }
    printf("%u deaths; ", deaths);
    fflush(stdout);
    CHECK(deaths > 100);
    dist_pool_free(&pool);
    dist_arena_free(arena);
}

static void at_each_step(void) { die_step_by_step(false); }
static void at_each_step_of_short_lives(void) { die_step_by_step(true); }

static const struct fault_case cases[] = {
    {"a worker dies at each of its steps", at_each_step, 60},
    {"the same, with workers that are replaced soon", at_each_step_of_short_lives, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
