/* GLib's GThreadPool: a function, and a pointer for each task. Its GAsyncQueue: pointers too, and
 * no bound. */
#include "flow.h"

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static GThreadPool *pool;
static struct load *current; /* the load that tasks are items of */
static _Atomic(size_t) left;
static GMutex lock;
static GCond done;

static void end_one(void) {
    if (atomic_fetch_sub(&left, 1) > 1) return;
    g_mutex_lock(&lock);
    g_cond_signal(&done);
    g_mutex_unlock(&lock);
}

static void push(size_t i) { g_thread_pool_push(pool, GSIZE_TO_POINTER(i + 1), NULL); }

static void push_all(struct load *l, size_t begin, size_t end) {
    (void)l;
    for (size_t i = begin; i < end; i++) push(i);
}

/* Task n + 1 submits all others. */
static void run_task(gpointer data, gpointer unused) {
    size_t i = GPOINTER_TO_SIZE(data) - 1;
    struct load *l = current;
    (void)unused;
    if (i == l->n) push_all(l, 0, l->n);
    else l->task(&l->out[i], &l->items[i], NULL);
    end_one();
}

static void begin(struct load *l, size_t count) {
    if (!pool) pool = g_thread_pool_new(run_task, NULL, (gint)l->cpus, TRUE, NULL);
    current = l;
    atomic_store(&left, count);
}

static void wait_for_all(void) {
    g_mutex_lock(&lock);
    while (atomic_load(&left) > 0) g_cond_wait(&done, &lock);
    g_mutex_unlock(&lock);
}

static const char *tasks(struct load *l) {
    begin(l, l->n);
    push_all(l, 0, l->n);
    wait_for_all();
    return NULL;
}

static const char *tasks_inside(struct load *l) {
    begin(l, l->n + 1);
    push(l->n);
    wait_for_all();
    return NULL;
}

struct part {
    struct load *load;
    size_t begin, end;
};

static void *submit_part(void *arg) {
    struct part *part = arg;
    push_all(part->load, part->begin, part->end);
    return NULL;
}

static const char *tasks_of_four(struct load *l) {
    enum { THREADS = 4 };
    struct part part[THREADS];
    pthread_t thread[THREADS];
    begin(l, l->n);
    for (size_t k = 0; k < THREADS; k++) {
        part[k] = (struct part){l, l->n * k / THREADS, l->n * (k + 1) / THREADS};
        if (pthread_create(&thread[k], NULL, submit_part, &part[k])) return "fail no thread";
    }
    for (size_t k = 0; k < THREADS; k++) pthread_join(thread[k], NULL);
    wait_for_all();
    return NULL;
}

static void put(void *queue, const struct flow_item *item) {
    struct flow_item *copy = g_new(struct flow_item, 1);
    *copy = *item;
    g_async_queue_push(queue, copy);
}

static void get(void *queue, struct flow_item *item) {
    struct flow_item *copy = g_async_queue_pop(queue);
    *item = *copy;
    g_free(copy);
}

static const char *queue(struct load *l) {
    GAsyncQueue *items = g_async_queue_new();
    const char *wrong = flow_run(l, &(struct flow){put, get}, items);
    g_async_queue_unref(items);
    return wrong;
}

static const struct variant variants[] = {{"tasks", tasks},
                                          {"tasks-inside", tasks_inside},
                                          {"tasks-of-four", tasks_of_four},
                                          {"queue", queue},
                                          {0}};

int main(int argc, char **argv) {
    char what[64];
    snprintf(what, sizeof what, "GLib %u.%u.%u", glib_major_version, glib_minor_version,
             glib_micro_version);
    return peer_main(argc, argv, what, variants);
}
