/* contract_strict.c - with DIST_STRICT=1 a task may not return a pointer that only its worker can
 * follow. The environment is read once, so each case sets it before its first call. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char private[10];
static int *of_the_caller; /* mapped shared */

static void *from(int where) {
    switch (where) {
    case 0: return NULL;
    case 1: return dist_alloc(4);
    case 2: return dist_strdup("text");
    case 3: return (void *)(uintptr_t) "a constant";
    case 4: return of_the_caller + 1;
    case 5: return private;
    case 6: return (void *)(uintptr_t)16; /* nothing is there */
    default: dist_fail(3, "said by itself"); return private;
    }
}
DIST_FN1(void *, from, int)

enum { GOOD = 5, ALL = 8 };

static void check_places(bool strict) {
    void *out[ALL];
    dist_job *job;
    dist_arena *arena = dist_arena_new(0);
    of_the_caller = shared_memory(64);
    assert_int_equal(dist_map(from_task, numbers(), ALL, out, .executor = X, .workers = 2,
                              .arena = arena, .silent = true, .job = &job),
                     DIST_OK);
    for (size_t i = 0; i < ALL; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        char text[32];
        snprintf(text, sizeof text, "%p", i == 5 ? (void *)private : (void *)(uintptr_t)16);
        if (i == ALL - 1) {
            assert_string_equal(e->message, "said by itself");
        } else if (i < GOOD || !strict || X != DIST_PROCESS) {
            assert_null(e);
        } else {
            assert_int_equal(e->status, DIST_FAILED);
            assert_int_equal(e->code, EFAULT);
            assert_non_null(strstr(e->message, text));
            assert_non_null(strstr(e->message, "dist_alloc"));
        }
    }
    dist_job_finish(&job);
    dist_arena_free(arena);
}

CASE("M-27", a_pointer_that_is_private_to_its_worker_is_found) {
    setenv("DIST_STRICT", "1", 1);
    check_places(true);
}

CASE("M-27", pointers_are_not_looked_at_unless_asked) {
    unsetenv("DIST_STRICT");
    check_places(false);
}

CASE("M-27", strictness_is_asked_for_by_a_one) {
    setenv("DIST_STRICT", "0", 1);
    check_places(false);
}

/* ------------------------------------------------------------------ other kinds of results */

struct pair {
    char *first, *second;
};
typedef int (*function)(int);

static int same(int x) { return x; }
static struct pair a_pair(int x) { return (struct pair){private, private + x}; }
static uintptr_t a_number(int x) { return (uintptr_t) private + (unsigned)x; }
static double a_fraction(int x) { return x / 2.0; }
static bool a_truth(int x) { return x & 1; }
static dist_executor a_name(int x) { return x & 1 ? DIST_THREAD : DIST_INLINE; }
static function a_function(int x) { return x & 1 ? same : NULL; }
DIST_FN1(int, same, int)
DIST_FN1(struct pair, a_pair, int)
DIST_FN1(uintptr_t, a_number, int)
DIST_FN1(double, a_fraction, int)
DIST_FN1(bool, a_truth, int)
DIST_FN1(dist_executor, a_name, int)
DIST_FN1(function, a_function, int)

static const char *named(int x, const char *prefix) { return x ? prefix : private; }
#define NAMED(REQ, OPT) REQ(int, x) OPT(const char *, prefix, "a constant")
DIST_DEFINE(const char *, named, NAMED)

static char *no_parameters(void) { return private; }
DIST_FN0(char *, no_parameters)

#define CHECK(R, f, wanted)                                                                        \
    do {                                                                                           \
        R out[4];                                                                                  \
        assert_int_equal(dist_map(f##_task, numbers(), 4, out, .executor = X), DIST_OK);           \
        for (int i = 0; i < 4; i++) assert_true(out[i] == (wanted));                               \
    } while (0)

CASE("M-27", results_that_are_no_pointers_are_left_alone) {
    setenv("DIST_STRICT", "1", 1);
    struct pair pairs[4];
    CHECK(int, same, i);
    CHECK(uintptr_t, a_number, (uintptr_t) private + (unsigned)i);
    CHECK(double, a_fraction, i / 2.0);
    CHECK(bool, a_truth, (i & 1) != 0);
    CHECK(dist_executor, a_name, i & 1 ? DIST_THREAD : DIST_INLINE);
    CHECK(function, a_function, i & 1 ? same : NULL);
    assert_int_equal(dist_map(a_pair_task, numbers(), 4, pairs, .executor = X), DIST_OK);
    for (int i = 0; i < 4; i++) assert_ptr_equal(pairs[i].second, private + i);
}

CASE("M-27", every_way_to_define_a_task_is_looked_at) {
    setenv("DIST_STRICT", "1", 1);
    const named_args args[] = {{.x = 0}, {.x = 1}};
    const char *out[2];
    dist_status expected = X == DIST_PROCESS ? DIST_FAILED : DIST_OK;
    assert_int_equal(named_map(args, 2, out, DIST_OPTS(.executor = X)), expected);
    assert_int_equal(named_map(&args[1], 1, out, DIST_OPTS(.executor = X)), DIST_OK);
    assert_string_equal(out[0], "a constant");
    char *text;
    assert_int_equal(dist_apply(no_parameters_task, DIST_NONE, &text, .executor = X), expected);
    assert_int_equal(dist_apply(no_parameters_task, DIST_NONE, DIST_NONE, .executor = X), expected);
}
