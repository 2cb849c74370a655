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

enum {
    CELLS = DIST__RACK_ROOM,
    SPIN_US = 20, /* about one wake latency, */
    ALONE_US = 2, /* the first of it without letting others in */
    SPINS_PER_LOOK = 16,
    LOOK_NS = 100000000, /* at the nursery, by a thread that waits */
};

enum { UNUSED, IN_USE, UNRUN /* it was cancelled, a worker may still look into it */ };

static const uint64_t DESERTED_NS = 1000000000;   /* without any worker, and nobody waits longer */
static const size_t LEAST_HEAP = (size_t)1 << 30; /* smaller ones are for calls alone */

/* ------------------------------------------------------------------ open and close */

static bool lay_out(struct dist__staff *staff) {
    struct dist__mail *mail = &staff->mail;
    struct dist__heap *heap = &staff->heap;
    if (heap->size < LEAST_HEAP) return false;
    mail->box.rack = dist__heap_take(heap, sizeof *mail->box.rack);
    mail->cell = dist__heap_take(heap, CELLS * sizeof *mail->cell);
    mail->bulk = dist__heap_take(heap, CELLS * sizeof *mail->bulk);
    mail->end = dist__heap_take(heap, CELLS * sizeof *mail->end);
    mail->carrier = dist__heap_take(heap, staff->room * sizeof *mail->carrier);
    mail->calls = dist__heap_take(heap, sizeof *mail->calls);
    mail->free = malloc(CELLS * sizeof *mail->free);
    mail->limbo = malloc(CELLS * sizeof *mail->limbo);
    mail->used = calloc(CELLS, sizeof *mail->used);
    mail->kill_ns = calloc(staff->room, sizeof *mail->kill_ns);
    if (!mail->cell) return false;
    mail->box.stamps = (unsigned char *)&mail->cell[0].stamp;
    mail->box.stride = sizeof *mail->cell;
    mail->box.cells = CELLS;
    return mail->box.rack && mail->bulk && mail->end && mail->carrier && mail->calls &&
           mail->free && mail->limbo && mail->used && mail->kill_ns;
}

void dist__mail_open(struct dist__staff *staff) {
    pthread_mutex_init(&staff->mail.lock, NULL);
    if (staff->room >= DIST__BEARERS || !lay_out(staff)) staff->mail.cell = NULL;
}

void dist__mail_close(struct dist__staff *staff) {
    struct dist__mail *mail = &staff->mail;
    pthread_mutex_destroy(&mail->lock);
    free(mail->free);
    free(mail->limbo);
    free(mail->used);
    free(mail->kill_ns);
}

/* ------------------------------------------------------------------ cells, with the lock held */

static void leave_limbo(struct dist__mail *mail) {
    uint32_t left = 0;
    for (uint32_t k = 0; k < mail->limbo_count; k++) {
        uint32_t c = mail->limbo[k];
        if (dist__stamp_withdraw(&mail->cell[c].stamp)) mail->free[mail->free_count++] = c;
        else mail->limbo[left++] = c;
    }
    mail->limbo_count = left;
}

/* False: all are in use. */
static bool take_cell(struct dist__mail *mail, uint32_t *c) {
    if (mail->limbo_count) leave_limbo(mail);
    if (mail->free_count) *c = mail->free[--mail->free_count];
    else if (mail->fresh < CELLS) *c = mail->fresh++;
    else return false;
    mail->used[*c] = IN_USE;
    return true;
}

/* Of an item that has ended. */
static void give_cell(struct dist__mail *mail, uint32_t c) {
    bool unrun = mail->used[c] == UNRUN;
    mail->used[c] = UNUSED;
    if (unrun) mail->limbo[mail->limbo_count++] = c;
    else mail->free[mail->free_count++] = c;
}

/* ------------------------------------------------------------------ posting */

static void fill(const struct dist__mail *mail, uint32_t c, const struct dist__single *single) {
    struct dist__cell *cell = &mail->cell[c];
    const dist_opts *opts = single->opts;
    size_t ctx_size = opts->ctx_size;
    bool small = single->item_size <= DIST__SMALL_MAIL && single->result_size <= DIST__SMALL_MAIL &&
                 ctx_size <= sizeof cell->ctx;
    dist__stamp_clear(&cell->stamp);
    cell->flags = (small ? 0 : DIST__MAIL_IS_LARGE) | (ctx_size ? DIST__MAIL_HAS_CTX : 0);
    cell->light.result_size = (uint32_t)single->result_size;
    cell->light.fn = single->fn;
    cell->light.item = single->item;
    cell->light.result = single->result;
    cell->light.ctx = opts->ctx;
    cell->light.seed = opts->seed;
    cell->light.end = NULL;
    if (single->item) memcpy(dist__mail_item(mail, c), single->item, single->item_size);
    if (single->result) memcpy(dist__mail_result(mail, c), single->result, single->result_size);
    if (ctx_size) memcpy(dist__mail_ctx(mail, c), opts->ctx, ctx_size);
}

/* False: it cannot be posted. *woken: a worker was woken for it. */
static bool post(struct dist_pool *pool, const struct dist__single *single, uint32_t bits,
                 uint32_t *c, bool *woken) {
    struct dist__staff *staff = pool->team;
    struct dist__mail *mail = &staff->mail;
    pthread_mutex_lock(&mail->lock);
    /* relaxed: who stops the pool sweeps the cells after that, with the lock */
    bool posted = !atomic_load_explicit(&pool->stopped, memory_order_relaxed) &&
                  dist__rack_has_room(&mail->box) && take_cell(mail, c);
    if (posted) {
        fill(mail, *c, single);
        dist__rack_post(&mail->box, *c, &mail->cell[*c].light.word, bits | DIST__QUEUED);
    }
    pthread_mutex_unlock(&mail->lock);
    *woken = posted && dist__mail_ring(staff);
    return posted;
}

/* ------------------------------------------------------------------ cancelling, with the lock held
 */

static void end_unrun(struct dist__mail *mail, uint32_t c, dist_status status, const char *why) {
    struct dist__light_end *end = &mail->end[c];
    end->item = dist__skipped;
    end->why = (dist_error){.status = status};
    snprintf(end->why.message, sizeof end->why.message, "%s", why);
    mail->cell[c].light.end = end;
    mail->used[c] = UNRUN;
}

/* True: a worker runs it, and has to be killed. */
static bool cancel(struct dist__mail *mail, uint32_t c, const char *why) {
    struct dist__light *light = &mail->cell[c].light;
    uint32_t old = dist__mail_cancel(&light->word, DIST_CANCELLED);
    if (dist__phase_of(old) == DIST__QUEUED) {
        end_unrun(mail, c, DIST_CANCELLED, why);
        if (old & DIST__WAITED) dist__futex_wake(&light->word, INT_MAX, true);
    }
    return dist__phase_of(old) == DIST__UNDER_WAY;
}

void dist__mail_stop(struct dist_pool *pool) {
    struct dist__staff *staff = pool->team;
    struct dist__mail *mail = &staff->mail;
    if (!mail->cell) return;
    bool runs = false;
    pthread_mutex_lock(&mail->lock);
    for (uint32_t c = 0; c < mail->fresh; c++)
        if (mail->used[c]) runs |= cancel(mail, c, "cancelled before it began");
    pthread_mutex_unlock(&mail->lock);
    if (runs) dist__staff_tell_nursery(staff);
}

/* ------------------------------------------------------------------ waiting */

static bool has_ended(const struct dist__light *light) {
    return dist__phase_of(dist__phase_look(&light->word)) == DIST__ENDED;
}

/* Most end in less time than a sleep takes. After a while somebody else may need this CPU for it.
 */
static bool ends_soon(const struct dist__light *light) {
    if (dist__cpus_cached() == 1) return has_ended(light);
    uint64_t begin = dist__ticks(), us = dist__ticks_per_us(), spun;
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (has_ended(light)) return true;
            dist__cpu_pause();
        }
        spun = (dist__ticks() - begin) / us;
        if (spun >= ALONE_US) sched_yield();
    } while (spun < SPIN_US);
    return has_ended(light);
}

/* Has there been no worker for a while? */
static bool is_deserted(struct dist__staff *staff, uint64_t *since_ns) {
    bool any = false;
    for (unsigned k = 0; k < staff->room && !any; k++)
        any = dist__life_read(&staff->life[k]) % DIST__LIFE_STATES == DIST__LIFE_LIVE;
    any = dist__staff_is_alive(staff) && any;
    uint64_t now = dist__now_ns();
    if (any) *since_ns = 0;
    else if (*since_ns == 0) *since_ns = now;
    return !any && now - *since_ns > DESERTED_NS;
}

/* Nobody comes for it. */
static void give_up(struct dist__mail *mail, uint32_t c) {
    pthread_mutex_lock(&mail->lock);
    uint32_t old = dist__mail_cancel(&mail->cell[c].light.word, DIST_SYSTEM);
    if (dist__phase_of(old) == DIST__QUEUED)
        end_unrun(mail, c, DIST_SYSTEM, "no worker process could be started");
    pthread_mutex_unlock(&mail->lock);
}

static void await(struct dist__staff *staff, uint32_t c, bool woken) {
    struct dist__light *light = &staff->mail.cell[c].light;
    uint64_t deserted_ns = 0;
    if (!woken && ends_soon(light)) return; /* who is woken may need this CPU */
    for (uint32_t word; dist__phase_of(word = dist__phase_await(&light->word)) != DIST__ENDED;) {
        dist__futex_wait(&light->word, word, LOOK_NS, true);
        if (has_ended(light)) return;
        if (is_deserted(staff, &deserted_ns)) give_up(&staff->mail, c);
    }
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
    give_cell(mail, c);
    pthread_mutex_unlock(&mail->lock);
    return status;
}

static bool suits(const struct dist__mail *mail, const struct dist__single *single) {
    return mail->cell && single->item_size <= DIST__LARGE_MAIL &&
           single->result_size <= DIST__LARGE_MAIL && single->opts->ctx_size <= DIST__LARGE_MAIL;
}

bool dist__mail_apply(struct dist_pool *pool, const struct dist__single *single,
                      dist_status *status) {
    struct dist__staff *staff = pool->team;
    uint32_t c, bits = DIST__LIGHT | DIST__MAIL | (single->opts->silent ? DIST__SILENT : 0);
    bool woken;
    if (!suits(&staff->mail, single) || !post(pool, single, bits, &c, &woken)) return false;
    await(staff, c, woken);
    *status = conclude(&staff->mail, c, single);
    return true;
}
