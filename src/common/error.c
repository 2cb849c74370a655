/* error.c - status names and the calling thread's last error. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

const char *dist_status_name(dist_status status) {
    switch (status) {
#define NAME(name, value, text)                                                                    \
    case name: return #name;
        DIST_STATUS_ROWS(NAME)
#undef NAME
    case DIST_STATUS_COUNT: break;
    }
    return "DIST_?";
}

static _Thread_local dist_error last;

const dist_error *dist_last_error(void) { return &last; }

void dist__remember(const dist_error *error) { last = *error; }

dist_status dist__refuse(dist_status status, int code, const char *format, ...) {
    last = (dist_error){.status = status, .code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(last.message, sizeof last.message, format, args);
    va_end(args);
    return status;
}

const char *dist_version(void) { return DIST_VERSION; }
