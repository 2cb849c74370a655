/* deque.c - one owner pushes, pops and grows, thieves steal: every element is taken exactly once.
 * The payload is plain memory, so that a thread sanitizer sees whether a steal comes after its
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
static struct gate gate;
static _Atomic(bool) ended;
static int64_t size_most;

static uint32_t payload_of(const struct element *one) {
    return (uint32_t)(one - element) * 2654435761u;
}

static void take(struct element *one) {
    CHECK(one->payload == payload_of(one));
    one->taken++;
}

static void *thief(void *arg) {
    struct random random = random_from((uintptr_t)arg);
    gate_pass(&gate);
    for (;;) {
        bool lost, last = atomic_load_explicit(&ended, memory_order_acquire);
        struct element *one = dist__deque_steal(&deque, &lost);
        if (one) take(one);
        else if (!lost && last) return NULL;
        if (random_below(&random, 4) == 0) random_delay(&random);
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
        uint32_t burst = 1 + random_below(random, 8);
        for (; burst > 0 && k < ELEMENTS; burst--, k++) {
            element[k].payload = payload_of(&element[k]);
            push(&element[k]);
        }
        for (burst = random_below(random, 9); burst > 0 && pop(); burst--) random_delay(random);
    }
    while (pop()) {
    }
    atomic_store_explicit(&ended, true, memory_order_release);
}

static int64_t play(uint64_t seed) {
    struct random random = random_from(seed);
    pthread_t thread[THIEVES];
    memset(element, 0, sizeof element);
    size_most = INT64_C(1) << random_below(&random, 12);
    dist__deque_init(&deque, new_block(1 + random_below(&random, 2)));
    atomic_store_explicit(&ended, false, memory_order_relaxed);
    atomic_store_explicit(&gate.missing, THIEVES + 1, memory_order_relaxed);
    for (size_t i = 0; i < THIEVES; i++) thread[i] = start(thief, (void *)(uintptr_t)(seed + i));
    owner(&random);
    for (size_t i = 0; i < THIEVES; i++) join(thread[i]);
    for (size_t k = 0; k < ELEMENTS; k++) CHECK(element[k].taken == 1);
    struct dist__deque_block *older, *block = deque.block;
    int64_t size = block->size;
    for (; block; block = older) {
        older = block->older;
        free(block);
    }
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
    printf("%u rounds of %d elements with %d thieves, blocks of up to %lld\n", rounds, ELEMENTS,
           THIEVES, (long long)largest);
    return 0;
}
