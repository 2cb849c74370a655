/* consumer.c - a program that uses an installed dist: every macro form once. It compiles as C11 and
 * C17 without a warning, and says which form gives a wrong result. */
#include <dist/dist.h>

#include <stdio.h>

static int answer(void) { return 42; }
static int cube(int x) { return x * x * x; }
static long shift(int x, long by) { return x + by; }
static int multiply(int x, int y) { return x * y; }

DIST_FN0(int, answer)
DIST_FN1(int, cube, int)
DIST_FN1_CTX(long, shift, int, long)

#define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
DIST_DEFINE(int, multiply, MULTIPLY)

static int cubes(void *results, const void *items, size_t n, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < n; i++) ((int *)results)[i] = cube(((const int *)items)[i]);
    return 0;
}

static int odd_fails(size_t index, void *ctx) {
    (void)ctx;
    return index % 2 ? dist_fail(1, "%zu is odd", index) : 0;
}

static int forms, wrong;

/* A library may be built without some backends. */
static void expect(const char *form, dist_status status, bool right) {
    forms++;
    if (status == DIST_UNSUPPORTED || (status == DIST_OK && right)) return;
    printf("%s: %s: %s\n", form, dist_status_name(status), dist_last_error()->message);
    wrong++;
}

static void maps(void) {
    const int in[] = {1, 2, 3};
    int out[3] = {0};
    long shifted[3] = {0};
    dist_status status = dist_map(cube_task, in, 3, out);
    expect("map", status, out[2] == 27);
    status = dist_thread_map(shift_task, in, 3, shifted, .workers = 2, .ctx = &(long){100});
    expect("thread_map", status, shifted[2] == 103);
    status = dist_process_map(cube_task, in, 3, out, .workers = 2);
    expect("process_map", status, out[1] == 8);
    status = dist_map(cube_task, in, 3, DIST_NONE, .chunk = 2);
    expect("map without results", status, true);
    status = dist_map_chunks(cubes, in, 3, out, .workers = 2);
    expect("map_chunks", status, out[2] == 27);
    status = dist_thread_map_chunks(cubes, in, 3, out);
    expect("thread_map_chunks", status, out[2] == 27);
    status = dist_process_map_chunks(cubes, in, 3, out, .chunk = 2);
    expect("process_map_chunks", status, out[2] == 27);
}

static int add_all(void *acc, const void *items, size_t n, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < n; i++) *(int *)acc += ((const int *)items)[i];
    return 0;
}

static int add(void *into, const void *other, void *ctx) { return add_all(into, other, 1, ctx); }

static void reductions(void) {
    const int in[] = {1, 2, 3};
    int sum = 0;
    dist_status status = dist_reduce(add_all, add, in, 3, &sum);
    expect("reduce", status, sum == 6);
    sum = 0;
    status = dist_thread_reduce(add_all, add, in, 3, &sum, .workers = 2);
    expect("thread_reduce", status, sum == 6);
    sum = 0;
    status = dist_process_reduce(add_all, add, in, 3, &sum, .chunk = 2);
    expect("process_reduce", status, sum == 6);
}

static void applies(void) {
    int out = 0;
    dist_status status = dist_apply(answer_task, DIST_NONE, &out);
    expect("apply", status, out == 42);
    status = dist_thread_apply(cube_task, &(int){3}, &out, .workers = 1);
    expect("thread_apply", status, out == 27);
    status = dist_process_apply(cube_task, &(int){4}, &out);
    expect("process_apply", status, out == 64);
}

static void loops(void) {
    expect("for", dist_for(odd_fails, 1), true);
    expect("thread_for", dist_thread_for(odd_fails, 9, .silent = true), true);
    expect("process_for", dist_process_for(odd_fails, 9, .silent = true, .workers = 2), true);
}

static void pars(void) {
    int x = 5, cubed = 0, answered = 0;
    const dist_task tasks[] = {
        DIST_TASK("cube", cube_task, &x, &cubed),
        {.name = "answer", .fn = answer_task, .result = &answered, .result_size = sizeof answered}};
    dist_status status = dist_par(tasks, 2);
    expect("par", status, cubed == 125 && answered == 42);
    expect("thread_par", dist_thread_par(tasks, 2, .workers = 2), cubed == 125);
    expect("process_par", dist_process_par(tasks, 2), answered == 42);
}

static void defined(void) {
    const multiply_args args[] = {{.x = 1}, {.x = 2, .y = DIST_SET(10)}};
    int out[2] = {0};
    dist_status status = multiply_map(args, 2, out, DIST_OPTS(.workers = 2));
    expect("DIST_DEFINE map", status, out[0] == 2 && out[1] == 20);
    status = multiply_thread_map(args, 2, out, NULL);
    expect("DIST_DEFINE thread_map", status, out[1] == 20);
    status = multiply_process_map(args, 2, out, DIST_OPTS(.silent = true));
    expect("DIST_DEFINE process_map", status, out[1] == 20);
    dist_task task = multiply_future("two", &args[1], &out[1]);
    expect("DIST_DEFINE future", dist_par(&task, 1), out[1] == 20);
}

static void jobs(void) {
    dist_job *job = NULL;
    dist_error error;
    dist_status status = dist_for(odd_fails, 4, .silent = true, .job = &job, .error = &error);
    expect("job", status, dist_job_failures(job) == 2 && dist_job_failure_at(job, 0)->index == 1);
    if (dist_job_finish(&job) != DIST_FAILED) wrong++;
}

static void queues(void) {
    int got = 0;
    dist_queue *queue = dist_queue_open(.item_size = sizeof got, .capacity = 3, .priority = true);
    dist_status status = dist_queue_put_first(queue, 1, &(int){7}, DIST_FOREVER);
    expect("queue", status, dist_queue_get(queue, &got, 0) == DIST_OK && got == 7);
    dist_queue_free(&queue);
}

int main(void) {
    maps();
    reductions();
    applies();
    loops();
    pars();
    defined();
    jobs();
    queues();
    printf("dist %s, %u.%u: %d forms, %d wrong\n", dist_version(), DIST_VERSION_MAJOR,
           DIST_VERSION_MINOR, forms, wrong);
    return wrong ? 1 : 0;
}
