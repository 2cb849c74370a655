/* contract_mail.h - what the themes about single items in pools of processes share. */
#ifndef DIST_TEST_CONTRACT_MAIL_H
#define DIST_TEST_CONTRACT_MAIL_H

#include "contract_pools.h"

#include <unistd.h>

#define MAIL_CASE(id_, name_) CASE_ON(id_, name_, ON_PROCESS, 60)

static inline int add_one(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = *(const int *)item + 1;
    return 0;
}

static inline int own_pid(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(pid_t *)result = getpid();
    return 0;
}

static _Atomic(unsigned) *gate, *begun; /* shared, as of the opening of pools */

static inline void new_gate(void) {
    gate = shared_memory(sizeof *gate);
    begun = shared_memory(sizeof *begun);
}

/* Adds one, once the gate is open. */
static inline int pass_gate(void *result, const void *item, void *ctx) {
    count(begun);
    while (!counted(gate)) nap(0.0005);
    return add_one(result, item, ctx);
}

#endif
