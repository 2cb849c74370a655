/* meter.h - how long the tasks of a call take, if somebody will ask: see dist_job_stats. Each
 * worker writes its own meter; they are added up when the call is over. */
#ifndef DIST_COMMON_METER_H
#define DIST_COMMON_METER_H

#include "os.h"
#include "task.h"

#include <stdalign.h>

/* Durations in nanoseconds: below 8 one bucket each, above that eight for each power of two, up to
 * 2^40 (18 minutes) and beyond. */
enum { DIST__METER_BUCKETS = 8 + 8 * (40 - 3) };

struct dist__control;
struct dist__note;

struct dist__meter {            /* of one worker's place */
    alignas(64) uint64_t began; /* when the task that runs now began; 0: none does */
    uint64_t tasks, retried, busy_ns, longest_ns, cpu_ns;
    uint64_t count[DIST__METER_BUCKETS]; /* of tasks, by duration */
};

struct dist__meters {
    uint64_t began; /* the call */
    size_t bytes;
    bool shared;
    size_t lost; /* worker processes; this and what follows is the supervisor's */
    uint64_t cpu_ns;
    size_t peak_rss;
    unsigned width;
    struct dist__meter worker[];
};

/* NULL without memory: then nothing is measured. `shared`: with worker processes. */
struct dist__meters *dist__meters_new(unsigned width, bool shared);

/* Adds up what the workers have left, when all have, and frees it. */
void dist__meters_end(struct dist__meters *meters, dist_stats *stats);

/* Around a task of a record that has a meter. */
void dist__meter_begin(struct dist__record *record);
void dist__meter_end(struct dist__record *record);

/* A worker process is dead and reaped; `lost`: before its work was done. NULL: nothing. */
void dist__meters_bury(struct dist__meters *meters, unsigned place, const struct dist__exit *end,
                       bool lost);

/* For workers that may outlive the call, and have no meter: what they tell. */
void dist__meters_hear(const struct dist__control *control, const struct dist__note *note);

/* Which bucket a duration is in, and the middle of one. */
unsigned dist__meter_bucket(uint64_t ns);
uint64_t dist__meter_middle(unsigned bucket);

#endif
