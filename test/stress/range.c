/* range.c - owners take units from their own ranges and steal from each other: every unit is taken
 * exactly once. The marks are plain memory: a unit taken twice is also a data race. */
#include "stress.h"
#include "thread/range.h"

#include <string.h>

enum { PLACES = 5, UNITS_MOST = 1 << 18 };

static struct { _Alignas(64) struct dist__range range; } place[PLACES];
static unsigned char taken[UNITS_MOST];
static struct gate gate;
static _Atomic(uint32_t) left;
static uint32_t base; /* of the units of this round: also far up, near UINT32_MAX */
static uint64_t round_seed;

static void run(struct dist__units units) {
    CHECK(units.begin < units.end && units.begin >= base);
    for (uint32_t k = units.begin; k < units.end; k++) taken[k - base]++;
    /* release: the marks; the last one passes on all others' */
    atomic_fetch_sub_explicit(&left, units.end - units.begin, memory_order_acq_rel);
}

static bool steal(size_t self, struct random *random, struct dist__units *units) {
    size_t victim = (self + 1 + random_below(random, PLACES - 1)) % PLACES;
    if (!dist__range_steal(&place[victim].range, units)) return false;
    uint32_t keep = 1 + random_below(random, 4);
    if (units->end - units->begin > keep) {
        struct dist__units rest = {units->begin + keep, units->end};
        units->end = rest.begin;
        dist__range_put(&place[self].range, rest);
    }
    return true;
}

static void *work(void *arg) {
    size_t self = (size_t)(uintptr_t)arg;
    struct random random = random_from(round_seed + self);
    struct dist__units units;
    gate_pass(&gate);
    while (atomic_load_explicit(&left, memory_order_acquire) > 0) {
        uint32_t want = 1 + random_below(&random, random_below(&random, 16) ? 8 : 4096);
        bool share = random_below(&random, 2) == 0;
        if (dist__range_take(&place[self].range, want, share, &units)) {
            CHECK(units.end - units.begin <= want);
            run(units);
        } else if (steal(self, &random, &units)) {
            run(units);
        }
        if (random_below(&random, 8) == 0) random_delay(&random);
    }
    return NULL;
}

static uint32_t play(uint64_t seed) {
    struct random random = random_from(seed);
    uint32_t units = 1 + random_below(&random, random_below(&random, 2) ? UNITS_MOST : 64);
    pthread_t thread[PLACES];
    round_seed = seed;
    base = random_below(&random, 2) ? 0 : UINT32_MAX - units;
    memset(taken, 0, sizeof taken);
    for (size_t k = 0; k < PLACES; k++)
        dist__range_put(&place[k].range, (struct dist__units){0, 0});
    dist__range_put(&place[random_below(&random, PLACES)].range,
                    (struct dist__units){base, base + units});
    atomic_store_explicit(&left, units, memory_order_relaxed);
    atomic_store_explicit(&gate.missing, PLACES, memory_order_relaxed);
    for (uintptr_t k = 0; k < PLACES; k++) thread[k] = start(work, (void *)k);
    for (size_t k = 0; k < PLACES; k++) join(thread[k]);
    for (uint32_t k = 0; k < UNITS_MOST; k++) CHECK(taken[k] == (k < units));
    return units;
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv), units = 0;
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 4 || now() < limit; rounds++)
        units += play(seed + rounds);
    printf("%u rounds, %llu units by %d threads\n", rounds, (unsigned long long)units, PLACES);
    return 0;
}
