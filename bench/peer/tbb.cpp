/* oneTBB's parallel_for with its default partitioner. */
#include "peer.h"

#include <cstdio>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#include <tbb/version.h>

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

static const struct variant variants[] = {{"auto", run}, {nullptr, nullptr}};

int main(int argc, char **argv) {
    char what[64];
    std::snprintf(what, sizeof what, "oneTBB %d.%d", TBB_VERSION_MAJOR, TBB_VERSION_MINOR);
    return peer_main(argc, argv, what, variants);
}
