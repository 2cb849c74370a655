/* load.h - what the competitors run. Every load is the same loop over 32-bit items,
 *
 *     for (i = 0; i < n; i++) task(&out[i], &items[i], NULL);
 *
 * so that a competitor is only a way to run a loop, and every result can be checked.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the driver asks for, as key=value arguments of the competitor's program. */
struct params {
    const char *load;    /* a name of load.c's table */
    const char *variant; /* a name of the competitor's table */
    size_t n;            /* items */
    size_t size; /* spin: ns of all items; sleep: ns of one; read: bytes of memory; fib: the number;
                  * idle: ns to be idle for */
    unsigned workers;   /* 0: the competitor's default */
    unsigned cpus;      /* that this run may use */
    uint64_t spin;      /* iterations of bench_spin in 1 ms */
    uint64_t sample_ns; /* a sample repeats the call until it takes so long */
};

typedef int bench_task(void *result, const void *item, void *ctx);
typedef int bench_index(size_t i, void *load);

struct load {
    size_t n;
    uint32_t *items, *out;
    bench_task *task;                  /* compiled elsewhere, so opaque to every caller */
    bench_index *index;                /* the same for item i of the load that it receives */
    uint32_t (*expect)(uint32_t item); /* what task writes for this item */
    unsigned workers, cpus;
    unsigned char *from, *to; /* copy: n buffers of so many bytes, in and out; else NULL */
    size_t buffer;
    uint64_t
        idle_ns; /* what is measured is the CPU time of so long a rest afterwards; 0: the call */
};

/* Both return NULL or what is wrong, in words. */
const char *load_open(struct load *l, const struct params *p);
const char *load_check(const struct load *l);

/* So that load_check cannot find the results of an earlier call. */
void load_clear(struct load *l);

/* tasks.c: the functions behind the pointers. */
bench_task hash_task, spin_task, sleep_task, read_task, fib_task;
bench_index hash_index, spin_index, sleep_index, read_index, fib_index;
uint32_t hash_value(uint32_t item);
uint32_t fib_value(uint32_t n);
uint32_t read_value(uint32_t part);

/* Takes bytes of private memory in small or huge pages, and touches all of it, for read_task. */
bool read_open(size_t bytes, size_t parts, bool huge);

/* Counts to `iterations` at about 1 ns each, and returns it. */
uint32_t bench_spin(uint32_t iterations);

uint64_t bench_now_ns(void);

#ifdef __cplusplus
}
#endif

#endif
