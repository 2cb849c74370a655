/* parcel.c - a call is laid out in memory that workers of a pool have shared since their birth:
 * what they read (items, arguments, names, ctx), what they write (results, states), and what they
 * need to know of it (copies of batch and control that point to all that). */
#include "common/arena.h"
#include "common/control.h"
#include "common/error.h"
#include "common/layout.h"
#include "staff.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ what workers read */

static void pack_items(struct dist__layout *to, const struct dist__batch *from,
                       struct dist__batch *b) {
    if (!from->items ||
        dist__arena_shows(from->arena, from->pool->birth, from->items, from->n * from->item_size))
        return; /* none, or zero copy */
    b->items = dist__layout_copy(to, from->items, from->n, from->item_size);
}

/* Tasks may run more than once: what they find in their results stands elsewhere. */
static bool may_repeat(const struct dist__batch *from) {
    return from->control->retried || from->kind == DIST__MAP_CHUNKS;
}

/* What tasks find in *result, and where they write it. */
static void pack_results(struct dist__layout *to, const struct dist__batch *from,
                         struct dist__batch *b, struct dist__region *region) {
    if (!from->out) return;
    if (from->in_place &&
        dist__arena_shows(from->arena, from->pool->birth, from->out, from->n * from->out_size))
        return; /* zero copy */
    region->results = dist__layout_copy(to, from->out, from->n, from->out_size);
    b->out = region->results;
    b->in_place = false;
    if (may_repeat(from)) b->out = dist__layout_copy(to, from->out, from->n, from->out_size);
}

static void pack_tasks(struct dist__layout *to, const struct dist__batch *from,
                       struct dist__batch *b, struct dist__region *region) {
    dist_task *tasks = dist__layout_part(to, from->n, sizeof *tasks);
    size_t *offset = dist__layout_part(to, from->n, sizeof *offset);
    size_t begin = to->size;
    for (size_t i = 0; i < from->n; i++) {
        size_t at = to->size - begin;
        dist__layout_part(to, 1, dist__batch_result_size(from, i));
        if (offset) offset[i] = at;
    }
    b->order = dist__layout_copy(to, from->order, from->n, sizeof *from->order);
    region->offset = offset;
    region->results = to->base ? to->base + begin : NULL;
    for (size_t i = 0; i < from->n; i++) {
        dist_task task = from->tasks[i];
        task.name = dist__layout_text(to, task.name);
        if (task.arg_size)
            task.arg = dist__layout_copy(to, task.arg, 1, task.arg_size); /* else as ctx is */
        task.result = dist__layout_copy(to, task.result, 1, dist__batch_result_size(from, i));
        if (tasks) tasks[i] = task;
    }
    b->tasks = tasks;
}

/* ------------------------------------------------------------------ what they write */

/* The notes behind a ring's head need not be zeros. */
static struct dist__desk *pack_desk(struct dist__layout *to, unsigned workers) {
    struct dist__desk *desk = dist__layout_part(to, 1, dist__desk_size(workers));
    if (!desk) return NULL;
    memset(desk, 0, sizeof *desk);
    for (unsigned k = 0; k < workers; k++)
        memset(&desk->ring[k], 0, offsetof(struct dist__ring, note));
    return desk;
}

static void pack_region(struct dist__layout *to, const struct dist__batch *from, unsigned workers,
                        struct dist__region *region) {
    *region = (struct dist__region){.limit = from->outcome.smallest.limit};
    region->shared = dist__layout_zeros(to, 1, sizeof *region->shared);
    region->claim = dist__layout_zeros(to, workers, sizeof *region->claim);
    region->state = dist__layout_zeros(to, from->n, sizeof *region->state);
    region->desk = pack_desk(to, workers);
    region->due = dist__layout_part(to, 1, sizeof *region->due);
    region->verdict = dist__layout_zeros(to, workers, sizeof *region->verdict);
    if (from->control->retried)
        region->attempts = dist__layout_zeros(to, from->n, sizeof *region->attempts);
    if (!to->base) return;
    atomic_init(&region->due->head, 0);
    atomic_init(&region->due->tail, 0);
    atomic_init(&region->shared->stop, SIZE_MAX);
    /* nothing to draw where each item has its worker */
    if (from->each_worker) atomic_init(&region->shared->cursor, dist__batch_units(from));
}

static struct dist__parcel *lay_out(struct dist__layout *to, const struct dist__batch *from,
                                    unsigned workers, struct dist__region *region) {
    struct dist__parcel *parcel = dist__layout_part(to, 1, sizeof *parcel);
    struct dist__batch batch = *from;
    pack_region(to, from, workers, region);
    if (from->kind == DIST__PAR_TASKS) pack_tasks(to, from, &batch, region);
    else pack_results(to, from, &batch, region);
    if (from->kind != DIST__PAR_TASKS) pack_items(to, from, &batch);
    batch.names = dist__layout_names(to, from->names, from->n);
    if (from->ctx_size) batch.ctx = dist__layout_copy(to, from->ctx, 1, from->ctx_size);
    if (parcel) parcel->batch = batch;
    return parcel;
}

/* What the host looks up in it must not be where tasks may write. */
static bool keep_offsets(struct dist__region *region, size_t n) {
    if (!region->offset) return true;
    size_t *own = malloc(n * sizeof *own);
    if (own) memcpy(own, region->offset, n * sizeof *own);
    region->offset = own;
    return own != NULL;
}

dist_status dist__parcel_pack(struct dist__staff *staff, struct dist__region *region,
                              const struct dist__batch *from, struct dist__parcel **packed) {
    struct dist__layout to = {.base = NULL};
    if (from->arena && !dist__arena_is_visible(from->arena, from->pool->birth))
        return dist__refuse(DIST_UNSUPPORTED, 0,
                            "arena: was made after the pool, which has no "
                            "memory to share with it");
    lay_out(&to, from, staff->room, region);
    size_t size = to.size;
    void *base = to.overflow ? NULL : dist__staff_take(staff, size);
    if (!base)
        return dist__refuse(DIST_NOMEM, 0, "no memory to share %zu bytes with the pool", size);
    to = (struct dist__layout){.base = base};
    struct dist__parcel *parcel = lay_out(&to, from, staff->room, region);
    parcel->region = *region;
    region->base = base;
    region->size = size;
    if (!keep_offsets(region, from->n))
        return dist__refuse(DIST_NOMEM, 0, "no memory for the results of %zu tasks", from->n);
    parcel->batch.caller = NULL;
    parcel->batch.job = NULL;
    parcel->batch.control = NULL;
    parcel->arena = dist__arena_view(from->arena);
    *packed = parcel;
    return DIST_OK;
}

void dist__parcel_seal(struct dist__parcel *parcel, const struct dist__control *control) {
    memcpy(&parcel->control, control, sizeof *control);
    struct dist__control *c = &parcel->control;
    /* the host's, and the host ends the call when they say so */
    c->opts.token = NULL;
    c->cancel = c->stopped = NULL;
    c->opts.arena = NULL;
    c->land = NULL, c->heard_of = NULL, c->observe = NULL, c->self = NULL;
    c->waiting = NULL, c->started = NULL;
    c->batch = NULL;
}
