/* crew.c - threads cannot be started, and the calls are looked after: whoever called works itself
 * when no thread has come for a while, at any depth. */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { ITEMS = 60, DEPTH = 5 };
enum { OWN_TASKS = THREAD_SANITIZED ? 2 : 1 }; /* that sanitizer has a thread of its own */

static int item[ITEMS];
static long out[ITEMS];
static unsigned started, finished, failed; /* by the hooks */
static _Atomic(unsigned) inits, exits;

static void prepare(void) {
    for (int i = 0; i < ITEMS; i++) item[i] = i, out[i] = -1;
    started = finished = failed = 0;
    atomic_store(&inits, 0);
    atomic_store(&exits, 0);
}

static void on_start(const dist_event *event, void *user) { (void)event, (void)user, started++; }

static void on_finish(const dist_event *event, void *user) {
    (void)user;
    finished++;
    failed += event->error != NULL;
}

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static void check_right_below(int end) {
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == (i < end ? 3L * i : -1));
}

/* ------------------------------------------------------------------ sorts of calls */

static int fail_at_first(void *result, const void *number, void *ctx) {
    if (*(const int *)number % 5 == 3 && dist_attempt() < 3) return 7;
    return triple(result, number, ctx);
}

static void retries(unsigned workers) {
    prepare();
    CHECK(dist_thread_map(fail_at_first, item, ITEMS, out, .workers = workers, .retries = 2,
                          .backoff = 0.001, .on_start = on_start,
                          .on_finish = on_finish) == DIST_OK);
    CHECK(started == ITEMS && finished == ITEMS && failed == 0);
    check_right_below(ITEMS);
}

static int fail_at_20(void *result, const void *number, void *ctx) {
    if (*(const int *)number == 20) return dist_fail(9, "twenty");
    return triple(result, number, ctx);
}

static void a_failure(unsigned workers) {
    prepare();
    CHECK(dist_thread_map(fail_at_20, item, ITEMS, out, .workers = workers, .retries = 1,
                          .timeout = 60) == DIST_FAILED);
    CHECK(dist_last_error()->index == 20 && dist_last_error()->attempts == 2);
    for (int i = 0; i < 20; i++) CHECK(out[i] == 3L * i);
    CHECK(out[20] == -1);
}

static int wait_until_told(void *result, const void *number, void *ctx) {
    for (double limit = now() + 30; now() < limit && !dist_cancelled();) nap(0.0005);
    return triple(result, number, ctx);
}

static void a_late_call(unsigned workers) {
    prepare();
    double begin = now();
    CHECK(dist_thread_map(wait_until_told, item, ITEMS, out, .workers = workers, .timeout = 0.15) ==
          DIST_TIMEOUT);
    CHECK(now() - begin < 15);
    check_right_below(0);
}

static void late_tasks(unsigned workers) {
    prepare();
    CHECK(dist_thread_map(wait_until_told, item, 4, out, .workers = workers, .task_timeout = 0.01,
                          .silent = true, .on_finish = on_finish) == DIST_OK);
    CHECK(finished == 4 && failed == 4);
    check_right_below(0);
}

static void cancel(const dist_event *event, void *token) {
    if (event->done == 10) dist_token_cancel(token);
}

static int triple_or_wait(void *result, const void *number, void *ctx) {
    return (*(const int *)number < 30 ? triple : wait_until_told)(result, number, ctx);
}

static void a_cancelled_call(unsigned workers) {
    prepare();
    dist_token *token = dist_token_new();
    CHECK(token);
    CHECK(dist_thread_map(triple_or_wait, item, ITEMS, out, .workers = workers, .chunk = 1,
                          .rate = 10000, .token = token, .on_finish = cancel,
                          .user = token) == DIST_CANCELLED);
    for (int i = 30; i < ITEMS; i++) CHECK(out[i] == -1);
    for (int i = 0; i < 30; i++) CHECK(out[i] == -1 || out[i] == 3L * i);
    dist_token_free(token);
}

static int init(void **state, unsigned worker, void *user) {
    (void)worker, (void)user;
    *state = &inits;
    return atomic_fetch_add(&inits, 1) > ITEMS;
}

static void leave(void *state, unsigned worker, void *user) {
    (void)worker, (void)user;
    CHECK(state == &inits);
    atomic_fetch_add(&exits, 1);
}

static int needs_state(void *result, const void *number, void *ctx) {
    CHECK(dist_worker_state() == &inits);
    return triple(result, number, ctx);
}

static void workers_with_a_state(unsigned workers) {
    prepare();
    CHECK(dist_thread_map(needs_state, item, ITEMS, out, .workers = workers, .worker_init = init,
                          .worker_exit = leave) == DIST_OK);
    CHECK(atomic_load(&inits) >= 1 && atomic_load(&inits) == atomic_load(&exits));
    check_right_below(ITEMS);
}

static void all_sorts(void) {
    for (unsigned workers = 1; workers <= 8; workers = 2 * workers + 1) { /* 1, 3, 7 */
        retries(workers);
        a_failure(workers);
        a_late_call(workers);
        late_tasks(workers);
        a_cancelled_call(workers);
        workers_with_a_state(workers);
    }
}

/* ------------------------------------------------------------------ depth */

/* Two items at each level, of which one fails once. */
static int descend(void *result, const void *depth, void *ctx) {
    int next[2] = {*(const int *)depth - 1, *(const int *)depth - 1};
    long below[2] = {0, 0};
    (void)ctx;
    if (dist_index() == 1 && dist_attempt() == 1) return 7;
    if (next[0] > 0 && dist_thread_map(descend, next, 2, below, .workers = 2, .retries = 1,
                                       .timeout = 60) != DIST_OK)
        return 8;
    *(long *)result = 1 + below[0] + below[1];
    return 0;
}

static void nested_calls(void) {
    int depth[2] = {DEPTH, DEPTH};
    long tasks[2] = {0, 0};
    for (unsigned workers = 1; workers <= 2; workers++) {
        CHECK(dist_thread_map(descend, depth, 2, tasks, .workers = workers, .retries = 1,
                              .on_finish = on_finish) == DIST_OK);
        CHECK(tasks[0] == (1 << DEPTH) - 1 && tasks[1] == tasks[0]);
    }
}

/* ------------------------------------------------------------------ calls that must be able to
 * leave */

static void abandoned_calls(void) {
    prepare();
    double begin = now();
    CHECK(dist_thread_map(triple, item, ITEMS, out, .workers = 3, .timeout = 0.1,
                          .abandon = true) == DIST_TIMEOUT);
    CHECK(now() - begin < 3);
    check_right_below(0);
    CHECK(dist_thread_map(triple, item, ITEMS, out, .workers = 3, .timeout = 100,
                          .abandon = true) == DIST_SYSTEM);
    CHECK(now() - begin < 30);
    CHECK(strstr(dist_last_error()->message, "thread"));
    check_right_below(0);
}

/* ------------------------------------------------------------------ what is taken away */

static void *nothing(void *unused) { return unused; }

static void take_threads_away(void) {
    pthread_t thread;
    forbid_new_threads();
    CHECK(pthread_create(&thread, NULL, nothing, NULL) == EAGAIN);
}

static void no_threads(void) {
    take_threads_away();
    all_sorts();
    dist_shutdown();
    retries(3);
}

static void no_threads_for_nested_calls(void) {
    take_threads_away();
    nested_calls();
}

static void no_threads_to_leave_to(void) {
    take_threads_away();
    abandoned_calls();
}

/* The pool has threads from before, and gets no more. */
static void no_more_threads(void) {
    prepare();
    CHECK(dist_thread_map(triple, item, ITEMS, out, .workers = 2, .timeout = 60) == DIST_OK);
    take_threads_away();
    all_sorts();
    nested_calls();
}

static void room_for_few_threads(void) {
    become_user_with(OWN_TASKS + 2);
    all_sorts();
    nested_calls();
    dist_shutdown();
    all_sorts();
}

static const struct fault_case cases[] = {
    {"no thread can be started", no_threads, 60},
    {"no thread can be started for nested calls", no_threads_for_nested_calls, 60},
    {"no thread can be started to leave work to", no_threads_to_leave_to, 60},
    {"no more threads can be started", no_more_threads, 60},
    {"room for few threads", room_for_few_threads, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
