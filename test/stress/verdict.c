/* verdict.c - workers run attempts, a parent asks for their limits and condemns those that it finds
 * late: the one that it condemns is the one whose limit it was told, and it has not ended.
 * Condemned workers end, as killed ones do, some end by themselves in the middle of an attempt, and
 * others get their places. The limit of an attempt is its number, so that none is like another. */
#include "stress.h"
#include "process/verdict.h"

enum { WORKERS = 4, ATTEMPTS = 20000, BY_ITSELF = 20000 /* one of so many attempts */ };

struct worker {
    pthread_t thread;
    bool lives;
    struct random random;
    uint64_t number;    /* of its attempt; its own until it has ended, then the parent's */
    bool found_out;     /* that it is condemned */
    uint64_t last;      /* attempt of this round, however many workers they cost */
    uint64_t condemned; /* the limit that the parent was told; 0: none */
    _Atomic(bool) ended;
};

static struct dist__verdict verdict[WORKERS];
static struct worker worker[WORKERS];
static uint64_t killed, died, asked;

static void run_attempts(size_t place) {
    struct worker *self = &worker[place];
    while (self->number < self->last) {
        dist__verdict_begin(&verdict[place], ++self->number);
        if (random_below(&self->random, 4) == 0) random_delay(&self->random);
        if (random_below(&self->random, BY_ITSELF) == 0) return;
        self->found_out = !dist__verdict_end(&verdict[place]);
        if (self->found_out) return;
    }
}

static void *work(void *arg) {
    size_t place = (size_t)(uintptr_t)arg;
    run_attempts(place);
    atomic_store_explicit(&worker[place].ended, true, memory_order_release);
    return NULL;
}

/* ------------------------------------------------------------------ the parent */

static void spawn(size_t place, struct random *random) {
    struct worker *self = &worker[place];
    dist__verdict_reset(&verdict[place]);
    self->random = random_from(random->state + place);
    self->found_out = false;
    self->condemned = 0;
    self->lives = true;
    atomic_store_explicit(&self->ended, false, memory_order_relaxed);
    self->thread = start(work, (void *)(uintptr_t)place);
}

static void look(size_t place, struct random *random) {
    uint64_t word, limit = dist__verdict_limit(&verdict[place], &word);
    asked++;
    if (worker[place].condemned) CHECK(limit == UINT64_MAX);
    if (limit == UINT64_MAX || random_below(random, 64)) return;
    random_delay(random);
    if (dist__verdict_condemn(&verdict[place], word)) worker[place].condemned = limit;
}

/* True: the place needs another worker, or has done its work. */
static bool bury(size_t place) {
    struct worker *self = &worker[place];
    if (!atomic_load_explicit(&self->ended, memory_order_acquire)) return false;
    join(self->thread);
    self->lives = false;
    CHECK(self->condemned == 0 || self->condemned == self->number);
    CHECK(!self->found_out || self->condemned);
    killed += self->found_out;
    died += !self->found_out && self->number < self->last;
    return true;
}

static void play(uint64_t seed) {
    struct random random = random_from(seed);
    for (size_t place = 0; place < WORKERS; place++) {
        worker[place].last = worker[place].number + ATTEMPTS;
        spawn(place, &random);
    }
    for (bool any = true; any;) {
        any = false;
        for (size_t place = 0; place < WORKERS; place++) {
            if (!worker[place].lives) continue;
            any = true;
            look(place, &random);
            if (bury(place) && worker[place].number < worker[place].last) spawn(place, &random);
        }
        if (random_below(&random, 16) == 0) sched_yield();
    }
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 2 || now() < limit; rounds++)
        play(seed + rounds);
    printf("%u rounds, %llu looks, %llu attempts condemned, %llu workers died in others\n", rounds,
           (unsigned long long)asked, (unsigned long long)killed, (unsigned long long)died);
    return 0;
}
