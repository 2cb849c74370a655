/* queue_ring.c - the queue of threads: a ring without a lock. */
#include "mpmc.h"
#include "queue.h"

#include <stdlib.h>
#include <string.h>

struct ring_queue {
    struct dist_queue queue; /* first */
    struct dist__mpmc ring;
};

static struct dist__mpmc *ring_of(struct dist_queue *queue) {
    return &((struct ring_queue *)queue)->ring;
}

static const struct dist__mpmc *const_ring_of(const struct dist_queue *queue) {
    return &((const struct ring_queue *)queue)->ring;
}

static dist_status put(struct dist_queue *queue, int priority, const void *item) {
    struct dist__claim claim;
    (void)priority;
    enum dist__mpmc_answer answer = dist__mpmc_claim_put(ring_of(queue), &claim);
    if (answer != DIST__MPMC_DONE) return answer == DIST__MPMC_OVER ? DIST_CLOSED : DIST_FULL;
    memcpy(claim.cell->item, item, queue->item_size);
    dist__mpmc_settle(&claim);
    return DIST_OK;
}

static dist_status get(struct dist_queue *queue, void *item) {
    struct dist__claim claim;
    enum dist__mpmc_answer answer = dist__mpmc_claim_get(ring_of(queue), &claim);
    if (answer != DIST__MPMC_DONE) return answer == DIST__MPMC_OVER ? DIST_CLOSED : DIST_EMPTY;
    memcpy(item, claim.cell->item, queue->item_size);
    dist__mpmc_settle(&claim);
    return DIST_OK;
}

static bool has_item(const struct dist_queue *queue) {
    return dist__mpmc_has_item(const_ring_of(queue));
}

static bool has_room(const struct dist_queue *queue) {
    return dist__mpmc_has_room(const_ring_of(queue));
}

static uint64_t puts_of(const struct dist_queue *queue) {
    return dist__mpmc_puts(const_ring_of(queue));
}

static uint64_t gets_of(const struct dist_queue *queue) {
    return dist__mpmc_gets(const_ring_of(queue));
}

static void close_ring(struct dist_queue *queue) { dist__mpmc_close(ring_of(queue)); }

static void free_ring(struct dist_queue *queue) {
    free(ring_of(queue)->cells);
    free(queue);
}

static const struct dist__queue_kind kind = {put,     get,     has_item,   has_room,
                                             puts_of, gets_of, close_ring, free_ring};

struct dist_queue *dist__queue_ring(const dist_queue_opts *opts) {
    const size_t unit = _Alignof(struct dist__cell);
    size_t cell = (sizeof(struct dist__cell) + opts->item_size + unit - 1) / unit * unit;
    struct ring_queue *made = aligned_alloc(_Alignof(struct ring_queue), sizeof *made);
    unsigned char *cells = calloc(opts->capacity, cell); /* pages that are not used cost nothing */
    if (!made || !cells) {
        free(cells);
        free(made);
        return NULL;
    }
    memset(made, 0, sizeof *made);
    made->queue.kind = &kind;
    dist__mpmc_init(&made->ring, opts->capacity, cell, cells);
    return &made->queue;
}
