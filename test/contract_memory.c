/* contract_memory.c - the memory of an arena: how much there may be, who sees it, when it goes. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EACH_PAGES = 64 };
static const size_t gib = (size_t)1 << 30;

/* One byte in so many pages says where it stands; the pages between stay untouched. */
static size_t step(void) { return EACH_PAGES * (size_t)sysconf(_SC_PAGESIZE); }
static char byte_at(size_t at) { return (char)(at / step() * 7 + 1); }

static char *large(size_t size) {
    char *bytes = dist_alloc(size);
    for (size_t at = 0; bytes && at < size; at += step()) bytes[at] = byte_at(at);
    if (bytes) bytes[size - 1] = 'z';
    return bytes;
}
DIST_FN1(char *, large, size_t)

static void check_large(const char *bytes, size_t size) {
    for (size_t at = 0; at < size; at += step()) assert_int_equal(bytes[at], byte_at(at));
    assert_int_equal(bytes[size - 1], 'z');
    assert_int_equal(bytes[size / 2 + 1], 0);
}

CASE_ON("G-17", three_gigabytes_come_back_by_a_pointer, ON_ALL, 60) {
    const size_t size = 3 * gib;
    char *out;
    if (SANITIZED) skip();
    dist_arena *arena = dist_arena_new(4 * gib);
    assert_int_equal(dist_apply(large_task, &size, &out, .executor = X, .arena = arena), DIST_OK);
    check_large(out, size);
    assert_true(dist_arena_owns(arena, out + size - 1));
    assert_int_equal(dist_apply(large_task, &size, &out, .executor = X, .arena = arena),
                     DIST_NOMEM);
    dist_arena_free(arena);
}

/* ------------------------------------------------------------------ how much */

CASE("G-17", an_arena_holds_at_least_what_it_was_made_for) {
    static const size_t sizes[] = {1, 16, 4000, 4096, 4097, 65536, 1000003, (size_t)8 << 20};
    for (size_t k = 0; k < N(sizes); k++) {
        char *out = NULL;
        dist_arena *arena = dist_arena_new(sizes[k]);
        assert_non_null(arena);
        assert_int_equal(dist_apply(large_task, &sizes[k], &out, .executor = X, .arena = arena),
                         DIST_OK);
        assert_true(dist_arena_owns(arena, out) && dist_arena_owns(arena, out + sizes[k] - 1));
        assert_false(dist_arena_owns(arena, arena));
        assert_false(dist_arena_owns(arena, out - 1));
        assert_false(dist_arena_owns(arena, out + sizes[k] + 64));
        assert_false(dist_arena_owns(arena, NULL));
        assert_false(dist_arena_owns(arena, (void *)UINTPTR_MAX));
        dist_arena_free(arena);
    }
}

CASE("G-15", an_absurd_size_is_refused) {
    static const size_t sizes[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1};
    for (size_t k = 0; k < N(sizes); k++) {
        assert_null(dist_arena_new(sizes[k]));
        assert_int_equal(dist_last_error()->status, DIST_INVALID);
        assert_non_null(strstr(dist_last_error()->message, "reserve"));
    }
    errno = EXDEV;
    dist_arena *arena = dist_arena_new(PTRDIFF_MAX); /* halved as often as it takes */
    assert_non_null(arena);
    assert_int_equal(errno, EXDEV);
    dist_arena_free(arena);
}

/* Lets the process map so many bytes more than it has. */
static void limit_memory(size_t more) {
    rlim_t limit = mapped_bytes() + more;
    assert_int_equal(setrlimit(RLIMIT_AS, &(struct rlimit){limit, RLIM_INFINITY}), 0);
}

CASE("G-17", an_arena_is_as_large_as_the_system_allows) {
    NOT_IN_POOLS("calls on another executor");
    size_t size = gib / 4;
    char *out;
    if (SANITIZED) skip(); /* which map terabytes */
    limit_memory(gib);
    dist_arena *arena = dist_arena_new(0);
    assert_non_null(arena);
    assert_int_equal(dist_apply(large_task, &size, &out, .executor = DIST_INLINE, .arena = arena),
                     DIST_OK);
    check_large(out, size);
    dist_arena_free(arena);
    limit_memory(65536);
    assert_null(dist_arena_new(0));
    assert_int_equal(dist_last_error()->status, DIST_NOMEM);
    assert_int_equal(dist_last_error()->code, ENOMEM);
    assert_null(dist_arena_new(gib));
    assert_null(dist_arena_new(100000));
}

/* ------------------------------------------------------------------ who sees it, when it goes */

static bool is_mapped(const void *at) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    return msync((void *)((uintptr_t)at / page * page), 1, MS_ASYNC) == 0;
}

static unsigned long shared_kib(void) {
    char line[128];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) sscanf(line, "RssShmem: %lu", &kib);
    fclose(f);
    return kib;
}

CASE("G-09", memory_goes_with_its_arena) {
    NOT_IN_PROCESS_POOLS("arenas lie in memory that stays mapped");
    size_t size = (size_t)512 << 20;
    unsigned long before = shared_kib();
    for (int round = 0; round < 3; round++) {
        char *out;
        dist_arena *arena = dist_arena_new(0);
        assert_int_equal(dist_apply(large_task, &size, &out, .executor = X, .arena = arena),
                         DIST_OK);
        check_large(out, size);
        assert_true(shared_kib() >= before + 8 * 1024);
        dist_arena_free(arena);
        assert_false(is_mapped(arena));
        assert_false(is_mapped(out));
        assert_true(shared_kib() < before + 1024);
    }
}

struct shared_arena {
    dist_arena *arena;
    char *old; /* made before the fork */
    size_t size;
    int pipe[2];
};

static struct shared_arena new_arena(void) {
    struct shared_arena s = {.arena = dist_arena_new(0), .size = (size_t)1 << 20};
    assert_int_equal(dist_apply(large_task, &s.size, &s.old, .executor = X, .arena = s.arena),
                     DIST_OK);
    return s;
}

static void check_call(const struct shared_arena *s, dist_executor executor) {
    char *out;
    assert_int_equal(
        dist_apply(large_task, &s->size, &out, .executor = executor, .arena = s->arena), DIST_OK);
    check_large(out, s->size);
    check_large(s->old, s->size);
    assert_ptr_not_equal(out, s->old);
}

static void use_and_free(void *arg) {
    struct shared_arena *s = arg;
    check_call(s, DIST_INLINE);
    dist_arena_free(s->arena);
    assert_false(is_mapped(s->arena));
    assert_false(is_mapped(s->old));
}

CASE("G-02", a_child_that_frees_an_arena_does_not_disturb_its_parent) {
    struct shared_arena s = new_arena();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(in_child(use_and_free, &s), 0);
        check_call(&s, X);
    }
    dist_arena_free(s.arena);
    assert_false(is_mapped(s.old));
}

static void use_when_told(void *arg) {
    struct shared_arena *s = arg;
    char byte;
    close(s->pipe[1]);
    assert_int_equal(read(s->pipe[0], &byte, 1), 0);
    use_and_free(arg);
}

CASE("G-02", a_parent_that_frees_an_arena_does_not_disturb_its_child) {
    struct shared_arena s = new_arena();
    assert_int_equal(pipe(s.pipe), 0);
    pid_t child = start_child(use_when_told, &s);
    dist_arena_free(s.arena);
    assert_false(is_mapped(s.old));
    close(s.pipe[0]);
    close(s.pipe[1]);
    assert_int_equal(wait_child(child), 0);
}

static _Atomic(unsigned) may_go_on, allocated;

static int allocate_late(void *result, const void *item, void *ctx) {
    (void)result, (void)item, (void)ctx;
    while (!dist_cancelled()) nap(0.001);
    if (!reaches(&may_go_on, 1)) return 1;
    char *bytes = dist_alloc(100000);
    if (bytes) memset(bytes, 'a', 100000);
    char *small = dist_strdup("still there");
    if (bytes && small && !strcmp(small, "still there")) count(&allocated);
    return 0;
}

CASE_ON("P-32", an_abandoned_task_keeps_its_arena, ON_THREAD, 20) {
    char out[2];
    dist_arena *arena = dist_arena_new(0);
    assert_int_equal(dist_map(allocate_late, numbers(), 2, out, .executor = X, .workers = 2,
                              .arena = arena, .timeout = 0.05, .abandon = true),
                     DIST_TIMEOUT);
    dist_arena_free(arena);
    assert_true(is_mapped(arena));
    count(&may_go_on);
    assert_true(reaches(&allocated, 2));
    for (double limit = now() + 5; is_mapped(arena) && now() < limit;) nap(0.001);
    assert_false(is_mapped(arena));
}

/* ------------------------------------------------------------------ nothing has a name */

enum { NAMES_SIZE = 1 << 16 };

static void list_names(char names[NAMES_SIZE]) {
    size_t length = 0;
    DIR *open = opendir("/dev/shm");
    for (struct dirent *e; open && (e = readdir(open)) && length + sizeof e->d_name < NAMES_SIZE;)
        length += (size_t)snprintf(names + length, NAMES_SIZE - length, "%s/", e->d_name);
    names[length] = '\0';
    if (open) closedir(open);
}

static void die_with_an_arena(void *arg) {
    struct shared_arena s = new_arena();
    list_names(arg);
    check_large(s.old, s.size);
    raise(SIGKILL);
}

CASE("G-09", an_arena_has_no_name_in_dev_shm) {
    static char before[NAMES_SIZE], after[NAMES_SIZE];
    char *during = shared_memory(NAMES_SIZE);
    bool same = false;
    if (SANITIZED && X == DIST_THREAD) skip();         /* which cannot start threads in a child */
    for (int tries = 0; tries < 5 && !same; tries++) { /* other programs may use it */
        list_names(before);
        assert_int_equal(WTERMSIG(in_child(die_with_an_arena, during)), SIGKILL);
        list_names(after);
        same = !strcmp(before, during) && !strcmp(before, after);
    }
    assert_true(same);
}
