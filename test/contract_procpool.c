/* contract_procpool.c - pools of worker processes: who runs the tasks, and what becomes of calls
 * and of the pool when workers end. */
#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEMS = 100 };

static struct board {
    _Atomic(unsigned) begun, inits, exits, runs[PRIME];
    _Atomic(int) pid[PRIME];
} * board; /* made before the pool */

static dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = workers);
    assert_non_null(pool);
    return pool;
}

static void clear_board(void) {
    if (!board) board = shared_memory(sizeof *board);
    for (int i = 0; i < PRIME; i++) {
        atomic_store(&board->runs[i], 0);
        atomic_store(&board->pid[i], 0);
    }
}

static int square_and_count(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    (void)ctx;
    count(&board->runs[i]);
    count(&board->begun);
    atomic_store(&board->pid[i], getpid());
    *(int *)result = i * i;
    return 0;
}

static void check_pool(dist_pool *pool) {
    int out[PRIME];
    clear_board();
    assert_int_equal(dist_map(square_and_count, numbers(), PRIME, out, .pool = pool), DIST_OK);
    for (int i = 0; i < PRIME; i++) {
        assert_int_equal(out[i], i * i);
        assert_int_equal(counted(&board->runs[i]), 1);
        assert_true(board->pid[i] != getpid());
    }
}

static unsigned different_pids(int n) {
    unsigned different = 0;
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (board->pid[k] != board->pid[i]) k++;
        different += k == i;
    }
    return different;
}

/* ------------------------------------------------------------------ M-04: replaced workers */

CASE_ON("M-04", six_tasks_are_six_processes, ON_PROCESS, 20) {
    for (unsigned workers = 1; workers <= 3; workers++) {
        int out[6];
        clear_board();
        dist_pool *pool = dist_pool_open(.executor = X, .workers = workers, .tasks_per_worker = 1);
        assert_int_equal(dist_map(square_and_count, numbers(), 6, out, .pool = pool), DIST_OK);
        assert_int_equal(different_pids(6), 6);
        for (int i = 0; i < 6; i++) assert_int_equal(out[i], i * i);
        dist_pool_free(&pool);
    }
}

CASE_ON("M-04", tasks_are_counted_over_calls, ON_PROCESS, 20) {
    int out[2];
    clear_board();
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 1, .tasks_per_worker = 4);
    for (int i = 0; i < 12; i += 2)
        assert_int_equal(dist_map(square_and_count, numbers() + i, 2, out, .pool = pool), DIST_OK);
    assert_int_equal(different_pids(12), 3);
    for (int i = 0; i < 12; i += 4)
        for (int k = 1; k < 4; k++) assert_true(board->pid[i] == board->pid[i + k]);
    dist_pool_free(&pool);
}

static int crash_or_fail(void *result, const void *item, void *ctx) {
    int i = *(const int *)item, failed = square_and_count(result, item, ctx);
    if (i % 10 == 3 && dist_attempt() == 1) raise(SIGKILL);
    if (i % 10 == 6 && dist_attempt() < 3) return dist_fail(7, "not yet");
    return failed;
}

static int count_init(void **state, unsigned worker, void *user) {
    (void)user, (void)worker;
    *state = board;
    count(&board->inits);
    return 0;
}

static void count_exit(void *state, unsigned worker, void *user) {
    (void)user, (void)worker;
    count(&((struct board *)state)->exits);
}

CASE_ON("M-04", replaced_workers_run_retries_and_survive_crashes, ON_PROCESS, 40) {
    int out[ITEMS];
    clear_board();
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 3, .tasks_per_worker = 7,
                                     .worker_init = count_init, .worker_exit = count_exit);
    assert_int_equal(dist_map(crash_or_fail, numbers(), ITEMS, out, .pool = pool, .retries = 2),
                     DIST_OK);
    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(out[i], i * i);
        assert_int_equal(counted(&board->runs[i]), i % 10 == 3 ? 2 : i % 10 == 6 ? 3 : 1);
    }
    dist_pool_free(&pool);
    /* 130 tasks in lives of at most 7, ten of which end in a crash */
    assert_in_range(counted(&board->inits), 19, 60);
    assert_int_equal(counted(&board->exits), counted(&board->inits) - 10);
}

static int grow(void *result, const void *item, void *ctx) {
    static char *kept; /* by the worker */
    int i = *(const int *)item;
    if (i % 4 == 0) {
        kept = malloc(64 << 20);
        if (!kept) return 1;
        memset(kept, 1, 64 << 20);
    }
    return square_and_count(result, item, ctx);
}

CASE_ON("M-04", a_worker_that_has_grown_is_replaced, ON_PROCESS, 20) {
    if (SANITIZED) return; /* their memory counts, too */
    int out[12];
    clear_board();
    dist_pool *pool =
        dist_pool_open(.executor = X, .workers = 1, .worker_memory = (size_t)48 << 20);
    assert_int_equal(dist_map(grow, numbers(), 12, out, .pool = pool, .chunk = 1), DIST_OK);
    assert_int_equal(different_pids(12), 4); /* 0; 1 to 4; 5 to 8; 9 to 11 */
    assert_true(board->pid[0] != board->pid[1] && board->pid[1] == board->pid[4]);
    for (int i = 0; i < 12; i++) assert_int_equal(out[i], i * i);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ G-01, P-58: deaths */

static volatile int zero;

static int die_as_told(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    if (i != 41) return square_and_count(result, item, NULL);
    memset(result, 0x55, sizeof(int)); /* half written */
    switch (*(const int *)ctx) {
    case 0: raise(SIGKILL); break;
    case 1: *(volatile int *)(uintptr_t)zero = 1; break;
    case 2: abort();
    case 3: exit(3);
    case 4: _exit(4);
    case 5: pthread_exit(NULL);
    case 6: raise(SIGTERM); break;
    case 7: raise(SIGINT); break;
    }
    return 0;
}

enum { WAYS = 8 };

CASE_ON("G-01", every_way_to_die_in_a_pool_costs_one_item, ON_PROCESS, 40) {
    static const int ends[WAYS] = {SIGKILL, SIGSEGV, SIGABRT, -3, -4, 0, SIGTERM, SIGINT};
    clear_board();
    dist_pool *pool = open_pool(3);
    for (int way = 0; way < WAYS; way++) {
        int out[ITEMS];
        dist_job *job;
        memset(out, -1, sizeof out);
        clear_board();
        assert_int_equal(dist_map(die_as_told, numbers(), ITEMS, out, .pool = pool, .silent = true,
                                  .job = &job, .ctx = &way, .ctx_size = sizeof way),
                         DIST_OK);
        assert_int_equal(dist_job_failures(job), 1);
        const dist_error *error = dist_job_failure_at(job, 0);
        assert_true(error->index == 41 && error->status == DIST_CRASHED);
        bool sanitized = SANITIZED && way == 1; /* reports it, and exits */
        if (!sanitized) {
            assert_int_equal(error->signal, ends[way] > 0 ? ends[way] : 0);
            assert_int_equal(error->exit_code, ends[way] < 0 ? -ends[way] : 0);
        }
        assert_true(strlen(error->message) > 0);
        for (int i = 0; i < ITEMS; i++) {
            assert_int_equal(out[i], i == 41 ? -1 : i * i);
            assert_int_equal(counted(&board->runs[i]), i == 41 ? 0 : 1);
        }
        dist_job_finish(&job);
        check_pool(pool);
    }
    dist_pool_free(&pool);
}

static bool is_slow;

static void begin_slowly(void) {
    if (is_slow) nap(2);
    is_slow = false; /* its own children are not */
}

/* As on a machine that has too much to do. */
CASE_ON("G-01", a_pool_that_begins_slowly_runs_all_the_same, ON_PROCESS, 40) {
    pthread_atfork(NULL, NULL, begin_slowly);
    is_slow = true;
    DIST_SCOPED_POOL *pool = dist_pool_open(.executor = X, .workers = 2);
    is_slow = false;
    assert_non_null(pool);
    int out[100];
    assert_int_equal(dist_map(square, numbers(), 100, out, .pool = pool), DIST_OK);
    assert_int_equal(out[99], 99 * 99);
}

CASE_ON("P-58", ninety_nine_of_a_hundred_survive_a_kill_in_a_pool, ON_PROCESS, 20) {
    static const size_t chunks[] = {0, 1, 7, 100};
    clear_board();
    dist_pool *pool = open_pool(4);
    for (size_t c = 0; c < N(chunks); c++) {
        int out[ITEMS], way = 0;
        dist_job *job;
        memset(out, -1, sizeof out);
        clear_board();
        assert_int_equal(dist_map(die_as_told, numbers(), ITEMS, out, .pool = pool, .silent = true,
                                  .job = &job, .ctx = &way, .ctx_size = sizeof way,
                                  .chunk = chunks[c]),
                         DIST_OK);
        assert_int_equal(dist_job_failures(job), 1);
        assert_int_equal(dist_job_failure_at(job, 0)->index, 41);
        for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], i == 41 ? -1 : i * i);
        dist_job_finish(&job);
    }
    dist_pool_free(&pool);
}

CASE_ON("F-12", the_next_call_in_a_pool_works_whatever_died_in_the_last, ON_PROCESS, 40) {
    clear_board();
    dist_pool *pool = open_pool(2);
    for (unsigned round = 0; again(round, rounds(0, 40)); round++) {
        int out[ITEMS], way = (int)round % 5;
        dist_status status = dist_map(die_as_told, numbers(), ITEMS, out, .pool = pool, .ctx = &way,
                                      .ctx_size = sizeof way);
        assert_int_equal(status, DIST_CRASHED);
        assert_int_equal(dist_last_error()->index, 41);
        check_pool(pool);
    }
    dist_pool_free(&pool);
}

static int die_in_alloc(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    for (int k = 0; k < 50; k++)
        if (!dist_alloc(100 + (size_t)k)) return 1;
    if (i % 10 == 0) raise(SIGKILL);
    char **text = dist_alloc(sizeof *text);
    *text = dist_strdup("whole");
    *(char ***)result = text;
    return ctx != NULL;
}

CASE_ON("G-01", deaths_among_allocations_waste_memory_and_nothing_else, ON_PROCESS, 20) {
    clear_board();
    dist_pool *pool = open_pool(3);
    dist_arena *arena = dist_arena_new(0);
    char **out[ITEMS];
    assert_int_equal(
        dist_map(die_in_alloc, numbers(), ITEMS, out, .pool = pool, .arena = arena, .silent = true),
        DIST_OK);
    for (int i = 0; i < ITEMS; i++) {
        if (i % 10 == 0) continue;
        assert_true(dist_arena_owns(arena, out[i]) && dist_arena_owns(arena, *out[i]));
        assert_string_equal(*out[i], "whole");
    }
    dist_arena_free(arena);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ G-08: the host dies */

static void *open_here(void *pool) {
    *(dist_pool **)pool = open_pool(3);
    return NULL;
}

static int stay_for_ever(size_t index, void *ctx) {
    (void)ctx;
    atomic_store(&board->pid[index], getpid());
    count(&board->begun);
    for (;;) nap(1);
    return 0;
}

/* Another thread than the one that ends last has opened the pool. */
static void be_killed(void *unused) {
    dist_pool *pool;
    pthread_t thread;
    (void)unused;
    assert_int_equal(pthread_create(&thread, NULL, open_here, &pool), 0);
    pthread_join(thread, NULL);
    dist_for(stay_for_ever, 3, .pool = pool);
}

CASE_ON("G-08", workers_of_a_pool_die_with_their_host, ON_PROCESS, 20) {
    clear_board();
    pid_t host = start_child(be_killed, NULL);
    assert_true(reaches(&board->begun, 3));
    assert_int_equal(kill(host, SIGKILL), 0);
    assert_int_equal(wait_child(host), SIGKILL);
    for (int k = 0; k < 3; k++) assert_true(gone(board->pid[k], SANITIZED ? 4 : 1));
}

/* ------------------------------------------------------------------ G-10: the host's own children
 */

static volatile sig_atomic_t children_ended;

static void on_child(int number) {
    (void)number;
    children_ended++;
}

CASE_ON("G-10", the_host_hears_nothing_of_the_workers_of_its_pool, ON_PROCESS, 20) {
    signal(SIGCHLD, on_child);
    clear_board();
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2, .tasks_per_worker = 20);
    int out[ITEMS], way = 0;
    dist_map(die_as_told, numbers(), ITEMS, out, .pool = pool, .ctx = &way, .ctx_size = sizeof way);
    check_pool(pool);
    assert_int_equal(children_ended, 0);
    pid_t own = fork();
    if (own == 0) _exit(7);
    check_pool(pool);
    assert_int_equal(wait_child(own), 7 << 8);
    assert_int_equal(children_ended, 1);
    dist_pool_free(&pool);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left of it */
}

/* ------------------------------------------------------------------ G-11: output */

static int print_item(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    printf("<%d>", i);
    if (ctx && i == 30) exit(0);
    if (ctx && i == 60) pthread_exit(NULL);
    return result != NULL;
}

/* Each item once, by the end of its call; and nothing of the host's twice. */
static void print_in_a_pool(void *dies) {
    printf("host");
    dist_pool *pool = open_pool(3);
    printf("!");
    for (int round = 0; round < 2; round++) {
        dist_map(print_item, numbers(), ITEMS, DIST_NONE, .pool = pool, .silent = true,
                 .ctx = dies);
        fflush(stdout);
        printf("|");
        fflush(stdout);
    }
    dist_pool_free(&pool);
}

CASE_ON("G-11", what_tasks_of_a_pool_print_is_there_when_their_call_ends, ON_PROCESS, 20) {
    static char text[OUTPUT_SIZE];
    static int dies = 1;
    for (int round = 0; round < 2; round++) {
        int status;
        size_t size = output_of(print_in_a_pool, round ? &dies : NULL, text, &status);
        assert_int_equal(status, 0);
        assert_int_equal(size, 4 + 1 + 2 * (10 * 3 + 90 * 4 + 1));
        assert_memory_equal(text, "host", 4);
        char *middle = strchr(text, '|');
        assert_non_null(middle);
        *middle = '\0';
        assert_string_equal(strchr(middle + 1, '|'), "|");
        for (int i = 0; i < ITEMS; i++) {
            char item[16];
            snprintf(item, sizeof item, "<%d>", i);
            assert_non_null(strstr(text, item));
            assert_non_null(strstr(middle + 1, item));
        }
    }
}

static void say_goodbye(void) { printf("goodbye"); }

static void end_with_an_open_pool(void *unused) {
    (void)unused;
    atexit(say_goodbye);
    board = NULL;
    clear_board();
    dist_pool *pool = open_pool(2);
    check_pool(pool);
    int out[ITEMS], way = 3; /* exit(3) in a worker */
    dist_map(die_as_told, numbers(), ITEMS, out, .pool = pool, .ctx = &way, .ctx_size = sizeof way);
}

CASE_ON("G-11", exit_handlers_of_the_host_do_not_run_in_its_pool, ON_PROCESS, 20) {
    static char text[OUTPUT_SIZE];
    int status;
    output_of(end_with_an_open_pool, NULL, text, &status);
    assert_int_equal(status, 0);
    assert_string_equal(text, "goodbye");
}
