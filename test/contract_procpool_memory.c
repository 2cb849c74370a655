/* contract_procpool_memory.c - what travels to the workers of a process pool and what comes back:
 * items, arguments, names, ctx; results, failures, arenas made before the pool and after it. */
#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ITEMS = 200 };

static dist_pool *open_pool(unsigned workers) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = workers);
    assert_non_null(pool);
    return pool;
}

/* ------------------------------------------------------------------ what goes there */

static int times_ctx(void *result, const void *item, void *ctx) {
    *(int *)result = *(const int *)item * *(const int *)ctx;
    return 0;
}

/* On the heap of the host, made and changed after the pool was opened. */
CASE_ON("P-51", items_and_ctx_made_after_the_pool_travel, ON_PROCESS, 20) {
    dist_pool *pool = open_pool(3);
    for (int round = 1; round < 30; round++) {
        size_t n = (size_t)round * 37;
        int *items = malloc(n * sizeof *items), *out = malloc(n * sizeof *out);
        int *factor = malloc(sizeof *factor);
        assert_true(items && out && factor);
        *factor = round;
        for (size_t i = 0; i < n; i++) items[i] = (int)i + round;
        assert_int_equal(dist_map(times_ctx, items, n, out, .pool = pool, .ctx = factor,
                                  .ctx_size = sizeof *factor),
                         DIST_OK);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(out[i], ((int)i + round) * round);
            assert_int_equal(items[i], (int)i + round);
        }
        free(items);
        free(out);
        free(factor);
    }
    dist_pool_free(&pool);
}

static int as_of_the_open = 1;

static int times_static(void *result, const void *item, void *ctx) {
    *(int *)result = *(const int *)item * as_of_the_open * (ctx ? *(const int *)ctx : 1);
    return 0;
}

CASE_ON("P-51", a_pool_sees_memory_as_of_its_open, ON_PROCESS, 20) {
    static int factor = 3;
    int out[ITEMS];
    as_of_the_open = 5;
    dist_pool *pool = open_pool(2);
    as_of_the_open = 7, factor = 4;
    assert_int_equal(dist_map(times_static, numbers(), ITEMS, out, .pool = pool), DIST_OK);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 5 * i);
    assert_int_equal(dist_map(times_static, numbers(), ITEMS, out, .pool = pool, .ctx = &factor),
                     DIST_OK); /* just a pointer */
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 15 * i);
    assert_int_equal(dist_map(times_static, numbers(), ITEMS, out, .pool = pool, .ctx = &factor,
                              .ctx_size = sizeof factor),
                     DIST_OK); /* a copy */
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 20 * i);
    dist_pool_free(&pool);
}

/* ctx belongs to the worker: what a task writes there reaches nobody but itself. */
static int write_to_ctx(void *result, const void *item, void *ctx) {
    *(int *)result = ((int *)ctx)[0];
    ((int *)ctx)[1] = *(const int *)item;
    return 0;
}

CASE_ON("P-51", what_a_task_writes_to_ctx_stays_with_the_workers, ON_PROCESS, 20) {
    int out[ITEMS], ctx[2] = {6, -1};
    dist_pool *pool = open_pool(2);
    assert_int_equal(dist_map(write_to_ctx, numbers(), ITEMS, out, .pool = pool, .ctx = ctx,
                              .ctx_size = sizeof ctx),
                     DIST_OK);
    assert_true(ctx[0] == 6 && ctx[1] == -1);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i], 6);
    dist_pool_free(&pool);
}

static int say_name(void *result, const void *item, void *ctx) {
    (void)ctx;
    const char *name = dist_name();
    snprintf(result, 16, "%s", name ? name : "-");
    if (*(const int *)item % 9 == 4) return dist_fail(3, "said %s", name ? name : "nothing");
    return 0;
}

CASE_ON("D-13", names_travel_and_come_back_with_failures, ON_PROCESS, 20) {
    static char text[ITEMS][16], out[ITEMS][16];
    const char *names[ITEMS];
    dist_pool *pool = open_pool(3);
    for (int i = 0; i < ITEMS; i++) {
        snprintf(text[i], sizeof text[i], "item-%d", i % 1000);
        names[i] = i % 5 ? text[i] : NULL;
    }
    dist_job *job;
    assert_int_equal(dist_map(say_name, numbers(), ITEMS, out, .pool = pool, .names = names,
                              .silent = true, .job = &job),
                     DIST_OK);
    for (int i = 0; i < ITEMS; i++) {
        const dist_error *error = dist_job_outcome(job, (size_t)i);
        assert_true(!error == (i % 9 != 4));
        if (!error) {
            assert_string_equal(out[i], names[i] ? names[i] : "-");
            continue;
        }
        char said[64];
        snprintf(said, sizeof said, "said %s", names[i] ? names[i] : "nothing");
        assert_string_equal(error->message, said);
        assert_true(error->name == names[i] || !strcmp(error->name, names[i]));
        assert_ptr_equal(error->item, numbers() + i);
    }
    dist_job_finish(&job);
    dist_pool_free(&pool);
}

typedef struct {
    char text[24];
    const void *pointer;
} row;

static int fill_row(void *result, const void *arg, void *ctx) {
    row *r = result;
    snprintf(r->text, sizeof r->text, "%s %s", dist_name(), ctx ? (const char *)ctx : "");
    r->pointer = arg;
    return 0;
}

static int triple(void *result, const void *arg, void *ctx) {
    (void)ctx;
    *(long *)result = 3 * *(const long *)arg;
    return 0;
}

static int crash(void *result, const void *arg, void *ctx) {
    (void)result, (void)arg, (void)ctx;
    raise(SIGKILL);
    return 0;
}

CASE_ON("D-11", tasks_of_par_travel_to_a_pool, ON_PROCESS, 20) {
    static char place;
    dist_pool *pool = open_pool(2);
    long number = 14, tripled = 0, untouched = 77;
    row rows[2];
    memset(rows, 0x11, sizeof rows);
    dist_task tasks[] = {DIST_TASK("third", triple, &number, &tripled),
                         DIST_TASK("dies", crash, &number, &untouched),
                         {"pointer", fill_row, &place, 0, &rows[0], sizeof rows[0], 0, 0, 0, 0},
                         {"ctx", fill_row, NULL, 0, &rows[1], sizeof rows[1], "own", 0, 0, 0}};
    dist_job *job;
    assert_int_equal(dist_par(tasks, N(tasks), .pool = pool, .silent = true, .job = &job), DIST_OK);
    assert_true(tripled == 42 && untouched == 77);
    assert_string_equal(rows[0].text, "pointer ");
    assert_ptr_equal(rows[0].pointer, &place); /* without a size it is just a pointer */
    assert_string_equal(rows[1].text, "ctx own");
    assert_null(rows[1].pointer);
    assert_int_equal(dist_job_failures(job), 1);
    assert_string_equal(dist_job_failure_at(job, 0)->name, "dies");
    dist_job_finish(&job);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ what comes back */

static int add_to_result(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result += *(const int *)item;
    if (dist_attempt() < 2 && *(const int *)item % 3 == 0) return 1;
    if (dist_attempt() < 2 && *(const int *)item % 3 == 1) raise(SIGKILL);
    return 0;
}

static int add(void *result, const void *item, void *ctx) {
    *(int *)result += *(const int *)item;
    return ctx != NULL;
}

/* Whatever a failed or killed attempt has left in it. */
CASE_ON("P-30", each_attempt_in_a_pool_finds_the_result_as_it_was, ON_PROCESS, 40) {
    int out[60];
    dist_pool *pool = open_pool(3);
    for (int i = 0; i < 60; i++) out[i] = 1000;
    assert_int_equal(dist_map(add_to_result, numbers(), 60, out, .pool = pool, .retries = 1),
                     DIST_OK);
    for (int i = 0; i < 60; i++) assert_int_equal(out[i], 1000 + i);
    assert_int_equal(dist_map(add, numbers(), 60, out, .pool = pool), DIST_OK);
    for (int i = 0; i < 60; i++) assert_int_equal(out[i], 1000 + 2 * i);
    dist_pool_free(&pool);
}

static int fill_large(void *result, const void *item, void *ctx) {
    memset(result, *(const int *)item + 1, *(const size_t *)ctx);
    return 0;
}

CASE_ON("G-17", large_results_come_back_from_a_pool_again_and_again, ON_PROCESS, 60) {
    enum { N_LARGE = 24 };
    size_t size = SANITIZED ? 1 << 18 : (size_t)8 << 20;
    unsigned char *out = malloc(N_LARGE * size);
    dist_pool *pool = open_pool(2);
    assert_non_null(out);
    for (int round = 0; round < 3; round++) {
        memset(out, 0, N_LARGE * size);
        assert_int_equal(
            dist_map_fn(fill_large, numbers(), N_LARGE, sizeof(int), out, size,
                        DIST_OPTS(.pool = pool, .ctx = &size, .ctx_size = sizeof size)),
            DIST_OK);
        for (size_t i = 0; i < N_LARGE; i++)
            for (size_t k = 0; k < size; k += 4000) assert_int_equal(out[i * size + k], i + 1);
    }
    free(out);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ arenas */

typedef struct list {
    const struct list *next;
    int number;
} list;

static int make_list(void *result, const void *item, void *ctx) {
    const list *last = NULL;
    (void)ctx;
    for (int k = 0; k <= *(const int *)item % 7; k++) {
        list *one = dist_alloc(sizeof *one);
        if (!one) return 1;
        if (one->next || one->number) return dist_fail(9, "it is not zero");
        *one = (list){last, *(const int *)item + k};
        last = one;
    }
    *(const list **)result = last;
    return 0;
}

static void check_lists(dist_pool *pool, dist_arena *arena, int from) {
    const list *out[ITEMS];
    assert_int_equal(
        dist_map(make_list, numbers() + from, ITEMS, out, .pool = pool, .arena = arena), DIST_OK);
    for (int i = 0; i < ITEMS; i++) {
        int k = (from + i) % 7;
        for (const list *one = out[i]; one; one = one->next, k--) {
            assert_true(dist_arena_owns(arena, one));
            assert_int_equal(one->number, from + i + k);
        }
        assert_int_equal(k, -1);
    }
}

CASE_ON("D-23", arenas_made_before_the_pool_and_after_it_serve_its_tasks, ON_PROCESS, 40) {
    dist_arena *before = dist_arena_new(1 << 20);
    dist_pool *pool = open_pool(3), *other = open_pool(1);
    dist_arena *after = dist_arena_new(0);
    for (int round = 0; round < 20; round++) {
        dist_arena *passing = dist_arena_new(1 << 22);
        check_lists(pool, before, round);
        check_lists(pool, after, round);
        check_lists(other, after, round);
        check_lists(pool, passing, round); /* memory that others had is zero again */
        dist_arena_free(passing);
    }
    dist_pool_free(&pool);
    check_lists(other, after, 0);
    dist_pool_free(&other);
    dist_arena_free(before);
    dist_arena_free(after);
}

/* Of two pools, one was opened before the first arena ever was. */
CASE_ON("D-23", lists_survive_the_pool_that_made_them, ON_PROCESS, 20) {
    dist_pool *pool = open_pool(2);
    dist_arena *arena = dist_arena_new(0);
    const list *out[ITEMS];
    assert_int_equal(dist_map(make_list, numbers(), ITEMS, out, .pool = pool, .arena = arena),
                     DIST_OK);
    dist_pool_free(&pool);
    for (int i = 0; i < ITEMS; i++) assert_int_equal(out[i]->number, i + i % 7);
    dist_arena_free(arena);
}

struct both {
    int *in;
    int *out;
};

static int make_arrays(void *result, const void *item, void *ctx) {
    struct both *both = result;
    (void)ctx;
    both->in = dist_alloc(ITEMS * sizeof(int));
    both->out = dist_alloc(ITEMS * sizeof(int));
    if (!both->in || !both->out) return 1;
    for (int i = 0; i < ITEMS; i++) both->in[i] = i + *(const int *)item, both->out[i] = -1;
    return 0;
}

static int double_and_stamp(void *result, const void *item, void *ctx) {
    *(int *)result = 2 * *(const int *)item;
    if (*(const int *)item % 50 == 7) return 1; /* leaves it there */
    ((int *)(uintptr_t)item)[0] += 1000000;     /* seen by the host if it is not a copy */
    return ctx != NULL;
}

CASE_ON("D-18", items_and_results_in_an_arena_are_not_copied, ON_PROCESS, 20) {
    dist_pool *pool = open_pool(2);
    dist_arena *arena = dist_arena_new(0);
    struct both both;
    int seven = 7;
    for (int in_place = 0; in_place < 2; in_place++) {
        assert_int_equal(dist_apply(make_arrays, &seven, &both, .pool = pool, .arena = arena),
                         DIST_OK);
        assert_int_equal(dist_map(double_and_stamp, both.in, ITEMS, both.out, .pool = pool,
                                  .arena = arena, .silent = true, .in_place = in_place),
                         DIST_OK);
        for (int i = 0; i < ITEMS; i++) {
            bool fails = (i + 7) % 50 == 7;
            assert_int_equal(both.in[i], i + 7 + (fails ? 0 : 1000000));
            assert_int_equal(both.out[i], fails && !in_place ? -1 : 2 * (i + 7));
        }
    }
    dist_arena_free(arena);
    dist_pool_free(&pool);
}

static int say_yes(size_t index, void *ctx) {
    (void)ctx;
    return dist_alloc(index + 1) ? 0 : 1;
}

/* A child of the host has arenas and pools of its own. */
static void use_both(void *arena) {
    dist_pool *pool = open_pool(1);
    dist_arena *own = dist_arena_new(1 << 20);
    check_lists(pool, own, 3);
    check_lists(pool, arena, 3);
    assert_int_equal(dist_for(say_yes, 20, .executor = DIST_INLINE, .arena = arena), DIST_OK);
    dist_arena_free(own);
    dist_arena_free(arena);
    dist_pool_free(&pool);
}

CASE_ON("G-03", a_child_of_the_host_has_arenas_of_its_own, ON_PROCESS, 20) {
    dist_pool *pool = open_pool(2);
    dist_arena *arena = dist_arena_new(0);
    check_lists(pool, arena, 0);
    assert_int_equal(in_child(use_both, arena), 0);
    check_lists(pool, arena, 1);
    dist_arena_free(arena);
    dist_pool_free(&pool);
}

/* ------------------------------------------------------------------ strict */

static void *stay_until(void *gate) {
    while (!counted(gate)) nap(0.001);
    return NULL;
}

CASE_ON("G-02", strict_refuses_to_fork_beside_other_threads, ON_PROCESS, 20) {
    if (THREAD_SANITIZED) return; /* it has a thread of its own */
    int out[ITEMS];
    pthread_t thread;
    _Atomic(unsigned) gate = 0;
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2, .strict = true);
    assert_non_null(pool);
    assert_int_equal(pthread_create(&thread, NULL, stay_until, &gate), 0);
    assert_null(dist_pool_open(.executor = X, .workers = 2, .strict = true));
    assert_int_equal(dist_last_error()->status, DIST_STATE);
    assert_non_null(strstr(dist_last_error()->message, "strict"));
    assert_int_equal(dist_map(times_static, numbers(), ITEMS, out, .pool = pool), DIST_OK);
    count(&gate);
    pthread_join(thread, NULL);
    dist_pool_free(&pool);
}
