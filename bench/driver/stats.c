#include "stats.h"

#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread spread_of(const double *values, int count) {
    double sorted[MAX_ROUNDS];
    if (count <= 0) return (struct spread){0};
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    double low = sorted[(count - 1) / 2], high = sorted[count / 2];
    return (struct spread){(low + high) / 2, sorted[0], sorted[count - 1]};
}

static struct spread time_of(const struct cell *c, double unit_ns) {
    double values[MAX_ROUNDS];
    int count = 0;
    for (int k = 0; k < MAX_ROUNDS; k++)
        if (c->ns[k] > 0) values[count++] = c->ns[k] / unit_ns;
    return spread_of(values, count);
}

/* Against the serial loop of the same round, since a disturbed machine slows both down. */
static int relatives(const struct cell *c, const struct cell *base, double ideal_ns,
                     double *values) {
    int count = 0;
    for (int k = 0; k < MAX_ROUNDS; k++) {
        double one = base ? base->ns[k] : ideal_ns;
        if (c->ns[k] > 0 && one > 0) values[count++] = c->ns[k] / one;
    }
    return count;
}

static void fill_score(struct cell *c, double *values, int count, enum score score, unsigned cpus) {
    c->relative = spread_of(values, count).median;
    for (int k = 0; k < count && score != TIMES_IDEAL; k++)
        values[k] = 1 / values[k] / (score == EFFICIENCY ? cpus : 1);
    c->score = spread_of(values, count);
}

static void fill_ratios(struct result *r) {
    r->best_peer = -1;
    for (size_t k = 0; k < r->columns; k++) {
        const struct cell *c = &r->cells[k];
        if (r->work->columns[k].kind != PEER || c->relative <= 0) continue;
        if (r->best_peer < 0 || c->relative < r->cells[r->best_peer].relative)
            r->best_peer = (int)k;
    }
    if (r->best_peer < 0) return;
    double best = r->cells[r->best_peer].relative;
    for (size_t k = 0; k < r->columns; k++) r->cells[k].to_peer = r->cells[k].relative / best;
}

void stats_fill(struct result *r, const struct config *config) {
    const struct size *size = row_size(r->row, config);
    double items = r->work->per_item ? (double)size->n : 1;
    double ideal_ns = r->row->workers ? (double)size->n * (double)size->size / r->row->workers : 0;
    for (size_t k = 0; k < r->columns; k++) {
        struct cell *c = &r->cells[k];
        int base = r->work->columns[k].base;
        double values[MAX_ROUNDS];
        c->time = time_of(c, r->work->unit_ns * items);
        int count = relatives(c, base == NO_BASE ? NULL : &r->cells[base], ideal_ns, values);
        fill_score(c, values, count, r->work->score, config->cpus);
    }
    fill_ratios(r);
}
