/* pool.c - what tutorials show with multiprocessing.Pool and ThreadPool: map with a chunk size,
 * apply, results that come later or one by one, callbacks and time-outs, an initializer, threads
 * for input and output, processes for computation. */
#include "check.h"

#include <dist/dist.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

static int square(int x) { return x * x; }
DIST_FN1(int, square, int)

/* with Pool(5) as p: print(p.map(f, [1, 2, 3])) */
static void map_three_numbers(void) {
    int out[3];
    CHECK(dist_process_map(square_task, ((int[]){1, 2, 3}), 3, out, .workers = 5) == DIST_OK);
    show_ints("p.map(f, [1, 2, 3])", out, 3);
    CHECK(out[0] == 1 && out[1] == 4 && out[2] == 9);
}

/* The same with workers that stay for more than one call; they leave at the end of the block, when
 * all that was submitted has run. (The end of Python's block terminates: what is queued is lost.)
 */
static void map_in_a_pool(void) {
    int out[3];
    DIST_SCOPED_POOL *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = 5);
    CHECK(dist_map(square_task, ((int[]){1, 2, 3}), 3, out, .pool = pool) == DIST_OK);
    show_ints("with Pool(5) as p", out, 3);
    CHECK(out[0] == 1 && out[1] == 4 && out[2] == 9);
}

/* map(self, func, iterable, chunksize=None) */
static void map_in_chunks_of_four(void) {
    int in[10], out[10];
    for (int i = 0; i < 10; i++) in[i] = i;
    CHECK(dist_process_map(square_task, in, 10, out, .chunk = 4) == DIST_OK);
    show_ints("p.map(f, range(10), chunksize=4)", out, 10);
    CHECK(out[9] == 81);
}

/* p = ThreadPool(processes=10); p.apply(function_to_call); p.close(); p.join() */
static int function_to_call(void) { return 42; }
DIST_FN0(int, function_to_call)

static void apply_without_arguments(void) {
    int out = 0;
    dist_pool *pool = dist_pool_open(.executor = DIST_THREAD, .workers = 10);
    CHECK(dist_apply(function_to_call_task, DIST_NONE, &out, .pool = pool) == DIST_OK);
    printf("%-40s %d\n", "p.apply(function_to_call)", out);
    CHECK(out == 42);
    CHECK(dist_pool_close(pool) == DIST_OK && dist_pool_join(pool, DIST_FOREVER) == DIST_OK);
    dist_pool_free(&pool);
}

/* result = p.apply_async(f, (7,)); result.get(timeout=0.5), and again */
static void asynchronous_results(void) {
    int in = 7, out = 0;
    dist_job *job = dist_apply_async(square_task, &in, &out, .executor = DIST_PROCESS);
    while (dist_job_wait(job, 0.5) == DIST_TIMEOUT) puts("not yet");
    CHECK(dist_job_finish(&job) == DIST_OK && job == NULL && out == 49);
}

/* for x in p.imap(f, [1, 2, 3, 4]): in order, each as soon as it is there. imap_unordered is
 * .unordered = true. */
static void one_result_at_a_time(void) {
    int in[4] = {1, 2, 3, 4}, out[4], sum = 0;
    dist_event event;
    dist_job *job = dist_map_async(square_task, in, 4, out);
    while (dist_job_next(job, &event, DIST_FOREVER) == DIST_OK) sum += *(const int *)event.result;
    printf("%-40s %d\n", "sum(p.imap(f, [1, 2, 3, 4]))", sum);
    CHECK(dist_job_finish(&job) == DIST_OK && sum == 30);
}

/* itertools.islice(p.imap(f, endless()), 5): here the input is read only as far as .in_flight
 * allows, and an endless one is no problem. (Pool reads all of it at once.) */
static bool next_number(void *item, void *source) {
    *(int *)item = (*(int *)source)++;
    return true;
}

static bool add_the_first_five(const dist_event *event, void *sum) {
    *(int *)sum += *(const int *)event->result;
    return event->index < 4;
}

static void an_endless_input(void) {
    int source = 0, sum = 0;
    CHECK(dist_stream(square_task, int, int, next_number, &source, add_the_first_five,
                      .in_flight = 4, .user = &sum) == DIST_CANCELLED);
    printf("%-40s %d\n", "sum(islice(p.imap(f, endless()), 5))", sum);
    CHECK(sum == 0 + 1 + 4 + 9 + 16 && source <= 5 + 4);
}

/* p.map_async(f, numbers, callback=...): called for each item as it ends, in the calling thread,
 * one at a time. (A callback that raises stops a Pool for good: this and every later result hangs.
 * Here it can only return.) */
static void add_up(const dist_event *event, void *sum) {
    if (event->result) *(int *)sum += *(const int *)event->result;
}

static void callbacks(void) {
    int in[10], out[10], sum = 0;
    for (int i = 0; i < 10; i++) in[i] = i;
    CHECK(dist_process_map(square_task, in, 10, out, .on_finish = add_up, .user = &sum) == DIST_OK);
    printf("%-40s %d\n", "the callback's sum of squares", sum);
    CHECK(sum == 285);
}

/* p.apply_async(work, (60,)).get(timeout=0.5): in Python the caller gets a TimeoutError and the
 * task goes on, and keeps its worker. Here it is ended, and the other items are not touched. */
static int wait_for(int seconds) {
    sleep((unsigned)seconds);
    return seconds;
}
DIST_FN1(int, wait_for, int)

static void a_task_that_is_late(void) {
    int seconds[3] = {0, 60, 0}, out[3] = {-1, -1, -1};
    dist_job *job;
    CHECK(dist_process_map(wait_for_task, seconds, 3, out, .workers = 2, .task_timeout = 0.5,
                           .silent = true, .job = &job) == DIST_OK);
    const dist_error *late = dist_job_outcome(job, 1);
    CHECK(late && late->status == DIST_TIMEOUT && dist_job_failures(job) == 1);
    printf("%-40s item %zu: %s\n", "p.map(wait_for, [0, 60, 0])", late->index, late->message);
    CHECK(out[0] == 0 && out[1] == -1 && out[2] == 0);
    dist_job_finish(&job);
}

/* Pool(initializer=connect): in Python, one that raises is started again and again, and map hangs.
 * Here the call tells why. */
static int connect_to_nobody(void **state, unsigned worker, void *user) {
    (void)state, (void)worker, (void)user;
    return dist_fail(ECONNREFUSED, "nobody listens");
}

static void an_initializer_that_fails(void) {
    int in[3] = {1, 2, 3}, out[3];
    dist_error error;
    CHECK(dist_process_map(square_task, in, 3, out, .worker_init = connect_to_nobody,
                           .error = &error) == DIST_FAILED);
    printf("%-40s %s\n", "Pool(initializer=connect)", error.message);
    CHECK(strstr(error.message, "nobody listens"));
}

/* "Parallelise a CPU-bound task with multiprocessing, and an I/O-bound task with multithreading":
 * one word apart. (In C, threads run computations in parallel too. What processes add is that a
 * crash costs one item.) */
static void threads_or_processes(void) {
    int in[3] = {1, 2, 3}, by_threads[3], by_processes[3];
    CHECK(dist_thread_map(square_task, in, 3, by_threads) == DIST_OK);
    CHECK(dist_process_map(square_task, in, 3, by_processes) == DIST_OK);
    CHECK(!memcmp(by_threads, by_processes, sizeof by_threads));
}

/* def cube(number): pool.map(cube, range(101)); pool.apply(cube, (4,))
 * .progress is what tqdm is in Python: a bar on stderr, if that is a terminal. */
static long cube(int number) { return (long)number * number * number; }
DIST_FN1(long, cube, int)

static void cubes(void) {
    int numbers[101];
    long result[101], one;
    for (int i = 0; i < 101; i++) numbers[i] = i;
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS); /* as many as there are CPUs */
    CHECK(dist_map(cube_task, numbers, 101, result, .pool = pool, .progress = "cubes") == DIST_OK);
    CHECK(dist_apply(cube_task, &numbers[4], &one, .pool = pool) == DIST_OK);
    CHECK(dist_pool_join(pool, 0) == DIST_STATE); /* not before it is closed */
    dist_pool_free(&pool);
    printf("%-40s [%ld, %ld, %ld, ... %ld]\n", "pool.map(cube, range(101))", result[0], result[1],
           result[2], result[100]);
    CHECK(one == 64 && result[100] == 1000000);
}

/* functools.reduce(operator.add, p.map(reciprocal, range(1, 1001)))
 * Without the list between them, and rounded the same way whatever the number of workers. */
static int add_reciprocals(void *sum, const void *items, size_t n, void *ctx) {
    const int *numbers = items;
    (void)ctx;
    for (size_t i = 0; i < n; i++) *(double *)sum += 1.0 / numbers[i];
    return 0;
}

static int add_sums(void *into, const void *other, void *ctx) {
    (void)ctx;
    *(double *)into += *(const double *)other;
    return 0;
}

static void one_value(void) {
    int numbers[1000];
    double sum = 0, by_one = 0;
    for (int i = 0; i < 1000; i++) numbers[i] = i + 1;
    CHECK(dist_process_reduce(add_reciprocals, add_sums, numbers, 1000, &sum) == DIST_OK);
    CHECK(dist_thread_reduce(add_reciprocals, add_sums, numbers, 1000, &by_one, .workers = 1) ==
          DIST_OK);
    printf("%-40s %.15f\n", "functools.reduce(add, ...)", sum);
    CHECK(!memcmp(&sum, &by_one, sizeof sum) && sum > 7.48 && sum < 7.49);
}

/* efficiency = working / (working + waiting), of the workers of one call */
static void how_busy(void) {
    int seconds[3] = {0, 0, 0}, out[3];
    dist_job *job;
    dist_stats stats;
    CHECK(dist_process_map(wait_for_task, seconds, 3, out, .workers = 2, .job = &job) == DIST_OK);
    CHECK(dist_job_stats(job, &stats) == DIST_OK);
    double efficiency = stats.busy / (stats.busy + stats.waiting);
    printf("%-40s %zu tasks, at most %.0f us each\n", "statistics", stats.tasks, stats.max * 1e6);
    CHECK(stats.tasks == 3 && efficiency > 0 && efficiency <= 1);
    dist_job_finish(&job);
}

int main(void) {
    map_three_numbers();
    map_in_a_pool();
    map_in_chunks_of_four();
    apply_without_arguments();
    asynchronous_results();
    one_result_at_a_time();
    an_endless_input();
    callbacks();
    a_task_that_is_late();
    an_initializer_that_fails();
    threads_or_processes();
    cubes();
    one_value();
    how_busy();
    puts("pool: all of it holds");
    return 0;
}
