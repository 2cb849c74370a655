/* reduce.h - many items into one value: the same bytes for any number of workers. Part of dist.h.
 */
#ifndef DIST_REDUCE_H
#define DIST_REDUCE_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Folds *other into *into; *other stands for the items behind those of *into. 0, or an error code
 * (best through dist_fail; dist_index() is the first item of *other). */
typedef int (*dist_join_fn)(void *into, const void *other, void *ctx);

/* for (each block [b, b + k) of 0..n-1) { part[b] = *acc; leaf(&part[b], &items[b], k, ctx); }
 * *acc = part[0] joined with the others, pairwise, as a tree: (p0 p1) (p2 p3) ...
 *
 * Blocks and tree depend on n, acc_size and .chunk alone. So leaf and join may round, as sums of
 * doubles do, and *acc has the same bytes for every executor, number of workers, and history of
 * retries and crashes. join need not be commutative, and leaf may start where it likes: it finds in
 * its accumulator what *acc holds before the call. With a leaf that adds to it, that must be what
 * join does not notice: 0 for a sum, -INFINITY for a maximum.
 *
 *     double sum = 0;
 *     dist_reduce(add_numbers, add_sums, numbers, n, &sum, .workers = 4);
 *
 * *acc changes only if all went well; n = 0 is DIST_OK, and leaves it. A block is one task: options
 * are those of dist_map, for blocks (.retries, .task_timeout, .max_failures, .rate, .progress), and
 * a leaf may call what a chunk function may; dist_index() is its first item. A block fails as a
 * whole. error.index, and the index that hooks get, is the block's first item, or the lowest one
 * that dist_fail_at has named; events count blocks, and have no result. The joins run in the
 * calling thread when all blocks have ended, without retries; .timeout and .token are looked at
 * between them.
 *
 * .chunk   Items per block; all but the last have as many. 0: at most 1024 blocks, 256 where more
 *          would have fewer than 16 items each, and fewer still, but 64, where their accumulators
 *          would take more than 64 MiB.
 * Memory   An accumulator for each block, on cache lines of its own.
 *
 * .pool    PROCESS: items, *acc, names, and .ctx by .ctx_size are copied for the leaves, as for a
 *          call in the pool (items in its .arena are not); accumulators are bytes in memory that
 *          the workers share. Joins run in the caller, with the .ctx that was given.
 * .silent, .in_place, .abandon and .job are DIST_INVALID: there is one result, or none. */
DIST_API dist_status dist_reduce_fn(dist_chunk_fn leaf, dist_join_fn join, const void *items,
                                    size_t n, size_t item_size, void *acc, size_t acc_size,
                                    const dist_opts *opts);

#ifndef __cplusplus
/* dist_reduce(leaf, join, items, n, &acc, .workers = 4): sizes come from the pointers. */
#define dist_reduce(leaf, join, items, n, ...)                                                     \
    DIST__REDUCE(DIST__ANY, leaf, join, items, n, __VA_ARGS__)
#define dist_thread_reduce(leaf, join, items, n, ...)                                              \
    DIST__REDUCE(DIST__THR, leaf, join, items, n, __VA_ARGS__)
#define dist_process_reduce(leaf, join, items, n, ...)                                             \
    DIST__REDUCE(DIST__PRC, leaf, join, items, n, __VA_ARGS__)

#define DIST__REDUCE(as, leaf, join, items, n, ...)                                                \
    dist_reduce_fn((leaf), (join), (items), (n), sizeof *(items), (DIST__HEAD(__VA_ARGS__)),       \
                   sizeof *(DIST__HEAD(__VA_ARGS__)),                                              \
                   &(dist_opts){.size = sizeof(dist_opts), as DIST__REST(__VA_ARGS__)})
#endif

#ifdef __cplusplus
}
#endif

#endif
