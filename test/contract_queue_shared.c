/* contract_queue_shared.c - queues and processes: who may use which, and what is left of them. */
#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static dist_queue *open_shared(size_t capacity, bool priority) {
    dist_queue *queue = dist_queue_open(.item_size = sizeof(long), .capacity = capacity,
                                        .priority = priority, .process_shared = true);
    assert_non_null(queue);
    return queue;
}

static struct pair { dist_queue *in, *out; } pair;

static void open_pair(size_t capacity) {
    pair.in = open_shared(capacity, false);
    pair.out = open_shared(capacity, true);
}

static void free_pair(void) {
    dist_queue_free(&pair.in);
    dist_queue_free(&pair.out);
}

/* Doubles what comes in, until that is closed. */
static int twice(size_t index, void *ctx) {
    long item;
    (void)index, (void)ctx;
    while (dist_queue_get(pair.in, &item, DIST_FOREVER) == DIST_OK) {
        item *= 2;
        if (dist_queue_put(pair.out, &item, DIST_FOREVER)) return dist_fail(1, "put");
        if (dist_queue_task_done(pair.in)) return dist_fail(1, "task_done");
    }
    return 0;
}

enum { ITEMS = 500 };

/* The parent feeds them and takes what they make. */
static void feed(void) {
    long sum = 0, item;
    int got = 0;
    for (long k = 0; k < ITEMS; k++) {
        assert_int_equal(dist_queue_put(pair.in, &k, DIST_FOREVER), DIST_OK);
        for (; dist_queue_get(pair.out, &item, 0) == DIST_OK; got++) sum += item;
    }
    for (; got < ITEMS; got++) {
        assert_int_equal(dist_queue_get(pair.out, &item, DIST_FOREVER), DIST_OK);
        sum += item;
    }
    assert_int_equal(sum, ITEMS * (ITEMS - 1));
    assert_int_equal(dist_queue_join(pair.in, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_queue_close(pair.in), DIST_OK);
}

static void twice_in_child(void *unused) { assert_int_equal(twice(0, unused), 0); }

CASE_ON("L-22", children_of_fork_share_a_queue_with_their_parent, ON_PROCESS, 60) {
    for (unsigned workers = 1; workers <= 4; workers++) {
        pid_t child[4];
        open_pair(3);
        for (unsigned k = 0; k < workers; k++) child[k] = start_child(twice_in_child, NULL);
        feed();
        for (unsigned k = 0; k < workers; k++) assert_int_equal(wait_child(child[k]), 0);
        free_pair();
    }
}

static int twice_task(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    return twice(0, ctx);
}

CASE_ON("L-22", jobs_in_processes_share_a_queue_with_their_parent, ON_PROCESS, 60) {
    open_pair(3);
    dist_job *job[3];
    for (size_t k = 0; k < N(job); k++) {
        job[k] = dist_apply_async(twice_task, DIST_NONE, DIST_NONE, .executor = X);
        assert_non_null(job[k]);
    }
    feed();
    for (size_t k = 0; k < N(job); k++) assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
    free_pair();
}

CASE_ON("L-22", a_pool_opened_after_a_queue_shares_it, ON_PROCESS, 60) {
    open_pair(3);
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 3);
    assert_non_null(pool);
    dist_job *job[3];
    for (size_t k = 0; k < N(job); k++) {
        job[k] = dist_apply_async(twice_task, DIST_NONE, DIST_NONE, .pool = pool);
        assert_non_null(job[k]);
    }
    feed();
    for (size_t k = 0; k < N(job); k++) assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
    dist_pool_free(&pool);
    free_pair();
}

static void put_and_free(void *arg) {
    dist_queue *queue = *(dist_queue **)arg;
    for (long k = 0; k < 3; k++) assert_int_equal(dist_queue_put(queue, &k, 0), DIST_OK);
    dist_queue_free(&queue);
}

CASE("L-22", a_child_frees_its_own_share_alone) {
    long item;
    dist_queue *queue = open_shared(3, false);
    assert_int_equal(in_child(put_and_free, &queue), 0);
    for (long k = 0; k < 3; k++) {
        assert_int_equal(dist_queue_get(queue, &item, 0), DIST_OK);
        assert_int_equal(item, k);
    }
    assert_int_equal(dist_queue_put(queue, &item, 0), DIST_OK); /* nor has it closed it */
    dist_queue_free(&queue);
}

static void close_it(void *arg) {
    assert_int_equal(dist_queue_close(*(dist_queue **)arg), DIST_OK);
}

CASE("L-22", a_child_may_close_it) {
    long item = 1;
    dist_queue *queue = open_shared(3, true);
    assert_int_equal(dist_queue_put(queue, &item, 0), DIST_OK);
    assert_int_equal(in_child(close_it, &queue), 0);
    assert_int_equal(dist_queue_put(queue, &item, DIST_FOREVER), DIST_CLOSED);
    assert_int_equal(dist_queue_get(queue, &item, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_queue_get(queue, &item, DIST_FOREVER), DIST_CLOSED);
    dist_queue_free(&queue);
}

static void check_foreign(void *arg) {
    dist_queue *queue = *(dist_queue **)arg;
    long item = 1;
    assert_int_equal(dist_queue_put(queue, &item, DIST_FOREVER), DIST_UNSUPPORTED);
    assert_int_equal(dist_queue_put_first(queue, 1, &item, DIST_FOREVER), DIST_UNSUPPORTED);
    assert_int_equal(dist_queue_get(queue, &item, DIST_FOREVER), DIST_UNSUPPORTED);
    assert_int_equal(dist_queue_task_done(queue), DIST_UNSUPPORTED);
    assert_int_equal(dist_queue_join(queue, DIST_FOREVER), DIST_UNSUPPORTED);
    assert_int_equal(dist_queue_close(queue), DIST_UNSUPPORTED);
    assert_int_equal(dist_last_error()->status, DIST_UNSUPPORTED);
    assert_int_equal(dist_queue_length(queue), 0);
    assert_int_equal(dist_queue_capacity(queue), 0);
    dist_queue_free(&queue);
    assert_null(queue);
    assert_non_null(queue = dist_queue_open(.item_size = sizeof item, .capacity = 1));
    assert_int_equal(dist_queue_put(queue, &item, 0), DIST_OK);
    assert_int_equal(dist_queue_get(queue, &item, 0), DIST_OK);
    dist_queue_free(&queue);
}

CASE("G-03", a_queue_of_threads_is_refused_in_a_child) {
    for (int priority = 0; priority < 2; priority++) {
        long item = 5;
        dist_queue *queue =
            dist_queue_open(.item_size = sizeof item, .capacity = 3, .priority = priority);
        assert_non_null(queue);
        assert_int_equal(dist_queue_put(queue, &item, 0), DIST_OK);
        assert_int_equal(in_child(check_foreign, &queue), 0);
        assert_int_equal(dist_queue_get(queue, &item, 0), DIST_OK);
        assert_int_equal(dist_queue_length(queue), 0);
        dist_queue_free(&queue);
    }
}

static unsigned mappings(void) {
    unsigned count = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) count += strstr(line, " rw-s") != NULL;
    fclose(maps);
    return count;
}

CASE("G-09", nothing_is_left_of_a_queue) {
    unsigned before = mappings(), descriptors = entries("fd");
    for (int k = 0; k < 20; k++) {
        dist_queue *queue = open_shared(100, k % 2);
        assert_int_equal(dist_queue_put(queue, &(long){1}, 0), DIST_OK);
        dist_queue_free(&queue);
    }
    assert_int_equal(mappings(), before);
    assert_int_equal(entries("fd"), descriptors);
}

static void take_forever(void *arg) {
    long item;
    while (dist_queue_get(*(dist_queue **)arg, &item, DIST_FOREVER) == DIST_OK) {
    }
}

/* Those who sleep are killed, then one item comes for each who is left. */
CASE_ON("G-01", a_dead_sleeper_takes_no_wake_with_it, ON_PROCESS, 60) {
    enum { SLEEPERS = 4 };
    for (unsigned round = 0; again(round, rounds(30, 30)); round++) {
        pid_t pid[SLEEPERS];
        dist_queue *queue = open_shared(8, round % 2);
        for (int k = 0; k < SLEEPERS; k++) pid[k] = start_child(take_forever, &queue);
        nap(0.005);
        for (int k = 0; k < SLEEPERS - 1; k++) {
            assert_int_equal(kill(pid[k], SIGKILL), 0);
            if (k % 2) wait_child(pid[k]);
        }
        for (long k = 0; k < 3; k++) assert_int_equal(dist_queue_put(queue, &k, 0), DIST_OK);
        assert_int_equal(dist_queue_close(queue), DIST_OK);
        assert_int_equal(wait_child(pid[SLEEPERS - 1]), 0);
        for (int k = 0; k < SLEEPERS - 1; k += 2) wait_child(pid[k]);
        assert_int_equal(dist_queue_length(queue), 0);
        dist_queue_free(&queue);
    }
}
