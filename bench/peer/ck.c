/* Concurrency Kit's ck_ring for many producers and consumers. It does not wait: who finds it full
 * or empty lets others run, and tries again. */
#include "flow.h"

#include <ck_ring.h>
#include <sched.h>
#include <stdlib.h>

CK_RING_PROTOTYPE(flow, flow_item)

static ck_ring_t ring;
static struct flow_item *slots;

static void put(void *unused, const struct flow_item *item) {
    (void)unused;
    struct flow_item copy = *item;
    while (!CK_RING_ENQUEUE_MPMC(flow, &ring, slots, &copy)) sched_yield();
}

static void get(void *unused, struct flow_item *item) {
    (void)unused;
    while (!CK_RING_DEQUEUE_MPMC(flow, &ring, slots, item)) sched_yield();
}

static const char *queue(struct load *l) {
    if (!slots && !(slots = calloc(FLOW_CAPACITY, sizeof *slots))) return "fail no memory";
    ck_ring_init(&ring, FLOW_CAPACITY);
    return flow_run(l, &(struct flow){put, get}, NULL);
}

static const struct variant variants[] = {{"queue", queue}, {0}};

int main(int argc, char **argv) { return peer_main(argc, argv, "ck_ring", variants); }
