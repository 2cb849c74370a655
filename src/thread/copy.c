/* copy.c - copies of a batch for workers that may outlive the call. */
#include "copy.h"
#include "common/arena.h"
#include "common/token.h"

#include <stdlib.h>
#include <string.h>

void dist__copy_free(struct dist__copy *copy) {
    if (!copy) return;
    dist__token_unref(copy->control.opts.token);
    if (copy->batch.arena) dist__arena_unref(copy->batch.arena);
    free(copy->memory);
    free(copy->settled);
    free(copy);
}

static size_t names_size(const struct dist__batch *batch) {
    size_t size = batch->names ? batch->n * sizeof *batch->names : 0;
    for (size_t i = 0; batch->names && i < batch->n; i++)
        size += batch->names[i] ? strlen(batch->names[i]) + 1 : 0;
    return size;
}

static void copy_names(struct dist__batch *own, unsigned char *to) {
    const char *const *names = own->names;
    if (!names) return;
    const char **array = (const char **)to;
    char *text = (char *)(array + own->n);
    for (size_t i = 0; i < own->n; i++) {
        array[i] = names[i] ? text : NULL;
        if (names[i]) text = stpcpy(text, names[i]) + 1;
    }
    own->names = array;
}

static size_t rounded(size_t size) {
    return (size + DIST__CACHE_LINE - 1) / DIST__CACHE_LINE * DIST__CACHE_LINE;
}

struct dist__copy *dist__copy_new(const struct dist__batch *batch) {
    struct dist__copy *copy = calloc(1, sizeof *copy);
    if (!copy) return NULL;
    size_t items = rounded(batch->items ? batch->n * batch->item_size : 0);
    size_t results = rounded(batch->out ? batch->n * batch->out_size : 0);
    copy->memory =
        aligned_alloc(DIST__CACHE_LINE, rounded(items + results + names_size(batch) + 1));
    copy->settled = calloc(1, batch->n);
    if (!copy->memory || !copy->settled) {
        dist__copy_free(copy);
        return NULL;
    }
    copy->batch = *batch;
    copy->batch.caller = NULL; /* the task around the call may end before its workers */
    copy->control = *batch->control;
    copy->control.cancel = NULL; /* the job's: workers hear of it by `ended` */
    if (batch->items)
        copy->batch.items = memcpy(copy->memory, batch->items, batch->n * batch->item_size);
    if (batch->out)
        copy->batch.out = memcpy(copy->memory + items, batch->out, batch->n * batch->out_size);
    copy_names(&copy->batch, copy->memory + items + results);
    if (copy->batch.arena) dist__arena_ref(copy->batch.arena);
    dist__token_ref(copy->control.opts.token);
    copy->control.batch = &copy->batch;
    copy->batch.control = &copy->control;
    return copy;
}
