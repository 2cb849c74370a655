/* contract_python.c - what people know from Python's pools and from libraries around them, as it is
 * said in C. */
#include "contract.h"
#include "contract_tools.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* starmap(pow, [(2, 3), (3,)]): tuples of several lengths */
static long power(int base, int exponent) {
    long product = 1;
    for (int i = 0; i < exponent; i++) product *= base;
    return product;
}
#define POWER(REQ, OPT) REQ(int, base) OPT(int, exponent, 2)
DIST_DEFINE(long, power, POWER)

CASE("M-09", items_with_several_arguments_may_leave_out_the_optional_ones) {
    const power_args args[] = {
        {.base = 2, .exponent = DIST_SET(3)}, {.base = 3}, {.base = 5, .exponent = DIST_SET(0)}};
    long out[3];
    assert_int_equal(power_map(args, 3, out, DIST_OPTS(.executor = X)), DIST_OK);
    assert_memory_equal(out, ((long[]){8, 9, 1}), sizeof out);
}

/* map(f, names, ages): several lists at once */
struct person {
    const char *name;
    int age;
};

static int title_length(struct person p) {
    char title[64];
    return snprintf(title, sizeof title, "%s, %d", p.name, p.age);
}
DIST_FN1(int, title_length, struct person)

CASE("F-05", several_lists_are_one_array_of_structs) {
    const struct person people[] = {{"Ada", 36}, {"Grace", 85}, {"Barbara", 103}};
    int out[4] = {0, 0, 0, 77};
    for (size_t n = 0; n <= 3; n++) {
        assert_int_equal(dist_map(title_length_task, people, n, out, .executor = X), DIST_OK);
        for (size_t i = 0; i < n; i++) assert_int_equal(out[i], title_length(people[i]));
    }
    assert_int_equal(out[3], 77);
}

static int squared(int x) { return x * x; }
DIST_FN1(int, squared, int)

CASE("D-16", a_part_of_an_array_is_a_list_too) {
    int out[101];
    memset(out, -1, sizeof out);
    assert_int_equal(dist_map(squared_task, numbers() + 10, 20, out + 30, .executor = X), DIST_OK);
    for (int i = 0; i < 101; i++)
        assert_int_equal(out[i], i < 30 || i >= 50 ? -1 : squared(i - 20));
}

/* Who ran each item, and when. */
struct handed {
    _Atomic(unsigned) next;
    unsigned turn[PRIME], worker[PRIME];
    int thread[PRIME];
};

static int note(size_t index, void *ctx) {
    struct handed *handed = ctx;
    handed->turn[index] = atomic_fetch_add(&handed->next, 1);
    handed->worker[index] = dist_worker();
    handed->thread[index] = thread_id();
    return 0;
}

CASE("F-07", the_items_of_a_chunk_run_one_after_the_other_in_one_worker) {
    struct handed *handed = shared_memory(sizeof *handed);
    for (unsigned workers = 1; workers < 5; workers++) {
        assert_int_equal(
            dist_for(note, PRIME, .executor = X, .workers = workers, .chunk = 4, .ctx = handed),
            DIST_OK);
        for (size_t i = 0; i < PRIME; i++) {
            if (i % 4 == 0) continue;
            assert_true(handed->turn[i] > handed->turn[i - 1]);
            assert_int_equal(handed->worker[i], handed->worker[i - 1]);
            assert_int_equal(handed->thread[i], handed->thread[i - 1]);
        }
    }
}

/* A decorated function's own options: each call may change all of them, also back to zero. */
CASE("P-50", options_kept_as_a_constant_are_copied_and_changed) {
    static const dist_opts careful = {
        .size = sizeof careful, .workers = 2, .chunk = 3, .silent = true};
    const power_args args[] = {{.base = 3}, {.base = 4}};
    long out[2];
    dist_opts with = careful;
    with.executor = X;
    assert_int_equal(power_map(args, 2, out, &with), DIST_OK);
    with.workers = 0;
    with.chunk = 0;
    with.silent = false;
    with.extras = &(power_args){.exponent = DIST_SET(3)};
    assert_int_equal(power_map(args, 2, out, &with), DIST_OK);
    assert_memory_equal(out, ((long[]){27, 64}), sizeof out);
    assert_int_equal(careful.workers, 2);
    assert_int_equal(careful.executor, DIST_DEFAULT);
    assert_null(careful.extras);
}

/* executor.map(lambda i: hello(*i), args) */
struct text {
    char chars[64];
};

static struct text hello(const char *first, const char *last) {
    struct text text;
    snprintf(text.chars, sizeof text.chars, "%s %s", first, last);
    for (char *c = text.chars; *c; c++) *c = (char)toupper((unsigned char)*c);
    return text;
}
#define HELLO(REQ, OPT) REQ(const char *, first) REQ(const char *, last)
DIST_DEFINE(struct text, hello, HELLO)

CASE("L-01", a_function_of_several_arguments_needs_no_lambda) {
    const hello_args args[] = {
        {"firstname", "lastname"}, {"namefirst", "namelast"}, {"yourfirst", "yourlast"}};
    struct text out[3];
    assert_int_equal(hello_map(args, 3, out, DIST_OPTS(.executor = X, .workers = 3)), DIST_OK);
    assert_string_equal(out[0].chars, "FIRSTNAME LASTNAME");
    assert_string_equal(out[1].chars, "NAMEFIRST NAMELAST");
    assert_string_equal(out[2].chars, "YOURFIRST YOURLAST");
}

/* A callable object with rows of three numbers: quadratic equations */
struct equation {
    double a, b, c;
};
struct roots { /* without padding, which may hold anything */
    long count;
    double root[2];
};

static struct roots solve(struct equation q) {
    double d = q.b * q.b - 4 * q.a * q.c;
    if (d < 0) return (struct roots){0};
    if (d == 0) return (struct roots){1, {-q.b / (2 * q.a), 0}};
    return (struct roots){2, {(-q.b + sqrt(d)) / (2 * q.a), (-q.b - sqrt(d)) / (2 * q.a)}};
}
DIST_FN1(struct roots, solve, struct equation)

static const struct equation equations[] = {{1, -3, 2}, {1, 2, 1}, {1, 0, 1}};

CASE("L-03", rows_of_numbers_become_structs_of_numbers) {
    struct roots out[3];
    assert_int_equal(dist_map(solve_task, equations, 3, out, .executor = X, .workers = 3), DIST_OK);
    assert_int_equal(out[0].count, 2);
    assert_true(out[0].root[0] == 2 && out[0].root[1] == 1);
    assert_int_equal(out[1].count, 1);
    assert_true(out[1].root[0] == -1);
    assert_int_equal(out[2].count, 0);
}

CASE("L-04", the_executor_is_a_value_and_changes_nothing_else) {
    static const dist_executor all[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    struct roots expected[3];
    assert_int_equal(dist_map(solve_task, equations, 3, expected, .executor = X), DIST_OK);
    for (size_t k = 0; k < N(all); k++) {
        struct roots out[3];
        if (!built(all[k])) continue;
        assert_int_equal(dist_map(solve_task, equations, 3, out, .executor = all[k]), DIST_OK);
        assert_memory_equal(out, expected, sizeof out);
    }
}
