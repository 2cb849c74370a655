/* pool.c - what tutorials show with multiprocessing.Pool and ThreadPool: map with a chunk size,
 * apply, threads for input and output, processes for computation. */
#include "check.h"

#include <dist/dist.h>
#include <string.h>

static int square(int x) { return x * x; }
DIST_FN1(int, square, int)

/* p.map(f, [1, 2, 3]) with five processes */
static void map_three_numbers(void) {
    int out[3];
    CHECK(dist_process_map(square_task, ((int[]){1, 2, 3}), 3, out, .workers = 5) == DIST_OK);
    CHECK(out[0] == 1 && out[1] == 4 && out[2] == 9);
}

/* map(self, func, iterable, chunksize=None) */
static void map_in_chunks_of_four(void) {
    int in[10], out[10];
    for (int i = 0; i < 10; i++) in[i] = i;
    CHECK(dist_process_map(square_task, in, 10, out, .chunk = 4) == DIST_OK);
    CHECK(out[9] == 81);
}

/* p = ThreadPool(processes=10); p.apply(function_to_call) */
static int function_to_call(void) { return 42; }
DIST_FN0(int, function_to_call)

static void apply_without_arguments(void) {
    int out = 0;
    CHECK(dist_thread_apply(function_to_call_task, DIST_NONE, &out, .workers = 10) == DIST_OK);
    CHECK(out == 42);
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

/* def cube(number): pool.map(cube, range(101)); pool.apply(cube, (4,)) */
static long cube(int number) { return (long)number * number * number; }
DIST_FN1(long, cube, int)

static void cubes(void) {
    int numbers[101];
    long result[101], one;
    for (int i = 0; i < 101; i++) numbers[i] = i;
    CHECK(dist_process_map(cube_task, numbers, 101, result) == DIST_OK);
    CHECK(dist_process_apply(cube_task, &numbers[4], &one) == DIST_OK);
    CHECK(one == 64 && result[100] == 1000000);
}

int main(void) {
    map_three_numbers();
    map_in_chunks_of_four();
    apply_without_arguments();
    threads_or_processes();
    cubes();
    puts("pool: all of it holds");
    return 0;
}
