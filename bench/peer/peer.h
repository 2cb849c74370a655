/* peer.h - a competitor: a program that runs a load in its own way, on command.
 *
 * The driver starts it with key=value arguments (struct params) and talks to it in lines:
 *
 *     competitor: hello WHAT IT IS     once, on start
 *     driver:     warm                 run and repeat until the length of a sample is known
 *     competitor: ok
 *     driver:     run                  take a sample
 *     competitor: 123.4                nanoseconds of one call
 *
 * "missing WHY" instead of an answer: this variant is not built; "fail WHY": it went wrong. The end
 * of input ends the program. Between two commands it has nothing to do but to sleep in read().
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "load.h"

#ifdef __cplusplus
extern "C" {
#endif

struct variant {
    const char *name;
    /* Runs the load once. Returns NULL or an answer to give instead ("fail WHY", "missing WHY"). */
    const char *(*run)(struct load *l);
};

/* The whole main() of a competitor. The last variant has no name. */
int peer_main(int argc, char **argv, const char *what, const struct variant *variants);

#ifdef __cplusplus
}
#endif

#endif
