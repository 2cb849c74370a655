/* meter.c - how long tasks take. */
#include "meter.h"
#include "control.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CPU_LOOK_NS = 20000 }; /* between looks at the thread's CPU clock, a system call */

struct dist__meters *dist__meters_new(unsigned width, bool shared) {
    size_t bytes = sizeof(struct dist__meters) + width * sizeof(struct dist__meter);
    struct dist__meters *meters;
    if (shared) {
        meters = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (meters == MAP_FAILED) return NULL;
    } else {
        meters = aligned_alloc(alignof(struct dist__meters), bytes);
        if (!meters) return NULL;
        memset((void *)meters, 0, bytes);
    }
    meters->began = dist__now_ns();
    meters->bytes = bytes;
    meters->shared = shared;
    meters->width = width;
    return meters;
}

/* ------------------------------------------------------------------ durations */

unsigned dist__meter_bucket(uint64_t ns) {
    if (ns < 8) return (unsigned)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns); /* the highest bit, 3 or more */
    unsigned bucket = 8 * (power - 2) + (unsigned)(ns >> (power - 3) & 7);
    return bucket < DIST__METER_BUCKETS ? bucket : DIST__METER_BUCKETS - 1;
}

uint64_t dist__meter_middle(unsigned bucket) {
    if (bucket < 8) return bucket;
    unsigned shift = bucket / 8 - 1; /* the bucket is 2^shift wide */
    return ((uint64_t)(8 + bucket % 8) << shift) + (UINT64_C(1) << shift) / 2;
}

static void add(struct dist__meter *meter, uint64_t took_ns) {
    meter->tasks++;
    meter->busy_ns += took_ns;
    meter->count[dist__meter_bucket(took_ns)]++;
    if (took_ns > meter->longest_ns) meter->longest_ns = took_ns;
}

void dist__meter_begin(struct dist__record *record) {
    struct dist__meter *meter = record->meter;
    if (record->attempt > 1) meter->retried++;
    meter->began = record->follows ? record->metered_ns : dist__now_ns();
    record->follows = false;
    if (record->cpu_looked) return;
    record->cpu_looked = meter->began;
    record->cpu_ns = dist__cpu_ns(CLOCK_THREAD_CPUTIME_ID);
}

void dist__meter_end(struct dist__record *record) {
    struct dist__meter *meter = record->meter;
    uint64_t now = dist__now_ns(), began = meter->began;
    record->metered_ns = now;
    meter->began = 0;
    add(meter, now - began);
    /* of a worker process the system tells when it has ended */
    if (record->company == DIST__FORKED || now - record->cpu_looked < CPU_LOOK_NS) return;
    uint64_t cpu_ns = dist__cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    meter->cpu_ns += cpu_ns - record->cpu_ns;
    record->cpu_ns = cpu_ns;
    record->cpu_looked = now;
}

void dist__meters_bury(struct dist__meters *meters, unsigned place, const struct dist__exit *end,
                       bool lost) {
    if (!meters) return;
    struct dist__meter *meter = &meters->worker[place];
    uint64_t now = dist__now_ns();
    if (meter->began >= meters->began && meter->began <= now) add(meter, now - meter->began);
    meter->began = 0;
    meters->lost += lost;
    meters->cpu_ns += end->cpu_ns;
    if (end->peak_rss > meters->peak_rss) meters->peak_rss = end->peak_rss;
}

void dist__meters_hear(const struct dist__control *control, const struct dist__note *note) {
    if (!control->meters || (note->kind != DIST__SUCCEEDED && note->kind != DIST__FAILED)) return;
    if (note->took_ns == 0) return; /* it goes on, and the call does not */
    struct dist__meter *meter = &control->meters->worker[note->worker % control->meters->width];
    add(meter, note->took_ns);
    meter->retried += dist__attempts_of(control, note->begin) > 1;
}

/* ------------------------------------------------------------------ the end */

static double seconds(uint64_t ns) { return (double)ns * 1e-9; }

/* The duration that so many of all tasks do not exceed. */
static double percentile(const struct dist__meter *all, unsigned percent) {
    uint64_t rank = (all->tasks * percent + 99) / 100, below = 0;
    unsigned bucket = 0;
    while (bucket < DIST__METER_BUCKETS && (below += all->count[bucket]) < rank) bucket++;
    if (bucket >= DIST__METER_BUCKETS - 1) return seconds(all->longest_ns);
    uint64_t ns = dist__meter_middle(bucket);
    return seconds(ns < all->longest_ns ? ns : all->longest_ns);
}

static void add_up(const struct dist__meters *meters, struct dist__meter *all, unsigned *workers) {
    for (unsigned k = 0; k < meters->width; k++) {
        const struct dist__meter *one = &meters->worker[k];
        if (one->tasks == 0) continue;
        *workers += 1;
        all->tasks += one->tasks;
        all->retried += one->retried;
        all->busy_ns += one->busy_ns;
        all->cpu_ns += one->cpu_ns;
        if (one->longest_ns > all->longest_ns) all->longest_ns = one->longest_ns;
        for (unsigned b = 0; b < DIST__METER_BUCKETS; b++) all->count[b] += one->count[b];
    }
}

void dist__meters_end(struct dist__meters *meters, dist_stats *stats) {
    if (!meters) return;
    struct dist__meter all = {.began = 0};
    uint64_t wall_ns = dist__now_ns() - meters->began;
    add_up(meters, &all, &stats->workers);
    uint64_t places_ns = wall_ns * stats->workers;
    stats->tasks = all.tasks;
    stats->retried = all.retried;
    stats->workers_lost = meters->lost;
    stats->peak_rss = meters->peak_rss;
    stats->wall = seconds(wall_ns);
    stats->cpu = seconds(all.cpu_ns + meters->cpu_ns);
    stats->busy = seconds(all.busy_ns);
    stats->waiting = seconds(places_ns > all.busy_ns ? places_ns - all.busy_ns : 0);
    if (all.tasks) {
        stats->p50 = percentile(&all, 50);
        stats->p95 = percentile(&all, 95);
        stats->max = seconds(all.longest_ns);
    }
    if (meters->shared) munmap(meters, meters->bytes);
    else free(meters);
}
