/* contract_tools.h - what the cases need beside the library: shared memory, time, children, and
 * what /proc tells about this process. */
#ifndef DIST_TEST_CONTRACT_TOOLS_H
#define DIST_TEST_CONTRACT_TOOLS_H

#include <dist/dist.h>
#include <stdatomic.h>
#include <sys/types.h>

/* Zeroed memory that the workers of every executor share with the case. It lives as long as the
 * process. */
void *shared_memory(size_t size);

double now(void); /* monotonic, in seconds */
void nap(double seconds);

/* How often a stress case repeats: less with processes, and less under sanitizers. */
unsigned rounds(unsigned plain, unsigned process);

/* The condition of a stress loop: counts up to `wanted`, but ends before a machine under load makes
 * the case too slow. One loop at a time. */
bool again(unsigned done, unsigned wanted);

/* False: the library was built without this backend. */
bool built(dist_executor executor);

/* Waits until *counter >= target, at most 10 s (more under sanitizers). False: it never was. */
bool reaches(_Atomic(unsigned) *counter, unsigned target);

/* Adds one to a shared counter. */
void count(_Atomic(unsigned) *counter);
unsigned counted(_Atomic(unsigned) *counter);

/* $DIST_TEST_SEED or a constant, printed; then xorshift from there. */
uint32_t random_seed(void);
uint32_t random_next(uint32_t *state);
uint32_t random_below(uint32_t *state, uint32_t limit);

/* Spins for up to `most` microseconds or so: random delays that are shorter than any sleep. */
void random_spin(uint32_t *state, uint32_t most);

int thread_id(void);

/* How many entries a directory of /proc/self has: "task" for threads, "fd" for descriptors. */
unsigned entries(const char *directory);

/* Threads of this process once it had `most` of them or fewer; those that are still there after
 * a second. A thread that has been joined may stay visible for a moment. */
unsigned threads_down_to(unsigned most);

/* Threads of this process now. Call it before the first call under test: it makes a sanitizer
 * start its own helper thread. */
unsigned threads_before(void);

/* Memory of this process. */
size_t resident_bytes(void);
size_t mapped_bytes(void);

/* True as soon as the process does not exist or is a zombie; false after `seconds`. */
bool gone(pid_t pid, double seconds);

/* The process that forks the workers of a pool, of which this is one; 0: it is gone, and somebody
 * else has adopted them. */
pid_t nursery_of(pid_t worker);

/* Runs `body` in a child process, for what must not happen to the case itself. Assertions hold
 * there too: a failed one ends the child with status 1. Returns the status of waitpid. */
int in_child(void (*body)(void *arg), void *arg);
pid_t start_child(void (*body)(void *arg), void *arg);
int wait_child(pid_t pid);

/* The same with stdout and stderr as a pipe: returns what came out of it, ended by '\0'. */
enum { OUTPUT_SIZE = 1 << 16 };
size_t output_of(void (*body)(void *arg), void *arg, char text[OUTPUT_SIZE], int *status);

/* 1009 ints 0, 1, 2 ... and the results that go with them: a prime number of items. */
enum { PRIME = 1009 };
const int *numbers(void);

/* A task: from an int to an int. */
int square(void *result, const void *item, void *ctx);

#endif
