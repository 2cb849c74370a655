#include "load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t same_value(uint32_t item) { return item; }

static void fill_index(uint32_t *items, const struct params *p) {
    for (size_t i = 0; i < p->n; i++) items[i] = (uint32_t)i;
}

static void fill_sleep(uint32_t *items, const struct params *p) {
    for (size_t i = 0; i < p->n; i++) items[i] = (uint32_t)(p->size / 1000);
}

static double weight_even(size_t i, size_t n) { return (void)i, (void)n, 1; }
static double weight_up(size_t i, size_t n) { return (void)n, (double)(i + 1); }
static double weight_down(size_t i, size_t n) { return (double)(n - i); }

/* Pareto with shape 1.5, from a hash of the index: the same costs in every competitor and run. */
static double weight_pareto(size_t i, size_t n) {
    (void)n;
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    double u = ((double)((x ^ (x >> 31)) >> 11) + 1) / 9007199254740993.0;
    return pow(u, -1 / 1.5);
}

static void fill_number(uint32_t *items, const struct params *p) { items[0] = (uint32_t)p->size; }

/* Shares p->size nanoseconds among the items by weight. */
static void fill_spin(uint32_t *items, const struct params *p, double (*weight)(size_t, size_t)) {
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) sum += weight(i, p->n);
    double iterations = (double)p->spin * (double)p->size / 1e6;
    for (size_t i = 0; i < p->n; i++) items[i] = (uint32_t)(iterations * weight(i, p->n) / sum) + 1;
}

static void fill_even(uint32_t *items, const struct params *p) { fill_spin(items, p, weight_even); }
static void fill_up(uint32_t *items, const struct params *p) { fill_spin(items, p, weight_up); }
static void fill_down(uint32_t *items, const struct params *p) { fill_spin(items, p, weight_down); }
static void fill_pareto(uint32_t *items, const struct params *p) {
    fill_spin(items, p, weight_pareto);
}

static const struct kind {
    const char *name;
    void (*fill)(uint32_t *items, const struct params *p);
    bench_task *task;
    bench_index *index;
    uint32_t (*expect)(uint32_t item);
} kinds[] = {
    {"hash", fill_index, hash_task, hash_index, hash_value},
    {"spin-even", fill_even, spin_task, spin_index, same_value},
    {"spin-up", fill_up, spin_task, spin_index, same_value},
    {"spin-down", fill_down, spin_task, spin_index, same_value},
    {"spin-pareto", fill_pareto, spin_task, spin_index, same_value},
    {"sleep", fill_sleep, sleep_task, sleep_index, same_value},
    {"fib", fill_number, fib_task, fib_index, fib_value},
    {"copy", fill_index, hash_task, hash_index, hash_value},
    {"idle", fill_index, hash_task, hash_index, hash_value},
    {"read-small", fill_index, read_task, read_index, read_value},
    {"read-huge", fill_index, read_task, read_index, read_value},
};

static const char *open_buffers(struct load *l, size_t bytes) {
    l->buffer = bytes / l->n;
    l->from = malloc(bytes);
    l->to = malloc(bytes);
    if (!l->from || !l->to) return "no memory";
    for (size_t i = 0; i < bytes; i++) l->from[i] = (unsigned char)(i / 977);
    memset(l->to, 0, bytes);
    return NULL;
}

const char *load_open(struct load *l, const struct params *p) {
    const struct kind *kind = NULL;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (p->load && strcmp(p->load, kinds[k].name) == 0) kind = &kinds[k];
    if (!kind || !p->n) return "no such load";
    if (kind->task == read_task && !read_open(p->size, p->n, strcmp(kind->name, "read-huge") == 0))
        return "no memory to read";
    /* of fib, n is how many tasks it makes of its one item */
    size_t n = kind->task == fib_task ? 1 : p->n;
    *l = (struct load){.n = n,
                       .task = kind->task,
                       .index = kind->index,
                       .expect = kind->expect,
                       .workers = p->workers,
                       .cpus = p->cpus,
                       .idle_ns = strcmp(kind->name, "idle") == 0 ? p->size : 0,
                       .items = malloc(n * sizeof *l->items),
                       .out = malloc(n * sizeof *l->out)};
    if (!l->items || !l->out) return "no memory";
    kind->fill(l->items, p);
    return strcmp(kind->name, "copy") == 0 ? open_buffers(l, p->size) : NULL;
}

void load_clear(struct load *l) {
    memset(l->out, 0x5a, l->n * sizeof *l->out);
    for (size_t i = 0; l->to && i < l->n; i++) memset(l->to + i * l->buffer, 0x5a, 64);
}

const char *load_check(const struct load *l) {
    if (l->to) return memcmp(l->from, l->to, l->n * l->buffer) ? "wrong results" : NULL;
    for (size_t i = 0; i < l->n; i++)
        if (l->out[i] != l->expect(l->items[i])) return "wrong results";
    return NULL;
}
