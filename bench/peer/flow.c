#include "flow.h"

#include <pthread.h>
#include <string.h>

enum { SIDE_MOST = 8 };

struct part { /* a producer's items begin .. end-1; a consumer has none */
    struct load *load;
    const struct flow *flow;
    void *queue;
    size_t begin, end;
};

static void *produce(void *arg) {
    const struct part *part = arg;
    struct flow_item item;
    memset(&item, 0, sizeof item);
    for (size_t i = part->begin; i < part->end; i++) {
        item.index = (uint32_t)i;
        item.value = part->load->items[i];
        item.ballast[0] = (unsigned char)i;
        part->flow->put(part->queue, &item);
    }
    return NULL;
}

static void *consume(void *arg) {
    const struct part *part = arg;
    const struct load *l = part->load;
    struct flow_item item;
    for (;;) {
        part->flow->get(part->queue, &item);
        if (item.index == FLOW_LAST) return NULL;
        if (item.index < l->n && item.ballast[0] == (unsigned char)item.index)
            l->task(&l->out[item.index], &item.value, NULL);
    }
}

const char *flow_run(struct load *l, const struct flow *flow, void *queue) {
    pthread_t producer[SIDE_MOST], consumer[SIDE_MOST];
    struct part part[SIDE_MOST];
    size_t side = l->workers / 2;
    struct flow_item last = {.index = FLOW_LAST};
    if (side == 0 || side > SIDE_MOST) return "fail so many workers";
    for (size_t k = 0; k < side; k++) {
        part[k] = (struct part){l, flow, queue, l->n * k / side, l->n * (k + 1) / side};
        if (pthread_create(&consumer[k], NULL, consume, &part[k]) ||
            pthread_create(&producer[k], NULL, produce, &part[k]))
            return "fail no thread";
    }
    for (size_t k = 0; k < side; k++) pthread_join(producer[k], NULL);
    for (size_t k = 0; k < side; k++) flow->put(queue, &last);
    for (size_t k = 0; k < side; k++) pthread_join(consumer[k], NULL);
    return NULL;
}
