/* staff.c - the host's side of a process pool: opened, resized, ended. */
#include "staff.h"
#include "common/arena.h"
#include "common/error.h"
#include "common/os.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MORE_SLOTS = 8,            /* than workers: calls that wait for their turn */
    SLOT_LOOK_NS = 10000000,   /* between looks whether a call without a slot has ended */
    UNATTENDED_NS = 100000000, /* without a worker in the call, before their lives are doubted */
    DESERTED_NS = 1000000000   /* without any worker, and the call gives up; */
};
static const uint64_t EXPECTED_NS = 10000000000; /* if some are on their way: so long */
static const size_t LEAST_HEAP = (size_t)1 << 22, MOST_HEAP = (size_t)1 << 36;
static const size_t KEPT = (size_t)1 << 30; /* larger parcels give their pages back */

/* ------------------------------------------------------------------ memory and slots */

void *dist__staff_take(struct dist__staff *staff, size_t bytes) {
    pthread_mutex_lock(&staff->lock);
    void *memory = dist__heap_take(&staff->heap, bytes);
    pthread_mutex_unlock(&staff->lock);
    return memory;
}

void dist__staff_give(struct dist__staff *staff, void *memory, size_t bytes) {
    if (bytes > KEPT) dist__heap_empty(memory, bytes);
    pthread_mutex_lock(&staff->lock);
    dist__heap_give(&staff->heap, memory, bytes);
    pthread_mutex_unlock(&staff->lock);
}

static unsigned free_slot(const struct dist__staff *staff) {
    unsigned slot = 0;
    while (slot < staff->slots && staff->used[slot]) slot++;
    return slot;
}

/* With the lock held: until a slot is free, or it is time to look around. */
static void await_slot(struct dist__staff *staff) {
    dist__cond_wait(&staff->changed, &staff->lock, dist__now_ns() + SLOT_LOOK_NS);
}

unsigned dist__staff_take_slot(struct dist__staff *staff, struct dist__control *control) {
    pthread_mutex_lock(&staff->lock);
    unsigned slot;
    while ((slot = free_slot(staff)) == staff->slots && !dist__control_check(control))
        await_slot(staff);
    if (slot < staff->slots) staff->used[slot] = true;
    pthread_mutex_unlock(&staff->lock);
    return slot;
}

void dist__staff_give_slot(struct dist__staff *staff, unsigned slot) {
    pthread_mutex_lock(&staff->lock);
    staff->used[slot] = false;
    pthread_cond_signal(&staff->changed);
    pthread_mutex_unlock(&staff->lock);
}

bool dist__staff_wake(struct dist__staff *staff, unsigned worker) {
    struct dist__life *life = &staff->life[worker];
    if (!dist__bell_must_ring(&life->asleep)) return false;
    dist__futex_wake(&life->asleep, 1, true);
    return true;
}

/* ------------------------------------------------------------------ the nursery */

/* With the lock held. 0, or an errno. */
static int start_nursery(struct dist__staff *staff) {
    int line[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line)) return errno;
    dist__worker_flush_host();
    staff->nurseries++;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* no handler of the host may run in it */
    pid_t host = getpid(), pid = fork();
    if (pid == 0) {
        close(line[0]);
        dist__nursery_main(staff, host, line[1]);
    }
    int error = pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(line[1]);
    if (error) {
        staff->nurseries--;
        close(line[0]);
        return error;
    }
    staff->nursery = pid;
    staff->nursery_fd = dist__file_of(dist__pidfd_open(pid));
    staff->line = dist__file_of(line[0]);
    return 0;
}

static int pidfd_of_nursery(const struct dist__staff *staff) {
    return dist__file_is_open(staff->nursery_fd) ? staff->nursery_fd.fd : -1;
}

static void bury_nursery(struct dist__staff *staff) {
    dist__reap(staff->nursery, pidfd_of_nursery(staff));
    dist__file_close(&staff->nursery_fd);
    dist__file_close(&staff->line);
    staff->nursery = 0;
}

void dist__staff_prod(struct dist__staff *staff) {
    pthread_mutex_lock(&staff->lock);
    if (staff->nursery) dist__kill(staff->nursery, pidfd_of_nursery(staff), SIGCONT);
    pthread_mutex_unlock(&staff->lock);
}

/* Is it still the worker that has had this pid, and not somebody with the same? */
static bool is_worker(pid_t pid, unsigned number) {
    char path[32], name[32], text[32];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    snprintf(name, sizeof name, "dist-prc-%u\n", number % 1000000); /* see dist__thread_name */
    dist__read_file(path, text, sizeof text);
    return strcmp(text, name) == 0;
}

/* A host that adopts orphans has those that its nursery left; nobody else would wait for them. */
static void reap_orphans(struct dist__staff *staff) {
    int adopts = 0;
    if (getpid() != 1 && (prctl(PR_GET_CHILD_SUBREAPER, &adopts) || !adopts)) return;
    for (unsigned k = 0; k < staff->room; k++) {
        if (dist__life_read(&staff->life[k]) % DIST__LIFE_STATES != DIST__LIFE_LIVE) continue;
        pid_t pid = dist__life_pid(&staff->life[k]);
        if (is_worker(pid, k)) dist__reap(pid, -1);
    }
}

/* Its workers die with it, by PR_SET_PDEATHSIG; a new one takes their numbers when they have. */
bool dist__staff_is_alive(struct dist__staff *staff) {
    pthread_mutex_lock(&staff->lock);
    if (staff->nursery && dist__has_ended(staff->nursery)) {
        bury_nursery(staff);
        reap_orphans(staff);
    }
    if (!staff->nursery) start_nursery(staff);
    bool alive = staff->nursery != 0;
    pthread_mutex_unlock(&staff->lock);
    return alive;
}

/* ------------------------------------------------------------------ is anybody there? */

/* What the board says, and if it has nothing happened for a while, what the kernel says: a nursery
 * that somebody has stopped cannot tell of deaths. */
static bool lives(struct dist__life *life, bool doubted) {
    uint64_t word = dist__life_read(life);
    if (word % DIST__LIFE_STATES != DIST__LIFE_LIVE) return false;
    if (!doubted) return true;
    int fd = dist__pidfd_open(dist__life_pid(life));
    if (fd < 0) return errno != ESRCH;
    bool ended = poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) > 0;
    close(fd);
    return !ended;
}

/* A nursery that has not come to it yet, or a worker, on a machine that is slow. */
static bool anybody_is_expected(struct dist__staff *staff) {
    pthread_mutex_lock(&staff->lock);
    /* relaxed: a number to look at */
    bool any =
        atomic_load_explicit(&staff->office->filled, memory_order_relaxed) != staff->nurseries;
    pthread_mutex_unlock(&staff->lock);
    for (unsigned k = 0; k < staff->room && !any; k++)
        any = dist__life_is_expected(&staff->life[k]);
    return any;
}

bool dist__staff_is_deserted(struct dist__staff *staff, struct dist__desertion *d, bool any) {
    uint64_t now = dist__now_ns();
    if (any || d->attended_ns == 0) d->attended_ns = now;
    bool doubted = now - d->attended_ns > UNATTENDED_NS;
    if (doubted) dist__staff_prod(staff);
    for (unsigned k = 0; k < staff->room && !any; k++) any = lives(&staff->life[k], doubted);
    any = dist__staff_is_alive(staff) && any;
    if (any) d->deserted_ns = 0;
    else if (d->deserted_ns == 0) d->deserted_ns = now;
    if (any || now - d->deserted_ns <= DESERTED_NS) return false;
    return !anybody_is_expected(staff) || now - d->deserted_ns > EXPECTED_NS;
}

/* ------------------------------------------------------------------ open and end */

/* Shared memory for all that is not a parcel. */
static bool lay_out(struct dist__staff *staff) {
    size_t seats = (size_t)staff->room * staff->slots;
    if (!dist__heap_open(&staff->heap, MOST_HEAP, LEAST_HEAP)) return false;
    staff->office = dist__heap_take(&staff->heap, sizeof *staff->office);
    staff->life = dist__heap_take(&staff->heap, staff->room * sizeof *staff->life);
    staff->slot = dist__heap_take(&staff->heap, staff->slots * sizeof *staff->slot);
    staff->seat = dist__heap_take(&staff->heap, seats * sizeof *staff->seat);
    staff->chair = dist__heap_take(&staff->heap, seats * sizeof *staff->chair);
    staff->used = calloc(staff->slots, sizeof *staff->used);
    staff->bell = malloc(staff->slots * sizeof *staff->bell);
    for (unsigned k = 0; staff->bell && k < staff->slots; k++)
        staff->bell[k] = dist__file_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!staff->office || !staff->life || !staff->slot || !staff->seat || !staff->chair ||
        !staff->used || !staff->bell)
        return false;
    dist__mail_open(staff, staff->heap.size < MOST_HEAP);
    return true;
}

static void free_staff(struct dist__staff *staff) {
    for (unsigned k = 0; staff->bell && k < staff->slots; k++) dist__file_close(&staff->bell[k]);
    dist__mail_close(staff);
    dist__heap_close(&staff->heap);
    pthread_mutex_destroy(&staff->lock);
    pthread_cond_destroy(&staff->changed);
    free(staff->used);
    free(staff->bell);
    free(staff);
}

static void make_lock(struct dist__staff *staff) {
    dist__cond_init(&staff->changed);
    pthread_mutex_init(&staff->lock, NULL);
}

static dist_status check(const struct dist_pool *pool) {
    if (pool->opts.strict && dist__thread_count() != 1)
        return dist__refuse(DIST_STATE, 0, "strict: other threads run in this process");
    return DIST_OK;
}

dist_status dist__staff_open(struct dist_pool *pool) {
    dist_status refused = check(pool);
    if (refused) return refused;
    struct dist__staff *staff = calloc(1, sizeof *staff);
    if (!staff) return dist__refuse(DIST_NOMEM, 0, "no memory for a pool");
    staff->pool = pool;
    staff->room = pool->workers;
    staff->slots = pool->workers + MORE_SLOTS;
    make_lock(staff);
    dist__arena_share();
    pool->birth = dist__arena_birth();
    if (!lay_out(staff)) {
        free_staff(staff);
        return dist__refuse(DIST_NOMEM, errno, "no memory for a pool of %u workers", pool->workers);
    }
    /* relaxed: forked later */
    atomic_store_explicit(&staff->office->size, pool->workers, memory_order_relaxed);
    pool->team = staff;
    int error = start_nursery(staff);
    if (!error) return DIST_OK;
    pool->team = NULL;
    free_staff(staff);
    return dist__refuse(DIST_SYSTEM, error, "no process for a pool: %s", strerror(error));
}

static void tell_nursery(const struct dist__staff *staff) {
    if (dist__file_is_open(staff->line) &&
        send(staff->line.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    } /* if its buffer is full it has enough to read */
}

void dist__staff_tell_nursery(struct dist__staff *staff) {
    pthread_mutex_lock(&staff->lock);
    if (staff->nursery) tell_nursery(staff);
    pthread_mutex_unlock(&staff->lock);
}

/* The nursery and all workers are to look around. */
static void tell_all(struct dist__staff *staff) {
    tell_nursery(staff);
    for (unsigned k = 0; k < staff->room; k++) dist__staff_wake(staff, k);
}

dist_status dist__staff_resize(struct dist_pool *pool, unsigned workers) {
    struct dist__staff *staff = pool->team;
    if (workers > staff->room)
        return dist__refuse(DIST_INVALID, 0, "workers: is %u, the pool has room for %u", workers,
                            staff->room);
    /* relaxed: workers look at it when they have nothing to do */
    atomic_store_explicit(&staff->office->size, workers, memory_order_relaxed);
    tell_all(staff);
    return DIST_OK;
}

void dist__staff_end(struct dist_pool *pool) {
    struct dist__staff *staff = pool->team;
    /* relaxed: see above */
    atomic_store_explicit(&staff->office->closing, 1, memory_order_relaxed);
    tell_all(staff);
    dist__staff_prod(staff);
    if (staff->nursery) bury_nursery(staff);
    reap_orphans(staff); /* if it was not the last to go */
    free_staff(staff);
}
