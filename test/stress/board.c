/* board.c - two hosts make calls in a pool of four workers, which are threads here: they take
 * seats, look for chairs, work, leave, come back, and die at any step; then a nursery starts the
 * next one. What belongs to a call is plain memory: nobody touches it before it is invited or after
 * it has left. */
#include "stress.h"
#include "process/board.h"

#include <string.h>

enum { WORKERS = 4, HOSTS = 2, UNITS = 40, CALLS = 400, DEATHS = 300 /* one in so many steps */ };

struct call {
    unsigned chairs; /* 0: one for each */
    uint64_t number; /* plain, and checked by whoever is in it */
    uint64_t done_by[WORKERS];
    _Atomic(uint64_t) cursor, done, lost;
    _Atomic(unsigned) inside;
};

static struct dist__seat seat[WORKERS][HOSTS];
static struct dist__chair chair[HOSTS][WORKERS];
static struct dist__life life[WORKERS];
static struct call call[HOSTS];
static _Atomic(uint64_t) tickets;
static _Atomic(bool) closing;
static _Atomic(uint64_t) births, deaths, in_chairs, yields;

static uint64_t ticket(void) {
    return atomic_fetch_add_explicit(&tickets, 1, memory_order_relaxed) + 1;
}

/* ------------------------------------------------------------------ a worker */

struct worker {
    pthread_t thread;
    unsigned number;
    uint64_t generation;
    struct random random;
    _Atomic(bool) ended;
    bool exists;
};

static bool dies(struct worker *self) { return random_below(&self->random, DEATHS) == 0; }

/* False: it has died. */
static bool work(struct worker *self, struct call *c, uint64_t number) {
    unsigned most = c->chairs ? c->chairs : WORKERS;
    bool alive = true;
    CHECK(atomic_fetch_add_explicit(&c->inside, 1, memory_order_relaxed) < most);
    for (int k = 0; alive && k < 6; k++) {
        if (atomic_fetch_add_explicit(&c->cursor, 1, memory_order_relaxed) >= UNITS) break;
        CHECK(c->number == number);
        random_delay(&self->random);
        alive = !dies(self);
        if (alive) c->done_by[self->number]++;
        atomic_fetch_add_explicit(alive ? &c->done : &c->lost, 1, memory_order_relaxed);
    }
    atomic_fetch_sub_explicit(&c->inside, 1, memory_order_relaxed); /* the dead, too */
    return alive;
}

static bool serve(struct worker *self, unsigned host, uint64_t word) {
    struct dist__seat *mine = &seat[self->number][host];
    struct call *c = &call[host];
    if (!dist__seat_take(mine, word, self->generation)) return true;
    if (dies(self)) return false;
    uint64_t number = c->number;
    bool sits = !c->chairs || dist__chair_take(chair[host], c->chairs, self->number);
    if (dies(self)) return false;
    if (sits && !work(self, c, number)) return false;
    if (c->chairs && sits) atomic_fetch_add_explicit(&in_chairs, 1, memory_order_relaxed);
    CHECK(c->number == number);
    bool more = sits && atomic_load_explicit(&c->cursor, memory_order_relaxed) < UNITS;
    dist__chair_give(chair[host], c->chairs, self->number);
    if (dies(self)) return false;
    CHECK(dist__seat_leave(mine, self->generation, more ? ticket() : 0));
    if (more) atomic_fetch_add_explicit(&yields, 1, memory_order_relaxed);
    return !dies(self);
}

static void live(struct worker *self) {
    while (!atomic_load_explicit(&closing, memory_order_relaxed)) {
        uint64_t best = UINT64_MAX;
        unsigned host = 0;
        for (unsigned k = 0; k < HOSTS; k++) {
            uint64_t word = dist__seat_read(&seat[self->number][k]);
            if (dist__seat_state(word) == DIST__SEAT_INVITED && word < best) best = word, host = k;
        }
        if (best == UINT64_MAX) sched_yield();
        else if (!serve(self, host, best)) return;
    }
}

static void *be_worker(void *arg) {
    struct worker *self = arg;
    dist__life_begin(&life[self->number], self->generation, (int32_t)self->generation);
    live(self);
    atomic_store_explicit(&self->ended, true, memory_order_release);
    return NULL;
}

/* ------------------------------------------------------------------ the nursery */

static void give_birth(struct worker *w, struct random *random) {
    w->generation = dist__life_next(&life[w->number]);
    w->random = random_from(random->state + w->generation * WORKERS + w->number);
    atomic_store_explicit(&w->ended, false, memory_order_relaxed);
    w->thread = start(be_worker, w);
    w->exists = true;
    atomic_fetch_add_explicit(&births, 1, memory_order_relaxed);
}

static bool bury(struct worker *w) {
    if (!w->exists || !atomic_load_explicit(&w->ended, memory_order_acquire)) return false;
    join(w->thread);
    w->exists = false;
    dist__life_end(&life[w->number], w->generation, (int32_t)(1000 + w->generation % 1000));
    return true;
}

static void *be_nursery(void *arg) {
    static struct worker worker[WORKERS];
    struct random random = random_from(*(uint64_t *)arg);
    for (unsigned k = 0; k < WORKERS; k++) worker[k].number = k;
    for (bool any = true; any;) {
        bool open = !atomic_load_explicit(&closing, memory_order_relaxed);
        any = open;
        for (unsigned k = 0; k < WORKERS; k++) {
            bury(&worker[k]);
            if (!worker[k].exists && open) give_birth(&worker[k], &random);
            any |= worker[k].exists;
        }
        sched_yield();
    }
    return NULL;
}

/* ------------------------------------------------------------------ a host */

static void invite(unsigned host) {
    struct call *c = &call[host];
    if (c->chairs && dist__chair_count(chair[host], c->chairs) == 0) return;
    uint64_t number = ticket();
    for (unsigned k = 0; k < WORKERS; k++)
        if (dist__seat_state(dist__seat_read(&seat[k][host])) == DIST__SEAT_FREE)
            dist__seat_invite(&seat[k][host], number);
}

static void check_dead(unsigned k, uint64_t generation) {
    int status;
    if (dist__life_status(&life[k], generation, &status))
        CHECK(status == (int)(1000 + generation % 1000));
    atomic_fetch_add_explicit(&deaths, 1, memory_order_relaxed);
}

/* How many are invited or there; the dead are put out. */
static unsigned look(unsigned host, bool over) {
    unsigned there = 0;
    for (unsigned k = 0; k < WORKERS; k++) {
        uint64_t word = dist__seat_read(&seat[k][host]), now = dist__life_read(&life[k]);
        if (over && dist__seat_revoke(&seat[k][host], word)) continue;
        bool taken = dist__seat_state(word) == DIST__SEAT_TAKEN;
        if (taken && dist__life_is_over(now, dist__seat_number(word))) {
            check_dead(k, dist__seat_number(word));
            dist__chair_give(chair[host], call[host].chairs, k);
            dist__seat_clear(&seat[k][host]);
            continue;
        }
        there += dist__seat_state(dist__seat_read(&seat[k][host])) != DIST__SEAT_FREE;
    }
    return there;
}

static void make_call(unsigned host, uint64_t number, unsigned chairs) {
    struct call *c = &call[host];
    for (unsigned k = 0; k < WORKERS; k++)
        CHECK(atomic_load_explicit(&chair[host][k].owner, memory_order_relaxed) == 0);
    memset(c->done_by, 0, sizeof c->done_by);
    c->chairs = chairs;
    c->number = number;
    atomic_store_explicit(&c->done, 0, memory_order_relaxed);
    atomic_store_explicit(&c->lost, 0, memory_order_relaxed);
    atomic_store_explicit(&c->cursor, 0, memory_order_relaxed);
    for (bool over = false; look(host, over) > 0 || !over; sched_yield()) {
        over = atomic_load_explicit(&c->cursor, memory_order_relaxed) >= UNITS;
        if (!over) invite(host);
    }
    uint64_t done = 0;
    for (unsigned k = 0; k < WORKERS; k++) done += c->done_by[k];
    CHECK(done == atomic_load_explicit(&c->done, memory_order_relaxed));
    CHECK(done + atomic_load_explicit(&c->lost, memory_order_relaxed) == UNITS);
    CHECK(atomic_load_explicit(&c->inside, memory_order_relaxed) == 0);
    c->number = 0;
}

static void *be_host(void *arg) {
    unsigned host = (unsigned)(uintptr_t)arg;
    for (uint64_t k = 1; k <= CALLS; k++) make_call(host, k, (unsigned)(k + host) % 3);
    return NULL;
}

static void play(uint64_t seed) {
    atomic_store_explicit(&closing, false, memory_order_relaxed);
    pthread_t nursery = start(be_nursery, &seed), host[HOSTS];
    for (uintptr_t k = 0; k < HOSTS; k++) host[k] = start(be_host, (void *)k);
    for (unsigned k = 0; k < HOSTS; k++) join(host[k]);
    atomic_store_explicit(&closing, true, memory_order_relaxed);
    join(nursery);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 1 || now() < limit; rounds++)
        play(seed + rounds);
    printf("%u calls, %llu births, %llu deaths in seats, %llu times in a chair, %llu turns\n",
           rounds * HOSTS * CALLS, (unsigned long long)births, (unsigned long long)deaths,
           (unsigned long long)in_chairs, (unsigned long long)yields);
    CHECK(deaths > 0 && in_chairs > 0 && yields > 0);
    return 0;
}
