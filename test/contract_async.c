/* contract_async.c - calls that go on by themselves: how they begin, what they give, and what they
 * refuse. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>

enum { ITEMS = 20 };

/* At results while the tasks wait at the gate: ThreadSanitizer does not see that what comes back
 * from a process that has passed it comes later. */
static const bool may_look = !THREAD_SANITIZED;

CASE_ON("P-41", a_call_goes_on_by_itself, ON_THREAD | ON_PROCESS, 20) {
    for (size_t k = 0; k < N(async_kinds); k++) {
        struct scene *scene = new_scene();
        size_t n = kind_count(async_kinds[k], ITEMS);
        int out[ITEMS];
        memset(out, -1, sizeof out);
        dist_job *job = go(async_kinds[k], pass_gate, ITEMS, out,
                           DIST_OPTS(.executor = X, .workers = 3, .ctx = scene));
        assert_non_null(job);
        assert_int_equal(dist_job_state(job), DIST_RUNNING);
        assert_true(reaches(&scene->begun, n < 3 ? 1 : 3));
        assert_int_equal(dist_job_state(job), DIST_RUNNING);
        assert_int_equal(dist_job_count(job), n);
        for (size_t i = 0; i < n && may_look; i++) assert_int_equal(out[i], -1);
        count(&scene->gate);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        assert_int_equal(dist_job_state(job), DIST_OK);
        check_all_out(out, n);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_null(job);
        for (size_t i = 0; i < n; i++) assert_int_equal(counted(&scene->runs[i]), 1);
    }
}

static int name_thread(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(int *)result = thread_id();
    return 0;
}

CASE_ON("P-41", an_inline_call_has_ended_when_its_job_comes, ON_INLINE, 20) {
    for (size_t k = 0; k < N(async_kinds); k++) {
        int out[ITEMS];
        dist_job *job = go(async_kinds[k], name_thread, ITEMS, out, DIST_OPTS(.executor = X));
        assert_int_equal(dist_job_state(job), DIST_OK);
        for (size_t i = 0; i < dist_job_count(job); i++) assert_int_equal(out[i], thread_id());
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

CASE("P-41", a_deferred_call_runs_nothing_before_its_start) {
    for (size_t k = 0; k < N(async_kinds); k++) {
        struct scene *scene = new_scene();
        size_t n = kind_count(async_kinds[k], ITEMS);
        int out[ITEMS];
        memset(out, -1, sizeof out);
        count(&scene->gate);
        dist_job *job = go(async_kinds[k], pass_gate, ITEMS, out,
                           DIST_OPTS(.executor = X, .ctx = scene, .deferred = true));
        assert_non_null(job);
        nap(0.02);
        assert_int_equal(dist_job_state(job), DIST_PENDING);
        assert_int_equal(dist_job_count(job), n);
        assert_int_equal(runs_of_all(scene), 0);
        assert_int_equal(dist_job_start(job), DIST_OK);
        dist_status state = dist_job_state(job);
        if (X == DIST_INLINE) assert_int_equal(state, DIST_OK);
        assert_true(state == DIST_RUNNING || state == DIST_OK);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        check_all_out(out, n);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_int_equal(runs_of_all(scene), n);
    }
}

CASE("P-42", a_job_is_started_once) {
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene);
    assert_int_equal(dist_job_start(job), DIST_STATE);
    assert_int_equal(dist_last_error()->status, DIST_STATE);
    assert_true(strlen(dist_last_error()->message) > 0);
    count(&scene->gate);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    scene = new_scene();
    job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .ctx = scene,
                         .deferred = true);
    assert_int_equal(dist_job_start(job), DIST_OK);
    assert_int_equal(dist_job_start(job), DIST_STATE);
    count(&scene->gate);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_start(job), DIST_STATE);
    assert_int_equal(dist_job_state(job), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(runs_of_all(scene), ITEMS);
}

/* ------------------------------------------------------------------ before the start */

CASE("P-44", a_job_that_was_not_started_cannot_be_waited_for) {
    static const double limits[] = {0, 0.01, DIST_FOREVER};
    for (size_t k = 0; k < N(limits); k++) {
        struct scene *scene = new_scene();
        dist_event event;
        int out[ITEMS];
        dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X,
                                       .ctx = scene, .deferred = true);
        double start = now();
        assert_int_equal(dist_job_wait(job, limits[k]), DIST_STATE);
        assert_int_equal(dist_last_error()->status, DIST_STATE);
        assert_true(strlen(dist_last_error()->message) > 0);
        assert_int_equal(dist_job_next(job, &event, limits[k]), DIST_STATE);
        assert_int_equal(dist_last_error()->status, DIST_STATE);
        assert_int_equal(dist_job_wait_any(&job, 1, limits[k]), 1);
        ASSERT_SOON(start);
        count(&scene->gate);
        assert_int_equal(dist_job_start(job), DIST_OK); /* nothing of that has changed it */
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        assert_int_equal(dist_job_next(job, &event, 0), DIST_OK);
        assert_int_equal(dist_job_wait_any(&job, 1, 0), 0);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

CASE("P-48", finish_frees_a_job_that_was_never_started) {
    for (int round = 0; round < 50; round++) {
        struct scene *scene = new_scene();
        int out[ITEMS] = {-1};
        dist_error e = {.status = DIST_STATUS_COUNT};
        dist_job *job = go(async_kinds[round % 3], pass_gate, ITEMS, out,
                           DIST_OPTS(.executor = X, .ctx = scene, .deferred = true, .error = &e,
                                     .unordered = round % 2));
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_null(job);
        assert_int_equal(e.status, DIST_STATUS_COUNT);
        assert_int_equal(out[0], -1);
        assert_int_equal(runs_of_all(scene), 0);
    }
}

CASE("P-41", before_the_end_there_is_nothing_to_see) {
    static const char *const names[ITEMS] = {"zero", "one"};
    struct scene *scene = new_scene();
    int out[ITEMS], copy = 7;
    memset(out, -1, sizeof out);
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .workers = 2,
                                   .ctx = scene, .names = names, .deferred = true);
    for (int started = 0; started < 2 && (!started || X != DIST_INLINE); started++) {
        if (started) assert_int_equal(dist_job_start(job), DIST_OK);
        if (started) assert_true(reaches(&scene->begun, 2));
        assert_int_equal(dist_job_count(job), ITEMS);
        assert_int_equal(dist_job_failures(job), 0);
        assert_null(dist_job_failure_at(job, 0));
        assert_null(dist_job_outcome(job, 0));
        assert_null(dist_job_named(job, "one"));
        assert_int_equal(dist_job_succeeded(job, &copy), 0);
        assert_int_equal(dist_job_replace_failed(job, &copy, NULL), DIST_STATE);
        assert_int_equal(copy, 7);
        for (int i = 0; i < ITEMS && may_look; i++) assert_int_equal(out[i], -1);
    }
    if (X == DIST_INLINE) assert_int_equal(dist_job_start(job), DIST_OK);
    count(&scene->gate);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_ptr_equal(dist_job_named(job, "one"), &out[1]);
    assert_int_equal(dist_job_succeeded(job, NULL), ITEMS);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

/* ------------------------------------------------------------------ results */

struct wide { /* with padding, of an odd size */
    char letter;
    long long square;
    unsigned char text[21];
};

static int widen(void *result, const void *item, void *ctx) {
    struct wide *wide = result;
    int i = *(const int *)item;
    wide->letter = (char)('a' + i % *(const int *)ctx);
    wide->square = (long long)i * i;
    for (int k = 0; k < i % 21; k++) wide->text[k] = (unsigned char)i;
    return i % 100 == 99 ? dist_fail(i, "%d", i) : 0;
}

CASE("P-41", results_are_those_of_the_blocking_call) {
    NOT_IN_POOLS("compares with a call on another executor");
    static struct wide expected[PRIME], out[PRIME];
    memset(expected, 0x55, sizeof expected);
    int letters = 26;
    assert_int_equal(dist_map(widen, numbers(), PRIME, expected, .executor = DIST_INLINE,
                              .ctx = &letters, .silent = true),
                     DIST_OK);
    for (unsigned workers = 0; workers < 5; workers++)
        for (size_t chunk = 0; chunk < 15; chunk += 7) {
            memset(out, 0x55, sizeof out);
            dist_job *job =
                dist_map_async(widen, numbers(), PRIME, out, .executor = X, .workers = workers,
                               .chunk = chunk, .ctx = &letters, .silent = true);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
            assert_memory_equal(out, expected, sizeof out);
            assert_int_equal(dist_job_failures(job), 10);
            for (size_t k = 0; k < 10; k++)
                assert_int_equal(dist_job_failure_at(job, k)->index, 100 * k + 99);
            assert_int_equal(dist_job_finish(&job), DIST_FAILED);
        }
}

static int price(void *result, const void *item, void *ctx) {
    *(double *)result = *(const double *)item * *(const double *)ctx;
    return 0;
}

static int describe(void *result, const void *item, void *ctx) {
    (void)ctx;
    strcpy(result, item);
    return 0;
}

static int fails(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    memset(result, 1, 1);
    return dist_fail(EIO, "no answer");
}

CASE("P-63", par_goes_on_by_itself_into_one_struct) {
    static const double coins = 3, dollars = 110, rate = 1.5;
    struct {
        char before, text[12], between;
        double coins, dollars, lost;
    } all = {.before = 1, .between = 2, .lost = -1};
    dist_task tasks[] = {DIST_TASK("coins", price, &coins, &all.coins),
                         DIST_TASK("lost", fails, &coins, &all.lost),
                         DIST_TASK("text", describe, &"hello world", &all.text),
                         DIST_TASK("dollars", price, &dollars, &all.dollars)};
    dist_job *job = dist_par_async(tasks, N(tasks), .executor = X, .workers = 2, .silent = true,
                                   .ctx = (void *)&rate);
    assert_non_null(job);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_true(all.coins > 4.49 && all.coins < 4.51);
    assert_true(all.dollars > 164.9 && all.dollars < 165.1);
    assert_true(all.lost < -0.9);
    assert_string_equal(all.text, "hello world");
    assert_int_equal(all.before, 1);
    assert_int_equal(all.between, 2);
    assert_ptr_equal(dist_job_named(job, "dollars"), &all.dollars);
    assert_ptr_equal(dist_job_named(job, "text"), &all.text);
    assert_null(dist_job_named(job, "lost"));
    assert_null(dist_job_named(job, "others"));
    assert_string_equal(dist_job_failure_at(job, 0)->name, "lost");
    assert_string_equal(dist_job_failure_at(job, 0)->message, "no answer");
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

static int count_calls(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    if (item) count(&scene->told);
    if (result) *(int *)result = 42;
    count(&scene->begun);
    return 0;
}

CASE("M-10", apply_goes_on_with_and_without_an_argument) {
    struct scene *scene = new_scene();
    int out = 0;
    dist_job *job = dist_apply_async(count_calls, DIST_NONE, &out, .executor = X, .ctx = scene);
    assert_int_equal(dist_job_count(job), 1);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(out, 42);
    job = dist_apply_async(count_calls, DIST_NONE, DIST_NONE, .executor = X, .ctx = scene);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(counted(&scene->told), 0);
    job = dist_apply_async(count_calls, &out, DIST_NONE, .executor = X, .ctx = scene);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(counted(&scene->told), 1);
    assert_int_equal(counted(&scene->begun), 3);
}

static int twice(int x, int times) { return times * x; }
#define TWICE(REQ, OPT) REQ(int, x) OPT(int, times, 2)
DIST_DEFINE(int, twice, TWICE)

CASE("P-41", defined_functions_go_on_too) {
    const twice_args args[] = {{.x = 1}, {.x = 2, .times = DIST_SET(7)}, {.x = 3}};
    int out[3];
    dist_job *job = dist_map_async(twice_task, args, 3, out, .executor = X);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_memory_equal(out, ((int[]){2, 14, 6}), sizeof out);
    const twice_args extras = {.times = DIST_SET(10)};
    job = dist_map_async(twice_task, args, 3, out, .executor = X, .extras = &extras);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_memory_equal(out, ((int[]){10, 14, 30}), sizeof out);
}

CASE("P-08", a_job_of_no_items_ends_at_once) {
    for (int deferred = 0; deferred < 2; deferred++)
        for (int par = 0; par < 2; par++) {
            dist_event event;
            const dist_opts *opts =
                DIST_OPTS(.executor = X, .deferred = deferred, .unordered = par);
            dist_job *job = par ? dist_par_async_fn(NULL, 0, opts)
                                : dist_map_async_fn(fails, NULL, 0, 4, NULL, 4, opts);
            assert_non_null(job);
            if (deferred) assert_int_equal(dist_job_state(job), DIST_PENDING);
            if (deferred) assert_int_equal(dist_job_start(job), DIST_OK);
            assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_EMPTY);
            assert_int_equal(dist_job_next(job, &event, 0), DIST_EMPTY);
            assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
            assert_int_equal(dist_job_count(job), 0);
            assert_int_equal(dist_job_finish(&job), DIST_OK);
        }
}

CASE("P-41", successful_calls_leave_errno_alone) {
    int out[ITEMS];
    dist_event event;
    for (int deferred = 0; deferred < 2; deferred++) {
        errno = 77;
        struct scene *scene = new_scene();
        count(&scene->gate);
        dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X,
                                       .ctx = scene, .deferred = deferred, .timeout = 60);
        assert_int_equal(errno, 77);
        if (deferred) assert_int_equal(dist_job_start(job), DIST_OK);
        assert_int_equal(errno, 77);
        assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
        assert_int_equal(errno, 77);
        assert_int_equal(dist_job_wait(job, 60), DIST_OK);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        assert_int_equal(dist_job_wait_any(&job, 1, 1), 0);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_int_equal(errno, 77);
    }
}

/* ------------------------------------------------------------------ how many at once */

static int count_peak(void *result, const void *item, void *ctx) {
    struct scene *scene = ctx;
    (void)result, (void)item;
    count(&scene->begun);
    passes(scene);
    return 0;
}

CASE_ON("P-41", so_many_jobs_are_under_way_at_once, ON_THREAD | ON_PROCESS, 30) {
    NOT_IN_POOLS("so many jobs begin as the pool has workers");
    enum { MANY = 80 };
    struct scene *scene = new_scene();
    dist_job *jobs[MANY];
    for (int k = 0; k < MANY; k++)
        jobs[k] = dist_apply_async(count_peak, DIST_NONE, DIST_NONE, .executor = X, .ctx = scene);
    assert_true(reaches(&scene->begun, most_jobs()));
    nap(0.3);
    assert_int_equal(counted(&scene->begun), most_jobs());
    for (int k = 0; k < MANY; k++) assert_int_equal(dist_job_state(jobs[k]), DIST_RUNNING);
    count(&scene->gate);
    for (int k = 0; k < MANY; k++) assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
    assert_int_equal(counted(&scene->begun), MANY);
}

static int first_waits(void *result, const void *item, void *ctx) {
    return dist_index() == 0 ? count_peak(result, item, ctx) : 0;
}

/* Its other workers have nothing to do any more. */
CASE_ON("P-41", a_wide_job_makes_no_room_for_others, ON_THREAD, 30) {
    NOT_IN_POOLS("so many jobs begin as the pool has workers");
    enum { MANY = 80 };
    struct scene *scene = new_scene();
    dist_job *jobs[MANY];
    jobs[0] = dist_map_async(first_waits, numbers(), 60, DIST_NONE, .executor = X, .workers = 60,
                             .chunk = 1, .ctx = scene);
    assert_true(reaches(&scene->begun, 1));
    for (int k = 1; k < MANY; k++)
        jobs[k] = dist_apply_async(count_peak, DIST_NONE, DIST_NONE, .executor = X, .ctx = scene);
    assert_true(reaches(&scene->begun, most_jobs()));
    nap(0.3);
    assert_int_equal(counted(&scene->begun), most_jobs());
    count(&scene->gate);
    for (int k = 0; k < MANY; k++) assert_int_equal(dist_job_finish(&jobs[k]), DIST_OK);
}
