/* threads.c - threads cannot be started: every call is done all the same, by fewer workers. */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ITEMS = 20000 };
enum { OWN_TASKS = THREAD_SANITIZED ? 2 : 1 }; /* that sanitizer has a thread of its own */

static int item[ITEMS];
static long out[ITEMS];
static _Atomic(unsigned) highest; /* worker that has run anything */

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    unsigned self = dist_worker(), before = atomic_load(&highest);
    while (self > before && !atomic_compare_exchange_weak(&highest, &before, self)) {
    }
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static int inner(void *result, const void *number, void *ctx) {
    int numbers[] = {*(const int *)number, 1, 2, 3};
    long results[4];
    dist_status status = dist_thread_map(triple, numbers, N(numbers), results, .workers = 4);
    (void)ctx;
    *(long *)result = results[0];
    return status || results[3] != 9;
}

static void check_call(dist_fn fn, size_t n, unsigned workers) {
    for (int i = 0; i < ITEMS; i++) item[i] = i, out[i] = -1;
    CHECK(dist_thread_map(fn, item, n, out, .workers = workers) == DIST_OK);
    for (size_t i = 0; i < ITEMS; i++) CHECK(out[i] == (i < n ? 3L * (long)i : -1));
}

static void check_calls(void) {
    for (int round = 0; round < 20; round++) {
        check_call(triple, ITEMS, 0);
        check_call(triple, ITEMS, 8);
        check_call(triple, 100, 100);
        check_call(inner, 200, 4);
    }
}

static void *nothing(void *unused) { return unused; }

static void take_threads_away(void) {
    pthread_t thread;
    forbid_new_threads();
    CHECK(pthread_create(&thread, NULL, nothing, NULL) == EAGAIN);
}

static void no_threads(void) {
    take_threads_away();
    check_calls();
    dist_shutdown();
    check_calls();
}

/* The pool has threads from before, and gets no more. */
static void no_more_threads(void) {
    check_call(triple, ITEMS, 3);
    take_threads_away();
    check_calls();
    dist_shutdown();
    check_calls();
}

static void room_for_few_threads(void) {
    become_user_with(OWN_TASKS + 2);
    check_calls();
    dist_shutdown();
    check_calls();
}

static void *wait_for_end(void *unused) {
    pause();
    return unused;
}

static void threads_of_others_take_the_room(void) {
    become_user_with(OWN_TASKS + 3);
    pthread_t thread;
    unsigned begun = 0;
    while (pthread_create(&thread, NULL, wait_for_end, NULL) == 0) begun++;
    CHECK(begun < 10);
    check_calls();
}

/* So many bytes of address space may be taken from now on, by whatever thread. */
static void leave_bytes(size_t more) {
    if (SANITIZED) skip("a sanitizer needs all of the address space");
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    size_t bytes = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes}) == 0);
}

static void no_room_for_stacks(void) {
    leave_bytes(9u << 20); /* one stack of 8 MiB */
    check_calls();
}

/* ------------------------------------------------------------------ pools */

static void no_thread_for_a_pool(void) {
    take_threads_away();
    for (int k = 0; k < 100; k++) {
        CHECK(!dist_pool_open(.executor = DIST_THREAD, .workers = 4));
        CHECK(dist_last_error()->status == DIST_SYSTEM);
        CHECK(dist_last_error()->code == EAGAIN);
    }
}

static int nothing_in_worker(size_t index, void *ctx) {
    atomic_fetch_add((_Atomic(unsigned) *)ctx, 1);
    return index != dist_worker();
}

/* It has its first thread from the beginning, and needs no other. */
static void one_thread_for_a_pool(void) {
    _Atomic(unsigned) looked_at = 0;
    dist_pool *pool = dist_pool_open(.executor = DIST_THREAD, .workers = 4);
    CHECK(pool);
    leave_bytes(4u << 20); /* less than a stack */
    for (int i = 0; i < ITEMS; i++) item[i] = i;
    for (int k = 0; k < 10; k++) {
        CHECK(dist_map(triple, item, 1000, out, .pool = pool) == DIST_OK);
        for (int i = 0; i < 1000; i++) CHECK(out[i] == 3L * i);
        CHECK(dist_each_worker(pool, nothing_in_worker, &looked_at) == DIST_SYSTEM);
        CHECK(dist_last_error()->code == EAGAIN);
        dist_job *job = dist_map_async(triple, item, 1000, out, .pool = pool);
        CHECK(dist_job_finish(&job) == DIST_OK);
        CHECK(dist_pool_resize(pool, 2 + (unsigned)k % 3) == DIST_OK);
    }
    CHECK(dist_pool_resize(pool, 1) == DIST_OK);
    CHECK(dist_each_worker(pool, nothing_in_worker, &looked_at) == DIST_OK);
    dist_pool_free(&pool);
    CHECK(!pool);
}

static const struct fault_case cases[] = {
    {"no thread can be started", no_threads, 60},
    {"no more threads can be started", no_more_threads, 60},
    {"room for few threads", room_for_few_threads, 60},
    {"the threads of others take the room", threads_of_others_take_the_room, 60},
    {"no room for stacks", no_room_for_stacks, 60},
    {"no thread for a pool", no_thread_for_a_pool, 60},
    {"one thread for a pool", one_thread_for_a_pool, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
