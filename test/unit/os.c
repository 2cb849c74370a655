/* os.c - signal names, kinds of mappings, CPUs of a thread, and how children end. */
#include "unit.h"
#include "common/os.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

static void *stay(void *gate) {
    while (!atomic_load((_Atomic(bool) *)gate)) usleep(1000);
    return NULL;
}

/* Whatever the process is called. */
TEST(threads_are_counted) {
    enum { THREADS = 5 };
    char name[16];
    pthread_t thread[THREADS];
    _Atomic(bool) gate = false;
    prctl(PR_GET_NAME, name);
    prctl(PR_SET_NAME, "a) S 1 2 (3) 4");
    pthread_create(&thread[0], NULL, stay, &gate); /* a sanitizer may start one of its own */
    unsigned before = dist__thread_count();
    assert_true(before >= 2 && before <= 3);
    for (int k = 1; k < THREADS; k++) pthread_create(&thread[k], NULL, stay, &gate);
    assert_int_equal(dist__thread_count(), before + THREADS - 1);
    atomic_store(&gate, true);
    for (int k = 0; k < THREADS; k++) pthread_join(thread[k], NULL);
    for (int k = 0; k < 1000 && dist__thread_count() > before - 1; k++) usleep(1000);
    assert_int_equal(dist__thread_count(), before - 1);
    prctl(PR_SET_NAME, name);
}

TEST(a_file_is_closed_if_it_is_still_the_same) {
    int line[2], other[2];
    assert_true(pipe(line) == 0 && pipe(other) == 0);
    struct dist__file file = dist__file_of(line[0]), none = dist__file_of(-1);
    assert_true(dist__file_is_open(file) && !dist__file_is_open(none));
    assert_int_equal(dup2(other[0], line[0]), line[0]);
    assert_false(dist__file_is_open(file));
    dist__file_close(&file);
    assert_int_equal(file.fd, -1);
    assert_true(fcntl(line[0], F_GETFD) >= 0); /* somebody else's */
    file = dist__file_of(line[1]);
    dist__file_close(&file);
    assert_int_equal(fcntl(line[1], F_GETFD), -1);
    dist__file_close(&file);
    dist__file_close(&none);
    close(line[0]);
    close(other[0]);
    close(other[1]);
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

static bool is_alive(pid_t pid) { return !dist__has_ended(pid); }

static pid_t child_that_waits(void) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        for (;;) pause();
    return pid;
}

TEST(signals_reach_children_with_and_without_pidfd) {
    for (int with_pidfd = 0; with_pidfd < 2; with_pidfd++) {
        pid_t pid = child_that_waits();
        int pidfd = with_pidfd ? dist__pidfd_open(pid) : -1;
        errno = 77;
        dist__kill(pid, pidfd, 0); /* none */
        assert_true(is_alive(pid));
        dist__kill(pid, pidfd, SIGKILL);
        assert_int_equal(errno, 77);
        assert_int_equal(dist__reap(pid, pidfd).signal, SIGKILL);
        if (pidfd >= 0) close(pidfd);
    }
}

/* Somebody else has reaped the child, and its number is another process's by now. */
TEST(a_signal_for_a_child_that_is_gone_hits_nobody) {
    pid_t other = child_that_waits(), pid = child_that(0, 0);
    int pidfd = dist__pidfd_open(pid);
    if (pidfd < 0) skip(); /* the kernel has none */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    errno = 77;
    dist__kill(other, pidfd, SIGKILL);
    assert_int_equal(errno, 77);
    usleep(20000);
    assert_true(is_alive(other));
    close(pidfd);
    dist__kill(other, -1, SIGKILL);
    assert_int_equal(dist__reap(other, -1).signal, SIGKILL);
}

/* ------------------------------------------------------------------ CPUs of a thread */

static cpu_set_t my_cpus(void) {
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return set;
}

TEST(a_pinned_thread_has_one_cpu_until_it_is_unpinned) {
    cpu_set_t before = my_cpus(), now;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        struct dist__affinity kept;
        if (!CPU_ISSET(cpu, &before)) continue;
        assert_true(dist__pin(cpu, &kept) && kept.is_set);
        now = my_cpus();
        assert_true(CPU_COUNT(&now) == 1 && CPU_ISSET(cpu, &now));
        dist__unpin(&kept);
        now = my_cpus();
        assert_true(CPU_EQUAL(&now, &before) && !kept.is_set);
        assert_true(dist__pin(cpu, &kept));
        dist__unpin(&kept);
        dist__unpin(&kept); /* a second time: nothing */
        now = my_cpus();
        assert_true(CPU_EQUAL(&now, &before));
    }
}

TEST(pins_nest) {
    cpu_set_t before = my_cpus(), now;
    struct dist__affinity outer, inner;
    unsigned first = 0, last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(first, &before)) first++;
    while (!CPU_ISSET(last, &before)) last--;
    assert_true(dist__pin(first, &outer));
    assert_true(dist__pin(last, &inner)); /* not among those it may use now */
    dist__unpin(&inner);
    now = my_cpus();
    assert_true(CPU_COUNT(&now) == 1 && CPU_ISSET(first, &now));
    dist__unpin(&outer);
    now = my_cpus();
    assert_true(CPU_EQUAL(&now, &before));
}

TEST(a_pin_that_the_system_refuses_changes_nothing) {
    static const unsigned none[] = {CPU_SETSIZE - 1, CPU_SETSIZE, 100000, UINT32_MAX};
    cpu_set_t before = my_cpus();
    for (size_t k = 0; k < N(none); k++) {
        struct dist__affinity kept = {.is_set = true};
        assert_false(dist__pin(none[k], &kept) || kept.is_set);
        dist__unpin(&kept);
        cpu_set_t now = my_cpus();
        assert_true(CPU_EQUAL(&now, &before));
    }
}

static void *tell_cpus(void *set) {
    *(cpu_set_t *)set = my_cpus();
    return NULL;
}

TEST(a_thread_starts_on_the_cpus_that_it_is_given) {
    cpu_set_t before = my_cpus(), its_own;
    struct dist__affinity kept;
    pthread_t thread;
    unsigned cpu = 0;
    while (!CPU_ISSET(cpu, &before)) cpu++;
    assert_true(dist__pin(cpu, &kept));
    for (int given = 0; given < 2; given++) {
        assert_int_equal(dist__thread_start(&thread, tell_cpus, &its_own, given ? &kept : NULL), 0);
        pthread_join(thread, NULL);
        if (given) assert_true(CPU_EQUAL(&its_own, &before));
        else assert_true(CPU_COUNT(&its_own) == 1 && CPU_ISSET(cpu, &its_own));
    }
    dist__unpin(&kept);
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
    cmocka_unit_test(signals_reach_children_with_and_without_pidfd),
    cmocka_unit_test(a_signal_for_a_child_that_is_gone_hits_nobody),
    cmocka_unit_test(a_pinned_thread_has_one_cpu_until_it_is_unpinned),
    cmocka_unit_test(pins_nest),
    cmocka_unit_test(a_pin_that_the_system_refuses_changes_nothing),
    cmocka_unit_test(a_thread_starts_on_the_cpus_that_it_is_given),
    cmocka_unit_test(the_clock_does_not_run_backwards),
    cmocka_unit_test(threads_are_counted),
    cmocka_unit_test(a_file_is_closed_if_it_is_still_the_same),
    cmocka_unit_test(a_futex_does_not_wait_for_what_has_happened),
};
RUN(tests)
