/* flow.h - the load as items of 64 bytes that go through a queue: producers put them in, consumers
 * take them out and run their tasks. A competitor is a queue. */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "peer.h"

enum { FLOW_CAPACITY = 1024, FLOW_LAST = 0x7fffffff };

struct flow_item {
    uint32_t index; /* of the load; FLOW_LAST: the consumer is to end */
    uint32_t value;
    unsigned char ballast[56];
};

struct flow { /* both wait */
    void (*put)(void *queue, const struct flow_item *item);
    void (*get)(void *queue, struct flow_item *item);
};

/* Half of the load's workers put, the others get. */
const char *flow_run(struct load *l, const struct flow *flow, void *queue);

#endif
