/* list_splitter.c - what mp_list_splitter shows: several arguments, partial application, either
 * executor, a list in blocks, and a limit to the rate. */
#include "check.h"

#include <ctype.h>
#include <dist/dist.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* lambda_multi_args.py: executor.map(lambda i: hello(*i), iter_args)
 *
 * A lambda cannot be sent to a process; a C function needs no lambda and runs in both. */
static char *hello(const char *first, const char *last) {
    char *text = dist_alloc(strlen(first) + strlen(last) + 2);
    if (!text) return NULL; /* the arena is full: the task has failed */
    sprintf(text, "%s %s", first, last);
    for (char *c = text; *c; c++) *c = (char)toupper((unsigned char)*c);
    return text;
}
#define HELLO(REQ, OPT) REQ(const char *, first) REQ(const char *, last)
DIST_DEFINE(char *, hello, HELLO)

static void several_arguments(void) {
    const hello_args names[] = {
        {"firstname", "lastname"}, {"namefirst", "namelast"}, {"yourfirst", "yourlast"}};
    dist_arena *memory = dist_arena_new(0);
    const dist_opts *opts = DIST_OPTS(.arena = memory, .workers = 3);
    char *by_threads[3], *by_processes[3];
    CHECK(hello_thread_map(names, 3, by_threads, opts) == DIST_OK);
    CHECK(hello_process_map(names, 3, by_processes, opts) == DIST_OK);
    printf("executor.map(lambda i: hello(*i), ...)\n    %s\n    %s\n    %s\n", by_threads[0],
           by_threads[1], by_threads[2]);
    CHECK(!strcmp(by_threads[0], "FIRSTNAME LASTNAME"));
    for (int i = 0; i < 3; i++) CHECK(!strcmp(by_threads[i], by_processes[i]));
    dist_arena_free(memory);
}

/* partial_multi_args.py: functools.partial(fn, payload, command), mapped over endpoints */
struct bound {
    const char *payload, *command;
};

static size_t api_call(const char *endpoint, struct bound bound) {
    return strlen(endpoint) + strlen(bound.command);
}
DIST_FN1_CTX(size_t, api_call, const char *, struct bound)

static void partial_application(void) {
    const char *endpoints[] = {"FE0/DBC", "FE1/DBC", "FE2/DBC", "FE3/DBC"};
    struct bound bound = {"somestring", "get_request_one"};
    size_t answers[4];
    CHECK(dist_thread_map(api_call_task, endpoints, 4, answers, .ctx = &bound) == DIST_OK);
    CHECK(answers[3] == 22);
}

/* class_solver_multi_args.py: quadratic equations, with either executor ("simply change the
 * reference") */
struct equation {
    double a, b, c;
};
struct roots {
    int count;
    double root[2];
};

static struct roots solve(struct equation q) {
    double d = q.b * q.b - 4 * q.a * q.c;
    if (d < 0) return (struct roots){0};
    if (d == 0) return (struct roots){1, {-q.b / (2 * q.a), 0}};
    return (struct roots){2, {(-q.b + sqrt(d)) / (2 * q.a), (-q.b - sqrt(d)) / (2 * q.a)}};
}
DIST_FN1(struct roots, solve, struct equation)

static void either_executor(void) {
    static const dist_executor executors[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    const struct equation equations[3] = {{1, -3, 2}, {1, 2, 1}, {1, 0, 1}};
    for (int i = 0; i < 3; i++) {
        struct roots r[3];
        CHECK(dist_map(solve_task, equations, 3, r, .executor = executors[i], .workers = 3) ==
              DIST_OK);
        CHECK(r[0].count == 2 && r[0].root[0] == 2 && r[0].root[1] == 1);
        CHECK(r[1].count == 1 && r[1].root[0] == -1);
        CHECK(r[2].count == 0);
    }
}

/* list_splitter(data, chunk_size): here it does not eat its input, and one chunk is a chunk. */
static void blocks_of_a_list(void) {
    size_t items = 0, blocks = 0;
    dist_range block;
    while ((block = dist_chunk(100, 25, blocks)).count) {
        items += block.count;
        blocks++;
    }
    CHECK(blocks == 4 && items == 100);
    CHECK(dist_chunk(7, 3, 2).count == 1); /* the last one is shorter */
    CHECK(dist_chunk(2, 3, 0).count == 2);
    CHECK(dist_chunk(0, 3, 0).count == 0);

    CHECK(dist_split(5, 2, 0).count == 3 && dist_split(5, 2, 1).begin == 3);
    CHECK(dist_split(5, 4, 3).count == 1 && dist_split(1, 4, 1).count == 0);
}

/* main.py: batches of 25, the values of each by a call of its own, subtotals, a total */
static double fifth_power(int x) { return pow(x, 5); }
DIST_FN1(double, fifth_power, int)

static void batches(void) {
    int data[60];
    double out[60], total = 0, expected = 0;
    for (int i = 0; i < 60; i++) data[i] = i % 7;
    dist_range batch;
    puts("batches of 25");
    for (size_t k = 0; (batch = dist_chunk(60, 25, k)).count; k++) {
        double subtotal = 0;
        CHECK(dist_process_map(fifth_power_task, data + batch.begin, batch.count, out + batch.begin,
                               .workers = 3) == DIST_OK);
        for (size_t i = 0; i < batch.count; i++) subtotal += out[batch.begin + i];
        printf("    subtotal: %g\n", subtotal);
        total += subtotal;
    }
    printf("    total: %g\n", total);
    for (int i = 0; i < 60; i++) expected += fifth_power(data[i]);
    CHECK(total == expected);
}

/* RATE_LIMIT: there a sleep of so many seconds between two rounds. Here so many starts per second,
 * evenly spaced over all workers. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void at_most_a_hundred_per_second(void) {
    int data[20];
    double out[20], start = now();
    for (int i = 0; i < 20; i++) data[i] = i;
    CHECK(dist_thread_map(fifth_power_task, data, 20, out, .rate = 100) == DIST_OK);
    double seconds = now() - start;
    printf("20 tasks, rate 100\n    %.2f s\n", seconds);
    CHECK(seconds >= 0.19 && out[2] == 32);
}

int main(void) {
    several_arguments();
    partial_application();
    either_executor();
    blocks_of_a_list();
    batches();
    at_most_a_hundred_per_second();
    puts("list_splitter: all of it holds");
    return 0;
}
