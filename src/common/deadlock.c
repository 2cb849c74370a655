/* deadlock.c - who waits for whom.
 *
 * A job ends when all its tasks and hooks that have begun have returned. So it never does if one of
 * them is stuck; and a wait is stuck if each of the jobs it waits for has a part that is. What
 * follows from itself counts: the largest set of waits that keep each other is sought, by taking
 * those for stuck that are listed, and crossing out whoever waits for something that may still end.
 *
 * A task's part in jobs is read off its records: it is frozen together with the task that it was
 * called by, and with all that its thread has begun before. It stays so while the wait is listed,
 * and so do the jobs, which their owners wait for. Nothing can free a listed wait but the end of
 * what it waits for. So a circle is closed by the wait that is listed last, and that one hears of
 * it, unless it is one that cannot leave (a stream, which has jobs of its own): then it is whoever
 * looks next. */
#include "deadlock.h"
#include "error.h"
#include "light.h"
#include "pool.h"

#include <pthread.h>

enum { LOOK_NS = 50000000 /* hardly any wait that ends takes so long, and so the lock */ };

static struct {
    pthread_mutex_t lock; /* nobody takes another one while he has it */
    struct dist__wait *first;
} waits = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* In a child, whose only thread waits for nothing. */
static void forget(void) {
    waits.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    waits.first = NULL;
}

__attribute__((constructor)) static void enter(void) { pthread_atfork(NULL, NULL, forget); }

/* ------------------------------------------------------------------ what a wait keeps from ending
 */

/* What somebody waits for: a job, or an item of it; else a pool. */
struct target {
    const dist_job *job;
    bool of_item;
    size_t item;
    const struct dist_pool *pool;
};

/* The task of the record is a part of it. A call with .abandon may end without its tasks. */
static bool task_is_part(const struct dist__record *r, const struct target *of) {
    const struct dist__control *c = r->control;
    bool stays = c && !c->opts.abandon;
    if (of->pool) return stays && c->batch->pool == of->pool;
    if (dist__is_light(of->job)) return r->light == dist__light_of(of->job);
    return stays && c->batch->job == of->job &&
           (!of->of_item || dist__batch_index(c->batch, r->index) == of->item);
}

/* The records of a thread, innermost first, and those of the tasks that have called them. */
static bool is_part(const struct dist__wait *wait, const struct target *of) {
    for (const struct dist__record *r = wait->record; r; r = r->outer) {
        if (task_is_part(r, of)) return true;
        if (r->caller == r->outer) continue;
        for (const struct dist__record *c = r->caller; c; c = c->caller)
            if (task_is_part(c, of)) return true;
    }
    for (const struct dist_job *j = wait->running; j; j = j->below)
        if (of->pool ? j->batch.pool == of->pool : j == of->job && !of->of_item) return true;
    return false;
}

/* ------------------------------------------------------------------ with the lock held */

static struct target target_of(const struct dist__wait *wait, size_t k) {
    return (struct target){wait->pool ? NULL : wait->jobs[k], wait->of_item, wait->item,
                           wait->pool};
}

static bool never_ends(const struct target *of) {
    for (const struct dist__wait *w = waits.first; w; w = w->after)
        if (w->stuck && is_part(w, of)) return true;
    return false;
}

static bool keeps_stuck(const struct dist__wait *wait) {
    for (size_t k = 0; k < wait->count; k++) {
        struct target target = target_of(wait, k);
        if ((target.job || target.pool) && !never_ends(&target)) return false;
    }
    return true;
}

/* Somebody waits for something that this wait is a part of: else it is in no circle. */
static bool is_waited_for(const struct dist__wait *wait) {
    for (const struct dist__wait *w = waits.first; w; w = w->after)
        for (size_t k = 0; k < w->count; k++) {
            struct target target = target_of(w, k);
            if ((target.job || target.pool) && is_part(wait, &target)) return true;
        }
    return false;
}

static bool is_stuck(struct dist__wait *wait) {
    for (struct dist__wait *w = waits.first; w; w = w->after) w->stuck = true;
    if (!keeps_stuck(wait) || !is_waited_for(wait)) return false;
    for (bool changed = true; changed && wait->stuck;) {
        changed = false;
        for (struct dist__wait *w = waits.first; w; w = w->after)
            if (w->stuck && !keeps_stuck(w)) w->stuck = false, changed = true;
    }
    return wait->stuck;
}

static void enlist(struct dist__wait *wait) {
    if (wait->listed) return;
    wait->listed = true;
    wait->before = NULL;
    wait->after = waits.first;
    if (waits.first) waits.first->before = wait;
    waits.first = wait;
}

static void delist(struct dist__wait *wait) {
    *(wait->before ? &wait->before->after : &waits.first) = wait->after;
    if (wait->after) wait->after->before = wait->before;
    wait->listed = false;
}

/* ------------------------------------------------------------------ a wait */

void dist__wait_begin(struct dist__wait *wait, dist_job *const *jobs, size_t count,
                      uint64_t limit_ns) {
    wait->jobs = jobs;
    wait->count = count;
    wait->of_item = false;
    wait->item = 0;
    wait->pool = NULL;
    wait->record = dist__record_current();
    wait->running = dist__job_running();
    wait->look_ns = 0;
    wait->pause_ns = LOOK_NS;
    wait->for_ever = limit_ns == UINT64_MAX;
    wait->listed = wait->stuck = false;
}

void dist__wait_list(struct dist__wait *wait) {
    /* others wait for what has a part that waits: this may be none */
    if (!wait->for_ever || (!wait->record && !wait->running)) return;
    pthread_mutex_lock(&waits.lock);
    enlist(wait);
    pthread_mutex_unlock(&waits.lock);
}

void dist__wait_end(struct dist__wait *wait) {
    if (!wait->listed) return;
    pthread_mutex_lock(&waits.lock);
    delist(wait);
    pthread_mutex_unlock(&waits.lock);
}

bool dist__wait_is_vain(struct dist__wait *wait) {
    if (!wait->for_ever || (!wait->record && !wait->running)) return false;
    uint64_t now = dist__now_ns();
    if (!wait->look_ns) wait->look_ns = now + wait->pause_ns;
    if (now < wait->look_ns) return false;
    wait->pause_ns *= 2;
    wait->look_ns = now + wait->pause_ns;
    pthread_mutex_lock(&waits.lock);
    enlist(wait);
    bool stuck = is_stuck(wait);
    if (stuck) delist(wait);
    pthread_mutex_unlock(&waits.lock);
    return stuck;
}

int64_t dist__wait_nap(const struct dist__wait *wait, int64_t left_ns) {
    if (wait->look_ns == 0) return left_ns; /* it never looks */
    uint64_t now = dist__now_ns();
    int64_t until_look = wait->look_ns > now ? (int64_t)(wait->look_ns - now) : 1;
    return left_ns < 0 || until_look < left_ns ? until_look : left_ns;
}

dist_status dist__wait_refuse(void) {
    return dist__refuse(DIST_DEADLOCK, 0,
                        "this wait closes a circle of tasks that wait for each other");
}
