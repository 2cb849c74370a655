/* model.h - what the harnesses share. Each is one C program for the model checker GenMC: it
 * explores every execution that the C memory model (RC11) allows, and a failed assert in any of
 * them is an error. So is a data race on plain memory, which makes every payload a check of release
 * and acquire.
 *
 * The first line of a harness names the options it needs. Loops are unrolled so often and then
 * cut off in silence, so the bound is above the iterations that can happen. */
#ifndef DIST_TEST_MODEL_H
#define DIST_TEST_MODEL_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define THREAD(name) static void *name(void *arg __attribute__((unused)))

static inline pthread_t start(void *(*body)(void *), void *arg) {
    pthread_t thread;
    pthread_create(&thread, NULL, body, arg);
    return thread;
}

static inline void join(pthread_t thread) { pthread_join(thread, NULL); }

#endif
