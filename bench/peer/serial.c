/* The plain loop: what parallelism is measured against. */
#include "peer.h"

#include <string.h>

static const char *loop(struct load *l) {
    /* Through volatile: the compiler must not learn which function it is. */
    bench_task *volatile opaque = l->task;
    bench_task *task = opaque;
    const uint32_t *items = l->items;
    uint32_t *out = l->out;
    for (size_t i = 0, n = l->n; i < n; i++) task(&out[i], &items[i], NULL);
    return NULL;
}

static const char *copy(struct load *l) {
    for (size_t i = 0; i < l->n; i++)
        memcpy(l->to + i * l->buffer, l->from + i * l->buffer, l->buffer);
    return NULL;
}

static const struct variant variants[] = {{"loop", loop}, {"copy", copy}, {0}};

int main(int argc, char **argv) { return peer_main(argc, argv, "serial loop", variants); }
