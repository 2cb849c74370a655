/* lanes.c - where light jobs wait for a thread. */
#include "lanes.h"
#include "blocks.h"
#include "common/cpus.h"
#include "common/light.h"
#include "pool.h"
#include "slabs.h"
#include "turns.h"
#include "watch.h"

#include <stdlib.h>

enum {
    LANE_SIZE = 64, /* first block of a lane */
    IN_A_ROW = 64,  /* jobs of one lane, before another one's turn */
    FEW = 64,       /* jobs in one tick; if there are more, a further thread is of no use */
    PAUSES = 32,    /* between two looks at the lanes: about a microsecond */
    POLLS = 20,     /* looks at empty lanes before a thread gives up */
    STREAK = 16,    /* jobs in a row that their owner has taken back */
    WAKES = 2,      /* of a tick, if nothing gets on */
    MANY = 128,     /* jobs in a lane, of which a thread takes several at once */
    SPAN_US = 10,   /* in which those are to be done */
    SUBMITS = 64    /* between two looks whether there are so many */
};

_Static_assert(MANY >= DIST__DEQUE_REACH && LANE_SIZE >= DIST__DEQUE_REACH, "see deque.h");

struct lane {
    struct dist__deque deque;                    /* of light jobs */
    alignas(DIST__CACHE_LINE) struct lane *next; /* all lanes there ever were; never unlinked */
    _Atomic(bool) taken;                         /* by a living thread [taken] */
    _Atomic(bool) hot; /* owner sets, the watch resets: its only job is the owner's to run */
    _Atomic(uint32_t) submitted; /* owner writes: how many so far */
    _Atomic(uint64_t) moved;     /* owner writes: how many it has brought from other lanes */
    unsigned streak;             /* owner only: jobs that it has taken back, one after the other */
    unsigned at_once;            /* owner only: jobs that it takes from another lane, at most */
    bool serves;                 /* owner only, as what follows */
    struct dist__light *free;    /* jobs for reuse */
    unsigned free_count;
    alignas(DIST__CACHE_LINE) uint32_t seen; /* the watch's own: `submitted`, at its last look */
};

static _Atomic(struct lane *) lanes; /* publishes them [lanes] */

static alignas(DIST__CACHE_LINE) _Atomic(bool) active; /* the lanes want threads [active] */
static _Atomic(int) serving;                           /* threads that do [serving] */

/* The watch's own, of its last look. */
static struct {
    uint64_t submitted, taken, cpu_ns;
    bool ready;
} seen;

static _Thread_local struct lane *self __attribute__((tls_model("initial-exec")));
static pthread_key_t key;
static _Atomic(bool) has_key;

/* ------------------------------------------------------------------ lanes */

static void give_back(struct lane *lane) {
    /* release: the lane as its thread left it; pairs with [taken] */
    atomic_store_explicit(&lane->taken, false, memory_order_release);
}

static bool take(struct lane *lane) {
    bool taken = false;
    /* acquire: pairs with [taken] */
    return atomic_compare_exchange_strong_explicit(&lane->taken, &taken, true, memory_order_acquire,
                                                   memory_order_relaxed);
}

static void thread_ends(void *lane) {
    self = NULL;
    give_back(lane);
}

/* Before the first call, so that no fork comes in the middle of it: see begin() in thread.c. */
__attribute__((constructor)) static void make_key(void) {
    /* relaxed, here and below: this thread is the only one; who finds it at the end of the program
     * gives the key in vain */
    atomic_store_explicit(&has_key, pthread_key_create(&key, thread_ends) == 0,
                          memory_order_relaxed);
}

static struct lane *first_lane(void) {
    /* acquire: all lanes behind it; pairs with [lanes] */
    return atomic_load_explicit(&lanes, memory_order_acquire);
}

static struct lane *new_lane(void) {
    struct lane *lane = aligned_alloc(alignof(struct lane), sizeof *lane);
    struct dist__deque_block *block = dist__deque_new_block(LANE_SIZE);
    if (!lane || !block) {
        free(lane);
        free(block);
        return NULL;
    }
    dist__deque_init(&lane->deque, block);
    atomic_init(&lane->taken, true);
    atomic_init(&lane->submitted, 0);
    atomic_init(&lane->moved, 0);
    atomic_init(&lane->hot, false);
    lane->seen = 0;
    lane->streak = 0;
    lane->at_once = 1;
    lane->serves = false;
    lane->free = NULL;
    lane->free_count = 0;
    struct lane *head = atomic_load_explicit(&lanes, memory_order_relaxed);
    do lane->next = head;
    /* release: the lane before the pointer to it; pairs with [lanes] */
    while (!atomic_compare_exchange_weak_explicit(&lanes, &head, lane, memory_order_release,
                                                  memory_order_relaxed));
    return lane;
}

static __attribute__((noinline)) struct lane *find_own_lane(void) {
    dist__ticks_per_us();
    struct lane *lane = first_lane();
    while (lane && !take(lane)) lane = lane->next;
    if (!lane) lane = new_lane();
    if (lane) lane->streak = 0;
    if (lane && atomic_load_explicit(&has_key, memory_order_relaxed))
        pthread_setspecific(key, lane);
    return self = lane;
}

/* The calling thread's; NULL: no memory. */
static struct lane *own_lane(void) { return self ? self : find_own_lane(); }

/* ------------------------------------------------------------------ memory */

static struct dist__light *get(void) {
    struct lane *lane = own_lane();
    if (!lane) return NULL;
    if (!lane->free) lane->free = dist__slabs_get(&lane->free_count);
    struct dist__light *light = lane->free;
    if (!light) return NULL;
    lane->free = light->next;
    lane->free_count--;
    __builtin_prefetch(lane->free, 1); /* another thread had it last, perhaps */
    return light;
}

static void put(struct dist__light *light) {
    struct lane *lane = own_lane();
    if (!lane) return; /* no memory for a lane: the slab keeps it */
    light->next = lane->free;
    lane->free = light;
    if (++lane->free_count >= DIST__SLABS_KEPT) dist__slabs_share(&lane->free, &lane->free_count);
}

/* ------------------------------------------------------------------ submitting */

/* relaxed, here and below: a number that steers how many are woken */
static int count_serving(void) { return atomic_load_explicit(&serving, memory_order_relaxed); }

/* True: a job lies in a lane, perhaps one that has been begun. */
static bool is_any(void) {
    for (struct lane *lane = first_lane(); lane; lane = lane->next)
        if (!dist__deque_seems_empty(&lane->deque)) return true;
    return false;
}

/* The jobs that are left to the owner of the lane, if there are no more of them. */
static int64_t left_to_owner(struct lane *lane) {
    /* relaxed: written before the push of the job that it is about */
    return atomic_load_explicit(&lane->hot, memory_order_relaxed) ? 1 : 0;
}

/* The same, for a thread that wants to serve. */
static bool is_ready(void) {
    for (struct lane *lane = first_lane(); lane; lane = lane->next)
        if (!dist__deque_seems_empty(&lane->deque) &&
            dist__deque_count(&lane->deque) > left_to_owner(lane))
            return true;
    return false;
}

static void activate(void) {
    /* seq_cst, here and where it is turned off: a submitter pushes, then looks at it; who turns it
     * off looks at the lanes once more [active] */
    if (!atomic_exchange_explicit(&active, true, memory_order_seq_cst))
        dist__pool_want((int)dist__turns_most());
}

static bool is_active(void) {
    /* seq_cst: after a push, see [active] */
    return atomic_load_explicit(&active, memory_order_seq_cst);
}

void dist__lanes_rest(void) {
    /* acquire: a thread that was serving before; pairs with [serving] */
    if (!is_active() || is_any() || atomic_load_explicit(&serving, memory_order_acquire)) return;
    if (atomic_exchange_explicit(&active, false, memory_order_seq_cst)) /* see above [active] */
        dist__pool_want(-(int)dist__turns_most());
}

static bool push(struct lane *lane, struct dist__light *light) {
    return dist__deque_offer(&lane->deque, light) ||
           (dist__deque_enlarge(&lane->deque) && dist__deque_offer(&lane->deque, light));
}

/* Nobody searches; `lane`: of who submits, NULL: nobody does now. While others serve, and the CPUs
 * have enough to do, that will be put right by the next of them that is done, or by the watch. */
static void call_for_help(const struct lane *lane) {
    int busy = count_serving();
    if (busy == 0 || busy + (lane && lane->serves ? 0 : 1) < (int)dist__cpus_cached()) {
        if (!dist__turn_is_free()) return; /* who gives one back then looks at the lanes */
        if (dist__pool_wake()) return;
    }
    if (!dist__watch_lanes()) dist__pool_wake();
}

/* An owner that has waited for each of its last jobs right away will most likely do so again:
 * nobody is woken for its only job. If it does not, the watch notices. */
static bool becomes_hot(struct lane *lane) {
    bool hot = lane->streak >= STREAK && dist__deque_count(&lane->deque) == 0;
    /* relaxed: the push publishes it */
    if (left_to_owner(lane) != hot) atomic_store_explicit(&lane->hot, hot, memory_order_relaxed);
    return hot;
}

static bool submit(struct dist__light *light) {
    struct lane *lane = own_lane();
    if (!lane) return false;
    bool hot = becomes_hot(lane);
    if (!push(lane, light)) return false;
    /* relaxed, both: a number, and the owner's own */
    uint32_t submitted = atomic_load_explicit(&lane->submitted, memory_order_relaxed);
    atomic_store_explicit(&lane->submitted, submitted + 1, memory_order_relaxed);
    if (submitted % SUBMITS == SUBMITS - 1) dist__deque_open(&lane->deque, MANY);
    if (!is_active()) activate();
    if (hot && dist__watch_lanes()) return true;
    if (!dist__pool_will_see()) call_for_help(lane);
    return true;
}

/* What this thread has begun itself, and nobody needs, need not wait for a thread to take it. */
static void drop_dead(struct lane *lane) {
    struct dist__light *newest;
    while ((newest = dist__deque_newest(&lane->deque)) &&
           dist__phase_look(&newest->word) & DIST__GONE) {
        newest = dist__deque_pop(&lane->deque);
        if (newest && dist__light_take(newest)) put(newest);
    }
}

static bool take_back(struct dist__light *light) {
    struct lane *lane = self;
    if (!lane) return false;
    if (dist__deque_newest(&lane->deque) != light) drop_dead(lane);
    bool taken =
        dist__deque_newest(&lane->deque) == light && dist__deque_pop(&lane->deque) == light;
    lane->streak = taken ? lane->streak + (lane->streak < STREAK) : 0;
    return taken;
}

static void hand_over(void) {
    struct lane *lane = self;
    if (!lane || !left_to_owner(lane)) return;
    lane->streak = 0;
    /* relaxed: a thread that misses it is made up for by the watch, which is awake */
    atomic_store_explicit(&lane->hot, false, memory_order_relaxed);
    if (!dist__pool_will_see()) call_for_help(lane);
}

const struct dist__lanes dist__lanes = {
    .get = get, .put = put, .submit = submit, .take_back = take_back, .hand_over = hand_over};

/* ------------------------------------------------------------------ before and after a shutdown */

/* Drops what lies at the old end of lanes and needs nobody any more: their jobs have been run by
 * those who waited for them. */
static void sweep(void) {
    for (struct lane *lane = first_lane(); lane; lane = lane->next) {
        struct dist__light *oldest;
        bool lost;
        while ((oldest = dist__deque_oldest(&lane->deque)) &&
               dist__phase_look(&oldest->word) & DIST__GONE) {
            oldest = dist__deque_steal(&lane->deque, &lost);
            if (oldest && dist__phase_look(&oldest->word) & DIST__GONE) {
                if (dist__light_take(oldest)) put(oldest);
            } else if (oldest && (!own_lane() || !push(self, oldest))) {
                dist__light_hurry(oldest); /* it was another one; its thread begins it */
            }
        }
    }
}

void dist__lanes_rest_all(void) {
    if (is_active()) sweep();
    dist__lanes_rest();
}

void dist__lanes_revive(void) {
    sweep();
    if (!is_any()) return;
    /* relaxed: after the push that was just seen. Their owners have counted on the watch, which has
     * been stopped */
    for (struct lane *lane = first_lane(); lane; lane = lane->next)
        atomic_store_explicit(&lane->hot, false, memory_order_relaxed);
    activate();
    dist__pool_wake();
}

/* ------------------------------------------------------------------ serving */

bool dist__lanes_begin(void) {
    if (!is_ready() || !own_lane() || !dist__turn_take()) return false;
    /* acq_rel: see dist__lanes_rest [serving] */
    atomic_fetch_add_explicit(&serving, 1, memory_order_acq_rel);
    self->serves = true;
    if (!is_active()) activate(); /* a thread that went to rest did not see the jobs */
    return true;
}

/* Jobs of another lane come into the own one, which is empty: others may take them on from there.
 * That this thread may sit in a long one before them is the business of the watch. */
static void move_in(void *const *light, int64_t count) {
    /* relaxed: the push publishes it */
    atomic_store_explicit(&self->hot, false, memory_order_relaxed);
    dist__deque_offer_some(&self->deque, light, count); /* an empty one has room, see LANE_SIZE */
    /* relaxed, both: a number */
    uint64_t moved = atomic_load_explicit(&self->moved, memory_order_relaxed);
    atomic_store_explicit(&self->moved, moved + (uint64_t)count, memory_order_relaxed);
    if (!is_active()) activate();
    if (!dist__pool_will_see() && !dist__watch_lanes()) dist__pool_wake();
}

/* The oldest job of a lane that this thread may take; NULL: none. If there are many, some more come
 * into the own lane, if that is empty: *moved, else untouched. */
static struct dist__light *take_oldest(struct lane *lane, unsigned *moved) {
    void *light[DIST__DEQUE_REACH];
    int64_t count, most = dist__deque_count(&self->deque) == 0 ? self->at_once : 1;
    bool lost;
    if (dist__deque_count(&lane->deque) <= left_to_owner(lane)) return NULL;
    do count = dist__deque_steal_some(&lane->deque, light, most, &lost);
    while (lost);
    if (count == 0) return NULL;
    if (count > 1) {
        for (int64_t i = 1; i < count; i++) __builtin_prefetch(light[i], 1); /* their turn comes */
        move_in(&light[1], count - 1);
        *moved = (unsigned)count - 1;
    }
    return light[0];
}

/* What it has taken at once is done. Longer jobs are taken one by one: so they begin in their
 * order, and none needs another thread. Returns the time. */
static uint64_t adapt(uint64_t begin) {
    uint64_t now = dist__ticks();
    bool tiny = now - begin < SPAN_US * dist__ticks_per_us();
    if (!tiny) self->at_once = 1;
    else if (self->at_once < DIST__DEQUE_REACH) self->at_once *= 2;
    return now;
}

/* Some jobs of a lane. Returns how many. */
static unsigned serve_lane(struct lane *lane, bool (*should_stop)(void)) {
    unsigned count = 0, moved = 0;
    uint64_t begin = dist__ticks();
    do {
        struct dist__light *light = moved > 0 ? take_oldest(self, &moved) : NULL;
        moved = light ? moved - 1 : 0;
        if (!light) light = take_oldest(lane, &moved);
        if (!light) break;
        if (dist__light_take(light)) put(light);
        if (moved == 0) begin = adapt(begin);
    } while ((++count < IN_A_ROW || moved > 0) && !should_stop());
    return count;
}

/* Where there are CPUs for it, it stays awake a little: jobs that come one by one are then found
 * some at a time, without their submitters being disturbed at each. */
static bool may_wait(void) {
    return dist__cpus_cached() > 1 && count_serving() <= (int)dist__cpus_cached();
}

void dist__lanes_serve(bool (*should_stop)(void)) {
    int cancel_state = dist__cancel_disable();
    unsigned polls = 0;
    do {
        unsigned count = 0;
        for (struct lane *lane = first_lane(); lane; lane = lane->next)
            count += serve_lane(lane, should_stop);
        polls = count > 0 ? 0 : polls + 1;
        for (int k = 0; k < PAUSES && may_wait(); k++) dist__cpu_pause();
    } while (!should_stop() && (polls == 0 || (polls < POLLS && may_wait())));
    dist__cancel_restore(cancel_state);
    self->serves = false;
}

void dist__lanes_end(void) {
    /* release: see dist__lanes_rest [serving] */
    atomic_fetch_sub_explicit(&serving, 1, memory_order_release);
    dist__turn_give(false);
}

bool dist__lanes_starve(void) { return count_serving() == 0 && is_ready(); }

void dist__lanes_tell_on(bool leaves) {
    if (!is_ready()) return;
    if (leaves) dist__pool_wake(); /* what it saw may be over, and the watch stopped for good */
    else call_for_help(NULL);
}

/* ------------------------------------------------------------------ the watch */

static uint64_t count_taken(void) {
    uint64_t taken = 0;
    for (struct lane *lane = first_lane(); lane; lane = lane->next) {
        taken += (uint64_t)dist__deque_taken(&lane->deque);
        taken -= atomic_load_explicit(&lane->moved, memory_order_relaxed); /* a number */
    }
    return taken;
}

/* Owners that leave their only job to itself, against what was expected of them. */
static bool cool(void) {
    bool any = false;
    for (struct lane *lane = first_lane(); lane; lane = lane->next) {
        uint32_t submitted = atomic_load_explicit(&lane->submitted, memory_order_relaxed);
        bool left = left_to_owner(lane) && dist__deque_count(&lane->deque) > 0;
        if (left && lane->seen == submitted) {
            /* relaxed: the owner may set it again, and then it is looked at again */
            atomic_store_explicit(&lane->hot, false, memory_order_relaxed);
            any = true;
        }
        lane->seen = submitted;
    }
    return any;
}

static uint64_t count_submitted(void) {
    uint64_t submitted = 0;
    for (struct lane *lane = first_lane(); lane; lane = lane->next) /* relaxed: a number */
        submitted += atomic_load_explicit(&lane->submitted, memory_order_relaxed);
    return submitted;
}

bool dist__lanes_look(void) {
    uint64_t submitted = count_submitted(), taken = count_taken(), since = taken - seen.taken;
    bool again = is_any() || since > 0 || submitted != seen.submitted;
    if (cool()) dist__pool_wake();
    bool ready = is_ready();
    if (ready && seen.ready && since < FEW && dist__turn_is_free()) {
        uint64_t cpu_ns = dist__cpu_ns(CLOCK_PROCESS_CPUTIME_ID), used = cpu_ns - seen.cpu_ns;
        bool idle = used < DIST__TICK_NS / 4 * 3 * dist__cpus_cached();
        for (int k = 0; k < (since == 0 ? WAKES : idle ? 1 : 0); k++) dist__pool_wake();
    }
    if (ready) seen.cpu_ns = dist__cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    seen.submitted = submitted;
    seen.taken = taken;
    seen.ready = ready;
    return again;
}

/* ------------------------------------------------------------------ the end */

void dist__lanes_unload(void) {
    if (atomic_exchange_explicit(&has_key, false, memory_order_relaxed)) pthread_key_delete(key);
}

void dist__lanes_forget(void) {
    for (struct lane *lane = atomic_load_explicit(&lanes, memory_order_relaxed); lane;
         lane = lane->next) {
        dist__deque_init(&lane->deque,
                         atomic_load_explicit(&lane->deque.block, memory_order_relaxed));
        lane->serves = false;
        atomic_init(&lane->hot, false);
        if (lane != self) atomic_init(&lane->taken, false);
    }
    dist__slabs_forget();
    atomic_init(&active, false);
    atomic_init(&serving, 0);
    seen.ready = false;
}
