/* job.h - a call that has ended, or goes on by itself. */
#ifndef DIST_COMMON_JOB_H
#define DIST_COMMON_JOB_H

#include "backend.h"
#include "control.h"
#include "phase.h"

#include <sys/types.h>

enum { DIST__SKIPPED_BLOCK = 64 };

struct dist__skipped_block { /* neighbours, made when somebody asks for the outcome of one */
    size_t number;           /* of index / DIST__SKIPPED_BLOCK */
    dist_error error[DIST__SKIPPED_BLOCK];
};

/* A thread that waits for a job, and helps until it has what it waits for. */
struct dist__helper {
    bool (*enough)(const struct dist__helper *helper);
    struct dist_job *job;
    const struct dist__sight *sight; /* of one who waits for any of several jobs */
};

/* Runs parts of a call in the lender's hand, and gives back what `hold` has taken. False: there was
 * nothing to run. */
typedef bool dist__help(void *crew, struct dist__record *lender, const struct dist__helper *helper);

enum dist__item_fate { DIST__OPEN, DIST__WELL, DIST__BADLY, DIST__SKIPPED };

struct dist_job {
    _Atomic(uint32_t) phase; /* a futex; publishes how it ended [phase]. First: see light.h */
    struct dist__batch batch;
    dist_stats stats;                   /* of an ended one, but for `failed` */
    struct dist__skipped_block **asked; /* by number, ascending */
    size_t asked_count;

    /* All that follows only for a call that goes on by itself; see async.c. */
    struct dist__errand errand;      /* in a backend's hands once it is queued */
    struct dist_job *before, *after; /* in its pool's list, while `queued`; under the pool's lock */
    bool queued;
    _Atomic(uint64_t) turn;    /* see pool_turn in backend.h */
    bool counted;              /* in its quota: it has begun, and not ended; under the same lock */
    struct dist__quota *quota; /* of a stream's, or NULL; set before it is started */
    _Atomic(uint32_t) refs;    /* the caller's and the errand's [refs] */
    _Atomic(uint32_t) cancel;  /* asked for */
    const struct dist_job *below; /* that the thread which runs it was running, too */
    pid_t maker;
    const dist_task *tasks; /* of a par, as the caller gave them */
    dist_opts opts;
    const struct dist__backend *backend;
    struct dist__stage *stage; /* of a pipe, instead of a call; owned; NULL: it is a call */
    uint64_t took_ns;          /* its run */
    dist_status status;        /* how it ended, and why */
    dist_error why;

    pthread_mutex_t lock;          /* over all that follows, while it runs */
    struct dist__control *control; /* while it runs */
    void (*hold)(void *crew);      /* so that `crew` stays until it is helped; NULL: no help */
    dist__help *help;
    void *crew;
    uint8_t *item;             /* for each, a dist__item_fate */
    size_t *order;             /* .unordered: items as they ended; else NULL */
    size_t ended;              /* how many have */
    _Atomic(uint32_t) changes; /* a futex: items have ended; see phase.h */

    /* Of whoever calls dist_job_next. */
    size_t delivered, failed;
    bool hurried; /* a thread of its own has been started for it */
    dist_error error;
};

/* Has `job` run by itself: called by the door with a batch that was checked. NULL: refused. */
dist_job *dist__job_start(const struct dist__batch *batch, const struct dist__backend *backend,
                          const dist_opts *opts);

/* A stage instead of a call; takes it over, and tells it its job before that begins. */
dist_job *dist__job_start_stage(struct dist__stage *stage, dist_job **job,
                                const struct dist__backend *backend, const dist_opts *opts);

void dist__job_observe(struct dist_job *job, struct dist__span items, const dist_error *error);

/* As dist_job_outcome, of a call whose outcome is sorted. */
const dist_error *dist__job_outcome(const dist_job *job, size_t index);

/* Of an ended job: it did not come to its end by itself; and how long it ran. */
bool dist__job_cut(const dist_job *job);
uint64_t dist__job_took_ns(const dist_job *job);

/* How an ended job's call would have ended without .silent. */
dist_status dist__job_as_if_loud(const struct dist_job *job);

/* Of a job that nobody refers to any more. */
void dist__job_free(struct dist_job *job);

/* Of a pool (common/pool.h) that has taken the job off its list: has it begun; cancels it. Both
 * give up the list's reference. */
void dist__job_submit(struct dist_job *job);
void dist__job_drop(struct dist_job *job);

/* For async.c and await.c. */
enum dist__phase dist__job_phase(const struct dist_job *job);
bool dist__job_begin(struct dist_job *job); /* moves it to UNDER_WAY; false: it is not to be */
void dist__job_run_here(struct dist_job *job);

/* From its end on, whoever has waited for a job may give it up: who goes on with it refers to it.
 */
void dist__job_ref(struct dist_job *job);
void dist__job_unref(struct dist_job *job);

/* The job that this thread runs, or whose hook it is in; `below` leads to others. NULL: none. */
const struct dist_job *dist__job_running(void);

/* Of a job, light or not, that another process has made. */
dist_status dist__job_refuse_foreign(void);

/* DIST_OK, or why this thread must not wait for the job. */
dist_status dist__job_check(const struct dist_job *job);

/* Sleeps until it is there: asked again whenever a job has ended, or dist__tell_onlookers. */
void dist__await(bool (*there)(void *state), void *state);

/* While a job of a pool runs, by those who run it; NULL, all: not any more. */
void dist__job_offer(struct dist_job *job, void (*hold)(void *crew), dist__help *help, void *crew);

/* Around the run of a call that goes on by itself. */
void dist__job_joins(struct dist_job *job, struct dist__control *control);
void dist__job_leaves(struct dist_job *job);

#endif
