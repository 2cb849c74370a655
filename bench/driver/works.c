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

static const struct row t4[] = {
    {"2 items", "hash", {2, 0, 10 * MS}, {2, 0, MS}, 0, 15, false},
    {"8 items", "hash", {8, 0, 10 * MS}, {8, 0, MS}, 0, 15, false},
    {"64 items", "hash", {64, 0, 10 * MS}, {64, 0, MS}, 0, 15, false},
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
    {"T4", "parallel loops of trivial items, back to back", "us/call", 1e3, false, SPEED_UP,
     threads, t4},
    {"T6", "10^4 items of uneven cost", "ms", 1e6, false, EFFICIENCY, uneven, t6},
    {"T7", "tasks that sleep", "ms", 1e6, false, TIMES_IDEAL, sleepers, t7},
    {"P5", "CPU-heavy calls in other processes", "ms", 1e6, false, SPEED_UP, heavy, p5},
    {"P7", "100 tasks that read 1 GiB of their parent", "ms", 1e6, false, SPEED_UP, readers, p7},
    {0},
};

size_t work_columns(const struct work *w) {
    size_t count = 0;
    while (w->columns[count].label) count++;
    return count;
}
