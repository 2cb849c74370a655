/* measure.h - takes the samples of a row, and what follows from them. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "rival.h"

struct spread {
    double median, min, max;
};

struct cell {
    enum state state;
    char note[160];
    int count;
    double ns[MAX_ROUNDS]; /* of one call, by round; 0: no sample */
    struct spread time;    /* in the work's unit */
    double relative;       /* time in serial loops of the same round, or in ideal times; median */
    struct spread score;
    double to_peer; /* relative, over that of the best peer; 0: there is none */
};

struct result {
    const struct work *work;
    const struct row *row;
    size_t columns;
    struct cell cells[MAX_COLUMNS];
    int best_peer;     /* a column, or -1 */
    double other_load; /* part of the CPU time of the rounds that others used */
    double seconds;
    char skipped[96]; /* why the row was not measured, or "" */
};

void measure(struct result *r, const struct work *work, const struct row *row,
             const struct config *config);

#endif
