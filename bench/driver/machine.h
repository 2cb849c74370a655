/* machine.h - where a run took place, and who else was there. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include "rival.h"

struct machine {
    char cpu[128], kernel[256], huge_pages[64], load[64], commit[96];
    unsigned cpus, online;
    double memory_gib;
};

void machine_describe(struct machine *m);
unsigned machine_cpus(void); /* that this process may use */
double machine_free_bytes(void);
uint64_t machine_spin(void); /* iterations of bench_spin in 1 ms */

/* More than this part of the CPUs in other hands, and figures are not to be trusted. */
#define DISTURBED 0.05

struct usage {
    double seconds; /* on the clock */
    double all;     /* CPU seconds of the machine, stolen ones included */
    double own;     /* CPU seconds of this process, its children that have ended, and the rivals */
};

struct usage machine_usage(const struct rival *rivals, size_t count);

/* CPU time between the two: in all that there was, and what of it others used. The latter can be
 * negative, since it is counted in steps of 10 ms: over many rounds the errors cancel out. */
struct share {
    double room, other;
};
struct share machine_share(const struct usage *before, const struct usage *after);

#endif
