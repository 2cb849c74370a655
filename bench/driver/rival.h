/* rival.h - a competitor's process, from the driver's side. ../peer/peer.h holds the protocol. */
#ifndef BENCH_RIVAL_H
#define BENCH_RIVAL_H

#include "works.h"

#include <sys/types.h>

enum state { READY, MISSING, FAILED };

struct rival {
    enum state state;
    char note[160]; /* what it is, or why it is not there */
    pid_t pid;      /* 0: no process */
    int in, out;    /* its standard input and output */
};

struct config {
    const char *folder; /* of the competitors' programs */
    bool quick;
    int rounds; /* 0: as the row says */
    int retry;  /* disturbed rounds to repeat, in multiples of the row's rounds */
    unsigned cpus;
    uint64_t spin; /* iterations of bench_spin in 1 ms */
};

static inline const struct size *row_size(const struct row *r, const struct config *c) {
    return c->quick ? &r->quick : &r->full;
}

/* On return the state says whether it can be used. */
void rival_start(struct rival *v, const struct column *column, const struct row *row,
                 const struct config *config);

/* False, and the process is gone, if it could not. */
bool rival_warm(struct rival *v);
bool rival_sample(struct rival *v, double *ns);

/* Waits, 100 ms at most, until all threads of the process sleep: some runtimes spin on after a call
 * in the hope of the next one, and must not do so on another competitor's time. */
void rival_settle(const struct rival *v);

void rival_stop(struct rival *v);

#endif
