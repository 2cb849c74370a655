/* contract_abandon.c - calls that leave their tasks behind, and what these may still do. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { ITEMS = 30, SIZE = 64 };

/* What outlives the call: abandoned tasks wait for `release`, and then use all they may. */
static struct {
    _Atomic(unsigned) begun, waiting, ended, wrong, release, exits;
    int first_slow; /* items from this one on wait */
    bool named;
} scene;

struct item {
    int number;
    char text[SIZE];
};

struct result {
    int number;
    char text[SIZE];
};

static void new_scene(int first_slow) {
    memset(&scene, 0, sizeof scene);
    scene.first_slow = first_slow;
}

static void expect(bool right) {
    if (!right) count(&scene.wrong);
}

static bool is_whole(const struct item *item) {
    char text[SIZE];
    snprintf(text, sizeof text, "item %d", item->number);
    return item->number >= 0 && item->number < ITEMS && !strcmp(item->text, text);
}

/* After the call has left: the item is still there, results go nowhere, nothing crashes. */
static void use_everything(const struct item *item, struct result *result) {
    char name[SIZE];
    expect(is_whole(item));
    expect(dist_cancelled());
    expect(dist_index() == (size_t)item->number && dist_attempt() == 1);
    snprintf(name, sizeof name, "name %d", item->number);
    if (scene.named) expect(dist_name() && !strcmp(dist_name(), name));
    expect(!dist_alloc(8) && !dist_worker_state());
    dist_random();
    memset(result, 0x77, sizeof *result);
    dist_fail(7, "nobody hears %s", item->text);
}

static int step(void *result, const void *given, void *ctx) {
    const struct item *item = given;
    struct result *to = result;
    (void)ctx;
    expect(is_whole(item));
    to->number = 10 * item->number;
    memcpy(to->text, item->text, SIZE);
    count(&scene.begun);
    if (item->number < scene.first_slow) return 0;
    count(&scene.waiting);
    if (reaches(&scene.release, 1)) use_everything(item, to);
    count(&scene.ended);
    return item->number % 2;
}

/* Items, results and names on the heap, each in a block of its own, so that a sanitizer sees who
 * touches them when they are gone. */
struct arrays {
    struct item *items;
    struct result *out;
    char **names;
};

static struct arrays new_arrays(void) {
    struct arrays a = {calloc(ITEMS, sizeof *a.items), calloc(ITEMS, sizeof *a.out),
                       calloc(ITEMS, sizeof *a.names)};
    for (int i = 0; i < ITEMS; i++) {
        a.items[i].number = i;
        snprintf(a.items[i].text, SIZE, "item %d", i);
        a.names[i] = malloc(SIZE);
        snprintf(a.names[i], SIZE, "name %d", i);
    }
    memset(a.out, -1, ITEMS * sizeof *a.out);
    return a;
}

static void free_arrays(struct arrays a) {
    for (int i = 0; i < ITEMS; i++) {
        memset(a.names[i], 'x', SIZE);
        free(a.names[i]);
    }
    memset(a.items, 'x', ITEMS * sizeof *a.items);
    free(a.items);
    free(a.out);
    free(a.names);
}

static dist_status call(struct arrays a, unsigned workers, double timeout, dist_job **job) {
    return dist_map(step, a.items, ITEMS, a.out, .executor = X, .workers = workers, .chunk = 1,
                    .abandon = true, .timeout = timeout, .job = job,
                    .names = scene.named ? (const char *const *)a.names : NULL);
}

static void check_results(const struct result *out, const dist_job *job) {
    struct result untouched;
    memset(&untouched, -1, sizeof untouched);
    for (int i = 0; i < ITEMS; i++) {
        if (status_of(job, (size_t)i)) assert_memory_equal(&out[i], &untouched, sizeof untouched);
        else assert_int_equal(out[i].number, 10 * i);
    }
}

/* Lets the abandoned tasks go on, and waits until they have ended. */
static void release_all(void) {
    count(&scene.release);
    assert_true(reaches(&scene.ended, counted(&scene.waiting)));
    assert_int_equal(counted(&scene.wrong), 0);
}

CASE_ON("G-06", an_abandoned_call_returns_at_its_limit, ON_THREAD, 30) {
    for (unsigned workers = 1; workers < 6; workers += 2) {
        struct arrays a = new_arrays();
        dist_job *job;
        dist_error e;
        new_scene(5);
        double start = now();
        assert_int_equal(dist_map(step, a.items, ITEMS, a.out, .executor = X, .workers = workers,
                                  .chunk = 1, .abandon = true, .timeout = AMPLE, .job = &job,
                                  .error = &e),
                         DIST_TIMEOUT);
        assert_true(now() - start >= AMPLE);
        ASSERT_SOON(start);
        assert_int_equal(e.index, 5);
        assert_ptr_equal(e.item, &a.items[5]);
        assert_int_equal(counted(&scene.ended), 0);
        check_results(a.out, job);
        for (size_t i = 0; i < ITEMS; i++) {
            dist_status expected = i < 5 ? DIST_OK : i < 5 + workers ? DIST_TIMEOUT : DIST_SKIPPED;
            assert_int_equal(status_of(job, i), expected);
        }
        release_all();
        check_results(a.out, job);
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
        free_arrays(a);
    }
}

CASE_ON("G-06", the_callers_memory_may_go_before_its_tasks, ON_THREAD, 60) {
    for (unsigned round = 0; again(round, 2 * rounds(50, 50)); round++) {
        struct arrays a = new_arrays();
        new_scene((int)(round % 7));
        scene.named = round % 2;
        double start = now();
        assert_int_equal(call(a, 1 + round % 4, 0.03, NULL), DIST_TIMEOUT);
        ASSERT_SOON(start);
        free_arrays(a);
        release_all();
    }
}

CASE_ON("G-06", a_job_of_an_abandoned_call_may_go_first, ON_THREAD, 30) {
    for (int last = 0; last < 2; last++) {
        struct arrays a = new_arrays();
        dist_job *job;
        new_scene(2);
        scene.named = true;
        assert_int_equal(call(a, 3, AMPLE, &job), DIST_TIMEOUT);
        assert_ptr_equal(dist_job_named(job, "name 1"), &a.out[1]);
        assert_null(dist_job_named(job, "name 2"));
        assert_int_equal(dist_job_succeeded(job, NULL), 2);
        if (last) release_all();
        assert_int_equal(dist_job_finish(&job), DIST_TIMEOUT);
        free_arrays(a);
        if (!last) release_all();
    }
}

static void *cancel_when_begun(void *token) {
    reaches(&scene.begun, 3);
    dist_token_cancel(token);
    return NULL;
}

CASE_ON("G-07", an_abandoned_call_returns_when_it_is_cancelled, ON_THREAD, 30) {
    for (unsigned round = 0; again(round, rounds(50, 50)); round++) {
        struct arrays a = new_arrays();
        dist_token *token = dist_token_new();
        pthread_t thread;
        new_scene(1);
        assert_int_equal(pthread_create(&thread, NULL, cancel_when_begun, token), 0);
        double start = now();
        assert_int_equal(dist_map(step, a.items, ITEMS, a.out, .executor = X, .workers = 3,
                                  .abandon = true, .token = token),
                         DIST_CANCELLED);
        ASSERT_SOON(start);
        pthread_join(thread, NULL);
        free_arrays(a);
        dist_token_free(token); /* abandoned tasks may still have it */
        release_all();
    }
}

static void check_calls(void) {
    static const unsigned workers[] = {1, 2, 0, 8};
    for (size_t k = 0; k < N(workers); k++) {
        int out[PRIME];
        memset(out, -1, sizeof out);
        assert_int_equal(
            dist_map(square, numbers(), PRIME, out, .executor = X, .workers = workers[k]), DIST_OK);
        for (int i = 0; i < PRIME; i++) assert_int_equal(out[i], i * i);
        assert_int_equal(dist_map(square, numbers(), PRIME, out, .executor = X, .timeout = 60,
                                  .workers = workers[k]),
                         DIST_OK);
    }
}

CASE_ON("G-06", calls_work_beside_abandoned_tasks, ON_THREAD, 30) {
    struct arrays a = new_arrays();
    new_scene(0);
    for (unsigned i = 1; i < 6; i++) {
        assert_int_equal(call(a, i, 0.02, NULL), DIST_TIMEOUT);
        check_calls();
    }
    free_arrays(a);
    release_all();
    check_calls();
}

static void sleep_on_and_exit(void *how) {
    struct arrays a = new_arrays();
    new_scene(0);
    if (call(a, 3, 0.02, NULL) != DIST_TIMEOUT) exit(4);
    double start = now();
    if (*(int *)how) dist_shutdown();
    if (now() - start > (SANITIZED ? 10 : 3)) exit(5);
    free_arrays(a);
    exit(0);
}

CASE_ON("G-20", a_program_ends_beside_abandoned_tasks, ON_THREAD, 60) {
    for (int how = 0; how < 2; how++)
        for (unsigned i = rounds(5, 5); i > 0; i--) {
            double start = now();
            int status = in_child(sleep_on_and_exit, &how);
            ASSERT_SOON(start);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
}

CASE_ON("G-20", a_shutdown_beside_abandoned_tasks_waits_for_nobody, ON_THREAD, 30) {
    struct arrays a = new_arrays();
    new_scene(0);
    assert_int_equal(call(a, 3, 0.02, NULL), DIST_TIMEOUT);
    double start = now();
    dist_shutdown();
    ASSERT_SOON(start);
    check_calls();
    free_arrays(a);
    release_all();
    dist_shutdown();
    check_calls();
}

/* A task that calls on after it has been abandoned. */
static int call_on(void *result, const void *given, void *ctx) {
    int out[5];
    (void)result, (void)ctx;
    count(&scene.waiting);
    if (!reaches(&scene.release, 1)) return 1;
    dist_status status = dist_map(square, numbers(), 5, out, .executor = DIST_THREAD, .workers = 2);
    expect(status == DIST_OK || status == DIST_CANCELLED || status == DIST_TIMEOUT);
    status = dist_map(square, numbers(), 5, out, .executor = DIST_INLINE, .timeout = 10);
    expect(status == DIST_OK || status == DIST_CANCELLED || status == DIST_TIMEOUT);
    expect(is_whole(given));
    count(&scene.ended);
    return 0;
}

CASE_ON("G-06", an_abandoned_task_may_make_calls, ON_THREAD, 30) {
    NOT_IN_POOLS("its tasks call on all executors");
    for (unsigned i = rounds(20, 20); i > 0; i--) {
        struct arrays a = new_arrays();
        new_scene(0);
        assert_int_equal(dist_map(call_on, a.items, ITEMS, a.out, .executor = X, .workers = 3,
                                  .abandon = true, .timeout = 0.03),
                         DIST_TIMEOUT);
        free_arrays(a);
        release_all();
    }
}

static int open_place(void **state, unsigned worker, void *user) {
    (void)worker;
    *state = user;
    return 0;
}

static void note_exit(void *state, unsigned worker, void *user) {
    (void)worker;
    expect(state == user);
    count(&scene.exits);
}

static int wait_with_state(void *result, const void *given, void *ctx) {
    (void)result, (void)given, (void)ctx;
    count(&scene.waiting);
    reaches(&scene.release, 1);
    expect(dist_worker_state() == &scene);
    count(&scene.ended);
    return 0;
}

CASE_ON("G-06", abandoned_workers_keep_their_state_and_have_no_exit, ON_THREAD, 30) {
    NOT_IN_POOLS("the call has a worker_init");
    struct arrays a = new_arrays();
    new_scene(0);
    assert_int_equal(dist_map(wait_with_state, a.items, ITEMS, a.out, .executor = X, .workers = 3,
                              .abandon = true, .timeout = AMPLE, .worker_init = open_place,
                              .worker_exit = note_exit, .user = &scene),
                     DIST_TIMEOUT);
    free_arrays(a);
    release_all();
    nap(0.05);
    assert_int_equal(counted(&scene.exits), 0);
}

/* ------------------------------------------------------------------ where it changes nothing */

static int late_chunk(void *results, const void *items, size_t n, void *ctx) {
    for (size_t k = 0; k < n; k++)
        step((struct result *)results + k, (const struct item *)items + k, ctx);
    return 0;
}

CASE_ON("G-06", a_chunk_may_be_abandoned, ON_THREAD, 30) {
    struct arrays a = new_arrays();
    dist_job *job;
    new_scene(20);
    assert_int_equal(dist_map_chunks(late_chunk, a.items, ITEMS, a.out, .executor = X, .workers = 3,
                                     .chunk = 10, .abandon = true, .timeout = AMPLE, .job = &job),
                     DIST_TIMEOUT);
    check_results(a.out, job);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(status_of(job, i), i < 20 ? DIST_OK : DIST_TIMEOUT);
    dist_job_finish(&job);
    free_arrays(a);
    count(&scene.release);
    assert_true(reaches(&scene.ended, ITEMS - 20));
}

CASE("G-06", abandon_changes_nothing_for_a_call_in_time) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (int limit = 0; limit < 2; limit++) {
            struct arrays a = new_arrays();
            dist_job *job;
            new_scene(ITEMS);
            scene.named = true;
            assert_int_equal(call(a, workers, limit ? 60 : 0, &job), DIST_OK);
            for (int i = 0; i < ITEMS; i++) {
                assert_int_equal(a.out[i].number, 10 * i);
                assert_string_equal(a.out[i].text, a.items[i].text);
            }
            assert_ptr_equal(dist_job_named(job, "name 7"), &a.out[7]);
            dist_job_finish(&job);
            free_arrays(a);
        }
}

CASE("G-15", abandon_is_refused_for_par_and_in_place) {
    struct arrays a = new_arrays();
    dist_task tasks[1] = {DIST_TASK(NULL, step, &a.items[0], &a.out[0])};
    new_scene(ITEMS);
    assert_int_equal(dist_par(tasks, 1, .executor = X, .abandon = true, .timeout = 1),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "abandon"));
    assert_int_equal(dist_map(step, a.items, ITEMS, a.out, .executor = X, .abandon = true,
                              .in_place = true, .timeout = 1),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "abandon"));
    assert_int_equal(counted(&scene.begun), 0);
    free_arrays(a);
}

static int doze_on(size_t index, void *ctx) {
    (void)index, (void)ctx;
    doze(60);
    return 0;
}

CASE("G-06", abandon_does_not_hurt_where_tasks_end_when_told) {
    double start = now();
    assert_int_equal(
        dist_for(doze_on, 10, .executor = X, .workers = 2, .abandon = true, .timeout = 0.05),
        DIST_TIMEOUT);
    ASSERT_SOON(start);
}
