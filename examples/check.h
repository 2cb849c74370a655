/* check.h - an assertion that also holds in release builds. */
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

#endif
