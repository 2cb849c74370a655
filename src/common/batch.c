/* batch.c - running items in the calling thread, with their results staged. */
#include "control.h"

#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>

enum {
    STAGE_SIZE = 4096,
    HAND_OUT_NS = 50000, /* aim of one hand-out, */
    GROWTH = 8           /* and most that it grows at a time */
};

size_t dist__batch_units(const struct dist__batch *batch) {
    if (batch->chunk) return (batch->n - 1) / batch->chunk + 1;
    return batch->kind == DIST__MAP_CHUNKS ? batch->workers : batch->n;
}

struct dist__span dist__batch_items(const struct dist__batch *batch, size_t begin, size_t end) {
    if (!batch->chunk && batch->kind == DIST__MAP_CHUNKS) {
        dist_range first = dist_split(batch->n, batch->workers, begin);
        dist_range last = dist_split(batch->n, batch->workers, end - 1);
        return (struct dist__span){first.begin, last.begin + last.count};
    }
    size_t unit = batch->chunk ? batch->chunk : 1;
    size_t last = end > batch->n / unit ? batch->n : end * unit;
    return (struct dist__span){begin * unit, last};
}

size_t dist__batch_chunk_end(const struct dist__batch *batch, size_t i) {
    size_t n = batch->n, size = batch->chunk;
    if (size) return n - i > size - i % size ? i - i % size + size : n;
    size_t small = n / batch->workers, larger = n % batch->workers; /* see dist_split */
    size_t of_larger = larger * (small + 1);
    if (i < of_larger) return (i / (small + 1) + 1) * (small + 1);
    return of_larger + ((i - of_larger) / small + 1) * small;
}

uint64_t dist__batch_next_want(const struct dist__batch *batch, uint64_t count, uint64_t took_ns,
                               uint64_t drawn) {
    if (batch->chunk || batch->kind == DIST__MAP_CHUNKS) return 1;
    uint64_t want = count * HAND_OUT_NS / (took_ns ? took_ns : 1), units = batch->n;
    if (want > count * GROWTH) want = count * GROWTH;
    uint64_t fair = drawn < units ? (units - drawn) / (2 * (uint64_t)batch->workers) : 0;
    if (want > fair) want = fair;
    return want ? want : 1;
}

static int call(const struct dist__batch *batch, size_t i, size_t n, void *result,
                struct dist__record *record) {
    const void *item = batch->items ? batch->items + i * batch->item_size : NULL;
    switch (batch->kind) {
    case DIST__MAP_ITEMS: return batch->map(result, item, batch->ctx);
    case DIST__INDICES: return batch->index(i, batch->ctx);
    case DIST__MAP_CHUNKS:
        record->chunk_count = n;
        record->named_count = 0;
        record->named_lost = false;
        int code = batch->chunk_fn(result, item, n, batch->ctx);
        record->chunk_count = 0;
        return code ? code : record->named_lost ? record->code : 0;
    case DIST__PAR_TASKS: break;
    }
    const dist_task *task = &batch->tasks[i];
    record->name = task->name;
    return task->fn(result, task->arg, task->ctx ? task->ctx : batch->ctx);
}

int dist__batch_call(const struct dist__batch *batch, size_t i, size_t n, void *result,
                     struct dist__record *record) {
    record->index = i;
    record->code = 0;
    if (record->meter) dist__meter_begin(record);
    int code = call(batch, i, n, result, record);
    if (record->meter) dist__meter_end(record);
    return record->control ? dist__attempt_verdict(record, code) : code;
}

void dist__batch_describe(const struct dist__batch *batch, dist_error *error) {
    error->name = dist__batch_name(batch, error->index);
    if (batch->kind == DIST__PAR_TASKS) {
        error->item = batch->tasks[error->index].arg;
    } else {
        error->item = batch->items ? batch->items + error->index * batch->item_size : NULL;
    }
}

void dist__batch_error(const struct dist__batch *batch, size_t index, int code,
                       const struct dist__record *record, dist_error *error) {
    *error = (dist_error){.status = record->code ? record->status : DIST_FAILED,
                          .code = code,
                          .index = index,
                          .attempts = record->attempt,
                          .worker = record->worker};
    dist__batch_describe(batch, error);
    if (record->code) memcpy(error->message, record->message, sizeof error->message);
    else snprintf(error->message, sizeof error->message, "the task returned %d", code);
}

static void failed(struct dist__batch *batch, size_t index, int code, struct dist__record *record) {
    dist_error error;
    dist__batch_error(batch, index, code, record, &error);
    dist__outcome_fail(&batch->outcome, &error);
}

static void no_memory(struct dist__batch *batch, struct dist__span span,
                      struct dist__record *record) {
    for (size_t i = span.begin; i < span.end; i++) {
        dist_fail(ENOMEM, "no memory to stage a result of %zu bytes",
                  dist__batch_result_size(batch, i));
        dist_error error;
        dist__batch_error(batch, i, ENOMEM, record, &error);
        error.status = DIST_NOMEM;
        dist__outcome_fail(&batch->outcome, &error);
    }
}

/* An index loop; nothing between the calls but what a task may ask for. */
static void run_indices(struct dist__batch *batch, struct dist__span span,
                        struct dist__record *record) {
    dist_index_fn body = batch->index;
    void *ctx = batch->ctx;
    for (size_t i = span.begin; i < span.end; i++) {
        if (dist__outcome_past_stop(&batch->outcome, i)) {
            dist__outcome_skip(&batch->outcome, i, span.end);
            return;
        }
        record->index = i;
        record->code = 0;
        int code = body(i, ctx);
        if (code) failed(batch, i, code, record);
    }
}

/* A map without results, or with results in place. */
static void run_unstaged(struct dist__batch *batch, struct dist__span span,
                         struct dist__record *record) {
    const unsigned char *item = batch->items ? batch->items + span.begin * batch->item_size : NULL;
    unsigned char *result = batch->out ? batch->out + span.begin * batch->out_size : NULL;
    size_t item_size = item ? batch->item_size : 0, out_size = result ? batch->out_size : 0;
    dist_fn map = batch->map;
    void *ctx = batch->ctx;
    for (size_t i = span.begin; i < span.end; i++) {
        if (dist__outcome_past_stop(&batch->outcome, i)) {
            dist__outcome_skip(&batch->outcome, i, span.end);
            return;
        }
        record->index = i;
        record->code = 0;
        int code = map(result, item, ctx);
        if (code) failed(batch, i, code, record);
        if (item) item += item_size;
        if (result) result += out_size;
    }
}

/* Runs items into `stage`, which holds what out held, and copies the good ones back: the whole
 * block at once as long as none fails. Returns where it stopped. Not inlined: in its caller the
 * loop would lose registers, 0.2 of 1.3 ns an item. */
__attribute__((noinline)) static size_t run_block(struct dist__batch *batch,
                                                  struct dist__span block, unsigned char *stage,
                                                  struct dist__record *record) {
    size_t size = batch->out_size, copied = block.begin, i = block.begin;
    const unsigned char *item = batch->items ? batch->items + i * batch->item_size : NULL;
    unsigned char *slot = stage;
    dist_fn map = batch->map;
    void *ctx = batch->ctx;
    memcpy(stage, batch->out + i * size, (block.end - i) * size);
    for (; i < block.end; i++) {
        if (dist__outcome_past_stop(&batch->outcome, i)) break;
        record->index = i;
        record->code = 0;
        int code = map(slot, item, ctx);
        if (item) item += batch->item_size;
        slot += size;
        if (!code) continue;
        memcpy(batch->out + copied * size, stage + (copied - block.begin) * size,
               (i - copied) * size);
        copied = i + 1;
        failed(batch, i, code, record);
    }
    memcpy(batch->out + copied * size, stage + (copied - block.begin) * size, (i - copied) * size);
    return i;
}

static void run_map(struct dist__batch *batch, struct dist__span span,
                    struct dist__record *record) {
    alignas(64) unsigned char stack[STAGE_SIZE];
    size_t size = batch->out_size, per_block = STAGE_SIZE / size;
    unsigned char *stage = stack;
    if (per_block == 0) {
        per_block = 1;
        stage = dist__record_scratch(record, size);
        if (!stage) {
            no_memory(batch, span, record);
            return;
        }
    }
    for (size_t i = span.begin; i < span.end;) {
        size_t count = span.end - i < per_block ? span.end - i : per_block;
        size_t reached = run_block(batch, (struct dist__span){i, i + count}, stage, record);
        i += count;
        if (reached == i) continue;
        dist__outcome_skip(&batch->outcome, reached, span.end);
        return;
    }
}

/* Any items but chunks, with nothing in common. */
static void run_each(struct dist__batch *batch, struct dist__span span,
                     struct dist__record *record) {
    alignas(64) unsigned char stack[STAGE_SIZE];
    record->follows = false;
    for (size_t i = span.begin; i < span.end; i++) {
        if (dist__outcome_past_stop(&batch->outcome, i)) {
            dist__outcome_skip(&batch->outcome, i, span.end);
            return;
        }
        unsigned char *result = dist__batch_result(batch, i);
        size_t size = dist__batch_result_size(batch, i);
        unsigned char *stage = batch->in_place      ? result
                               : size <= STAGE_SIZE ? stack
                                                    : dist__record_scratch(record, size);
        if (result && !stage) {
            no_memory(batch, (struct dist__span){i, i + 1}, record);
            continue;
        }
        if (size && stage != result) memcpy(stage, result, size);
        int code = dist__batch_call(batch, i, 1, result ? stage : NULL, record);
        if (code) failed(batch, i, code, record);
        else if (size && stage != result) memcpy(result, stage, size);
        record->follows = !code && size <= STAGE_SIZE; /* what happens between them is little */
    }
}

/* Sorts by offset and keeps the first of equals: a chunk names few items, so insertion will do. */
static void sort_named(struct dist__record *record) {
    struct dist__named_item *named = record->named;
    size_t kept = 0;
    for (size_t k = 0; k < record->named_count; k++) {
        struct dist__named_item item = named[k];
        size_t at = kept;
        while (at > 0 && named[at - 1].offset > item.offset) at--;
        if (at > 0 && named[at - 1].offset == item.offset) continue;
        memmove(&named[at + 1], &named[at], (kept - at) * sizeof item);
        named[at] = item;
        kept++;
    }
    record->named_count = kept;
}

size_t dist__batch_chunk(const struct dist__batch *batch, struct dist__span chunk,
                         unsigned char *stage, struct dist__record *record,
                         const struct dist__sink *sink) {
    size_t n = chunk.end - chunk.begin, size = batch->out_size;
    if (stage && stage != batch->out + chunk.begin * size)
        memcpy(stage, batch->out + chunk.begin * size, n * size);
    int code = dist__batch_call(batch, chunk.begin, n, stage, record);
    if (code && (record->named_count == 0 || record->named_lost)) {
        dist_error error;
        dist__batch_error(batch, chunk.begin, code, record, &error);
        sink->bad(sink->self, chunk, &error);
        return n;
    }
    sort_named(record);
    size_t next = chunk.begin;
    for (size_t k = 0; k < record->named_count; k++) {
        struct dist__named_item *named = &record->named[k];
        size_t at = chunk.begin + named->offset;
        sink->good(sink->self, (struct dist__span){next, at},
                   stage ? stage + (next - chunk.begin) * size : NULL);
        dist_error error;
        dist__batch_error(batch, at, named->code, record, &error);
        error.status = DIST_FAILED; /* by its own dist_fail_at, whatever the chunk recorded */
        memcpy(error.message, named->message, sizeof error.message);
        sink->bad(sink->self, (struct dist__span){at, at + 1}, &error);
        next = at + 1;
    }
    if (code) return next - chunk.begin;
    sink->good(sink->self, (struct dist__span){next, chunk.end},
               stage ? stage + (next - chunk.begin) * size : NULL);
    return n;
}

size_t dist__batch_attempt(const struct dist__batch *batch, struct dist__span items,
                           unsigned char *stage, struct dist__record *record,
                           const struct dist__sink *sink) {
    if (batch->kind == DIST__MAP_CHUNKS)
        return dist__batch_chunk(batch, items, stage, record, sink);
    size_t i = items.begin, size = dist__batch_result_size(batch, i);
    unsigned char *result = dist__batch_result(batch, i);
    if (size && stage != result) memcpy(stage, result, size);
    int code = dist__batch_call(batch, i, 1, stage, record);
    if (!code) {
        sink->good(sink->self, items, stage);
        return 1;
    }
    dist_error error;
    dist__batch_error(batch, i, code, record, &error);
    sink->bad(sink->self, items, &error);
    return 1;
}

static void copy_good(void *self, struct dist__span items, const unsigned char *stage) {
    struct dist__batch *batch = self;
    if (stage && stage != batch->out + items.begin * batch->out_size)
        memcpy(batch->out + items.begin * batch->out_size, stage,
               (items.end - items.begin) * batch->out_size);
}

static void record_bad(void *self, struct dist__span items, const dist_error *error) {
    struct dist__batch *batch = self;
    dist_error one = *error;
    for (one.index = items.begin; one.index < items.end; one.index++) {
        dist__batch_describe(batch, &one);
        dist__outcome_fail(&batch->outcome, &one);
    }
}

static void run_chunk(struct dist__batch *batch, struct dist__span chunk,
                      struct dist__record *record) {
    struct dist__sink sink = {copy_good, record_bad, batch};
    unsigned char *stage = NULL;
    if (batch->out) {
        size_t size = (chunk.end - chunk.begin) * batch->out_size;
        stage = batch->in_place ? dist__batch_result(batch, chunk.begin)
                                : dist__record_scratch(record, size);
        if (!stage) {
            no_memory(batch, chunk, record);
            return;
        }
    }
    while (chunk.begin < chunk.end) {
        if (dist__outcome_past_stop(&batch->outcome, chunk.begin)) {
            dist__outcome_skip(&batch->outcome, chunk.begin, chunk.end);
            return;
        }
        size_t settled = dist__batch_chunk(batch, chunk, stage, record, &sink);
        chunk.begin += settled;
        if (stage) stage += settled * batch->out_size;
    }
}

static void run_items(struct dist__batch *batch, struct dist__span span,
                      struct dist__record *record) {
    if (batch->kind == DIST__PAR_TASKS || record->meter) run_each(batch, span, record);
    else if (batch->kind == DIST__INDICES) run_indices(batch, span, record);
    else if (!batch->out || batch->in_place) run_unstaged(batch, span, record);
    else run_map(batch, span, record);
}

void dist__batch_run(struct dist__batch *batch, size_t begin, size_t end,
                     struct dist__record *record) {
    if (batch->kind != DIST__MAP_CHUNKS) {
        run_items(batch, dist__batch_items(batch, begin, end), record);
        return;
    }
    for (size_t k = begin; k < end; k++) {
        struct dist__span chunk = dist__batch_items(batch, k, k + 1);
        if (dist__outcome_past_stop(&batch->outcome, chunk.begin)) {
            size_t last = dist__batch_items(batch, k, end).end;
            dist__outcome_skip(&batch->outcome, chunk.begin, last);
            return;
        }
        run_chunk(batch, chunk, record);
    }
}
