/* contract_nesting.c - calls inside of tasks, calls from many threads, and locks around calls. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static const dist_executor all[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};

/* A call inside a call, `depth` levels deep: counts its leaves. */
struct level {
    dist_executor executor;
    unsigned workers, depth;
    size_t width;
};

static int descend(void *result, const void *item, void *ctx) {
    const struct level *level = ctx;
    int below[16], sum = 0;
    (void)item;
    if (level->depth == 0) {
        *(int *)result = 1;
        return 0;
    }
    size_t index = dist_index();
    unsigned worker = dist_worker();
    struct level next = *level;
    next.depth--;
    dist_status status =
        dist_map(descend, numbers(), level->width, below, .executor = level->executor,
                 .workers = level->workers, .ctx = &next);
    if (status)
        return dist_fail((int)status, "%u left: %s", level->depth, dist_last_error()->message);
    if (dist_index() != index || dist_worker() != worker)
        return dist_fail(EINVAL, "the task forgot which it is");
    for (size_t i = 0; i < level->width; i++) sum += below[i];
    *(int *)result = sum;
    return 0;
}

static void check_leaves(struct level level, int expected) {
    int leaves = 0;
    assert_int_equal(
        dist_apply(descend, DIST_NONE, &leaves, .executor = level.executor, .ctx = &level),
        DIST_OK);
    assert_int_equal(leaves, expected);
}

CASE("P-59", three_levels_need_only_one_worker) {
    check_leaves((struct level){X, 1, 3, 3}, 27);
    check_leaves((struct level){X, 2, 3, 3}, 27);
    check_leaves((struct level){X, 0, 3, 3}, 27);
}

CASE("P-59", nested_calls_share_the_workers) {
    check_leaves((struct level){X, 0, 5, 4}, 1024);
    check_leaves((struct level){X, 4, 3, 5}, 125);
}

CASE_ON("G-04", fifty_levels_need_only_one_worker, ON_ALL, 30) {
    check_leaves((struct level){X, 1, 50, 1}, 1);
    check_leaves((struct level){X, 0, 50, 1}, 1);
}

static int inner(void *result, const void *item, void *ctx) {
    (void)ctx;
    int x = *(const int *)item;
    *(int *)result = x * x;
    return x == 11 ? dist_fail(EIO, "eleven") : 0;
}

/* Squares 0..item by a call on the executor in *ctx, and adds them up. */
static int outer(void *result, const void *item, void *ctx) {
    int squares[PRIME], sum = 0, n = *(const int *)item;
    dist_error e = {0};
    dist_status status =
        dist_map(inner, numbers(), (size_t)n, squares, .executor = *(const dist_executor *)ctx,
                 .workers = 3, .error = &e);
    if (status) return dist_fail(e.code, "%zu: %s", e.index, e.message);
    for (int i = 0; i < n; i++) sum += squares[i];
    *(int *)result = sum;
    return 0;
}

static int sum_of_squares(int n) { return (n - 1) * n * (2 * n - 1) / 6; }

/* Sanitizers do not survive a fork beside threads that allocate: what they lock stays locked. */
static bool may_nest(dist_executor executor) {
    return built(executor) && !(SANITIZED && X == DIST_THREAD && executor == DIST_PROCESS);
}

CASE("M-29", executors_nest_in_each_other) {
    for (size_t k = 0; k < N(all); k++) {
        if (!may_nest(all[k])) continue;
        int out[11];
        dist_executor executor = all[k];
        for (unsigned workers = 0; workers < 4; workers++) {
            assert_int_equal(dist_map(outer, numbers(), 11, out, .executor = X, .workers = workers,
                                      .ctx = &executor),
                             DIST_OK);
            for (int i = 0; i < 11; i++) assert_int_equal(out[i], sum_of_squares(i));
        }
    }
}

CASE("M-29", a_failure_travels_up_through_the_levels) {
    for (size_t k = 0; k < N(all); k++) {
        if (!may_nest(all[k])) continue;
        int out[14];
        dist_error e;
        dist_executor executor = all[k];
        assert_int_equal(dist_map(outer, numbers(), 14, out, .executor = X, .workers = 2,
                                  .ctx = &executor, .error = &e),
                         DIST_FAILED);
        assert_int_equal(e.index, 12);
        assert_int_equal(e.code, EIO);
        assert_string_equal(e.message, "11: eleven");
    }
}

/* Each level on another executor. */
static int zigzag(void *result, const void *item, void *ctx) {
    unsigned depth = *(const unsigned *)ctx, below = depth - 1;
    int sums[2];
    (void)item;
    *(int *)result = 1;
    if (depth == 0) return 0;
    dist_executor executor = all[depth % 3];
    if (!may_nest(executor)) executor = X;
    if (dist_map(zigzag, numbers(), 2, sums, .executor = executor, .workers = 2, .ctx = &below))
        return dist_fail(EIO, "%u: %s", depth, dist_last_error()->message);
    *(int *)result = sums[0] + sums[1];
    return 0;
}

CASE_ON("G-04", each_level_may_use_another_executor, ON_ALL, 30) {
    unsigned depth = SANITIZED ? 3 : 5;
    int out[2];
    assert_int_equal(
        dist_map(zigzag, numbers(), 2, out, .executor = X, .workers = 2, .ctx = &depth), DIST_OK);
    assert_int_equal(out[0], 1 << depth);
    assert_int_equal(out[1], 1 << depth);
}

struct fib {
    dist_executor executor;
    int n;
};

static int fibonacci(void *result, const void *item, void *ctx) {
    const struct fib *f = item;
    int parts[2] = {0, 1};
    (void)ctx;
    *(int *)result = f->n;
    if (f->n < 2) return 0;
    const struct fib below[2] = {{f->executor, f->n - 1}, {f->executor, f->n - 2}};
    dist_task tasks[2] = {DIST_TASK(NULL, fibonacci, &below[0], &parts[0]),
                          DIST_TASK(NULL, fibonacci, &below[1], &parts[1])};
    if (dist_par(tasks, 2, .executor = f->executor)) return dist_fail(EIO, "fib(%d)", f->n);
    *(int *)result = parts[0] + parts[1];
    return 0;
}

CASE("G-04", recursion_divides_the_work) {
    struct fib f = {X, X == DIST_PROCESS ? SANITIZED ? 5 : 8 : SANITIZED ? 12 : 17};
    int out, expected[] = {[5] = 5, [8] = 21, [12] = 144, [17] = 1597};
    assert_int_equal(dist_apply(fibonacci, &f, &out, .executor = X), DIST_OK);
    assert_int_equal(out, expected[f.n]);
}

/* A lock held around a nested call: the holder must not be given a task that wants it too. */
struct guarded {
    pthread_mutex_t lock;
    unsigned long inside;
    unsigned workers;
};

static int trivial(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = *(const int *)item + 1;
    return 0;
}

static int call_under_lock(void *result, const void *item, void *ctx) {
    struct guarded *guarded = ctx;
    int out[4] = {0};
    (void)item;
    if (pthread_mutex_lock(&guarded->lock)) return dist_fail(EDEADLK, "entered twice");
    dist_status status = dist_map(trivial, numbers(), 4, out, .executor = X,
                                  .workers = guarded->workers, .chunk = 1);
    guarded->inside++;
    if (pthread_mutex_unlock(&guarded->lock)) return dist_fail(EPERM, "left twice");
    *(int *)result = out[0] + out[1] + out[2] + out[3];
    return status ? dist_fail((int)status, "inner call") : 0;
}

CASE_ON("G-05", a_lock_may_be_held_around_a_nested_call, ON_ALL, 60) {
    enum { BATCH = 100 };
    struct guarded guarded = {.workers = 0};
    pthread_mutexattr_t checked;
    int out[BATCH];
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&guarded.lock, &checked);
    unsigned calls = 0;
    for (unsigned i = 0; again(i, rounds(1000, 5)); i++, calls++) {
        guarded.workers = i % 4;
        memset(out, 0, sizeof out);
        assert_int_equal(dist_map(call_under_lock, numbers(), BATCH, out, .executor = X,
                                  .workers = 1 + i % 5, .ctx = &guarded),
                         DIST_OK);
        for (int k = 0; k < BATCH; k++) assert_int_equal(out[k], 1 + 2 + 3 + 4);
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

static void *make_calls(void *arg) {
    struct user *user = arg;
    int out[101];
    double limit = now() + 5; /* for a machine under load */
    for (unsigned c = 0; c < user->calls && now() < limit; c++) {
        memset(out, -1, sizeof out);
        dist_status s = dist_map(plus_number, numbers(), 101, out, .executor = X, .workers = c % 5,
                                 .chunk = c % 3, .ctx = user);
        user->wrong += s != DIST_OK;
        for (int i = 0; i < 101; i++) user->wrong += out[i] != 8 * i + (int)user->number;
    }
    return NULL;
}

CASE_ON("D-15", eight_threads_call_at_once, ON_ALL, 30) {
    struct user users[8];
    for (unsigned u = 0; u < 8; u++) {
        users[u] = (struct user){.number = u, .calls = rounds(300, 40)};
        assert_int_equal(pthread_create(&users[u].thread, NULL, make_calls, &users[u]), 0);
    }
    for (unsigned u = 0; u < 8; u++) pthread_join(users[u].thread, NULL);
    for (unsigned u = 0; u < 8; u++) assert_int_equal(users[u].wrong, 0);
}

static void *shut_down_often(void *stop) {
    while (!counted(stop)) {
        dist_shutdown();
        nap(0.0005);
    }
    return NULL;
}

CASE_ON("P-60", shutdown_goes_on_while_others_call, ON_ALL, 30) {
    struct user users[4];
    _Atomic(unsigned) stop = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, shut_down_often, &stop), 0);
    for (unsigned u = 0; u < 4; u++) {
        users[u] = (struct user){.number = u, .calls = rounds(200, 30)};
        assert_int_equal(pthread_create(&users[u].thread, NULL, make_calls, &users[u]), 0);
    }
    for (unsigned u = 0; u < 4; u++) pthread_join(users[u].thread, NULL);
    count(&stop);
    pthread_join(thread, NULL);
    for (unsigned u = 0; u < 4; u++) assert_int_equal(users[u].wrong, 0);
}

static void *call_once(void *arg) {
    struct user *user = arg;
    make_calls(user);
    return NULL;
}

CASE("D-15", the_calling_thread_may_end_after_its_call) {
    for (unsigned i = 0; again(i, rounds(100, 20)); i++) {
        struct user user = {.number = i % 8, .calls = 2};
        assert_int_equal(pthread_create(&user.thread, NULL, call_once, &user), 0);
        pthread_join(user.thread, NULL);
        assert_int_equal(user.wrong, 0);
    }
}
