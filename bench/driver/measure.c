#include "measure.h"

#include "machine.h"
#include "stats.h"

#include <stdio.h>
#include <string.h>

/* A slow competitor takes part in fewer rounds: no more once it has had its seconds. */
enum { FEWEST_ROUNDS = 3 };
static const double BUDGET_NS = 8e9;

static void keep_note(struct cell *c, const struct rival *v) {
    c->state = v->state;
    memcpy(c->note, v->note, sizeof c->note);
}

static void take(struct cell *c, struct rival *v, int round) {
    double ns = 0;
    if (!rival_sample(v, &ns)) {
        keep_note(c, v);
        return;
    }
    c->ns[round] = ns;
    c->count++;
    rival_settle(v);
}

static bool has_time(const struct cell *c) {
    double spent = 0;
    for (int k = 0; k < MAX_ROUNDS; k++) spent += c->ns[k];
    return c->state == READY && (c->count < FEWEST_ROUNDS || spent < BUDGET_NS);
}

/* Each round begins with another competitor, so that none always runs after the same one. */
static size_t in_turn(const struct result *r, int round, size_t k) {
    return ((size_t)round + k) % r->columns;
}

static void measure_warm(struct result *r, const struct config *config, int rounds) {
    struct rival rivals[MAX_COLUMNS];
    for (size_t k = 0; k < r->columns; k++)
        rival_start(&rivals[k], &r->work->columns[k], r->row, config);
    for (size_t k = 0; k < r->columns; k++) {
        if (rival_warm(&rivals[k])) rival_settle(&rivals[k]);
        keep_note(&r->cells[k], &rivals[k]);
    }
    for (int round = 0; round < rounds; round++)
        for (size_t k = 0; k < r->columns; k++) {
            size_t at = in_turn(r, round, k);
            /* A serial loop goes on for the sake of the others' ratios. */
            bool serial = r->work->columns[at].kind == SERIAL && r->cells[at].state == READY;
            if (serial || has_time(&r->cells[at])) take(&r->cells[at], &rivals[at], round);
        }
    for (size_t k = 0; k < r->columns; k++) rival_stop(&rivals[k]);
}

static void measure_fresh(struct result *r, const struct config *config, int rounds) {
    for (int round = 0; round < rounds; round++)
        for (size_t k = 0; k < r->columns; k++) {
            size_t at = in_turn(r, round, k);
            struct rival v;
            if (!has_time(&r->cells[at])) continue;
            rival_start(&v, &r->work->columns[at], r->row, config);
            keep_note(&r->cells[at], &v);
            if (v.state == READY) take(&r->cells[at], &v, round);
            rival_stop(&v);
        }
}

/* Every competitor of a reading load holds its own copy of the memory. */
static bool fits(struct result *r, const struct config *config) {
    if (strncmp(r->row->load, "read-", 5) != 0) return true;
    double need = (double)row_size(r->row, config)->size * (double)(r->columns + 1);
    double have = machine_free_bytes();
    if (have >= need) return true;
    snprintf(r->skipped, sizeof r->skipped, "needs %.1f GiB of free memory, there are %.1f",
             need / (1u << 30), have / (1u << 30));
    return false;
}

void measure(struct result *r, const struct work *work, const struct row *row,
             const struct config *config) {
    int rounds = config->rounds ? config->rounds : config->quick ? 2 : row->rounds;
    *r = (struct result){.work = work, .row = row, .columns = work_columns(work), .best_peer = -1};
    if (!fits(r, config)) return;
    struct usage before = machine_usage();
    if (row->fresh) measure_fresh(r, config, rounds);
    else measure_warm(r, config, rounds);
    struct usage after = machine_usage();
    r->seconds = after.seconds - before.seconds;
    r->other_load = machine_other_load(&before, &after);
    stats_fill(r, config);
}
