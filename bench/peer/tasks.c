/* The bodies of the loops. They stand in a file of their own, and the bench is built without
 * link-time optimization: no competitor's compiler sees through the call. */
#include "load.h"

#include <sys/mman.h>
#include <time.h>

/* Each task in its two forms, for competitors that pass the item and for those that pass the index.
 */
#define BOTH_FORMS(name, value)                                                                    \
    int name##_task(void *result, const void *item, void *ctx) {                                   \
        (void)ctx;                                                                                 \
        *(uint32_t *)result = value(*(const uint32_t *)item);                                      \
        return 0;                                                                                  \
    }                                                                                              \
    int name##_index(size_t i, void *load) {                                                       \
        const struct load *l = (const struct load *)load;                                          \
        l->out[i] = value(l->items[i]);                                                            \
        return 0;                                                                                  \
    }

uint64_t bench_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint32_t hash_value(uint32_t item) { return item * 2654435761u + 12345u; }

uint32_t bench_spin(uint32_t iterations) {
    uint64_t x = 88172645463325252u;
    for (uint32_t i = 0; i < iterations; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    /* xorshift never reaches zero, but the compiler does not know it and has to run the loop. */
    return x ? iterations : 0;
}

static uint32_t sleep_us(uint32_t us) {
    struct timespec t = {us / 1000000u, (long)(us % 1000000u) * 1000};
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) ? 0 : us;
}

static struct {
    const unsigned char *base;
    size_t part, parts;
} memory;

enum { PAGE = 4096, STRIDE = 64 * 1024 };

bool read_open(size_t bytes, size_t parts, bool huge) {
    unsigned char *base =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return false;
    madvise(base, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    for (size_t i = 0; i < bytes; i += PAGE) base[i] = (unsigned char)(i / STRIDE);
    memory.base = base;
    memory.parts = parts;
    memory.part = bytes / parts;
    return true;
}

uint32_t read_value(uint32_t part) {
    const unsigned char *p = memory.base + part % memory.parts * memory.part / STRIDE * STRIDE;
    uint32_t sum = part;
    for (size_t i = 0; i < memory.part; i += STRIDE) sum = sum * 31 + p[i];
    return sum;
}

uint32_t fib_value(uint32_t n) {
    uint32_t a = 0, b = 1;
    for (; n > 0; n--) {
        uint32_t next = a + b;
        a = b;
        b = next;
    }
    return a;
}

/* As it is written everywhere: two calls in each. */
static uint32_t fib_by_calls(uint32_t n) {
    return n < 2 ? n : fib_by_calls(n - 1) + fib_by_calls(n - 2);
}

BOTH_FORMS(hash, hash_value)
BOTH_FORMS(fib, fib_by_calls)
BOTH_FORMS(spin, bench_spin)
BOTH_FORMS(sleep, sleep_us)
BOTH_FORMS(read, read_value)
