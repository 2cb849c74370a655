/* os.h - the system calls that dist needs, and the only place that knows systems apart (os.c). */
#ifndef DIST_COMMON_OS_H
#define DIST_COMMON_OS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define DIST__CACHE_LINE 64

/* Which process this is, counted in forks from the first one: what it can see was made by itself or
 * by its ancestors, so no two of them have the same number. Written where there is only one thread.
 */
extern uint32_t dist__process;

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t dist__now_ns(void);

static inline struct timespec dist__timespec(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

/* So long from now, in CLOCK_REALTIME. */
struct timespec dist__realtime_in(uint64_t ns);

/* A condition whose waits end at a time of dist__now_ns (UINT64_MAX: none). False: it has come. */
void dist__cond_init(pthread_cond_t *cond);
bool dist__cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns);

/* Sleeps until that time. */
void dist__sleep_until(uint64_t ns);

/* A hint for spinning loops. */
static inline void dist__cpu_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* The CPU's own counter, three times as quick to read as the clock. Good for estimates only: it may
 * differ between CPUs and stand still in deep sleep. */
static inline uint64_t dist__ticks(void) {
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return dist__now_ns();
#endif
}

/* How many ticks a microsecond has, at least 1; measured once, which takes some microseconds. */
uint64_t dist__ticks_per_us(void);

/* Sleeps while *word == expected, at most timeout_ns (negative: for ever). Returns on a wake, on a
 * signal, on a change, and sometimes without reason: callers loop. `shared`: between processes. */
void dist__futex_wait(_Atomic(uint32_t) *word, uint32_t expected, int64_t timeout_ns, bool shared);
void dist__futex_wake(_Atomic(uint32_t) *word, int count, bool shared);

/* The CPUs that a thread may use. */
struct dist__affinity {
    bool is_set;
    unsigned long mask[1024 / (8 * sizeof(unsigned long))];
};

/* Lets the calling thread run on one CPU only, and keeps in *before where it might run; false (and
 * before->is_set too) if the system refuses. Undone by unpin. */
bool dist__pin(unsigned cpu, struct dist__affinity *before);
void dist__unpin(struct dist__affinity *before);

/* Starts a thread that blocks all asynchronous signals, on the CPUs given, NULL being those of the
 * calling thread. Returns 0 or an errno. */
int dist__thread_start(pthread_t *thread, void *(*main)(void *), void *arg,
                       const struct dist__affinity *cpus);

/* The same, with a stack of so many bytes, or what the system requires at least; 0: its default. */
int dist__thread_start_sized(pthread_t *thread, void *(*main)(void *), void *arg,
                             const struct dist__affinity *cpus, size_t stack_bytes);

/* In a forked child: threads that it starts do not take the stacks of threads that its parent had,
 * where data may lie that the child still uses. */
void dist__keep_stacks(void);

/* Names the calling thread dist-<what>-<number>. */
void dist__thread_name(const char *what, unsigned number);

/* Nanoseconds of CPU time that the thread with this clock has used; UINT64_MAX if it is gone. */
uint64_t dist__cpu_ns(clockid_t clock);

/* Differs between the threads of this process, those that are gone included, and is not 0. */
uint32_t dist__thread_number(void);

/* The calling thread cannot be cancelled until its former state is restored. */
int dist__cancel_disable(void);
void dist__cancel_restore(int state);

/* True if it is certain that this process has one thread only. */
bool dist__single_threaded(void);

/* How many threads this process has now, as the kernel tells; 0: it does not. */
unsigned dist__thread_count(void);

/* "SIGSEGV" for 11; "signal 77" written to `buffer` for one without a name. */
const char *dist__signal_name(int number, char buffer[static 16]);

/* Registers `leave`, to be called first of all handlers when the process calls exit(). It receives
 * the exit status, or -1 where the C library does not tell. Returns 0 or an errno. */
int dist__on_exit(void (*leave)(int status));

/* A descriptor that becomes readable when the process ends; -1 and errno if there is none. */
int dist__pidfd_open(pid_t pid);

/* How a process ended. `known` is false if somebody else has reaped it and the kernel does not
 * remember. */
struct dist__exit {
    bool known;
    int signal;      /* that killed it, or 0 */
    int exit_code;   /* if signal is 0 */
    uint64_t cpu_ns; /* that it has used; 0 if unknown */
    size_t peak_rss; /* bytes it had in memory at most; 0 if unknown */
};

/* Reaps a child that has ended (waits for it if it has not). pidfd may be -1. */
struct dist__exit dist__reap(pid_t pid, int pidfd);

/* Which file a descriptor is open on, more or less; 0: none. */
uint64_t dist__file_id(int fd);

/* A descriptor that is kept: the program may have closed it meanwhile, and opened another file. */
struct dist__file {
    int fd; /* -1: none */
    uint64_t id;
};
struct dist__file dist__file_of(int fd);
bool dist__file_is_open(struct dist__file file);
void dist__file_close(struct dist__file *file); /* if it is still open */

/* Sends a signal to a child that has not been reaped by dist__reap. */
void dist__kill(pid_t pid, int pidfd, int number);

/* True if the child has ended (and has not been reaped by dist__reap). For kernels without pidfd.
 */
bool dist__has_ended(pid_t pid);

/* Makes this process a likelier victim than its parent when the system runs out of memory. */
void dist__oom_prefer(void);

/* True if all of these bytes are mapped MAP_SHARED. */
bool dist__is_mapped_shared(const void *address, size_t size);

/* True if what this process writes there stays its own, or if nothing is mapped there. */
bool dist__is_private(const void *address);

/* Reads the beginning of a small file into `text`, ends it with a zero, and returns its length; 0
 * if it cannot be read. Without stdio: no lock, no allocation. */
size_t dist__read_file(const char *path, char *text, size_t size);

#endif
