/* cpus.h - how many CPUs this process may use. */
#ifndef DIST_COMMON_CPUS_H
#define DIST_COMMON_CPUS_H

/* dist_cpus() as it was when this process first asked: reading the cgroup files takes long. */
unsigned dist__cpus_cached(void);

/* CPUs granted by the cgroup files below `root` (rounded up) to the process whose
 * /proc/self/cgroup reads `membership`; 0: no limit. For tests `root` may be any directory. */
unsigned dist__cpus_of_cgroup(const char *root, const char *membership);

#endif
