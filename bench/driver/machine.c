#include "machine.h"

#include "../peer/load.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

static void trim(char *text) { text[strcspn(text, "\n")] = '\0'; }

/* What follows the colon on the file's first line that begins with `key`. */
static bool field(const char *path, const char *key, char *value, size_t size) {
    char line[512];
    bool found = false;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
        trim(line);
        snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        found = true;
    }
    fclose(f);
    return found;
}

static void first_line(const char *path, char *value, size_t size) {
    FILE *f = fopen(path, "re");
    if (!f || !fgets(value, (int)size, f)) snprintf(value, size, "unknown");
    if (f) fclose(f);
    trim(value);
}

static void describe_commit(char *value, size_t size) {
    FILE *f = popen("git -C '" BENCH_SOURCE "' describe --always --dirty --tags 2>/dev/null", "re");
    if (!f || !fgets(value, (int)size, f)) snprintf(value, size, "unknown");
    if (f) pclose(f);
    trim(value);
}

unsigned machine_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return (unsigned)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)online : 1;
}

double machine_free_bytes(void) {
    char text[64];
    return field("/proc/meminfo", "MemAvailable", text, sizeof text) ? strtod(text, NULL) * 1024
                                                                     : 0;
}

void machine_describe(struct machine *m) {
    struct utsname u;
    *m = (struct machine){.cpus = machine_cpus(),
                          .online = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                          .memory_gib = (double)sysconf(_SC_PHYS_PAGES) *
                                        (double)sysconf(_SC_PAGESIZE) / (1u << 30)};
    if (!field("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
        snprintf(m->cpu, sizeof m->cpu, "unknown");
    if (uname(&u) == 0)
        snprintf(m->kernel, sizeof m->kernel, "%s %s %s", u.sysname, u.release, u.machine);
    first_line("/sys/kernel/mm/transparent_hugepage/enabled", m->huge_pages, sizeof m->huge_pages);
    first_line("/proc/loadavg", m->load, sizeof m->load);
    describe_commit(m->commit, sizeof m->commit);
}

/* The best of several short runs: the undisturbed speed. */
uint64_t machine_spin(void) {
    const uint32_t iterations = 5000000;
    uint64_t best = UINT64_MAX;
    for (int k = 0; k < 7; k++) {
        uint64_t begin = bench_now_ns();
        bench_spin(iterations);
        uint64_t ns = bench_now_ns() - begin;
        if (ns < best) best = ns;
    }
    return iterations * (uint64_t)1000000 / (best ? best : 1);
}

static double seconds_of(int who) {
    struct rusage u;
    if (getrusage(who, &u) != 0) return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* The columns of /proc/stat: user nice system idle iowait irq softirq steal. */
static double machine_seconds(void) {
    unsigned long long t[8] = {0};
    FILE *f = fopen("/proc/stat", "re");
    if (!f) return 0;
    int got = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3],
                     &t[4], &t[5], &t[6], &t[7]);
    fclose(f);
    if (got != 8) return 0;
    return (double)(t[0] + t[1] + t[2] + t[5] + t[6] + t[7]) / (double)sysconf(_SC_CLK_TCK);
}

/* Of a process and of its children that have ended: fields 14 to 17 of its stat. */
static double process_seconds(pid_t pid) {
    char path[64], line[1024];
    unsigned long long t[4] = {0};
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    first_line(path, line, sizeof line);
    const char *rest = strrchr(line, ')');
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu",
                        &t[0], &t[1], &t[2], &t[3]) != 4)
        return 0;
    return (double)(t[0] + t[1] + t[2] + t[3]) / (double)sysconf(_SC_CLK_TCK);
}

struct usage machine_usage(const struct rival *rivals, size_t count) {
    struct usage u = {.seconds = (double)bench_now_ns() / 1e9,
                      .all = machine_seconds(),
                      .own = seconds_of(RUSAGE_SELF) + seconds_of(RUSAGE_CHILDREN)};
    for (size_t k = 0; k < count; k++)
        if (rivals[k].pid) u.own += process_seconds(rivals[k].pid);
    return u;
}

struct share machine_share(const struct usage *before, const struct usage *after) {
    double all = after->all - before->all, own = after->own - before->own;
    double room = (after->seconds - before->seconds) * (double)sysconf(_SC_NPROCESSORS_ONLN);
    return (struct share){room, all - own};
}
