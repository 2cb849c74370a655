#include "measure.h"

#include "../peer/load.h"
#include "machine.h"
#include "stats.h"

#include <stdio.h>
#include <string.h>

/* A slow competitor takes part in fewer rounds: no more once it has had its seconds. */
enum { FEWEST_ROUNDS = 3 };
static const double BUDGET_NS = 8e9;

/* /proc counts in steps of 10 ms for each process: less than this is noise of the counting. */
static const double COUNTING_NOISE = 0.03;

struct session {
    struct result *result;
    const struct config *config;
    int rounds;
    struct rival rivals[MAX_COLUMNS];
};

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

/* A serial loop goes on for the sake of the others' ratios. */
static bool takes_part(const struct result *r, size_t at) {
    const struct cell *c = &r->cells[at];
    double spent = 0;
    for (int k = 0; k < MAX_ROUNDS; k++) spent += c->ns[k];
    bool has_time = c->count < FEWEST_ROUNDS || spent < BUDGET_NS;
    return c->state == READY && (has_time || r->work->columns[at].kind == SERIAL);
}

static void start(struct session *s, size_t at) {
    const struct result *r = s->result;
    rival_start(&s->rivals[at], &r->work->columns[at], r->row, s->config);
    keep_note(&s->result->cells[at], &s->rivals[at]);
}

static void warm_up(struct session *s) {
    for (size_t k = 0; k < s->result->columns; k++) start(s, k);
    for (size_t k = 0; k < s->result->columns; k++) {
        if (rival_warm(&s->rivals[k])) rival_settle(&s->rivals[k]);
        keep_note(&s->result->cells[k], &s->rivals[k]);
    }
}

/* Each round begins with another competitor, so that none always runs after the same one. */
static void run_round(struct session *s, int round) {
    struct result *r = s->result;
    for (size_t k = 0; k < r->columns; k++) {
        size_t at = ((size_t)round + k) % r->columns;
        if (!takes_part(r, at)) continue;
        if (r->row->fresh) start(s, at);
        take(&r->cells[at], &s->rivals[at], round);
        if (r->row->fresh) rival_stop(&s->rivals[at]);
    }
}

static struct share watch_round(struct session *s, int round) {
    struct usage before = machine_usage(s->rivals, s->result->columns);
    run_round(s, round);
    struct usage after = machine_usage(s->rivals, s->result->columns);
    return machine_share(&before, &after);
}

static void forget_round(struct result *r, int round) {
    for (size_t k = 0; k < r->columns; k++) {
        struct cell *c = &r->cells[k];
        c->count -= c->ns[round] > 0;
        c->ns[round] = 0;
    }
}

static void run_rounds(struct session *s) {
    struct share total = {0};
    int spare = s->config->retry * s->rounds;
    for (int round = 0; round < s->rounds; round++) {
        struct share share = watch_round(s, round);
        while (share.other > DISTURBED * share.room + COUNTING_NOISE && spare-- > 0) {
            forget_round(s->result, round);
            share = watch_round(s, round);
        }
        total.room += share.room;
        total.other += share.other;
    }
    s->result->other_load = total.room > 0 && total.other > 0 ? total.other / total.room : 0;
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
    struct session s = {.result = r, .config = config, .rounds = rounds};
    uint64_t begin = bench_now_ns();
    if (!row->fresh) warm_up(&s);
    run_rounds(&s);
    for (size_t k = 0; k < r->columns; k++) rival_stop(&s.rivals[k]);
    r->seconds = (double)(bench_now_ns() - begin) / 1e9;
    stats_fill(r, config);
}
