/* layout.h - parts of one block of memory, one behind the other, each at the begin of a cache line.
 * The same function lays them out twice: without `base` it only counts. */
#ifndef DIST_COMMON_LAYOUT_H
#define DIST_COMMON_LAYOUT_H

#include "os.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct dist__layout {
    unsigned char *base;
    size_t size;
    bool overflow;
};

/* NULL: the part has no bytes, or this only counts. */
static inline void *dist__layout_part(struct dist__layout *to, size_t count, size_t size) {
    size_t bytes, begin = to->size;
    if (count == 0 || size == 0) return NULL;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX / 2 ||
        begin > PTRDIFF_MAX / 2) {
        to->overflow = true;
        return NULL;
    }
    to->size += (bytes + DIST__CACHE_LINE - 1) / DIST__CACHE_LINE * DIST__CACHE_LINE;
    return to->base ? to->base + begin : NULL;
}

static inline void *dist__layout_zeros(struct dist__layout *to, size_t count, size_t size) {
    void *at = dist__layout_part(to, count, size);
    return at ? memset(at, 0, count * size) : NULL;
}

/* A copy of these bytes; NULL stays NULL. */
static inline void *dist__layout_copy(struct dist__layout *to, const void *from, size_t count,
                                      size_t size) {
    if (!from) return NULL;
    void *at = dist__layout_part(to, count, size);
    return at ? memcpy(at, from, count * size) : NULL;
}

static inline const char *dist__layout_text(struct dist__layout *to, const char *text) {
    return text ? dist__layout_copy(to, text, 1, strlen(text) + 1) : NULL;
}

/* Copies of n names, of which some may be NULL; NULL stays NULL. */
static inline const char *const *dist__layout_names(struct dist__layout *to,
                                                    const char *const *from, size_t n) {
    if (!from) return NULL;
    const char **names = dist__layout_part(to, n, sizeof *names);
    for (size_t i = 0; i < n; i++) {
        const char *name = dist__layout_text(to, from[i]);
        if (names) names[i] = name;
    }
    return names;
}

#endif
