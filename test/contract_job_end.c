/* contract_job_end.c - jobs in forked children, at exit and at shutdown, and what is freed after
 * them. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEMS = 20 };

/* Sanitizers do not survive a fork in the middle of threads: what they lock stays locked. */
static bool may_fork(void) { return !SANITIZED || X == DIST_INLINE; }

static bool new_job_works(dist_executor executor) {
    int out[50];
    memset(out, -1, sizeof out);
    dist_job *job = dist_map_async(square, numbers(), 50, out, .executor = executor, .workers = 2);
    dist_event event;
    for (size_t i = 0; i < 10; i++)
        if (dist_job_next(job, &event, DIST_FOREVER) || event.index != i) return false;
    bool right = dist_job_wait(job, DIST_FOREVER) == DIST_OK && dist_job_finish(&job) == DIST_OK;
    for (int i = 0; i < 50; i++) right &= out[i] == i * i;
    return right;
}

/* ------------------------------------------------------------------ handles in a child */

struct handles {
    dist_job *running, *queued, *pending, *ended;
};

/* Nothing hangs: each answer comes at once, and tells that the job is not this process's. */
static void assert_foreign(dist_job *job) {
    dist_event event;
    assert_int_equal(dist_job_state(job), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_start(job), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_wait(job, 0), DIST_UNSUPPORTED);
    assert_int_equal(dist_last_error()->status, DIST_UNSUPPORTED);
    assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_cancel(job, false), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_cancel(job, true), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_wait_any(&job, 1, DIST_FOREVER), 1);
    assert_int_equal(dist_job_count(job), ITEMS);
    assert_int_equal(dist_job_failures(job), 0);
    dist_status status = dist_job_finish(&job); /* never started: that may be fine too */
    assert_true(status == DIST_UNSUPPORTED || status == DIST_OK);
    assert_null(job);
}

static void use_handles(void *arg) {
    struct handles *handles = arg;
    double start = now();
    if (handles->running) assert_foreign(handles->running);
    if (handles->queued) assert_foreign(handles->queued);
    assert_foreign(handles->pending);
    /* how it ended can be told, or not; but neither wrongly nor never */
    dist_status status = dist_job_wait(handles->ended, DIST_FOREVER);
    assert_true(status == DIST_OK || status == DIST_UNSUPPORTED);
    status = dist_job_finish(&handles->ended);
    assert_true(status == DIST_OK || status == DIST_UNSUPPORTED);
    assert_null(handles->ended);
    ASSERT_SOON(start);
    assert_true(new_job_works(X));
    assert_true(new_job_works(DIST_INLINE));
}

static dist_job *make_job(struct scene *scene, int *out, bool deferred) {
    dist_job *job = dist_map_async(pass_gate, numbers(), ITEMS, out, .executor = X, .workers = 1,
                                   .ctx = scene, .deferred = deferred);
    assert_non_null(job);
    return job;
}

CASE_ON("G-03", jobs_of_the_parent_are_unsupported_in_a_child, ON_ALL, 60) {
    NOT_IN_PROCESS_POOLS("the pool is gone when the deferred job is started");
    if (!may_fork()) skip();
    for (unsigned round = 0; again(round, rounds(20, 20)); round++) {
        static int out[4][ITEMS];
        struct blockers blockers = {.count = 0};
        struct scene *scene = new_scene();
        struct handles handles = {.running = NULL};
        handles.ended = make_job(scene, out[0], false);
        handles.pending = make_job(scene, out[1], true);
        if (X != DIST_INLINE) {
            count(&scene->gate);
            assert_int_equal(dist_job_wait(handles.ended, 60), DIST_OK);
            scene = new_scene();
            handles.running = make_job(scene, out[2], false);
            assert_true(reaches(&scene->begun, 1));
            block(&blockers, 1);
            handles.queued = make_job(scene, out[3], false);
        }
        assert_int_equal(in_child(use_handles, &handles), 0);
        count(&scene->gate);
        if (X != DIST_INLINE) unblock(&blockers);
        if (X != DIST_INLINE) assert_int_equal(dist_job_finish(&handles.running), DIST_OK);
        if (X != DIST_INLINE) assert_int_equal(dist_job_finish(&handles.queued), DIST_OK);
        assert_int_equal(dist_job_start(handles.pending), DIST_OK);
        assert_int_equal(dist_job_finish(&handles.pending), DIST_OK);
        assert_int_equal(dist_job_finish(&handles.ended), DIST_OK);
    }
}

static void *keep_using_jobs(void *stop) {
    while (!counted(stop))
        if (!new_job_works(X)) break;
    return NULL;
}

static void be_a_new_user(void *unused) {
    (void)unused;
    for (int i = 0; i < 3; i++)
        if (!new_job_works(X)) _exit(3);
    dist_shutdown();
    _exit(new_job_works(X) ? 0 : 4);
}

CASE_ON("G-02", a_child_forked_in_the_middle_of_jobs_has_its_own, ON_ALL, 60) {
    _Atomic(unsigned) stop = 0;
    pthread_t threads[3];
    if (SANITIZED) skip();
    for (size_t k = 0; k < N(threads); k++)
        assert_int_equal(pthread_create(&threads[k], NULL, keep_using_jobs, &stop), 0);
    int wrong = 0;
    for (unsigned i = 0; again(i, rounds(100, 40)) && !wrong; i++) {
        pid_t pid = fork();
        if (pid == 0) be_a_new_user(NULL);
        if (!gone(pid, 10)) kill(pid, SIGKILL);
        waitpid(pid, &wrong, 0);
    }
    count(&stop);
    for (size_t k = 0; k < N(threads); k++) pthread_join(threads[k], NULL);
    assert_int_equal(wrong, 0);
}

/* A task in a worker process, and the jobs that its parent has. */
static int use_job_of_parent(void *result, const void *item, void *ctx) {
    dist_job *job = *(dist_job *const *)ctx;
    dist_event event;
    (void)result, (void)item;
    if (dist_job_wait(job, DIST_FOREVER) != DIST_UNSUPPORTED) return dist_fail(1, "wait");
    if (dist_job_next(job, &event, DIST_FOREVER) != DIST_UNSUPPORTED) return dist_fail(2, "next");
    if (dist_job_cancel(job, true) != DIST_UNSUPPORTED) return dist_fail(3, "cancel");
    return new_job_works(DIST_PROCESS) ? 0 : dist_fail(4, "a new one");
}

CASE_ON("G-03", a_worker_has_jobs_of_its_own_only, ON_PROCESS, 30) {
    if (!may_fork()) skip();
    struct scene *scene = new_scene();
    int out[ITEMS];
    dist_job *job = make_job(scene, out, false);
    assert_true(reaches(&scene->begun, 1));
    dist_job *other = dist_map_async(use_job_of_parent, numbers(), 5, DIST_NONE, .executor = X,
                                     .workers = 2, .ctx = &job);
    dist_status status = dist_job_wait(other, DIST_FOREVER);
    if (status) fail_msg("%s", dist_last_error()->message);
    assert_int_equal(dist_job_state(job), DIST_RUNNING);
    count(&scene->gate);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(dist_job_finish(&other), DIST_OK);
}

/* ------------------------------------------------------------------ exit */

static int sleep_long(void *result, const void *item, void *ctx) {
    (void)result, (void)item;
    count(ctx);
    nap(600);
    return 0;
}

enum leaving { RUNNING, QUEUED, PENDING, ENDED, LEAVINGS };

/* A program that never finishes its jobs. */
static void never_finish(void *arg) {
    enum leaving leaving = *(enum leaving *)arg;
    static int out[ITEMS];
    struct scene *scene = shared_memory(sizeof *scene);
    unsigned jobs = leaving == QUEUED ? 3 * most_jobs() : 2;
    if (leaving == RUNNING || leaving == QUEUED) {
        for (unsigned k = 0; k < jobs; k++)
            dist_map_async(sleep_long, numbers(), ITEMS, DIST_NONE, .executor = X, .workers = 2,
                           .ctx = &scene->begun);
        if (!reaches(&scene->begun, 2)) exit(9);
    } else {
        count(&scene->gate);
        dist_job *job = make_job(scene, out, leaving == PENDING);
        if (leaving == ENDED && dist_job_wait(job, DIST_FOREVER)) exit(8);
    }
    exit(40 + (int)leaving);
}

CASE_ON("G-20", a_program_may_end_without_finishing_its_jobs, ON_ALL, 60) {
    if (!may_fork()) skip();
    for (enum leaving leaving = RUNNING; leaving < LEAVINGS; leaving++) {
        if (X == DIST_INLINE && leaving < PENDING) continue;
        for (unsigned round = 0; round < 5; round++) {
            double start = now();
            int status = in_child(never_finish, &leaving);
            ASSERT_SOON(start);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 40 + leaving);
        }
    }
}

/* The jobs of a program that is killed go with it: the suite fails if a process is left. */
static void be_killed(void *scene) {
    for (int k = 0; k < 3; k++)
        dist_map_async(sleep_long, numbers(), ITEMS, DIST_NONE, .executor = X, .workers = 3,
                       .ctx = &((struct scene *)scene)->begun);
    nap(600);
}

CASE_ON("G-08", workers_of_jobs_die_with_their_host, ON_PROCESS, 30) {
    for (int round = 0; round < 5; round++) {
        struct scene *scene = shared_memory(sizeof *scene);
        pid_t pid = start_child(be_killed, scene);
        assert_true(reaches(&scene->begun, 9));
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
}

static int exit_in_task(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    exit(3);
}

static void exit_from_a_job(void *unused) {
    (void)unused;
    dist_job *job = dist_apply_async(exit_in_task, DIST_NONE, DIST_NONE, .executor = X);
    dist_job_wait(job, 60);
    nap(60);
}

CASE_ON("G-20", a_task_of_a_job_may_call_exit, ON_INLINE | ON_THREAD, 30) {
    if (!may_fork()) skip();
    double start = now();
    int status = in_child(exit_from_a_job, NULL);
    ASSERT_SOON(start);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

/* ------------------------------------------------------------------ shutdown */

CASE_ON("G-20", jobs_go_on_through_a_shutdown, ON_ALL, 30) {
    NOT_IN_POOLS("a shutdown leaves the pool's threads");
    for (int round = 0; round < 3; round++) {
        unsigned before = threads_before();
        static int out[3][ITEMS];
        struct blockers blockers = {.count = 0};
        struct scene *scene = new_scene();
        dist_job *pending = make_job(scene, out[0], true),
                 *running = make_job(scene, out[1], false), *queued = NULL;
        if (X != DIST_INLINE) {
            assert_true(reaches(&scene->begun, 1));
            block(&blockers, 1);
            queued = make_job(scene, out[2], false);
        }
        double start = now();
        dist_shutdown();
        dist_shutdown();
        ASSERT_SOON(start);
        assert_int_equal(dist_job_start(pending), DIST_OK);
        if (X != DIST_INLINE) assert_int_equal(dist_job_state(running), DIST_RUNNING);
        count(&scene->gate);
        assert_int_equal(dist_job_finish(&running), DIST_OK);
        if (X != DIST_INLINE) unblock(&blockers);
        assert_int_equal(dist_job_finish(&pending), DIST_OK);
        assert_int_equal(dist_job_finish(&queued), DIST_OK);
        for (int k = 0; k < (X == DIST_INLINE ? 2 : 3); k++) check_all_out(out[k], ITEMS);
        if (round) dist_shutdown(); /* without: the end of the last call does it */
        assert_in_range(threads_down_to(before), 1, before);
        assert_true(new_job_works(X));
        dist_shutdown();
        assert_in_range(threads_down_to(before), 1, before);
    }
}

static void *shut_down_often(void *stop) {
    while (!counted(stop)) {
        dist_shutdown();
        nap(0.0005);
    }
    return NULL;
}

CASE_ON("G-20", shutdowns_go_on_while_there_are_jobs, ON_ALL, 60) {
    _Atomic(unsigned) stop = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, shut_down_often, &stop), 0);
    for (unsigned i = 0; again(i, rounds(300, 60)); i++) assert_true(new_job_works(X));
    count(&stop);
    pthread_join(thread, NULL);
}

/* ------------------------------------------------------------------ memory */

static int sum_text(void *result, const void *item, void *ctx) {
    const char *text = *(const char *const *)item;
    long sum = *(const long *)ctx;
    for (; *text; text++) sum += *text;
    *(long *)result = sum;
    return dist_index() % 9 == 8 ? dist_fail(1, "%s", dist_name()) : 0;
}

/* Everything the call was given, on the heap: a sanitizer sees who still uses it. */
struct heap {
    const char *items[ITEMS];
    const char *names[ITEMS];
    long out[ITEMS], ctx;
    dist_error error;
};

static struct heap *new_heap(void) {
    struct heap *heap = calloc(1, sizeof *heap);
    char text[32];
    for (int i = 0; i < ITEMS; i++) {
        snprintf(text, sizeof text, "item %d", i);
        heap->items[i] = strdup(text);
        heap->names[i] = strdup(text);
    }
    heap->ctx = 7;
    return heap;
}

static void free_heap(struct heap *heap) {
    for (int i = 0; i < ITEMS; i++) {
        free((char *)(uintptr_t)heap->items[i]);
        free((char *)(uintptr_t)heap->names[i]);
    }
    memset((void *)heap, 0x5a, sizeof *heap);
    free(heap);
}

CASE_ON("P-47", all_may_be_freed_after_finish, ON_ALL, 60) {
    uint32_t random = random_seed();
    for (unsigned round = 0; again(round, rounds(400, 80)); round++) {
        struct heap *heap = new_heap();
        dist_event event;
        dist_job *job = dist_map_async(
            sum_text, heap->items, ITEMS, heap->out, .executor = X, .workers = round % 4,
            .ctx = &heap->ctx, .names = heap->names, .silent = round % 3 == 0,
            .error = &heap->error, .unordered = round % 2, .deferred = round % 10 == 9,
            .timeout = round % 6 == 5 ? 60 : 0, .retries = round % 5 == 4);
        assert_non_null(job);
        random_spin(&random, 100);
        if (round % 7 == 1) dist_job_wait(job, 60);
        if (round % 7 == 2) dist_job_next(job, &event, DIST_FOREVER);
        if (round % 7 == 3) dist_job_cancel(job, true);
        if (round % 7 == 4) dist_job_wait(job, 0.00005);
        dist_status status = dist_job_finish(&job);
        bool cancelled = round % 7 == 3, never = round % 10 == 9;
        assert_true(status == DIST_FAILED || (cancelled && status == DIST_CANCELLED) ||
                    (never && status == DIST_OK));
        free_heap(heap);
    }
}
