/* cpus.c - min of affinity, cgroup quota and online CPUs.
 *
 * cgroup v2 keeps "quota period" (or "max period") in cpu.max, v1 keeps cpu.cfs_quota_us and
 * cpu.cfs_period_us; a limit anywhere up the hierarchy counts. In a container the path of
 * /proc/self/cgroup may lie outside of what is mounted, so the mount's own root is read too. */
#include "cpus.h"
#include "dist/dist.h"
#include "os.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static bool read_in(const char *directory, const char *file, char *text, size_t size) {
    char path[PATH_SIZE + 64];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    return dist__read_file(path, text, size) > 0;
}

static unsigned rounded_up(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return 0;
    long long cpus = (quota - 1) / period + 1;
    return cpus > 1000000 ? 0 : (unsigned)cpus;
}

static unsigned quota_of(const char *directory) {
    char line[64];
    long long quota, period;
    if (read_in(directory, "cpu.max", line, sizeof line))
        return sscanf(line, "%lld %lld", &quota, &period) == 2 ? rounded_up(quota, period) : 0;
    if (!read_in(directory, "cpu.cfs_quota_us", line, sizeof line)) return 0;
    if (sscanf(line, "%lld", &quota) != 1) return 0;
    if (!read_in(directory, "cpu.cfs_period_us", line, sizeof line)) return 0;
    return sscanf(line, "%lld", &period) == 1 ? rounded_up(quota, period) : 0;
}

static unsigned least(unsigned a, unsigned b) { return a == 0 ? b : b == 0 || a < b ? a : b; }

/* The least quota of root/path and all directories above it, down to root itself. */
static unsigned quota_up(const char *root, const char *path) {
    char directory[PATH_SIZE];
    size_t root_length = strlen(root);
    int length = snprintf(directory, sizeof directory, "%s%s", root, path);
    if (length < 0 || (size_t)length >= sizeof directory) return quota_of(root);
    unsigned cpus = 0;
    for (;;) {
        cpus = least(cpus, quota_of(directory));
        char *slash = strrchr(directory, '/');
        if (!slash || (size_t)(slash - directory) < root_length) return cpus;
        *slash = '\0';
    }
}

unsigned dist__cpus_of_cgroup(const char *root, const char *membership) {
    unsigned cpus = 0;
    for (const char *line = membership; line && *line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        char controllers[256] = "", path[PATH_SIZE] = "", mount[PATH_SIZE];
        if (sscanf(line, "%*d:%255[^:\n]:%4000[^\n]", controllers, path) == 2) { /* v1 */
            char padded[260];
            snprintf(padded, sizeof padded, ",%s,", controllers);
            if (!strstr(padded, ",cpu,")) continue;
            snprintf(mount, sizeof mount, "%.2000s/%.255s", root, controllers);
            unsigned under_own_name = quota_up(mount, path);
            snprintf(mount, sizeof mount, "%.2000s/cpu", root);
            cpus = least(cpus, least(under_own_name, quota_up(mount, path)));
        } else if (sscanf(line, "0::%4000[^\n]", path) == 1) { /* v2 */
            cpus = least(cpus, quota_up(root, path));
        }
    }
    return cpus;
}

static unsigned of_own_cgroup(void) {
    char membership[8192];
    if (!dist__read_file("/proc/self/cgroup", membership, sizeof membership)) return 0;
    return dist__cpus_of_cgroup("/sys/fs/cgroup", membership);
}

static unsigned of_affinity(void) {
    enum { CPUS = 8192 };
    cpu_set_t *set = CPU_ALLOC(CPUS);
    if (!set) return 0;
    size_t size = CPU_ALLOC_SIZE(CPUS);
    int count = sched_getaffinity(0, size, set) ? 0 : CPU_COUNT_S(size, set);
    CPU_FREE(set);
    return count > 0 ? (unsigned)count : 0;
}

static unsigned of_environment(void) {
    const char *text = getenv("DIST_WORKERS");
    if (!text || *text < '1' || *text > '9') return 0;
    char *end;
    unsigned long count = strtoul(text, &end, 10);
    return *end == '\0' && count <= 1000000 ? (unsigned)count : 0;
}

unsigned dist_cpus(void) {
    unsigned given = of_environment();
    if (given) return given;
    int saved = errno;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned cpus = least(of_affinity(), least(of_own_cgroup(), online > 0 ? (unsigned)online : 0));
    errno = saved;
    return cpus ? cpus : 1;
}

unsigned dist__cpus_cached(void) {
    static _Atomic(unsigned) cached;
    /* relaxed: a number by itself; two threads may both find it out */
    unsigned cpus = atomic_load_explicit(&cached, memory_order_relaxed);
    if (cpus) return cpus;
    cpus = dist_cpus();
    atomic_store_explicit(&cached, cpus, memory_order_relaxed);
    return cpus;
}
