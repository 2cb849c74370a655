/* oneTBB's parallel_for with its default partitioner, and its task_group. */
#include "peer.h"

#include <cstdio>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#include <tbb/version.h>
#include <thread>

static void loop(struct load *l) {
    bench_task *volatile opaque = l->task;
    bench_task *task = opaque;
    const uint32_t *items = l->items;
    uint32_t *out = l->out;
    tbb::parallel_for(tbb::blocked_range<size_t>(0, l->n),
                      [=](const tbb::blocked_range<size_t> &r) {
                          for (size_t i = r.begin(); i != r.end(); i++)
                              task(&out[i], &items[i], nullptr);
                      });
}

static const char *run(struct load *l) {
    if (l->workers) {
        /* Made in the first call and kept: what a program that needs so many threads would do. */
        static tbb::global_control limit(tbb::global_control::max_allowed_parallelism, l->workers);
        static tbb::task_arena arena(static_cast<int>(l->workers));
        arena.execute([=] { loop(l); });
    } else {
        loop(l);
    }
    return nullptr;
}

static void submit(struct load *l, size_t begin, size_t end) {
    bench_task *volatile opaque = l->task;
    bench_task *task = opaque;
    const uint32_t *items = l->items;
    uint32_t *out = l->out;
    tbb::task_group group;
    for (size_t i = begin; i < end; i++) group.run([=] { task(&out[i], &items[i], nullptr); });
    group.wait();
}

static const char *tasks(struct load *l) {
    submit(l, 0, l->n);
    return nullptr;
}

static const char *tasks_inside(struct load *l) {
    tbb::task_group group;
    group.run([=] { submit(l, 0, l->n); });
    group.wait();
    return nullptr;
}

static const char *tasks_of_four(struct load *l) {
    enum { THREADS = 4 };
    std::thread threads[THREADS];
    for (size_t k = 0; k < THREADS; k++)
        threads[k] = std::thread([=] { submit(l, l->n * k / THREADS, l->n * (k + 1) / THREADS); });
    for (std::thread &thread : threads) thread.join();
    return nullptr;
}

static uint32_t fib(uint32_t n) {
    if (n < 2) return n;
    uint32_t x, y;
    tbb::task_group group;
    group.run([&x, n] { x = fib(n - 1); });
    y = fib(n - 2);
    group.wait();
    return x + y;
}

static const char *fork_join(struct load *l) {
    l->out[0] = fib(l->items[0]);
    return nullptr;
}

static const struct variant variants[] = {{"auto", run},
                                          {"tasks", tasks},
                                          {"tasks-inside", tasks_inside},
                                          {"tasks-of-four", tasks_of_four},
                                          {"fork-join", fork_join},
                                          {nullptr, nullptr}};

int main(int argc, char **argv) {
    char what[64];
    std::snprintf(what, sizeof what, "oneTBB %d.%d", TBB_VERSION_MAJOR, TBB_VERSION_MINOR);
    return peer_main(argc, argv, what, variants);
}
