/* note.c - workers tell a supervisor what happens, each through its own ring; it arms the bell,
 * looks and sleeps, as in common/control.c. Every note is heard once, complete and in its order; a
 * worker that finds its notes heard sees what was done about them. A lost wake leaves the
 * supervisor asleep, and the watchdog ends the test. */
#include "stress.h"
#include "common/note.h"
#include "common/os.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

enum { WORKERS = 4, NOTES_MOST = 3000, FREE = 0, TAKEN };

struct worker {
    pthread_t thread;
    uint64_t seed;
    uint32_t notes; /* that it tells in this round */
    uint32_t acted; /* plain: what the supervisor has written because of the last one */
    uint32_t heard; /* the supervisor's */
    _Atomic(uint32_t) place;
};

static struct dist__ring ring[WORKERS];
static struct worker worker[WORKERS];
static struct gate gate;
static _Atomic(uint32_t) asleep, rings, waits;
static int bell;
static uint64_t sleeps, heard_in_all;

static dist_error error_of(uint32_t number) {
    dist_error error = {.code = (int)number, .index = number};
    snprintf(error.message, sizeof error.message, "this is note %u", number);
    return error;
}

/* ------------------------------------------------------------------ a worker */

static void ring_bell(void) {
    uint64_t one = 1;
    if (!dist__bell_must_ring(&asleep)) return;
    atomic_fetch_add_explicit(&rings, 1, memory_order_relaxed);
    CHECK(write(bell, &one, sizeof one) == sizeof one);
}

static void fall_asleep(unsigned self) {
    atomic_fetch_add_explicit(&waits, 1, memory_order_relaxed);
    dist__futex_wait(&ring[self].waits, 1, -1, false);
}

static void tell(unsigned self, uint32_t number) {
    struct dist__note note = {
        .kind = DIST__FAILED, .worker = self, .begin = number, .end = number + 1};
    note.error = error_of(number);
    while (!dist__ring_push(&ring[self], &note)) {
        uint32_t read = dist__ring_await(&ring[self]);
        if (dist__ring_is_full(&ring[self], read)) fall_asleep(self);
    }
    ring_bell();
}

static void wait_until_heard(unsigned self, uint32_t told) {
    for (;;) {
        dist__ring_await(&ring[self]);
        if (dist__ring_heard(&ring[self])) break;
        fall_asleep(self);
    }
    CHECK(worker[self].acted == told);
}

static void *work(void *arg) {
    unsigned self = (unsigned)(uintptr_t)arg;
    struct random random = random_from(worker[self].seed);
    gate_pass(&gate);
    for (uint32_t told = 0; told < worker[self].notes;) {
        uint32_t burst = 1 + random_below(&random, random_below(&random, 8) ? 3 : 100);
        for (; burst > 0 && told < worker[self].notes; burst--) tell(self, told++);
        if (random_below(&random, 2)) wait_until_heard(self, told);
        if (random_below(&random, 64) == 0) nap(0.0002);
        else random_delay(&random);
    }
    atomic_exchange_explicit(&worker[self].place, FREE, memory_order_acq_rel);
    ring_bell();
    return NULL;
}

/* ------------------------------------------------------------------ the supervisor */

static bool hear(void) {
    bool any = false;
    for (unsigned k = 0; k < WORKERS; k++)
        for (struct dist__note *note; (note = dist__ring_peek(&ring[k])); any = true) {
            dist_error expected = error_of(worker[k].heard);
            CHECK(note->kind == DIST__FAILED && note->worker == k);
            CHECK(note->begin == worker[k].heard && note->end == note->begin + 1);
            CHECK(note->error.code == expected.code && note->error.index == expected.index);
            CHECK(strcmp(note->error.message, expected.message) == 0);
            worker[k].acted = ++worker[k].heard;
            if (dist__ring_drop(&ring[k])) dist__futex_wake(&ring[k].waits, 1, false);
        }
    return any;
}

static bool all_free(void) {
    for (unsigned k = 0; k < WORKERS; k++)
        if (atomic_load_explicit(&worker[k].place, memory_order_acquire) != FREE) return false;
    return true;
}

/* The supervisor has nothing but the bell to wake it. */
static void sleep_until_bell(void) {
    uint64_t rung;
    struct pollfd polled = {.fd = bell, .events = POLLIN};
    sleeps++;
    CHECK(poll(&polled, 1, -1) == 1);
    CHECK(read(bell, &rung, sizeof rung) == sizeof rung);
}

static void supervise(struct random *random) {
    for (;;) {
        dist__bell_arm(&asleep);
        hear();
        if (all_free()) {
            CHECK(!hear() || all_free());
            return;
        }
        sleep_until_bell();
        if (random_below(random, 16) == 0) random_delay(random);
    }
}

static void play(uint64_t seed) {
    struct random random = random_from(seed);
    for (unsigned k = 0; k < WORKERS; k++) {
        uint32_t from = random_below(&random, 2) ? 0 : UINT32_MAX - random_below(&random, 50);
        atomic_store_explicit(&ring[k].written, from, memory_order_relaxed);
        atomic_store_explicit(&ring[k].read, from, memory_order_relaxed);
        atomic_store_explicit(&worker[k].place, TAKEN, memory_order_relaxed);
        worker[k].seed = seed + k;
        worker[k].notes = random_below(&random, random_below(&random, 2) ? NOTES_MOST : 5);
        worker[k].heard = worker[k].acted = 0;
    }
    atomic_store_explicit(&gate.missing, WORKERS + 1, memory_order_relaxed);
    for (uintptr_t k = 0; k < WORKERS; k++) worker[k].thread = start(work, (void *)k);
    gate_pass(&gate);
    supervise(&random);
    for (unsigned k = 0; k < WORKERS; k++) {
        CHECK(worker[k].heard == worker[k].notes); /* a free place has said everything */
        heard_in_all += worker[k].heard;
    }
    for (unsigned k = 0; k < WORKERS; k++) join(worker[k].thread);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0;
    bell = eventfd(0, EFD_CLOEXEC);
    CHECK(bell >= 0);
    for (double limit = now() + RUN_SECONDS; rounds < 4 || now() < limit; rounds++)
        play(seed + rounds);
    printf("%u rounds, %d workers, %llu notes, %llu sleeps, %u rings, %u waits\n", rounds, WORKERS,
           (unsigned long long)heard_in_all, (unsigned long long)sleeps, rings, waits);
    return 0;
}
