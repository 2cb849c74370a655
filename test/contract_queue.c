/* contract_queue.c - what a queue does for a single thread: order, bound, limits, ends. With the
 * executor PROCESS it is one that processes can share. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

/* Every kind that the executor has: with priorities or without. */
static dist_queue *open_ints(size_t capacity, bool priority) {
    dist_queue *queue = dist_queue_open(.item_size = sizeof(int), .capacity = capacity,
                                        .priority = priority, .process_shared = X == DIST_PROCESS);
    assert_non_null(queue);
    return queue;
}

static void put_ok(dist_queue *queue, int item) {
    assert_int_equal(dist_queue_put(queue, &item, 0), DIST_OK);
}

static void get_ok(dist_queue *queue, int expected) {
    int item = -1;
    assert_int_equal(dist_queue_get(queue, &item, 0), DIST_OK);
    assert_int_equal(item, expected);
}

static void check_refusal(const char *word) {
    assert_non_null(strstr(dist_last_error()->message, word));
}

CASE("L-08", items_come_out_in_the_order_they_went_in) {
    static const size_t capacities[] = {1, 2, 3, 7, 8, 100};
    for (int priority = 0; priority < 2; priority++)
        for (size_t c = 0; c < N(capacities); c++) {
            dist_queue *queue = open_ints(capacities[c], priority);
            assert_int_equal(dist_queue_capacity(queue), capacities[c]);
            int in = 0, out = 0;
            for (unsigned round = 0; round < 300; round++) {
                size_t wanted = round * 7 % (capacities[c] + 1);
                while (dist_queue_length(queue) < wanted) put_ok(queue, in++);
                while (dist_queue_length(queue) > wanted / 2) get_ok(queue, out++);
            }
            assert_int_equal(dist_queue_length(queue), in - out);
            while (out < in) get_ok(queue, out++);
            dist_queue_free(&queue);
            assert_null(queue);
        }
}

CASE("L-08", a_full_queue_takes_nothing_more) {
    for (int priority = 0; priority < 2; priority++)
        for (size_t capacity = 1; capacity < 20; capacity++) {
            dist_queue *queue = open_ints(capacity, priority);
            for (int round = 0, in = 0; round < 3; round++) {
                int first = in;
                while (dist_queue_length(queue) < capacity) put_ok(queue, in++);
                assert_int_equal(dist_queue_put(queue, &in, 0), DIST_FULL);
                assert_int_equal(dist_last_error()->status, DIST_FULL);
                double before = now();
                assert_int_equal(dist_queue_put(queue, &in, 0.002), DIST_FULL);
                assert_true(now() - before >= 0.002);
                assert_int_equal(dist_queue_length(queue), capacity);
                for (size_t k = 0; k < capacity; k++) get_ok(queue, first++);
            }
            dist_queue_free(&queue);
        }
}

CASE("L-08", items_of_any_size_pass_whole) {
    for (int priority = 0; priority < 2; priority++)
        for (size_t size = 1; size < 3000; size = size * 3 / 2 + 1) {
            unsigned char in[3000], out[3001], spare = 99;
            dist_queue *queue =
                dist_queue_open(.item_size = size, .capacity = 3, .priority = priority,
                                .process_shared = X == DIST_PROCESS);
            assert_non_null(queue);
            for (unsigned round = 0; round < 10; round++) {
                for (size_t k = 0; k < size; k++) in[k] = (unsigned char)(k * 31 + round + size);
                memset(out, spare, sizeof out);
                assert_int_equal(dist_queue_put(queue, in, 0), DIST_OK);
                assert_int_equal(dist_queue_get(queue, out, 0), DIST_OK);
                assert_memory_equal(in, out, size);
                assert_int_equal(out[size], spare);
            }
            dist_queue_free(&queue);
        }
}

CASE("L-09", a_closed_queue_is_drained_and_takes_nothing) {
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(5, priority);
        int item = 77;
        for (int k = 0; k < 3; k++) put_ok(queue, k);
        assert_int_equal(dist_queue_close(queue), DIST_OK);
        assert_int_equal(dist_queue_close(queue), DIST_OK);
        assert_int_equal(dist_queue_put(queue, &item, DIST_FOREVER), DIST_CLOSED);
        if (priority)
            assert_int_equal(dist_queue_put_first(queue, 0, &item, DIST_FOREVER), DIST_CLOSED);
        assert_int_equal(dist_queue_length(queue), 3);
        for (int k = 0; k < 3; k++) get_ok(queue, k);
        assert_int_equal(dist_queue_get(queue, &item, DIST_FOREVER), DIST_CLOSED);
        assert_int_equal(dist_queue_get(queue, &item, 0), DIST_CLOSED);
        assert_int_equal(item, 77);
        dist_queue_free(&queue);
    }
}

CASE("L-09", a_full_queue_that_is_closed_is_closed_and_not_full) {
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(2, priority);
        put_ok(queue, 0);
        put_ok(queue, 1);
        dist_queue_close(queue);
        assert_int_equal(dist_queue_put(queue, &(int){2}, DIST_FOREVER), DIST_CLOSED);
        dist_queue_free(&queue);
    }
}

CASE("L-10", a_get_that_finds_nothing_is_a_heartbeat) {
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(3, priority);
        int item = 77;
        double begin = now();
        for (int beats = 0; beats < 4; beats++) {
            double before = now();
            assert_int_equal(dist_queue_get(queue, &item, 0.05), DIST_EMPTY);
            assert_true(now() - before >= 0.05);
        }
        assert_true(now() - begin >= 0.2);
        begin = now(); /* longer than a queue of processes sleeps at a time */
        assert_int_equal(dist_queue_get(queue, &item, 0.15), DIST_EMPTY);
        assert_true(now() - begin >= 0.15);
        assert_int_equal(item, 77);
        put_ok(queue, 5);
        assert_int_equal(dist_queue_get(queue, &item, 30.0), DIST_OK);
        assert_int_equal(dist_queue_get(queue, &item, 0.01), DIST_EMPTY);
        dist_queue_free(&queue);
    }
}

static void ignore(int number) { (void)number; }

CASE("L-10", signals_do_not_end_a_wait) {
    struct sigaction action = {.sa_handler =
                                   ignore}; /* no SA_RESTART: system calls are interrupted */
    struct itimerval often = {{0, 1000}, {0, 1000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(1, priority);
        double before = now();
        assert_int_equal(dist_queue_get(queue, &(int){0}, 0.05), DIST_EMPTY);
        put_ok(queue, 1);
        assert_int_equal(dist_queue_put(queue, &(int){2}, 0.05), DIST_FULL);
        assert_int_equal(dist_queue_join(queue, 0.05), DIST_TIMEOUT);
        assert_true(now() - before >= 0.15);
        dist_queue_free(&queue);
    }
    assert_int_equal(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL), 0);
}

/* Each of them waits, in a thread that was cancelled. */
__attribute__((noinline)) static void wait_everywhere(bool *survived) {
    dist_queue *queue = open_ints(1, X == DIST_PROCESS);
    int item = 3;
    dist_queue_put(queue, &item, 0.01);
    dist_queue_put(queue, &item, 0.01);
    dist_queue_join(queue, 0.01);
    dist_queue_get(queue, &item, 0.01);
    dist_queue_get(queue, &item, 0.01);
    dist_queue_free(&queue);
    *survived = true;
}

/* And then looks whether it is only where it says so. */
static void *use_while_cancelled(void *arg) {
    pthread_cancel(pthread_self());
    wait_everywhere(arg);
    pthread_testcancel();
    return arg;
}

CASE("L-15", a_thread_is_not_cancelled_inside_a_wait) {
    pthread_t thread;
    bool survived = false;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, use_while_cancelled, &survived), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_true(survived);
    assert_ptr_equal(result, PTHREAD_CANCELED);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

CASE("G-18", a_wait_costs_no_cpu_time) {
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(1, priority);
        double before = cpu_seconds();
        assert_int_equal(dist_queue_get(queue, &(int){0}, 1), DIST_EMPTY);
        assert_true(cpu_seconds() - before < (SANITIZED ? 0.3 : 0.1));
        dist_queue_free(&queue);
    }
}

CASE("L-15", errno_stays_as_it_was) {
    for (int priority = 0; priority < 2; priority++) {
        int item = 1;
        errno = 1234;
        dist_queue *queue = open_ints(1, priority);
        dist_queue_put(queue, &item, DIST_FOREVER);
        dist_queue_put(queue, &item, 0.001);
        dist_queue_get(queue, &item, DIST_FOREVER);
        dist_queue_get(queue, &item, 0.001);
        dist_queue_task_done(queue);
        dist_queue_join(queue, DIST_FOREVER);
        dist_queue_close(queue);
        dist_queue_free(&queue);
        assert_int_equal(errno, 1234);
    }
}

CASE("L-12", an_item_put_first_overtakes) {
    dist_queue *queue = open_ints(16, true);
    for (int i = 0; i < 6; i++) assert_int_equal(dist_queue_put_first(queue, 1, &i, 0), DIST_OK);
    assert_int_equal(dist_queue_put_first(queue, 0, &(int){99}, 0), DIST_OK);
    get_ok(queue, 99);
    for (int i = 0; i < 6; i++) get_ok(queue, i);
    dist_queue_free(&queue);
}

CASE("L-12", plain_puts_stand_behind_all_that_are_put_first) {
    dist_queue *queue = open_ints(16, true);
    put_ok(queue, 10);
    assert_int_equal(dist_queue_put_first(queue, 1000000, &(int){2}, 0), DIST_OK);
    assert_int_equal(dist_queue_put_first(queue, INT32_MIN, &(int){0}, 0), DIST_OK);
    put_ok(queue, 11);
    assert_int_equal(dist_queue_put_first(queue, -5, &(int){1}, 0), DIST_OK);
    for (int i = 0; i < 3; i++) get_ok(queue, i);
    get_ok(queue, 10);
    get_ok(queue, 11);
    dist_queue_free(&queue);
}

CASE("L-12", a_queue_without_priorities_refuses_them) {
    dist_queue *queue = open_ints(16, false);
    assert_int_equal(dist_queue_put_first(queue, 0, &(int){1}, 0), DIST_INVALID);
    check_refusal("priority");
    assert_int_equal(dist_queue_length(queue), 0);
    dist_queue_free(&queue);
}

/* Against an oracle that looks for the first of the lowest. */
CASE("L-13", equal_priorities_keep_their_order) {
    enum { MOST = 40, STEPS = 4000 };
    struct entry {
        int priority, item;
    } held[MOST];
    uint32_t random = random_seed();
    dist_queue *queue = open_ints(MOST, true);
    size_t count = 0;
    for (int step = 0; step < STEPS; step++) {
        if (count < MOST && random_below(&random, 100) < 52) {
            struct entry one = {(int)random_below(&random, 4) - 2, step};
            assert_int_equal(dist_queue_put_first(queue, one.priority, &one.item, 0), DIST_OK);
            held[count++] = one;
        } else if (count > 0) {
            size_t first = 0;
            for (size_t k = 1; k < count; k++)
                if (held[k].priority < held[first].priority) first = k;
            get_ok(queue, held[first].item);
            memmove(&held[first], &held[first + 1], (--count - first) * sizeof *held);
        }
        assert_int_equal(dist_queue_length(queue), count);
    }
    dist_queue_free(&queue);
}

CASE("L-14", a_queue_knows_what_is_unfinished) {
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(8, priority);
        assert_int_equal(dist_queue_join(queue, DIST_FOREVER), DIST_OK);
        assert_int_equal(dist_queue_task_done(queue), DIST_STATE);
        check_refusal("task_done");
        for (int k = 0; k < 3; k++) put_ok(queue, k);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(dist_queue_join(queue, 0), DIST_TIMEOUT);
            get_ok(queue, k);
            assert_int_equal(dist_queue_join(queue, 0.002), DIST_TIMEOUT);
            assert_int_equal(dist_queue_task_done(queue), DIST_OK);
        }
        assert_int_equal(dist_queue_join(queue, 0), DIST_OK);
        assert_int_equal(dist_queue_task_done(queue), DIST_STATE);
        put_ok(queue, 3);
        dist_queue_close(queue);
        assert_int_equal(dist_queue_join(queue, 0), DIST_TIMEOUT);
        get_ok(queue, 3);
        assert_int_equal(dist_queue_task_done(queue), DIST_OK);
        assert_int_equal(dist_queue_join(queue, DIST_FOREVER), DIST_OK);
        dist_queue_free(&queue);
    }
}

CASE("L-15", a_limit_of_zero_polls) {
    for (int priority = 0; priority < 2; priority++) {
        dist_queue *queue = open_ints(1, priority);
        int item = 5;
        assert_int_equal(dist_queue_get(queue, &item, 0), DIST_EMPTY);
        put_ok(queue, 1);
        assert_int_equal(dist_queue_put(queue, &item, 0), DIST_FULL);
        get_ok(queue, 1);
        assert_int_equal(dist_queue_get(queue, &item, 0), DIST_EMPTY);
        dist_queue_free(&queue);
    }
}

CASE("L-15", without_a_capacity_there_is_room_for_65536) {
    dist_queue *queue = open_ints(0, false);
    assert_int_equal(dist_queue_capacity(queue), 65536);
    for (int k = 0; k < 65536; k++) put_ok(queue, k);
    assert_int_equal(dist_queue_put(queue, &(int){0}, 0), DIST_FULL);
    for (int k = 0; k < 65536; k++) get_ok(queue, k);
    dist_queue_free(&queue);
}

CASE("G-15", a_wrong_argument_is_refused_and_named) {
    static const struct {
        dist_queue_opts opts;
        const char *word;
    } wrong[] = {
        {{.size = 0, .item_size = 4}, "size"},
        {{.size = sizeof(dist_queue_opts) + 8, .item_size = 4}, "size"},
        {{.size = sizeof(dist_queue_opts)}, "item_size"},
        {{.size = sizeof(dist_queue_opts), .item_size = 64, .capacity = SIZE_MAX / 32}, "capacity"},
        {{.size = sizeof(dist_queue_opts), .item_size = SIZE_MAX, .capacity = 1}, "capacity"},
        {{.size = sizeof(dist_queue_opts), .item_size = SIZE_MAX - 60, .capacity = 1}, "capacity"},
    };
    for (size_t k = 0; k < N(wrong); k++) {
        dist_queue_opts opts = wrong[k].opts;
        opts.process_shared = X == DIST_PROCESS;
        assert_null(dist_queue_open_fn(&opts));
        assert_int_equal(dist_last_error()->status, DIST_INVALID);
        check_refusal(wrong[k].word);
    }
    assert_null(dist_queue_open_fn(NULL));
    assert_int_equal(dist_last_error()->status, DIST_INVALID);
}

CASE("G-15", functions_of_queues_refuse_NULL) {
    dist_queue *queue = open_ints(1, true), *none = NULL;
    int item = 1;
    assert_int_equal(dist_queue_put(NULL, &item, 0), DIST_INVALID);
    check_refusal("queue");
    assert_int_equal(dist_queue_put(queue, NULL, 0), DIST_INVALID);
    check_refusal("item");
    assert_int_equal(dist_queue_put_first(NULL, 0, &item, 0), DIST_INVALID);
    assert_int_equal(dist_queue_put_first(queue, 0, NULL, 0), DIST_INVALID);
    assert_int_equal(dist_queue_get(NULL, &item, 0), DIST_INVALID);
    assert_int_equal(dist_queue_get(queue, NULL, 0), DIST_INVALID);
    assert_int_equal(dist_queue_task_done(NULL), DIST_INVALID);
    assert_int_equal(dist_queue_join(NULL, 0), DIST_INVALID);
    assert_int_equal(dist_queue_close(NULL), DIST_INVALID);
    assert_int_equal(dist_queue_length(NULL), 0);
    assert_int_equal(dist_queue_capacity(NULL), 0);
    dist_queue_free(NULL);
    dist_queue_free(&none);
    assert_int_equal(dist_queue_length(queue), 0);
    dist_queue_free(&queue);
}

CASE("G-15", a_queue_that_no_memory_can_hold_is_none) {
    if (SANITIZED) skip(); /* their allocator ends the program */
    dist_queue *queue = dist_queue_open(.item_size = 1 << 20, .capacity = (size_t)1 << 40,
                                        .process_shared = X == DIST_PROCESS);
    if (!queue) assert_int_equal(dist_last_error()->status, DIST_NOMEM);
    dist_queue_free(&queue);
}
