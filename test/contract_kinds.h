/* contract_kinds.h - the five kinds of call with one task, and what the cases about limits,
 * retries and cancellation share. */
#ifndef DIST_TEST_CONTRACT_KINDS_H
#define DIST_TEST_CONTRACT_KINDS_H

#include "contract.h"
#include "contract_tools.h"

enum kind { MAP, FOR, PAR, CHUNKS, APPLY, KINDS };

/* Items of kinds have the numbers 0..n-1 as their argument, in every kind of call. */
enum { KIND_ITEMS = 64 };

static dist_fn kind_task;
static dist_task kind_tasks[KIND_ITEMS]; /* of PAR: a job refers to them */

static inline int kind_index(size_t index, void *ctx) {
    int unused;
    return kind_task(&unused, &numbers()[index], ctx);
}

static inline int kind_chunk(void *results, const void *items, size_t n, void *ctx) {
    for (size_t i = 0; i < n; i++) {
        int code = kind_task((int *)results + i, (const int *)items + i, ctx);
        if (code) return code;
    }
    return 0;
}

/* Chunks have one item each, unless the options say otherwise. `out` is not written by FOR. */
static inline dist_status call_kind(enum kind kind, dist_fn task, size_t n, int *out,
                                    const dist_opts *given) {
    dist_opts opts = *given;
    kind_task = task;
    assert_true(n <= KIND_ITEMS);
    switch (kind) {
    case MAP: return dist_map_fn(task, numbers(), n, sizeof(int), out, sizeof(int), &opts);
    case FOR: return dist_for_fn(kind_index, n, &opts);
    case APPLY: return dist_apply_fn(task, numbers(), sizeof(int), out, sizeof(int), &opts);
    case PAR:
        for (size_t i = 0; i < n; i++)
            kind_tasks[i] = (dist_task)DIST_TASK(NULL, task, &numbers()[i], &out[i]);
        return dist_par_fn(kind_tasks, n, &opts);
    default:
        if (!opts.chunk) opts.chunk = 1;
        return dist_map_chunks_fn(kind_chunk, numbers(), n, sizeof(int), out, sizeof(int), &opts);
    }
}

/* How many items a call of that kind has if it is asked for n. */
static inline size_t kind_count(enum kind kind, size_t n) { return kind == APPLY ? 1 : n; }

/* Sleeps for so long, or until the task should return. True: it should. */
static inline bool doze(double seconds) {
    double end = now() + seconds;
    while (!dist_cancelled()) {
        if (now() >= end) return false;
        nap(0.0005);
    }
    return true;
}

static inline dist_status status_of(const dist_job *job, size_t i) {
    const dist_error *e = dist_job_outcome(job, i);
    return e ? e->status : DIST_OK;
}

/* The tasks under test sleep for a minute: what takes longer than this waited for them. */
#define ASSERT_SOON(start) assert_true(now() - (start) < (SANITIZED ? 20 : 5))

/* A limit that lets quick tasks end before it, also where the machine is busy. */
#define AMPLE (SANITIZED ? 1.0 : 0.6)

#endif
