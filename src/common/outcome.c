/* outcome.c - collecting failures and skipped spans. All of it is the slow path. */
#include "outcome.h"

#include <stdlib.h>
#include <string.h>

const dist_error dist__skipped = {.status = DIST_SKIPPED,
                                  .message = "never started: the call had stopped before"};

/* Makes room for one more element. Returns false, and leaves all as it was, without memory. */
static bool grow(void **array, size_t count, size_t *room, size_t element_size) {
    if (count < *room) return true;
    size_t more = *room ? 2 * *room : 8;
    void *grown = realloc(*array, more * element_size);
    if (!grown) return false;
    *array = grown;
    *room = more;
    return true;
}

size_t dist__smallest_add(struct dist__smallest *smallest, size_t index) {
    if (smallest->limit == 0) return SIZE_MAX;
    size_t at = smallest->count;
    while (at > 0 && smallest->index[at - 1] > index) at--;
    bool known = at > 0 && smallest->index[at - 1] == index;
    if (at < smallest->limit && !known) {
        bool full = smallest->count == smallest->limit;
        void *array = smallest->index;
        if (!full && !grow(&array, smallest->count, &smallest->room, sizeof *smallest->index))
            return SIZE_MAX;
        smallest->index = array;
        size_t moved = smallest->count - at - (full ? 1 : 0);
        memmove(&smallest->index[at + 1], &smallest->index[at], moved * sizeof *smallest->index);
        smallest->index[at] = index;
        smallest->count += full ? 0 : 1;
    }
    if (smallest->count < smallest->limit) return SIZE_MAX;
    return smallest->index[smallest->limit - 1];
}

void dist__smallest_free(struct dist__smallest *smallest) { free(smallest->index); }

void dist__outcome_init(struct dist__outcome *outcome, size_t limit, bool keep_all) {
    atomic_init(&outcome->stop, SIZE_MAX);
    outcome->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    outcome->keep_all = keep_all;
    outcome->smallest = (struct dist__smallest){.limit = limit};
    outcome->failed_count = outcome->kept_count = outcome->failed_room = 0;
    outcome->failed = NULL;
    outcome->skipped = NULL;
    outcome->skipped_count = outcome->skipped_room = 0;
    outcome->incomplete = false;
    outcome->order = NULL;
    outcome->unused = NULL;
}

void dist__outcome_free(struct dist__outcome *outcome) {
    pthread_mutex_destroy(&outcome->lock);
    dist__smallest_free(&outcome->smallest);
    free(outcome->failed);
    free(outcome->skipped);
    free(outcome->unused);
}

static void keep(struct dist__outcome *outcome, const dist_error *error) {
    void *array = outcome->failed;
    if (!grow(&array, outcome->kept_count, &outcome->failed_room, sizeof *error)) {
        outcome->incomplete = true;
        return;
    }
    outcome->failed = array;
    outcome->failed[outcome->kept_count++] = *error;
}

static void lower_stop(struct dist__outcome *outcome, size_t stop) {
    /* relaxed: see dist__outcome_past_stop; written under the lock */
    if (stop < atomic_load_explicit(&outcome->stop, memory_order_relaxed))
        atomic_store_explicit(&outcome->stop, stop, memory_order_relaxed);
}

void dist__outcome_fail(struct dist__outcome *outcome, const dist_error *error) {
    pthread_mutex_lock(&outcome->lock);
    if (outcome->failed_count == 0 || error->index < outcome->lowest.index)
        outcome->lowest = *error;
    if (outcome->keep_all) keep(outcome, error);
    outcome->failed_count++;
    lower_stop(outcome, dist__smallest_add(&outcome->smallest, error->index));
    pthread_mutex_unlock(&outcome->lock);
}

static size_t index_of(const struct dist__outcome *outcome, size_t position) {
    return outcome->order ? outcome->order[position] : position;
}

void dist__outcome_find(struct dist__outcome *outcome, size_t index, dist_error *error) {
    pthread_mutex_lock(&outcome->lock);
    size_t k = outcome->kept_count;
    while (k > 0 && index_of(outcome, outcome->failed[k - 1].index) != index) k--;
    if (k > 0) {
        *error = outcome->failed[k - 1];
        error->index = index;
    }
    pthread_mutex_unlock(&outcome->lock);
}

void dist__outcome_cut(struct dist__outcome *outcome, size_t index) {
    pthread_mutex_lock(&outcome->lock);
    lower_stop(outcome, index);
    pthread_mutex_unlock(&outcome->lock);
}

void dist__outcome_skip(struct dist__outcome *outcome, size_t begin, size_t end) {
    if (begin >= end || !outcome->keep_all) return; /* only a job can be asked for it */
    pthread_mutex_lock(&outcome->lock);
    void *array = outcome->skipped;
    if (grow(&array, outcome->skipped_count, &outcome->skipped_room, sizeof *outcome->skipped)) {
        outcome->skipped = array;
        outcome->skipped[outcome->skipped_count++] = (struct dist__span){begin, end};
    } else {
        outcome->incomplete = true;
    }
    pthread_mutex_unlock(&outcome->lock);
}

static int by_index(const void *a, const void *b) {
    size_t x = ((const dist_error *)a)->index, y = ((const dist_error *)b)->index;
    return (x > y) - (x < y);
}

static int by_begin(const void *a, const void *b) {
    size_t x = ((const struct dist__span *)a)->begin, y = ((const struct dist__span *)b)->begin;
    return (x > y) - (x < y);
}

bool dist__outcome_order(struct dist__outcome *outcome, const size_t *order, size_t n) {
    if (outcome->keep_all && !(outcome->unused = malloc(n * sizeof *outcome->unused))) return false;
    outcome->order = order;
    return true;
}

/* Each item of a span by itself: neighbours are not neighbours any more. */
static void translate_spans(struct dist__outcome *outcome) {
    size_t count = 0;
    for (size_t k = 0; k < outcome->skipped_count; k++)
        for (size_t i = outcome->skipped[k].begin; i < outcome->skipped[k].end; i++) {
            size_t index = outcome->order[i];
            outcome->unused[count++] = (struct dist__span){index, index + 1};
        }
    free(outcome->skipped);
    outcome->skipped = outcome->unused;
    outcome->skipped_count = outcome->skipped_room = count;
    outcome->unused = NULL;
}

void dist__outcome_translate(struct dist__outcome *outcome) {
    if (outcome->keep_all) translate_spans(outcome);
    pthread_mutex_lock(&outcome->lock); /* somebody may be looking for one of them */
    for (size_t k = 0; k < outcome->kept_count; k++)
        outcome->failed[k].index = outcome->order[outcome->failed[k].index];
    outcome->order = NULL;
    pthread_mutex_unlock(&outcome->lock);
}

void dist__outcome_sort(struct dist__outcome *outcome) {
    pthread_mutex_lock(&outcome->lock); /* somebody may be looking for one of them */
    if (outcome->failed) qsort(outcome->failed, outcome->kept_count, sizeof(dist_error), by_index);
    pthread_mutex_unlock(&outcome->lock);
    if (outcome->skipped_count == 0) return;
    struct dist__span *span = outcome->skipped;
    qsort(span, outcome->skipped_count, sizeof *span, by_begin);
    size_t last = 0;
    for (size_t i = 1; i < outcome->skipped_count; i++) {
        if (span[i].begin <= span[last].end) {
            if (span[i].end > span[last].end) span[last].end = span[i].end;
        } else {
            span[++last] = span[i];
        }
    }
    outcome->skipped_count = last + 1;
}
