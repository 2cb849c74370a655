/* mail.c - threads in the place of worker processes take what a host posts, and are "killed"
 * between any two of their stores; a nursery buries them, as in process/mail.c. The host uses cells
 * again, and cancels. Each item is run at most once and ends once, and what ended well has its
 * result. */
#include "stress.h"

#include <setjmp.h>
#include <string.h>

/* ------------------------------------------------------------------ death */

static _Thread_local struct mortal {
    jmp_buf end;
    uint32_t fuse; /* steps until death; 0: lives for ever */
} self;

static void step(void) {
    if (self.fuse && --self.fuse == 0) longjmp(self.end, 1);
}

#ifdef __clang__
#define STORE                    __c11_atomic_store
#define SWAP(o, old, next, a, b) __c11_atomic_compare_exchange_strong(o, old, next, a, b)
#else
#define STORE                    __atomic_store_n
#define SWAP(o, old, next, a, b) __atomic_compare_exchange_n(o, old, next, 0, a, b)
#endif
#undef atomic_store_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_store_explicit(object, value, order) (step(), STORE(object, value, order))
#define atomic_compare_exchange_strong_explicit(object, old, next, well, badly)                    \
    (step(), SWAP(object, old, next, well, badly))
#define atomic_compare_exchange_weak_explicit(object, old, next, well, badly)                      \
    (step(), SWAP(object, old, next, well, badly))
#define DIST__RACK_ROOM 16u
#include "process/mail.h"

/* ------------------------------------------------------------------ workers */

enum { WORKERS = 4, CELLS = 8, ITEMS = 20000, WELL = 0, CRASHED = 1, CANCELLED = 2 };

static struct cell {
    struct dist__stamp stamp;
    _Atomic(uint32_t) word;
    unsigned item, result;
} cell[CELLS];

static struct dist__rack rack;
static struct dist__mailbox box = {&rack, (unsigned char *)&cell[0].stamp, sizeof(struct cell),
                                   CELLS};
static _Atomic(uint8_t) runs[ITEMS];
static _Atomic(bool) over; /* the host has seen all its items end */

static struct worker {
    pthread_t thread;
    _Atomic(uint64_t) at;
    uint64_t generation;
    uint32_t fuse;
    _Atomic(bool) ended;
    bool lives, died;
} worker[WORKERS];

static void work(struct worker *w) {
    uint64_t bearer = dist__bearer((unsigned)(w - worker), w->generation);
    uint32_t c;
    bool waited;
    while (!atomic_load_explicit(&over, memory_order_relaxed)) {
        if (!dist__rack_take(&box, &w->at, bearer, &c)) {
            sched_yield();
            continue;
        }
        if (!dist__mail_begin(&cell[c].stamp, &cell[c].word)) continue;
        atomic_fetch_add_explicit(&runs[cell[c].item], 1, memory_order_relaxed);
        cell[c].result = 3 * cell[c].item;
        step();
        if (!dist__mail_settle(&cell[c].word, WELL, &waited)) longjmp(self.end, 1); /* condemned */
    }
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    w->died = setjmp(self.end) != 0;
    if (!w->died) {
        self.fuse = w->fuse;
        work(w);
    }
    self.fuse = 0;
    atomic_store_explicit(&w->ended, true, memory_order_release);
    return NULL;
}

/* ------------------------------------------------------------------ the nursery */

static unsigned killed;

static void inherit(struct worker *w) {
    uint64_t at = atomic_load_explicit(&w->at, memory_order_relaxed);
    uint64_t bearer = dist__bearer((unsigned)(w - worker), w->generation);
    if (at == 0) return;
    uint32_t old, c = (uint32_t)at - 1;
    if (!dist__mail_is_run_by(&cell[c].stamp, &cell[c].word, bearer, &old)) {
        dist__mail_give_back(&box, c, &cell[c].word, bearer);
        return;
    }
    while (!dist__mail_bury(&cell[c].word, &old, old & DIST__CANCEL ? CANCELLED : CRASHED))
        continue;
}

/* True: some live. */
static bool look_after_workers(struct random *random) {
    bool any = false;
    for (struct worker *w = worker; w < worker + WORKERS; w++) {
        if (w->lives && atomic_load_explicit(&w->ended, memory_order_acquire)) {
            join(w->thread);
            w->lives = false;
            killed += w->died;
            inherit(w);
        }
        if (!w->lives && !atomic_load_explicit(&over, memory_order_relaxed)) {
            w->generation++;
            w->fuse = 1 + random_below(random, random_below(random, 4) ? 64 : 4096);
            atomic_store_explicit(&w->ended, false, memory_order_relaxed);
            w->lives = true;
            w->thread = start(worker_main, w);
        }
        any |= w->lives;
    }
    return any;
}

/* ------------------------------------------------------------------ the host */

enum use { FREE, POSTED, UNRUN };

static unsigned crashed, cancelled, items;

static void check_end(uint32_t c, uint32_t word, bool asked) {
    unsigned ran = atomic_load_explicit(&runs[cell[c].item], memory_order_relaxed);
    uint32_t status = dist__phase_status(word);
    CHECK(ran <= 1);
    if (status == WELL) CHECK(ran == 1 && cell[c].result == 3 * cell[c].item);
    if (status == CANCELLED) CHECK(asked);
    crashed += status == CRASHED;
    cancelled += status == CANCELLED;
}

static void *host_main(void *arg) {
    struct random random = random_from((uint64_t)(uintptr_t)arg);
    enum use use[CELLS] = {FREE};
    bool asked[CELLS] = {false};
    unsigned next = 0, ended = 0;
    while (ended < items) {
        uint32_t c = random_below(&random, CELLS);
        random_delay(&random);
        if (use[c] == UNRUN && dist__stamp_withdraw(&cell[c].stamp)) use[c] = FREE;
        if (use[c] == FREE && next < items && dist__rack_has_room(&box)) {
            dist__stamp_clear(&cell[c].stamp);
            cell[c].item = next++;
            cell[c].result = 1;
            asked[c] = false;
            use[c] = POSTED;
            dist__rack_post(&box, c, &cell[c].word, DIST__QUEUED);
        } else if (use[c] == POSTED) {
            uint32_t word = dist__phase_look(&cell[c].word), before = word;
            bool cancels = dist__phase_of(word) != DIST__ENDED && random_below(&random, 2000) == 0;
            if (cancels) before = dist__mail_cancel(&cell[c].word, true, CANCELLED);
            if (cancels) asked[c] = true, word = dist__phase_look(&cell[c].word);
            if (dist__phase_of(word) != DIST__ENDED) continue;
            check_end(c, word, asked[c]);
            use[c] = cancels && dist__phase_of(before) == DIST__QUEUED ? UNRUN : FREE;
            if (use[c] == UNRUN) CHECK(runs[cell[c].item] == 0);
            ended++;
        }
    }
    atomic_store_explicit(&over, true, memory_order_relaxed);
    return NULL;
}

static void play(uint64_t seed) {
    struct random random = random_from(seed);
    items = 1 + random_below(&random, random_below(&random, 2) ? ITEMS : 100);
    memset((void *)runs, 0, sizeof runs);
    memset((void *)cell, 0, sizeof cell);
    memset((void *)&rack, 0, sizeof rack);
    memset((void *)worker, 0, sizeof worker);
    over = false;
    crashed = cancelled = killed = 0;
    pthread_t host = start(host_main, (void *)(uintptr_t)(seed + 1));
    while (look_after_workers(&random)) sched_yield();
    join(host);
    CHECK(crashed <= killed);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv), all_killed = 0, all_crashed = 0, all_cancelled = 0;
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 4 || now() < limit; rounds++) {
        play(seed + rounds);
        all_killed += killed, all_crashed += crashed, all_cancelled += cancelled;
    }
    printf("%u rounds: %llu killed, %llu items crashed, %llu cancelled\n", rounds,
           (unsigned long long)all_killed, (unsigned long long)all_crashed,
           (unsigned long long)all_cancelled);
    return 0;
}
