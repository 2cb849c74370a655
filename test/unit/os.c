/* os.c - signal names, kinds of mappings, and how children end. */
#include "unit.h"
#include "common/os.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(signals_have_their_names) {
    char buffer[16];
    assert_string_equal(dist__signal_name(SIGSEGV, buffer), "SIGSEGV");
    assert_string_equal(dist__signal_name(SIGKILL, buffer), "SIGKILL");
    assert_string_equal(dist__signal_name(SIGABRT, buffer), "SIGABRT");
    assert_string_equal(dist__signal_name(SIGXCPU, buffer), "SIGXCPU");
    assert_string_equal(dist__signal_name(77, buffer), "signal 77");
    assert_string_equal(dist__signal_name(SIGRTMIN + 3, buffer), "signal 37");
}

TEST(every_number_has_a_name_that_fits) {
    for (int number = -1; number <= 200; number++) {
        char buffer[16], expected[32];
        const char *name = dist__signal_name(number, buffer);
        snprintf(expected, sizeof expected, "signal %d", number);
        assert_non_null(name);
        assert_true(strncmp(name, "SIG", 3) == 0 || strcmp(name, expected) == 0);
    }
    char buffer[16];
    assert_true(strlen(dist__signal_name(-2147483647, buffer)) < sizeof buffer);
}

static char *map(char *at, size_t size, int kind) {
    int fixed = at ? MAP_FIXED : 0;
    char *memory = mmap(at, size, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | fixed, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

TEST(shared_and_private_memory_are_told_apart) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *shared = map(NULL, 4 * page, MAP_SHARED), *private = map(NULL, 4 * page, MAP_PRIVATE);
    static char data[100];
    char stack[100], *heap = malloc(100);
    assert_non_null(heap);
    assert_true(dist__is_mapped_shared(shared, 4 * page));
    assert_true(dist__is_mapped_shared(shared + 1, 1));
    assert_true(dist__is_mapped_shared(shared + 4 * page - 1, 1));
    assert_false(dist__is_mapped_shared(private, 4 * page));
    assert_false(dist__is_mapped_shared(data, sizeof data));
    assert_false(dist__is_mapped_shared(stack, sizeof stack));
    assert_false(dist__is_mapped_shared(heap, 100));
    free(heap);
    munmap(shared, 4 * page);
    munmap(private, 4 * page);
}

/* Three pages: shared, then shared in another mapping, then private. */
TEST(all_of_the_bytes_must_be_shared) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = map(NULL, 4 * page, MAP_PRIVATE);
    map(base, page, MAP_SHARED);
    map(base + page, page, MAP_SHARED);
    mprotect(base + page, page, PROT_READ); /* so that the two stay apart in the list */
    assert_true(dist__is_mapped_shared(base, 2 * page));
    assert_true(dist__is_mapped_shared(base + page - 1, 2));
    assert_false(dist__is_mapped_shared(base, 2 * page + 1));
    assert_false(dist__is_mapped_shared(base + 2 * page - 1, 2));
    assert_false(dist__is_mapped_shared(base + 2 * page, page));
    munmap(base + page, page); /* a hole */
    assert_true(dist__is_mapped_shared(base, page));
    assert_false(dist__is_mapped_shared(base, page + 1));
    assert_false(dist__is_mapped_shared(base + page, 1));
    munmap(base, page);
    munmap(base + 2 * page, 2 * page);
}

static pid_t child_that(int signal, int exit_code) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    if (signal) raise(signal);
    _exit(exit_code);
}

TEST(ends_of_children_are_told) {
    for (int with_pidfd = 0; with_pidfd < 2; with_pidfd++) {
        pid_t pid = child_that(0, 42);
        int pidfd = with_pidfd ? dist__pidfd_open(pid) : -1;
        struct dist__exit end = dist__reap(pid, pidfd);
        assert_true(end.known && end.signal == 0 && end.exit_code == 42);
        if (pidfd >= 0) close(pidfd);
        end = dist__reap(child_that(SIGKILL, 0), -1);
        assert_true(end.known && end.signal == SIGKILL);
    }
}

TEST(a_child_has_ended_only_after_its_end) {
    int pipes[2];
    char byte = 0;
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) _exit(read(pipes[0], &byte, 1) == 1 ? 3 : 4);
    assert_false(dist__has_ended(pid));
    assert_int_equal(write(pipes[1], &byte, 1), 1);
    while (!dist__has_ended(pid)) usleep(100);
    assert_true(dist__has_ended(pid)); /* asking does not reap it */
    assert_int_equal(dist__reap(pid, -1).exit_code, 3);
    assert_true(dist__has_ended(pid));
    assert_false(dist__reap(pid, -1).known);
    close(pipes[0]);
    close(pipes[1]);
}

TEST(the_clock_does_not_run_backwards) {
    uint64_t before = dist__now_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t after = dist__now_ns();
        assert_true(after >= before);
        before = after;
    }
}

TEST(a_futex_does_not_wait_for_what_has_happened) {
    _Atomic(uint32_t) word = 1;
    dist__futex_wait(&word, 0, -1, false); /* another value: returns at once */
    dist__futex_wait(&word, 0, -1, true);
    dist__futex_wait(&word, 1, 1000000, false); /* returns in time */
    dist__futex_wake(&word, 1, false);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(signals_have_their_names),
    cmocka_unit_test(every_number_has_a_name_that_fits),
    cmocka_unit_test(shared_and_private_memory_are_told_apart),
    cmocka_unit_test(all_of_the_bytes_must_be_shared),
    cmocka_unit_test(ends_of_children_are_told),
    cmocka_unit_test(a_child_has_ended_only_after_its_end),
    cmocka_unit_test(the_clock_does_not_run_backwards),
    cmocka_unit_test(a_futex_does_not_wait_for_what_has_happened),
};
RUN(tests)
