/* order.c - sorting tasks by priority, and back. */
#include "order.h"
#include "error.h"

#include <errno.h>
#include <stdlib.h>

struct rank {
    int priority;
    size_t index;
};

static int by_rank(const void *a, const void *b) {
    const struct rank *x = a, *y = b;
    if (x->priority != y->priority) return x->priority < y->priority ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static bool has_priorities(const struct dist__batch *batch) {
    for (size_t i = 0; batch->kind == DIST__PAR_TASKS && i < batch->n; i++)
        if (batch->tasks[i].priority) return true;
    return false;
}

static void sort(const struct dist__batch *batch, struct rank *rank, size_t *order,
                 dist_task *tasks) {
    size_t n = batch->n;
    for (size_t i = 0; i < n; i++) rank[i] = (struct rank){batch->tasks[i].priority, i};
    qsort(rank, n, sizeof *rank, by_rank);
    for (size_t i = 0; i < n; i++) {
        order[i] = rank[i].index;
        tasks[i] = batch->tasks[rank[i].index];
    }
}

dist_status dist__order_begin(struct dist__batch *batch) {
    if (!has_priorities(batch)) return DIST_OK;
    struct rank *rank = malloc(batch->n * sizeof *rank);
    size_t *order = malloc(batch->n * sizeof *order);
    dist_task *tasks = malloc(batch->n * sizeof *tasks);
    bool any = rank && order && tasks;
    if (any) sort(batch, rank, order, tasks);
    any = any && dist__outcome_order(&batch->outcome, order, batch->n);
    if (any) {
        batch->given = batch->tasks;
        batch->tasks = tasks;
        batch->order = order;
    } else {
        free(order);
        free(tasks);
    }
    free(rank);
    if (any) return DIST_OK;
    return dist__refuse(DIST_NOMEM, ENOMEM, "no memory to order %zu tasks", batch->n);
}

void dist__order_end(struct dist__batch *batch) {
    if (!batch->order) return;
    dist__outcome_translate(&batch->outcome);
    dist__outcome_sort(&batch->outcome);
    const void *tasks = batch->tasks, *order = batch->order;
    batch->tasks = batch->given;
    batch->order = NULL;
    free((void *)(uintptr_t)tasks);
    free((void *)(uintptr_t)order);
}
