/* fork.c - a program forks by itself while 16 pool threads are busy, and its child uses dist at
 * once: threads, processes, jobs, a shutdown. No child may hang or see a wrong result.
 *
 * Some seconds of it; afterwards as many children more as $DIST_TEST_FORKS says. */
#include "stress.h"

#include <dirent.h>
#include <dist/dist.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
    HOSTS = 4,   /* threads that call all the time, */
    WORKERS = 5, /* each with four of the pool */
    POOL = HOSTS * (WORKERS - 1),
    ITEMS = 61,
    SPINS_MOST = 100000, /* before a fork: some 200 us */
    SKIPPED = 77
};
static const double YOUNG_SECONDS = 1.5, SECONDS = 3, CHILD_SECONDS = 20;

static int item[ITEMS];
static _Atomic(bool) stop;

/* What a child is about, for whoever finds it hanging. */
static const char *const steps[] = {
    "it began",    "thread map",  "process map", "thread job",       "jobs",
    "process job", "nested call", "shutdown",    "thread map again", "exit"};
static _Atomic(unsigned) *step;

static int square(void *result, const void *number, void *ctx) {
    (void)ctx;
    *(int *)result = *(const int *)number * *(const int *)number;
    return 0;
}

static int square_later(void *result, const void *number, void *ctx) {
    for (_Atomic(int) k = *(const int *)number * 20; k > 0; k--) continue;
    char *text = malloc(64 + (size_t) * (const int *)number); /* others may hold its locks */
    if (!text) return ENOMEM;
    snprintf(text, 64, "%d", *(const int *)number);
    free(text);
    return square(result, number, ctx);
}

static int square_nested(void *result, const void *number, void *ctx) {
    (void)ctx;
    return (int)dist_thread_map(square, (const int *)number, 1, (int *)result, .workers = 2);
}

/* ------------------------------------------------------------------ the program */

static void *keep_calling(void *number) {
    struct random random = random_from((uintptr_t)number);
    while (!stop) {
        int out[ITEMS] = {0};
        dist_status status = DIST_OK;
        switch (random_below(&random, 4)) {
        case 0:
            status = dist_thread_map(square_nested, item, ITEMS, out, .workers = WORKERS);
            break;
        case 1:
            status = dist_thread_map(square_later, item, ITEMS, out, .workers = WORKERS,
                                     .timeout = 1000, .retries = 1);
            break;
        case 2: {
            dist_job *job = dist_map_async(square_later, item, ITEMS, out, .executor = DIST_THREAD,
                                           .workers = WORKERS);
            CHECK(job);
            status = dist_job_finish(&job);
            break;
        }
        default: status = dist_thread_map(square_later, item, ITEMS, out, .workers = WORKERS);
        }
        CHECK(status == DIST_OK);
        for (int i = 0; i < ITEMS; i++) CHECK(out[i] == i * i);
    }
    return NULL;
}

/* ------------------------------------------------------------------ a child */

static void check_squares(dist_status status, int *out) {
    if (status) printf("%s: %s\n", steps[*step], dist_last_error()->message);
    CHECK(status == DIST_OK);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == i * i);
    memset(out, 0, ITEMS * sizeof *out);
}

static void check_job(dist_job *job, int *out) {
    CHECK(job);
    check_squares(dist_job_finish(&job), out);
}

static void several_jobs(int *out) {
    dist_job *job[6];
    int alone[6] = {0};
    for (int k = 0; k < 6; k++) {
        job[k] = dist_apply_async(square, &item[k], &alone[k], .executor = DIST_THREAD);
        CHECK(job[k]);
    }
    check_squares(dist_map(square_later, item, ITEMS, out, .executor = DIST_THREAD, .workers = 3),
                  out);
    for (int k = 5; k >= 0; k--) CHECK(dist_job_finish(&job[k]) == DIST_OK && alone[k] == k * k);
}

/* Begins where `random` says, so that each kind of call is the first one now and then. */
static void use_dist(struct random *random) {
    int out[ITEMS] = {0};
    unsigned first = random_below(random, 8);
    for (unsigned k = 0; k < 8; k++) {
        unsigned what = 1 + (first + k) % 8;
        atomic_store_explicit(step, what, memory_order_relaxed);
        switch (what) {
        case 1: check_squares(dist_thread_map(square, item, ITEMS, out, .workers = 3), out); break;
        case 2: check_squares(dist_process_map(square, item, ITEMS, out, .workers = 2), out); break;
        case 3:
            check_job(dist_map_async(square_later, item, ITEMS, out, .executor = DIST_THREAD,
                                     .workers = 3),
                      out);
            break;
        case 4: several_jobs(out); break;
        case 5:
            check_job(
                dist_map_async(square, item, ITEMS, out, .executor = DIST_PROCESS, .workers = 2),
                out);
            break;
        case 6:
            check_squares(dist_process_map(square_nested, item, ITEMS, out, .workers = 2), out);
            break;
        case 7: dist_shutdown(); break;
        default: check_squares(dist_thread_map(square_nested, item, ITEMS, out), out);
        }
    }
    atomic_store_explicit(step, 9, memory_order_relaxed);
}

_Noreturn static void be_child(struct random random) {
    alarm(0);
    use_dist(&random);
    if (random_below(&random, 2)) exit(0); /* with the library's end */
    _exit(0);
}

/* ------------------------------------------------------------------ waiting for it */

static void wait_for_child(pid_t pid, unsigned number) {
    int status = 0;
    for (double limit = now() + CHILD_SECONDS; waitpid(pid, &status, WNOHANG) == 0; nap(0.0001)) {
        if (now() < limit) continue;
        printf("child %u hangs: %s\n", number, steps[*step]);
        if (getenv("DIST_TEST_HANG")) pause(); /* for a debugger */
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        exit(1);
    }
    if (status) printf("child %u: status %x: %s\n", number, (unsigned)status, steps[*step]);
    CHECK(status == 0);
}

static void fork_one(struct random *random, unsigned number) {
    for (_Atomic(uint32_t) k = random_below(random, SPINS_MOST); k > 0; k--) continue;
    atomic_store_explicit(step, 0, memory_order_relaxed);
    struct random own = *random;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) be_child(own);
    wait_for_child(pid, number);
    random_below(random, 2);
}

/* Of the pool: they are named. */
static unsigned pool_threads(void) {
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks);
    for (struct dirent *one; (one = readdir(tasks));) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", one->d_name);
        FILE *file = fopen(path, "re");
        if (!file) continue;
        count += fgets(name, sizeof name, file) && !strncmp(name, "dist-thr", 8);
        fclose(file);
    }
    closedir(tasks);
    return count;
}

/* Forks `most` children, or for so long if that is 0. Returns how many. */
static unsigned be_host(struct random *random, unsigned most, double seconds, unsigned *threads) {
    pthread_t host[HOSTS];
    unsigned made = 0;
    stop = false;
    for (uintptr_t k = 0; k < HOSTS; k++) host[k] = start(keep_calling, (void *)k);
    for (double limit = now() + seconds; most ? made < most : now() < limit; made++)
        fork_one(random, made);
    *threads = pool_threads();
    stop = true;
    for (int k = 0; k < HOSTS; k++) join(host[k]);
    return made;
}

/* In the middle of a host's very first calls, when much is made that is made once. */
static unsigned fork_from_young_hosts(struct random *random) {
    unsigned hosts = 0, threads;
    for (double limit = now() + YOUNG_SECONDS; now() < limit; hosts++) {
        fflush(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(HANGS_AFTER);
            be_host(random, 1, 0, &threads);
            exit(0);
        }
        int status = -1;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        random_below(random, 2);
    }
    return hosts;
}

int main(int argc, char **argv) {
    if (SANITIZED) {
        puts("skipped: sanitizers do not survive a fork in the middle of threads");
        return SKIPPED;
    }
    const char *given = getenv("DIST_TEST_FORKS");
    unsigned most = given ? (unsigned)strtoul(given, NULL, 0) : 0, threads;
    struct random random = random_from(begin(argc, argv));
    if (most) alarm(HANGS_AFTER + most / 5);
    step = mmap(NULL, sizeof *step, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(step != MAP_FAILED);
    for (int i = 0; i < ITEMS; i++) item[i] = i;
    unsigned young = fork_from_young_hosts(&random);
    unsigned made = be_host(&random, most, SECONDS, &threads);
    printf("%u young hosts, %u children, %u pool threads\n", young, made, threads);
    CHECK(made < POOL || threads >= POOL);
    return 0;
}
