/* part.c - one task over the same items in three ways, measured and compared. */
#include "demo.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MAX_TRIES = 3 };

const char *const way_names[WAYS] = {"serial", "thread", "process"};

static double seconds_of(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

/* CPU time of this process and of its ended children. */
static double cpu_s(void) {
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return seconds_of(self.ru_utime) + seconds_of(self.ru_stime) + seconds_of(children.ru_utime) +
           seconds_of(children.ru_stime);
}

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

double part_cpus(const struct part *part, enum way way) {
    return part->cpu_s[way] / part->seconds[way];
}

/* Other work on the machine takes CPU time away; then the clock says little about the way. */
static bool was_disturbed(const struct part *part, enum way way) {
    return part->cpu_bound && part_cpus(part, way) < 0.9 * (way == SERIAL ? 1 : part->ideal);
}

static bool measure(struct part *part, enum way way, dist_fn task, const struct file *files,
                    void *ctx) {
    double start = now_s(), cpu_start = cpu_s();
    if (!run_way(way, task, files, part, ctx)) return false;
    double seconds = now_s() - start;
    if (part->tries[way]++ > 0 && seconds >= part->seconds[way]) return true;
    part->seconds[way] = seconds;
    part->cpu_s[way] = cpu_s() - cpu_start;
    return true;
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
        bool done;
        do {
            progress_start(progress, part->name, way_names[way], part->items);
            done = measure(part, way, task, files, ctx);
            progress_end(progress);
        } while (done && part->tries[way] < MAX_TRIES && was_disturbed(part, way));
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
