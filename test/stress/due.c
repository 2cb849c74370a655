/* due.c - a parent puts entries into the ring, workers take them out: each is taken once, with its
 * end beside its begin, and with what the parent wrote before it. There is little room, so that the
 * ring is full or empty at any time. */
#include "stress.h"

#define DIST__DUE_ROOM 8
#include "process/due.h"

#include <string.h>

enum { WORKERS = 4, ENTRIES = 100000 };

static struct dist__due due;
static struct gate gate;
static uint32_t payload[ENTRIES]; /* plain: written before the entry, read after it */
static unsigned char taken[ENTRIES];
static _Atomic(uint32_t) left;
static uint64_t run_seed;
static uint64_t full;

static uint64_t end_of(uint64_t begin) { return begin + 1 + begin * 2654435761u % 1000; }

static void *work(void *arg) {
    struct random random = random_from(run_seed + (uintptr_t)arg);
    uint64_t begin, end;
    gate_pass(&gate);
    while (atomic_load_explicit(&left, memory_order_relaxed) > 0) {
        if (!dist__due_take(&due, &begin, &end)) {
            sched_yield();
            continue;
        }
        CHECK(begin < ENTRIES && end == end_of(begin));
        CHECK(payload[begin] == (uint32_t)(begin ^ run_seed));
        taken[begin]++;
        atomic_fetch_sub_explicit(&left, 1, memory_order_relaxed);
        if (random_below(&random, 16) == 0) random_delay(&random);
    }
    return NULL;
}

/* False: there is no room. Where it counts less than there is room, as process/process.c does
 * before it puts, it can put. */
static bool put(uint64_t k, bool count) {
    payload[k] = (uint32_t)(k ^ run_seed);
    if (count && dist__due_count(&due) >= DIST__DUE_ROOM) return false;
    bool room = dist__due_put(&due, k, end_of(k));
    CHECK(room || !count);
    return room;
}

static void put_all(struct random *random) {
    for (uint64_t k = 0; k < ENTRIES;) {
        bool count = random_below(random, 2) == 0;
        uint32_t burst = 1 + random_below(random, 2 * DIST__DUE_ROOM);
        for (; burst > 0 && k < ENTRIES && put(k, count); burst--) k++;
        if (burst == 0) continue;
        full++;
        random_delay(random);
        if (random_below(random, 4) == 0) sched_yield();
    }
}

static void play(uint64_t seed) {
    struct random random = random_from(seed);
    pthread_t thread[WORKERS];
    uint64_t from = random_below(&random, 2) ? 0 : UINT32_MAX - UINT64_C(50);
    run_seed = seed;
    memset(taken, 0, sizeof taken);
    atomic_store_explicit(&due.head, from, memory_order_relaxed);
    atomic_store_explicit(&due.tail, from, memory_order_relaxed);
    atomic_store_explicit(&left, ENTRIES, memory_order_relaxed);
    atomic_store_explicit(&gate.missing, WORKERS + 1, memory_order_relaxed);
    for (uintptr_t k = 0; k < WORKERS; k++) thread[k] = start(work, (void *)k);
    gate_pass(&gate);
    put_all(&random);
    for (size_t k = 0; k < WORKERS; k++) join(thread[k]);
    for (size_t k = 0; k < ENTRIES; k++) CHECK(taken[k] == 1);
    CHECK(dist__due_count(&due) == 0);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 2 || now() < limit; rounds++)
        play(seed + rounds);
    printf("%u rounds, %d entries taken by %d workers; %llu times there was no room\n", rounds,
           ENTRIES, WORKERS, (unsigned long long)full);
    return 0;
}
