/* fault.c - running the cases, and taking things away from a process. */
#include "fault.h"
#include "../ended.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77 };

static bool crippled; /* the leak sanitizer needs what was taken away: it cannot look at the end */

/* ------------------------------------------------------------------ cases */

void check_failed(const char *file, int line, const char *condition) {
    fprintf(stderr, "%s:%d: not true: %s (errno %d; last error: %s)\n", file, line, condition,
            errno, dist_last_error()->message);
    _exit(1);
}

void skip(const char *why) {
    printf("skipped: %s\n", why);
    fflush(stdout);
    _exit(SKIPPED);
}

static int end_of(pid_t pid, double limit, bool *hangs) {
    int status = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now() > limit) {
            *hangs = true;
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            break;
        }
        nap(0.002);
    }
    kill(-pid, SIGKILL); /* what it has left behind */
    return status;
}

static int run_case(const struct fault_case *one, uint64_t seed) {
    bool hangs = false;
    double begin = now();
    printf("%s: ", one->name);
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) return 1;
    if (pid == 0) {
        setpgid(0, 0);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        random_seed(seed);
        one->run();
        if (SANITIZED && crippled) _exit(0);
        exit(0);
    }
    int status = end_of(pid, begin + one->seconds * (SANITIZED ? 4 : 1), &hangs);
    int result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (hangs) printf("FAILED: still running after its time limit\n");
    else if (WIFSIGNALED(status)) printf("FAILED: killed by signal %d\n", WTERMSIG(status));
    else if (result != SKIPPED) printf("%s (%.2f s)\n", result ? "FAILED" : "ok", now() - begin);
    return result;
}

int fault_main(const struct fault_case *cases, size_t count, int argc, char **argv) {
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
    unsigned failed = 0, run = 0;
    printf("seed %llu (repeat with: %s \"\" SEED)\n", (unsigned long long)seed, argv[0]);
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && !strstr(cases[i].name, argv[1])) continue;
        int result = run_case(&cases[i], seed);
        run += result != SKIPPED;
        failed += result != SKIPPED && result != 0;
    }
    if (run == 0) return SKIPPED;
    return failed ? 1 : 0;
}

/* ------------------------------------------------------------------ small tools */

static uint64_t random_state;

void random_seed(uint64_t seed) { random_state = seed * 0x9e3779b97f4a7c15u + 1; }

uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * limit >> 32);
}

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void nap(double seconds) {
    time_t whole = (time_t)seconds;
    struct timespec t = {whole, (long)((seconds - (double)whole) * 1e9)};
    nanosleep(&t, NULL);
}

void *shared_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* ------------------------------------------------------------------ taking away */

void forbid(const int *calls, size_t count, int error) {
    struct sock_filter filter[32];
    size_t size = 0;
    crippled = true;
    CHECK(count + 3 <= N(filter));
    filter[size++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) /* to the last line, else to the next */
        filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i],
                                                      (uint8_t)(count - i), 0);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[size++] = (struct sock_filter)BPF_STMT(
        BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA));
    struct sock_fprog program = {(unsigned short)size, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        skip("no seccomp filters here");
}

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
static const int making_tasks[] = {SYS_clone, SYS_clone3,
#ifdef SYS_fork
                                   SYS_fork, SYS_vfork
#endif
};

void forbid_new_processes(void) { forbid(making_tasks, N(making_tasks), EAGAIN); }
void forbid_new_threads(void) { forbid_new_processes(); }

void become_user_with(unsigned long tasks) {
    uid_t user = 20000 + (uid_t)getpid() % 40000; /* not that of another test that runs now */
    crippled = true;
    if (getuid() != 0) skip("needs root, to become a user without other processes");
    CHECK(setrlimit(RLIMIT_NPROC, &(struct rlimit){tasks, tasks}) == 0);
    if (setresgid(user, user, user) || setresuid(user, user, user))
        skip("no other user id can be had here");
}

/* ------------------------------------------------------------------ other processes */

size_t children_of(pid_t parent, pid_t *child, size_t room) {
    char path[64], text[2048] = "";
    size_t count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    if (!fgets(text, sizeof text, file)) text[0] = '\0';
    fclose(file);
    for (char *at = text, *end; count < room; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at) break;
        if (pid != getpid()) child[count++] = (pid_t)pid;
    }
    return count;
}

bool gone(pid_t pid, double seconds) {
    for (double limit = now() + seconds; !process_has_ended(pid); nap(0.001))
        if (now() > limit) return false;
    return true;
}

/* ------------------------------------------------------------------ footprint */

static unsigned entries(const char *directory) {
    DIR *open = opendir(directory);
    CHECK(open);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(open));) count += entry->d_name[0] != '.';
    closedir(open);
    return count;
}

static unsigned shared_mappings(void) {
    char line[512], rights[8];
    unsigned count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%*s %7s", rights) == 1 && rights[3] == 's') count++;
    fclose(maps);
    return count;
}

static unsigned children(void) {
    char path[64], text[4096] = "";
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    if (!file) return 0; /* the kernel does not tell */
    if (fgets(text, sizeof text, file))
        for (char *at = text; (at = strchr(at, ' ')); at++) count++;
    fclose(file);
    return count;
}

struct footprint footprint(void) {
    return (struct footprint){children(), entries("/proc/self/fd"), shared_mappings()};
}

void check_footprint(struct footprint before) {
    struct footprint after = footprint();
    CHECK(after.children == before.children);
    CHECK(after.descriptors == before.descriptors);
    CHECK(after.shared_mappings == before.shared_mappings);
}
