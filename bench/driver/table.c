#include "report.h"

const char *kind_name(enum kind kind) {
    return kind == SERIAL ? "serial" : kind == DIST ? "dist" : "peer";
}

const char *score_name(enum score score) {
    return score == SPEED_UP ? "speed-up" : score == EFFICIENCY ? "efficiency" : "x ideal";
}

void print_head(FILE *f, const struct run *run) {
    const struct machine *m = &run->machine;
    fprintf(f, "machine   %s, %u of %u CPUs, %.1f GiB, %s\n", m->cpu, m->cpus, m->online,
            m->memory_gib, m->kernel);
    fprintf(f, "state     load %s, transparent huge pages %s\n", m->load, m->huge_pages);
    fprintf(f, "compiler  %s\n", BENCH_COMPILER);
    fprintf(f, "commit    %s\n", m->commit);
    fprintf(f, "command   %s\n", run->command);
    fprintf(f,
            "Median, minimum and maximum of n rounds after a warm-up; in a round each competitor "
            "runs once.\n/peer is time over the best peer's: below 1 is faster than every peer.\n");
    if (run->config.quick)
        fprintf(f, "QUICK: smaller than the titles say, and too few rounds to compare anything.\n");
    fflush(f);
}

static void print_cell(FILE *f, const struct column *column, const struct cell *c) {
    if (!c->count) {
        fprintf(f, "  %-22s %s\n", column->label, c->note);
        return;
    }
    fprintf(f, "  %-22s %#9.4g %#9.4g %#9.4g %4d", column->label, c->time.median, c->time.min,
            c->time.max, c->count);
    if (c->score.median > 0) fprintf(f, " %#10.4g", c->score.median);
    if (c->score.median > 0 && c->to_peer > 0) fprintf(f, " %7.3f", c->to_peer);
    if (c->state != READY) fprintf(f, "  %s", c->note);
    fprintf(f, "\n");
}

void print_result(FILE *f, const struct result *r) {
    fprintf(f, "\n%s  %s: %s\n", r->work->id, r->work->title, r->row->label);
    if (r->skipped[0]) {
        fprintf(f, "  skipped: %s\n", r->skipped);
        return;
    }
    fprintf(f, "  %-22s %9s %9s %9s %4s %10s %7s\n", r->work->unit, "median", "min", "max", "n",
            score_name(r->work->score), "/peer");
    for (size_t k = 0; k < r->columns; k++) print_cell(f, &r->work->columns[k], &r->cells[k]);
    if (r->other_load > DISTURBED)
        fprintf(f, "  DISTURBED: other programs used %.0f %% of the CPUs\n", 100 * r->other_load);
    fflush(f);
}

static void print_ratios(FILE *f, const struct result *r) {
    if (r->best_peer < 0) return;
    fprintf(f, "%-3s %-32s", r->work->id, r->row->label);
    for (size_t k = 0; k < r->columns; k++)
        if (r->work->columns[k].kind == DIST && r->cells[k].count)
            fprintf(f, "%s %.3f;", r->work->columns[k].label, r->cells[k].to_peer);
    fprintf(f, " best peer: %s\n", r->work->columns[r->best_peer].label);
}

void print_summary(FILE *f, const struct run *run) {
    fprintf(f, "\ndist / best peer, in time\n");
    for (size_t k = 0; k < run->count; k++) print_ratios(f, &run->results[k]);
}
