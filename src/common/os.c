/* os.c - the system calls of os.h. Linux, glibc or musl. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__GLIBC__) && __has_include(<sys/single_threaded.h>) /* glibc 2.32 */
#include <sys/single_threaded.h>
#define HAS_SINGLE_THREADED 1
#endif

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

uint32_t dist__process;

static void count_fork(void) { dist__process++; }

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, count_fork);
}

uint64_t dist__now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct timespec dist__realtime_in(uint64_t ns) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return dist__timespec((uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec + ns);
}

void dist__cond_init(pthread_cond_t *cond) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

bool dist__cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns) {
    if (until_ns == UINT64_MAX) return pthread_cond_wait(cond, lock) == 0;
    struct timespec until = dist__timespec(until_ns);
    return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}

uint64_t dist__ticks_per_us(void) {
    enum { MEASURED_NS = 5000 };
    static _Atomic(uint64_t) measured;
    /* relaxed: a number by itself; two threads may both measure it */
    uint64_t per_us = atomic_load_explicit(&measured, memory_order_relaxed);
    if (per_us) return per_us;
    uint64_t begin = dist__now_ns(), ticks = dist__ticks(), now;
    do now = dist__now_ns();
    while (now - begin < MEASURED_NS);
    per_us = (dist__ticks() - ticks) * 1000 / (now - begin);
    if (per_us == 0) per_us = 1;
    atomic_store_explicit(&measured, per_us, memory_order_relaxed);
    return per_us;
}

/* The kernel's numbers: its headers are not there with every C library. */
enum { WAIT_ON_FUTEX = 0, WAKE_FUTEX = 1, WITHIN_PROCESS = 128 };

void dist__futex_wait(_Atomic(uint32_t) *word, uint32_t expected, int64_t timeout_ns, bool shared) {
    struct timespec limit = dist__timespec(timeout_ns < 0 ? 0 : (uint64_t)timeout_ns);
    int saved = errno;
    syscall(SYS_futex, word, WAIT_ON_FUTEX | (shared ? 0 : WITHIN_PROCESS), expected,
            timeout_ns < 0 ? NULL : &limit, NULL, 0);
    errno = saved;
}

void dist__sleep_until(uint64_t ns) {
    struct timespec until = dist__timespec(ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
}

void dist__futex_wake(_Atomic(uint32_t) *word, int count, bool shared) {
    int saved = errno;
    syscall(SYS_futex, word, WAKE_FUTEX | (shared ? 0 : WITHIN_PROCESS), count, NULL, NULL, 0);
    errno = saved;
}

/* Signals that the program sends itself by a fault stay unblocked: the host may catch them. */
static void async_signals(sigset_t *set) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(set, faults[i]);
}

/* Lets the calling thread run on these, and keeps in *before where it might. */
static bool use_cpus(const struct dist__affinity *cpus, struct dist__affinity *before) {
    return !sched_getaffinity(0, sizeof before->mask, (cpu_set_t *)before->mask) &&
           !sched_setaffinity(0, sizeof cpus->mask, (const cpu_set_t *)cpus->mask);
}

bool dist__pin(unsigned cpu, struct dist__affinity *before) {
    struct dist__affinity one = {.is_set = true};
    const unsigned bits = 8 * sizeof *one.mask;
    before->is_set = false;
    if (cpu >= bits * (sizeof one.mask / sizeof *one.mask)) return false;
    one.mask[cpu / bits] = 1ul << cpu % bits;
    before->is_set = use_cpus(&one, before);
    return before->is_set;
}

void dist__unpin(struct dist__affinity *before) {
    if (before->is_set) sched_setaffinity(0, sizeof before->mask, (cpu_set_t *)before->mask);
    before->is_set = false;
}

int dist__thread_start(pthread_t *thread, void *(*main)(void *), void *arg,
                       const struct dist__affinity *cpus) {
    return dist__thread_start_sized(thread, main, arg, cpus, 0);
}

static void set_stack_size(pthread_attr_t *attr, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    if (bytes < least) bytes = least;
    pthread_attr_setstacksize(attr, (bytes + page - 1) / page * page);
}

int dist__thread_start_sized(pthread_t *thread, void *(*main)(void *), void *arg,
                             const struct dist__affinity *cpus, size_t stack_bytes) {
    sigset_t blocked, before;
    async_signals(&blocked);
    int failed = pthread_sigmask(SIG_BLOCK, &blocked, &before); /* the new thread inherits it */
    if (failed) return failed;
    /* it inherits the CPUs, too: not every C library has them as an attribute */
    struct dist__affinity own;
    own.is_set = cpus && use_cpus(cpus, &own);
    pthread_attr_t attr, *given = NULL;
    if (stack_bytes && !pthread_attr_init(&attr)) given = &attr;
    if (given) set_stack_size(&attr, stack_bytes);
    failed = pthread_create(thread, given, main, arg);
    if (given) pthread_attr_destroy(&attr);
    dist__unpin(&own);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void dist__keep_stacks(void) {
#ifdef __GLIBC__
    /* fork() puts them on the list of free stacks, which are used again where they are large enough
     */
    enum { MORE = 65536 };
    pthread_attr_t attr;
    size_t size;
    if (pthread_getattr_default_np(&attr)) return;
    if (!pthread_attr_getstacksize(&attr, &size) && !pthread_attr_setstacksize(&attr, size + MORE))
        pthread_setattr_default_np(&attr);
    pthread_attr_destroy(&attr);
#endif
}

void dist__thread_name(const char *what, unsigned number) {
    char name[16];
    snprintf(name, sizeof name, "dist-%.3s-%u", what, number % 1000000);
    prctl(PR_SET_NAME, name);
}

uint64_t dist__cpu_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t)) return UINT64_MAX;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint32_t dist__thread_number(void) {
    static _Atomic(uint32_t) last;
    static _Thread_local uint32_t own;
    /* relaxed: only that it differs counts */
    if (!own) own = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
    return own;
}

int dist__cancel_disable(void) {
    int state = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void dist__cancel_restore(int state) { pthread_setcancelstate(state, NULL); }

bool dist__single_threaded(void) {
#ifdef HAS_SINGLE_THREADED
    return __libc_single_threaded;
#else
    return false;
#endif
}

unsigned dist__thread_count(void) {
    enum { FIELD = 18 }; /* after the name, which may hold anything */
    char text[1024];
    if (dist__single_threaded()) return 1;
    dist__read_file("/proc/self/stat", text, sizeof text);
    const char *at = strrchr(text, ')');
    for (int k = 0; at && k < FIELD; k++) at = strchr(at + 1, ' ');
    return at ? (unsigned)strtoul(at, NULL, 10) : 0;
}

const char *dist__signal_name(int number, char buffer[static 16]) {
    static const struct {
        int number;
        const char *name;
    } known[] = {
        {SIGABRT, "SIGABRT"}, {SIGALRM, "SIGALRM"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
        {SIGHUP, "SIGHUP"},   {SIGILL, "SIGILL"},   {SIGINT, "SIGINT"},   {SIGIO, "SIGIO"},
        {SIGKILL, "SIGKILL"}, {SIGPIPE, "SIGPIPE"}, {SIGPROF, "SIGPROF"}, {SIGPWR, "SIGPWR"},
        {SIGQUIT, "SIGQUIT"}, {SIGSEGV, "SIGSEGV"}, {SIGSYS, "SIGSYS"},   {SIGTERM, "SIGTERM"},
        {SIGTRAP, "SIGTRAP"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGVTALRM, "SIGVTALRM"},
        {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].number == number) return known[i].name;
    snprintf(buffer, 16, "signal %d", number);
    return buffer;
}

static void (*leave_at_exit)(int status);

#ifdef __GLIBC__
static void exit_handler(int status, void *unused) {
    (void)unused;
    leave_at_exit(status);
}

int dist__on_exit(void (*leave)(int status)) {
    leave_at_exit = leave;
    return on_exit(exit_handler, NULL) ? ENOMEM : 0;
}
#else
static void exit_handler(void) { leave_at_exit(-1); }

int dist__on_exit(void (*leave)(int status)) {
    leave_at_exit = leave;
    return atexit(exit_handler) ? ENOMEM : 0;
}
#endif

int dist__pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/* PIDFD_GET_INFO (Linux 6.13) still tells the exit status (6.15) after somebody else has reaped
 * the process. The layout is the kernel's first version of struct pidfd_info, 64 bytes. */
struct pidfd_info_v0 {
    uint64_t mask, cgroupid;
    uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info_v0) == 64, "the size is part of the ioctl number");
#define PIDFD_GET_INFO_V0  _IOWR(0xFF, 11, struct pidfd_info_v0)
#define PIDFD_INFO_EXIT_V0 (1u << 3)

static bool remembered(int pidfd, int *wait_status) {
    struct pidfd_info_v0 info = {.mask = PIDFD_INFO_EXIT_V0};
    if (pidfd < 0 || syscall(SYS_ioctl, pidfd, PIDFD_GET_INFO_V0, &info) < 0) return false;
    *wait_status = info.exit_code;
    return (info.mask & PIDFD_INFO_EXIT_V0) != 0;
}

/* What the kernel's own waitid tells, and the C library's does not. */
struct kernel_usage {
    long user_s, user_us, system_s, system_us;
    long peak_kib;
    long more[13];
};

static uint64_t usage_ns(const struct kernel_usage *usage) {
    return (uint64_t)(usage->user_s + usage->system_s) * 1000000000 +
           (uint64_t)(usage->user_us + usage->system_us) * 1000;
}

/* Waits by pidfd where the kernel can (5.4): a pid that somebody else has reaped may be another
 * process by now. */
static bool wait_for(pid_t pid, int pidfd, siginfo_t *info, struct kernel_usage *usage) {
    enum { PIDFD = 3 }; /* P_PIDFD, which old headers lack */
    long failed;
    do
        failed = syscall(SYS_waitid, pidfd < 0 ? P_PID : PIDFD, pidfd < 0 ? pid : pidfd, info,
                         WEXITED, usage);
    while (failed && errno == EINTR);
    if (failed && errno == EINVAL && pidfd >= 0) return wait_for(pid, -1, info, usage);
    return !failed;
}

struct dist__exit dist__reap(pid_t pid, int pidfd) {
    int saved = errno, status = 0;
    siginfo_t info = {.si_pid = 0};
    struct dist__exit end = {.known = false};
    struct kernel_usage usage = {.user_s = 0};
    if (wait_for(pid, pidfd, &info, &usage))
        end = info.si_code == CLD_EXITED
                  ? (struct dist__exit){.known = true, .exit_code = info.si_status}
                  : (struct dist__exit){.known = true, .signal = info.si_status};
    else if (remembered(pidfd, &status))
        end = WIFSIGNALED(status)
                  ? (struct dist__exit){.known = true, .signal = WTERMSIG(status)}
                  : (struct dist__exit){.known = true, .exit_code = WEXITSTATUS(status)};
    end.cpu_ns = usage_ns(&usage);
    end.peak_rss = (size_t)usage.peak_kib * 1024;
    errno = saved;
    return end;
}

uint64_t dist__file_id(int fd) {
    struct stat file;
    int saved = errno;
    bool open = fd >= 0 && fstat(fd, &file) == 0;
    errno = saved;
    return open ? (uint64_t)file.st_dev << 32 ^ file.st_ino ^ (uint64_t)file.st_mode << 48 : 0;
}

struct dist__file dist__file_of(int fd) {
    return (struct dist__file){fd, dist__file_id(fd)};
}

bool dist__file_is_open(struct dist__file file) {
    return file.fd >= 0 && dist__file_id(file.fd) == file.id;
}

void dist__file_close(struct dist__file *file) {
    if (dist__file_is_open(*file)) close(file->fd);
    file->fd = -1;
}

void dist__kill(pid_t pid, int pidfd, int number) {
    int saved = errno;
    /* by pidfd: a pid that somebody else has reaped may be another process by now */
    bool sent = pidfd >= 0 && !syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
    /* not there, or forbidden, as in some containers; it is still our child unless it is gone */
    if (!sent && (pidfd < 0 || errno != ESRCH)) kill(pid, number);
    errno = saved;
}

bool dist__has_ended(pid_t pid) {
    siginfo_t info = {.si_pid = 0};
    int saved = errno;
    int failed = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    bool ended = failed ? errno == ECHILD : info.si_pid == pid;
    errno = saved;
    return ended;
}

enum { OOM_RAISE = 500, OOM_MOST = 1000 };

void dist__oom_prefer(void) {
    static const char path[] = "/proc/self/oom_score_adj";
    char text[16] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (read(fd, text, sizeof text - 1) > 0) {
        int score = atoi(text) + OOM_RAISE;
        int size = snprintf(text, sizeof text, "%d", score < OOM_MOST ? score : OOM_MOST);
        if (pwrite(fd, text, (size_t)size, 0) < 0) { /* not allowed here: the default is as good */
        }
    }
    close(fd);
}

bool dist__is_mapped_shared(const void *address, size_t size) {
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return false;
    uintptr_t from = (uintptr_t)address, end = from + size;
    unsigned long begin, limit;
    char shared, line[512];
    while (from < end && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*3c%c", &begin, &limit, &shared) == 3 && begin <= from &&
            from < limit) {
            if (shared != 's') break;
            from = limit;
        }
    fclose(maps);
    return from >= end;
}

bool dist__is_private(const void *address) {
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return false;
    unsigned long begin, limit;
    char writable, shared, line[512];
    bool private = true;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*c%c%*c%c", &begin, &limit, &writable, &shared) == 4 &&
            begin <= (uintptr_t)address && (uintptr_t)address < limit) {
            private = writable == 'w' && shared != 's';
            break;
        }
    fclose(maps);
    return private;
}

size_t dist__read_file(const char *path, char *text, size_t size) {
    size_t length = 0;
    int saved = errno, fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && length < size - 1) {
        ssize_t got = read(fd, text + length, size - 1 - length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        length += (size_t)got;
    }
    if (fd >= 0) close(fd);
    errno = saved;
    text[length] = '\0';
    return length;
}
