/* contract_pool_nesting.c - tasks of a pool that use this pool or another one. */
#define _GNU_SOURCE
#include "contract_pools.h"

enum { DEPTH = 20 };

struct nest {
    struct place place;
    dist_pool *pool, *other;
    pthread_mutex_t lock;
    dist_status seen;
};

static struct nest *new_nest(unsigned workers) {
    struct nest *nest = shared_memory(sizeof *nest);
    nest->pool = open_pool(workers);
    pthread_mutex_init(&nest->lock, NULL);
    return nest;
}

/* ------------------------------------------------------------------ calls in calls */

/* 1 for each task at the bottom. */
static int descend(void *result, const void *item, void *ctx) {
    struct nest *nest = ctx;
    int depth = *(const int *)item, below[2] = {depth - 1, depth - 1}, sum[2] = {0, 0};
    *(int *)result = 1;
    if (depth == 0) return 0;
    size_t n = depth % 5 == 0 ? 2 : 1;
    dist_status status = dist_map(descend, below, n, sum, .pool = nest->pool, .ctx = nest);
    *(int *)result = sum[0] + sum[1];
    return (int)status;
}

CASE_ON("G-04", calls_in_calls_end_with_one_worker_too, ON_INLINE | ON_THREAD, 20) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct nest *nest = new_nest(workers);
        int depth = DEPTH, leaves = 0;
        assert_int_equal(dist_apply(descend, &depth, &leaves, .pool = nest->pool, .ctx = nest),
                         DIST_OK);
        assert_int_equal(leaves, 16);
        dist_pool_free(&nest->pool);
    }
}

static int call_plain(void *result, const void *item, void *ctx);

/* A call in no pool, whose tasks use the pool that the task around it runs in. */
static int call_shared(void *result, const void *item, void *ctx) {
    struct nest *nest = ctx;
    int sum[4] = {0, 0, 0, 0};
    (void)item;
    dist_status status =
        dist_map(call_plain, numbers(), 4, sum, .executor = DIST_THREAD, .workers = 4, .ctx = nest);
    *(int *)result = sum[0] + sum[1] + sum[2] + sum[3];
    return (int)status;
}

static int call_plain(void *result, const void *item, void *ctx) {
    struct nest *nest = ctx;
    int out[5];
    (void)item;
    dist_status status = dist_map(visit, numbers(), 5, out, .pool = nest->pool, .ctx = nest);
    *(int *)result = out[4];
    return (int)status;
}

CASE_ON("G-04", a_call_around_which_is_a_task_of_the_pool_ends, ON_INLINE | ON_THREAD, 20) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct nest *nest = new_nest(workers);
        int out[3];
        assert_int_equal(dist_map(call_shared, numbers(), 3, out, .pool = nest->pool, .ctx = nest),
                         DIST_OK);
        for (int i = 0; i < 3; i++) assert_int_equal(out[i], 160);
        assert_int_equal(counted(&nest->place.ended), 60);
        assert_in_range(counted(&nest->place.most), 1, workers);
        dist_pool_free(&nest->pool);
    }
}

/* From one pool to the other and back. */
static int alternate(void *result, const void *item, void *ctx) {
    struct nest *nest = ctx;
    int depth = *(const int *)item, below[2] = {depth - 1, depth - 1}, sum[2] = {0, 0};
    *(int *)result = 1;
    if (depth == 0) return 0;
    dist_status status = dist_map(alternate, below, 2, sum,
                                  .pool = depth % 2 ? nest->pool : nest->other, .ctx = nest);
    *(int *)result = sum[0] + sum[1];
    return (int)status;
}

CASE_ON("G-04", two_pools_may_call_each_other, ON_INLINE | ON_THREAD, 20) {
    for (unsigned workers = 1; workers < 4; workers++) {
        struct nest *nest = new_nest(workers);
        nest->other = open_pool(1);
        int depth = 6, leaves = 0;
        assert_int_equal(dist_apply(alternate, &depth, &leaves, .pool = nest->pool, .ctx = nest),
                         DIST_OK);
        assert_int_equal(leaves, 64);
        dist_pool_free(&nest->pool);
        dist_pool_free(&nest->other);
    }
}

/* ------------------------------------------------------------------ no foreign work while waiting
 */

static int add_one(size_t index, void *ctx) {
    struct nest *nest = ctx;
    (void)index;
    count(&nest->place.ended);
    return 0;
}

static int add_slowly(size_t index, void *ctx) {
    static _Thread_local uint32_t random = 1;
    random_spin(&random, 5);
    return add_one(index, ctx);
}

static int call_with_lock(size_t index, void *ctx) {
    struct nest *nest = ctx;
    (void)index;
    if (pthread_mutex_lock(&nest->lock)) return 1;
    enter(&nest->place);
    dist_status status = dist_for(add_slowly, 4, .pool = nest->pool, .ctx = nest);
    atomic_fetch_sub(&nest->place.running, 1);
    pthread_mutex_unlock(&nest->lock);
    return (int)status;
}

struct rounds_of {
    struct nest *nest;
    unsigned done, wanted, wrong;
};

static void *call_with_locks(void *arg) {
    enum { ROUND = 100 };
    struct rounds_of *all = arg;
    for (; all->done < all->wanted && !counted(&all->nest->place.gate); all->done += ROUND)
        all->wrong += dist_for(call_with_lock, ROUND, .pool = all->nest->pool, .ctx = all->nest,
                               .chunk = 1) != DIST_OK;
    return NULL;
}

/* Several calls at once, so that a worker which waits with the lock could find foreign work. */
CASE_ON("G-05", a_lock_may_be_held_around_a_call, ON_INLINE | ON_THREAD, 60) {
    enum { CALLERS = 3 };
    for (unsigned workers = 1; workers < 4; workers++) {
        struct nest *nest = new_nest(workers);
        pthread_mutexattr_t checked; /* taken twice by one thread: an error, not a hang */
        pthread_mutexattr_init(&checked);
        pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
        pthread_mutex_init(&nest->lock, &checked);
        struct rounds_of all[CALLERS];
        pthread_t thread[CALLERS];
        unsigned done = 0;
        for (int k = 0; k < CALLERS; k++) {
            all[k] = (struct rounds_of){.nest = nest, .wanted = rounds(100000, 0) / 9};
            thread[k] = begin_thread(call_with_locks, &all[k]);
        }
        for (double limit = now() + 2; now() < limit; nap(0.01))
            if (counted(&nest->place.begun) >= CALLERS * all[0].wanted) break;
        count(&nest->place.gate); /* enough for a machine under load */
        for (int k = 0; k < CALLERS; k++) {
            pthread_join(thread[k], NULL);
            assert_int_equal(all[k].wrong, 0);
            done += all[k].done;
        }
        assert_int_equal(counted(&nest->place.ended), 4 * done);
        assert_int_equal(counted(&nest->place.most), 1);
        dist_pool_free(&nest->pool);
    }
}

/* ------------------------------------------------------------------ jobs that wait for jobs */

enum way { WAIT, NEXT, WAIT_ANY, FINISH, WAYS };

struct errand {
    struct nest nest;
    enum way way;
    size_t items;
    bool late; /* waits when the job is under way, if somebody has begun it */
};

static dist_status await_job(dist_job **job, enum way way) {
    dist_event event;
    dist_status status = DIST_OK;
    if (way == NEXT)
        while ((status = dist_job_next(*job, &event, DIST_FOREVER)) == DIST_OK) continue;
    if (way == NEXT && status != DIST_EMPTY) return status;
    if (way == WAIT_ANY && dist_job_wait_any(job, 1, DIST_FOREVER) != 0) return DIST_FAILED;
    if (way == WAIT && (status = dist_job_wait(*job, DIST_FOREVER))) return status;
    return dist_job_finish(job);
}

static int submit_and_wait(void *result, const void *item, void *ctx) {
    struct errand *errand = ctx;
    int depth = *(const int *)item, below[4] = {0, 0, 0, 0}, sum[4] = {0, 0, 0, 0};
    *(int *)result = 1;
    if (depth == 0) return 0;
    below[0] = depth - 1;
    dist_job *job = dist_map_async(submit_and_wait, below, errand->items, sum,
                                   .pool = errand->nest.pool, .ctx = errand);
    if (!job) return 100;
    if (errand->late) nap(0.003);
    dist_status status = await_job(&job, errand->way);
    for (size_t i = 0; i < errand->items; i++) *(int *)result += sum[i];
    return (int)status;
}

static void wait_for_jobs(unsigned workers, bool by_job) {
    for (enum way way = WAIT; way < WAYS; way++)
        for (size_t items = 1; items < 4; items += 2)
            for (int late = 0; late < 2; late++) {
                struct errand *errand = shared_memory(sizeof *errand);
                errand->nest.pool = open_pool(workers);
                errand->way = way, errand->items = items, errand->late = late;
                int depth = 6, result = 0;
                dist_job *job = NULL;
                if (by_job) {
                    job = dist_apply_async(submit_and_wait, &depth, &result,
                                           .pool = errand->nest.pool, .ctx = errand);
                    assert_int_equal(dist_job_wait(job, 15), DIST_OK);
                    dist_job_finish(&job);
                } else {
                    assert_int_equal(dist_apply(submit_and_wait, &depth, &result,
                                                .pool = errand->nest.pool, .ctx = errand),
                                     DIST_OK);
                }
                assert_int_equal(result, 7 + 6 * ((int)items - 1));
                dist_pool_free(&errand->nest.pool);
            }
}

CASE_ON("F-14", jobs_that_wait_for_jobs_end_with_one_worker, ON_INLINE | ON_THREAD, 20) {
    wait_for_jobs(1, true);
}

CASE_ON("F-14", jobs_that_wait_for_jobs_end_with_two_workers, ON_INLINE | ON_THREAD, 20) {
    wait_for_jobs(2, true);
}

CASE_ON("F-14", calls_that_wait_for_jobs_end_with_one_worker, ON_INLINE | ON_THREAD, 20) {
    wait_for_jobs(1, false);
}

CASE_ON("F-14", calls_that_wait_for_jobs_end_with_two_workers, ON_INLINE | ON_THREAD, 20) {
    wait_for_jobs(2, false);
}

/* ------------------------------------------------------------------ waits that could never end */

static int wait_inside(void *result, const void *item, void *ctx) {
    struct nest *nest = ctx;
    dist_status *status = result;
    (void)item;
    status[0] = dist_pool_wait(nest->pool, DIST_FOREVER);
    status[4] = dist_each_worker(nest->pool, add_one, nest);
    status[1] = dist_pool_join(nest->pool, DIST_FOREVER); /* it is open */
    dist_pool_close(nest->pool);
    status[2] = dist_pool_join(nest->pool, DIST_FOREVER);
    dist_pool *same = nest->pool;
    dist_pool_free(&same);
    status[3] = same == nest->pool ? DIST_OK : DIST_FAILED;
    return 0;
}

/* A call in between does not hide the pool. */
static int wait_deeper(void *result, const void *item, void *ctx) {
    return (int)dist_map_fn(wait_inside, item, 1, sizeof(int), result, 5 * sizeof(dist_status),
                            DIST_OPTS(.executor = DIST_INLINE, .ctx = ctx));
}

static void check_inside(dist_fn fn) {
    struct nest *nest = new_nest(2);
    dist_status status[5];
    assert_int_equal(dist_map_fn(fn, numbers(), 1, sizeof(int), status, sizeof status,
                                 DIST_OPTS(.pool = nest->pool, .ctx = nest)),
                     DIST_OK);
    assert_int_equal(status[0], DIST_DEADLOCK);
    assert_int_equal(status[1], DIST_STATE);
    assert_int_equal(status[2], DIST_DEADLOCK);
    assert_int_equal(status[3], DIST_OK);
    assert_int_equal(status[4], DIST_DEADLOCK);
    dist_pool_free(&nest->pool);
    assert_null(nest->pool);
}

CASE_ON("G-04", a_task_does_not_wait_for_its_own_pool, ON_INLINE | ON_THREAD, 20) {
    check_inside(wait_inside);
    check_inside(wait_deeper);
}

static void wait_in_hook(const dist_event *event, void *user) {
    struct nest *nest = user;
    if (event->index == 1) nest->seen = dist_pool_wait(nest->pool, DIST_FOREVER);
}

CASE_ON("G-04", a_hook_does_not_wait_for_its_own_pool, ON_POOLS, 20) {
    struct nest *nest = new_nest(2);
    int out[3];
    assert_int_equal(dist_map(ten_times, numbers(), 3, out, .pool = nest->pool,
                              .on_finish = wait_in_hook, .user = nest),
                     DIST_OK);
    assert_int_equal(nest->seen, DIST_DEADLOCK);
    nest->seen = DIST_OK;
    dist_job *job = dist_map_async(ten_times, numbers(), 3, out, .pool = nest->pool,
                                   .on_finish = wait_in_hook, .user = nest);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    assert_int_equal(nest->seen, DIST_DEADLOCK);
    assert_int_equal(dist_pool_wait(nest->pool, DIST_FOREVER), DIST_OK);
    dist_pool_free(&nest->pool);
}

/* ------------------------------------------------------------------ hooks that use the pool */

static void call_in_hook(const dist_event *event, void *user) {
    struct nest *nest = user;
    int one = (int)event->index, out = 0;
    if (event->index % 50) return;
    if (dist_apply(ten_times, &one, &out, .pool = nest->pool) || out != 10 * one)
        count(&nest->place.wrong);
    count(&nest->place.told);
}

static void submit_in_hook(const dist_event *event, void *user) {
    struct nest *nest = user;
    if (event->index % 50) return;
    dist_job *job = dist_map_async(visit, numbers(), 2, DIST_NONE, .pool = nest->pool, .ctx = nest);
    if (!job || dist_job_detach(&job)) count(&nest->place.wrong);
    count(&nest->place.told);
}

static int fail_some(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    return *(const int *)item % 100 == 50;
}

static void use_pool_in_hook(void (*hook)(const dist_event *event, void *user), dist_fn fn) {
    for (unsigned workers = 1; workers < 4; workers++)
        for (int as_job = 0; as_job < 2; as_job++) {
            struct nest *nest = new_nest(workers);
            int out[PRIME];
            dist_opts *opts = DIST_OPTS(.pool = nest->pool, .on_finish = hook, .user = nest,
                                        .silent = true, .ctx = nest);
            if (as_job) {
                dist_job *job =
                    dist_map_async_fn(fn, numbers(), PRIME, sizeof(int), out, sizeof(int), opts);
                assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_OK);
                dist_job_finish(&job);
            } else {
                assert_int_equal(
                    dist_map_fn(fn, numbers(), PRIME, sizeof(int), out, sizeof(int), opts),
                    DIST_OK);
            }
            assert_int_equal(dist_pool_wait(nest->pool, DIST_FOREVER), DIST_OK);
            assert_int_equal(counted(&nest->place.wrong), 0);
            assert_int_equal(counted(&nest->place.told), PRIME / 50 + 1);
            dist_pool_free(&nest->pool);
        }
}

/* Workers in other processes cannot take part in what a hook waits for. */
CASE_ON("F-04", a_hook_may_call_in_its_own_pool, ON_INLINE | ON_THREAD, 20) {
    use_pool_in_hook(call_in_hook, ten_times);
    use_pool_in_hook(call_in_hook, fail_some);
}

POOL_CASE("F-04", a_hook_may_submit_to_its_own_pool) {
    use_pool_in_hook(submit_in_hook, ten_times);
    use_pool_in_hook(submit_in_hook, fail_some);
}
