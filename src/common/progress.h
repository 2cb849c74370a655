/* progress.h - a progress bar on stderr, if that is a terminal. Calls that end soon draw nothing.
 */
#ifndef DIST_COMMON_PROGRESS_H
#define DIST_COMMON_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dist__progress {
    const char *title;
    size_t total;
    uint64_t begin_ns, due_ns; /* CLOCK_MONOTONIC; due: of the next redraw, UINT64_MAX: never */
    bool drawn;                /* at least once */
};

/* Nothing is drawn if `title` is NULL, or stderr is no terminal that can draw a line again. */
void dist__progress_begin(struct dist__progress *progress, const char *title, size_t total);

/* When to redraw next, by dist__now_ns; UINT64_MAX: never. */
static inline uint64_t dist__progress_due_ns(const struct dist__progress *progress) {
    return progress->due_ns;
}

/* Draws if it is time to. `done` items have ended, `failed` of them by a failure. */
void dist__progress_draw(struct dist__progress *progress, size_t done, size_t failed);

/* Draws how it ended, and goes to the next line; nothing if the call was short. */
void dist__progress_end(struct dist__progress *progress, size_t done, size_t failed);

/* Seconds until the rest is done if it goes on like this; 0: unknown, or nothing is left. */
double dist__progress_eta(size_t done, size_t total, double seconds);

struct dist__progress_state { /* what a line tells */
    const char *title;
    size_t done, total, failed;
    double seconds; /* since the begin */
    bool ended;
};

enum { DIST__PROGRESS_LINE = 1024 }; /* bytes that a line has at most */

/* Writes the line that draws this state over the one before, without a final zero: it begins with
 * \r, takes fewer than `columns` columns, and clears what stands behind it. Returns its length. */
size_t dist__progress_line(char line[static DIST__PROGRESS_LINE], unsigned columns,
                           const struct dist__progress_state *state);

#endif
