#include "report.h"

static void text(FILE *f, const char *key, const char *value, const char *end) {
    fprintf(f, "\"%s\": \"", key);
    for (const char *c = value; *c; c++) {
        if ((unsigned char)*c < 0x20) fprintf(f, "\\u%04x", (unsigned)*c);
        else if (*c == '"' || *c == '\\') fprintf(f, "\\%c", *c);
        else fputc(*c, f);
    }
    fprintf(f, "\"%s", end);
}

static void spread(FILE *f, const char *key, const struct spread *s) {
    fprintf(f, "\"%s\": {\"median\": %.6g, \"min\": %.6g, \"max\": %.6g}, ", key, s->median, s->min,
            s->max);
}

static void head(FILE *f, const struct run *run) {
    const struct machine *m = &run->machine;
    fprintf(f, "  ");
    text(f, "command", run->command, ",\n  ");
    text(f, "commit", m->commit, ",\n  ");
    text(f, "compiler", BENCH_COMPILER, ",\n  \"machine\": {");
    text(f, "cpu", m->cpu, ", ");
    text(f, "kernel", m->kernel, ", ");
    text(f, "huge_pages", m->huge_pages, ", ");
    text(f, "load", m->load, ", ");
    fprintf(f, "\"cpus\": %u, \"online\": %u, \"memory_gib\": %.1f},\n", m->cpus, m->online,
            m->memory_gib);
    fprintf(f, "  \"quick\": %s,\n", run->config.quick ? "true" : "false");
}

static const char *status(const struct cell *c) {
    if (c->count) return "measured";
    return c->state == MISSING ? "missing" : "failed";
}

/* By round, so that those of one round stand together; null where a competitor sat out. */
static void samples(FILE *f, const struct cell *c) {
    int rounds = 0;
    for (int k = 0; k < MAX_ROUNDS; k++)
        if (c->ns[k] > 0) rounds = k + 1;
    fprintf(f, "\"samples_ns\": [");
    for (int k = 0; k < rounds; k++) {
        if (k) fprintf(f, ", ");
        if (c->ns[k] > 0) fprintf(f, "%.6g", c->ns[k]);
        else fprintf(f, "null");
    }
    fprintf(f, "]}");
}

static void competitor(FILE *f, const struct column *column, const struct cell *c) {
    fprintf(f, "      {");
    text(f, "name", column->label, ", ");
    text(f, "kind", kind_name(column->kind), ", ");
    text(f, "status", status(c), ", ");
    text(f, "note", c->note, ", ");
    if (c->count) spread(f, "time", &c->time);
    if (c->score.median > 0) spread(f, "score", &c->score);
    if (c->to_peer > 0) fprintf(f, "\"over_best_peer\": %.4f, ", c->to_peer);
    samples(f, c);
}

static void result(FILE *f, const struct result *r) {
    fprintf(f, "    {");
    text(f, "work", r->work->id, ", ");
    text(f, "title", r->work->title, ", ");
    text(f, "row", r->row->label, ",\n     ");
    text(f, "unit", r->work->unit, ", ");
    text(f, "score", score_name(r->work->score), ", ");
    if (r->best_peer >= 0) text(f, "best_peer", r->work->columns[r->best_peer].label, ", ");
    if (r->skipped[0]) text(f, "skipped", r->skipped, ", ");
    fprintf(f, "\"other_load\": %.3f, \"seconds\": %.2f, \"competitors\": [\n", r->other_load,
            r->seconds);
    for (size_t k = 0; k < r->columns; k++) {
        competitor(f, &r->work->columns[k], &r->cells[k]);
        fprintf(f, k + 1 < r->columns ? ",\n" : "\n");
    }
    fprintf(f, "    ]}");
}

bool write_json(const char *path, const struct run *run) {
    FILE *f = fopen(path, "we");
    if (!f) return false;
    fprintf(f, "{\n");
    head(f, run);
    fprintf(f, "  \"results\": [\n");
    for (size_t k = 0; k < run->count; k++) {
        result(f, &run->results[k]);
        fprintf(f, k + 1 < run->count ? ",\n" : "\n");
    }
    fprintf(f, "  ]\n}\n");
    return fclose(f) == 0;
}
