/* fault.h - tests in which the system fails. Each case runs in a process of its own, with a time
 * limit, so that what it takes away from itself (system calls, memory, privileges) is gone with it.
 * They use the public interface only. */
#ifndef DIST_TEST_FAULT_H
#define DIST_TEST_FAULT_H

#include "../sanitized.h"

#include <dist/dist.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define N(array) (sizeof(array) / sizeof *(array))

#define CHECK(condition)                                                                           \
    do                                                                                             \
        if (!(condition)) check_failed(__FILE__, __LINE__, #condition);                            \
    while (0)

struct fault_case {
    const char *name; /* what happens */
    void (*run)(void);
    unsigned seconds; /* limit; more under sanitizers */
};

/* The program: all cases, or those whose name contains the first argument. The second argument is
 * the seed of random choices. Exit status 77 if all were skipped. */
int fault_main(const struct fault_case *cases, size_t count, int argc, char **argv);

_Noreturn void check_failed(const char *file, int line, const char *condition);
_Noreturn void skip(const char *why); /* ends the case */

uint32_t random_below(uint32_t limit);
void random_seed(uint64_t seed);
double now(void); /* monotonic, in seconds */
void nap(double seconds);
void *shared_memory(size_t size); /* zeroed, shared with children, for the life of the process */

/* System calls that fail with `error` from now on, in this process and its children. */
void forbid(const int *calls, size_t count, int error);
void forbid_new_threads(void);   /* EAGAIN */
void forbid_new_processes(void); /* EAGAIN; takes new threads too */

/* Becomes a user without other processes, who may have `tasks` processes and threads in all. Skips
 * the case if that needs more rights. */
void become_user_with(unsigned long tasks);

/* The children of the main thread of `parent`, this process left out. */
size_t children_of(pid_t parent, pid_t *child, size_t room);

/* True as soon as the process does not exist or is a zombie; false after `seconds`. */
bool gone(pid_t pid, double seconds);

/* What a call must leave as it was. */
struct footprint {
    unsigned children, descriptors, shared_mappings;
};
struct footprint footprint(void);
void check_footprint(struct footprint before); /* the same again, at once */

#endif
