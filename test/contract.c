/* contract.c - runs the cases of one contract_*.c:  contract_map EXECUTOR [CASE]  or  --list */
#define _GNU_SOURCE
#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

dist_executor X;

static struct contract_case *first, **last = &first;

void contract_register(struct contract_case *one) {
    *last = one;
    last = &one->next;
}

static const struct {
    const char *name;
    dist_executor executor;
    unsigned bit;
    bool in_pools;
} executors[] = {{"inline", DIST_INLINE, ON_INLINE, false},
                 {"thread", DIST_THREAD, ON_THREAD, false},
                 {"process", DIST_PROCESS, ON_PROCESS, false},
                 {"thread_pool", DIST_THREAD, ON_THREAD, true},
                 {"process_pool", DIST_PROCESS, ON_PROCESS, true}};

static bool in_pools;
enum { MOST_KEPT = 1024 };
static struct {
    pthread_mutex_t lock;
    pid_t maker;
    dist_pool *pool;
    dist_pool *kept[MOST_KEPT]; /* of processes, until the end of the case */
    unsigned kept_count;
} common = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool contract_in_pools(void) { return in_pools; }

static dist_pool *open_pool(void) {
    unsigned workers = X == DIST_PROCESS ? CONTRACT_POOL_PROCESSES : CONTRACT_POOL_WORKERS;
    return dist_pool_open_fn(DIST_OPTS(.executor = X, .workers = workers));
}

static void keep_pool(dist_pool *pool) {
    pthread_mutex_lock(&common.lock);
    if (common.kept_count < MOST_KEPT) common.kept[common.kept_count++] = pool;
    pthread_mutex_unlock(&common.lock);
}

/* False: it is not there, another thread has it. */
static bool let_go(dist_pool *pool) {
    pthread_mutex_lock(&common.lock);
    unsigned k = 0;
    while (k < common.kept_count && common.kept[k] != pool) k++;
    bool found = k < common.kept_count;
    if (found) common.kept[k] = common.kept[--common.kept_count];
    pthread_mutex_unlock(&common.lock);
    return found;
}

/* Worker processes see memory as of the open, and cases change it between their calls: each has a
 * pool of its own. This thread's one before goes if nothing runs in it; else it stays as long as
 * the case. */
static dist_pool *fresh_pool(void) {
    static _Thread_local dist_pool *before;
    if (before && dist_pool_wait(before, 0) == DIST_OK && let_go(before)) dist_pool_free(&before);
    keep_pool(before = open_pool());
    return before;
}

void contract_end_pools(void) {
    if (common.maker != getpid()) return;
    while (common.kept_count > 0) {
        dist_pool *pool = common.kept[0];
        if (let_go(pool)) dist_pool_free(&pool);
    }
    dist_pool_free(&common.pool);
}

dist_pool *contract_pool(void) {
    if (!in_pools || common.maker != getpid()) return NULL;
    if (X == DIST_PROCESS) return fresh_pool();
    pthread_mutex_lock(&common.lock);
    if (!common.pool) common.pool = open_pool();
    dist_pool *pool = common.pool;
    pthread_mutex_unlock(&common.lock);
    return pool;
}

static int run_in_this_process(struct contract_case *one) {
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0}); /* some cases crash on purpose */
    const struct CMUnitTest test = {.name = one->name, .test_func = one->run};
    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    common.maker = getpid();
    int failed = _cmocka_run_group_tests(one->id, &test, 1, NULL, NULL);
    if (!failed) contract_end_pools();
    return failed ? 1 : 0;
}

/* Waits for `pid` until `limit`; false: still running. */
static bool ended(pid_t pid, double limit, int *status) {
    for (double pause = 0.0002;; pause = pause < 0.02 ? 2 * pause : pause) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid || (got < 0 && errno == ECHILD)) return true;
        if (now() > limit) return false;
        nap(pause);
    }
}

/* This program is the reaper of what a case leaves behind: anything that lives on for a second. */
static int left_behind(void) {
    double limit = now() + 1;
    for (;;) {
        pid_t got = waitpid(-1, NULL, WNOHANG);
        if (got < 0 && errno == ECHILD) return 0;
        if (got == 0) {
            if (now() > limit) return 1;
            nap(0.002);
        }
    }
}

static const char *verdict(unsigned seconds, pid_t pid) {
    static char text[80];
    int status = 0;
    if (!ended(pid, now() + seconds, &status)) {
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        left_behind();
        snprintf(text, sizeof text, "still running after %u s", seconds);
        return text;
    }
    int left = left_behind();
    kill(-pid, SIGKILL);
    if (WIFSIGNALED(status)) {
        snprintf(text, sizeof text, "killed by signal %d", WTERMSIG(status));
        return text;
    }
    if (WEXITSTATUS(status)) return "failed";
    return left ? "left processes behind" : NULL;
}

/* NULL: passed. */
static const char *run_case(struct contract_case *one) {
    const char *factor = getenv("DIST_TEST_SLOW"); /* valgrind, or a machine under load */
    unsigned seconds = one->seconds * (SANITIZED ? 4 : 1) * (factor ? (unsigned)atoi(factor) : 1);
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) return strerror(errno);
    if (pid == 0) exit(run_in_this_process(one));
    return verdict(seconds, pid);
}

static int run_all(const char *executor, unsigned bit, const char *only) {
    unsigned passed = 0, failed = 0;
    for (struct contract_case *one = first; one; one = one->next) {
        if (!(one->executors & bit) || (only && !strstr(one->name, only) && strcmp(one->id, only)))
            continue;
        double start = now();
        const char *wrong = run_case(one);
        printf("%s  %-6s %-11s %s (%.2f s)%s%s\n", wrong ? "FAIL" : "ok  ", one->id, executor,
               one->name, now() - start, wrong ? ": " : "", wrong ? wrong : "");
        *(wrong ? &failed : &passed) += 1;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed || (only && !passed); /* some themes have no case for some executors */
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (struct contract_case *one = first; one; one = one->next)
            printf("%s %s %u\n", one->id, one->name, one->executors);
        return 0;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; argc >= 2 && i < N(executors); i++) {
        if (strcmp(argv[1], executors[i].name)) continue;
        X = executors[i].executor;
        in_pools = executors[i].in_pools;
        return run_all(executors[i].name, executors[i].bit, argv[2]);
    }
    fprintf(stderr, "usage: %s inline|thread|process|thread_pool|process_pool [CASE] | --list\n",
            argv[0]);
    return 2;
}
