/* reduce.c - many items into one value, over fixed blocks and a fixed tree.
 *
 * What a sum of floating-point numbers gives depends on how it is bracketed. Here the brackets are
 * chosen by n alone, as in oneTBB's parallel_deterministic_reduce, and pairwise, which also keeps
 * the rounding error at O(log blocks) (N. J. Higham, "The accuracy of floating point summation",
 * SIAM J. Sci. Comput. 14(4), 1993).
 *
 * The blocks are the items of a dist_map call without results: each brings its accumulator to
 * `part` itself, which lies in shared memory if workers are processes. Those of a pool do not see
 * the caller's memory: a copy of the reduction lies there, too, with all that leaves read. What the
 * call says of its items (the blocks) is translated before the caller hears of it. */
#include "arena.h"
#include "call.h"
#include "check.h"
#include "control.h"
#include "error.h"
#include "layout.h"
#include "os.h"
#include "pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BLOCKS_MOST = 1024, /* 16 for each of 64 workers, and no more joins than take some us; */
    BLOCKS_FEW = 256,   /* so many if that leaves blocks with fewer than */
    ITEMS_FEW = 16,     /* these items, which a call of the leaf should be worth; */
    BLOCKS_LEAST = 64   /* and no fewer, however large the accumulators are */
};
static const size_t MEMORY_MOST = (size_t)64 << 20; /* of all accumulators */

struct reduction {
    dist_chunk_fn leaf;
    dist_join_fn join;
    const unsigned char *items;
    size_t n, item_size;
    void *acc; /* the caller's: the beginning of all parts, and the end */
    size_t acc_size;
    void *ctx;
    const char *const *names; /* of the items, or NULL */
    const dist_opts *opts;    /* not for leaves */
    size_t block, blocks;     /* items in each, and how many */
    unsigned char *part;      /* an accumulator for each block, */
    size_t part_size;         /* on cache lines of its own */
    size_t *named;            /* for each: 1 + the offset that dist_fail_at named; 0: none */
    struct reduction *seen;   /* by leaves: this one, or its copy */
    void *memory;             /* that all these are in, */
    size_t bytes;             /* and its size */
    struct dist_pool *lent;   /* by this pool; */
    bool shared;              /* mapped, for processes; neither: of the heap */
};

/* ------------------------------------------------------------------ the blocks */

/* The block has failed with the lowest item it has named, whatever its leaf returned. */
static int fail_by_name(struct reduction *r, size_t k, const struct dist__record *record) {
    const struct dist__named_item *lowest = record->named;
    for (size_t i = 1; i < record->named_count; i++)
        if (record->named[i].offset < lowest->offset) lowest = &record->named[i];
    r->named[k] = lowest->offset + 1;
    return dist_fail(lowest->code, "%s", lowest->message);
}

/* The leaf sees itself as a chunk task. */
static int run_leaf(const struct reduction *r, dist_range block, unsigned char *part,
                    struct dist__record *record) {
    record->scale = r->block;
    record->names = r->names;
    record->chunk_count = block.count;
    record->named_count = 0;
    record->named_lost = false;
    int code = r->leaf(part, r->items + block.begin * r->item_size, block.count, r->ctx);
    record->chunk_count = 0;
    return code ? code : record->named_lost ? record->code : 0;
}

/* The task. */
static int run_block(void *result, const void *items, void *ctx) {
    struct reduction *r = ctx;
    struct dist__record *record = dist__record_current();
    size_t k = record->index;
    unsigned char *part = r->part + k * r->part_size;
    (void)result, (void)items;
    r->named[k] = 0;
    memcpy(part, r->acc, r->acc_size); /* whatever an attempt before has left */
    int code = run_leaf(r, dist_chunk(r->n, r->block, k), part, record);
    return record->named_count ? fail_by_name(r, k, record) : code;
}

/* ------------------------------------------------------------------ what the caller hears */

static void name_item(const struct reduction *r, size_t index, dist_error *error) {
    const struct dist__batch batch = {
        .items = r->items, .item_size = r->item_size, .names = r->names};
    error->index = index;
    dist__batch_describe(&batch, error);
}

/* From a block to its first item, or the one it has named (a wild task can write anything). */
static void point_at_item(const struct reduction *r, dist_error *error) {
    size_t k = error->index, named = error->status == DIST_FAILED ? r->named[k] : 0;
    if (named > dist_chunk(r->n, r->block, k).count) named = 0;
    name_item(r, k * r->block + (named ? named - 1 : 0), error);
}

static void tell(const struct reduction *r, const dist_event *event,
                 void (*hook)(const dist_event *, void *)) {
    dist_event own = *event;
    dist_error about, error;
    name_item(r, event->index * r->block, &about);
    own.index = about.index;
    own.name = about.name;
    own.item = about.item;
    if (event->error) {
        error = *event->error;
        point_at_item(r, &error);
        own.error = &error;
    }
    hook(&own, r->opts->user);
}

static void on_start(const dist_event *event, void *reduction) {
    const struct reduction *r = reduction;
    tell(r, event, r->opts->on_start);
}

static void on_finish(const dist_event *event, void *reduction) {
    const struct reduction *r = reduction;
    tell(r, event, r->opts->on_finish);
}

static bool retry_if(const dist_error *error, void *reduction) {
    const struct reduction *r = reduction;
    dist_error own = *error;
    point_at_item(r, &own);
    return r->opts->retry_if(&own, r->opts->user);
}

static int worker_init(void **state, unsigned worker, void *reduction) {
    const struct reduction *r = reduction;
    return r->opts->worker_init(state, worker, r->opts->user);
}

static void worker_exit(void *state, unsigned worker, void *reduction) {
    const struct reduction *r = reduction;
    r->opts->worker_exit(state, worker, r->opts->user);
}

static dist_opts opts_of_blocks(struct reduction *r) {
    dist_opts own = *r->opts;
    own.ctx = r->seen;
    own.ctx_size = 0;
    own.user = r;
    own.error = NULL;
    own.names = NULL;
    own.chunk = 0;
    if (own.on_start) own.on_start = on_start;
    if (own.on_finish) own.on_finish = on_finish;
    if (own.retry_if) own.retry_if = retry_if;
    if (own.worker_init) own.worker_init = worker_init;
    if (own.worker_exit) own.worker_exit = worker_exit;
    if (!own.seed) own.seed = dist__random_nested_seed(dist__record_current());
    return own;
}

/* ------------------------------------------------------------------ the tree */

/* The end of the call: `why`, with an item. */
static dist_status end_at(const struct reduction *r, size_t index, dist_error *why) {
    name_item(r, index, why);
    dist__remember(why);
    return why->status;
}

static dist_status check_time(const dist_opts *opts, uint64_t deadline_ns, dist_error *why) {
    *why = (dist_error){.status = DIST_OK};
    if (dist_token_cancelled(opts->token)) {
        why->status = DIST_CANCELLED;
        snprintf(why->message, sizeof why->message, "cancelled by the call's token");
    } else if (deadline_ns != UINT64_MAX && dist__now_ns() >= deadline_ns) {
        why->status = DIST_TIMEOUT;
        snprintf(why->message, sizeof why->message, "the call's limit of %g s has passed",
                 opts->timeout);
    }
    return why->status;
}

/* Folds part k into part `to`. */
static dist_status join_two(const struct reduction *r, struct dist__record *record, size_t to,
                            size_t k) {
    record->index = k * r->block;
    record->code = 0;
    int code = r->join(r->part + to * r->part_size, r->part + k * r->part_size, r->ctx);
    if (!code) return DIST_OK;
    dist_error why = {.status = DIST_FAILED, .code = code, .attempts = 1};
    if (record->code) memcpy(why.message, record->message, sizeof why.message);
    else snprintf(why.message, sizeof why.message, "the join returned %d", code);
    return end_at(r, k * r->block, &why);
}

static dist_status join_all(const struct reduction *r, struct dist__record *record,
                            uint64_t deadline_ns) {
    dist_error why;
    for (size_t step = 1; step < r->blocks; step *= 2)
        for (size_t to = 0; to < r->blocks - step; to += 2 * step) {
            if (check_time(r->opts, deadline_ns, &why))
                return end_at(r, (to + step) * r->block, &why);
            dist_status status = join_two(r, record, to, to + step);
            if (status) return status;
        }
    return DIST_OK;
}

/* As a task of the calling thread, so that a join can say why it fails. */
static dist_status fold(const struct reduction *r, uint64_t seed, uint64_t deadline_ns) {
    struct dist__record record, *caller = dist__record_current();
    struct dist__batch batch = {.n = r->n, .workers = 1, .names = r->names, .caller = caller};
    batch.arena = r->opts->arena ? r->opts->arena : caller ? caller->arena : NULL;
    batch.seed = dist__random_of(seed, SIZE_MAX, 0); /* not what the leaves draw */
    dist__record_enter(&record, &batch, 0, DIST__ALONE);
    dist_status status = join_all(r, &record, deadline_ns);
    dist__record_leave(&record);
    return status;
}

/* ------------------------------------------------------------------ the call */

static dist_status check(const struct reduction *r) {
    const dist_opts *o = r->opts;
    dist_status refused = dist__check_opts(o, false);
    if (refused) return refused;
    const char *option = o->silent     ? "silent"
                         : o->in_place ? "in_place"
                         : o->abandon  ? "abandon"
                         : o->job      ? "job"
                                       : NULL;
    if (option)
        return dist__refuse(DIST_INVALID, 0, "%s: not for a reduction, which has one result",
                            option);
    if (!r->leaf) return dist__refuse(DIST_INVALID, 0, "leaf: is NULL");
    if (!r->join) return dist__refuse(DIST_INVALID, 0, "join: is NULL");
    if (!r->acc) return dist__refuse(DIST_INVALID, 0, "acc: is NULL");
    if (r->acc_size == 0) return dist__refuse(DIST_INVALID, 0, "acc_size: is 0");
    if (r->n && !r->items)
        return dist__refuse(DIST_INVALID, 0, "items: is NULL and n is %zu", r->n);
    const struct dist__batch named = {.n = r->n, .names = o->names};
    refused = dist__check_array("items", r->items, r->n, r->item_size);
    return refused || !o->names ? refused : dist__check_names("names", &named);
}

static size_t between(size_t least, size_t value, size_t most) {
    return value < least ? least : value > most ? most : value;
}

static void choose_blocks(struct reduction *r) {
    size_t few = between(BLOCKS_FEW, r->n / ITEMS_FEW, BLOCKS_MOST);
    size_t most = between(BLOCKS_LEAST, MEMORY_MOST / r->acc_size, few);
    r->block = r->opts->chunk ? r->opts->chunk : (r->n - 1) / most + 1;
    if (r->block > r->n) r->block = r->n;
    r->blocks = (r->n - 1) / r->block + 1;
}

/* For workers that have not all of the caller's memory. */
static struct reduction *copy_for_leaves(const struct reduction *r, struct dist__layout *to) {
    const dist_opts *o = r->opts;
    struct reduction copy = *r, *at = dist__layout_part(to, 1, sizeof *at);
    copy.acc = dist__layout_copy(to, r->acc, 1, r->acc_size);
    if (!dist__arena_shows(o->arena, o->pool->birth, r->items, r->n * r->item_size))
        copy.items = dist__layout_copy(to, r->items, r->n, r->item_size);
    copy.names = dist__layout_names(to, r->names, r->n);
    if (o->ctx_size) copy.ctx = dist__layout_copy(to, r->ctx, 1, o->ctx_size);
    if (at) *at = copy;
    return at;
}

static void lay_out(struct reduction *r, struct dist__layout *to) {
    r->part = dist__layout_part(to, r->blocks, r->part_size);
    r->named = dist__layout_zeros(to, r->blocks, sizeof *r->named);
    r->seen = r->lent ? copy_for_leaves(r, to) : r;
}

/* NULL: there is none. */
static void *take_memory(const struct reduction *r) {
    if (r->lent) return r->lent->backend->pool_take(r->lent, r->bytes);
    if (!r->shared) return aligned_alloc(DIST__CACHE_LINE, r->bytes);
    void *memory = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* False: there is no memory. */
static bool make_parts(struct reduction *r) {
    const size_t line = DIST__CACHE_LINE;
    struct dist_pool *pool = r->opts->pool;
    struct dist__layout to = {.base = NULL};
    if (r->acc_size > PTRDIFF_MAX / 2) return false;
    r->part_size = (r->acc_size + line - 1) / line * line;
    r->lent = pool && pool->backend->pool_take ? pool : NULL;
    r->shared = !pool && dist__call_executor(r->opts->executor) == DIST_PROCESS;
    lay_out(r, &to);
    r->bytes = to.size;
    if (to.overflow || !(to.base = r->memory = take_memory(r))) return false;
    to.size = 0;
    lay_out(r, &to);
    return true;
}

static void free_parts(struct reduction *r) {
    if (r->lent) r->lent->backend->pool_give(r->lent, r->memory, r->bytes);
    else if (r->shared) munmap(r->memory, r->bytes);
    else free(r->memory);
}

/* As tasks of a map without results. What it takes for their items is there for all workers; only a
 * call that was refused has an error without one. */
static dist_status run_blocks(struct reduction *r, const dist_opts *own) {
    dist_status status =
        dist_map_fn(run_block, r->named, r->blocks, sizeof *r->named, NULL, 0, own);
    if (!status) return DIST_OK;
    dist_error why = *dist_last_error();
    if (!why.item) return status; /* the call was refused */
    point_at_item(r, &why);
    dist__remember(&why);
    return status;
}

static dist_status reduce(struct reduction *r) {
    double limit = r->opts->timeout;
    uint64_t deadline_ns = limit > 0 ? dist__after(dist__now_ns(), limit) : UINT64_MAX;
    choose_blocks(r);
    if (!make_parts(r))
        return dist__refuse(DIST_NOMEM, ENOMEM, "no memory for %zu accumulators of %zu bytes",
                            r->blocks, r->acc_size);
    dist_opts own = opts_of_blocks(r);
    dist_status status = run_blocks(r, &own);
    if (!status) status = fold(r, own.seed, deadline_ns);
    if (!status) memcpy(r->acc, r->part, r->acc_size);
    free_parts(r);
    return status;
}

/* The pool lends its memory as long as a call is under way in it. */
static dist_status reduce_in_pool(struct reduction *r) {
    struct dist_pool *pool = r->opts->pool;
    dist_status status = pool ? dist__pool_begin_call(pool) : DIST_OK;
    if (status) return status;
    status = reduce(r);
    if (pool) dist__pool_end_call(pool);
    return status;
}

dist_status dist_reduce_fn(dist_chunk_fn leaf, dist_join_fn join, const void *items, size_t n,
                           size_t item_size, void *acc, size_t acc_size, const dist_opts *opts) {
    if (!opts) opts = &dist__no_opts;
    struct reduction r = {.leaf = leaf,
                          .join = join,
                          .items = items,
                          .n = n,
                          .item_size = item_size,
                          .acc = acc,
                          .acc_size = acc_size,
                          .opts = opts};
    if (opts->size == sizeof *opts) r.ctx = opts->ctx, r.names = opts->names;
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_status status = check(&r);
    if (!status)
        status =
            n ? reduce_in_pool(&r) : dist_map_fn(run_block, items, 0, item_size, NULL, 0, opts);
    dist__cancel_restore(cancel_state);
    if (!status) errno = saved;
    return dist__call_leave(status, opts);
}
