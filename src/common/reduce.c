/* reduce.c - many items into one value, over fixed blocks and a fixed tree.
 *
 * What a sum of floating-point numbers gives depends on how it is bracketed. Here the brackets are
 * chosen by n alone, as in oneTBB's parallel_deterministic_reduce, and pairwise, which also keeps
 * the rounding error at O(log blocks) (N. J. Higham, "The accuracy of floating point summation",
 * SIAM J. Sci. Comput. 14(4), 1993).
 *
 * The blocks are the chunks of a dist_map_chunks call without results: each leaf brings its
 * accumulator to `part` itself, which lies in shared memory if workers are processes. A part of a
 * block may be handed out again (a worker was killed between two words on the items of its chunk),
 * so a task always does the whole block, and writes only when that is done. */
#include "check.h"
#include "control.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BLOCKS_MOST = 1024, /* 16 for each of 64 workers, and no more joins than cost some us */
    BLOCKS_LEAST = 64,
    STAGE_SIZE = 4096 /* of an accumulator on the stack */
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
    const char *const *names;
    size_t block, blocks; /* items in each, and how many */
    unsigned char *part;  /* an accumulator for each block */
    size_t *named;        /* for each: 1 + the offset that dist_fail_at named; 0: none */
    size_t bytes;         /* of both */
    bool shared;
};

/* ------------------------------------------------------------------ the blocks */

/* The block has failed with the lowest item it has named, whatever its leaf returned. */
static int fail_by_name(struct reduction *r, size_t k, struct dist__record *record) {
    const struct dist__named_item *lowest = record->named;
    for (size_t i = 1; i < record->named_count; i++)
        if (record->named[i].offset < lowest->offset) lowest = &record->named[i];
    r->named[k] = lowest->offset + 1;
    record->named_lost = true;
    return dist_fail(lowest->code, "%s", lowest->message);
}

static unsigned char *find_stage(const struct reduction *r, unsigned char stack[STAGE_SIZE],
                                 struct dist__record *record) {
    if (r->acc_size <= STAGE_SIZE) return stack;
    unsigned char *stage = dist__record_scratch(record, r->acc_size);
    if (stage) return stage;
    dist_fail(ENOMEM, "no memory for an accumulator of %zu bytes", r->acc_size);
    record->status = DIST_NOMEM;
    return NULL;
}

/* The task: `given` and `count` may be a part of the block. */
static int run_block(void *results, const void *given, size_t count, void *ctx) {
    alignas(64) unsigned char stack[STAGE_SIZE];
    struct reduction *r = ctx;
    struct dist__record *record = dist__record_current();
    size_t index = record->index, k = index / r->block;
    dist_range block = dist_chunk(r->n, r->block, k);
    (void)results, (void)given, (void)count;
    r->named[k] = 0;
    unsigned char *stage = find_stage(r, stack, record);
    if (!stage) return record->code;
    memcpy(stage, r->acc, r->acc_size);
    record->index = block.begin;
    record->chunk_count = block.count;
    int code = r->leaf(stage, r->items + block.begin * r->item_size, block.count, r->ctx);
    record->index = index;
    if (record->named_count) return fail_by_name(r, k, record);
    if (code || record->named_lost) return code;
    memcpy(r->part + k * r->acc_size, stage, r->acc_size);
    return 0;
}

/* ------------------------------------------------------------------ the tree */

/* How the call ends: `why` is about this item. */
static dist_status end_at(const struct reduction *r, size_t index, dist_error *why) {
    const struct dist__batch batch = {
        .items = r->items, .item_size = r->item_size, .names = r->names};
    why->index = index;
    dist__batch_describe(&batch, why);
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
    int code = r->join(r->part + to * r->acc_size, r->part + k * r->acc_size, r->ctx);
    if (!code) return DIST_OK;
    dist_error why = {.status = DIST_FAILED, .code = code, .attempts = 1};
    if (record->code) memcpy(why.message, record->message, sizeof why.message);
    else snprintf(why.message, sizeof why.message, "the join returned %d", code);
    return end_at(r, k * r->block, &why);
}

static dist_status join_all(const struct reduction *r, struct dist__record *record,
                            const dist_opts *opts, uint64_t deadline_ns) {
    dist_error why;
    for (size_t step = 1; step < r->blocks; step *= 2)
        for (size_t to = 0; to < r->blocks - step; to += 2 * step) {
            if (check_time(opts, deadline_ns, &why)) return end_at(r, (to + step) * r->block, &why);
            dist_status status = join_two(r, record, to, to + step);
            if (status) return status;
        }
    return DIST_OK;
}

/* As a task of the calling thread, so that a join can say why it fails. */
static dist_status fold(const struct reduction *r, const dist_opts *opts, uint64_t deadline_ns) {
    struct dist__record record, *caller = dist__record_current();
    struct dist__batch batch = {.n = r->n, .workers = 1, .names = r->names, .caller = caller};
    batch.arena = opts->arena ? opts->arena : caller ? caller->arena : NULL;
    batch.seed = dist__random_of(opts->seed, SIZE_MAX, 0); /* not what the leaves draw */
    dist__record_enter(&record, &batch, 0, DIST__ALONE);
    dist_status status = join_all(r, &record, opts, deadline_ns);
    dist__record_leave(&record);
    return status;
}

/* ------------------------------------------------------------------ the call */

static dist_status check(const struct reduction *r, const dist_opts *o) {
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
    return DIST_OK; /* the chunks check the items */
}

static void choose_blocks(struct reduction *r, size_t chunk) {
    size_t most = MEMORY_MOST / r->acc_size;
    most = most > BLOCKS_MOST ? BLOCKS_MOST : most < BLOCKS_LEAST ? BLOCKS_LEAST : most;
    r->block = chunk ? chunk : (r->n - 1) / most + 1;
    if (r->block > r->n) r->block = r->n;
    r->blocks = (r->n - 1) / r->block + 1;
}

/* False: there is no memory. */
static bool make_parts(struct reduction *r, dist_executor executor) {
    if (r->acc_size > PTRDIFF_MAX / 2 ||
        r->blocks > PTRDIFF_MAX / 2 / (r->acc_size + sizeof *r->named))
        return false;
    size_t parts = (r->blocks * r->acc_size + 63) / 64 * 64, names = r->blocks * sizeof *r->named;
    r->bytes = (parts + names + 63) / 64 * 64;
    r->shared = executor != DIST_THREAD && executor != DIST_INLINE;
    void *memory;
    if (r->shared) {
        memory = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) memory = NULL;
    } else {
        memory = aligned_alloc(64, r->bytes);
    }
    if (!memory) return false;
    r->part = memory;
    r->named = (size_t *)(void *)(r->part + parts);
    memset(r->named, 0, names);
    return true;
}

static void free_parts(struct reduction *r) {
    if (r->shared) munmap(r->part, r->bytes);
    else free(r->part);
}

/* The error of the chunks speaks of items of them. */
static void point_at_block(const struct reduction *r) {
    dist_error why = *dist_last_error();
    if (!why.item) return; /* the call was refused */
    size_t k = why.index / r->block;
    bool by_name = why.status == DIST_FAILED && r->named[k];
    end_at(r, k * r->block + (by_name ? r->named[k] - 1 : 0), &why);
}

static dist_status reduce(struct reduction *r, const dist_opts *opts) {
    uint64_t deadline_ns =
        opts->timeout > 0 ? dist__after(dist__now_ns(), opts->timeout) : UINT64_MAX;
    dist_opts own = *opts;
    own.ctx = r;
    own.error = NULL;
    own.chunk = r->block;
    if (!own.seed) own.seed = dist__random_nested_seed(dist__record_current());
    dist_status status = dist_map_chunks_fn(run_block, r->items, r->n, r->item_size, NULL, 0, &own);
    if (status) point_at_block(r);
    else status = fold(r, &own, deadline_ns);
    if (!status) memcpy(r->acc, r->part, r->acc_size);
    return status;
}

dist_status dist_reduce_fn(dist_chunk_fn leaf, dist_join_fn join, const void *items, size_t n,
                           size_t item_size, void *acc, size_t acc_size, const dist_opts *opts) {
    static const dist_opts defaults = {.size = sizeof defaults};
    if (!opts) opts = &defaults;
    struct reduction r = {.leaf = leaf,
                          .join = join,
                          .items = items,
                          .n = n,
                          .item_size = item_size,
                          .acc = acc,
                          .acc_size = acc_size};
    int saved = errno, cancel_state = dist__cancel_disable();
    dist_status status = check(&r, opts);
    if (!status && n == 0) status = dist_map_chunks_fn(leaf, items, 0, item_size, NULL, 0, opts);
    if (!status && n > 0) {
        r.ctx = opts->ctx;
        r.names = opts->names;
        choose_blocks(&r, opts->chunk);
        if (make_parts(&r, opts->executor)) {
            status = reduce(&r, opts);
            free_parts(&r);
        } else {
            status = dist__refuse(DIST_NOMEM, ENOMEM, "no memory for %zu accumulators of %zu bytes",
                                  r.blocks, acc_size);
        }
    }
    dist__cancel_restore(cancel_state);
    if (!status) errno = saved;
    else if (opts->size == sizeof *opts && opts->error) *opts->error = *dist_last_error();
    return status;
}
