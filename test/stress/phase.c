/* phase.c - jobs in a lane: an owner that submits them, waits for them in any order and lets go of
 * them, thieves that take them out, threads that are started for them, and one that cancels. Each
 * job is run or ended unrun once, its end is seen with what it did, and it is freed once, by the
 * last of its holders. */
#include "common/phase.h"
#include "stress.h"
#include "thread/deque.h"

enum { JOBS = 64, THIEVES = 3, BATCHES = 400, RAN = 1, UNRUN = 2 };

struct job {
    _Atomic(uint32_t) word;
    uint32_t number, result; /* plain: the word publishes them */
    unsigned frees;          /* plain: by whoever frees it */
};

static struct job job[JOBS];
static struct dist__deque lane;
static _Atomic(uint32_t) canceller_at, hurried_at,
    freed;                      /* canceller_at: jobs that it is done with */
static _Atomic(uint32_t) batch; /* the one that runs, from 1 */
static _Atomic(bool) over;
static struct dist__onlookers onlookers;
static uint64_t run_seed;

static void end(struct job *one, uint32_t status) {
    one->result = one->number + status;
    dist__phase_end(&one->word, status);
    dist__onlookers_told(&onlookers);
}

static void free_it(struct job *one) {
    one->frees++;
    atomic_fetch_add_explicit(&freed, 1, memory_order_release);
}

static void *steal(void *arg) {
    struct random random = random_from(run_seed + 100 + (uintptr_t)arg);
    while (!atomic_load_explicit(&over, memory_order_acquire)) {
        bool lost;
        struct job *one = dist__deque_steal(&lane, &lost);
        if (!one) {
            sched_yield();
            continue;
        }
        if (random_below(&random, 4) == 0) random_delay(&random);
        enum dist__duty duty = dist__phase_take(&one->word);
        if (duty == DIST__MUST_RUN) end(one, RAN);
        if (duty == DIST__MUST_FREE) free_it(one);
    }
    return NULL;
}

/* Waits for the next batch. False: there is none. */
static bool next_batch(uint32_t *seen) {
    uint32_t now;
    while ((now = atomic_load_explicit(&batch, memory_order_acquire)) == *seen) {
        if (atomic_load_explicit(&over, memory_order_acquire)) return false;
        sched_yield();
    }
    *seen = now;
    return true;
}

static void *cancel(void *unused) {
    struct random random = random_from(run_seed + 200);
    uint32_t seen = 0;
    (void)unused;
    while (next_batch(&seen))
        for (uint32_t k = 0; k < JOBS; k++) {
            if (random_below(&random, 2)) {
                bool running_too = random_below(&random, 2);
                uint32_t old = dist__phase_cancel(&job[k].word, running_too);
                if (dist__phase_of(old) == DIST__QUEUED) end(&job[k], UNRUN);
            }
            if (random_below(&random, 8) == 0) random_delay(&random);
            /* release: it touches the job no more; the owner lets go of it only then */
            atomic_store_explicit(&canceller_at, k + 1, memory_order_release);
        }
    return NULL;
}

/* A thread for every third job. */
static void *hurry(void *unused) {
    struct random random = random_from(run_seed + 300);
    uint32_t seen = 0;
    (void)unused;
    while (next_batch(&seen))
        for (uint32_t k = 0; k < JOBS; k += 3) {
            if (random_below(&random, 8) == 0) random_delay(&random);
            if (dist__phase_move(&job[k].word, DIST__QUEUED, DIST__UNDER_WAY)) end(&job[k], RAN);
            if (dist__phase_unhurry(&job[k].word)) free_it(&job[k]);
            atomic_store_explicit(&hurried_at, k + 3, memory_order_release);
        }
    return NULL;
}

static void submit(uint32_t number) {
    atomic_store_explicit(&canceller_at, 0, memory_order_relaxed);
    atomic_store_explicit(&hurried_at, 0, memory_order_relaxed);
    for (uint32_t k = 0; k < JOBS; k++) {
        job[k].number = number + k;
        uint32_t holders = DIST__IN_LANE | (k % 3 == 0 ? DIST__HURRIED : 0);
        atomic_store_explicit(&job[k].word, DIST__LIGHT | DIST__QUEUED | holders,
                              memory_order_relaxed);
        CHECK(dist__deque_offer(&lane, &job[k]));
    }
    atomic_fetch_add_explicit(&batch, 1, memory_order_release);
}

static void wait_for(struct job *one, bool runs) {
    if (runs && dist__deque_newest(&lane) == one && dist__deque_pop(&lane) == one) {
        if (dist__phase_take(&one->word) == DIST__MUST_RUN) end(one, RAN);
    } else if (runs && dist__phase_move(&one->word, DIST__QUEUED, DIST__UNDER_WAY)) {
        end(one, RAN);
    }
    dist__onlookers_enter(&onlookers);
    while (dist__phase_of(dist__phase_await(&one->word)) != DIST__ENDED) sched_yield();
    dist__onlookers_leave(&onlookers);
}

static void finish(struct job *one, struct random *random) {
    uint32_t k = (uint32_t)(one - job);
    wait_for(one, random_below(random, 2));
    uint32_t word = dist__phase_look(&one->word), status = dist__phase_status(word);
    CHECK(status == RAN || status == UNRUN);
    CHECK(one->result == one->number + status);
    CHECK(status == RAN || word & DIST__CANCEL);
    while (atomic_load_explicit(&canceller_at, memory_order_acquire) <= k) sched_yield();
    if (dist__phase_leave(&one->word)) free_it(one);
}

/* All entries must come out of the lane before its jobs are used again. */
static void await_freed(void) {
    while (atomic_load_explicit(&freed, memory_order_acquire) < JOBS) sched_yield();
    while (atomic_load_explicit(&hurried_at, memory_order_acquire) < JOBS) sched_yield();
    for (uint32_t k = 0; k < JOBS; k++) {
        CHECK(job[k].frees == 1);
        job[k].frees = 0;
    }
    atomic_store_explicit(&freed, 0, memory_order_relaxed);
}

static void play(uint64_t seed, struct dist__deque_block *block) {
    pthread_t thread[THIEVES + 2];
    struct random random = random_from(seed);
    run_seed = seed;
    dist__deque_init(&lane, block);
    atomic_store_explicit(&over, false, memory_order_relaxed);
    atomic_store_explicit(&batch, 0, memory_order_relaxed);
    for (uintptr_t k = 0; k < THIEVES; k++) thread[k] = start(steal, (void *)k);
    thread[THIEVES] = start(cancel, NULL);
    thread[THIEVES + 1] = start(hurry, NULL);
    for (uint32_t b = 0; b < BATCHES; b++) {
        submit(b * 1000);
        uint32_t first = random_below(&random, JOBS),
                 step = 1 + 2 * random_below(&random, JOBS / 2);
        for (uint32_t k = 0; k < JOBS; k++) finish(&job[(first + k * step) % JOBS], &random);
        await_freed();
    }
    atomic_store_explicit(&over, true, memory_order_release);
    for (size_t k = 0; k < THIEVES + 2; k++) join(thread[k]);
}

int main(int argc, char **argv) {
    uint64_t seed = begin(argc, argv);
    struct dist__deque_block *block = malloc(sizeof *block + 2 * JOBS * sizeof(_Atomic(void *)));
    CHECK(block);
    *block = (struct dist__deque_block){.size = 2 * JOBS};
    for (int k = 0; k < 2 * JOBS; k++) atomic_init(&block->slot[k], NULL);
    unsigned rounds = 0;
    for (double limit = now() + RUN_SECONDS; rounds < 2 || now() < limit; rounds++)
        play(seed + rounds, block);
    printf("%u rounds of %d batches of %d jobs, %d thieves\n", rounds, BATCHES, JOBS, THIEVES);
    free(block);
    return 0;
}
