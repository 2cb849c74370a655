/* works.h - what is measured, as data. */
#ifndef BENCH_WORKS_H
#define BENCH_WORKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind { SERIAL, DIST, PEER };

/* A competitor in one work: a program, which of its variants, and what its time is compared with.
 */
struct column {
    const char *label, *program, *variant;
    enum kind kind;
    int base; /* the column of its serial loop; NO_BASE: there is none */
};

enum { NO_BASE = -1, MAX_COLUMNS = 12, MAX_ROUNDS = 99 };

struct size {
    size_t n, size;
    uint64_t sample_ns;
};

struct row {
    const char *label;
    const char *load;
    struct size full, quick;
    unsigned workers;
    int rounds;
    bool fresh; /* a new process for each sample, and no warm-up: the cost of the first call */
};

/* What the score of a competitor says, from its time, its serial loop's or the ideal time. */
enum score { SPEED_UP, EFFICIENCY, TIMES_IDEAL };

struct work {
    const char *id, *title;
    const char *unit;
    double unit_ns;
    bool per_item; /* time is for one item, else for one call */
    enum score score;
    const struct column *columns; /* the last has no label */
    const struct row *rows;       /* likewise */
};

extern const struct work works[]; /* the last has no id */

size_t work_columns(const struct work *w);

#endif
