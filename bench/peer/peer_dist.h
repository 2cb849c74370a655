/* peer_dist.h - what the competitors that are dist itself share. */
#ifndef BENCH_PEER_DIST_H
#define BENCH_PEER_DIST_H

#include "peer.h"

#include <dist/dist.h>
#include <stdio.h>

/* What a variant gives back for this end of a call. */
static inline const char *answer(dist_status status) {
    static char text[256];
    if (status == DIST_OK) return NULL;
    snprintf(text, sizeof text, "%s %s: %s", status == DIST_UNSUPPORTED ? "missing" : "fail",
             dist_status_name(status), dist_last_error()->message);
    return text;
}

static inline int dist_main(int argc, char **argv, const struct variant *variants) {
    char what[64];
    snprintf(what, sizeof what, "dist %s", dist_version());
    return peer_main(argc, argv, what, variants);
}

#endif
