/* cancel.c - Ctrl-C ends a call, not the program: what has been done until then is kept.
 *
 * A token is a switch that calls look at. dist_token_cancel may be called from anywhere, a signal
 * handler included; the library itself installs none. */
#include "check.h"

#include <dist/dist.h>
#include <signal.h>
#include <unistd.h>

static dist_token *token;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    dist_token_cancel(token);
}

enum { ITEMS = 1000 };

/* A long task asks from time to time whether it should return. */
static int slow_square(void *result, const void *item, void *ctx) {
    (void)ctx;
    int x = *(const int *)item;
    for (int ms = 0; ms < 10 && !dist_cancelled(); ms++) usleep(1000);
    *(int *)result = x * x;
    return 0;
}

/* This program is a test, so it presses Ctrl-C itself, when five items have ended. */
static void press_ctrl_c(const dist_event *event, void *user) {
    (void)user;
    if (event->done == 5) raise(SIGINT);
}

/* A terminal sends the signal to the worker processes too: they leave it to their host. */
static int ignore_interrupts(void **state, unsigned worker, void *user) {
    (void)state, (void)worker, (void)user;
    signal(SIGINT, SIG_IGN);
    return 0;
}

static void interrupt(dist_executor executor, const char *name) {
    static int numbers[ITEMS], squares[ITEMS];
    for (int i = 0; i < ITEMS; i++) numbers[i] = i, squares[i] = -1;
    dist_job *job;
    dist_error error;
    token = dist_token_new();
    CHECK(token);
    signal(SIGINT, on_interrupt);
    CHECK(dist_map(slow_square, numbers, ITEMS, squares, .executor = executor, .workers = 4,
                   .token = token, .on_finish = press_ctrl_c, .progress = "squares",
                   .worker_init = executor == DIST_PROCESS ? ignore_interrupts : NULL,
                   .error = &error, .job = &job) == DIST_CANCELLED);
    signal(SIGINT, SIG_DFL);
    dist_token_free(token);

    /* error.index is the first item that is missing: everything below it is there. */
    size_t done = dist_job_succeeded(job, NULL);
    printf("%-9s cancelled: %zu of %d items are done, the first that is missing is %zu\n", name,
           done, ITEMS, error.index);
    CHECK(done >= 5 && done < ITEMS && error.index <= done);
    for (size_t i = 0; i < error.index; i++) CHECK(squares[i] == (int)(i * i));
    for (size_t i = 0; i < ITEMS; i++)
        CHECK(squares[i] == (dist_job_outcome(job, i) ? -1 : (int)(i * i)));
    dist_job_finish(&job);
}

int main(void) {
    interrupt(DIST_THREAD, "threads");
    interrupt(DIST_PROCESS, "processes");
    puts("cancel: all of it holds");
    return 0;
}
