// consumer.cpp - the function forms from C++17 and C++20, without a warning.
#include <dist/dist.h>

#include <cstdio>

static int cube(void *result, const void *item, void *) {
    int x = *static_cast<const int *>(item);
    *static_cast<int *>(result) = x * x * x;
    return 0;
}

static int cubes(void *results, const void *items, std::size_t n, void *ctx) {
    for (std::size_t i = 0; i < n; i++)
        cube(static_cast<int *>(results) + i, static_cast<const int *>(items) + i, ctx);
    return 0;
}

static int even(std::size_t index, void *) { return index % 2 ? dist_fail(1, "odd") : 0; }

static int add(void *into, const void *other, void *) {
    *static_cast<int *>(into) += *static_cast<const int *>(other);
    return 0;
}

int main() {
    const int in[] = {1, 2, 3};
    int out[3] = {}, chunked[3] = {}, applied = 0, task_result = 0;
    dist_opts opts = {};
    opts.size = sizeof opts;
    opts.workers = 2;
    dist_error error = {};
    opts.error = &error;
    dist_task task = {};
    task.fn = cube, task.arg = in + 2, task.arg_size = sizeof *in;
    task.result = &task_result, task.result_size = sizeof task_result;

    bool right = dist_map_fn(cube, in, 3, sizeof *in, out, sizeof *out, &opts) == DIST_OK;
    right &= dist_map_chunks_fn(cubes, in, 3, sizeof *in, chunked, sizeof *out, &opts) == DIST_OK;
    int sum = 0; // of the cubes: each leaf has one item
    opts.chunk = 1;
    right &= dist_reduce_fn(cubes, add, in, 3, sizeof *in, &sum, sizeof sum, &opts) == DIST_OK;
    opts.chunk = 0;
    right &= sum == 36;
    right &= dist_apply_fn(cube, in, sizeof *in, &applied, sizeof applied, nullptr) == DIST_OK;
    right &= dist_par_fn(&task, 1, &opts) == DIST_OK;
    right &= dist_for_fn(even, 2, &opts) == DIST_FAILED && error.index == 1;
    dist_queue_opts queue_opts = {};
    queue_opts.size = sizeof queue_opts, queue_opts.item_size = sizeof(int);
    dist_queue *queue = dist_queue_open_fn(&queue_opts);
    right &= dist_queue_put(queue, in, 0) == DIST_OK && dist_queue_length(queue) == 1;
    dist_queue_free(&queue);
    right &= out[2] == 27 && chunked[2] == 27 && applied == 1 && task_result == 27;
    std::printf("dist %s from C++: %s\n", dist_version(), right ? "right" : "wrong");
    return right ? 0 : 1;
}
