/* contract_async_invalid.c - what calls that go on by themselves, and jobs, refuse. */
#include "contract_async.h"

#include <math.h>

static struct scene *scene;
static int out[KIND_ITEMS];

static void prepare(void) {
    if (!scene) scene = new_scene();
    memset(out, -1, sizeof out);
    dist_for_fn(NULL, 0, NULL); /* leaves another error behind */
}

/* There is no job, nothing has run, and the message names the argument. */
static void assert_refused(dist_job *job, dist_status expected, const char *named) {
    const dist_error *e = dist_last_error();
    assert_null(job);
    assert_int_equal(e->status, expected);
    assert_int_equal(e->index, 0);
    if (!strstr(e->message, named)) fail_msg("\"%s\" does not name %s", e->message, named);
    assert_int_equal(runs_of_all(scene), 0);
    for (size_t i = 0; i < N(out); i++) assert_int_equal(out[i], -1);
}

/* All three refuse the options, and fill .error if that can be known. */
static void assert_all_refuse(dist_opts opts, dist_status expected, const char *named) {
    for (size_t k = 0; k < N(async_kinds); k++)
        for (int deferred = 0; deferred < 2; deferred++) {
            dist_error e = {.status = DIST_STATUS_COUNT};
            prepare();
            opts.error = &e, opts.ctx = scene, opts.deferred = deferred;
            assert_refused(go(async_kinds[k], pass_gate, 5, out, &opts), expected, named);
            if (opts.size == sizeof opts) assert_memory_equal(&e, dist_last_error(), sizeof e);
            else assert_int_equal(e.status, DIST_STATUS_COUNT);
        }
}

#define REFUSED(status, named, ...)                                                                \
    assert_all_refuse((dist_opts){.size = sizeof(dist_opts), .executor = X, __VA_ARGS__}, status,  \
                      named)

CASE("G-15", bad_options_give_no_job) {
    assert_all_refuse((dist_opts){.size = 0, .executor = X}, DIST_INVALID, "size");
    assert_all_refuse((dist_opts){.size = sizeof(dist_opts) - 1}, DIST_INVALID, "size");
    assert_all_refuse(*DIST_OPTS(.executor = (dist_executor)99), DIST_INVALID, "executor");
    assert_all_refuse(*DIST_OPTS(.executor = DIST_AUTO), DIST_UNSUPPORTED, "executor");
    REFUSED(DIST_INVALID, "in_flight", .in_flight = 1);
    REFUSED(DIST_UNSUPPORTED, "trace", .trace = "trace");
    REFUSED(DIST_INVALID, "tasks_per_worker", .tasks_per_worker = 1);
    REFUSED(DIST_INVALID, "timeout", .timeout = -1);
    REFUSED(DIST_INVALID, "timeout", .timeout = NAN);
    REFUSED(DIST_INVALID, "task_timeout", .task_timeout = -0.1);
    REFUSED(DIST_INVALID, "backoff", .backoff = -1);
    REFUSED(DIST_INVALID, "rate", .rate = -1);
    REFUSED(DIST_INVALID, "cpus", .n_cpus = 1);
    REFUSED(DIST_INVALID, "abandon", .abandon = true, .in_place = true);
}

CASE("G-15", a_call_that_returns_a_job_takes_none) {
    for (size_t k = 0; k < N(async_kinds); k++) {
        dist_job *job = (dist_job *)(uintptr_t)0xdead;
        prepare();
        assert_refused(go(async_kinds[k], pass_gate, 5, out,
                          DIST_OPTS(.executor = X, .ctx = scene, .job = &job)),
                       DIST_INVALID, "job");
        assert_null(job);
    }
}

CASE("G-15", only_calls_that_return_a_job_are_deferred_or_unordered) {
    for (enum kind kind = MAP; kind < KINDS; kind++)
        for (int unordered = 0; unordered < 2; unordered++) {
            prepare();
            assert_int_equal(call_kind(kind, pass_gate, 5, out,
                                       DIST_OPTS(.executor = X, .ctx = scene,
                                                 .deferred = !unordered, .unordered = unordered)),
                             DIST_INVALID);
            assert_refused(NULL, DIST_INVALID, unordered ? "unordered" : "deferred");
        }
}

CASE("P-10", bad_arrays_give_no_job) {
    const dist_opts *opts = DIST_OPTS(.executor = X);
    prepare();
    assert_refused(dist_map_async_fn(NULL, numbers(), 5, 4, out, 4, opts), DIST_INVALID, "fn");
    assert_refused(dist_apply_async_fn(NULL, numbers(), 4, out, 4, opts), DIST_INVALID, "fn");
    assert_refused(dist_map_async_fn(pass_gate, NULL, 5, 4, out, 4, opts), DIST_INVALID, "items");
    assert_refused(dist_map_async_fn(pass_gate, numbers(), 5, 0, out, 4, opts), DIST_INVALID,
                   "items");
    assert_refused(dist_map_async_fn(pass_gate, numbers(), 5, 4, out, 0, opts), DIST_INVALID,
                   "out");
    assert_refused(dist_map_async_fn(pass_gate, numbers(), SIZE_MAX, 4, out, 4, opts), DIST_INVALID,
                   "n");
    assert_refused(dist_map_async(pass_gate, numbers(), 3, out, .executor = X,
                                  .names = (const char *[]){"a", "b", "a"}),
                   DIST_INVALID, "names");
}

CASE("P-63", bad_tasks_give_no_job) {
    dist_task tasks[2] = {DIST_TASK("a", pass_gate, numbers(), &out[0]),
                          DIST_TASK("a", pass_gate, numbers(), &out[1])};
    prepare();
    assert_refused(dist_par_async_fn(NULL, 2, DIST_OPTS(.executor = X)), DIST_INVALID, "tasks");
    assert_refused(dist_par_async(tasks, 2, .executor = X), DIST_INVALID, "tasks");
    tasks[1].name = "b";
    assert_refused(dist_par_async(tasks, 2, .executor = X, .abandon = true), DIST_INVALID,
                   "abandon");
    assert_refused(dist_par_async(tasks, 2, .executor = X, .names = (const char *[]){"a", "b"}),
                   DIST_INVALID, "names");
    tasks[1].timeout = -1;
    assert_refused(dist_par_async(tasks, 2, .executor = X), DIST_INVALID, "timeout");
    tasks[1].timeout = 0, tasks[1].fn = NULL;
    assert_refused(dist_par_async(tasks, 2, .executor = X), DIST_INVALID, "fn");
}

static int ten_times(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 10 * *(const int *)item;
    return 0;
}

CASE("G-15", no_options_are_the_default_ones) {
    (void)X;
    for (size_t k = 0; k < N(async_kinds); k++) {
        memset(out, -1, sizeof out);
        dist_job *job = go(async_kinds[k], ten_times, 5, out, NULL);
        assert_non_null(job);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
        check_all_out(out, dist_job_count(job));
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

#define ASSERT_INVALID(call, named)                                                                \
    do {                                                                                           \
        dist_for_fn(NULL, 0, NULL);                                                                \
        assert_int_equal(call, DIST_INVALID);                                                      \
        assert_int_equal(dist_last_error()->status, DIST_INVALID);                                 \
        assert_non_null(strstr(dist_last_error()->message, named));                                \
    } while (0)

CASE("G-15", there_is_no_job_to_wait_for) {
    dist_event event;
    ASSERT_INVALID(dist_job_start(NULL), "job");
    ASSERT_INVALID(dist_job_state(NULL), "job");
    ASSERT_INVALID(dist_job_wait(NULL, 0), "job");
    ASSERT_INVALID(dist_job_wait(NULL, DIST_FOREVER), "job");
    ASSERT_INVALID(dist_job_next(NULL, &event, DIST_FOREVER), "job");
    ASSERT_INVALID(dist_job_cancel(NULL, true), "job");
    dist_job *job = dist_map_async(ten_times, numbers(), 5, out, .executor = X);
    ASSERT_INVALID(dist_job_next(job, NULL, DIST_FOREVER), "event");
    for (size_t i = 0; i < 5; i++) { /* that call was not one */
        assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
        assert_int_equal(event.index, i);
    }
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

CASE("D-22", a_job_meets_its_statuses) {
    prepare();
    dist_event event;
    dist_job *job =
        dist_map_async(pass_gate, numbers(), 3, out, .executor = X, .ctx = scene, .deferred = true);
    assert_int_equal(dist_job_state(job), DIST_PENDING);
    assert_int_equal(dist_job_wait(job, 0), DIST_STATE);
    assert_int_equal(dist_job_start(job), DIST_OK);
    if (X != DIST_INLINE) {
        assert_int_equal(dist_job_state(job), DIST_RUNNING);
        assert_int_equal(dist_job_wait(job, 0), DIST_TIMEOUT);
        assert_int_equal(dist_job_next(job, &event, 0), DIST_TIMEOUT);
        assert_true(reaches(&scene->begun, 1));
        assert_int_equal(dist_job_cancel(job, false), DIST_RUNNING);
    }
    count(&scene->gate);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
    assert_int_equal(dist_job_cancel(job, true), DIST_STATE);
    for (int i = 0; i < 3; i++) assert_int_equal(dist_job_next(job, &event, 0), DIST_OK);
    assert_int_equal(dist_job_next(job, &event, 0), DIST_EMPTY);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    job =
        dist_map_async(pass_gate, numbers(), 3, out, .executor = X, .ctx = scene, .deferred = true);
    assert_int_equal(dist_job_cancel(job, false), DIST_OK);
    assert_int_equal(dist_job_state(job), DIST_CANCELLED);
    assert_int_equal(dist_job_next(job, &event, 0), DIST_OK);
    assert_int_equal(event.error->status, DIST_SKIPPED);
    assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
}
