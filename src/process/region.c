/* region.c - laying out the shared mapping. Pages cost nothing until they are touched. */
#include "region.h"
#include "common/control.h"
#include "common/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LOG_LEAST = 64 };

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_CHAR_LOCK_FREE == 2,
               "a lock in shared memory could be held by a dead process");

/* Adds a part of count * size bytes to *total, on a line of its own. Returns its offset. */
static size_t part(size_t *total, size_t count, size_t size, bool *overflow) {
    size_t bytes, begin = *total;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 63) *overflow = true;
    else if (__builtin_add_overflow(begin, (bytes + 63) / 64 * 64, total)) *overflow = true;
    return begin;
}

/* Offsets of the results of par tasks, each on a line of its own. */
static bool lay_out_results(struct dist__region *region, const struct dist__batch *batch,
                            size_t *total, bool *overflow) {
    region->offset = malloc(batch->n * sizeof *region->offset);
    if (!region->offset) return false;
    for (size_t i = 0; i < batch->n; i++)
        region->offset[i] = part(total, 1, dist__batch_result_size(batch, i), overflow);
    return true;
}

/* Maps all parts with room for `log_room` failures. */
static bool map_region(struct dist__region *region, const struct dist__batch *batch,
                       size_t result_bytes, size_t log_room) {
    size_t total = 0;
    bool overflow = false;
    size_t shared = part(&total, 1, sizeof *region->shared, &overflow);
    size_t claim = part(&total, batch->workers, sizeof *region->claim, &overflow);
    size_t state = part(&total, batch->n, sizeof *region->state, &overflow);
    size_t results = part(&total, 1, result_bytes, &overflow);
    size_t log = part(&total, log_room, sizeof *region->log, &overflow);
    const struct dist__control *control = batch->control;
    size_t desk = part(&total, 1, control ? dist__desk_size(batch->workers) : 0, &overflow);
    size_t due = part(&total, control ? 1 : 0, sizeof *region->due, &overflow);
    size_t verdict = part(&total, control ? batch->workers : 0, sizeof *region->verdict, &overflow);
    size_t attempts = part(&total, control && control->retried ? batch->n : 0,
                           sizeof *region->attempts, &overflow);
    if (overflow || total > PTRDIFF_MAX) return false;
    unsigned char *base = mmap(NULL, total, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return false;
    region->base = base;
    region->size = total;
    region->shared = (void *)(base + shared);
    region->claim = (void *)(base + claim);
    region->state = (void *)(base + state);
    region->results = result_bytes ? base + results : NULL;
    region->log = (void *)(base + log);
    region->log_room = log_room;
    if (!control) return true;
    region->desk = (void *)(base + desk);
    region->due = (void *)(base + due);
    region->verdict = (void *)(base + verdict);
    if (control->retried) region->attempts = (void *)(base + attempts);
    return true;
}

dist_status dist__region_open(struct dist__region *region, const struct dist__batch *batch,
                              bool in_place) {
    size_t result_bytes = 0;
    bool overflow = false;
    *region = (struct dist__region){.limit = batch->outcome.smallest.limit};
    if (batch->kind == DIST__PAR_TASKS) {
        if (!lay_out_results(region, batch, &result_bytes, &overflow) || overflow) {
            dist__region_close(region);
            return dist__refuse(DIST_NOMEM, 0, "no memory for the results of %zu tasks", batch->n);
        }
    } else if (batch->out && !in_place) {
        result_bytes = batch->n * batch->out_size;
    }
    /* an item fails at most twice: once by itself, and once because its worker died right then */
    size_t log_room = batch->n < SIZE_MAX / 4 ? 2 * batch->n + LOG_LEAST : LOG_LEAST;
    while (!map_region(region, batch, result_bytes, log_room)) {
        if (log_room <= LOG_LEAST) {
            dist__region_close(region);
            return dist__refuse(DIST_NOMEM, ENOMEM, "no memory to share %zu bytes of results",
                                result_bytes);
        }
        log_room /= 2;
    }
    atomic_init(&region->shared->stop, SIZE_MAX); /* all else begins as 0 */
    return DIST_OK;
}

void dist__region_close(struct dist__region *region) {
    if (region->base) munmap(region->base, region->size);
    free(region->offset);
    region->base = NULL;
    region->offset = NULL;
}

unsigned char *dist__region_result(const struct dist__region *region,
                                   const struct dist__batch *batch, size_t i) {
    if (region->offset) return batch->tasks[i].result ? region->results + region->offset[i] : NULL;
    if (region->results) return region->results + i * batch->out_size;
    return dist__batch_result(batch, i);
}

void dist__region_copy_out(const struct dist__region *region, const struct dist__batch *batch,
                           struct dist__span items) {
    if (!region->results) return; /* none, or in place */
    if (!region->offset) {
        memcpy(dist__batch_result(batch, items.begin),
               dist__region_result(region, batch, items.begin),
               (items.end - items.begin) * batch->out_size);
        return;
    }
    for (size_t i = items.begin; i < items.end; i++)
        if (batch->tasks[i].result)
            memcpy(batch->tasks[i].result, dist__region_result(region, batch, i),
                   batch->tasks[i].result_size);
}

/* Items above the limit-th smallest failure in the log may be left out. An entry that is not yet
 * written makes the answer too high, never too low; its own writer comes here after it. */
static size_t stop_after(const struct dist__region *region, size_t index) {
    if (region->limit <= 1) return region->limit ? index : SIZE_MAX;
    /* acquire: the entries before it; pairs with the fetch_add below [log] */
    uint64_t count = atomic_load_explicit(&region->shared->log_next, memory_order_acquire);
    if (count < region->limit) return SIZE_MAX;
    struct dist__smallest smallest = {.limit = region->limit};
    size_t stop = SIZE_MAX;
    for (size_t k = 0; k < count && k < region->log_room; k++)
        /* acquire: the entry; pairs with [log] */
        if (atomic_load_explicit(&region->log[k].written, memory_order_acquire))
            stop = dist__smallest_add(&smallest, region->log[k].error.index);
    dist__smallest_free(&smallest);
    return stop;
}

void dist__region_lower_stop(const struct dist__region *region, uint64_t stop) {
    uint64_t now = atomic_load_explicit(&region->shared->stop, memory_order_relaxed);
    while (stop < now) /* relaxed: see dist__region_past_stop */
        if (atomic_compare_exchange_weak_explicit(&region->shared->stop, &now, stop,
                                                  memory_order_relaxed, memory_order_relaxed))
            return;
}

void dist__region_fail(const struct dist__region *region, const dist_error *error,
                       enum dist__item_state state) {
    /* release: pairs with [log] in stop_after */
    uint64_t k = atomic_fetch_add_explicit(&region->shared->log_next, 1, memory_order_release);
    if (k < region->log_room) {
        region->log[k].state = state;
        region->log[k].error = *error;
        /* release: the entry; pairs with [log] */
        atomic_store_explicit(&region->log[k].written, 1, memory_order_release);
    }
    dist__region_mark(region, error->index, state);
    dist__region_lower_stop(region, stop_after(region, error->index));
}
