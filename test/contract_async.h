/* contract_async.h - calls that go on by themselves, and tasks that wait at a gate. */
#ifndef DIST_TEST_CONTRACT_ASYNC_H
#define DIST_TEST_CONTRACT_ASYNC_H

#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <string.h>

/* The kinds of call that have an asynchronous form. */
static const enum kind async_kinds[] = {MAP, PAR, APPLY};

/* What tasks share with their case, on every executor. */
struct scene {
    _Atomic(unsigned) runs[KIND_ITEMS], begun, told, gate;
};

/* Its gate is open for INLINE, whose calls run before they return. */
static inline struct scene *new_scene(void) {
    struct scene *scene = shared_memory(sizeof *scene);
    if (X == DIST_INLINE) count(&scene->gate);
    return scene;
}

/* Waits at the gate. False: the task should return before it opens. */
static inline bool passes(struct scene *scene) {
    for (; !counted(&scene->gate); nap(0.0005)) {
        if (!dist_cancelled()) continue;
        count(&scene->told);
        return false;
    }
    return true;
}

/* 10 times its index, once the gate is open. */
static inline int pass_gate(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    (void)item;
    count(&scene->runs[dist_index()]);
    count(&scene->begun);
    if (result) *(int *)result = 10 * (int)dist_index();
    passes(scene);
    return 0;
}

static inline unsigned runs_of_all(struct scene *scene) {
    unsigned runs = 0;
    for (int i = 0; i < KIND_ITEMS; i++) runs += counted(&scene->runs[i]);
    return runs;
}

/* Of small jobs. Sanitizers and processes take much longer. */
static inline unsigned so_many(unsigned n) {
    return X == DIST_PROCESS ? rounds(n / 500, 50) : SANITIZED ? n / 20 : n;
}

/* As call_kind, but it goes on by itself. One PAR at a time. */
static inline dist_job *go(enum kind kind, dist_fn task, size_t n, int *out,
                           const dist_opts *opts) {
    static dist_task tasks[KIND_ITEMS];
    assert_true(n <= KIND_ITEMS);
    if (kind == APPLY)
        return dist_apply_async_fn(task, numbers(), sizeof(int), out, sizeof(int), opts);
    if (kind == MAP)
        return dist_map_async_fn(task, numbers(), n, sizeof(int), out, sizeof(int), opts);
    for (size_t i = 0; i < n; i++)
        tasks[i] = (dist_task)DIST_TASK(NULL, task, &numbers()[i], &out[i]);
    return dist_par_async_fn(tasks, n, opts);
}

/* What has succeeded is right, what has not is as it was: -1. */
static inline void check_out(const dist_job *job, const int *out) {
    for (size_t i = 0; i < dist_job_count(job); i++)
        assert_int_equal(out[i], status_of(job, i) ? -1 : 10 * (int)i);
}

/* The same for a call that has succeeded. */
static inline void check_all_out(const int *out, size_t n) {
    for (size_t i = 0; i < n; i++) assert_int_equal(out[i], 10 * (int)i);
}

/* How many jobs are under way at once, at most. */
static inline unsigned most_jobs(void) { return dist_cpus() + 4 < 32 ? dist_cpus() + 4 : 32; }

/* Jobs that wait at a gate of their own, as many as there is room for beside those under way: what
 * comes after them has not begun. */
struct blockers {
    struct scene *scene;
    unsigned count;
    dist_job *job[32];
};

static inline void block(struct blockers *blockers, unsigned under_way) {
    blockers->scene = shared_memory(sizeof *blockers->scene);
    blockers->count = most_jobs() - under_way;
    for (unsigned k = 0; k < blockers->count; k++) {
        blockers->job[k] = dist_apply_async(pass_gate, DIST_NONE, DIST_NONE, .executor = X,
                                            .ctx = blockers->scene);
        assert_non_null(blockers->job[k]);
    }
    assert_true(reaches(&blockers->scene->begun, blockers->count));
}

static inline void unblock(struct blockers *blockers) {
    count(&blockers->scene->gate);
    for (unsigned k = 0; k < blockers->count; k++)
        assert_int_equal(dist_job_finish(&blockers->job[k]), DIST_OK);
}

#endif
