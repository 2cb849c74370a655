/* unit.h - the unit tests may look into all rooms: they include headers of src and link the
 * objects. */
#ifndef DIST_TEST_UNIT_H
#define DIST_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define TEST(name) static void name(void **state __attribute__((unused)))
#define N(array)   (sizeof(array) / sizeof *(array))

/* xorshift; the seed comes from the command line, else from the clock, and is printed. */
static uint64_t random_state;

static inline void random_seed(int argc, char **argv) {
    random_state = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    printf("seed %llu (give it as the argument to repeat)\n", (unsigned long long)random_state);
    random_state = random_state * 0x9e3779b97f4a7c15u + 1;
}

static inline size_t random_below(size_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state >> 11) % limit;
}

#define RUN(tests)                                                                                 \
    int main(int argc, char **argv) {                                                              \
        random_seed(argc, argv);                                                                   \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }

#endif
