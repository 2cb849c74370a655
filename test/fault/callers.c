/* callers.c - many threads use one pool of worker processes at once, in every way there is, while
 * workers are killed, told to leave, and come back. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 300, WORKERS = 3 };

static int item[ITEMS];
static _Atomic(unsigned) *begun, *gate; /* shared with workers */

static void prepare(void) {
    begun = shared_memory(sizeof *begun);
    gate = shared_memory(sizeof *gate);
    for (int i = 0; i < ITEMS; i++) item[i] = i;
}

static dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = workers);
    CHECK(pool);
    return pool;
}

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static int await_gate(void *result, const void *number, void *ctx) {
    atomic_fetch_add(begun, 1);
    while (!atomic_load(gate)) nap(0.001);
    return triple(result, number, ctx);
}

/* ------------------------------------------------------------------ more calls than there is room
 */

static dist_pool *full_pool;

static void *wait_in_pool(void *unused) {
    long out;
    CHECK(dist_apply(await_gate, item, &out, .pool = full_pool) == DIST_OK);
    return unused;
}

static void *cancel_later(void *token) {
    nap(0.05);
    dist_token_cancel(token);
    return NULL;
}

/* Limits and tokens hold for calls that have not even got a place to wait in. */
static void more_calls_than_room(void) {
    enum { WAITERS = 40 };
    prepare();
    pthread_t thread[WAITERS], other;
    full_pool = open_pool(1);
    for (int k = 0; k < WAITERS; k++)
        CHECK(pthread_create(&thread[k], NULL, wait_in_pool, NULL) == 0);
    while (atomic_load(begun) == 0) nap(0.001);
    nap(0.05);
    long out[2];
    CHECK(dist_map(triple, item, 2, out, .pool = full_pool, .timeout = 0.1) == DIST_TIMEOUT);
    dist_token *token = dist_token_new();
    CHECK(pthread_create(&other, NULL, cancel_later, token) == 0);
    CHECK(dist_map(triple, item, 2, out, .pool = full_pool, .token = token) == DIST_CANCELLED);
    pthread_join(other, NULL);
    dist_token_free(token);
    atomic_store(gate, 1);
    for (int k = 0; k < WAITERS; k++) pthread_join(thread[k], NULL);
    CHECK(dist_map(triple, item, 2, out, .pool = full_pool) == DIST_OK && out[1] == 3);
    dist_pool_free(&full_pool);
}

/* ------------------------------------------------------------------ workers without descriptors */

static int close_all(void *result, const void *number, void *ctx) {
    for (int fd = 3; fd < 64; fd++) close(fd);
    if (*(const int *)number % 2) /* and files of their own under these numbers */
        for (int k = 0; k < 8; k++) CHECK(open("/dev/null", O_RDWR) >= 0);
    return triple(result, number, ctx);
}

static void tasks_close_all_descriptors(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    for (int round = 0; round < 10; round++) {
        long out[20];
        CHECK(dist_map(close_all, item, 20, out, .pool = pool, .chunk = 1) == DIST_OK);
        for (int i = 0; i < 20; i++) CHECK(out[i] == 3L * i);
    }
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ one call after the other */

struct words {
    uint64_t word[8];
};

static int fill_words(void *result, const void *number, void *ctx) {
    struct words *words = result;
    for (int k = 0; k < 8; k++) {
        CHECK(words->word[k] == UINT64_MAX);
        words->word[k] = ~(uint64_t) * (const int *)number;
    }
    return ctx != NULL;
}

/* They use the same memory, for other things each time; a worker that is slow to leave one call
 * does no harm to the next. */
static void calls_follow_each_other(void) {
    static struct words out[ITEMS];
    prepare();
    dist_pool *pool = open_pool(4);
    unsigned calls = 0;
    for (double limit = now() + 1.5; now() < limit; calls++) {
        size_t n = 1 + random_below(random_below(2) ? ITEMS : 8);
        memset(out, 0xff, n * sizeof *out);
        CHECK(dist_map(fill_words, item, n, out, .pool = pool, .chunk = 1) == DIST_OK);
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < 8; k++) CHECK(out[i].word[k] == ~(uint64_t)i);
    }
    printf("%u calls; ", calls);
    fflush(stdout);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ everything at once */

static _Atomic(bool) over;
static _Atomic(unsigned) calls_made, jobs_made, ended_early;

static int triple_or_what(void *result, const void *number, void *ctx) {
    int i = *(const int *)number;
    if (i % 97 == 13 && dist_attempt() == 1) raise(SIGKILL);
    if (i % 89 == 7 && dist_attempt() == 1) return dist_fail(4, "not yet");
    return triple(result, number, ctx);
}

static int look(size_t number, void *ctx) {
    (void)ctx;
    return number > 100;
}

/* What ended well is right, and the rest is as it was. */
static void check_outcome(dist_job *job, const long *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool good = !dist_job_outcome(job, i);
        CHECK(out[i] == (good ? 3L * (long)i : -1));
    }
}

static dist_opts random_opts(dist_pool *pool, dist_token *token, dist_arena *arena,
                             unsigned *state) {
    dist_opts opts = {.size = sizeof opts, .pool = pool, .silent = true, .retries = 1};
    unsigned choice = *state = *state * 1664525u + 1013904223u;
    if (choice >> 8 & 1) opts.workers = 1 + (choice >> 9) % WORKERS;
    if (choice >> 12 & 1) opts.chunk = 1 + (choice >> 13) % 16;
    if (choice >> 16 & 1) opts.arena = arena;
    if ((choice >> 17) % 8 == 0) opts.timeout = 1e-4 * (double)(choice >> 20);
    if ((choice >> 24) % 8 == 0) opts.token = token;
    return opts;
}

static void one_call(dist_pool *pool, unsigned *state) {
    long out[ITEMS];
    dist_job *job = NULL;
    dist_token *token = dist_token_new();
    dist_arena *arena = dist_arena_new(1 << 20);
    CHECK(token && arena);
    dist_opts opts = random_opts(pool, token, arena, state);
    size_t n = 1 + (*state >> 7) % ITEMS;
    memset(out, -1, sizeof out);
    if (*state >> 5 & 1) {
        job = dist_map_async_fn(triple_or_what, item, n, sizeof *item, out, sizeof *out, &opts);
        CHECK(job);
        if (*state >> 6 & 1) dist_token_cancel(token);
        if ((*state >> 3) % 8 == 0) dist_job_cancel(job, true);
        dist_job_wait(job, DIST_FOREVER);
        atomic_fetch_add(&jobs_made, 1);
    } else {
        opts.job = &job;
        dist_map_fn(triple_or_what, item, n, sizeof *item, out, sizeof *out, &opts);
        CHECK(job);
        atomic_fetch_add(&calls_made, 1);
    }
    check_outcome(job, out, n);
    dist_status status = dist_job_finish(&job);
    CHECK(status == DIST_OK || status == DIST_TIMEOUT || status == DIST_CANCELLED);
    if (status) atomic_fetch_add(&ended_early, 1);
    dist_arena_free(arena);
    dist_token_free(token);
}

struct user {
    dist_pool *pool;
    unsigned state;
};

static void *use_pool(void *arg) {
    struct user *user = arg;
    while (!atomic_load(&over)) one_call(user->pool, &user->state);
    return NULL;
}

static void *change_pool(void *arg) {
    struct user *user = arg;
    while (!atomic_load(&over)) {
        unsigned choice = user->state = user->state * 1664525u + 1013904223u;
        CHECK(dist_pool_resize(user->pool, 1 + (choice >> 8) % WORKERS) == DIST_OK);
        if ((choice >> 16) % 4 == 0) {
            dist_status status = dist_each_worker(user->pool, look, NULL);
            CHECK(status == DIST_OK || status == DIST_STATE);
        }
        nap(1e-6 * (double)((choice >> 12) % 3000));
    }
    return NULL;
}

static void everything_at_once(void) {
    enum { USERS = 4 };
    prepare();
    pthread_t thread[USERS + 1];
    struct user user[USERS + 1];
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS,
                                     .tasks_per_worker = random_below(2) ? 500 : 0);
    CHECK(pool);
    for (unsigned k = 0; k <= USERS; k++) {
        user[k] = (struct user){pool, random_below(1u << 31)};
        CHECK(pthread_create(&thread[k], NULL, k < USERS ? use_pool : change_pool, &user[k]) == 0);
    }
    nap(2);
    atomic_store(&over, true);
    for (unsigned k = 0; k <= USERS; k++) pthread_join(thread[k], NULL);
    printf("%u calls, %u jobs, %u ended early; ", calls_made, jobs_made, ended_early);
    fflush(stdout);
    dist_pool_free(&pool);
}

/* Terminated in the middle of all that: whoever waits is told. */
static void terminated_in_the_middle(void) {
    enum { USERS = 6, ROUNDS = SANITIZED ? 5 : 20 };
    prepare();
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(gate, 0);
        atomic_store(begun, 0);
        dist_pool *pool = open_pool(WORKERS);
        dist_job *job[USERS];
        static long out[USERS][20];
        for (int k = 0; k < USERS; k++) {
            job[k] = dist_map_async(await_gate, item, 20, out[k], .pool = pool);
            CHECK(job[k]);
        }
        while (atomic_load(begun) < WORKERS) nap(0.0005);
        CHECK(dist_pool_terminate(pool) == DIST_OK);
        for (int k = 0; k < USERS; k++) CHECK(dist_job_finish(&job[k]) == DIST_CANCELLED);
        CHECK(dist_pool_join(pool, DIST_FOREVER) == DIST_OK);
        dist_pool_free(&pool);
    }
}

static const struct fault_case cases[] = {
    {"more calls than there is room for", more_calls_than_room, 20},
    {"tasks close all descriptors", tasks_close_all_descriptors, 40},
    {"calls follow each other", calls_follow_each_other, 20},
    {"everything at once", everything_at_once, 30},
    {"terminated in the middle", terminated_in_the_middle, 30},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
