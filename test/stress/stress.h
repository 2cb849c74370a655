/* stress.h - what the stress tests share: real threads, a time limit, and random choices whose
 * start value is printed and can be given on the command line. */
#ifndef DIST_TEST_STRESS_H
#define DIST_TEST_STRESS_H

#include "../sanitized.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do                                                                                             \
        if (!(condition)) check_failed(__FILE__, __LINE__, #condition);                            \
    while (0)

_Noreturn static inline void check_failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, condition);
    exit(1);
}

/* ------------------------------------------------------------------ random choices (xorshift) */

struct random {
    uint64_t state;
};

static inline struct random random_from(uint64_t seed) {
    return (struct random){seed * 0x9e3779b97f4a7c15u + 1};
}

static inline uint32_t random_below(struct random *random, uint32_t limit) {
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return (uint32_t)((random->state >> 32) * limit >> 32);
}

/* A delay of a few instructions, now and then one that lets others run. */
static inline void random_delay(struct random *random) {
    if (random_below(random, 64) == 0) sched_yield();
    for (_Atomic(uint32_t) k = random_below(random, 32); k > 0; k--) {
    }
}

/* ------------------------------------------------------------------ time */

static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void nap(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

enum { HANGS_AFTER = 120 }; /* seconds: the watchdog, SIGALRM, then ends the test */

static const double RUN_SECONDS = 1.2;

/* The seed of round 0: from the command line, else from the clock. Starts the watchdog. */
static inline uint64_t begin(int argc, char **argv) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t seed = (uint64_t)t.tv_sec * 1000000007u + (uint64_t)t.tv_nsec;
    if (argc > 1) seed = strtoull(argv[1], NULL, 0);
    printf("seed %llu (give it as the argument to repeat the choices)\n", (unsigned long long)seed);
    fflush(stdout);
    alarm(HANGS_AFTER);
    return seed;
}

static inline pthread_t start(void *(*body)(void *), void *arg) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, arg) == 0);
    return thread;
}

static inline void join(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

/* Lets threads of a round begin at the same time. */
struct gate {
    _Atomic(unsigned) missing;
};

static inline void gate_pass(struct gate *gate) {
    atomic_fetch_sub_explicit(&gate->missing, 1, memory_order_acq_rel);
    while (atomic_load_explicit(&gate->missing, memory_order_acquire) > 0) sched_yield();
}

#endif
