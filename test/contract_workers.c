/* contract_workers.c - how many workers, which, and that none is left. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLACES = 256 };

struct crew { /* what tasks tell about the workers they run in */
    unsigned workers;
    _Atomic(unsigned) busy[PLACES]; /* 1 while a task holds that worker number */
    _Atomic(unsigned) wrong, started, next;
    int order[PRIME];
    int pid[PRIME], thread[PRIME];
    unsigned worker[PRIME];
};

static void note(struct crew *crew, size_t index) {
    crew->pid[index] = getpid();
    crew->thread[index] = thread_id();
    crew->worker[index] = dist_worker();
}

static int hold_number(size_t index, void *ctx) {
    struct crew *crew = ctx;
    unsigned worker = dist_worker();
    note(crew, index);
    if (worker >= crew->workers || worker >= PLACES) {
        count(&crew->wrong);
        return 0;
    }
    if (atomic_exchange(&crew->busy[worker], 1) != 0) count(&crew->wrong);
    uint32_t state = (uint32_t)index * 2654435761u + 1;
    random_spin(&state, 20);
    if (dist_worker() != worker) count(&crew->wrong);
    atomic_store(&crew->busy[worker], 0);
    return 0;
}

CASE("P-06", a_worker_number_is_held_by_one_task_at_a_time) {
    struct crew *crew = shared_memory(sizeof *crew);
    static const unsigned workers[] = {1, 2, 3, 8, 40};
    for (size_t w = 0; w < N(workers); w++)
        for (size_t chunk = 0; chunk < 4; chunk++) {
            memset(crew, 0, sizeof *crew);
            crew->workers = workers[w];
            assert_int_equal(dist_for(hold_number, 499, .executor = X, .workers = workers[w],
                                      .chunk = chunk, .ctx = crew),
                             DIST_OK);
            assert_int_equal(counted(&crew->wrong), 0);
        }
}

static int crash_and_hold(size_t index, void *ctx) {
    hold_number(index, ctx);
    if (index % 50 == 7) raise(SIGKILL);
    return 0;
}

CASE_ON("P-06", a_worker_that_replaces_a_dead_one_has_a_number_of_its_own, ON_PROCESS, 20) {
    struct crew *crew = shared_memory(sizeof *crew);
    crew->workers = 4;
    assert_int_equal(
        dist_for(crash_and_hold, 499, .executor = X, .workers = 4, .ctx = crew, .silent = true),
        DIST_OK);
    assert_int_equal(counted(&crew->wrong), 0);
}

static unsigned distinct(const int *values, size_t n) {
    unsigned found = 0;
    for (size_t i = 0; i < n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) seen |= values[k] == values[i];
        found += !seen;
    }
    return found;
}

/* Waits until `workers` tasks have started. */
static int wait_for_all(size_t index, void *ctx) {
    struct crew *crew = ctx;
    note(crew, index);
    count(&crew->started);
    if (!reaches(&crew->started, crew->workers)) count(&crew->wrong);
    return 0;
}

/* `n` tasks that all wait for each other, in as many workers. */
static struct crew *all_at_once(unsigned n, unsigned workers) {
    struct crew *crew = shared_memory(sizeof *crew);
    crew->workers = n;
    assert_int_equal(dist_for(wait_for_all, n, .executor = X, .workers = workers, .ctx = crew),
                     DIST_OK);
    assert_int_equal(counted(&crew->wrong), 0);
    return crew;
}

CASE_ON("D-02", sixty_four_workers_are_sixty_four, ON_THREAD | ON_PROCESS, 30) {
    struct crew *crew = all_at_once(64, 64);
    assert_int_equal(distinct(X == DIST_PROCESS ? crew->pid : crew->thread, 64), 64);
    for (int i = 0; i < 64; i++) {
        assert_in_range(crew->worker[i], 0, 63);
        assert_int_equal(crew->pid[i] == getpid(), X == DIST_THREAD);
    }
}

CASE_ON("D-02", tasks_of_any_explicit_number_of_workers_run_at_once, ON_THREAD | ON_PROCESS, 30) {
    for (unsigned workers = 2; workers < 14; workers += 3) all_at_once(workers, workers);
    all_at_once(5, 64); /* never more than there are items */
}

CASE_ON("D-02", two_hundred_threads_wait_for_each_other, ON_THREAD, 30) { all_at_once(200, 200); }

CASE_ON("P-02", a_thread_call_runs_in_this_process_and_in_other_threads, ON_THREAD, 20) {
    struct crew *crew = all_at_once(3, 3);
    assert_int_equal(distinct(crew->thread, 3), 3);
    assert_int_equal(distinct(crew->pid, 3), 1);
    assert_int_equal(crew->pid[0], getpid());
}

CASE_ON("P-05", the_callers_thread_is_one_of_the_workers, ON_THREAD, 20) {
    struct crew *crew = all_at_once(3, 3);
    unsigned own = 0;
    for (int i = 0; i < 3; i++) own += crew->thread[i] == thread_id();
    assert_int_equal(own, 1);
}

CASE("P-06", more_workers_than_items_are_not_started) {
    struct crew *crew = shared_memory(sizeof *crew);
    unsigned threads = threads_before();
    crew->workers = 2;
    assert_int_equal(dist_for(hold_number, 2, .executor = X, .workers = 50, .ctx = crew), DIST_OK);
    assert_int_equal(counted(&crew->wrong), 0);
    assert_in_range(entries("task"), 1, threads + 1);
}

static int in_turn(void *result, const void *item, void *ctx) {
    struct crew *crew = ctx;
    (void)result;
    crew->order[atomic_fetch_add(&crew->next, 1)] = *(const int *)item;
    note(crew, dist_index());
    return 0;
}

CASE("P-07", one_worker_runs_in_index_order) {
    struct crew *crew = shared_memory(sizeof *crew);
    for (size_t chunk = 0; chunk < 30; chunk += 7) {
        atomic_store(&crew->next, 0);
        assert_int_equal(dist_map(in_turn, numbers(), PRIME, DIST_NONE, .executor = X, .workers = 1,
                                  .chunk = chunk, .ctx = crew),
                         DIST_OK);
        for (int i = 0; i < PRIME; i++) {
            assert_int_equal(crew->order[i], i);
            assert_int_equal(crew->worker[i], 0);
        }
    }
}

CASE("D-04", one_worker_of_processes_is_still_a_process) {
    struct crew *crew = shared_memory(sizeof *crew);
    assert_int_equal(dist_for(hold_number, 101, .executor = X, .workers = 1, .ctx = crew), DIST_OK);
    assert_int_equal(distinct(crew->pid, 101), 1);
    assert_int_equal(distinct(crew->thread, 101), 1);
    assert_int_equal(crew->pid[0] != getpid(), X == DIST_PROCESS);
}

CASE("D-04", apply_runs_where_its_executor_says) {
    struct crew *crew = shared_memory(sizeof *crew);
    assert_int_equal(dist_apply(in_turn, numbers(), DIST_NONE, .executor = X, .ctx = crew),
                     DIST_OK);
    assert_int_equal(crew->pid[0] != getpid(), X == DIST_PROCESS);
    assert_int_equal(crew->order[0], 0);
    assert_int_equal(counted(&crew->next), 1);
}

CASE_ON("D-04", inline_runs_in_the_calling_thread, ON_INLINE, 20) {
    struct crew *crew = shared_memory(sizeof *crew);
    unsigned threads = threads_before();
    assert_int_equal(
        dist_map(in_turn, numbers(), PRIME, DIST_NONE, .executor = X, .workers = 8, .ctx = crew),
        DIST_OK);
    for (int i = 0; i < PRIME; i++) {
        assert_int_equal(crew->order[i], i);
        assert_int_equal(crew->thread[i], thread_id());
        assert_int_equal(crew->worker[i], 0);
    }
    assert_int_equal(entries("task"), threads);
}

/* No child, running or dead. */
static void assert_no_child(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

CASE("P-60", shutdown_leaves_no_thread_and_no_process) {
    struct crew *crew = shared_memory(sizeof *crew);
    unsigned threads = threads_before();
    crew->workers = 8;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dist_for(hold_number, 101, .executor = X, .workers = 8, .ctx = crew),
                         DIST_OK);
        dist_shutdown();
        assert_int_equal(threads_down_to(threads), threads);
        assert_no_child();
    }
    dist_shutdown();
    assert_int_equal(counted(&crew->wrong), 0);
}

CASE("P-60", shutdown_before_any_call_does_nothing) {
    struct crew *crew = shared_memory(sizeof *crew);
    dist_shutdown();
    dist_shutdown();
    crew->workers = 2;
    assert_int_equal(dist_for(hold_number, 101, .executor = X, .workers = 2, .ctx = crew), DIST_OK);
    assert_int_equal(counted(&crew->wrong), 0);
}

static int shut_down_inside(size_t index, void *ctx) {
    if (index % 5 == 1) dist_shutdown();
    return hold_number(index, ctx);
}

CASE("P-60", shutdown_inside_a_task_lets_the_call_end) {
    struct crew *crew = shared_memory(sizeof *crew);
    unsigned threads = threads_before();
    crew->workers = 4;
    for (unsigned i = 0; again(i, rounds(50, 10)); i++)
        assert_int_equal(
            dist_for(shut_down_inside, 20, .executor = X, .workers = 4, .chunk = 1, .ctx = crew),
            DIST_OK);
    assert_int_equal(counted(&crew->wrong), 0);
    dist_shutdown();
    assert_int_equal(threads_down_to(threads), threads);
}

CASE_ON("G-09", a_thousand_calls_leave_nothing, ON_ALL, 60) {
    unsigned threads = threads_before(), files = entries("fd");
    int out[20];
    for (unsigned i = 0; again(i, rounds(1000, 1000)); i++) {
        assert_int_equal(dist_map(square, numbers(), 20, out, .executor = X, .workers = 2),
                         DIST_OK);
        assert_int_equal(out[19], 361);
        if (X == DIST_PROCESS) assert_no_child();
    }
    assert_no_child();
    assert_int_equal(entries("fd"), files);
    assert_in_range(entries("task"), 1, threads + 2);
    dist_shutdown();
    assert_int_equal(threads_down_to(threads), threads);
}

CASE_ON("P-60", no_descriptor_is_open_in_a_worker_twice, ON_PROCESS, 20) {
    struct crew *crew = shared_memory(sizeof *crew);
    for (unsigned workers = 1; workers <= 16; workers *= 4) { /* also when many have failed */
        unsigned files = entries("fd");
        crew->workers = workers;
        assert_int_equal(dist_for(crash_and_hold, 101, .executor = X, .workers = workers,
                                  .ctx = crew, .silent = true),
                         DIST_OK);
        assert_int_equal(entries("fd"), files);
        assert_no_child();
    }
}

CASE_ON("F-11", threads_carry_a_name, ON_THREAD, 20) {
    struct crew *crew = all_at_once(3, 3);
    for (int i = 0; i < 3; i++) {
        char path[64], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", crew->thread[i]);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        assert_non_null(fgets(name, sizeof name, f));
        fclose(f);
        assert_int_equal(strncmp(name, "dist-thr-", 9) == 0, crew->thread[i] != thread_id());
    }
}
