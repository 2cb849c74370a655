/* queues.c - processes that share a queue are killed, at random moments and at each of their
 * instructions: nothing wrong is delivered, nothing twice, nothing is lost but what the victim had
 * in its hands, and the queue goes on. Those that are stopped instead keep nobody beyond his limit.
 *
 * By hand, with more of it:  fault_queues "" SEED KILLS INSTRUCTIONS (from a death to the next) */
#include "fault.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned kills_wanted = 400, stride_most = 30;

struct item {
    uint64_t id;
    uint64_t echo[7]; /* follows from the id */
};

static struct item item_of(uint64_t id) {
    struct item item = {.id = id};
    for (unsigned k = 0; k < 7; k++) item.echo[k] = (id + k) * UINT64_C(0x9e3779b97f4a7c15);
    return item;
}

static bool is_whole(const struct item *item) {
    struct item right = item_of(item->id);
    return memcmp(item, &right, sizeof right) == 0;
}

static dist_queue *open_queue(size_t capacity, bool priority) {
    dist_queue *queue = dist_queue_open(.item_size = sizeof(struct item), .capacity = capacity,
                                        .priority = priority, .process_shared = true);
    CHECK(queue);
    return queue;
}

/* ------------------------------------------------------------------ at random moments */

enum { PRODUCERS = 3, CONSUMERS = 3, EACH_MOST = 1 << 21 };

static struct {
    dist_queue *queue;
    bool priority;
    _Atomic(bool) stop;
    _Atomic(unsigned) next[PRODUCERS];                /* number that the producer puts next */
    _Atomic(unsigned) expected[CONSUMERS][PRODUCERS]; /* at least, by this consumer */
    _Atomic(unsigned char) put[PRODUCERS][EACH_MOST]; /* 1: begun, 2: it was put */
    _Atomic(unsigned char) got[PRODUCERS][EACH_MOST];
} * shared;

static void produce(unsigned self) {
    while (!atomic_load(&shared->stop)) {
        unsigned number = atomic_fetch_add(&shared->next[self], 1);
        if (number >= EACH_MOST) return;
        struct item item = item_of((uint64_t)self << 32 | number);
        atomic_store(&shared->put[self][number], 1);
        CHECK(dist_queue_put(shared->queue, &item, DIST_FOREVER) == DIST_OK);
        atomic_store(&shared->put[self][number], 2);
    }
}

static void consume(unsigned self) {
    struct item item;
    dist_status status;
    while ((status = dist_queue_get(shared->queue, &item, DIST_FOREVER)) == DIST_OK) {
        unsigned producer = (unsigned)(item.id >> 32), number = (unsigned)item.id;
        CHECK(is_whole(&item) && producer < PRODUCERS && number < EACH_MOST);
        CHECK(atomic_fetch_add(&shared->got[producer][number], 1) == 0);
        CHECK(atomic_load(&shared->put[producer][number]) > 0);
        CHECK(number >= atomic_exchange(&shared->expected[self][producer], number + 1));
    }
    CHECK(status == DIST_CLOSED);
}

static pid_t start_one(unsigned k) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (k < PRODUCERS) produce(k);
    else consume(k - PRODUCERS);
    _exit(0);
}

static void check_end(pid_t pid, bool killed) {
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (killed && WIFSIGNALED(status)) CHECK(WTERMSIG(status) == SIGKILL);
    else CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Each cell is free again, and no more than there are. */
static void check_empty(dist_queue *queue, bool priority) {
    struct item item;
    size_t capacity = dist_queue_capacity(queue);
    for (size_t k = 0; k < capacity; k++) {
        item = item_of(k);
        CHECK((priority ? dist_queue_put_first(queue, (int)(capacity - k), &item, 0)
                        : dist_queue_put(queue, &item, 0)) == DIST_OK);
    }
    CHECK(dist_queue_put(queue, &item, 0) == DIST_FULL);
    for (size_t k = 0; k < capacity; k++) {
        CHECK(dist_queue_get(queue, &item, 0) == DIST_OK);
        CHECK(is_whole(&item) && item.id == (priority ? capacity - 1 - k : k));
    }
    CHECK(dist_queue_get(queue, &item, 0) == DIST_EMPTY);
}

/* What was put and never got: each consumer that was killed may have had one in its hands. */
static size_t lost(void) {
    size_t count = 0;
    for (unsigned p = 0; p < PRODUCERS; p++)
        for (unsigned k = 0; k < EACH_MOST; k++) {
            unsigned put = atomic_load(&shared->put[p][k]), got = atomic_load(&shared->got[p][k]);
            CHECK(got <= 1 && (put || !got));
            count += put == 2 && !got;
        }
    return count;
}

static void let_drain(pid_t pid[]) {
    atomic_store(&shared->stop, true);
    for (unsigned k = 0; k < PRODUCERS; k++) check_end(pid[k], false);
    CHECK(dist_queue_close(shared->queue) == DIST_OK);
    for (unsigned k = PRODUCERS; k < PRODUCERS + CONSUMERS; k++) check_end(pid[k], false);
    CHECK(dist_queue_length(shared->queue) == 0);
}

static void kill_at_random(size_t capacity, bool priority) {
    pid_t pid[PRODUCERS + CONSUMERS];
    unsigned kills = 0, consumers = 0;
    shared = shared_memory(sizeof *shared);
    shared->queue = open_queue(capacity, priority);
    for (unsigned k = 0; k < PRODUCERS + CONSUMERS; k++) pid[k] = start_one(k);
    for (double limit = now() + 20; kills < kills_wanted && now() < limit; kills++) {
        nap(1e-6 * random_below(800));
        unsigned victim = random_below(PRODUCERS + CONSUMERS);
        CHECK(kill(pid[victim], SIGKILL) == 0);
        check_end(pid[victim], true);
        consumers += victim >= PRODUCERS;
        pid[victim] = start_one(victim);
    }
    let_drain(pid);
    unsigned puts = 0;
    for (unsigned p = 0; p < PRODUCERS; p++) puts += atomic_load(&shared->next[p]);
    size_t missing = lost();
    printf("%u kills, %u puts, %zu lost; ", kills, puts, missing);
    fflush(stdout);
    CHECK(missing <= consumers);
    CHECK(kills > 20 && puts > kills);
    dist_queue_free(&shared->queue);
}

static void a_narrow_queue(void) { kill_at_random(3, false); }
static void a_queue_of_one(void) { kill_at_random(1, false); }
static void a_wide_queue(void) { kill_at_random(1000, false); }
static void a_queue_with_priorities(void) { kill_at_random(50, true); }

/* ------------------------------------------------------------------ at each instruction */

/* What a victim does with a queue that holds the items 0 .. held-1 at priorities 0 .. held-1. */
struct deed {
    const char *what;
    size_t held;
    bool priority;
    dist_status (*act)(dist_queue *queue);
    int puts, gets; /* what it changes, if it does */
    int at;         /* where what it puts comes out */
};

enum { SLOTS = 5, NEW_ITEM = 77, STEPS_MOST = 200000 };

static dist_status put(dist_queue *queue) {
    struct item item = item_of(NEW_ITEM);
    return dist_queue_put(queue, &item, 0);
}

static dist_status put_ahead(dist_queue *queue) {
    struct item item = item_of(NEW_ITEM);
    return dist_queue_put_first(queue, -1, &item, 0);
}

static dist_status get(dist_queue *queue) {
    struct item item;
    return dist_queue_get(queue, &item, 0);
}

static dist_status wait_for_one(dist_queue *queue) {
    struct item item;
    return dist_queue_get(queue, &item, 1e-6);
}

static const struct deed deeds[] = {
    {"put", 2, false, put, 1, 0, 2},
    {"put into an empty one", 0, false, put, 1, 0, 0},
    {"put into a full one", SLOTS, false, put, 0, 0, 0},
    {"get", 3, false, get, 0, 1, 0},
    {"the last get", 1, false, get, 0, 1, 0},
    {"wait in vain", 0, false, wait_for_one, 0, 0, 0},
    {"put first", 4, true, put_ahead, 1, 0, 0},
    {"put last", 4, true, put, 1, 0, 4},
    {"get the first", 4, true, get, 0, 1, 0},
    {"done", 2, false, dist_queue_task_done, 0, 0, 0},
    {"close", 2, false, dist_queue_close, 0, 0, 0},
};

static void prepare(dist_queue *queue, const struct deed *deed, uint32_t before) {
    struct item item;
    for (uint32_t k = 0; k < before; k++) { /* somewhere in the ring */
        item = item_of(0);
        CHECK(dist_queue_put(queue, &item, 0) == DIST_OK);
        CHECK(dist_queue_get(queue, &item, 0) == DIST_OK);
    }
    for (size_t k = 0; k < deed->held; k++) {
        item = item_of(k);
        CHECK((deed->priority ? dist_queue_put_first(queue, (int)k, &item, 0)
                              : dist_queue_put(queue, &item, 0)) == DIST_OK);
    }
}

/* Takes all that is there, and says whether the deed has been done. */
static bool check_after(dist_queue *queue, const struct deed *deed) {
    struct item item;
    uint64_t got[SLOTS + 1];
    size_t count = 0;
    dist_status status;
    while ((status = dist_queue_get(queue, &item, 0)) == DIST_OK) {
        CHECK(count < SLOTS && is_whole(&item));
        got[count++] = item.id;
    }
    bool closed = status == DIST_CLOSED;
    CHECK(closed || status == DIST_EMPTY);
    CHECK(!closed || deed->act == dist_queue_close);
    bool done = count != deed->held;
    CHECK(!done || (int)count == (int)deed->held + deed->puts - deed->gets);
    uint64_t next = done ? (uint64_t)deed->gets : 0;
    for (size_t k = 0; k < count; k++)
        CHECK(got[k] == (done && deed->puts && (int)k == deed->at ? NEW_ITEM : next++));
    if (!closed) check_empty(queue, deed->priority);
    return done || closed;
}

/* A child that does it under the eyes of its parent, who lets it go `steps` instructions on. False:
 * it was through before. */
static bool step_into(dist_queue *queue, const struct deed *deed, long steps, pid_t *child) {
    int status;
    *child = fork();
    CHECK(*child >= 0);
    if (*child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(2);
        raise(SIGSTOP);
        deed->act(queue);
        _exit(0);
    }
    CHECK(waitpid(*child, &status, 0) == *child);
    if (WIFEXITED(status)) skip("no ptrace here");
    while (steps-- > 0) {
        CHECK(ptrace(PTRACE_SINGLESTEP, *child, NULL, NULL) == 0);
        CHECK(waitpid(*child, &status, 0) == *child);
        if (!WIFSTOPPED(status)) return false;
    }
    return true;
}

static void end_child(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* Sanitizers take hundreds of instructions for each. */
static long stride(void) {
    return SANITIZED ? 400 + random_below(4000) : 1 + random_below(stride_most);
}

static void die_at_each_instruction(const struct deed *deed) {
    long steps = random_below(4), deaths = 0, done = 0;
    pid_t child;
    for (;; steps += stride(), deaths++) {
        CHECK(steps < STEPS_MOST || SANITIZED);
        dist_queue *queue = open_queue(SLOTS, deed->priority);
        prepare(queue, deed, random_below(SLOTS));
        bool under_way = step_into(queue, deed, steps, &child);
        if (under_way) end_child(child);
        done += check_after(queue, deed);
        dist_queue_free(&queue);
        if (!under_way) break;
    }
    printf("%s %ld/%ld, ", deed->what, done, deaths);
    fflush(stdout);
    CHECK(deaths > 1);
}

/* What is measured once is measured before: it takes thousands of instructions. */
static void warm_up(void) {
    dist_queue *queue = open_queue(1, false);
    CHECK(wait_for_one(queue) == DIST_EMPTY);
    dist_queue_free(&queue);
}

static void at_each_instruction(void) {
    warm_up();
    for (size_t k = 0; k < N(deeds); k++) die_at_each_instruction(&deeds[k]);
}

/* Waits in a child for what the victim makes: an item, or room. */
static pid_t start_waiter(dist_queue *queue, bool for_item) {
    struct item item = item_of(1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit((for_item ? dist_queue_get(queue, &item, DIST_FOREVER)
                        : dist_queue_put(queue, &item, DIST_FOREVER)) != DIST_OK);
    nap(0.001); /* it falls asleep */
    return pid;
}

/* A queue of one item, so that one look tells whether the victim has done it. Then the waiter must
 * notice; else it is told now. */
static bool dies_before_it_wakes(const struct deed *deed, long steps) {
    struct item item = item_of(2);
    pid_t child;
    bool puts = deed->puts;
    dist_queue *queue = open_queue(1, false);
    if (!puts) CHECK(dist_queue_put(queue, &item, 0) == DIST_OK);
    pid_t waiter = start_waiter(queue, puts);
    bool under_way = step_into(queue, deed, steps, &child);
    if (under_way) end_child(child);
    dist_status status = puts ? dist_queue_put(queue, &item, 0) : dist_queue_get(queue, &item, 0);
    CHECK(status == DIST_OK || status == (puts ? DIST_FULL : DIST_EMPTY));
    CHECK(gone(waiter, SANITIZED ? 30 : 10));
    check_end(waiter, false);
    dist_queue_free(&queue);
    return under_way;
}

static void before_it_wakes(void) {
    warm_up();
    for (size_t k = 0; k < N(deeds); k++) {
        if (deeds[k].act != put && deeds[k].act != get) continue;
        if (deeds[k].priority || deeds[k].held != (size_t)deeds[k].gets) continue;
        long steps = random_below(4), deaths = 0;
        while (dies_before_it_wakes(&deeds[k], steps)) steps += stride(), deaths++;
        printf("%s %ld, ", deeds[k].what, deaths);
        fflush(stdout);
    }
}

/* It stands still in the middle: others may not get what they want, but they come back. */
static void stopped_in_the_middle(void) {
    const struct deed *deed = &deeds[0];
    struct item item;
    unsigned busy = 0;
    pid_t child;
    for (long steps = 0;; steps += 10 * stride()) {
        dist_queue *queue = open_queue(SLOTS, false);
        prepare(queue, deed, 0);
        bool under_way = step_into(queue, deed, steps, &child);
        double before = now();
        item = item_of(0);
        busy += dist_queue_get(queue, &item, 0.01) == DIST_EMPTY;
        CHECK(is_whole(&item) && item.id == 0 && now() - before < 5);
        CHECK(dist_queue_close(queue) == DIST_OK);
        CHECK(dist_queue_put(queue, &item, DIST_FOREVER) == DIST_CLOSED);
        if (under_way) end_child(child);
        while (dist_queue_get(queue, &item, DIST_FOREVER) == DIST_OK) CHECK(is_whole(&item));
        CHECK(dist_queue_length(queue) == 0);
        dist_queue_free(&queue);
        if (!under_way) break;
    }
    printf("%u times busy; ", busy);
    fflush(stdout);
}

static const struct fault_case cases[] = {
    {"those who share a narrow queue are killed", a_narrow_queue, 60},
    {"those who share a queue of one item are", a_queue_of_one, 60},
    {"those who share a wide queue are", a_wide_queue, 60},
    {"those who share a queue with priorities are", a_queue_with_priorities, 60},
    {"one is killed at each instruction", at_each_instruction, 300},
    {"one is killed before it wakes another", before_it_wakes, 120},
    {"one is stopped in the middle of a put", stopped_in_the_middle, 60},
};

int main(int argc, char **argv) {
    if (argc > 3) kills_wanted = (unsigned)strtoul(argv[3], NULL, 0);
    if (argc > 4) stride_most = (unsigned)strtoul(argv[4], NULL, 0);
    return fault_main(cases, N(cases), argc, argv);
}
