/* inbox.c - producers push nodes that they use again and again, consumers drain: every node comes
 * out once for each push, with its contents, and those of one producer in their order. */
#include "stress.h"
#include "thread/inbox.h"

enum { PRODUCERS = 4, CONSUMERS = 2, OWN = 16, EACH = 40000 };

struct parcel {
    struct dist__node node; /* first */
    _Atomic(bool) out;      /* producer sets it, consumer clears it and gives the parcel back */
    uint32_t producer, number;
};

static struct dist__inbox inbox;
static struct parcel parcel[PRODUCERS][OWN];
static struct gate gate;
static _Atomic(uint32_t) received;
static uint64_t run_seed;

static void *produce(void *arg) {
    uint32_t self = (uint32_t)(uintptr_t)arg;
    struct random random = random_from(run_seed + self);
    gate_pass(&gate);
    for (uint32_t number = 0; number < EACH; number++) {
        struct parcel *mine = &parcel[self][number % OWN];
        while (atomic_load_explicit(&mine->out, memory_order_acquire)) sched_yield();
        atomic_store_explicit(&mine->out, true, memory_order_relaxed);
        mine->producer = self;
        mine->number = number;
        dist__inbox_push(&inbox, &mine->node);
        if (random_below(&random, 16) == 0) random_delay(&random);
    }
    return NULL;
}

/* next[p]: the least number of producer p that may still come to this consumer. */
static uint32_t drain(uint32_t next[PRODUCERS]) {
    uint32_t count = 0;
    for (struct dist__node *node = dist__inbox_drain(&inbox), *after; node; node = after) {
        struct parcel *got = (struct parcel *)node;
        after = node->next;
        CHECK(got->producer < PRODUCERS && got->number >= next[got->producer]);
        CHECK(got == &parcel[got->producer][got->number % OWN]);
        next[got->producer] = got->number + 1;
        atomic_store_explicit(&got->out, false, memory_order_release);
        count++;
    }
    return count;
}

static void *consume(void *arg) {
    struct random random = random_from(run_seed + (uintptr_t)arg);
    uint32_t next[PRODUCERS] = {0};
    gate_pass(&gate);
    while (atomic_load_explicit(&received, memory_order_relaxed) < PRODUCERS * EACH) {
        uint32_t count = drain(next);
        atomic_fetch_add_explicit(&received, count, memory_order_relaxed);
        if (count == 0) sched_yield();
        else if (random_below(&random, 4) == 0) random_delay(&random);
    }
    return NULL;
}

static void play(uint64_t seed) {
    pthread_t thread[PRODUCERS + CONSUMERS];
    run_seed = seed;
    atomic_store_explicit(&received, 0, memory_order_relaxed);
    atomic_store_explicit(&gate.missing, PRODUCERS + CONSUMERS, memory_order_relaxed);
    for (uintptr_t k = 0; k < PRODUCERS + CONSUMERS; k++)
        thread[k] = start(k < PRODUCERS ? produce : consume, (void *)k);
    for (size_t k = 0; k < PRODUCERS + CONSUMERS; k++) join(thread[k]);
    CHECK(atomic_load_explicit(&received, memory_order_relaxed) == PRODUCERS * EACH);
    CHECK(dist__inbox_drain(&inbox) == NULL);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 2 || now() < limit; rounds++)
        play(seed + rounds);
    printf("%u rounds, %d producers of %d nodes, %d consumers\n", rounds, PRODUCERS, EACH,
           CONSUMERS);
    return 0;
}
