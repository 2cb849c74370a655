/* deque.c - one owner pushes, pops, grows and opens, thieves steal: every element is taken exactly
 * once. A thief that gets several puts them into a deque of its own, where others steal, too. The
 * payload is plain memory, so that a thread sanitizer sees whether a steal comes after its
 * push. */
#include "stress.h"
#include "thread/deque.h"

#include <string.h>

enum { THIEVES = 4, ELEMENTS = 20000 };

struct element {
    uint32_t payload;
    uint32_t taken; /* by the one thread that takes it */
};

static struct element element[ELEMENTS];
static struct dist__deque deque;
static struct dist__deque own[THIEVES];
static struct gate gate;
static _Atomic(bool) ended;
static int64_t size_most;
static uint32_t burst_most;
static _Atomic(unsigned) several; /* steals that got more than one */

static uint32_t payload_of(const struct element *one) {
    return (uint32_t)(one - element) * 2654435761u;
}

static void take(struct element *one) {
    CHECK(one->payload == payload_of(one));
    one->taken++;
}

/* Runs dry what the thief has kept, from either end. */
static void empty(struct dist__deque *kept, struct random *random) {
    struct element *one;
    bool lost;
    do {
        one = random_below(random, 2) ? dist__deque_pop(kept) : dist__deque_steal(kept, &lost);
        if (one) take(one);
    } while (one || dist__deque_count(kept) > 0);
}

/* Returns how many it got; the first is taken at once. */
static int64_t steal(struct dist__deque *from, struct dist__deque *kept, int64_t most, bool *lost) {
    void *got[DIST__DEQUE_REACH];
    int64_t count = dist__deque_steal_some(from, got, most, lost);
    if (count > 1) {
        CHECK(dist__deque_offer_some(kept, &got[1], count - 1));
        atomic_fetch_add_explicit(&several, 1, memory_order_relaxed);
    }
    if (count > 0) take(got[0]);
    return count;
}

static void *thief(void *arg) {
    size_t number = (uintptr_t)arg % THIEVES;
    struct dist__deque *kept = &own[number];
    struct random random = random_from((uintptr_t)arg);
    gate_pass(&gate);
    for (;;) {
        bool lost, last = atomic_load_explicit(&ended, memory_order_acquire);
        size_t victim = random_below(&random, THIEVES + 1);
        int64_t most = 1 + (int64_t)random_below(&random, DIST__DEQUE_REACH);
        struct dist__deque *from = victim < THIEVES ? &own[victim] : &deque;
        if (from == kept) from = &deque;
        if (steal(from, kept, most, &lost) == 0 && !lost && last && from == &deque) return NULL;
        if (random_below(&random, 4) == 0) random_delay(&random);
        empty(kept, &random);
    }
}

static struct dist__deque_block *new_block(int64_t size) {
    struct dist__deque_block *block =
        malloc(sizeof *block + (size_t)size * sizeof(_Atomic(void *)));
    CHECK(block);
    block->older = NULL;
    block->size = size;
    for (int64_t i = 0; i < size; i++) atomic_init(&block->slot[i], NULL);
    return block;
}

static bool pop(void) {
    struct element *one = dist__deque_pop(&deque);
    if (one) take(one);
    return one != NULL;
}

/* Full: grows, as far as this round may; else makes room by itself. */
static void push(struct element *one) {
    while (!dist__deque_push(&deque, one)) {
        struct dist__deque_block *block = atomic_load_explicit(&deque.block, memory_order_relaxed);
        if (block->size < size_most) dist__deque_grow(&deque, new_block(2 * block->size));
        else if (!pop()) sched_yield();
    }
}

static void owner(struct random *random) {
    gate_pass(&gate);
    for (size_t k = 0; k < ELEMENTS;) {
        uint32_t burst = 1 + random_below(random, burst_most);
        for (; burst > 0 && k < ELEMENTS; burst--, k++) {
            element[k].payload = payload_of(&element[k]);
            push(&element[k]);
        }
        dist__deque_open(&deque, DIST__DEQUE_REACH);
        burst = random_below(random, burst_most + 1);
        for (; burst > 0 && pop(); burst--) random_delay(random);
    }
    while (pop()) {
    }
    atomic_store_explicit(&ended, true, memory_order_release);
}

static void close_deque(struct dist__deque *one) {
    struct dist__deque_block *older,
        *block = atomic_load_explicit(&one->block, memory_order_relaxed);
    for (; block; block = older) {
        older = block->older;
        free(block);
    }
}

static int64_t play(uint64_t seed) {
    struct random random = random_from(seed);
    pthread_t thread[THIEVES];
    memset(element, 0, sizeof element);
    size_most = INT64_C(1) << random_below(&random, 12);
    burst_most = random_below(&random, 2) ? 8 : 64;
    for (size_t i = 0; i < THIEVES; i++) dist__deque_init(&own[i], new_block(DIST__DEQUE_REACH));
    dist__deque_init(&deque, new_block(1 + random_below(&random, 2)));
    atomic_store_explicit(&ended, false, memory_order_relaxed);
    atomic_store_explicit(&gate.missing, THIEVES + 1, memory_order_relaxed);
    for (size_t i = 0; i < THIEVES; i++)
        thread[i] = start(thief, (void *)(uintptr_t)(seed * THIEVES + i));
    owner(&random);
    for (size_t i = 0; i < THIEVES; i++) join(thread[i]);
    for (size_t k = 0; k < ELEMENTS; k++) CHECK(element[k].taken == 1);
    for (size_t i = 0; i < THIEVES; i++) close_deque(&own[i]);
    int64_t size = atomic_load_explicit(&deque.block, memory_order_relaxed)->size;
    close_deque(&deque);
    return size;
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    int64_t largest = 0;
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 4 || now() < limit; rounds++) {
        int64_t size = play(seed + rounds);
        if (size > largest) largest = size;
    }
    printf("%u rounds of %d elements with %d thieves, blocks of up to %lld, %u times several\n",
           rounds, ELEMENTS, THIEVES, (long long)largest,
           atomic_load_explicit(&several, memory_order_relaxed));
    return 0;
}
