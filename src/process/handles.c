/* handles.c - jobs that go by mail (post.h), seen from the host. Workers end them in shared memory;
 * whoever of the host looks at one first after that brings its result to the caller: it *lands*. */
#include "common/error.h"
#include "common/os.h"
#include "staff.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ from a handle to its mail */

enum {
    POOLS = 64,
    HEIR_LOOK_NS = 10000000 /* between two looks at all that was given up */
};

static const uint32_t NONE = UINT32_MAX;

/* Entries are written when a pool is opened, and when its last handle has gone. */
static struct {
    _Atomic(uintptr_t) cells;          /* where they begin, +1 if they are few; 0: none [known] */
    _Atomic(struct dist__mail *) mail; /* published by the cells */
} known[POOLS];

static const uintptr_t IS_SHORT = 1, RESERVED = 2;

static uintptr_t entry_of(const struct dist__mail *mail) {
    return (uintptr_t)mail->cell + (mail->box.cells == DIST__CELLS ? 0 : IS_SHORT);
}

bool dist__mail_enlist(struct dist__mail *mail) {
    for (unsigned k = 0; k < POOLS; k++) {
        uintptr_t none = 0;
        /* relaxed: only a reservation */
        if (!atomic_compare_exchange_strong_explicit(&known[k].cells, &none, RESERVED,
                                                     memory_order_relaxed, memory_order_relaxed))
            continue;
        atomic_store_explicit(&known[k].mail, mail, memory_order_relaxed); /* see above */
        /* release: the mail; pairs with [known] */
        atomic_store_explicit(&known[k].cells, entry_of(mail), memory_order_release);
        return true;
    }
    return false;
}

void dist__mail_delist(struct dist__mail *mail) {
    for (unsigned k = 0; mail->cell && k < POOLS; k++)
        /* relaxed, both: its own entry, if it has one */
        if (atomic_load_explicit(&known[k].cells, memory_order_relaxed) == entry_of(mail))
            atomic_store_explicit(&known[k].cells, 0, memory_order_relaxed);
}

/* Of a handle, which keeps it alive. */
static struct dist__mail *mail_of(const struct dist__light *light, uint32_t *c) {
    for (unsigned k = 0;; k = (k + 1) % POOLS) {
        /* acquire: pairs with [known] */
        uintptr_t cells = atomic_load_explicit(&known[k].cells, memory_order_acquire);
        uint32_t count = cells & IS_SHORT ? DIST__FEW_CELLS : DIST__CELLS;
        uintptr_t offset = (uintptr_t)light - (cells & ~IS_SHORT);
        if (cells <= RESERVED || offset >= count * sizeof(struct dist__cell)) continue;
        *c = (uint32_t)(offset / sizeof(struct dist__cell));
        return atomic_load_explicit(&known[k].mail, memory_order_relaxed); /* see enlist */
    }
}

/* ------------------------------------------------------------------ beginning and landing */

static dist_job *begin(struct dist_pool *pool, const struct dist__single *single, uint32_t bits) {
    if (!dist__pool_begin_single(pool, true)) return NULL;
    struct dist__mail *mail = ((struct dist__staff *)pool->team)->mail;
    uint32_t c;
    bool woken;
    if (dist__mail_suits_size(mail, single) &&
        dist__mail_put(mail, single, bits, DIST__JOB, &c, &woken))
        return (dist_job *)&mail->cell[c].light;
    dist__pool_end_single(pool, true);
    return NULL;
}

/* How it ended, out of memory that a wild task can have written to. */
static struct dist__light_end *keep(struct dist__light_end *from,
                                    const struct dist__letter *letter) {
    struct dist__light_end *end = malloc(sizeof *end);
    if (!end) return from;
    *end = *from;
    end->item.message[sizeof end->item.message - 1] = '\0';
    end->why.message[sizeof end->why.message - 1] = '\0';
    end->item.item = letter->item;
    if (end->item.status != DIST_SKIPPED) end->why.item = letter->item;
    return end;
}

/* With the lock held. False: it has not ended, or has landed. */
static bool bring(struct dist__mail *mail, uint32_t c) {
    struct dist__light *light = &mail->cell[c].light;
    struct dist__letter *letter = &mail->letter[c];
    if ((letter->use & ~DIST__UNRUN) != DIST__JOB ||
        dist__phase_of(dist__phase_look(&light->word)) != DIST__ENDED)
        return false;
    if (light->end) {
        letter->end = keep(&mail->end[c], letter);
        if (letter->end->why.status && letter->given) *letter->given = letter->end->why;
    } else if (letter->result) {
        memcpy(letter->result, dist__mail_result(mail, c), letter->result_size);
    }
    letter->use += DIST__LANDED_JOB - DIST__JOB;
    mail->jobs--;
    /* release: what came back; pairs with [phase] of whoever finds it landed */
    atomic_fetch_or_explicit(&light->word, DIST__LANDED, memory_order_release);
    return true;
}

static void land_cell(struct dist__mail *mail, uint32_t c) {
    pthread_mutex_lock(&mail->lock);
    bool brought = bring(mail, c);
    struct dist_pool *pool = mail->pool;
    pthread_mutex_unlock(&mail->lock);
    if (brought) dist__pool_end_single(pool, true);
}

static void land(struct dist__light *light) {
    uint32_t c;
    struct dist__mail *mail = mail_of(light, &c);
    land_cell(mail, c);
}

static const struct dist__light_end *ended(const struct dist__light *light) {
    uint32_t c;
    struct dist__mail *mail = mail_of(light, &c);
    pthread_mutex_lock(&mail->lock);
    const struct dist__light_end *end = mail->letter[c].end;
    pthread_mutex_unlock(&mail->lock);
    return end;
}

/* ------------------------------------------------------------------ waiting and leaving */

static bool await(struct dist__light *light, uint64_t limit_ns) {
    uint32_t c;
    struct dist__mail *mail = mail_of(light, &c);
    if (!dist__mail_await(mail, c, true, limit_ns)) return false;
    land_cell(mail, c);
    return true;
}

bool dist__mail_sweep(struct dist_pool *pool, uint64_t limit_ns) {
    struct dist__mail *mail = ((struct dist__staff *)pool->team)->mail;
    bool any = false;
    for (uint32_t c = 0;; c++) {
        pthread_mutex_lock(&mail->lock);
        bool is_last = c >= mail->fresh;
        bool is_job = !is_last && (mail->letter[c].use & ~DIST__UNRUN) == DIST__JOB;
        pthread_mutex_unlock(&mail->lock);
        if (is_last) break;
        if (!is_job) continue;
        if (!dist__mail_await(mail, c, false, limit_ns)) return false;
        land_cell(mail, c);
        any = true;
    }
    if (!any) sched_yield(); /* one is being posted, or has just landed */
    return true;
}

static uint32_t cancel(struct dist__light *light, bool running_too) {
    uint32_t c;
    struct dist__mail *mail = mail_of(light, &c);
    pthread_mutex_lock(&mail->lock);
    uint32_t old = dist__mail_end(mail, c, running_too);
    pthread_mutex_unlock(&mail->lock);
    if (dist__phase_of(old) == DIST__QUEUED) land_cell(mail, c);
    if (dist__phase_of(old) == DIST__UNDER_WAY && running_too)
        dist__staff_tell_nursery(mail->staff);
    return old;
}

/* With the lock held: of one that has landed. */
static void drop(struct dist__mail *mail, uint32_t c) {
    struct dist__letter *letter = &mail->letter[c];
    if (letter->end != &mail->end[c]) free(letter->end);
    dist__mail_give_cell(mail, c);
    mail->handles--;
}

static void unlock_and_free_if_last(struct dist__mail *mail) {
    bool last = mail->handles == 0 && mail->closed;
    pthread_mutex_unlock(&mail->lock);
    if (last) dist__mail_free(mail);
}

static void leave(struct dist__light *light) {
    uint32_t c;
    struct dist__mail *mail = mail_of(light, &c);
    pthread_mutex_lock(&mail->lock);
    drop(mail, c);
    unlock_and_free_if_last(mail);
}

static void tend(struct dist__light *light) {
    uint32_t c;
    dist__mail_tend(mail_of(light, &c));
}

/* ------------------------------------------------------------------ jobs that were given up */

/* Lands those that have ended, and drops them. Returns one that has not; NONE: there is none. */
static uint32_t land_given_up(struct dist__mail *mail) {
    uint32_t open = NONE;
    for (uint32_t c = 0;; c++) {
        pthread_mutex_lock(&mail->lock);
        bool any = c < mail->fresh && mail->given_up > 0;
        bool given_up = any && mail->letter[c].given_up;
        bool brought = given_up && bring(mail, c);
        bool landed = given_up && (mail->letter[c].use & ~DIST__UNRUN) == DIST__LANDED_JOB;
        struct dist_pool *pool = mail->pool;
        if (landed) drop(mail, c), mail->given_up--;
        pthread_mutex_unlock(&mail->lock);
        if (brought) dist__pool_end_single(pool, true);
        if (given_up && !landed && open == NONE) open = c;
        if (!any) return open;
    }
}

static struct dist__mail *heir_of(struct dist__errand *errand) {
    return (struct dist__mail *)(void *)((char *)errand - offsetof(struct dist__mail, heir));
}

static bool inherit(struct dist__errand *errand) {
    struct dist__mail *mail = heir_of(errand);
    for (uint32_t c; (c = land_given_up(mail)) != NONE;)
        dist__mail_await(mail, c, false, dist__now_ns() + HEIR_LOOK_NS);
    return true;
}

static void inherited(struct dist__errand *errand, bool ran) {
    struct dist__mail *mail = heir_of(errand);
    pthread_mutex_lock(&mail->lock);
    bool more = ran && mail->given_up > 0;
    mail->has_heir = more;
    mail->handles -= !more;
    if (!more) unlock_and_free_if_last(mail);
    else pthread_mutex_unlock(&mail->lock);
    if (more) dist__errand_submit(errand);
}

/* One thread does it for all of a pool, since nobody else will look at them. */
static void give_up(struct dist__light *light) {
    uint32_t c;
    struct dist__mail *mail = mail_of(light, &c);
    pthread_mutex_lock(&mail->lock);
    mail->letter[c].given_up = true;
    mail->given_up++;
    bool starts = !mail->has_heir;
    mail->has_heir = true;
    mail->handles += starts;
    pthread_mutex_unlock(&mail->lock);
    if (!starts) return;
    mail->heir = (struct dist__errand){.run = inherit, .done = inherited};
    dist__errand_submit(&mail->heir);
}

const struct dist__post dist__mail_post = {.begin = begin,
                                           .land = land,
                                           .ended = ended,
                                           .await = await,
                                           .cancel = cancel,
                                           .leave = leave,
                                           .give_up = give_up,
                                           .tend = tend};
