/* dist itself, through its public interface. */
#include "flow.h"
#include "peer_dist.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *map(struct load *l) {
    return answer(dist_thread_map(l->task, l->items, l->n, l->out, .workers = l->workers));
}

static const char *map_2(struct load *l) {
    return answer(dist_thread_map(l->task, l->items, l->n, l->out, .workers = 2));
}

static const char *map_in_place(struct load *l) {
    return answer(dist_thread_map(l->task, l->items, l->n, l->out, .in_place = true));
}

static const char *loop(struct load *l) {
    return answer(dist_thread_for(l->index, l->n, .ctx = l, .workers = l->workers));
}

static const char *loop_2(struct load *l) {
    return answer(dist_thread_for(l->index, l->n, .ctx = l, .workers = 2));
}

static const char *process(struct load *l) {
    return answer(dist_process_map(l->task, l->items, l->n, l->out, .workers = l->workers));
}

/* ------------------------------------------------------------------ a job for each item */

struct part { /* items begin .. end-1 of a load, submitted by one thread */
    struct load *load;
    size_t begin, end;
    dist_job **jobs;
    dist_status status;
};

static void *submit_part(void *arg) {
    struct part *part = arg;
    struct load *l = part->load;
    for (size_t i = part->begin; i < part->end; i++)
        part->jobs[i] =
            dist_apply_async(l->task, &l->items[i], &l->out[i], .executor = DIST_THREAD);
    for (size_t i = part->begin; i < part->end; i++) {
        dist_status status =
            part->jobs[i] ? dist_job_finish(&part->jobs[i]) : dist_last_error()->status;
        if (status) part->status = status;
    }
    return NULL;
}

static dist_job **handles(const struct load *l) {
    static dist_job **jobs;
    if (!jobs) jobs = malloc(l->n * sizeof *jobs);
    return jobs;
}

static const char *jobs(struct load *l) {
    struct part all = {l, 0, l->n, handles(l), DIST_OK};
    submit_part(&all);
    return answer(all.status);
}

static int submit_inside(void *result, const void *item, void *ctx) {
    struct part *part = ctx;
    (void)result, (void)item;
    submit_part(part);
    return part->status != DIST_OK;
}

static const char *jobs_inside(struct load *l) {
    struct part all = {l, 0, l->n, handles(l), DIST_OK};
    dist_job *job =
        dist_apply_async(submit_inside, DIST_NONE, DIST_NONE, .executor = DIST_THREAD, .ctx = &all);
    while (dist_job_wait(job, 1) == DIST_TIMEOUT) continue; /* it runs in a thread of the pool */
    return answer(dist_job_finish(&job));
}

static const char *jobs_of_four(struct load *l) {
    enum { THREADS = 4 };
    struct part part[THREADS];
    pthread_t thread[THREADS];
    dist_status status = DIST_OK;
    for (unsigned k = 0; k < THREADS; k++) {
        dist_range range = dist_split(l->n, THREADS, k);
        part[k] = (struct part){l, range.begin, range.begin + range.count, handles(l), DIST_OK};
        if (pthread_create(&thread[k], NULL, submit_part, &part[k])) return "fail no thread";
    }
    for (unsigned k = 0; k < THREADS; k++) {
        pthread_join(thread[k], NULL);
        if (part[k].status) status = part[k].status;
    }
    return answer(status);
}

static int fib(void *result, const void *item, void *ctx) {
    uint32_t n = *(const uint32_t *)item, a = n - 1, b = n - 2, x, y;
    *(uint32_t *)result = n;
    if (n < 2) return 0;
    dist_job *job = dist_apply_async(fib, &a, &x, .executor = DIST_THREAD);
    int code = fib(&y, &b, ctx);
    if (dist_job_finish(&job) || code) return 1;
    *(uint32_t *)result = x + y;
    return 0;
}

static const char *fork_join(struct load *l) {
    return answer(dist_apply(fib, l->items, l->out, .executor = DIST_THREAD));
}

/* ------------------------------------------------------------------ items through a queue */

static void put(void *queue, const struct flow_item *item) {
    dist_queue_put(queue, item, DIST_FOREVER);
}

static void get(void *queue, struct flow_item *item) { dist_queue_get(queue, item, DIST_FOREVER); }

static const char *flow(struct load *l, bool priority, bool shared) {
    dist_queue *queue =
        dist_queue_open(.item_size = sizeof(struct flow_item), .capacity = FLOW_CAPACITY,
                        .priority = priority, .process_shared = shared);
    if (!queue) return answer(dist_last_error()->status);
    const char *wrong = flow_run(l, &(struct flow){put, get}, queue);
    dist_queue_free(&queue);
    return wrong;
}

static const char *queue(struct load *l) { return flow(l, false, false); }
static const char *queue_priority(struct load *l) { return flow(l, true, false); }
static const char *queue_shared(struct load *l) { return flow(l, false, true); }

static const struct variant variants[] = {
    {"map", map},
    {"map-2", map_2},
    {"map-in-place", map_in_place},
    {"for", loop},
    {"for-2", loop_2},
    {"process", process},
    {"tasks", jobs},
    {"tasks-inside", jobs_inside},
    {"tasks-of-four", jobs_of_four},
    {"fork-join", fork_join},
    {"queue", queue},
    {"queue-priority", queue_priority},
    {"queue-shared", queue_shared},
    {0},
};

int main(int argc, char **argv) { return dist_main(argc, argv, variants); }
