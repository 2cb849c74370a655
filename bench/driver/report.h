/* report.h - results as a table for people and as JSON for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "machine.h"
#include "measure.h"

#include <stdio.h>

struct run {
    const char *command;
    struct machine machine;
    struct config config;
    struct result *results;
    size_t count;
};

const char *kind_name(enum kind kind);
const char *score_name(enum score score);

void print_head(FILE *f, const struct run *run);
void print_result(FILE *f, const struct result *r);
void print_summary(FILE *f, const struct run *run);

bool write_json(const char *path, const struct run *run);

#endif
