/* check.h - an assertion that also holds in release builds, and a list as Python prints it. */
#ifndef DIST_EXAMPLES_CHECK_H
#define DIST_EXAMPLES_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (condition) break;                                                                      \
        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);             \
        exit(1);                                                                                   \
    } while (0)

/* What a call is, and what it gave: d.map(double, nums)    [0, 2, 4] */
static inline void show_ints(const char *call, const int *list, size_t n) {
    printf("%-40s [", call);
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? ", " : "", list[i]);
    puts("]");
}

#endif
