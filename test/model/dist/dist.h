/* dist.h - stands in for the public header where the model checker runs: of all that, a note needs
 * the error, and one word of it will do. */
#ifndef DIST_H
#define DIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dist_error {
    int code;
} dist_error;

#endif
