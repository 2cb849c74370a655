/* part.c - one task over the same items in three ways, measured and compared. */
#include "demo.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const way_names[WAYS] = {"serial", "thread", "process"};

static bool run_serially(dist_fn task, const struct file *files, size_t n, struct sum *out,
                         void *ctx) {
    for (size_t i = 0; i < n; i++) {
        int code = task(&out[i], &files[i], ctx);
        if (code) {
            complain("the task failed on %s: %s", files[i].path, strerror(code));
            return false;
        }
    }
    return true;
}

static bool run_way(enum way way, dist_fn task, const struct file *files, const struct part *part,
                    void *ctx) {
    size_t n = part->items;
    struct sum *out = part->results[way];
    dist_status status = DIST_OK;
    switch (way) {
    case THREAD:
        status = dist_thread_map(task, files, n, out, .workers = part->workers, .ctx = ctx);
        break;
    case PROCESS:
        status = dist_process_map(task, files, n, out, .workers = part->workers, .ctx = ctx);
        break;
    default: return run_serially(task, files, n, out, ctx);
    }
    if (status == DIST_OK) return true;
    const dist_error *error = dist_last_error();
    const struct file *file = error->item;
    complain("%s, %s: %s%s%s: %s", part->name, way_names[way], dist_status_name(status),
             file ? " on " : "", file ? file->path : "", error->message);
    return false;
}

bool part_run(struct part *part, dist_fn task, const struct file *files, void *ctx,
              struct progress *progress) {
    size_t size = part->items * sizeof **part->results;
    for (enum way way = SERIAL; way < WAYS; way++) {
        part->results[way] = calloc(1, size);
        if (!part->results[way]) {
            complain("no memory for %zu results", part->items);
            return false;
        }
        progress_start(progress, part->name, way_names[way], part->items);
        double start = now_s();
        bool done = run_way(way, task, files, part, ctx);
        part->seconds[way] = now_s() - start;
        progress_end(progress);
        if (!done) return false;
    }
    part->identical = memcmp(part->results[SERIAL], part->results[THREAD], size) == 0 &&
                      memcmp(part->results[SERIAL], part->results[PROCESS], size) == 0;
    return true;
}

void part_free(struct part *part) {
    for (enum way way = SERIAL; way < WAYS; way++) free(part->results[way]);
}

double part_speedup(const struct part *part, enum way way) {
    return part->seconds[SERIAL] / part->seconds[way];
}
