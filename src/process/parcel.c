/* parcel.c - a call is laid out in memory that workers of a pool have shared since their birth:
 * what they read (items, arguments, names, ctx), what they write (results, states), and what they
 * need to know of it (copies of batch and control that point to all that). */
#include "common/arena.h"
#include "common/control.h"
#include "common/error.h"
#include "staff.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };

/* Lays out parts one behind the other; without `base` it only counts. */
struct layout {
    unsigned char *base;
    size_t size;
    bool overflow;
};

static void *part(struct layout *to, size_t count, size_t size) {
    size_t bytes, begin = to->size;
    if (count == 0 || size == 0) return NULL;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX / 2 ||
        begin > PTRDIFF_MAX / 2) {
        to->overflow = true;
        return NULL;
    }
    to->size += (bytes + LINE - 1) / LINE * LINE;
    return to->base ? to->base + begin : NULL;
}

static void *zeros(struct layout *to, size_t count, size_t size) {
    void *at = part(to, count, size);
    return at ? memset(at, 0, count * size) : NULL;
}

/* A copy of these bytes; NULL stays NULL. */
static void *copy(struct layout *to, const void *from, size_t count, size_t size) {
    if (!from) return NULL;
    void *at = part(to, count, size);
    return at ? memcpy(at, from, count * size) : NULL;
}

static const char *copy_text(struct layout *to, const char *text) {
    return text ? copy(to, text, 1, strlen(text) + 1) : NULL;
}

/* ------------------------------------------------------------------ what workers read */

static bool is_visible(const struct dist_pool *pool, const struct dist_arena *arena,
                       const void *begin, size_t bytes) {
    if (!arena || !begin || bytes == 0 || !dist__arena_is_visible(arena, pool->birth)) return false;
    return dist_arena_owns(arena, begin) &&
           dist_arena_owns(arena, (const unsigned char *)begin + bytes - 1);
}

static void pack_items(struct layout *to, const struct dist__batch *from, struct dist__batch *b) {
    if (!from->items || is_visible(from->pool, from->arena, from->items, from->n * from->item_size))
        return; /* none, or zero copy */
    b->items = copy(to, from->items, from->n, from->item_size);
}

static void pack_names(struct layout *to, const struct dist__batch *from, struct dist__batch *b) {
    if (!from->names) return;
    const char **names = part(to, from->n, sizeof *names);
    for (size_t i = 0; i < from->n; i++) {
        const char *name = copy_text(to, from->names[i]);
        if (names) names[i] = name;
    }
    b->names = names;
}

/* Tasks may run more than once: what they find in their results stands elsewhere. */
static bool may_repeat(const struct dist__batch *from) {
    return from->control->retried || from->kind == DIST__MAP_CHUNKS;
}

/* What tasks find in *result, and where they write it. */
static void pack_results(struct layout *to, const struct dist__batch *from, struct dist__batch *b,
                         struct dist__region *region) {
    if (!from->out) return;
    if (from->in_place && is_visible(from->pool, from->arena, from->out, from->n * from->out_size))
        return; /* zero copy */
    region->results = copy(to, from->out, from->n, from->out_size);
    b->out = region->results;
    b->in_place = false;
    if (may_repeat(from)) b->out = copy(to, from->out, from->n, from->out_size);
}

static void pack_tasks(struct layout *to, const struct dist__batch *from, struct dist__batch *b,
                       struct dist__region *region) {
    dist_task *tasks = part(to, from->n, sizeof *tasks);
    size_t *offset = part(to, from->n, sizeof *offset);
    size_t begin = to->size;
    for (size_t i = 0; i < from->n; i++) {
        size_t at = to->size - begin;
        part(to, 1, dist__batch_result_size(from, i));
        if (offset) offset[i] = at;
    }
    region->offset = offset;
    region->results = to->base ? to->base + begin : NULL;
    for (size_t i = 0; i < from->n; i++) {
        dist_task task = from->tasks[i];
        task.name = copy_text(to, task.name);
        if (task.arg_size) task.arg = copy(to, task.arg, 1, task.arg_size); /* else as ctx is */
        task.result = copy(to, task.result, 1, dist__batch_result_size(from, i));
        if (tasks) tasks[i] = task;
    }
    b->tasks = tasks;
}

/* ------------------------------------------------------------------ what they write */

/* The notes behind a ring's head need not be zeros. */
static struct dist__desk *pack_desk(struct layout *to, unsigned workers) {
    struct dist__desk *desk = part(to, 1, dist__desk_size(workers));
    if (!desk) return NULL;
    memset(desk, 0, sizeof *desk);
    for (unsigned k = 0; k < workers; k++)
        memset(&desk->ring[k], 0, offsetof(struct dist__ring, note));
    return desk;
}

static void pack_region(struct layout *to, const struct dist__batch *from, unsigned workers,
                        struct dist__region *region) {
    *region = (struct dist__region){.limit = from->outcome.smallest.limit};
    region->shared = zeros(to, 1, sizeof *region->shared);
    region->claim = zeros(to, workers, sizeof *region->claim);
    region->state = zeros(to, from->n, sizeof *region->state);
    region->desk = pack_desk(to, workers);
    region->due = part(to, 1, sizeof *region->due);
    region->verdict = zeros(to, workers, sizeof *region->verdict);
    if (from->control->retried) region->attempts = zeros(to, from->n, sizeof *region->attempts);
    if (!to->base) return;
    atomic_init(&region->due->head, 0);
    atomic_init(&region->due->tail, 0);
    atomic_init(&region->shared->stop, SIZE_MAX);
    /* nothing to draw where each item has its worker */
    if (from->each_worker) atomic_init(&region->shared->cursor, dist__batch_units(from));
}

static struct dist__parcel *lay_out(struct layout *to, const struct dist__batch *from,
                                    unsigned workers, struct dist__region *region) {
    struct dist__parcel *parcel = part(to, 1, sizeof *parcel);
    struct dist__batch batch = *from;
    pack_region(to, from, workers, region);
    if (from->kind == DIST__PAR_TASKS) pack_tasks(to, from, &batch, region);
    else pack_results(to, from, &batch, region);
    if (from->kind != DIST__PAR_TASKS) pack_items(to, from, &batch);
    pack_names(to, from, &batch);
    if (from->ctx_size) batch.ctx = copy(to, from->ctx, 1, from->ctx_size);
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
    struct layout to = {.base = NULL};
    if (from->arena && !dist__arena_is_visible(from->arena, from->pool->birth))
        return dist__refuse(DIST_UNSUPPORTED, 0,
                            "arena: was made after the pool, which has no "
                            "memory to share with it");
    lay_out(&to, from, staff->room, region);
    size_t size = to.size;
    void *base = to.overflow ? NULL : dist__staff_take(staff, size);
    if (!base)
        return dist__refuse(DIST_NOMEM, 0, "no memory to share %zu bytes with the pool", size);
    to = (struct layout){.base = base};
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
