/* park.c - submitters publish work, workers search, announce, stay or sleep, as in thread/pool.c:
 * no wake is lost. Most rounds submit little and wait for it, so that every piece meets workers
 * that are just going to sleep; a lost wake leaves a round unfinished, and the watchdog ends the
 * test. */
#include "stress.h"
#include "common/os.h"
#include "thread/inbox.h"
#include "thread/park.h"

#include <string.h>

enum { WORKERS = 4, SUBMITTERS = 3, PIECES = 256, INBOXES = 2 };

struct piece {
    struct dist__node node; /* first */
    uint32_t payload, runs; /* plain: published by the push */
};

struct submitter {
    uint64_t seed;
    unsigned rounds;
    _Atomic(uint32_t) done; /* pieces of its round that have been run */
    struct piece piece[PIECES];
};

static struct dist__park park;
static struct dist__inbox inbox[INBOXES];
static _Atomic(int) pending;
static _Atomic(uint32_t) wake[WORKERS];
static _Atomic(uint32_t) sleeps, wakes;
static _Atomic(bool) stop;
static struct submitter submitter[SUBMITTERS];

/* ------------------------------------------------------------------ as in pool.c */

static bool wake_one(void) {
    unsigned worker;
    if (!dist__park_take(&park, WORKERS, &worker)) return false;
    atomic_fetch_add_explicit(&wakes, 1, memory_order_relaxed);
    atomic_store_explicit(&wake[worker], 1, memory_order_release);
    dist__futex_wake(&wake[worker], 1, false);
    return true;
}

/* One at most: the others are woken by those who find that there is more. */
static void tell(void) {
    if (dist__park_submitted(&park) == 0) wake_one();
}

static struct piece *find(unsigned self) {
    for (unsigned i = 0; i < INBOXES; i++) {
        struct dist__inbox *own = &inbox[(self + i) % INBOXES];
        struct dist__node *first = dist__inbox_drain(own), *next;
        if (!first) continue;
        atomic_fetch_sub_explicit(&pending, 1, memory_order_relaxed);
        for (struct dist__node *rest = first->next; rest; rest = next) {
            next = rest->next;
            dist__inbox_push(own, rest);
        }
        return (struct piece *)first;
    }
    return NULL;
}

static void sleep_until_woken(unsigned self) {
    atomic_fetch_add_explicit(&sleeps, 1, memory_order_relaxed);
    while (!atomic_load_explicit(&wake[self], memory_order_acquire))
        dist__futex_wait(&wake[self], 0, -1, false);
    atomic_store_explicit(&wake[self], 0, memory_order_relaxed);
}

static bool stopping(void) { return atomic_load_explicit(&stop, memory_order_acquire); }

static struct piece *search(unsigned self) {
    for (;;) {
        struct piece *piece = find(self);
        if (!piece && !stopping()) {
            dist__park_announce(&park, self);
            piece = find(self);
            if (!piece && !stopping()) {
                sleep_until_woken(self);
                continue;
            }
            if (!dist__park_stay(&park, self)) sleep_until_woken(self);
        }
        dist__park_found(&park);
        if (piece && atomic_load_explicit(&pending, memory_order_relaxed) > 0) tell();
        return piece;
    }
}

static void *work(void *arg) {
    unsigned self = (unsigned)(uintptr_t)arg;
    for (struct piece *piece; (piece = search(self)); dist__park_search(&park)) {
        struct submitter *owner = &submitter[piece->payload % SUBMITTERS];
        CHECK(piece >= owner->piece && piece < owner->piece + PIECES);
        piece->runs++;
        atomic_fetch_add_explicit(&owner->done, 1, memory_order_acq_rel);
    }
    return NULL;
}

/* ------------------------------------------------------------------ submitters */

static void *submit(void *arg) {
    struct submitter *self = arg;
    unsigned index = (unsigned)(self - submitter);
    struct random random = random_from(self->seed);
    for (double limit = now() + RUN_SECONDS; now() < limit; self->rounds++) {
        uint32_t pieces = 1 + random_below(&random, random_below(&random, 8) ? 3 : PIECES);
        bool at_once = random_below(&random, 2) == 0;
        atomic_store_explicit(&self->done, 0, memory_order_relaxed);
        if (at_once) atomic_fetch_add_explicit(&pending, (int)pieces, memory_order_relaxed);
        for (uint32_t k = 0; k < pieces; k++) {
            self->piece[k].payload = index + SUBMITTERS * k;
            self->piece[k].runs = 0;
            if (!at_once) atomic_fetch_add_explicit(&pending, 1, memory_order_relaxed);
            dist__inbox_push(&inbox[random_below(&random, INBOXES)], &self->piece[k].node);
            if (!at_once) tell();
        }
        if (at_once) tell();
        while (atomic_load_explicit(&self->done, memory_order_acquire) < pieces) sched_yield();
        for (uint32_t k = 0; k < pieces; k++) CHECK(self->piece[k].runs == 1);
        for (uint32_t k = random_below(&random, 4); k > 0; k--) random_delay(&random);
        if (random_below(&random, 64) == 0) nap(0.0002);
    }
    return NULL;
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Without work all workers sleep, which costs no CPU time. */
static void check_idle(void) {
    const uint64_t all = (UINT64_C(1) << WORKERS) - 1;
    while (atomic_load_explicit(&park.asleep[0], memory_order_acquire) != all) nap(0.001);
    nap(0.01); /* from the bit to the futex */
    CHECK(atomic_load_explicit(&park.searching, memory_order_acquire) == 0);
    CHECK(atomic_load_explicit(&pending, memory_order_acquire) == 0);
    uint32_t before = atomic_load_explicit(&sleeps, memory_order_relaxed);
    double cpu = cpu_seconds();
    nap(0.1);
    CHECK(cpu_seconds() - cpu < 0.05);
    CHECK(atomic_load_explicit(&sleeps, memory_order_relaxed) == before);
}

static unsigned play(uint64_t seed, size_t submitters) {
    pthread_t thread[SUBMITTERS];
    unsigned rounds = 0;
    for (size_t k = 0; k < submitters; k++) {
        submitter[k].seed = seed + k;
        submitter[k].rounds = 0;
        thread[k] = start(submit, &submitter[k]);
    }
    for (size_t k = 0; k < submitters; k++) {
        join(thread[k]);
        rounds += submitter[k].rounds;
    }
    check_idle();
    return rounds;
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    pthread_t thread[WORKERS];
    for (uintptr_t k = 0; k < WORKERS; k++) {
        dist__park_search(&park);
        thread[k] = start(work, (void *)k);
    }
    unsigned alone = play(seed, 1), together = play(seed + 1, SUBMITTERS);
    atomic_store_explicit(&stop, true, memory_order_release);
    while (wake_one()) {
    }
    for (size_t k = 0; k < WORKERS; k++) join(thread[k]);
    printf("%u rounds of one submitter, %u of %d; %u sleeps, %u wakes\n", alone, together,
           SUBMITTERS, sleeps, wakes);
    return 0;
}
