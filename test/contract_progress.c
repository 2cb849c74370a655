/* contract_progress.c - a progress bar on a terminal, and silence everywhere else. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { ITEMS = 40 };

static int step(void *result, const void *item, void *ctx) {
    int i = *(const int *)item;
    nap(*(double *)ctx);
    *(int *)result = 10 * i;
    return i == 13 ? dist_fail(1, "unlucky") : 0;
}

static void work_with_a_bar(void *pause) {
    int out[ITEMS];
    exit((int)dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = pause,
                       .silent = true, .progress = "counting sheep"));
}

CASE("F-04", progress_prints_nothing_where_there_is_no_terminal) {
    static char text[OUTPUT_SIZE];
    double pause = 0.02; /* long enough for a bar */
    int status;
    assert_int_equal(output_of(work_with_a_bar, &pause, text, &status), 0);
    assert_int_equal(status, 0);
}

/* Runs the body in a child whose stderr is a terminal of 80 columns, and returns what came there.
 */
static size_t terminal_output_of(void (*body)(void *), void *arg, char *text, int *status) {
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    char name[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, name, sizeof name))
        skip();
    int slave = open(name, O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    ioctl(slave, TIOCSWINSZ, &size);
    int before = dup(2);
    dup2(slave, 2);
    pid_t pid = start_child(body, arg);
    dup2(before, 2);
    close(before);
    close(slave);
    size_t got = 0;
    ssize_t one;
    while ((one = read(master, text + got, OUTPUT_SIZE - 1 - got)) > 0) got += (size_t)one;
    text[got] = '\0';
    close(master);
    *status = wait_child(pid);
    return got;
}

static unsigned count_char(const char *text, char c) {
    unsigned found = 0;
    for (; *text; text++) found += *text == c;
    return found;
}

CASE("F-04", progress_draws_a_bar_on_a_terminal) {
    static char text[OUTPUT_SIZE];
    double pause = 0.02, start = now();
    int status;
    assert_true(terminal_output_of(work_with_a_bar, &pause, text, &status) > 0);
    double took = now() - start;
    assert_int_equal(status, 0);
    assert_non_null(strstr(text, "counting sheep"));
    assert_non_null(strstr(text, "40"));
    assert_true(count_char(text, '\r') <= 2 * (10 * took + 3));
    assert_true(count_char(text, '\n') <= 1);
}

static void work_without_a_title(void *pause) {
    int out[ITEMS];
    exit((int)dist_map(step, numbers(), ITEMS, out, .executor = X, .workers = 2, .ctx = pause,
                       .silent = true, .timeout = 60));
}

CASE("F-04", without_a_title_there_is_no_bar) {
    static char text[OUTPUT_SIZE];
    double pause = 0.02;
    int status;
    assert_int_equal(terminal_output_of(work_without_a_title, &pause, text, &status), 0);
    assert_int_equal(status, 0);
}

/* A long call shows how far it is, more than once. */
CASE("F-04", progress_is_drawn_while_the_call_runs) {
    static char text[OUTPUT_SIZE];
    double pause = X == DIST_INLINE ? 0.02 : 0.04;
    int status;
    terminal_output_of(work_with_a_bar, &pause, text, &status);
    assert_int_equal(status, 0);
    unsigned drawn = 0;
    for (const char *at = text; (at = strstr(at, "counting sheep")); at++) drawn++;
    assert_in_range(drawn, 3, 1000);
}
