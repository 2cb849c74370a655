/* progress.c - one line on the terminal that says how far a part is. */
#include "demo.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct progress {
    _Atomic(size_t) done; /* tasks add to it, in whatever thread or process they run */
    size_t total;         /* this and the rest: written between two calls only */
    bool visible;         /* stderr is a terminal */
    const char *part, *way;
};
static_assert(ATOMIC_LONG_LOCK_FREE == 2, "the count is shared between processes");

struct progress *progress_open(void) {
    struct progress *progress =
        mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED) {
        complain("no shared memory: %s", strerror(errno));
        return NULL;
    }
    progress->visible = isatty(STDERR_FILENO);
    return progress;
}

void progress_close(struct progress *progress) {
    if (progress) munmap(progress, sizeof *progress);
}

void progress_start(struct progress *progress, const char *part, const char *way, size_t total) {
    /* relaxed: no task runs now; starting the call publishes it to those that will */
    atomic_store_explicit(&progress->done, 0, memory_order_relaxed);
    progress->total = total;
    progress->part = part;
    progress->way = way;
}

void progress_step(struct progress *progress) {
    /* relaxed: it is only a count */
    size_t before = atomic_fetch_add_explicit(&progress->done, 1, memory_order_relaxed);
    size_t percent = (before + 1) * 100 / progress->total;
    if (!progress->visible || percent == before * 100 / progress->total) return;
    char line[80]; /* written at once, past stdio: lines of two tasks do not mix */
    int length =
        snprintf(line, sizeof line, "\r%-6s %-8s %3zu %% ", progress->part, progress->way, percent);
    if (write(STDERR_FILENO, line, (size_t)length) < 0) return; /* nothing depends on it */
}

void progress_end(struct progress *progress) {
    static const char clear[] = "\r\033[K";
    if (progress->visible && write(STDERR_FILENO, clear, sizeof clear - 1) < 0) return;
}
