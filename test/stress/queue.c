/* queue.c - threads put into one queue and get from it, with limits of all sizes, until it is
 * closed: each item passes once, whole, those of one producer in their order as each consumer sees
 * them, and nobody sleeps through what he waits for (the watchdog ends the test then). After that
 * many items pass through three slots, and memory stays flat.
 *
 * By hand, the long soak:  stress_queue SEED 100000000 */
#include "stress.h"
#include <dist/dist.h>

enum { PRODUCERS_MOST = 4, CONSUMERS_MOST = 4, EACH_MOST = 2000 };

struct item {
    uint64_t number; /* of its producer */
    uint64_t producer;
    uint64_t echo; /* follows from both */
    unsigned char ballast[40];
};

static struct {
    dist_queue *queue;
    uint64_t seed;
    unsigned producers, consumers, each;
    _Atomic(unsigned) putting;
    _Atomic(unsigned char) got[PRODUCERS_MOST][EACH_MOST];
} play;

static uint64_t items_in_all, soak_items = 1000000;
static double soak_seconds = 20; /* at most, unless the number of items is given */

static uint64_t echo_of(const struct item *item) {
    return (item->number + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ item->producer;
}

/* Polls, waits for a moment, or waits as long as it takes. */
static double some_limit(struct random *random) {
    switch (random_below(random, 3)) {
    case 0: return 0;
    case 1: return 1e-6 * random_below(random, 300);
    default: return DIST_FOREVER;
    }
}

static void *produce(void *arg) {
    unsigned self = (unsigned)(uintptr_t)arg;
    struct random random = random_from(play.seed + self);
    struct item item = {.producer = self};
    while (item.number < play.each) {
        item.echo = echo_of(&item);
        dist_status status = dist_queue_put(play.queue, &item, some_limit(&random));
        CHECK(status == DIST_OK || status == DIST_FULL);
        if (status == DIST_OK) item.number++;
        if (random_below(&random, 16) == 0) random_delay(&random);
    }
    if (atomic_fetch_sub(&play.putting, 1) == 1) CHECK(dist_queue_close(play.queue) == DIST_OK);
    return NULL;
}

static void *consume(void *arg) {
    struct random random = random_from(play.seed + (uintptr_t)arg);
    uint64_t expected[PRODUCERS_MOST] = {0};
    struct item item;
    for (;;) {
        CHECK(dist_queue_length(play.queue) <= dist_queue_capacity(play.queue));
        dist_status status = dist_queue_get(play.queue, &item, some_limit(&random));
        if (status == DIST_EMPTY) continue;
        if (status == DIST_CLOSED) return NULL;
        CHECK(status == DIST_OK && item.echo == echo_of(&item));
        CHECK(item.producer < play.producers && item.number >= expected[item.producer]);
        expected[item.producer] = item.number + 1;
        CHECK(atomic_fetch_add(&play.got[item.producer][item.number], 1) == 0);
        CHECK(dist_queue_task_done(play.queue) == DIST_OK);
        if (random_below(&random, 16) == 0) random_delay(&random);
    }
}

static void play_round(uint64_t seed) {
    struct random random = random_from(seed);
    pthread_t thread[PRODUCERS_MOST + CONSUMERS_MOST];
    play.seed = seed;
    play.producers = 1 + random_below(&random, PRODUCERS_MOST);
    play.consumers = 1 + random_below(&random, CONSUMERS_MOST);
    play.each = random_below(&random, random_below(&random, 2) ? EACH_MOST : 10);
    atomic_store(&play.putting, play.producers);
    size_t capacity = 1 + random_below(&random, random_below(&random, 2) ? 4 : 100);
    play.queue = dist_queue_open(.item_size = sizeof(struct item), .capacity = capacity,
                                 .priority = random_below(&random, 4) == 0);
    CHECK(play.queue);
    uintptr_t k = 0;
    for (; k < play.producers; k++) thread[k] = start(produce, (void *)k);
    for (; k < play.producers + play.consumers; k++) thread[k] = start(consume, (void *)k);
    for (unsigned t = 0; t < k; t++) join(thread[t]);
    for (unsigned p = 0; p < play.producers; p++)
        for (unsigned n = 0; n < play.each; n++) CHECK(atomic_exchange(&play.got[p][n], 0) == 1);
    CHECK(dist_queue_join(play.queue, 0) == DIST_OK && dist_queue_length(play.queue) == 0);
    items_in_all += (uint64_t)play.producers * play.each;
    dist_queue_free(&play.queue);
}

/* ------------------------------------------------------------------ the soak */

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void *pour(void *queue) {
    struct item item = {.number = 0};
    double limit = now() + soak_seconds;
    for (; item.number < soak_items && (item.number % 1024 || now() < limit); item.number++)
        CHECK(dist_queue_put(queue, &item, DIST_FOREVER) == DIST_OK);
    soak_items = item.number; /* published by the close */
    CHECK(dist_queue_close(queue) == DIST_OK);
    return NULL;
}

static void soak(void) {
    enum { MORE_KIB = SANITIZED ? 16384 : 1024 }; /* a sanitizer grows itself */
    struct item item;
    dist_queue *queue = dist_queue_open(.item_size = sizeof item, .capacity = 3);
    CHECK(queue);
    pthread_t thread = start(pour, queue);
    uint64_t expected = 0;
    long begin = 0, end;
    double since = now();
    for (dist_status status; (status = dist_queue_get(queue, &item, 30)) != DIST_CLOSED;) {
        CHECK(status == DIST_OK && item.number == expected++);
        if (expected == 1000) begin = resident_kib();
        if (expected % 1000000 == 0) alarm(HANGS_AFTER);
    }
    CHECK(expected == soak_items);
    end = resident_kib();
    join(thread);
    printf("%llu items through three slots in %.1f s; resident %ld KiB, then %ld\n",
           (unsigned long long)expected, now() - since, begin, end);
    CHECK(expected < 1000 || end <= begin + MORE_KIB);
    dist_queue_free(&queue);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0;
    if (argc > 2) {
        soak_items = strtoull(argv[2], NULL, 0);
        soak_seconds = 1e9;
    }
    for (double limit = now() + RUN_SECONDS; rounds < 4 || now() < limit; rounds++)
        play_round(seed + rounds);
    printf("%u rounds, %llu items\n", rounds, (unsigned long long)items_in_all);
    fflush(stdout);
    soak();
    return 0;
}
