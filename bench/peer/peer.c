#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SETTLE_NS = 200000000 }; /* before a rest is looked at */

struct sampler {
    struct load load;
    const struct variant *variant;
    uint64_t sample_ns;
    size_t repeat;
};

static const char *value_of(const char *argument, const char *key) {
    size_t length = strlen(key);
    return strncmp(argument, key, length) == 0 && argument[length] == '=' ? argument + length + 1
                                                                          : NULL;
}

static struct params parse(int argc, char **argv) {
    struct params p = {0};
    for (int i = 1; i < argc; i++) {
        const char *v;
        if ((v = value_of(argv[i], "load"))) p.load = v;
        if ((v = value_of(argv[i], "variant"))) p.variant = v;
        if ((v = value_of(argv[i], "n"))) p.n = strtoull(v, NULL, 10);
        if ((v = value_of(argv[i], "size"))) p.size = strtoull(v, NULL, 10);
        if ((v = value_of(argv[i], "workers"))) p.workers = (unsigned)strtoul(v, NULL, 10);
        if ((v = value_of(argv[i], "cpus"))) p.cpus = (unsigned)strtoul(v, NULL, 10);
        if ((v = value_of(argv[i], "spin"))) p.spin = strtoull(v, NULL, 10);
        if ((v = value_of(argv[i], "sample_ns"))) p.sample_ns = strtoull(v, NULL, 10);
    }
    return p;
}

static void rest(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    nanosleep(&t, NULL);
}

static uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The CPU time of all threads while the program has nothing to do. */
static uint64_t cpu_of_rest(uint64_t idle_ns) {
    rest(SETTLE_NS);
    uint64_t before = cpu_ns();
    rest(idle_ns);
    return cpu_ns() - before;
}

/* One sample of s->repeat calls: nanoseconds in all go to *ns. */
static const char *sample(struct sampler *s, uint64_t *ns) {
    load_clear(&s->load);
    uint64_t begin = bench_now_ns();
    for (size_t k = 0; k < s->repeat; k++) {
        const char *wrong = s->variant->run(&s->load);
        if (wrong) return wrong;
    }
    *ns = bench_now_ns() - begin;
    if (s->load.idle_ns) *ns = cpu_of_rest(s->load.idle_ns);
    return load_check(&s->load) ? "fail wrong results" : NULL;
}

/* The first call is the warm-up; then samples grow until they are long enough, twice in a row: a
 * single long one may have been disturbed. */
static const char *warm(struct sampler *s) {
    uint64_t ns = 0;
    s->repeat = 1;
    const char *wrong = sample(s, &ns);
    for (int enough = s->sample_ns ? 0 : 2; !wrong && enough < 2;) {
        enough = ns >= s->sample_ns / 2 ? enough + 1 : 0;
        uint64_t aim = s->repeat * s->sample_ns / (ns ? ns : 1) + 1;
        uint64_t most = s->repeat * 10;
        if (!enough) s->repeat = aim < most ? aim : most;
        if (enough < 2) wrong = sample(s, &ns);
    }
    return wrong;
}

static void answer(struct sampler *s, const char *command) {
    uint64_t ns = 0;
    const char *wrong = NULL;
    if (strcmp(command, "warm\n") == 0) wrong = warm(s);
    else if (strcmp(command, "run\n") == 0) wrong = sample(s, &ns);
    else wrong = "fail unknown command";
    if (wrong) printf("%s\n", wrong);
    else if (ns) printf("%.3f\n", (double)ns / (double)s->repeat);
    else printf("ok\n");
}

int peer_main(int argc, char **argv, const char *what, const struct variant *variants) {
    struct params p = parse(argc, argv);
    struct sampler s = {.sample_ns = p.sample_ns, .repeat = 1};
    for (const struct variant *v = variants; v->name; v++)
        if (p.variant && strcmp(p.variant, v->name) == 0) s.variant = v;
    const char *wrong = s.variant ? load_open(&s.load, &p) : "no such variant";
    if (wrong) printf("fail %s\n", wrong);
    else printf("hello %s\n", what);
    fflush(stdout);
    char line[64];
    while (!wrong && fgets(line, sizeof line, stdin)) {
        answer(&s, line);
        fflush(stdout);
    }
    free(s.load.items);
    free(s.load.out);
    return wrong != NULL;
}
