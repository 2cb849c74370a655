/* OpenMP's parallel for and its tasks, with whatever runtime the compiler brings. */
#include "peer.h"

#include <omp.h>
#include <stdio.h>

#if defined(__clang__)
#define RUNTIME "libomp (clang " __clang_version__ ")"
#else
#define RUNTIME "libgomp (gcc " __VERSION__ ")"
#endif

static int threads(const struct load *l) {
    return l->workers ? (int)l->workers : omp_get_max_threads();
}

#define DO_PRAGMA(text) _Pragma(#text)
#define LOOP(name, kind)                                                                           \
    static const char *name(struct load *l) {                                                      \
        bench_task *volatile opaque = l->task;                                                     \
        bench_task *task = opaque;                                                                 \
        const uint32_t *items = l->items;                                                          \
        uint32_t *out = l->out;                                                                    \
        size_t n = l->n;                                                                           \
        DO_PRAGMA(omp parallel for schedule(kind) num_threads(threads(l)))                         \
        for (size_t i = 0; i < n; i++) task(&out[i], &items[i], NULL);                             \
        return NULL;                                                                               \
    }

LOOP(loop_static, static)
LOOP(loop_dynamic, dynamic)
LOOP(loop_guided, guided)

static void submit(struct load *l) {
    bench_task *volatile opaque = l->task;
    bench_task *task = opaque;
    const uint32_t *items = l->items;
    uint32_t *out = l->out;
    for (size_t i = 0, n = l->n; i < n; i++) {
#pragma omp task firstprivate(i) shared(items, out) default(none) firstprivate(task)
        task(&out[i], &items[i], NULL);
    }
#pragma omp taskwait
}

static const char *tasks(struct load *l) {
#pragma omp parallel num_threads(threads(l))
#pragma omp single
    submit(l);
    return NULL;
}

static const char *tasks_inside(struct load *l) {
#pragma omp parallel num_threads(threads(l))
#pragma omp single
    {
#pragma omp task
        submit(l);
    }
    return NULL;
}

static uint32_t fib(uint32_t n) {
    uint32_t x, y;
    if (n < 2) return n;
#pragma omp task shared(x)
    x = fib(n - 1);
    y = fib(n - 2);
#pragma omp taskwait
    return x + y;
}

static const char *fork_join(struct load *l) {
#pragma omp parallel num_threads(threads(l))
#pragma omp single
    l->out[0] = fib(l->items[0]);
    return NULL;
}

static const struct variant variants[] = {{"static", loop_static},
                                          {"dynamic", loop_dynamic},
                                          {"guided", loop_guided},
                                          {"tasks", tasks},
                                          {"tasks-inside", tasks_inside},
                                          {"fork-join", fork_join},
                                          {0}};

int main(int argc, char **argv) {
    char what[128];
    snprintf(what, sizeof what, "OpenMP %d, %s", _OPENMP, RUNTIME);
    return peer_main(argc, argv, what, variants);
}
