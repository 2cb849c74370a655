/* contract_tools.c - the common tools of the cases. */
#define _GNU_SOURCE
#include "contract_tools.h"
#include "ended.h"
#include "contract.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void *shared_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void nap(double seconds) {
    time_t whole = (time_t)seconds;
    struct timespec t = {.tv_sec = whole, .tv_nsec = (long)((seconds - (double)whole) * 1e9)};
    while (nanosleep(&t, &t) != 0) {
    }
}

unsigned rounds(unsigned plain, unsigned process) {
    unsigned wanted = X == DIST_PROCESS ? process : plain;
    return SANITIZED ? wanted / 20 + 1 : wanted;
}

bool again(unsigned done, unsigned wanted) {
    static double limit;
    if (done == 0) limit = now() + (SANITIZED ? 24 : 6);
    return done < wanted && (done == 0 || now() < limit);
}

static int nothing(size_t index, void *ctx) {
    (void)index, (void)ctx;
    return 0;
}

bool built(dist_executor executor) {
    return dist_for(nothing, 0, .executor = executor) != DIST_UNSUPPORTED;
}

/* relaxed would do for a bare count; acquire and release also publish what was written before */
void count(_Atomic(unsigned) *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_acq_rel);
}

unsigned counted(_Atomic(unsigned) *counter) {
    return atomic_load_explicit(counter, memory_order_acquire);
}

bool reaches(_Atomic(unsigned) *counter, unsigned target) {
    double limit = now() + (SANITIZED ? 40 : 10);
    for (double pause = 0.0001; counted(counter) < target;
         pause = pause < 0.002 ? 2 * pause : pause) {
        if (now() > limit) return false;
        nap(pause);
    }
    return true;
}

uint32_t random_seed(void) {
    const char *given = getenv("DIST_TEST_SEED");
    uint32_t seed = given ? (uint32_t)strtoul(given, NULL, 0) : 20240229u;
    printf("DIST_TEST_SEED=%lu\n", (unsigned long)seed);
    fflush(stdout);
    return seed ? seed : 1;
}

uint32_t random_next(uint32_t *state) {
    uint32_t x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

uint32_t random_below(uint32_t *state, uint32_t limit) {
    return (uint32_t)(((uint64_t)random_next(state) * limit) >> 32);
}

void random_spin(uint32_t *state, uint32_t most) {
    uint32_t steps = random_below(state, most + 1);
    for (volatile uint32_t i = 0; i < 400 * steps; i++) {
    }
    if (steps % 8 == 1) sched_yield();
}

int thread_id(void) { return (int)syscall(SYS_gettid); }

unsigned entries(const char *directory) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/%s", directory);
    DIR *open = opendir(path);
    assert_non_null(open);
    unsigned found = 0;
    for (struct dirent *entry; (entry = readdir(open));) found += entry->d_name[0] != '.';
    closedir(open);
    return found;
}

unsigned threads_down_to(unsigned most) {
    double limit = now() + 1;
    unsigned threads;
    while ((threads = entries("task")) > most && now() < limit) nap(0.001);
    return threads;
}

static void *end_at_once(void *unused) { return unused; }

unsigned threads_before(void) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end_at_once, NULL), 0);
    pthread_join(thread, NULL);
    nap(0.01);
    return threads_down_to(1);
}

/* Its name, and its parent. */
static pid_t look_up(pid_t pid, char name[64]) {
    char path[64], stat[512] = "";
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t length = fread(stat, 1, sizeof stat - 1, file);
    fclose(file);
    char *end = length ? strrchr(stat, ')') : NULL;
    if (!end || sscanf(end, ") %*c %d", &parent) != 1) return 0;
    *end = '\0';
    snprintf(name, 64, "%.60s", strchr(stat, '(') + 1);
    return parent;
}

pid_t nursery_of(pid_t worker) {
    char name[64] = "";
    pid_t parent = look_up(worker, name);
    return parent > 1 && look_up(parent, name) && !strcmp(name, "dist-nursery") ? parent : 0;
}

bool gone(pid_t pid, double seconds) {
    double limit = now() + seconds;
    while (!process_has_ended(pid)) {
        if (now() > limit) return false;
        nap(0.002);
    }
    return true;
}

/* A child has only one of the threads that its parent had: a leak check there would take what the
 * others own for lost. AddressSanitizer asks this before its check. */
static bool is_child;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return is_child; }

pid_t start_child(void (*body)(void *arg), void *arg) {
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    is_child = true;
    body(arg);
    exit(0);
}

int wait_child(pid_t pid) {
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

int in_child(void (*body)(void *arg), void *arg) { return wait_child(start_child(body, arg)); }

struct redirected {
    void (*body)(void *arg);
    void *arg;
    int pipe[2];
};

static void with_output_redirected(void *arg) {
    struct redirected *r = arg;
    dup2(r->pipe[1], 1);
    dup2(r->pipe[1], 2);
    close(r->pipe[0]);
    close(r->pipe[1]);
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    r->body(r->arg);
}

size_t output_of(void (*body)(void *arg), void *arg, char text[OUTPUT_SIZE], int *status) {
    struct redirected r = {.body = body, .arg = arg};
    assert_int_equal(pipe(r.pipe), 0);
    pid_t pid = start_child(with_output_redirected, &r);
    close(r.pipe[1]);
    size_t size = 0;
    ssize_t got;
    while ((got = read(r.pipe[0], text + size, OUTPUT_SIZE - 1 - size)) > 0) size += (size_t)got;
    close(r.pipe[0]);
    text[size] = '\0';
    *status = wait_child(pid);
    return size;
}

static int values[PRIME];
__attribute__((constructor)) static void number_values(void) {
    for (int i = 0; i < PRIME; i++) values[i] = i;
}

const int *numbers(void) { return values; }

static size_t statm(bool resident) {
    size_t mapped = 0, present = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_true(f && fscanf(f, "%zu %zu", &mapped, &present) == 2);
    fclose(f);
    return (resident ? present : mapped) * (size_t)sysconf(_SC_PAGESIZE);
}

size_t resident_bytes(void) { return statm(true); }
size_t mapped_bytes(void) { return statm(false); }

int square(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = *(const int *)item * *(const int *)item;
    return 0;
}
