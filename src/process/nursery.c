/* nursery.c - the process that forks the workers of a pool and waits for them. It has one thread
 * and runs no code of the host's. */
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CALM_DEATHS = 4,     /* in a row before any task, and a number waits for its next worker, */
    MOST_PAUSE_MS = 100, /* from 1 ms on, doubled each time */
    LOOK_MS = 100,       /* at a host that the kernel gives no pidfd for */
    SUCCESSION_MS = 1000 /* for workers of a nursery that was killed */
};

struct child {
    pid_t pid; /* 0: none */
    uint64_t generation;
    uint64_t begun;       /* calls of its number, when it was born */
    unsigned barren;      /* deaths in a row that no task can explain */
    uint64_t earliest_ns; /* of the next birth */
};

struct nursery {
    struct dist__staff *staff;
    struct child *child;
    pid_t host, parent; /* the same, or 0 for the latter: in another pid namespace */
    int line, host_fd, signal_fd;
};

static void leave_to_worker(const struct nursery *n) {
    close(n->line);
    if (n->host_fd >= 0) close(n->host_fd);
    if (n->signal_fd >= 0) close(n->signal_fd);
}

static uint64_t begun_by(const struct nursery *n, unsigned k) {
    /* relaxed: a number to look at */
    return atomic_load_explicit(&n->staff->life[k].begun, memory_order_relaxed);
}

static void give_birth(struct nursery *n, unsigned k) {
    struct child *child = &n->child[k];
    pid_t self = getpid();
    child->generation = dist__life_next(&n->staff->life[k]);
    child->begun = begun_by(n, k);
    pid_t pid = fork();
    if (pid == 0) {
        leave_to_worker(n);
        dist__resident_main(n->staff, k, child->generation, self);
    }
    if (pid > 0) {
        child->pid = pid;
        return;
    }
    dist__life_end(&n->staff->life[k], child->generation, 0); /* none is to be expected */
    child->earliest_ns = dist__now_ns() + MOST_PAUSE_MS * UINT64_C(1000000);
}

static bool is_closing(const struct nursery *n) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&n->staff->office->closing, memory_order_relaxed) != 0;
}

static bool is_wanted(const struct nursery *n, unsigned k) {
    /* relaxed: a fact by itself */
    return !is_closing(n) &&
           k < atomic_load_explicit(&n->staff->office->size, memory_order_relaxed);
}

/* Fills the numbers that are empty. Returns for how many milliseconds to sleep; -1: for ever. */
static int fill(struct nursery *n) {
    uint64_t now = dist__now_ns(), next = UINT64_MAX;
    for (unsigned k = 0; k < n->staff->room; k++) {
        struct child *child = &n->child[k];
        if (child->pid || !is_wanted(n, k)) continue;
        if (child->earliest_ns <= now) give_birth(n, k);
        if (!child->pid && child->earliest_ns < next) next = child->earliest_ns;
    }
    if (next == UINT64_MAX) return n->host_fd < 0 ? LOOK_MS : -1;
    return next > now ? (int)((next - now) / 1000000) + 1 : 1;
}

/* How waitpid would tell of it. */
static int32_t status_of(const siginfo_t *info) {
    return info->si_code == CLD_EXITED ? (info->si_status & 0xff) << 8 : info->si_status & 0x7f;
}

/* While a dead worker is not reaped nobody else has its pid: what the host asks about that is right
 * if it finds it LIVE afterwards. */
static void bury(struct nursery *n, unsigned k, const siginfo_t *info) {
    struct child *child = &n->child[k];
    struct dist__life *life = &n->staff->life[k];
    dist__bell_must_ring(&life->asleep); /* nobody sleeps there any more */
    dist__life_end(life, child->generation, status_of(info));
    dist__mail_inherit(n->staff, k, child->generation, child->pid, status_of(info));
    waitpid(child->pid, NULL, 0);
    child->pid = 0;
    bool idle = begun_by(n, k) == child->begun;
    bool well = info->si_code == CLD_EXITED && info->si_status == 0;
    child->barren = idle && !well ? child->barren + 1 : 0;
    child->earliest_ns = 0;
    if (child->barren < CALM_DEATHS) return;
    unsigned doublings = child->barren - CALM_DEATHS;
    uint64_t pause_ms = doublings < 7 ? UINT64_C(1) << doublings : MOST_PAUSE_MS;
    if (pause_ms > MOST_PAUSE_MS) pause_ms = MOST_PAUSE_MS;
    child->earliest_ns = dist__now_ns() + pause_ms * 1000000;
}

static bool has_children(const struct nursery *n) {
    unsigned k = 0;
    while (k < n->staff->room && !n->child[k].pid) k++;
    return k < n->staff->room;
}

static void bury_all(struct nursery *n) {
    for (unsigned k = 0; k < n->staff->room; k++) {
        siginfo_t info = {.si_pid = 0};
        if (!n->child[k].pid) continue;
        if (!waitid(P_PID, (id_t)n->child[k].pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
            info.si_pid)
            bury(n, k, &info);
    }
}

_Noreturn static void end(struct nursery *n) {
    for (unsigned k = 0; k < n->staff->room; k++)
        if (n->child[k].pid) kill(n->child[k].pid, SIGKILL);
    for (bury_all(n); has_children(n); bury_all(n)) poll(NULL, 0, 1);
    _exit(0);
}

/* Kills workers whose item was cancelled. Returns for how long to sleep, at most timeout_ms. */
static int enforce_mail(const struct nursery *n, int timeout_ms) {
    for (unsigned k = 0; k < n->staff->room; k++) {
        const struct child *child = &n->child[k];
        if (!child->pid) continue;
        int ms = dist__mail_enforce(n->staff, k, child->generation, child->pid);
        if (ms >= 0 && (timeout_ms < 0 || ms < timeout_ms)) timeout_ms = ms;
    }
    return timeout_ms;
}

/* Workers that somebody has stopped are to end, too. */
static void wake_all(const struct nursery *n) {
    for (unsigned k = 0; k < n->staff->room; k++)
        if (n->child[k].pid) kill(n->child[k].pid, SIGCONT);
}

/* Sleeps; true: the host is gone. */
static bool sleep_until_needed(const struct nursery *n, int timeout_ms) {
    struct pollfd polled[] = {{.fd = n->line, .events = POLLIN},
                              {.fd = n->signal_fd, .events = POLLIN},
                              {.fd = n->host_fd, .events = POLLIN}};
    if (n->signal_fd < 0 && (timeout_ms < 0 || timeout_ms > 1)) timeout_ms = 1;
    poll(polled, 3, timeout_ms);
    struct signalfd_siginfo signals[16];
    char bytes[64];
    if (polled[1].revents & POLLIN && read(n->signal_fd, signals, sizeof signals) < 0) {
    } /* whatever they say, all children are looked at */
    ssize_t got = polled[0].revents ? read(n->line, bytes, sizeof bytes) : 1;
    return got == 0 || polled[2].revents || (n->host_fd < 0 && getppid() != n->parent);
}

/* Keeps nothing of the host's but what workers need. */
static void become_nursery(struct nursery *n) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &action, NULL); /* else it could not wait for them */
    sigset_t all, child;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* it ends when its host does */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    n->signal_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    n->parent = getppid();
    if (n->parent != n->host && n->parent != 0) _exit(0);
    n->host_fd = n->parent ? dist__pidfd_open(n->parent) : -1;
    if (getppid() != n->parent) _exit(0); /* then it may be another process's */
    prctl(PR_SET_PDEATHSIG, SIGCONT);     /* if somebody has stopped it, it must end all the same */
    prctl(PR_SET_NAME, "dist-nursery");
    __fpurge(stdout); /* the host has it too */
    __fpurge(stderr);
    dist__keep_stacks();
}

/* Of a worker that another nursery had. */
static void inherit_mail(const struct nursery *n, unsigned k, uint64_t generation) {
    struct dist__life *life = &n->staff->life[k];
    int status = SIGKILL;
    dist__life_status(life, generation, &status);
    dist__mail_inherit(n->staff, k, generation, dist__life_pid(life), status);
}

/* The nursery before this one has died, and the kernel kills its workers: they may still run for a
 * moment. */
static void succeed(const struct nursery *n, unsigned k) {
    struct dist__life *life = &n->staff->life[k];
    uint64_t word = dist__life_read(life);
    uint64_t generation = word / DIST__LIFE_STATES;
    if (word % DIST__LIFE_STATES != DIST__LIFE_LIVE) {
        inherit_mail(n, k, generation);
        return;
    }
    int fd = dist__pidfd_open(dist__life_pid(life));
    if (fd >= 0) {
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, SUCCESSION_MS);
        close(fd);
    } else if (errno != ESRCH) {
        poll(NULL, 0, LOOK_MS);
    }
    dist__life_end(life, generation, SIGKILL);
    inherit_mail(n, k, generation);
}

_Noreturn void dist__nursery_main(struct dist__staff *staff, pid_t host, int line) {
    struct nursery n = {.staff = staff, .host = host, .line = line};
    become_nursery(&n);
    n.child = calloc(staff->room, sizeof *n.child);
    if (!n.child) _exit(1);
    for (unsigned k = 0; k < staff->room; k++) succeed(&n, k);
    for (;;) {
        bury_all(&n);
        int timeout_ms = enforce_mail(&n, fill(&n));
        /* relaxed: a number to look at */
        atomic_store_explicit(&staff->office->filled, staff->nurseries, memory_order_relaxed);
        /* those who were just born may have worked, and have their worker_exit before them */
        if (is_closing(&n) && !has_children(&n)) end(&n);
        if (is_closing(&n)) wake_all(&n);
        if (sleep_until_needed(&n, timeout_ms)) end(&n);
    }
}
