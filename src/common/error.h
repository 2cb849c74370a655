/* error.h - the calling thread's last error. */
#ifndef DIST_COMMON_ERROR_H
#define DIST_COMMON_ERROR_H

#include "dist/dist.h"

/* Records a refused call and returns `status`: return dist__refuse(DIST_INVALID, 0, "n: ..."). */
dist_status dist__refuse(dist_status status, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Records the failure of an item as the thread's last error. */
void dist__remember(const dist_error *error);

#endif
