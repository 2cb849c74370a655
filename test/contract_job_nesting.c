/* contract_job_nesting.c - jobs that tasks start and wait for, from any depth and any thread. */
#define _GNU_SOURCE
#include "contract_async.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static const dist_executor all[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};

static int sum_of_squares(int n) { return (n - 1) * n * (2 * n - 1) / 6; }

/* Sanitizers do not survive a fork beside threads that allocate: what they lock stays locked. */
static bool may_mix(void) { return !SANITIZED || X != DIST_PROCESS; }

/* Jobs run in threads, whatever X is. */
static bool may_start(dist_executor executor) {
    return built(executor) && (!SANITIZED || executor != DIST_PROCESS);
}

enum { HOWS = 4 };

/* Waits for a job in one of four ways, and frees it. */
static dist_status end_somehow(dist_job *job, unsigned how) {
    dist_event event;
    if (!job) return dist_last_error()->status;
    if (how == 1)
        while (dist_job_next(job, &event, DIST_FOREVER) == DIST_OK) continue;
    if (how == 2) dist_job_wait_any(&job, 1, DIST_FOREVER);
    if (how == 3) dist_job_wait(job, DIST_FOREVER);
    return dist_job_finish(&job);
}

/* Adds up squares 0..item-1 by a job on the executor in *ctx. */
static int sum_by_job(void *result, const void *item, void *ctx) {
    int squares[32], sum = 0, n = *(const int *)item % 32;
    dist_executor executor = *(const dist_executor *)ctx;
    dist_job *job = dist_map_async(square, numbers(), (size_t)n, squares, .executor = executor,
                                   .workers = (unsigned)n % 4, .deferred = n % 5 == 0);
    if (job && n % 5 == 0) dist_job_start(job);
    dist_status status = end_somehow(job, (unsigned)n % HOWS);
    if (status) return dist_fail((int)status, "%s", dist_last_error()->message);
    for (int i = 0; i < n; i++) sum += squares[i];
    *(int *)result = sum;
    return 0;
}

CASE_ON("G-04", tasks_start_jobs_and_wait_for_them, ON_ALL, 60) {
    NOT_IN_POOLS("its tasks start jobs on all executors");
    if (!may_mix()) skip();
    for (size_t k = 0; k < N(all); k++) {
        if (!may_start(all[k])) continue;
        for (unsigned workers = 0; workers < 6; workers += 1 + workers / 2) {
            dist_executor executor = all[k];
            int out[64];
            assert_int_equal(dist_map(sum_by_job, numbers(), 64, out, .executor = X,
                                      .workers = workers, .ctx = &executor),
                             DIST_OK);
            for (int i = 0; i < 64; i++) assert_int_equal(out[i], sum_of_squares(i % 32));
        }
    }
}

CASE_ON("G-04", jobs_start_jobs_and_wait_for_them, ON_ALL, 60) {
    NOT_IN_POOLS("its tasks start jobs on all executors");
    if (!may_mix()) skip();
    enum { MANY = 60 };
    static int out[MANY][8];
    for (size_t k = 0; k < N(all); k++) {
        if (!may_start(all[k])) continue;
        dist_executor executor = all[k];
        dist_job *jobs[MANY];
        unsigned n = rounds(MANY, 30);
        for (unsigned j = 0; j < n; j++) /* more than there are threads */
            jobs[j] = dist_map_async(sum_by_job, numbers() + j, 8, out[j], .executor = X,
                                     .workers = j % 4, .ctx = &executor);
        for (unsigned j = 0; j < n; j++) {
            assert_int_equal(end_somehow(jobs[j], j % HOWS), DIST_OK);
            for (unsigned i = 0; i < 8; i++)
                assert_int_equal(out[j][i], sum_of_squares((int)(i + j) % 32));
        }
    }
}

/* A job that waits for a job that waits for a job. */
struct level {
    dist_executor executor;
    unsigned workers, depth, width, how;
};

static int descend(void *result, const void *item, void *ctx) {
    const struct level *level = ctx;
    struct level next = *level;
    int below[4] = {0}, sum = 0;
    (void)item;
    *(int *)result = 1;
    if (next.depth-- == 0) return 0;
    dist_job *job =
        dist_map_async(descend, numbers(), level->width, below, .executor = level->executor,
                       .workers = level->workers, .ctx = &next);
    dist_status status = end_somehow(job, level->how);
    if (status)
        return dist_fail((int)status, "%u left: %s", level->depth, dist_last_error()->message);
    for (unsigned i = 0; i < level->width; i++) sum += below[i];
    *(int *)result = sum;
    return 0;
}

static void check_leaves(struct level level, int expected) {
    int leaves = 0;
    dist_job *job =
        dist_apply_async(descend, DIST_NONE, &leaves, .executor = level.executor, .ctx = &level);
    assert_int_equal(end_somehow(job, level.how), DIST_OK);
    assert_int_equal(leaves, expected);
}

CASE_ON("G-04", fifty_jobs_wait_for_each_other_in_a_row, ON_ALL, 60) {
    if (!may_mix()) skip();
    for (unsigned how = 0; how < HOWS; how++) {
        check_leaves((struct level){X, 1, 50, 1, how}, 1);
        check_leaves((struct level){X, 0, 50, 1, how}, 1);
    }
}

CASE_ON("G-04", jobs_branch_at_each_level, ON_ALL, 60) {
    if (!may_mix()) skip();
    for (unsigned how = 0; how < HOWS; how++) {
        bool small = X == DIST_PROCESS || SANITIZED;
        check_leaves((struct level){X, 2, small ? 3 : 6, 3, how}, small ? 27 : 729);
        check_leaves((struct level){X, 1, small ? 3 : 6, 2, how}, small ? 8 : 64);
        check_leaves((struct level){X, 0, small ? 2 : 4, 4, how}, small ? 16 : 256);
    }
}

struct row {
    pthread_t thread;
    struct level level;
    int leaves;
    dist_error why;
};

static void *descend_in_thread(void *arg) {
    struct row *row = arg;
    dist_job *job = dist_apply_async(descend, DIST_NONE, &row->leaves,
                                     .executor = row->level.executor, .ctx = &row->level);
    if (end_somehow(job, row->level.how)) row->why = *dist_last_error();
    return NULL;
}

CASE_ON("G-04", rows_of_jobs_meet, ON_ALL, 60) {
    if (!may_mix()) skip();
    enum { ROWS = 8 };
    struct row rows[ROWS];
    for (unsigned k = 0; k < ROWS; k++) {
        rows[k] = (struct row){.level = {X, 1 + k % 2, X == DIST_PROCESS ? 10 : 30, 1, k % HOWS}};
        assert_int_equal(pthread_create(&rows[k].thread, NULL, descend_in_thread, &rows[k]), 0);
    }
    for (unsigned k = 0; k < ROWS; k++) pthread_join(rows[k].thread, NULL);
    for (unsigned k = 0; k < ROWS; k++) {
        if (rows[k].why.status) fail_msg("%s", rows[k].why.message);
        assert_int_equal(rows[k].leaves, 1);
    }
}

/* ------------------------------------------------------------------ the own job */

struct own {
    dist_job *_Atomic job;
    unsigned how;
    bool nested;
};

static int wait_for_it(size_t index, void *ctx) {
    struct own *own = ctx;
    dist_job *job = own->job;
    dist_event event;
    dist_status status = DIST_DEADLOCK;
    size_t any = 1;
    (void)index;
    switch (own->how) {
    case 0: status = dist_job_wait(job, DIST_FOREVER); break;
    case 1: status = dist_job_wait(job, 30); break;
    case 2: status = dist_job_next(job, &event, DIST_FOREVER); break;
    case 3: any = dist_job_wait_any(&job, 1, DIST_FOREVER); break;
    default: status = dist_job_finish(&job); break;
    }
    if (X == DIST_PROCESS && (own->how == 4 || status != DIST_DEADLOCK))
        return status == DIST_UNSUPPORTED ? 0 : dist_fail(1, "%s", dist_status_name(status));
    if (any != 1 || job != own->job || status != DIST_DEADLOCK)
        return dist_fail(1, "%u: %s", own->how, dist_status_name(status));
    if (own->how != 3 && dist_last_error()->status != DIST_DEADLOCK) return dist_fail(2, "silent");
    return 0;
}

static int wait_for_own_job(void *result, const void *item, void *ctx) {
    struct own *own = ctx;
    (void)item;
    *(int *)result = 10 * (int)dist_index();
    if (!own->nested) return wait_for_it(0, own);
    dist_error e = {.message = ""};
    dist_executor inside = X == DIST_PROCESS ? DIST_INLINE : X;
    dist_status status =
        dist_for(wait_for_it, 3, .executor = inside, .workers = 2, .ctx = own, .error = &e);
    return status ? dist_fail(3, "%s", e.message) : 0;
}

CASE_ON("G-04", a_task_that_waits_for_its_own_job_is_told, ON_ALL, 60) {
    NOT_IN_PROCESS_POOLS("the job is made after its workers");
    for (unsigned how = 0; how < 5; how++)
        for (int nested = 0; nested < 2; nested++)
            for (unsigned workers = 1; workers < 3; workers++) {
                struct own own = {.how = how, .nested = nested};
                int out[4];
                dist_job *job = dist_map_async(wait_for_own_job, numbers(), 4, out, .executor = X,
                                               .workers = workers, .ctx = &own, .deferred = true);
                own.job = job;
                double start = now();
                assert_int_equal(dist_job_start(job), DIST_OK);
                dist_status status = dist_job_wait(job, DIST_FOREVER);
                if (status) fail_msg("%u: %s", how, dist_last_error()->message);
                ASSERT_SOON(start);
                check_all_out(out, 4);
                assert_int_equal(dist_job_finish(&job), DIST_OK);
            }
}

struct listener {
    dist_job *_Atomic job;
    _Atomic(unsigned) deadlocks, others;
};

static void wait_in_hook(const dist_event *event, void *user) {
    struct listener *listener = user;
    dist_job *job = listener->job;
    dist_status status =
        event->index % 2 ? dist_job_wait(job, DIST_FOREVER) : dist_job_wait(job, 30);
    count(status == DIST_DEADLOCK ? &listener->deadlocks : &listener->others);
}

/* The hook runs in the thread that looks after the job: it would wait for itself. */
CASE("G-04", a_hook_that_waits_for_its_job_is_told) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (int piecewise = 0; piecewise < 2; piecewise++) {
            struct listener listener = {.job = NULL};
            int out[8];
            dist_job *job =
                dist_map_async(square, numbers(), 8, out, .executor = X, .workers = workers,
                               .on_finish = wait_in_hook, .user = &listener, .deferred = true);
            listener.job = job;
            double start = now();
            assert_int_equal(dist_job_start(job), DIST_OK);
            while (piecewise && dist_job_wait(job, 0.01) == DIST_TIMEOUT) continue;
            assert_int_equal(dist_job_finish(&job), DIST_OK);
            ASSERT_SOON(start);
            assert_int_equal(counted(&listener.deadlocks), 8);
            assert_int_equal(counted(&listener.others), 0);
        }
}

/* ------------------------------------------------------------------ what outlives what */

struct legacy {
    dist_job *job[8];
    int out[8][16];
};

static int leave_a_job(void *result, const void *item, void *ctx) {
    struct legacy *legacy = ctx;
    int i = *(const int *)item;
    (void)result;
    legacy->job[i] = dist_map_async(square, numbers(), 16, legacy->out[i], .executor = X,
                                    .workers = 2, .deferred = i == 5);
    return legacy->job[i] ? 0 : 1;
}

CASE_ON("P-47", a_job_outlives_the_task_that_made_it, ON_INLINE | ON_THREAD, 20) {
    struct legacy legacy;
    assert_int_equal(dist_map(leave_a_job, numbers(), 8, DIST_NONE, .executor = X, .ctx = &legacy),
                     DIST_OK);
    assert_int_equal(dist_job_state(legacy.job[5]), DIST_PENDING);
    assert_int_equal(dist_job_start(legacy.job[5]), DIST_OK);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(dist_job_finish(&legacy.job[i]), DIST_OK);
        for (int k = 0; k < 16; k++) assert_int_equal(legacy.out[i][k], k * k);
    }
}

/* ------------------------------------------------------------------ data on a thread's stack */

enum { DATA = 2000 };

struct maker {
    pthread_t thread;
    bool own_thread; /* the task starts one itself */
    dist_status status;
    int wrong;
};

static void *use_much_stack(void *unused) {
    char bytes[16 * DATA];
    memset(bytes, 0x5a, sizeof bytes);
    return bytes[DATA] == 0 ? unused : NULL;
}

static int compare_data(void *result, const void *item, void *ctx) {
    const int *data = item;
    int out[8], wrong = 0;
    pthread_t thread;
    for (int i = 0; i < DATA; i++) wrong += data[i] != i;
    if (!*(const bool *)ctx) {
        dist_job *job =
            dist_map_async(square, numbers(), 8, out, .executor = DIST_THREAD, .workers = 4);
        if (dist_job_wait(job, 30) || dist_job_finish(&job)) return 1;
    } else if (pthread_create(&thread, NULL, use_much_stack, NULL) == 0) {
        pthread_join(thread, NULL);
    }
    for (int i = 0; i < DATA; i++) wrong += data[i] != i;
    *(int *)result = wrong;
    return 0;
}

static void *make_with_data(void *arg) {
    struct maker *maker = arg;
    struct {
        int of[DATA];
    } data;
    for (int i = 0; i < DATA; i++) data.of[i] = i;
    dist_job *job = dist_apply_async(compare_data, &data, &maker->wrong, .executor = X,
                                     .ctx = &maker->own_thread);
    maker->status = dist_job_wait(job, 60); /* with a limit: it runs in another thread */
    dist_job_finish(&job);
    return NULL;
}

CASE_ON("P-41", data_on_the_stack_of_its_thread_stays_whole, ON_ALL, 60) {
    if (!built(DIST_THREAD) || THREAD_SANITIZED) skip();
    for (int own_thread = 0; own_thread < 2; own_thread++) {
        struct maker maker = {.own_thread = own_thread, .wrong = -1};
        assert_int_equal(pthread_create(&maker.thread, NULL, make_with_data, &maker), 0);
        pthread_join(maker.thread, NULL);
        assert_int_equal(maker.status, DIST_OK);
        assert_int_equal(maker.wrong, 0);
    }
}

/* ------------------------------------------------------------------ locks, threads, numbers */

struct guarded {
    pthread_mutex_t lock;
    unsigned inside;
};

static int wait_under_lock(void *result, const void *item, void *ctx) {
    struct guarded *guarded = ctx;
    int out[4] = {0}, n = *(const int *)item;
    if (pthread_mutex_lock(&guarded->lock)) return dist_fail(EDEADLK, "entered twice");
    dist_job *job = dist_map_async(square, numbers(), 4, out, .executor = X,
                                   .workers = (unsigned)n % 3, .chunk = 1);
    dist_status status = end_somehow(job, (unsigned)n % HOWS);
    guarded->inside++;
    if (pthread_mutex_unlock(&guarded->lock)) return dist_fail(EPERM, "left twice");
    *(int *)result = out[0] + out[1] + out[2] + out[3];
    return (int)status;
}

/* Who waits for a job must not be given a task that wants the lock too. */
CASE_ON("G-05", a_lock_may_be_held_while_waiting_for_a_job, ON_ALL, 60) {
    if (!may_mix()) skip();
    enum { BATCH = 60 };
    struct guarded guarded = {.inside = 0};
    pthread_mutexattr_t checked;
    int out[BATCH];
    unsigned calls = 0;
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&guarded.lock, &checked);
    for (; again(calls, rounds(60, 3)); calls++) {
        memset(out, 0, sizeof out);
        dist_job *job = dist_map_async(wait_under_lock, numbers(), BATCH, out, .executor = X,
                                       .workers = 1 + calls % 5, .ctx = &guarded);
        assert_int_equal(end_somehow(job, calls % HOWS), DIST_OK);
        for (int k = 0; k < BATCH; k++) assert_int_equal(out[k], 0 + 1 + 4 + 9);
    }
    if (X != DIST_PROCESS) assert_int_equal(guarded.inside, calls * BATCH);
    pthread_mutex_destroy(&guarded.lock);
    pthread_mutexattr_destroy(&checked);
}

struct user { /* one thread of the host */
    pthread_t thread;
    unsigned number, calls, wrong;
};

static int plus_number(void *result, const void *item, void *ctx) {
    *(int *)result = *(const int *)item * 8 + (int)((const struct user *)ctx)->number;
    return 0;
}

static void *use_jobs(void *arg) {
    enum { AT_ONCE = 5 };
    struct user *user = arg;
    int out[AT_ONCE][50];
    double limit = now() + 5; /* for a machine under load */
    for (unsigned c = 0; c < user->calls && now() < limit; c++) {
        dist_job *jobs[AT_ONCE];
        memset(out, -1, sizeof out);
        for (unsigned j = 0; j < AT_ONCE; j++)
            jobs[j] = dist_map_async(plus_number, numbers(), 50, out[j], .executor = X,
                                     .workers = (c + j) % 4, .ctx = user);
        for (unsigned j = 0; j < AT_ONCE; j++)
            user->wrong += end_somehow(jobs[j], (c + j) % HOWS) != DIST_OK;
        for (unsigned j = 0; j < AT_ONCE; j++)
            for (int i = 0; i < 50; i++) user->wrong += out[j][i] != 8 * i + (int)user->number;
    }
    return NULL;
}

CASE_ON("D-15", four_threads_have_jobs_at_once, ON_ALL, 60) {
    if (!may_mix()) skip();
    struct user users[4];
    for (unsigned u = 0; u < N(users); u++) {
        users[u] = (struct user){.number = u, .calls = rounds(100, 10)};
        assert_int_equal(pthread_create(&users[u].thread, NULL, use_jobs, &users[u]), 0);
    }
    for (unsigned u = 0; u < N(users); u++) pthread_join(users[u].thread, NULL);
    for (unsigned u = 0; u < N(users); u++) assert_int_equal(users[u].wrong, 0);
}

CASE_ON("P-41", ten_thousand_jobs_at_once, ON_ALL, 120) {
    NOT_IN_PROCESS_POOLS("each job would have a pool of its own");
    enum { MANY = 10000 };
    static dist_job *jobs[MANY];
    static int in[MANY], out[MANY];
    unsigned n = X == DIST_PROCESS ? rounds(MANY, 1000) : SANITIZED ? MANY / 4 : MANY;
    for (unsigned k = 0; k < n; k++) {
        in[k] = (int)k, out[k] = -1;
        jobs[k] = dist_apply_async(square, &in[k], &out[k], .executor = X);
        assert_non_null(jobs[k]);
    }
    for (unsigned k = n; k-- > 0;) { /* the last one first: it has not begun */
        assert_int_equal(end_somehow(jobs[k], k % HOWS), DIST_OK);
        assert_int_equal(out[k], (int)k * (int)k);
    }
}
