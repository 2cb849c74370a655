/* onlookers.c - where those are told who wait for any of several jobs. */
#include "onlookers.h"
#include "os.h"

#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

static struct dist__onlookers own; /* as long as nobody else has to tell */

/* It changes once at most: from `own` to a shared one, for good. An onlooker looks here again when
 * it has entered, and whoever changes it tells those who were there: one sees the other. [place] */
static _Atomic(struct dist__onlookers *) place = &own;

static struct dist__onlookers *current(void) {
    /* seq_cst: after the end of a job, or after an onlooker has entered [place] */
    return atomic_load_explicit(&place, memory_order_seq_cst);
}

struct dist__sight dist__sight_begin(void) {
    for (;;) {
        struct dist__sight sight = {.place = current()};
        sight.ended = dist__onlookers_enter(sight.place);
        if (sight.place == current()) return sight;
        dist__sight_end(&sight);
    }
}

void dist__sight_renew(struct dist__sight *sight) {
    if (sight->place == current()) {
        sight->ended = dist__onlookers_look(sight->place);
        return;
    }
    dist__sight_end(sight);
    *sight = dist__sight_begin();
}

void dist__sight_end(const struct dist__sight *sight) { dist__onlookers_leave(sight->place); }

bool dist__sight_has_expired(const struct dist__sight *sight) {
    return dist__onlookers_look(sight->place) != sight->ended;
}

void dist__sight_await(const struct dist__sight *sight, int64_t timeout_ns) {
    dist__futex_wait(&sight->place->ended, sight->ended, timeout_ns, true);
}

void dist__onlookers_tell(struct dist__onlookers *told) {
    if (dist__onlookers_told(told)) dist__futex_wake(&told->ended, INT_MAX, true);
}

void dist__tell_onlookers(void) { dist__onlookers_tell(current()); }

struct dist__onlookers *dist__onlookers_share(void) {
    struct dist__onlookers *shared = current(), *before = &own;
    if (shared != &own) return shared;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return NULL;
    /* seq_cst: before the others are told [place] */
    if (!atomic_compare_exchange_strong_explicit(&place, &before, shared, memory_order_seq_cst,
                                                 memory_order_seq_cst)) {
        munmap(shared, sizeof *shared); /* another thread has made one */
        return before;
    }
    dist__onlookers_tell(&own);
    return shared;
}

/* In the child of a fork: they are the parent's. */
static void forget(void) {
    /* relaxed, both: there is only this thread */
    atomic_store_explicit(&own.count, 0, memory_order_relaxed);
    atomic_store_explicit(&place, &own, memory_order_relaxed);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, forget); }
