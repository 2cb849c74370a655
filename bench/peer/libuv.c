/* libuv's thread pool: uv_queue_work from the thread of the loop, which hears of each end. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static uv_loop_t loop;
static uv_work_t *works;
static struct load *current;

static void run_task(uv_work_t *work) {
    size_t i = (size_t)(work - works);
    current->task(&current->out[i], &current->items[i], NULL);
}

static void ended(uv_work_t *work, int status) { (void)work, (void)status; }

static const char *tasks(struct load *l) {
    if (!works) {
        char threads[16];
        snprintf(threads, sizeof threads, "%u", l->cpus);
        setenv("UV_THREADPOOL_SIZE", threads, 1); /* read at the first call */
        works = malloc(l->n * sizeof *works);
        if (!works || uv_loop_init(&loop)) return "fail no memory";
    }
    current = l;
    for (size_t i = 0; i < l->n; i++)
        if (uv_queue_work(&loop, &works[i], run_task, ended)) return "fail uv_queue_work";
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static const struct variant variants[] = {{"tasks", tasks}, {0}};

int main(int argc, char **argv) {
    char what[64];
    snprintf(what, sizeof what, "libuv %s", uv_version_string());
    return peer_main(argc, argv, what, variants);
}
