/* contract_output.c - what is printed appears once, and workers run nothing of the host's exit. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int print_line(size_t index, void *ctx) {
    (void)ctx;
    printf("task %zu\n", index);
    return 0;
}

static int print_piece(size_t index, void *ctx) {
    (void)ctx;
    printf("%zu.", index);
    return 0;
}

static void print_around_a_map(void *workers) {
    printf("head ");
    dist_status s = dist_for(print_line, 20, .executor = X, .workers = *(const unsigned *)workers);
    printf("tail %d", s);
}

CASE("G-11", each_byte_of_stdout_appears_once_and_in_order) {
    static char text[OUTPUT_SIZE];
    char expected[1024] = "head ", line[32];
    int status;
    for (int i = 0; i < 20; i++)
        snprintf(line, sizeof line, "task %d\n", i), strcat(expected, line);
    strcat(expected, "tail 0");
    output_of(print_around_a_map, &(unsigned){1}, text, &status);
    assert_int_equal(status, 0);
    assert_string_equal(text, expected);
}

CASE("G-11", lines_of_many_workers_are_all_there_and_whole) {
    static char text[OUTPUT_SIZE];
    int status;
    size_t size = output_of(print_around_a_map, &(unsigned){4}, text, &status);
    assert_int_equal(status, 0);
    assert_int_equal(strncmp(text, "head ", 5), 0);
    assert_string_equal(text + size - 6, "tail 0");
    char *at = text + 5;
    unsigned seen[20] = {0};
    for (int k = 0; k < 20; k++) {
        int i = -1, length = 0;
        assert_int_equal(sscanf(at, "task %d%n", &i, &length), 1);
        assert_in_range(i, 0, 19);
        assert_int_equal(at[length], '\n');
        seen[i]++;
        at += length + 1;
    }
    assert_string_equal(at, "tail 0");
    for (int i = 0; i < 20; i++) assert_int_equal(seen[i], 1);
}

static int print_to_error(size_t index, void *ctx) {
    (void)ctx;
    fprintf(stderr, "%zu.", index);
    return 0;
}

static void print_to_stderr(void *unused) {
    static char buffer[BUFSIZ];
    (void)unused;
    setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
    fprintf(stderr, "head ");
    dist_for(print_to_error, 5, .executor = X, .workers = 1);
    fprintf(stderr, " tail");
}

CASE("G-11", each_byte_of_stderr_appears_once) {
    static char text[OUTPUT_SIZE];
    int status;
    output_of(print_to_stderr, NULL, text, &status);
    assert_string_equal(text, "head 0.1.2.3.4. tail");
}

static int print_then_leave(size_t index, void *ctx) {
    print_piece(index, ctx);
    if (index == 2) exit(3);
    return 0;
}

static void print_with_a_crash(void *unused) {
    (void)unused;
    printf("head ");
    dist_status s =
        dist_for(print_then_leave, 5, .executor = X, .workers = 1, .silent = true, .chunk = 1);
    printf(" tail %d", s);
}

CASE_ON("G-11", what_a_task_printed_before_exit_appears, ON_PROCESS, 20) {
    static char text[OUTPUT_SIZE];
    int status;
    output_of(print_with_a_crash, NULL, text, &status);
    assert_int_equal(status, 0);
    assert_string_equal(text, "head 0.1.2.3.4. tail 0");
}

static int kill_at_two(size_t index, void *ctx) {
    (void)ctx;
    if (index == 2) raise(SIGKILL);
    return 0;
}

static void print_around_a_kill(void *unused) {
    (void)unused;
    printf("head ");
    dist_for(kill_at_two, 5, .executor = X, .workers = 2, .silent = true);
    printf("tail");
}

CASE_ON("G-11", a_killed_worker_prints_nothing_of_the_host, ON_PROCESS, 20) {
    static char text[OUTPUT_SIZE];
    int status;
    output_of(print_around_a_kill, NULL, text, &status);
    assert_string_equal(text, "head tail");
}

/* A stream of the host's own. */
static FILE *stream;

static int print_to_stream(size_t index, void *ctx) {
    (void)ctx;
    fprintf(stream, "%zu.", index);
    return 0;
}

static void check_file(const char *path, const char *expected) {
    char text[256] = "";
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t size = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[size] = '\0';
    unlink(path);
    assert_string_equal(text, expected);
}

static void open_stream(char path[]) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    stream = fdopen(fd, "w");
    assert_non_null(stream);
    fprintf(stream, "head ");
}

CASE("G-11", other_streams_are_flushed_too_in_a_host_of_one_thread) {
    NOT_IN_PROCESS_POOLS("a worker stays when its call has ended");
    if (THREAD_SANITIZED) skip(); /* which has a thread of its own */
    char path[] = "/tmp/dist-output-XXXXXX";
    open_stream(path);
    assert_int_equal(dist_for(print_to_stream, 5, .executor = X, .workers = 1), DIST_OK);
    fprintf(stream, " tail");
    assert_int_equal(fclose(stream), 0);
    check_file(path, "head 0.1.2.3.4. tail");
}

static void *wait_for_stop(void *stop) {
    reaches(stop, 1);
    return NULL;
}

static int nothing(size_t index, void *ctx) {
    (void)index, (void)ctx;
    return 0;
}

CASE("G-11", what_a_threaded_host_has_in_a_stream_appears_once) {
    char path[] = "/tmp/dist-output-XXXXXX";
    _Atomic(unsigned) stop = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_stop, &stop), 0);
    open_stream(path);
    assert_int_equal(dist_for(nothing, 5, .executor = X, .workers = 2), DIST_OK);
    fprintf(stream, "tail");
    assert_int_equal(fclose(stream), 0);
    count(&stop);
    pthread_join(thread, NULL);
    check_file(path, "head tail");
}

/* Numbers, one after the other, that stay in the buffer for a while. */
enum { PRINTED = 3000 };

struct printer {
    _Atomic(unsigned) done, released;
};

/* Stays until no worker is forked any more: one that is forked between a thread's end and its join
 * has a leaked thread, says ThreadSanitizer, on stderr. */
static void *print_numbers(void *arg) {
    struct printer *printer = arg;
    for (int i = 0; i < PRINTED; i++) {
        printf("%d\n", i);
        if (i % 20 == 0) nap(0.0005);
    }
    count(&printer->done);
    reaches(&printer->released, 1);
    return NULL;
}

static void call_while_printing(void *unused) {
    struct printer printer = {.done = 0};
    pthread_t thread;
    (void)unused;
    if (pthread_create(&thread, NULL, print_numbers, &printer)) exit(1);
    while (!counted(&printer.done))
        if (dist_for(nothing, 5, .executor = X, .workers = 2)) exit(1);
    count(&printer.released);
    pthread_join(thread, NULL);
}

CASE("G-11", what_a_thread_prints_during_calls_appears_once) {
    static char text[OUTPUT_SIZE];
    int status;
    char *at = text;
    output_of(call_while_printing, NULL, text, &status);
    assert_int_equal(status, 0);
    for (int i = 0; i < PRINTED; i++) {
        assert_int_equal(strtol(at, &at, 10), i);
        assert_int_equal(*at++, '\n');
    }
    assert_int_equal(*at, '\0');
}

static void *print_for_a_while(void *stop) {
    while (!counted(stop)) {
        putchar('x');
        fflush(stdout);
    }
    return NULL;
}

static void print_while_forking(void *unused) {
    _Atomic(unsigned) stop = 0;
    pthread_t thread;
    (void)unused;
    pthread_create(&thread, NULL, print_for_a_while, &stop);
    for (unsigned i = 0; again(i, rounds(50, 50)); i++)
        if (dist_for(nothing, 5, .executor = X, .workers = 2)) exit(1);
    count(&stop);
    pthread_join(thread, NULL);
}

CASE("G-11", a_thread_that_prints_does_not_block_the_workers) {
    int status, unused[2];
    assert_int_equal(pipe(unused), 0);
    pid_t reader = fork();
    if (reader == 0) { /* swallow what is printed: any amount */
        char bytes[4096];
        close(unused[1]);
        while (read(unused[0], bytes, sizeof bytes) > 0) {
        }
        _exit(0);
    }
    close(unused[0]);
    int saved = dup(1);
    dup2(unused[1], 1);
    close(unused[1]);
    status = in_child(print_while_forking, NULL);
    dup2(saved, 1);
    close(saved);
    waitpid(reader, NULL, 0);
    assert_int_equal(status, 0);
}

/* Handlers of the host's exit. */
static _Atomic(unsigned) *exits;
static void count_exit(void) { count(exits); }
static void count_on_exit(int status, void *unused) {
    (void)status, (void)unused;
    count(exits);
}
__attribute__((destructor)) static void count_destructor(void) {
    if (exits) count(exits);
}

static int leave_in_many_ways(size_t index, void *ctx) {
    (void)ctx;
    if (X != DIST_PROCESS) return 0;
    if (index == 1) exit(3);
    if (index == 3) exit(0);
    if (index == 5) raise(SIGTERM);
    if (index == 7) _exit(1);
    if (index == 9) pthread_exit(NULL);
    return 0;
}

static void leave_with_handlers(void *between) {
    if (!*(const bool *)between) atexit(count_exit);
    dist_for(nothing, 5, .executor = X, .workers = 2);
    if (*(const bool *)between) atexit(count_exit); /* after the library has set up its own */
    on_exit(count_on_exit, NULL);
    dist_for(leave_in_many_ways, 20, .executor = X, .workers = 3, .silent = true);
    dist_for(nothing, 20, .executor = X, .workers = 3);
}

CASE("G-11", exit_handlers_run_in_the_host_alone) {
    exits = shared_memory(sizeof *exits);
    for (int between = 0; between < 2; between++) {
        atomic_store(exits, 0);
        assert_int_equal(in_child(leave_with_handlers, &(bool){between}), 0);
        assert_int_equal(counted(exits), 3); /* atexit, on_exit and the destructor, once */
    }
    exits = NULL;
}
