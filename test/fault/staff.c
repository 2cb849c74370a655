/* staff.c - pools of worker processes in which somebody kills or stops workers, or the small
 * process that makes them: calls end, and say so, and the pool goes on. */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3, ITEMS = 400 };

static int item[ITEMS];
static long out[ITEMS];
static _Atomic(unsigned) *runs; /* of each item, by all workers */
static _Atomic(int) *shared;    /* what a case wants to tell its workers */

static void prepare(void) {
    runs = shared_memory(ITEMS * sizeof *runs);
    shared = shared_memory(64 * sizeof *shared);
    for (int i = 0; i < ITEMS; i++) item[i] = i, out[i] = -1;
}

static void spin(double seconds) {
    for (double limit = now() + seconds; now() < limit;) {
    }
}

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&runs[*(const int *)number], 1);
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static int triple_slowly(void *result, const void *number, void *ctx) {
    spin(0.001);
    return triple(result, number, ctx);
}

static dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = workers);
    CHECK(pool);
    return pool;
}

static pid_t nursery_of(pid_t host) {
    pid_t child[4];
    CHECK(children_of(host, child, N(child)) == 1);
    return child[0];
}

static size_t workers_of(pid_t nursery, pid_t *worker, size_t room) {
    return children_of(nursery, worker, room);
}

static void await_workers(pid_t nursery, size_t count) {
    pid_t worker[64];
    double limit = now() + 10;
    while (workers_of(nursery, worker, N(worker)) < count) {
        CHECK(now() < limit);
        nap(0.001);
    }
}

/* Every item right, or CRASHED without a result, and none of the good ones run twice. */
static size_t check_items(dist_job *job) {
    size_t crashed = 0;
    for (int i = 0; i < ITEMS; i++) {
        const dist_error *error = dist_job_outcome(job, (size_t)i);
        CHECK(!error || error->status == DIST_CRASHED);
        CHECK(out[i] == (error ? -1 : 3L * i));
        CHECK(atomic_load(&runs[i]) == 1 || (error && atomic_load(&runs[i]) == 0));
        crashed += error != NULL;
    }
    return crashed;
}

/* A call in which nothing goes wrong. */
static void check_usable(dist_pool *pool) {
    for (int i = 0; i < ITEMS; i++) {
        out[i] = -1;
        atomic_store(&runs[i], 0);
    }
    CHECK(dist_map(triple, item, ITEMS, out, .pool = pool) == DIST_OK);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == 3L * i && atomic_load(&runs[i]) == 1);
}

/* ------------------------------------------------------------------ somebody kills */

static void nursery_killed_between_calls(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    dist_pool_free(&pool); /* the memory of arenas stays */
    struct footprint before = footprint();
    pool = open_pool(WORKERS);
    for (int round = 0; round < 10; round++) {
        check_usable(pool);
        pid_t nursery = nursery_of(getpid());
        pid_t worker[8];
        size_t count = workers_of(nursery, worker, N(worker));
        CHECK(kill(nursery, SIGKILL) == 0);
        for (size_t k = 0; k < count; k++) CHECK(gone(worker[k], 2));
    }
    check_usable(pool);
    dist_pool_free(&pool);
    check_footprint(before);
}

/* A host that adopts orphans is left with none. */
static void nursery_killed_in_a_reaper(void) {
    prepare();
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    dist_pool *pool = open_pool(WORKERS);
    for (int round = 0; round < 3; round++) {
        check_usable(pool);
        await_workers(nursery_of(getpid()), WORKERS);
        nap(0.05); /* they are ready, too */
        CHECK(kill(nursery_of(getpid()), SIGKILL) == 0);
        nap(0.05);
        if (round < 2) check_usable(pool);
    }
    dist_pool_free(&pool);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

struct killer {
    double after;
    pid_t victim;
    int signal;
};

static void *kill_later(void *arg) {
    struct killer *killer = arg;
    nap(killer->after);
    CHECK(kill(killer->victim, killer->signal) == 0 || errno == ESRCH);
    return NULL;
}

static void nursery_killed_during_calls(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    size_t crashed = 0;
    for (int round = 0; round < (SANITIZED ? 4 : 12); round++) {
        dist_job *job;
        pthread_t thread;
        struct killer killer = {1e-3 * random_below(80), nursery_of(getpid()), SIGKILL};
        for (int i = 0; i < ITEMS; i++) out[i] = -1, atomic_store(&runs[i], 0);
        CHECK(pthread_create(&thread, NULL, kill_later, &killer) == 0);
        CHECK(dist_map(triple_slowly, item, ITEMS, out, .pool = pool, .silent = true,
                       .job = &job) == DIST_OK);
        pthread_join(thread, NULL);
        size_t lost = check_items(job);
        CHECK(lost <= WORKERS);
        crashed += lost;
        dist_job_finish(&job);
    }
    CHECK(crashed > 0);
    check_usable(pool);
    dist_pool_free(&pool);
}

static void nursery_dies_again_and_again(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    pid_t test = getpid(), killer = fork();
    CHECK(killer >= 0);
    while (killer == 0) {
        pid_t child[8];
        if (getppid() != test) _exit(0);
        size_t count = children_of(test, child, N(child));
        if (count) kill(child[0], SIGKILL);
        nap(1e-3 * (1 + random_below(30)));
    }
    for (double limit = now() + (SANITIZED ? 4 : 1.5); now() < limit;) {
        dist_status status = dist_map(triple, item, ITEMS, out, .pool = pool, .silent = true);
        /* it may also be that no worker lives long enough */
        CHECK(status == DIST_OK || status == DIST_SYSTEM || status == DIST_CRASHED);
    }
    kill(killer, SIGKILL);
    CHECK(gone(killer, 1));
    nap(0.1); /* workers of the last one that it has killed */
    check_usable(pool);
    dist_pool_free(&pool);
}

/* One place for workers: whoever is killed on the way to it must not take it away. */
static void places_are_not_lost(void) {
    prepare();
    dist_pool *pool = open_pool(4);
    pid_t nursery = nursery_of(getpid()), test = getpid(), killer = fork();
    CHECK(killer >= 0);
    while (killer == 0) {
        pid_t child[8];
        if (getppid() != test) _exit(0);
        size_t count = workers_of(nursery, child, N(child));
        if (count) kill(child[random_below((uint32_t)count)], SIGKILL);
        nap(1e-6 * random_below(SANITIZED ? 40000 : 1000));
    }
    unsigned calls = 0, crashed = 0;
    for (double limit = now() + (SANITIZED ? 4 : 2); now() < limit; calls++) {
        dist_job *job;
        for (int i = 0; i < ITEMS; i++) atomic_store(&runs[i], 0), out[i] = -1;
        dist_status status = dist_map(triple, item, 20, out, .pool = pool, .silent = true,
                                      .workers = 1, .job = &job);
        CHECK(status == DIST_OK);
        for (size_t i = 0; i < 20; i++) {
            crashed += dist_job_outcome(job, i) != NULL;
            CHECK(out[i] == (dist_job_outcome(job, i) ? -1 : 3L * (long)i));
        }
        dist_job_finish(&job);
    }
    kill(killer, SIGKILL);
    CHECK(gone(killer, 1));
    printf("%u calls, %u items crashed; ", calls, crashed);
    fflush(stdout);
    check_usable(pool);
    dist_pool_free(&pool);
}

static int crash(void *result, const void *number, void *ctx) {
    (void)result, (void)ctx;
    atomic_fetch_add(&runs[*(const int *)number], 1);
    raise(SIGKILL);
    return 0;
}

/* Deaths that tasks explain cost no pauses. */
static void every_task_crashes(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    dist_job *job;
    double begin = now();
    CHECK(dist_map(crash, item, ITEMS, out, .pool = pool, .silent = true, .job = &job) == DIST_OK);
    printf("%.1f ms for each; ", (now() - begin) * 1e3 / ITEMS);
    fflush(stdout);
    for (size_t i = 0; i < ITEMS; i++) {
        const dist_error *error = dist_job_outcome(job, i);
        CHECK(error && error->status == DIST_CRASHED && error->signal == SIGKILL);
        CHECK(atomic_load(&runs[i]) == 1);
    }
    dist_job_finish(&job);
    check_usable(pool);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ somebody stops */

static int stop_oneself(void *result, const void *number, void *ctx) {
    if (*(const int *)number == 7) raise(SIGSTOP);
    return triple(result, number, ctx);
}

static void a_task_stops_its_worker(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    dist_job *job;
    CHECK(dist_map(stop_oneself, item, ITEMS, out, .pool = pool, .silent = true, .job = &job,
                   .task_timeout = 0.2) == DIST_OK);
    CHECK(dist_job_failures(job) == 1 && dist_job_failure_at(job, 0)->index == 7);
    CHECK(dist_job_failure_at(job, 0)->status == DIST_TIMEOUT);
    dist_job_finish(&job);
    check_usable(pool);
    dist_pool_free(&pool);
}

/* With a limit the call ends also if a worker is stopped between two tasks. */
static void idle_worker_stopped(void) {
    prepare();
    dist_pool *pool = open_pool(1);
    check_usable(pool);
    pid_t nursery = nursery_of(getpid()), worker;
    CHECK(workers_of(nursery, &worker, 1) == 1);
    CHECK(kill(worker, SIGSTOP) == 0);
    CHECK(dist_map(triple, item, ITEMS, out, .pool = pool, .timeout = 0.2) == DIST_TIMEOUT);
    CHECK(kill(worker, SIGCONT) == 0);
    check_usable(pool);
    CHECK(kill(worker, SIGSTOP) == 0);
    dist_pool_free(&pool); /* it ends, too */
    CHECK(gone(worker, 2));
}

static void nursery_stopped(void) {
    prepare();
    dist_pool *pool = open_pool(2);
    check_usable(pool);
    pid_t nursery = nursery_of(getpid()), worker[2];
    await_workers(nursery, 2);
    CHECK(workers_of(nursery, worker, 2) == 2);
    CHECK(kill(nursery, SIGSTOP) == 0);
    check_usable(pool); /* its workers are all there is to it */
    CHECK(kill(worker[0], SIGKILL) == 0 && kill(worker[1], SIGKILL) == 0);
    CHECK(gone(worker[0], 2) && gone(worker[1], 2));
    check_usable(pool); /* it is made to go on */
    CHECK(kill(nursery_of(getpid()), SIGSTOP) == 0);
    dist_pool_free(&pool);
    CHECK(gone(nursery, 2));
}

/* ------------------------------------------------------------------ workers that cannot begin */

static int init_by_orders(void **state, unsigned worker, void *user) {
    (void)worker, (void)user;
    switch (atomic_load(shared)) {
    case 1: return dist_fail(5, "not today");
    case 2: raise(SIGKILL); return 0;
    case 3: exit(9);
    case 4: nap(100); return 0;
    }
    *state = item;
    return 0;
}

static void worker_init_goes_wrong(void) {
    prepare();
    dist_pool *pool =
        dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS, .worker_init = init_by_orders);
    CHECK(pool);
    for (int order = 1; order <= 3; order++) {
        atomic_store(shared, order);
        for (int i = 0; i < ITEMS; i++) atomic_store(&runs[i], 0);
        dist_status status = dist_map(triple, item, ITEMS, out, .pool = pool);
        CHECK(status == (order == 1 ? DIST_FAILED : DIST_CRASHED));
        CHECK(order != 1 || strstr(dist_last_error()->message, "not today"));
        CHECK(atomic_load(&runs[0]) == 0);
        atomic_store(shared, 0);
        check_usable(pool);
        if (order == 1) { /* those that are ready would not run it again */
            pid_t worker[8];
            size_t count = workers_of(nursery_of(getpid()), worker, N(worker));
            for (size_t k = 0; k < count; k++) kill(worker[k], SIGKILL);
            for (size_t k = 0; k < count; k++) CHECK(gone(worker[k], 2));
        } else {
            dist_pool_free(&pool);
            pool = dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS,
                                  .worker_init = init_by_orders);
            CHECK(pool);
        }
    }
    dist_pool_free(&pool);
}

/* The limit of a call holds for the init of its workers, too. */
static void worker_init_that_lasts(void) {
    prepare();
    atomic_store(shared, 4);
    dist_pool *pool =
        dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS, .worker_init = init_by_orders);
    CHECK(pool);
    CHECK(dist_map(triple, item, ITEMS, out, .pool = pool, .timeout = 0.1) == DIST_TIMEOUT);
    atomic_store(shared, 0);
    check_usable(pool);
    dist_pool_free(&pool);
}

static void die_if_ordered(void) {
    if (atomic_load(shared) == 1 && getppid() != atomic_load(shared + 1)) raise(SIGKILL);
}

/* As soon as they are forked, the nursery's children; then the pool gets better. */
static void workers_die_at_once(void) {
    prepare();
    atomic_store(shared + 1, getpid());
    CHECK(pthread_atfork(NULL, NULL, die_if_ordered) == 0);
    atomic_store(shared, 1);
    dist_pool *pool = open_pool(WORKERS);
    dist_status status = dist_map(triple, item, ITEMS, out, .pool = pool);
    CHECK(status == DIST_SYSTEM || status == DIST_CRASHED);
    CHECK(strlen(dist_last_error()->message) > 0);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == -1 && atomic_load(&runs[i]) == 0);
    atomic_store(shared, 0);
    check_usable(pool);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ fewer workers */

static int on_its_own(size_t number, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&runs[number], 1);
    if (number == 0) nap(0.05);
    return 0;
}

static void *resize_later(void *pool) {
    nap(0.01);
    CHECK(dist_pool_resize(pool, 1) == DIST_OK);
    return NULL;
}

/* A worker that has been invited to do its part leaves instead. */
static void each_worker_while_they_leave(void) {
    prepare();
    for (int round = 0; round < 5; round++) {
        dist_pool *pool = open_pool(WORKERS);
        pid_t nursery = nursery_of(getpid()), worker[8];
        await_workers(nursery, WORKERS);
        check_usable(pool);
        size_t count = workers_of(nursery, worker, N(worker));
        for (size_t k = 0; k < count; k++) CHECK(kill(worker[k], SIGSTOP) == 0);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, resize_later, pool) == 0);
        pthread_t other[8];
        struct killer waker[8];
        for (size_t k = 0; k < count; k++) {
            waker[k] = (struct killer){0.03, worker[k], SIGCONT};
            CHECK(pthread_create(&other[k], NULL, kill_later, &waker[k]) == 0);
        }
        dist_status status = dist_each_worker(pool, on_its_own, NULL);
        CHECK(status == DIST_OK || status == DIST_STATE);
        pthread_join(thread, NULL);
        for (size_t k = 0; k < count; k++) pthread_join(other[k], NULL);
        dist_pool_free(&pool);
    }
}

static int on_its_own_or_die(size_t number, void *ctx) {
    atomic_fetch_add(&runs[number], 1);
    if (atomic_fetch_add(shared, 1) % 3 == 0) raise(SIGKILL);
    return ctx ? 1 : 0;
}

static void each_worker_with_deaths(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < WORKERS; i++) atomic_store(&runs[i], 0);
        dist_status status = dist_each_worker(pool, on_its_own_or_die, NULL);
        CHECK(status == DIST_CRASHED);
        CHECK(dist_last_error()->signal == SIGKILL);
        size_t index = dist_last_error()->index;
        CHECK(index < WORKERS);
        for (size_t i = 0; i < WORKERS; i++) CHECK(atomic_load(&runs[i]) == 1 || i > index);
    }
    check_usable(pool);
    dist_pool_free(&pool);
}

static const struct fault_case cases[] = {
    {"the nursery is killed between calls", nursery_killed_between_calls, 20},
    {"the nursery is killed, and its host adopts orphans", nursery_killed_in_a_reaper, 20},
    {"the nursery is killed during calls", nursery_killed_during_calls, 40},
    {"the nursery is killed again and again", nursery_dies_again_and_again, 20},
    {"places are not lost with those who die on the way", places_are_not_lost, 20},
    {"every task crashes", every_task_crashes, 20},
    {"a task stops its worker", a_task_stops_its_worker, 20},
    {"a worker is stopped while it is idle", idle_worker_stopped, 20},
    {"the nursery is stopped", nursery_stopped, 20},
    {"worker_init goes wrong", worker_init_goes_wrong, 30},
    {"worker_init lasts", worker_init_that_lasts, 20},
    {"workers die at once", workers_die_at_once, 30},
    {"each worker, while they leave", each_worker_while_they_leave, 20},
    {"each worker, and some die", each_worker_with_deaths, 20},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
