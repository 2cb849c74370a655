/* contract_waiting.c - tasks that wait for each other, and what must not wait for ever. */
#include "contract.h"
#include "contract_tools.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOGETHER = 10 };

/* Task 0 is quick; each other one waits until all have begun. */
static int begin_and_wait(size_t index, void *ctx) {
    count(ctx);
    return index == 0 || reaches(ctx, TOGETHER) ? 0 : dist_fail(1, "%zu waited in vain", index);
}

CASE_ON("D-02", tasks_on_as_many_workers_may_wait_for_each_other, ON_THREAD | ON_PROCESS, 60) {
    for (unsigned i = rounds(200, 20); i > 0; i--) {
        _Atomic(unsigned) *begun = shared_memory(sizeof *begun);
        assert_int_equal(
            dist_for(begin_and_wait, TOGETHER, .executor = X, .workers = TOGETHER, .ctx = begun),
            DIST_OK);
    }
}

static int par_begin_and_wait(void *result, const void *item, void *ctx) {
    (void)result;
    return begin_and_wait((size_t) * (const int *)item, ctx);
}

CASE_ON("P-25", tasks_of_par_may_wait_for_each_other, ON_THREAD | ON_PROCESS, 60) {
    dist_task tasks[TOGETHER];
    for (int i = 0; i < TOGETHER; i++)
        tasks[i] = (dist_task)DIST_TASK(NULL, par_begin_and_wait, &numbers()[i], DIST_NONE);
    for (unsigned i = rounds(200, 20); i > 0; i--) {
        _Atomic(unsigned) *begun = shared_memory(sizeof *begun);
        assert_int_equal(
            dist_par(tasks, TOGETHER, .executor = X, .workers = TOGETHER, .ctx = begun), DIST_OK);
    }
}

/* The first of two tasks waits for the second: with default workers somebody must notice. */
static int first_waits(size_t index, void *ctx) {
    if (index == 1) count(ctx);
    return reaches(ctx, 1) ? 0 : dist_fail(1, "%zu waited in vain", index);
}

CASE_ON("G-04", the_first_task_may_wait_for_the_second, ON_THREAD, 60) {
    for (unsigned i = rounds(100, 10); i > 0; i--) {
        _Atomic(unsigned) begun = 0;
        assert_int_equal(dist_for(first_waits, 2, .executor = X, .ctx = &begun), DIST_OK);
    }
}

static int call_that_waits(size_t index, void *ctx) {
    (void)index, (void)ctx;
    _Atomic(unsigned) begun = 0;
    return (int)dist_for(first_waits, 2, .executor = DIST_THREAD, .workers = 0, .ctx = &begun);
}

CASE_ON("P-59", a_thread_call_in_a_process_worker_has_threads, ON_PROCESS | ON_INLINE, 60) {
    if (!built(DIST_THREAD) || THREAD_SANITIZED) skip();
    setenv("DIST_WORKERS", "4", 1);
    assert_int_equal(dist_for(call_that_waits, 3, .executor = X, .workers = 1), DIST_OK);
}

static void *shut_down_again_and_again(void *stop) {
    while (!counted(stop)) {
        dist_shutdown();
        nap(0.0002);
    }
    return NULL;
}

CASE_ON("P-60", a_shutdown_takes_no_worker_from_a_running_call, ON_THREAD, 60) {
    _Atomic(unsigned) stop = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, shut_down_again_and_again, &stop), 0);
    for (unsigned i = rounds(300, 10); i > 0; i--) {
        _Atomic(unsigned) begun = 0;
        assert_int_equal(
            dist_for(begin_and_wait, TOGETHER, .executor = X, .workers = TOGETHER, .ctx = &begun),
            DIST_OK);
        atomic_store(&begun, 0);
        assert_int_equal(dist_for(first_waits, 2, .executor = X, .ctx = &begun), DIST_OK);
    }
    count(&stop);
    pthread_join(thread, NULL);
}

static int leave_while_others_wait(size_t index, void *ctx) {
    (void)ctx;
    if (index == 0) exit(3);
    nap(1000);
    return 0;
}

static void leave_in_a_task(void *unused) {
    (void)unused;
    dist_for(leave_while_others_wait, 8, .executor = X, .workers = 8);
}

CASE_ON("F-15", exit_in_a_task_ends_the_program, ON_THREAD, 60) {
    for (unsigned i = rounds(30, 10); i > 0; i--) {
        pid_t pid = start_child(leave_in_a_task, NULL);
        assert_true(gone(pid, 10));
        int status = wait_child(pid);
        assert_int_equal(status, 3 << 8);
    }
}

static int pipe_ends[2];

static void *sit_in_a_read(void *unused) {
    (void)unused;
    FILE *stream = fdopen(pipe_ends[0], "r");
    char line[8];
    return stream && fgets(line, sizeof line, stream) ? stream : NULL;
}

static int start_a_reader(size_t index, void *ctx) {
    (void)index, (void)ctx;
    pthread_t thread;
    if (pthread_create(&thread, NULL, sit_in_a_read, NULL)) return 1;
    pthread_detach(thread);
    nap(0.01); /* it holds the stream's lock now */
    return 0;
}

CASE_ON("G-01", a_worker_ends_though_a_thread_of_its_task_reads, ON_PROCESS, 20) {
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(dist_for(start_a_reader, 2, .executor = X, .workers = 1), DIST_OK);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static int fail_at_once(size_t index, void *ctx) {
    count(ctx);
    return dist_fail(7, "%zu", index);
}

CASE_ON("G-15", more_items_than_there_are_numbers_end_at_the_first_failure, ON_ALL, 20) {
    static const size_t counts[] = {SIZE_MAX, SIZE_MAX - 6000000000u, (size_t)1 << 32,
                                    ((size_t)1 << 32) - 1, ((size_t)1 << 33) + 1};
    for (size_t k = 0; k < N(counts); k++) {
        if (X == DIST_PROCESS) break; /* it keeps a byte for each item */
        _Atomic(unsigned) *calls = shared_memory(sizeof *calls);
        dist_error e;
        assert_int_equal(dist_for(fail_at_once, counts[k], .executor = X, .workers = 2,
                                  .ctx = calls, .error = &e),
                         DIST_FAILED);
        assert_int_equal(e.index, 0);
    }
}

CASE_ON("G-17", more_items_than_memory_are_refused, ON_PROCESS, 20) {
    _Atomic(unsigned) *calls = shared_memory(sizeof *calls);
    assert_int_equal(dist_for(fail_at_once, SIZE_MAX / 2, .executor = X, .ctx = calls), DIST_NOMEM);
    assert_int_equal(counted(calls), 0);
}
