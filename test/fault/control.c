/* control.c - calls that are looked after, in a system that refuses what their supervisors need:
 * descriptors, signals by pidfd, sleep, new processes. They do what they do elsewhere. */
#include "fault.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open        434
#define SYS_pidfd_send_signal 424
#endif

enum { ITEMS = 200, WORKERS = 3 };

static int item[ITEMS];
static long out[ITEMS];
static unsigned started, finished, failed; /* by the hooks */

static dist_executor executor; /* of the calls that follow */

static void prepare(void) {
    for (int i = 0; i < ITEMS; i++) item[i] = i, out[i] = -1;
    started = finished = failed = 0;
}

static void on_start(const dist_event *event, void *user) { (void)event, (void)user, started++; }

static void on_finish(const dist_event *event, void *user) {
    (void)user;
    finished++;
    failed += event->error != NULL;
}

/* ------------------------------------------------------------------ tasks */

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static int triple_the_second_time(void *result, const void *number, void *ctx) {
    if (*(const int *)number % 10 == 3 && dist_attempt() == 1) return 5;
    return triple(result, number, ctx);
}

/* Until it is told, or killed; deaf ones in a process just wait. */
static void wait_for_the_end(bool deaf) {
    for (double limit = now() + 30; now() < limit && (deaf || !dist_cancelled());) nap(0.0005);
}

static int triple_or_wait(void *result, const void *number, void *ctx) {
    if (*(const int *)number == 77) wait_for_the_end(executor == DIST_PROCESS);
    return triple(result, number, ctx);
}

static int wait_all(void *result, const void *number, void *ctx) {
    wait_for_the_end(false);
    return triple(result, number, ctx);
}

static int triple_then_wait(void *result, const void *number, void *ctx) {
    if (*(const int *)number >= ITEMS / 2) wait_for_the_end(false);
    return triple(result, number, ctx);
}

/* ------------------------------------------------------------------ sorts of calls */

static void check_all_right_but(int one) {
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == (i == one ? -1 : 3L * i));
}

static void retries(void) {
    prepare();
    CHECK(dist_map(triple_the_second_time, item, ITEMS, out, .executor = executor,
                   .workers = WORKERS, .retries = 1, .backoff = 0.001, .on_start = on_start,
                   .on_finish = on_finish) == DIST_OK);
    check_all_right_but(-1);
    CHECK(started == ITEMS && finished == ITEMS && failed == 0);
}

static void a_late_task(void) {
    prepare();
    double begin = now();
    dist_status status = dist_map(triple_or_wait, item, ITEMS, out, .executor = executor,
                                  .workers = WORKERS, .task_timeout = 0.1, .silent = true,
                                  .max_failures = ITEMS, .on_finish = on_finish);
    CHECK(status == DIST_OK && now() - begin < 15);
    CHECK(finished == ITEMS && failed == 1);
    check_all_right_but(77);
}

static void a_late_call(void) {
    prepare();
    double begin = now();
    dist_status status = dist_map(wait_all, item, ITEMS, out, .executor = executor,
                                  .workers = WORKERS, .timeout = 0.05);
    CHECK(status == DIST_TIMEOUT && now() - begin < 15);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == -1);
}

static void paced_starts(void) {
    prepare();
    double begin = now();
    CHECK(dist_map(triple, item, 20, out, .executor = executor, .workers = WORKERS, .rate = 1000) ==
          DIST_OK);
    CHECK(now() - begin >= 0.019);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == (i < 20 ? 3L * i : -1));
}

static void cancel(const dist_event *event, void *token) {
    if (event->done >= 5) dist_token_cancel(token);
}

static void a_cancelled_call(dist_token *token) {
    prepare();
    CHECK(!dist_token_cancelled(token));
    dist_status status =
        dist_map(triple_then_wait, item, ITEMS, out, .executor = executor, .workers = WORKERS,
                 .token = token, .on_finish = cancel, .user = token);
    CHECK(status == DIST_CANCELLED);
    for (int i = 0; i < ITEMS; i++) CHECK(out[i] == -1 || (i < ITEMS / 2 && out[i] == 3L * i));
}

static bool is_built(dist_executor one) {
    int number = 1;
    long result;
    return dist_map(triple, &number, 1, &result, .executor = one) != DIST_UNSUPPORTED;
}

enum { EXECUTORS = 3 };
static const dist_executor executors[EXECUTORS] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};

/* The tokens were made while there were descriptors; NULL: there are none. */
static void all_sorts(dist_token *const token[EXECUTORS]) {
    for (size_t k = 0; k < EXECUTORS; k++) {
        executor = executors[k];
        if (!is_built(executor)) continue;
        retries();
        a_late_task();
        a_late_call();
        paced_starts();
        if (token) a_cancelled_call(token[k]);
    }
}

static void make_tokens(dist_token *token[EXECUTORS]) {
    for (size_t k = 0; k < EXECUTORS; k++) CHECK((token[k] = dist_token_new()));
}

static void free_tokens(dist_token *token[EXECUTORS]) {
    for (size_t k = 0; k < EXECUTORS; k++) dist_token_free(token[k]);
}

/* ------------------------------------------------------------------ descriptors */

static void check_no_token(void) {
    CHECK(dist_token_new() == NULL);
    CHECK(dist_last_error()->status == DIST_SYSTEM && dist_last_error()->code == EMFILE);
    CHECK(strstr(dist_last_error()->message, "token"));
}

static double cpu_seconds(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static int nap_long(void *result, const void *number, void *ctx) {
    for (double limit = now() + 0.5; now() < limit;) nap(0.1);
    return triple(result, number, ctx);
}

/* A supervisor without a bell looks around by itself, but it does not spin. */
static void check_idle(void) {
    for (size_t k = 0; k < EXECUTORS; k++) {
        if (!is_built(executors[k])) continue;
        prepare();
        double cpu = cpu_seconds();
        CHECK(dist_map(nap_long, item, 2, out, .executor = executors[k], .workers = 2,
                       .timeout = 60) == DIST_OK);
        CHECK(SANITIZED || cpu_seconds() - cpu < 0.2);
    }
}

static void without_eventfd(void) {
    dist_token *token[EXECUTORS];
    make_tokens(token);
    forbid((int[]){SYS_eventfd2}, 1, EMFILE);
    struct footprint before = footprint();
    check_no_token();
    check_footprint(before);
    all_sorts(token);
    check_footprint(before);
    check_idle();
    free_tokens(token);
}

static void all_descriptors_are_taken(void) {
    dist_token *token[EXECUTORS];
    struct rlimit limit;
    make_tokens(token);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){64, limit.rlim_max}) == 0);
    int taken = 0, first = dup(0);
    while (dup(0) >= 0) taken++;
    CHECK(first >= 0 && errno == EMFILE && taken < 64);
    check_no_token();
    all_sorts(token);
    check_idle();
    CHECK(dup(0) == -1); /* none was closed that is not dist's */
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    free_tokens(token);
}

/* Then poll refuses whatever it is asked. */
static void no_descriptor_may_be_opened(void) {
    dist_token *token[EXECUTORS];
    struct rlimit limit;
    make_tokens(token);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, limit.rlim_max}) == 0);
    CHECK(poll(&(struct pollfd){.fd = -1}, 1, 0) == -1 && errno == EINVAL);
    check_no_token();
    all_sorts(token);
    check_idle();
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    free_tokens(token);
}

/* ------------------------------------------------------------------ signals */

static void without_signals_by_pidfd(void) {
    forbid((int[]){SYS_pidfd_send_signal}, 1, ENOSYS);
    CHECK(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) == -1 && errno == ENOSYS);
    all_sorts(NULL);
}

/* As in containers whose filter does not know the call. */
static void signals_by_pidfd_are_forbidden(void) {
    forbid((int[]){SYS_pidfd_send_signal}, 1, EPERM);
    CHECK(syscall(SYS_pidfd_send_signal, -1, 0, NULL, 0) == -1 && errno == EPERM);
    all_sorts(NULL);
}

static void without_any_pidfd(void) {
    forbid((int[]){SYS_pidfd_open, SYS_pidfd_send_signal}, 2, ENOSYS);
    all_sorts(NULL);
}

/* ------------------------------------------------------------------ sleep */

static volatile sig_atomic_t alarms;

static void count_alarm(int number) { (void)number, alarms++; }

static void every_sleep_is_interrupted(void) {
    dist_token *token[EXECUTORS];
    make_tokens(token);
    struct sigaction action = {.sa_handler = count_alarm}; /* no SA_RESTART */
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    all_sorts(token);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    printf("%d interrupts; ", (int)alarms);
    fflush(stdout);
    CHECK(alarms > 100);
    free_tokens(token);
}

static void poll_never_sleeps(void) {
    dist_token *token[EXECUTORS];
    make_tokens(token);
    forbid((int[]){SYS_ppoll}, 1, EINTR);
    CHECK(ppoll(NULL, 0, &(struct timespec){0, 1}, NULL) == -1 && errno == EINTR);
    all_sorts(token);
    free_tokens(token);
}

/* ------------------------------------------------------------------ no new processes, later on */

static void stop_forking(const dist_event *event, void *user) {
    (void)user;
    if (event->done == 20) forbid_new_processes(); /* for the calling thread */
}

static int fail_or_die(void *result, const void *number, void *ctx) {
    int i = *(const int *)number;
    if (i >= 20 && i % 20 == 7 && dist_attempt() < 3) raise(SIGKILL);
    if (i % 10 == 3 && dist_attempt() == 1) return 5;
    return triple(result, number, ctx);
}

/* Workers that are there go on; when the last one has died or left, the call ends at its lowest
 * item that is left. */
static void forks_fail_later_on(dist_fn fn, double backoff) {
    dist_job *job;
    executor = DIST_PROCESS;
    if (!is_built(executor)) skip("no processes are built");
    prepare();
    struct footprint before = footprint();
    dist_status status =
        dist_process_map(fn, item, ITEMS, out, .workers = WORKERS, .retries = 3, .backoff = backoff,
                         .on_finish = stop_forking, .job = &job);
    CHECK(status == DIST_OK || status == DIST_SYSTEM);
    size_t lowest = dist_last_error()->index;
    CHECK(status == DIST_OK || dist_last_error()->code == EAGAIN);
    unsigned right = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        const dist_error *error = dist_job_outcome(job, i);
        CHECK(out[i] == (error ? -1 : 3L * (long)i));
        CHECK(error == NULL || (status == DIST_SYSTEM && i >= lowest));
        right += error == NULL;
    }
    printf("%u items of %d done; ", right, ITEMS);
    fflush(stdout);
    CHECK(right >= 20);
    dist_job_finish(&job);
    check_footprint(before);
}

static void forks_fail_while_retries_wait(void) {
    forks_fail_later_on(triple_the_second_time, 0.05);
}

static void forks_fail_while_workers_die(void) { forks_fail_later_on(fail_or_die, 0); }

static const struct fault_case cases[] = {
    {"no bell for the supervisor", without_eventfd, 60},
    {"all descriptors are taken", all_descriptors_are_taken, 60},
    {"no descriptor may be opened", no_descriptor_may_be_opened, 60},
    {"no signals by pidfd", without_signals_by_pidfd, 60},
    {"signals by pidfd are forbidden", signals_by_pidfd_are_forbidden, 60},
    {"no pidfd at all", without_any_pidfd, 60},
    {"every sleep is interrupted", every_sleep_is_interrupted, 60},
    {"poll never sleeps", poll_never_sleeps, 60},
    {"forks fail while retries wait", forks_fail_while_retries_wait, 60},
    {"forks fail while workers die", forks_fail_while_workers_die, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
