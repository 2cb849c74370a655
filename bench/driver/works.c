#include "works.h"

#define MS  1000000u
#define MIB (1024u * 1024u)

static const struct column threads[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist map", "peer-dist", "map", DIST, 0},
    {"dist map, 2 workers", "peer-dist", "map-2", DIST, 0},
    {"dist map, in place", "peer-dist", "map-in-place", DIST, 0},
    {"dist for", "peer-dist", "for", DIST, 0},
    {"dist for, 2 workers", "peer-dist", "for-2", DIST, 0},
    {"OpenMP static", "peer-openmp", "static", PEER, 0},
    {"OpenMP guided", "peer-openmp", "guided", PEER, 0},
    {"oneTBB auto", "peer-tbb", "auto", PEER, 0},
    {0},
};

static const struct column uneven[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist map", "peer-dist", "map", DIST, 0},
    {"dist map, 2 workers", "peer-dist", "map-2", DIST, 0},
    {"dist for", "peer-dist", "for", DIST, 0},
    {"OpenMP static", "peer-openmp", "static", PEER, 0},
    {"OpenMP dynamic", "peer-openmp", "dynamic", PEER, 0},
    {"OpenMP guided", "peer-openmp", "guided", PEER, 0},
    {"oneTBB auto", "peer-tbb", "auto", PEER, 0},
    {0},
};

static const struct column sleepers[] = {
    {"dist map", "peer-dist", "map", DIST, NO_BASE},
    {"OpenMP static", "peer-openmp", "static", PEER, NO_BASE},
    {"OpenMP dynamic", "peer-openmp", "dynamic", PEER, NO_BASE},
    {"oneTBB auto", "peer-tbb", "auto", PEER, NO_BASE},
    {0},
};

/* A task for each item. */
static const struct column tasks[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist jobs", "peer-dist", "tasks", DIST, 0},
    {"OpenMP task", "peer-openmp", "tasks", PEER, 0},
    {"oneTBB task_group", "peer-tbb", "tasks", PEER, 0},
    {"GLib GThreadPool", "peer-glib", "tasks", PEER, 0},
    {"libuv", "peer-libuv", "tasks", PEER, 0},
    {0},
};

static const struct column tasks_inside[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist jobs", "peer-dist", "tasks-inside", DIST, 0},
    {"OpenMP task", "peer-openmp", "tasks-inside", PEER, 0},
    {"oneTBB task_group", "peer-tbb", "tasks-inside", PEER, 0},
    {"GLib GThreadPool", "peer-glib", "tasks-inside", PEER, 0},
    {0},
};

static const struct column tasks_of_four[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist jobs", "peer-dist", "tasks-of-four", DIST, 0},
    {"oneTBB task_group", "peer-tbb", "tasks-of-four", PEER, 0},
    {"GLib GThreadPool", "peer-glib", "tasks-of-four", PEER, 0},
    {0},
};

static const struct column fork_join[] = {
    {"plain calls", "peer-serial", "loop", SERIAL, 0},
    {"dist jobs", "peer-dist", "fork-join", DIST, 0},
    {"OpenMP task", "peer-openmp", "fork-join", PEER, 0},
    {"oneTBB task_group", "peer-tbb", "fork-join", PEER, 0},
    {0},
};

/* What they spend when they have nothing to do. The first one has no threads: the measuring itself.
 */
static const struct column idlers[] = {
    {"no pool", "peer-serial", "loop", SERIAL, 0},
    {"dist map", "peer-dist", "map", DIST, 0},
    {"dist jobs", "peer-dist", "tasks", DIST, 0},
    {"OpenMP task", "peer-openmp", "tasks", PEER, 0},
    {"oneTBB task_group", "peer-tbb", "tasks", PEER, 0},
    {"GLib GThreadPool", "peer-glib", "tasks", PEER, 0},
    {"libuv", "peer-libuv", "tasks", PEER, 0},
    {0},
};

/* Items of 64 bytes from threads to threads, at most 1024 on their way (GLib: any number). */
static const struct column queues[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist_queue", "peer-dist", "queue", DIST, 0},
    {"dist_queue, .priority", "peer-dist", "queue-priority", DIST, 0},
    {"dist_queue, .process_shared", "peer-dist", "queue-shared", DIST, 0},
    {"mutex and condition", "peer-condvar", "queue", PEER, 0},
    {"GLib GAsyncQueue", "peer-glib", "queue", PEER, 0},
    {"ck_ring, sched_yield", "peer-ck", "queue", PEER, 0},
    {0},
};

/* Worker processes that are kept. Python's task is abs(). */
static const struct column starters[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist pool", "peer-dist_pool", "start", DIST, 0},
    {"Python Pool", "peer-pool.py", "new", PEER, 0},
    {0},
};

static const struct column appliers[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist_apply, .pool", "peer-dist_pool", "apply", DIST, 0},
    {"Python Pool.apply", "peer-pool.py", "apply", PEER, 0},
    {"Python futures", "peer-pool.py", "futures", PEER, 0},
    {0},
};

static const struct column mappers[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist_map, .pool", "peer-dist_pool", "map", DIST, 0},
    {"dist jobs, .pool", "peer-dist_pool", "jobs", DIST, 0},
    {"Python Pool.map", "peer-pool.py", "warm", PEER, 0},
    {"Python Pool.apply_async", "peer-pool.py", "one-by-one", PEER, 0},
    {"Python futures", "peer-pool.py", "futures", PEER, 0},
    {0},
};

static const struct column copiers[] = {
    {"serial memcpy", "peer-serial", "copy", SERIAL, 0},
    {"dist_map, copied", "peer-dist_pool", "copied", DIST, 0},
    {"dist_map, in an arena", "peer-dist_pool", "in-place", DIST, 0},
    {"Python Pool.map", "peer-pool.py", "warm", PEER, 0},
    {0},
};

/* The others hang, or lose more than the one item. */
static const struct column survivors[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist_map, .pool", "peer-dist_pool", "map", DIST, 0},
    {"one worker killed", "peer-dist_pool", "killed", DIST, 0},
    {"one late, 100 ms", "peer-dist_pool", "late", DIST, 0},
    {0},
};

/* Python is compared with its own serial loop: its task is another one than that of the C programs.
 */
static const struct column heavy[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist process map", "peer-dist", "process", DIST, 0},
    {"dist thread map", "peer-dist", "map", DIST, 0},
    {"fork, static halves", "peer-fork", "halves", PEER, 0},
    {"Python serial", "peer-pool.py", "serial", SERIAL, 4},
    {"Python Pool, warm", "peer-pool.py", "warm", PEER, 4},
    {"Python Pool, new", "peer-pool.py", "new", PEER, 4},
    {0},
};

static const struct column readers[] = {
    {"serial loop", "peer-serial", "loop", SERIAL, 0},
    {"dist process map", "peer-dist", "process", DIST, 0},
    {"fork, static halves", "peer-fork", "halves", PEER, 0},
    {"Python Pool, new", "peer-pool.py", "new", PEER, 0},
    {0},
};

static const struct row t1[] = {
    {"10^6 ints", "hash", {1000000, 0, 20 * MS}, {100000, 0, MS}, 0, 25, false},
    {0},
};

static const struct row t2[] = {
    {"10^6 tasks", "hash", {1000000, 0, 0}, {20000, 0, 0}, 0, 15, false},
    {0},
};

static const struct row t3[] = {
    {"1 task", "hash", {1, 0, 10 * MS}, {1, 0, MS}, 0, 15, false},
    {0},
};

static const struct row t4[] = {
    {"2 items", "hash", {2, 0, 10 * MS}, {2, 0, MS}, 0, 15, false},
    {"8 items", "hash", {8, 0, 10 * MS}, {8, 0, MS}, 0, 15, false},
    {"64 items", "hash", {64, 0, 10 * MS}, {64, 0, MS}, 0, 15, false},
    {0},
};

/* fib(27) makes 317,810 tasks, fib(18) 4,180 */
static const struct row t5[] = {
    {"fib(27), no cut-off", "fib", {317810, 27, 0}, {4180, 18, 0}, 0, 15, false},
    {0},
};

static const struct row t9[] = {
    {"2 s", "idle", {1000, 2000 * MS, 0}, {100, 50 * MS, 0}, 0, 3, false},
    {0},
};

static const struct row q1[] = {
    {"1 producer, 1 consumer", "hash", {1000000, 0, 0}, {20000, 0, 0}, 2, 15, false},
    {"2 producers, 2 consumers", "hash", {1000000, 0, 0}, {20000, 0, 0}, 4, 15, false},
    {0},
};

static const struct row t6[] = {
    {"random Pareto", "spin-pareto", {10000, 200 * MS, 0}, {10000, 10 * MS, 0}, 0, 15, false},
    {"ascending", "spin-up", {10000, 200 * MS, 0}, {10000, 10 * MS, 0}, 0, 15, false},
    {"descending", "spin-down", {10000, 200 * MS, 0}, {10000, 10 * MS, 0}, 0, 15, false},
    {0},
};

static const struct row t7[] = {
    {"1000 x 10 ms on 100, warm", "sleep", {1000, 10 * MS, 0}, {200, MS, 0}, 100, 15, false},
    {"1000 x 10 ms on 100, first call", "sleep", {1000, 10 * MS, 0}, {200, MS, 0}, 100, 7, true},
    {"10^4 x 1 ms on 1000, warm", "sleep", {10000, MS, 0}, {2000, MS, 0}, 1000, 15, false},
    {"10^4 x 1 ms on 1000, first call", "sleep", {10000, MS, 0}, {2000, MS, 0}, 1000, 7, true},
    {0},
};

static const struct row p1[] = {
    {"2 workers", "hash", {1, 0, 10 * MS}, {1, 0, MS}, 2, 15, false},
    {"16 workers", "hash", {1, 0, 10 * MS}, {1, 0, MS}, 16, 15, false},
    {0},
};

static const struct row p2[] = {
    {"1 task", "hash", {1, 0, 10 * MS}, {1, 0, MS}, 2, 15, false},
    {0},
};

static const struct row p3[] = {
    {"10^5 tasks", "hash", {100000, 0, 0}, {2000, 0, 0}, 2, 9, false},
    {0},
};

static const struct row p4[] = {
    {"256 x 1 MiB", "copy", {256, 256 * MIB, 0}, {16, 16 * MIB, 0}, 2, 9, false},
    {0},
};

static const struct row p6[] = {
    {"100 tasks", "hash", {100, 0, 0}, {100, 0, 0}, 2, 9, false},
    {0},
};

static const struct row p5[] = {
    {"200 calls of 5 ms", "spin-even", {200, 1000 * MS, 0}, {20, 20 * MS, 0}, 0, 15, false},
    {0},
};

static const struct row p7[] = {
    {"4 KiB pages", "read-small", {100, 1024 * MIB, 0}, {100, 64 * MIB, 0}, 0, 15, false},
    {"huge pages", "read-huge", {100, 1024 * MIB, 0}, {100, 64 * MIB, 0}, 0, 15, false},
    {0},
};

const struct work works[] = {
    {"T1", "map through an opaque function pointer", "ns/item", 1, true, SPEED_UP, threads, t1},
    {"T2", "trivial tasks submitted one by one, then waited for", "ns/task", 1, true, SPEED_UP,
     tasks, t2},
    {"T2b", "the same from inside a task", "ns/task", 1, true, SPEED_UP, tasks_inside, t2},
    {"T3", "one task, submitted and waited for, back to back", "us/task", 1e3, false, SPEED_UP,
     tasks, t3},
    {"T4", "parallel loops of trivial items, back to back", "us/call", 1e3, false, SPEED_UP,
     threads, t4},
    {"T5", "a task for each call of a recursive function", "ns/task", 1, true, SPEED_UP, fork_join,
     t5},
    {"T6", "10^4 items of uneven cost", "ms", 1e6, false, EFFICIENCY, uneven, t6},
    {"T7", "tasks that sleep", "ms", 1e6, false, TIMES_IDEAL, sleepers, t7},
    {"T8", "T2 by four threads at once", "ns/task", 1, true, SPEED_UP, tasks_of_four, t2},
    {"T9", "CPU time of a pool that has nothing to do", "us", 1e3, false, SPEED_UP, idlers, t9},
    {"Q1", "items of 64 bytes through a queue", "ns/item", 1, true, SPEED_UP, queues, q1},
    {"P1", "a pool is opened, gives one result, and ends", "ms", 1e6, false, SPEED_UP, starters,
     p1},
    {"P2", "one task in a warm pool, back to back", "us/task", 1e3, false, SPEED_UP, appliers, p2},
    {"P3", "trivial tasks in a warm pool", "ns/task", 1, true, SPEED_UP, mappers, p3},
    {"P4", "buffers to other processes and back", "ms", 1e6, false, SPEED_UP, copiers, p4},
    {"P6", "a task dies, a task never ends (P9)", "ms", 1e6, false, SPEED_UP, survivors, p6},
    {"P5", "CPU-heavy calls in other processes", "ms", 1e6, false, SPEED_UP, heavy, p5},
    {"P7", "100 tasks that read 1 GiB of their parent", "ms", 1e6, false, SPEED_UP, readers, p7},
    {0},
};

size_t work_columns(const struct work *w) {
    size_t count = 0;
    while (w->columns[count].label) count++;
    return count;
}
