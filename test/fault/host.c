/* host.c - what becomes of a pool of worker processes, and of its host, when the host ends, forks,
 * closes descriptors that are not its own, or has no room for processes or memory. */
#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 3, ITEMS = 300 };
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

_Noreturn static void go_on_for_ever(void) {
    atomic_fetch_add(started, 1);
    for (;;) nap(1);
}

static int last_for_ever(size_t index, void *ctx) {
    (void)index, (void)ctx;
    go_on_for_ever();
}

static int map_for_ever(void *result, const void *number, void *ctx) {
    (void)result, (void)number, (void)ctx;
    go_on_for_ever();
}

static dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = workers);
    CHECK(pool);
    return pool;
}

static void check_usable(dist_pool *pool) {
    for (int i = 0; i < ITEMS; i++) out[i] = -1;
    CHECK(dist_map(triple, item, ITEMS, out, .pool = pool) == DIST_OK);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == 3L * i);
}

/* ------------------------------------------------------------------ the host ends */

enum end { BY_KILL, BY_EXIT, BY_QUICK_EXIT, BY_ABORT, BY_TERMINAL, BY_EXEC, ENDS };

struct plan {
    enum end end;
    bool other_thread; /* opens the pool, and has ended */
    bool sibling;      /* another child of the host has its descriptors */
    bool stopped;      /* the nursery is */
    bool busy;         /* the workers are */
};

static dist_pool *pool_of_host;

static void *open_in_thread(void *unused) {
    pool_of_host = open_pool(WORKERS);
    return unused;
}

static void *run_for_ever(void *unused) {
    dist_for(last_for_ever, WORKERS, .pool = pool_of_host);
    return unused;
}

_Noreturn static void be_host(const struct plan *plan, int line) {
    pthread_t thread;
    if (plan->end == BY_TERMINAL) setpgid(0, 0);
    if (plan->other_thread) {
        CHECK(pthread_create(&thread, NULL, open_in_thread, NULL) == 0);
        pthread_join(thread, NULL);
    } else {
        open_in_thread(NULL);
    }
    pid_t child[4];
    check_usable(pool_of_host);
    CHECK(children_of(getpid(), child, N(child)) == 1);
    pid_t sibling = plan->sibling ? fork() : -1;
    if (sibling == 0) {
        nap(4);
        _exit(0);
    }
    atomic_store(started, 0);
    if (plan->busy) {
        CHECK(pthread_create(&thread, NULL, run_for_ever, NULL) == 0);
        while (atomic_load(started) < WORKERS) nap(0.001);
    }
    if (plan->stopped) CHECK(kill(child[0], SIGSTOP) == 0);
    CHECK(write(line, child, sizeof *child) == sizeof *child);
    switch (plan->end) {
    case BY_KILL: raise(SIGKILL); break;
    case BY_EXIT: exit(0);
    case BY_ABORT: abort();
    case BY_TERMINAL: kill(0, SIGINT); break; /* to all processes there */
    case BY_EXEC: execl("/bin/sleep", "sleep", "3", (char *)NULL); break;
    case BY_QUICK_EXIT:
    case ENDS: break;
    }
    _exit(0);
}

static void end_host(const struct plan *plan) {
    int line[2];
    pid_t nursery, worker[8];
    CHECK(pipe2(line, O_CLOEXEC) == 0);
    pid_t host = fork();
    CHECK(host >= 0);
    if (host == 0) be_host(plan, line[1]);
    close(line[1]);
    CHECK(read(line[0], &nursery, sizeof nursery) == sizeof nursery);
    size_t count = children_of(nursery, worker, N(worker));
    CHECK(gone(nursery, SANITIZED ? 4 : 1));
    for (size_t k = 0; k < count; k++) CHECK(gone(worker[k], 1));
    kill(host, SIGKILL);
    CHECK(waitpid(host, NULL, 0) == host);
    close(line[0]);
}

static void host_ends(void) {
    prepare();
    for (enum end end = BY_KILL; end < ENDS; end++)
        for (int busy = 0; busy < 2; busy++) {
            end_host(&(struct plan){.end = end, .busy = busy});
            end_host(&(struct plan){.end = end, .busy = busy, .other_thread = true});
            if (end != BY_EXEC) end_host(&(struct plan){.end = end, .busy = busy, .sibling = true});
        }
}

static void host_ends_with_a_stopped_nursery(void) {
    prepare();
    end_host(&(struct plan){.end = BY_KILL, .stopped = true});
    end_host(&(struct plan){.end = BY_KILL, .stopped = true, .busy = true, .other_thread = true});
}

/* ------------------------------------------------------------------ descriptors */

/* Files of the host now have the numbers of the pool's descriptors: nothing is written to them,
 * nothing read from them, and they stay open. */
static void descriptors_closed(void) {
    enum { FILES = 64 };
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    check_usable(pool);
    pid_t nursery;
    CHECK(children_of(getpid(), &nursery, 1) == 1);
    for (int fd = 3; fd < 256; fd++) close(fd);
    int pair[FILES][2];
    for (int k = 0; k < FILES; k++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[k]) == 0);
        CHECK(write(pair[k][0], "0123456789", 10) == 10);
        CHECK(write(pair[k][1], "0123456789", 10) == 10);
    }
    if (random_below(2)) CHECK(gone(nursery, 2));
    for (int round = 0; round < 3; round++) {
        dist_status status = dist_map(triple, item, ITEMS, out, .pool = pool, .silent = true);
        CHECK(status == DIST_OK); /* if it was not over with the nursery, items may have crashed */
    }
    check_usable(pool);
    CHECK(dist_pool_resize(pool, 1) == DIST_OK);
    check_usable(pool);
    dist_pool_free(&pool);
    for (int k = 0; k < 2 * FILES; k++) {
        char text[32];
        CHECK(read(pair[k / 2][k % 2], text, sizeof text) == 10 && !memcmp(text, "0123456789", 10));
    }
}

/* The same while a call runs: pidfds are among them. */
static void descriptors_closed_in_a_call(void) {
    enum { FILES = 32 };
    if (THREAD_SANITIZED) skip("it takes that for a race");
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    dist_job *job = dist_map_async(map_for_ever, item, WORKERS, out, .pool = pool, .silent = true);
    while (atomic_load(started) < WORKERS) nap(0.001);
    nap(0.02);
    for (int fd = 3; fd < 256; fd++) close(fd);
    for (int k = 0; k < FILES; k++) CHECK(open("/dev/zero", O_RDONLY) >= 3);
    CHECK(dist_job_wait(job, 0.05) == DIST_TIMEOUT || dist_job_failures(job) == WORKERS);
    dist_job_cancel(job, true);
    CHECK(dist_job_wait(job, DIST_FOREVER) != DIST_TIMEOUT);
    dist_job_finish(&job);
    check_usable(pool);
    dist_pool_free(&pool);
    for (int fd = 3; fd < 3 + FILES; fd++) CHECK(fcntl(fd, F_GETFD) >= 0);
}

/* ------------------------------------------------------------------ its other children */

static _Atomic(bool) reaping;

static void *reap_everything(void *unused) {
    while (atomic_load(&reaping))
        if (waitpid(-1, NULL, WNOHANG) <= 0) nap(1e-4);
    return unused;
}

static int kill_oneself(void *result, const void *number, void *ctx) {
    if (*(const int *)number % 100 == 50) raise(SIGKILL);
    return triple(result, number, ctx);
}

static void calls_with_crashes(dist_pool *pool) {
    dist_job *job;
    CHECK(dist_map(kill_oneself, item, ITEMS, out, .pool = pool, .silent = true, .job = &job) ==
          DIST_OK);
    CHECK(dist_job_failures(job) == ITEMS / 100);
    for (size_t k = 0; k < ITEMS / 100; k++) {
        const dist_error *error = dist_job_failure_at(job, k);
        CHECK(error->index == 100 * k + 50);
        CHECK(error->status == DIST_CRASHED && error->signal == SIGKILL);
    }
    dist_job_finish(&job);
}

/* And with it its workers: the next call shall not meet one that is about to die. */
static void kill_nursery(void) {
    pid_t nursery, worker[8];
    CHECK(children_of(getpid(), &nursery, 1) == 1);
    size_t count = children_of(nursery, worker, N(worker));
    CHECK(kill(nursery, SIGKILL) == 0);
    for (size_t k = 0; k < count; k++) CHECK(gone(worker[k], 2));
}

static void host_reaps_everything(void) {
    prepare();
    pthread_t thread;
    atomic_store(&reaping, true);
    CHECK(pthread_create(&thread, NULL, reap_everything, NULL) == 0);
    dist_pool *pool = open_pool(WORKERS);
    for (int round = 0; round < 5; round++) {
        check_usable(pool);
        calls_with_crashes(pool);
        kill_nursery();
    }
    check_usable(pool);
    dist_pool_free(&pool);
    atomic_store(&reaping, false);
    pthread_join(thread, NULL);
}

static void host_ignores_sigchld(void) {
    prepare();
    signal(SIGCHLD, SIG_IGN);
    dist_pool *pool = open_pool(WORKERS);
    for (int round = 0; round < 5; round++) {
        check_usable(pool);
        calls_with_crashes(pool);
        kill_nursery();
    }
    dist_pool_free(&pool);
}

/* A child of the host has no pool, and does it no harm. */
static void host_forks_while_calls_run(void) {
    prepare();
    dist_pool *pool = open_pool(WORKERS);
    for (int round = 0; round < 30; round++) {
        dist_job *job = dist_map_async(triple, item, ITEMS, out, .pool = pool);
        CHECK(job);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            long own[2];
            CHECK(dist_map(triple, item, 2, own, .pool = pool) == DIST_UNSUPPORTED);
            CHECK(!dist_map_async(triple, item, 2, own, .pool = pool));
            CHECK(dist_each_worker(pool, last_for_ever, NULL) == DIST_UNSUPPORTED);
            CHECK(dist_pool_resize(pool, 1) == DIST_UNSUPPORTED);
            CHECK(dist_pool_close(pool) == DIST_UNSUPPORTED);
            CHECK(dist_pool_terminate(pool) == DIST_UNSUPPORTED);
            CHECK(dist_pool_join(pool, 0) == DIST_UNSUPPORTED);
            CHECK(dist_pool_wait(pool, 0) == DIST_UNSUPPORTED);
            dist_pool_free(&pool);
            CHECK(!pool);
            if (!THREAD_SANITIZED) { /* but one of its own */
                pool = open_pool(1);
                CHECK(dist_map(triple, item, 2, own, .pool = pool) == DIST_OK && own[1] == 3);
                dist_pool_free(&pool);
            }
            _exit(0);
        }
        int status;
        CHECK(dist_job_wait(job, DIST_FOREVER) == DIST_OK);
        for (int i = 0; i < ITEMS; i++) CHECK(out[i] == 3L * i);
        dist_job_finish(&job);
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ no room */

static void no_process_at_all(void) {
    prepare();
    forbid_new_processes();
    CHECK(!dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS));
    CHECK(dist_last_error()->status == DIST_SYSTEM && dist_last_error()->code == EAGAIN);
}

static void room_for_the_nursery_only(void) {
    prepare();
    become_user_with(OWN_TASKS + 1);
    dist_pool *pool = open_pool(WORKERS);
    CHECK(dist_map(triple, item, ITEMS, out, .pool = pool) == DIST_SYSTEM);
    CHECK(strlen(dist_last_error()->message) > 0 && atomic_load(started) == 0);
    dist_pool_free(&pool);
}

static void room_for_one_worker(void) {
    if (THREAD_SANITIZED) skip("the nursery has a thread of its sanitizer, too");
    prepare();
    become_user_with(OWN_TASKS + 2);
    dist_pool *pool = open_pool(WORKERS);
    check_usable(pool);
    calls_with_crashes(pool);
    check_usable(pool);
    dist_pool_free(&pool);
}

static void limit_memory(size_t more) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    size_t bytes = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, RLIM_INFINITY}) == 0);
}

/* Pools fit, or say that they do not; and they leave most of what there is to the program. */
static void little_memory(void) {
    enum { REFUSED = 3 };
    if (SANITIZED) skip("a sanitizer needs all of the address space");
    prepare();
    unsigned opened = 0, refused = 0;
    for (size_t more = 0; more <= (size_t)4 << 30; more = more * 2 + 65536) {
        setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
        int status;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            limit_memory(more);
            dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS);
            if (!pool) {
                CHECK(dist_last_error()->status == DIST_NOMEM);
                _exit(REFUSED);
            }
            for (int i = 0; i < ITEMS; i++) out[i] = -1;
            dist_status done = dist_map(triple, item, ITEMS, out, .pool = pool);
            CHECK(done == DIST_OK || done == DIST_NOMEM);
            void *memory = malloc(more / 2);
            CHECK(memory || more < (size_t)64 << 20);
            free(memory);
            dist_pool_free(&pool);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == REFUSED);
        *(WEXITSTATUS(status) ? &refused : &opened) += 1;
    }
    printf("%u opened, %u refused; ", opened, refused);
    fflush(stdout);
    CHECK(opened > 0 && refused > 0);
}

/* ------------------------------------------------------------------ again and again */

static size_t resident_kib(void) {
    unsigned long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%lu %lu", &size, &pages) == 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void opened_and_freed_often(void) {
    enum { CYCLES = SANITIZED ? 100 : 1000 };
    prepare();
    struct footprint before = footprint();
    size_t kib = 0;
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        dist_pool *pool = open_pool(1 + (unsigned)cycle % 3);
        dist_arena *arena = dist_arena_new(1 << 20);
        CHECK(arena);
        CHECK(dist_map(triple, item, 20, out, .pool = pool, .arena = arena) == DIST_OK);
        CHECK(out[19] == 57);
        dist_pool_free(&pool);
        dist_arena_free(arena);
        if (cycle == CYCLES / 10) before = footprint(), kib = resident_kib();
    }
    check_footprint(before);
    size_t grown = resident_kib() - kib;
    printf("%zu KiB more; ", resident_kib() > kib ? grown : 0);
    fflush(stdout);
    CHECK(SANITIZED || resident_kib() <= kib + 512);
}

/* ------------------------------------------------------------------ locks of other threads */

static _Atomic(bool) busy;

static void *tell_the_time(void *unused) {
    while (atomic_load(&busy)) {
        time_t t = time(NULL);
        struct tm tm;
        localtime_r(&t, &tm);
        free(malloc(100));
        fprintf(stderr, "%s", "");
        char *text = NULL;
        if (asprintf(&text, "%d", tm.tm_sec) > 0) free(text);
    }
    return unused;
}

/* The nursery and the workers take none that another thread of the host may hold. */
static void opened_while_threads_hold_locks(void) {
    enum { THREADS = 3, TIMES = SANITIZED ? 10 : 100 };
    if (THREAD_SANITIZED) skip("its runtime does not survive a fork beside threads that allocate");
    prepare();
    pthread_t thread[THREADS];
    atomic_store(&busy, true);
    for (int k = 0; k < THREADS; k++)
        CHECK(pthread_create(&thread[k], NULL, tell_the_time, NULL) == 0);
    for (int k = 0; k < TIMES; k++) {
        dist_pool *pool = open_pool(2);
        CHECK(dist_map(triple, item, 20, out, .pool = pool) == DIST_OK);
        dist_pool_free(&pool);
    }
    atomic_store(&busy, false);
    for (int k = 0; k < THREADS; k++) pthread_join(thread[k], NULL);
}

static void *nothing(void *unused) { return unused; }

/* Other threads are what counts, not those that there once were. */
static void strict_asks_for_threads_now(void) {
    if (SANITIZED) skip("a sanitizer has threads of its own");
    prepare();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, nothing, NULL) == 0);
    pthread_join(thread, NULL);
    nap(0.05);
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = 1, .strict = true);
    CHECK(pool);
    check_usable(pool);
    dist_pool_free(&pool);
    atomic_store(&busy, true);
    CHECK(pthread_create(&thread, NULL, tell_the_time, NULL) == 0);
    CHECK(!dist_pool_open(.executor = DIST_PROCESS, .workers = 1, .strict = true));
    CHECK(dist_last_error()->status == DIST_STATE);
    atomic_store(&busy, false);
    pthread_join(thread, NULL);
}

static const struct fault_case cases[] = {
    {"the host ends", host_ends, 60},
    {"the host ends, and the nursery is stopped", host_ends_with_a_stopped_nursery, 20},
    {"the host closes all descriptors", descriptors_closed, 20},
    {"the host closes all descriptors in a call", descriptors_closed_in_a_call, 20},
    {"the host reaps everything", host_reaps_everything, 20},
    {"the host ignores SIGCHLD", host_ignores_sigchld, 20},
    {"the host forks while calls run", host_forks_while_calls_run, 20},
    {"fork fails", no_process_at_all, 20},
    {"room for the nursery only", room_for_the_nursery_only, 20},
    {"room for one worker", room_for_one_worker, 20},
    {"little memory", little_memory, 60},
    {"opened and freed often", opened_and_freed_often, 60},
    {"opened while threads hold locks", opened_while_threads_hold_locks, 60},
    {"strict asks for the threads there are now", strict_asks_for_threads_now, 20},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
