/* split.c - dividing a range: pure functions. */
#include "dist/dist.h"

dist_range dist_split(size_t n, size_t parts, size_t k) {
    if (k >= parts) return (dist_range){n, 0};
    size_t small = n / parts, larger = n % parts; /* the first `larger` parts have one more */
    size_t begin = k * small + (k < larger ? k : larger);
    return (dist_range){begin, small + (k < larger ? 1 : 0)};
}

dist_range dist_chunk(size_t n, size_t size, size_t k) {
    if (size == 0 || k > n / size) return (dist_range){n, 0};
    size_t begin = k * size;
    return (dist_range){begin, n - begin < size ? n - begin : size};
}
