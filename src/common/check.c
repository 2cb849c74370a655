/* check.c - the checks of the door. */
#include "check.h"
#include "error.h"
#include "os.h"
#include "pool.h"
#include "queue.h"

#include <stdlib.h>
#include <string.h>

/* Every option that is declared and not built yet. */
/* clang-format off */
#define NOT_BUILT_ROWS(ROW) ROW(trace)

/* Options that neither streams nor stages have; and streams. */
#define NO_FLOW_ROWS(ROW) \
    ROW(names) ROW(job) ROW(abandon) ROW(in_place) ROW(no_wait) ROW(on_start) ROW(progress)
#define NO_STREAM_ROWS(ROW) ROW(deferred) ROW(on_finish)

/* Options of pools only; of workers, which a call in a pool does not choose; of calls only. */
#define POOL_ROWS(ROW) \
    ROW(stack_size) ROW(tasks_per_worker) ROW(worker_memory) ROW(max_pending) ROW(strict)
#define WORKER_ROWS(ROW) ROW(worker_init) ROW(worker_exit) ROW(cpus)
#define CALL_ROWS(ROW) \
    ROW(timeout) ROW(task_timeout) ROW(chunk) ROW(in_flight) ROW(silent) ROW(unordered) ROW(deferred) \
    ROW(abandon) ROW(in_place) ROW(max_failures) ROW(retries) ROW(backoff) ROW(rate) ROW(retry_if) \
    ROW(names) ROW(ctx) ROW(pool) ROW(ctx_size) ROW(no_wait) ROW(arena) ROW(token) ROW(job) \
    ROW(on_start) ROW(on_finish) ROW(progress) ROW(seed)
/* clang-format on */

/* The name of the first of these rows that is set, or NULL. */
#define IS_SET(field)                                                                              \
    if (o->field != 0) return #field;
static const char *first_not_built(const dist_opts *o) {
    NOT_BUILT_ROWS(IS_SET)
    return NULL;
}

static const char *first_of_pools(const dist_opts *o) {
    POOL_ROWS(IS_SET)
    return NULL;
}

static const char *first_of_workers(const dist_opts *o) {
    WORKER_ROWS(IS_SET)
    return NULL;
}

static const char *first_not_of_flows(const dist_opts *o, bool stream) {
    NO_FLOW_ROWS(IS_SET)
    if (!stream) return NULL;
    NO_STREAM_ROWS(IS_SET)
    return NULL;
}

static const char *first_of_calls(const dist_opts *o) {
    CALL_ROWS(IS_SET)
    return NULL;
}
#undef IS_SET

static dist_status check_number(const char *name, double value) {
    if (value >= 0) return DIST_OK;
    return dist__refuse(DIST_INVALID, 0, "%s: is %g, must not be below 0", name, value);
}

static dist_status check_cpus(const dist_opts *o) {
    if (!o->cpus != !o->n_cpus)
        return dist__refuse(DIST_INVALID, 0, "%s: is %s while %s is not",
                            o->cpus ? "n_cpus" : "cpus", o->cpus ? "0" : "NULL",
                            o->cpus ? "cpus" : "n_cpus");
    for (size_t k = 0; k < o->n_cpus; k++) {
        struct dist__affinity before;
        if (!dist__pin(o->cpus[k], &before))
            return dist__refuse(DIST_INVALID, 0, "cpus[%zu]: this process may not use CPU %u", k,
                                o->cpus[k]);
        dist__unpin(&before);
    }
    return DIST_OK;
}

static dist_status check_numbers(const dist_opts *o) {
    dist_status status = check_number("timeout", o->timeout);
    if (!status) status = check_number("task_timeout", o->task_timeout);
    if (!status) status = check_number("backoff", o->backoff);
    if (!status) status = check_number("rate", o->rate);
    return status;
}

static dist_status check_struct(const dist_opts *o) {
    if (o->size != sizeof *o)
        return dist__refuse(DIST_INVALID, 0, "opts.size: is %zu, must be sizeof(dist_opts) = %zu",
                            o->size, sizeof *o);
    if (o->job) *o->job = NULL;
    if ((unsigned)o->executor > DIST_AUTO)
        return dist__refuse(DIST_INVALID, 0, "executor: %d is none of enum dist_executor",
                            (int)o->executor);
    const char *option = first_not_built(o);
    if (option)
        return dist__refuse(DIST_UNSUPPORTED, 0, "%s: this option is not built yet", option);
    return DIST_OK;
}

/* What a call has to do with a pool. */
static dist_status check_in_pool(const dist_opts *o) {
    const char *option = first_of_pools(o);
    if (option) return dist__refuse(DIST_INVALID, 0, "%s: is an option of dist_pool_open", option);
    if (o->ctx_size && !o->ctx)
        return dist__refuse(DIST_INVALID, 0, "ctx: is NULL and ctx_size is %zu", o->ctx_size);
    if (!o->pool) return DIST_OK;
    option = first_of_workers(o);
    if (option) return dist__refuse(DIST_INVALID, 0, "%s: is the pool's, not the call's", option);
    if (o->executor && o->executor != o->pool->backend->executor)
        return dist__refuse(DIST_INVALID, 0, "executor: the pool has another one, %s",
                            o->pool->backend->name);
    return DIST_OK;
}

dist_status dist__check_pool_opts(const dist_opts *o) {
    dist_status status = check_struct(o);
    const char *option = status ? NULL : first_of_calls(o);
    if (option)
        return dist__refuse(DIST_INVALID, 0, "%s: is an option of calls, not of pools", option);
    return status ? status : check_cpus(o);
}

/* Of all whose items come one by one. */
static dist_status check_flow(bool stream, const dist_opts *o) {
    dist_status refused = check_struct(o);
    if (!refused) refused = check_in_pool(o);
    if (refused) return refused;
    const char *option = first_not_of_flows(o, stream);
    if (option)
        return dist__refuse(DIST_INVALID, 0, "%s: not for %s", option,
                            stream ? "streams" : "stages");
    dist_status status = check_numbers(o);
    return status ? status : check_cpus(o);
}

dist_status dist__check_stream(dist_fn fn, dist_next_fn next, dist_sink_fn sink,
                               const dist_opts *o) {
    dist_status refused = check_flow(true, o);
    if (refused) return refused;
    if (!fn || !next || !sink)
        return dist__refuse(DIST_INVALID, 0, "%s: is NULL", !fn ? "fn" : !next ? "next" : "sink");
    return DIST_OK;
}

dist_status dist__check_stage(const dist_queue *in, dist_fn fn, const dist_queue *out,
                              const dist_opts *o) {
    dist_status refused = check_flow(false, o);
    if (refused) return refused;
    if (!in || !fn) return dist__refuse(DIST_INVALID, 0, "%s: is NULL", !in ? "in" : "fn");
    if (in == out) return dist__refuse(DIST_INVALID, 0, "out: is in");
    refused = dist__queue_check(in);
    return refused || !out ? refused : dist__queue_check(out);
}

dist_status dist__check_opts(const dist_opts *o, bool goes_on) {
    dist_status refused = check_struct(o);
    if (!refused) refused = check_in_pool(o);
    if (refused) return refused;
    if (o->in_flight)
        return dist__refuse(DIST_INVALID, 0, "in_flight: is one of streams and stages");
    if (goes_on && o->job)
        return dist__refuse(DIST_INVALID, 0, "job: not for a call that returns one");
    if (!goes_on && (o->unordered || o->deferred || o->no_wait))
        return dist__refuse(DIST_INVALID, 0, "%s: only for calls that return a job",
                            o->unordered  ? "unordered"
                            : o->deferred ? "deferred"
                                          : "no_wait");
    if (o->abandon && o->in_place)
        return dist__refuse(DIST_INVALID, 0, "abandon: not with in_place, which is the caller's");
    dist_status status = check_numbers(o);
    return status ? status : check_cpus(o);
}

dist_status dist__check_array(const char *name, const void *array, size_t n, size_t size) {
    if (!array || n == 0) return DIST_OK;
    if (size == 0) return dist__refuse(DIST_INVALID, 0, "%s: the element size is 0", name);
    if (n > PTRDIFF_MAX / size)
        return dist__refuse(DIST_INVALID, 0, "n: %zu elements of %zu bytes in %s exceed memory", n,
                            size, name);
    return DIST_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

dist_status dist__check_names(const char *what, const struct dist__batch *batch) {
    size_t named = 0;
    for (size_t i = 0; i < batch->n; i++) named += dist__batch_name(batch, i) != NULL;
    if (named < 2) return DIST_OK;
    const char **sorted = malloc(named * sizeof *sorted);
    if (!sorted) return dist__refuse(DIST_NOMEM, 0, "no memory to compare %zu names", named);
    for (size_t i = 0, k = 0; i < batch->n; i++)
        if (dist__batch_name(batch, i)) sorted[k++] = dist__batch_name(batch, i);
    qsort(sorted, named, sizeof *sorted, by_name);
    dist_status status = DIST_OK;
    for (size_t k = 1; k < named && status == DIST_OK; k++)
        if (!strcmp(sorted[k - 1], sorted[k]))
            status = dist__refuse(DIST_INVALID, 0, "%s: two are named \"%.80s\"", what, sorted[k]);
    free(sorted);
    return status;
}

dist_status dist__check_tasks(const dist_task *tasks, size_t n) {
    if (n > 0 && !tasks) return dist__refuse(DIST_INVALID, 0, "tasks: is NULL");
    for (size_t i = 0; i < n; i++) {
        const dist_task *t = &tasks[i];
        if (!t->fn) return dist__refuse(DIST_INVALID, 0, "tasks[%zu].fn: is NULL", i);
        if (t->result && (t->result_size == 0 || t->result_size > PTRDIFF_MAX))
            return dist__refuse(DIST_INVALID, 0, "tasks[%zu].result_size: is %zu", i,
                                t->result_size);
        if (!(t->timeout >= 0))
            return dist__refuse(DIST_INVALID, 0, "tasks[%zu].timeout: is %g, must not be below 0",
                                i, t->timeout);
    }
    return DIST_OK;
}
