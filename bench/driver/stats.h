#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include "measure.h"

struct spread spread_of(const double *values, int count);

/* From the samples of all cells to their times, scores and ratios. */
void stats_fill(struct result *r, const struct config *config);

#endif
