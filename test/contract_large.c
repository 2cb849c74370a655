/* contract_large.c - results of gigabytes. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

static const size_t gib = (size_t)1 << 30;

/* Writes what is at the ends and in the middle; the pages between stay untouched. */
static int write_ends(void *result, const void *item, void *ctx) {
    size_t size = *(const size_t *)ctx;
    char *bytes = result, letter = *(const char *)item;
    bytes[0] = bytes[size / 2] = bytes[size - 1] = letter;
    return 0;
}

static char *reserve(size_t size) {
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static void check_ends(const char *out, size_t size, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *bytes = out + i * size;
        assert_int_equal(bytes[0], 'a' + (char)i);
        assert_int_equal(bytes[size / 2], 'a' + (char)i);
        assert_int_equal(bytes[size - 1], 'a' + (char)i);
        assert_int_equal(bytes[size / 4], 0);
    }
}

CASE("G-17", results_in_place_may_be_larger_than_four_gigabytes) {
    size_t size = 5 * gib;
    char *out = reserve(3 * size);
    const dist_opts *opts = DIST_OPTS(.executor = X, .workers = 2, .in_place = true, .ctx = &size);
    assert_int_equal(dist_map_fn(write_ends, "abc", 3, 1, out, size, opts), DIST_OK);
    check_ends(out, size, 3);
}

/* What /proc/meminfo gives as available, in bytes. */
static size_t memory_available(void) {
    char line[128];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "MemAvailable: %lu", &kib);
    if (f) fclose(f);
    return (size_t)kib << 10;
}

/* Waits until no other run of this program is in here: the file of the program is the lock. */
static void one_at_a_time(void) {
    int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(program, LOCK_EX), 0);
}

CASE_ON("G-17", a_result_of_three_gigabytes_arrives, ON_ALL, 120) {
    size_t size = 3 * gib;
#ifndef __OPTIMIZE__
    skip(); /* gigabytes take long enough in an optimised build */
#endif
    if (SANITIZED) skip();
    one_at_a_time();
    if (memory_available() < 4 * size) skip();
    char *out = malloc(size);
    assert_non_null(out);
    memset(out, 0, size);
    const dist_opts *opts = DIST_OPTS(.executor = X, .ctx = &size);
    assert_int_equal(dist_map_fn(write_ends, "a", 1, 1, out, size, opts), DIST_OK);
    check_ends(out, size, 1);
    free(out);
}
