/* post.c - the host's side of mail: single items are posted, waited for, and cancelled. */
#include "common/cpus.h"
#include "common/error.h"
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LEAST_LETTERS = 64, /* doubled as they are needed */
    SPIN_US = 20,       /* about one wake latency, */
    ALONE_US = 2,       /* the first of it without letting others in */
    SPINS_PER_LOOK = 16,
    LONG_YIELD_US = 50,  /* others have had a slice of time: */
    YIELD_PAUSE = 1000,  /* so many waits without */
    LOOK_NS = 100000000, /* at the nursery, by a thread that waits */
};

static const uint32_t NONE = UINT32_MAX;
static const uint64_t FORGET_NS = 1000000000; /* so old, a look says nothing of what is now */

/* ------------------------------------------------------------------ open and close */

static bool share(struct dist__mail *mail, unsigned workers, uint32_t cells) {
    struct dist__heap *heap = &mail->heap;
    size_t most = cells * (sizeof *mail->cell + sizeof *mail->bulk + sizeof *mail->end) +
                  sizeof *mail->box.rack + workers * sizeof *mail->carrier + sizeof *mail->calls +
                  6 * (size_t)sysconf(_SC_PAGESIZE);
    if (!dist__heap_open(heap, most, most)) return false;
    mail->box.rack = dist__heap_take(heap, sizeof *mail->box.rack);
    mail->cell = dist__heap_take(heap, cells * sizeof *mail->cell);
    mail->bulk = dist__heap_take(heap, cells * sizeof *mail->bulk);
    mail->end = dist__heap_take(heap, cells * sizeof *mail->end);
    mail->carrier = dist__heap_take(heap, workers * sizeof *mail->carrier);
    mail->calls = dist__heap_take(heap, sizeof *mail->calls);
    if (!mail->box.rack || !mail->cell || !mail->bulk || !mail->end || !mail->carrier ||
        !mail->calls)
        return false;
    mail->box.stamps = (unsigned char *)&mail->cell[0].stamp;
    mail->box.stride = sizeof *mail->cell;
    mail->box.cells = cells;
    return true;
}

void dist__mail_open(struct dist__staff *staff, bool is_short) {
    struct dist__mail *mail = staff->room < DIST__BEARERS ? calloc(1, sizeof *mail) : NULL;
    if (!mail) return;
    mail->staff = staff;
    mail->pool = staff->pool;
    pthread_mutex_init(&mail->lock, NULL);
    pthread_mutex_init(&mail->tending, NULL);
    mail->free = mail->limbo = NONE;
    mail->kill_ns = calloc(staff->room, sizeof *mail->kill_ns);
    mail->onlookers = dist__onlookers_share();
    if (mail->kill_ns && mail->onlookers &&
        share(mail, staff->room, is_short ? DIST__FEW_CELLS : DIST__CELLS) &&
        dist__mail_enlist(mail))
        staff->mail = mail;
    else dist__mail_free(mail);
}

void dist__mail_free(struct dist__mail *mail) {
    dist__mail_delist(mail);
    dist__heap_close(&mail->heap);
    pthread_mutex_destroy(&mail->lock);
    pthread_mutex_destroy(&mail->tending);
    free(mail->letter);
    free(mail->kill_ns);
    free(mail);
}

void dist__mail_close(struct dist__staff *staff) {
    struct dist__mail *mail = staff->mail;
    if (!mail) return;
    pthread_mutex_lock(&mail->lock);
    mail->closed = true;
    bool last = mail->handles == 0;
    pthread_mutex_unlock(&mail->lock);
    if (last) dist__mail_free(mail);
}

/* ------------------------------------------------------------------ cells, with the lock held */

static void push(struct dist__mail *mail, uint32_t *list, uint32_t c) {
    mail->letter[c].next = *list;
    *list = c;
}

static void leave_limbo(struct dist__mail *mail) {
    uint32_t next, c = mail->limbo;
    mail->limbo = NONE;
    for (; c != NONE; c = next) {
        next = mail->letter[c].next;
        bool withdrawn = dist__stamp_withdraw(&mail->cell[c].stamp);
        push(mail, withdrawn ? &mail->free : &mail->limbo, c);
    }
}

/* One more that was never used. */
static bool grow(struct dist__mail *mail) {
    if (mail->fresh < mail->room) return true;
    uint32_t room = mail->room ? 2 * mail->room : LEAST_LETTERS;
    struct dist__letter *grown =
        room <= mail->box.cells ? realloc(mail->letter, room * sizeof *grown) : NULL;
    if (!grown) return false;
    mail->letter = grown;
    mail->room = room;
    return true;
}

/* False: all are in use. */
static bool take_cell(struct dist__mail *mail, uint8_t use, uint32_t *c) {
    if (mail->limbo != NONE) leave_limbo(mail);
    *c = mail->free;
    if (*c != NONE) mail->free = mail->letter[*c].next;
    else if (grow(mail)) *c = mail->fresh++;
    else return false;
    mail->letter[*c] = (struct dist__letter){.use = use};
    return true;
}

void dist__mail_give_cell(struct dist__mail *mail, uint32_t c) {
    bool unrun = mail->letter[c].use & DIST__UNRUN;
    mail->letter[c].use = DIST__UNUSED;
    mail->ended++;
    push(mail, unrun ? &mail->limbo : &mail->free, c);
}

/* ------------------------------------------------------------------ posting */

static void fill(const struct dist__mail *mail, uint32_t c, const struct dist__single *single) {
    struct dist__cell *cell = &mail->cell[c];
    const dist_opts *opts = single->opts;
    size_t ctx_size = opts->ctx_size;
    bool small = single->item_size <= DIST__SMALL_MAIL && single->result_size <= DIST__SMALL_MAIL &&
                 ctx_size == 0;
    dist__stamp_clear(&cell->stamp);
    cell->flags = (small ? 0 : DIST__MAIL_IS_LARGE) | (ctx_size ? DIST__MAIL_HAS_CTX : 0);
    cell->light.result_size = (uint32_t)single->result_size;
    cell->light.fn = single->fn;
    cell->light.item = single->item;
    cell->light.result = single->result;
    cell->light.ctx = opts->ctx;
    cell->light.seed = opts->seed;
    cell->light.end = NULL;
    atomic_store_explicit(&cell->returns, 0, memory_order_relaxed); /* published with the item */
    if (single->item) memcpy(dist__mail_item(mail, c), single->item, single->item_size);
    if (single->result) memcpy(dist__mail_result(mail, c), single->result, single->result_size);
    if (ctx_size) memcpy(dist__mail_ctx(mail, c), opts->ctx, ctx_size);
}

/* With the lock held: would a call have to wait for jobs? The other way workers take turns. */
static bool is_behind_jobs(const struct dist__mail *mail) {
    /* relaxed, both: it need not be exact */
    uint64_t head = atomic_load_explicit(&mail->box.rack->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&mail->box.rack->tail, memory_order_relaxed);
    return mail->jobs && tail - head % DIST__NUMBERS >= mail->staff->room;
}

uint64_t dist__mail_turn(struct dist_pool *pool) {
    const struct dist__mail *mail = ((struct dist__staff *)pool->team)->mail;
    /* relaxed: what this thread knows of was posted before */
    return mail ? atomic_load_explicit(&mail->box.rack->tail, memory_order_relaxed) : 0;
}

bool dist__mail_put(struct dist__mail *mail, const struct dist__single *single, uint32_t bits,
                    uint8_t use, uint32_t *c, bool *woken) {
    pthread_mutex_lock(&mail->lock);
    /* relaxed: who stops the pool sweeps the cells after that, with the lock */
    bool put = !atomic_load_explicit(&mail->pool->stopped, memory_order_relaxed) &&
               (use == DIST__JOB || !is_behind_jobs(mail)) && dist__rack_has_room(&mail->box) &&
               take_cell(mail, use, c);
    if (put) {
        fill(mail, *c, single);
        if (use == DIST__JOB) {
            mail->letter[*c] = (struct dist__letter){.use = use,
                                                     .result = single->result,
                                                     .result_size = single->result_size,
                                                     .item = single->item,
                                                     .given = single->opts->error};
            mail->handles++;
            mail->jobs++;
        }
        dist__rack_post(&mail->box, *c, &mail->cell[*c].light.word, bits | DIST__QUEUED);
    }
    pthread_mutex_unlock(&mail->lock);
    *woken = put && dist__mail_ring(mail->staff);
    return put;
}

/* ------------------------------------------------------------------ cancelling, with the lock held
 */

static void end_unrun(struct dist__mail *mail, uint32_t c, dist_status status, const char *why) {
    struct dist__light_end *end = &mail->end[c];
    end->item = dist__skipped;
    end->why = (dist_error){.status = status};
    snprintf(end->why.message, sizeof end->why.message, "%s", why);
    mail->cell[c].light.end = end;
    mail->letter[c].use |= DIST__UNRUN;
}

uint32_t dist__mail_end(struct dist__mail *mail, uint32_t c, bool running_too) {
    struct dist__light *light = &mail->cell[c].light;
    uint32_t old = dist__mail_cancel(&light->word, running_too, DIST_CANCELLED);
    if (dist__phase_of(old) != DIST__QUEUED) return old;
    end_unrun(mail, c, DIST_CANCELLED, "cancelled before it began");
    if (old & DIST__WAITED) dist__futex_wake(&light->word, INT_MAX, true);
    dist__tell_onlookers();
    return old;
}

void dist__mail_stop(struct dist_pool *pool) {
    struct dist__staff *staff = pool->team;
    struct dist__mail *mail = staff->mail;
    if (!mail) return;
    bool runs = false;
    pthread_mutex_lock(&mail->lock);
    for (uint32_t c = 0; c < mail->fresh; c++)
        if (mail->letter[c].use == DIST__CALL || mail->letter[c].use == DIST__JOB)
            runs |= dist__phase_of(dist__mail_end(mail, c, true)) == DIST__UNDER_WAY;
    pthread_mutex_unlock(&mail->lock);
    if (runs) dist__staff_tell_nursery(staff);
}

/* ------------------------------------------------------------------ waiting */

static bool has_ended(const struct dist__light *light) {
    return dist__phase_of(dist__phase_look(&light->word)) == DIST__ENDED;
}

void dist__courtesy_begin(struct dist__courtesy *courtesy) {
    /* relaxed, all: threads that disturb each other's count do no harm */
    uint32_t pause = atomic_load_explicit(&courtesy->pause, memory_order_relaxed);
    if (pause) atomic_store_explicit(&courtesy->pause, pause - 1, memory_order_relaxed);
}

void dist__courtesy_yield(struct dist__courtesy *courtesy) {
    if (atomic_load_explicit(&courtesy->pause, memory_order_relaxed)) return; /* see above */
    uint64_t begin = dist__ticks();
    sched_yield();
    if (dist__ticks() - begin > LONG_YIELD_US * dist__ticks_per_us())
        atomic_store_explicit(&courtesy->pause, YIELD_PAUSE, memory_order_relaxed);
}

/* Most end in less time than a sleep takes. After a while somebody else may need this CPU for it.
 */
static bool ends_soon(const struct dist__light *light, struct dist__courtesy *courtesy) {
    if (dist__cpus_cached() == 1) return has_ended(light);
    uint64_t begin = dist__ticks(), us = dist__ticks_per_us(), spun;
    dist__courtesy_begin(courtesy);
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (has_ended(light)) return true;
            dist__cpu_pause();
        }
        spun = (dist__ticks() - begin) / us;
        if (spun >= ALONE_US) dist__courtesy_yield(courtesy);
    } while (spun < SPIN_US);
    return has_ended(light);
}

/* Nobody comes for anything. */
static void give_up(struct dist__mail *mail) {
    pthread_mutex_lock(&mail->lock);
    for (uint32_t c = 0; c < mail->fresh; c++) {
        struct dist__light *light = &mail->cell[c].light;
        if (mail->letter[c].use != DIST__CALL && mail->letter[c].use != DIST__JOB) continue;
        uint32_t old = dist__mail_cancel(&light->word, false, DIST_SYSTEM);
        if (dist__phase_of(old) != DIST__QUEUED) continue;
        end_unrun(mail, c, DIST_SYSTEM, "no worker process could be started");
        if (old & DIST__WAITED) dist__futex_wake(&light->word, INT_MAX, true);
    }
    pthread_mutex_unlock(&mail->lock);
    dist__tell_onlookers();
}

/* Has any item ended since the last look? */
static bool is_attended(struct dist__mail *mail) {
    pthread_mutex_lock(&mail->lock);
    uint64_t ended = mail->ended;
    pthread_mutex_unlock(&mail->lock);
    bool any = ended != mail->ended_then;
    mail->ended_then = ended;
    return any;
}

void dist__mail_tend(struct dist__mail *mail) {
    if (pthread_mutex_trylock(&mail->tending)) return; /* somebody does */
    uint64_t now = dist__now_ns();
    if (now - mail->tended_ns > FORGET_NS) mail->desertion = (struct dist__desertion){0};
    mail->tended_ns = now;
    bool deserted = dist__staff_is_deserted(mail->staff, &mail->desertion, is_attended(mail));
    /* the one who looks may have been stopped */
    if (!deserted && dist__rack_any(mail->box.rack)) dist__mail_wake(mail->staff);
    pthread_mutex_unlock(&mail->tending);
    if (deserted) give_up(mail);
}

bool dist__mail_await(struct dist__mail *mail, uint32_t c, bool spins, uint64_t limit_ns) {
    struct dist__light *light = &mail->cell[c].light;
    if (spins && ends_soon(light, &mail->courtesy))
        return true; /* else who was woken may need this CPU */
    for (uint32_t word; dist__phase_of(word = dist__phase_await(&light->word)) != DIST__ENDED;) {
        uint64_t now = limit_ns == UINT64_MAX ? 0 : dist__now_ns();
        if (now >= limit_ns) return false;
        uint64_t left = limit_ns - now;
        dist__futex_wait(&light->word, word, left < LOOK_NS ? (int64_t)left : LOOK_NS, true);
        if (has_ended(light)) return true;
        if (left >= LOOK_NS) dist__mail_tend(mail);
    }
    return true;
}

/* ------------------------------------------------------------------ a blocking call */

/* Brings what came back to the caller, and frees the cell. */
static dist_status conclude(struct dist__mail *mail, uint32_t c,
                            const struct dist__single *single) {
    pthread_mutex_lock(&mail->lock);
    dist_status status = DIST_OK;
    if (mail->cell[c].light.end) {
        dist_error why = mail->end[c].why;
        why.message[sizeof why.message - 1] = '\0'; /* a wild task can write anything */
        why.item = single->item;
        status = why.status;
        if (status) dist__remember(&why);
    } else if (single->result) {
        memcpy(single->result, dist__mail_result(mail, c), single->result_size);
    }
    dist__mail_give_cell(mail, c);
    pthread_mutex_unlock(&mail->lock);
    return status;
}

bool dist__mail_suits_size(const struct dist__mail *mail, const struct dist__single *single) {
    return mail && single->item_size <= DIST__LARGE_MAIL &&
           single->result_size <= DIST__LARGE_MAIL && single->opts->ctx_size <= DIST__LARGE_MAIL;
}

bool dist__mail_apply(struct dist_pool *pool, const struct dist__single *single,
                      dist_status *status) {
    struct dist__mail *mail = ((struct dist__staff *)pool->team)->mail;
    uint32_t c, bits = DIST__LIGHT | DIST__MAIL | (single->opts->silent ? DIST__SILENT : 0);
    bool woken;
    if (!dist__mail_suits_size(mail, single) ||
        !dist__mail_put(mail, single, bits, DIST__CALL, &c, &woken))
        return false;
    dist__mail_await(mail, c, !woken, UINT64_MAX);
    *status = conclude(mail, c, single);
    return true;
}
