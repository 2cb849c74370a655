/* contract_define.c - plain functions as tasks. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int cube(int x) { return x * x * x; }
DIST_FN1(int, cube, int)

static int answer(void) { return 42; }
DIST_FN0(int, answer)

struct line {
    double slope, offset;
};
static double at(double x, struct line line) { return line.slope * x + line.offset; }
DIST_FN1_CTX(double, at, double, struct line)

static int half_of_even(int x) {
    if (x % 2) dist_fail(EDOM, "%d is odd", x);
    return x / 2;
}
DIST_FN1(int, half_of_even, int)

CASE("P-14", a_plain_function_becomes_a_task) {
    int out[101];
    assert_int_equal(dist_map(cube_task, numbers(), 101, out, .executor = X), DIST_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(out[i], cube(i));
    assert_int_equal(dist_apply(cube_task, &(int){4}, out, .executor = X), DIST_OK);
    assert_int_equal(out[0], 64);
    assert_int_equal(dist_map(cube_task, numbers(), 101, DIST_NONE, .executor = X), DIST_OK);
}

CASE("M-10", a_function_without_arguments_becomes_a_task) {
    int out = 0;
    assert_int_equal(dist_apply(answer_task, DIST_NONE, &out, .executor = X), DIST_OK);
    assert_int_equal(out, 42);
}

CASE("L-02", the_context_is_a_bound_argument) {
    double in[7], out[7];
    for (int i = 0; i < 7; i++) in[i] = i;
    assert_int_equal(
        dist_map(at_task, in, 7, out, .executor = X, .ctx = &(struct line){2, 0.5}, .workers = 2),
        DIST_OK);
    for (int i = 0; i < 7; i++) assert_true(out[i] == 2 * i + 0.5);
}

CASE("P-34", dist_fail_inside_a_plain_function_fails_the_task) {
    int out[10];
    dist_error e;
    memset(out, -1, sizeof out);
    assert_int_equal(
        dist_map(half_of_even_task, numbers(), 10, out, .executor = X, .workers = 2, .error = &e),
        DIST_FAILED);
    assert_int_equal(e.index, 1);
    assert_int_equal(e.code, EDOM);
    assert_string_equal(e.message, "1 is odd");
    assert_int_equal(dist_map(half_of_even_task, numbers(), 10, out, .executor = X, .silent = true),
                     DIST_OK);
    for (int i = 0; i < 10; i++) assert_int_equal(out[i], i % 2 ? -1 : i / 2);
}

CASE("P-14", a_literal_of_items_works_in_the_macros) {
    int out[3];
    assert_int_equal(dist_map(cube_task, ((int[]){1, 2, 3}), 3, out, .executor = X), DIST_OK);
    assert_memory_equal(out, ((int[]){1, 8, 27}), sizeof out);
}

/* Named, optional and extra parameters. */

static int digits(int a, int b, int c, bool minus) {
    return (100 * a + 10 * b + c) * (minus ? -1 : 1);
}
#define DIGITS(REQ, OPT) REQ(int, a) OPT(int, b, 5) OPT(int, c, 6) OPT(bool, minus, false)
DIST_DEFINE(int, digits, DIGITS)

static size_t length(const char *text, const int *more) {
    return strlen(text) + (more ? (size_t)*more : 0);
}
#define LENGTH(REQ, OPT) REQ(const char *, text) OPT(const int *, more, NULL)
DIST_DEFINE(size_t, length, LENGTH)

CASE("P-21", an_item_beats_extras_and_extras_beat_defaults) {
    /* b of the item and of the extras: unset, 0, 9 */
    const digits_args items[3] = {{.a = 1}, {.a = 1, .b = DIST_SET(0)}, {.a = 1, .b = DIST_SET(9)}};
    const digits_args extras[3] = {{.a = 7}, {.b = DIST_SET(0)}, {.b = DIST_SET(3)}};
    static const int expected[3][3] = {{156, 106, 196}, {106, 106, 196}, {136, 106, 196}};
    int out[3];
    for (int e = 0; e < 3; e++) {
        assert_int_equal(digits_map(items, 3, out, DIST_OPTS(.executor = X, .extras = &extras[e])),
                         DIST_OK);
        assert_memory_equal(out, expected[e], sizeof out);
    }
    assert_int_equal(digits_map(items, 3, out, DIST_OPTS(.executor = X)), DIST_OK);
    assert_memory_equal(out, expected[0], sizeof out);
}

CASE("P-21", an_explicit_false_beats_an_extra_true) {
    const digits_args items[3] = {
        {.a = 1, .minus = DIST_SET(false)}, {.a = 1}, {.a = 2, .c = DIST_SET(0)}};
    int out[3];
    const digits_args extras = {.minus = DIST_SET(true), .c = DIST_SET(1)};
    assert_int_equal(digits_map(items, 3, out, DIST_OPTS(.executor = X, .extras = &extras)),
                     DIST_OK);
    assert_memory_equal(out, ((int[]){151, -151, -250}), sizeof out);
}

CASE("P-23", what_is_set_nowhere_has_its_default) {
    const digits_args items[2] = {{.a = 1}, {.a = 2}};
    int out[2];
    assert_int_equal(digits_map(items, 2, out, DIST_OPTS(.executor = X)), DIST_OK);
    assert_memory_equal(out, ((int[]){156, 256}), sizeof out);
}

CASE("P-20", extras_are_not_changed) {
    const digits_args item = {.a = 1};
    digits_args extras, before;
    memset(&extras, 0, sizeof extras);
    extras.b.is_set = true;
    before = extras;
    int out;
    assert_int_equal(digits_map(&item, 1, &out, DIST_OPTS(.executor = X, .extras = &extras)),
                     DIST_OK);
    assert_int_equal(out, 106);
    assert_memory_equal(&extras, &before, sizeof extras);
}

CASE("P-22", extras_reach_the_tasks_of_par) {
    int out[2];
    size_t n;
    dist_task tasks[] = {digits_future("one", &(digits_args){.a = 1}, &out[0]),
                         digits_future("two", &(digits_args){.a = 2, .b = DIST_SET(0)}, &out[1]),
                         length_future("text", &(length_args){.text = "four"}, &n)};
    assert_int_equal(dist_par(tasks, 2, .executor = X, .extras = &(digits_args){.b = DIST_SET(8)}),
                     DIST_OK);
    assert_int_equal(out[0], 186);
    assert_int_equal(out[1], 206);
    assert_int_equal(dist_par(tasks, 3, .executor = X), DIST_OK);
    assert_int_equal(out[0], 156);
    assert_int_equal(n, 4);
}

CASE("P-27", a_future_carries_name_argument_and_place) {
    size_t n = 0;
    int more = 3;
    length_args args = {.text = "four", .more = DIST_SET(&more)};
    dist_task task = length_future("text", &args, &n);
    dist_job *job;
    assert_string_equal(task.name, "text");
    assert_int_equal(dist_par(&task, 1, .executor = X, .job = &job), DIST_OK);
    assert_int_equal(n, 7);
    assert_ptr_equal(dist_job_named(job, "text"), &n);
    dist_job_finish(&job);
}

CASE("P-49", the_function_itself_stays_ordinary) {
    assert_int_equal(digits(1, 2, 3, true), -123);
    assert_int_equal(cube(3), 27);
    assert_int_equal(length("abc", NULL), 3);
}

CASE("P-49", a_defined_map_takes_null_options) {
    int out = 0;
    assert_int_equal(digits_map(&(digits_args){.a = 4}, 1, &out, NULL), DIST_OK);
    assert_int_equal(out, 456);
    assert_int_equal(digits_map(NULL, 0, NULL, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(digits_map(NULL, 1, &out, DIST_OPTS(.executor = X)), DIST_INVALID);
}

static int pid_of(int unused) {
    (void)unused;
    return getpid();
}
#define PID_OF(REQ, OPT) REQ(int, unused)
DIST_DEFINE(int, pid_of, PID_OF)

CASE_ON("P-49", a_defined_function_has_a_map_for_threads, ON_THREAD, 20) {
    int out[3];
    const pid_of_args items[3] = {{1}, {2}, {3}};
    assert_int_equal(pid_of_thread_map(items, 3, out, NULL), DIST_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(out[i], getpid());
    assert_int_equal(pid_of_thread_map(items, 3, out, DIST_OPTS(.executor = DIST_PROCESS)),
                     DIST_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(out[i], getpid());
}

CASE_ON("P-51", a_defined_function_has_a_map_for_processes, ON_PROCESS, 20) {
    int out[3];
    const pid_of_args items[3] = {{1}, {2}, {3}};
    assert_int_equal(pid_of_process_map(items, 3, out, NULL), DIST_OK);
    for (int i = 0; i < 3; i++) assert_int_not_equal(out[i], getpid());
    const dist_opts *opts = DIST_OPTS(.executor = DIST_THREAD, .workers = 2);
    assert_int_equal(pid_of_process_map(items, 3, out, opts), DIST_OK);
    for (int i = 0; i < 3; i++) assert_int_not_equal(out[i], getpid());
    assert_int_equal(opts->executor, DIST_THREAD);
}
