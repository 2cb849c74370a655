/* dist itself, through its public interface. */
#include "peer.h"

#include <dist/dist.h>
#include <stdio.h>

static const char *answer(dist_status status) {
    static char text[256];
    if (status == DIST_OK) return NULL;
    snprintf(text, sizeof text, "%s %s: %s", status == DIST_UNSUPPORTED ? "missing" : "fail",
             dist_status_name(status), dist_last_error()->message);
    return text;
}

static const char *map(struct load *l) {
    return answer(dist_thread_map(l->task, l->items, l->n, l->out, .workers = l->workers));
}

static const char *map_2(struct load *l) {
    return answer(dist_thread_map(l->task, l->items, l->n, l->out, .workers = 2));
}

static const char *map_in_place(struct load *l) {
    return answer(dist_thread_map(l->task, l->items, l->n, l->out, .in_place = true));
}

static const char *loop(struct load *l) {
    return answer(dist_thread_for(l->index, l->n, .ctx = l, .workers = l->workers));
}

static const char *loop_2(struct load *l) {
    return answer(dist_thread_for(l->index, l->n, .ctx = l, .workers = 2));
}

static const char *process(struct load *l) {
    return answer(dist_process_map(l->task, l->items, l->n, l->out, .workers = l->workers));
}

static const struct variant variants[] = {
    {"map", map},  {"map-2", map_2},  {"map-in-place", map_in_place},
    {"for", loop}, {"for-2", loop_2}, {"process", process},
    {0},
};

int main(int argc, char **argv) {
    char what[64];
    snprintf(what, sizeof what, "dist %s", dist_version());
    return peer_main(argc, argv, what, variants);
}
