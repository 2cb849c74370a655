/* claim.c - threads in the place of worker processes draw units, hold and run them, and are
 * "killed" between any two of their stores; a parent replaces them and hands on what they held, as
 * in process/process.c. Every item is run once, and at most one for each kill is lost, the one that
 * ran. */
#include "stress.h"

#include <setjmp.h>
#include <string.h>

/* ------------------------------------------------------------------ death */

static _Thread_local struct mortal {
    jmp_buf end;
    uint32_t fuse; /* stores until death; 0: lives for ever */
} self;

static void before_store(void) {
    if (self.fuse && --self.fuse == 0) longjmp(self.end, 1);
}

#ifdef __clang__
#define STORE     __c11_atomic_store
#define FETCH_ADD __c11_atomic_fetch_add
#else
#define STORE     __atomic_store_n
#define FETCH_ADD __atomic_fetch_add
#endif
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#define atomic_store_explicit(object, value, order) (before_store(), STORE(object, value, order))
#define atomic_fetch_add_explicit(object, value, order)                                            \
    (before_store(), FETCH_ADD(object, value, order))
#include "process/claim.h"

/* ------------------------------------------------------------------ workers */

enum { PLACES = 4, ITEMS_MOST = 50000, SPANS = ITEMS_MOST };
enum { PENDING, RUNNING, DONE, CRASHED };

static struct dist__claim claim[PLACES];
static _Atomic(uint64_t) cursor;
static _Atomic(uint8_t) state[ITEMS_MOST];
static uint8_t runs[ITEMS_MOST]; /* plain: an item that two run at once is a data race */
static uint64_t items;

struct worker {
    pthread_t thread;
    bool lives;
    struct random random;
    uint32_t fuse;
    _Atomic(bool) ended;
};
static struct worker worker[PLACES];

static void run_items(size_t place, uint64_t begin, uint64_t end) {
    CHECK(begin < end && end <= items);
    for (uint64_t i = begin; i < end; i++) {
        atomic_store_explicit(&state[i], RUNNING, memory_order_release);
        runs[i]++;
        atomic_store_explicit(&state[i], DONE, memory_order_release);
        dist__claim_count(&claim[place]);
    }
}

static void work(size_t place) {
    struct random *random = &worker[place].random;
    uint64_t begin, end;
    if (dist__claim_read(&claim[place], &begin, &end) == DIST__HELD) run_items(place, begin, end);
    while (dist__claim_draw(&claim[place], &cursor, items, 1 + random_below(random, 16), &begin,
                            &end)) {
        dist__claim_hold(&claim[place], begin, end);
        run_items(place, begin, end);
        if (random_below(random, 32) == 0) random_delay(random);
    }
    dist__claim_set(&claim[place], DIST__LEFT);
}

static void *worker_main(void *arg) {
    size_t place = (size_t)(uintptr_t)arg;
    if (setjmp(self.end) == 0) {
        self.fuse = worker[place].fuse;
        work(place);
    }
    self.fuse = 0;
    atomic_store_explicit(&worker[place].ended, true, memory_order_release);
    return NULL;
}

/* ------------------------------------------------------------------ the parent */

static struct span { uint64_t begin, end; } lost[SPANS];
static size_t lost_count;
static unsigned crashed, killed;

static void spawn(size_t place, struct random *random) {
    struct span items_held = {0, 0};
    if (lost_count) items_held = lost[--lost_count];
    if (items_held.begin < items_held.end)
        dist__claim_hold(&claim[place], items_held.begin, items_held.end);
    else dist__claim_set(&claim[place], DIST__IDLE);
    worker[place].random = random_from(random->state + place);
    worker[place].fuse = 1 + random_below(random, random_below(random, 4) ? 64 : 4096);
    atomic_store_explicit(&worker[place].ended, false, memory_order_relaxed);
    worker[place].lives = true;
    worker[place].thread = start(worker_main, (void *)(uintptr_t)place);
}

static void note_lost(uint64_t begin, uint64_t end) {
    if (begin < end) lost[lost_count++] = (struct span){begin, end};
}

/* Pending items of begin..end-1 are lost; one that was running has crashed. */
static void inherit(uint64_t begin, uint64_t end) {
    uint64_t from = begin;
    CHECK(end <= items);
    for (uint64_t i = begin; i < end; i++) {
        uint8_t now_in = atomic_load_explicit(&state[i], memory_order_acquire);
        if (now_in == PENDING) continue;
        note_lost(from, i);
        from = i + 1;
        if (now_in != RUNNING) continue;
        atomic_store_explicit(&state[i], CRASHED, memory_order_release);
        crashed++;
    }
    note_lost(from, end);
}

static void bury(size_t place) {
    uint64_t begin, end;
    if (!worker[place].lives || !atomic_load_explicit(&worker[place].ended, memory_order_acquire))
        return;
    join(worker[place].thread);
    worker[place].lives = false;
    enum dist__claim_state left = dist__claim_read(&claim[place], &begin, &end);
    killed += left != DIST__LEFT;
    if (left == DIST__HELD) inherit(begin, end);
}

/* True: workers live. */
static bool look_after_workers(struct random *random) {
    bool any = false;
    for (size_t place = 0; place < PLACES; place++) {
        bury(place);
        bool work_left = lost_count || atomic_load_explicit(&cursor, memory_order_relaxed) < items;
        if (!worker[place].lives && work_left) spawn(place, random);
        any |= worker[place].lives;
    }
    return any;
}

static void play(uint64_t seed) {
    struct random random = random_from(seed);
    items = 1 + random_below(&random, random_below(&random, 2) ? ITEMS_MOST : 100);
    memset((void *)state, 0, sizeof state);
    memset(runs, 0, sizeof runs);
    memset((void *)claim, 0, sizeof claim);
    cursor = 0;
    crashed = killed = 0;
    do {
        while (look_after_workers(&random)) sched_yield();
        inherit(0, items); /* no worker lives: what no cell names */
    } while (lost_count);
    for (uint64_t i = 0; i < items; i++) {
        if (state[i] == CRASHED) CHECK(runs[i] <= 1);
        else CHECK(state[i] == DONE && runs[i] == 1);
    }
    CHECK(crashed <= killed);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    unsigned rounds = 0, all_killed = 0, all_crashed = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 4 || now() < limit; rounds++) {
        play(seed + rounds);
        all_killed += killed;
        all_crashed += crashed;
    }
    printf("%u rounds, %u workers killed, %u items lost with them\n", rounds, all_killed,
           all_crashed);
    return 0;
}
