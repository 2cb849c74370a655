/* contract_mail.c - single items in a pool of processes, one call for each: whatever such a call
 * does beside the crowd, it is a call like any other. */
#define _GNU_SOURCE
#include "contract_mail.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ items, results, ctx */

struct sizes {
    size_t item, result, ctx;
    unsigned char fill;
};

static struct sizes *sizes; /* shared, what the task is to find */

static int check_and_add(void *result, const void *item, void *ctx) {
    const unsigned char *in = item, *context = ctx;
    unsigned char *out = result;
    for (size_t i = 0; i < sizes->item; i++)
        if (in[i] != (unsigned char)(i + 1)) return 1;
    for (size_t i = 0; i < sizes->ctx; i++)
        if (context[i] != (unsigned char)(i + 2)) return 2;
    if (!sizes->ctx && context) return 3;
    for (size_t i = 0; i < sizes->result; i++) {
        if (out[i] != sizes->fill) return 4;
        out[i] = (unsigned char)(i + 3);
    }
    return (!item != !sizes->item) + (!result != !sizes->result);
}

static void apply_sized(dist_pool *pool, size_t item, size_t result, size_t ctx) {
    alignas(64) unsigned char in[400], out[400], context[400];
    for (size_t i = 0; i < sizeof in; i++) {
        in[i] = (unsigned char)(i + 1);
        context[i] = (unsigned char)(i + 2);
        out[i] = (unsigned char)(item + result);
    }
    *sizes = (struct sizes){item, result, ctx, out[0]};
    assert_int_equal(
        dist_apply_fn(check_and_add, item ? in : NULL, item, result ? out : NULL, result,
                      DIST_OPTS(.pool = pool, .ctx = ctx ? context : NULL, .ctx_size = ctx)),
        DIST_OK);
    for (size_t i = 0; i < result; i++) assert_int_equal(out[i], (unsigned char)(i + 3));
    for (size_t i = result; i < sizeof out; i++)
        assert_int_equal(out[i], (unsigned char)(item + result));
}

MAIL_CASE("D-14", one_item_of_any_size_goes_to_a_pool_and_comes_back) {
    sizes = shared_memory(sizeof *sizes);
    DIST_SCOPED_POOL *pool = open_pool(2);
    static const size_t some[] = {0, 1, 4, 7, 8, 9, 15, 16, 17, 64, 127, 128, 129, 300};
    for (size_t i = 0; i < N(some); i++)
        for (size_t k = 0; k < N(some); k++)
            apply_sized(pool, some[i], some[k], some[(i * k) % N(some)]);
}

MAIL_CASE("D-14", a_hundred_thousand_items_one_by_one) {
    DIST_SCOPED_POOL *pool = open_pool(2);
    errno = 77;
    for (int i = 0, wanted = (int)rounds(100000, 20000); again((unsigned)i, (unsigned)wanted);
         i++) {
        int out = -1;
        assert_int_equal(dist_apply(add_one, &i, &out, .pool = pool), DIST_OK);
        assert_int_equal(out, i + 1);
    }
    assert_int_equal(errno, 77);
}

struct about {
    size_t index;
    uint64_t random[2];
    unsigned worker, attempt;
    pid_t pid;
    bool cancelled;
};

static int look_around(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(struct about *)result = (struct about){.index = dist_index(),
                                             .random = {dist_random(), dist_random()},
                                             .worker = dist_worker(),
                                             .attempt = dist_attempt(),
                                             .pid = getpid(),
                                             .cancelled = dist_cancelled()};
    return 0;
}

MAIL_CASE("P-35", the_only_item_of_a_call_in_a_pool_knows_where_it_is) {
    DIST_SCOPED_POOL *pool = open_pool(3);
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct about here, there;
        assert_int_equal(
            dist_apply(look_around, (int *)NULL, &here, .executor = DIST_INLINE, .seed = seed),
            DIST_OK);
        assert_int_equal(dist_apply(look_around, (int *)NULL, &there, .pool = pool, .seed = seed),
                         DIST_OK);
        assert_int_equal(there.index, here.index);
        assert_int_equal(there.attempt, 1);
        assert_memory_equal(there.random, here.random, sizeof here.random);
        assert_in_range(there.worker, 0, 2);
        assert_int_not_equal(there.pid, getpid());
        assert_false(there.cancelled);
    }
}

/* ------------------------------------------------------------------ failures */

static int fail_as_told(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 99;
    int how = *(const int *)item;
    return how > 0 ? how : dist_fail(-how, "failed with %d", how);
}

MAIL_CASE("P-20", the_only_item_fails_in_a_pool_and_leaves_out_alone) {
    DIST_SCOPED_POOL *pool = open_pool(2);
    for (int how = -3; how <= 3; how++) {
        if (how == 0) continue;
        int out = 5;
        dist_error error, wanted;
        assert_int_equal(
            dist_apply(fail_as_told, &how, &out, .executor = DIST_INLINE, .error = &wanted),
            DIST_FAILED);
        assert_int_equal(dist_apply(fail_as_told, &how, &out, .pool = pool, .error = &error),
                         DIST_FAILED);
        assert_int_equal(out, 5);
        assert_int_equal(error.code, wanted.code);
        assert_int_equal(error.attempts, 1);
        assert_ptr_equal(error.item, &how);
        assert_string_equal(error.message, wanted.message);
        assert_string_equal(dist_last_error()->message, wanted.message);
        assert_int_equal(dist_apply(fail_as_told, &how, &out, .pool = pool, .silent = true),
                         DIST_OK);
        assert_int_equal(out, 5);
    }
}

static int die_as_told(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 99;
    int how = *(const int *)item;
    if (how < 100) raise(how);
    else if (how == 100) exit(3);
    else if (how == 101) _exit(0);
    else pthread_exit(NULL);
    return 0;
}

MAIL_CASE("G-01", the_only_item_dies_with_its_worker_in_a_pool) {
    static const int ways[] = {SIGKILL, SIGSEGV, SIGABRT, SIGTERM, 100, 101, 102};
    DIST_SCOPED_POOL *pool = open_pool(2);
    for (size_t k = 0; k < 5 * N(ways); k++) {
        int how = ways[k % N(ways)], out = 5, one = 1;
        dist_error error;
        assert_int_equal(dist_apply(die_as_told, &how, &out, .pool = pool, .error = &error),
                         DIST_CRASHED);
        assert_int_equal(out, 5);
        assert_int_equal(error.status, DIST_CRASHED);
        assert_int_equal(error.signal, how < 100 ? how : 0);
        assert_int_equal(error.exit_code, how == 100 ? 3 : 0);
        assert_ptr_equal(error.item, &how);
        assert_non_null(strstr(error.message, how == SIGSEGV ? "killed by SIGSEGV" : "worker"));
        assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool), DIST_OK);
        assert_int_equal(out, 2);
    }
}

static int bad_init(void **state, unsigned worker, void *user) {
    (void)state, (void)worker;
    return counted(user) ? dist_fail(7, "no state today") : 0;
}

MAIL_CASE("M-03", a_failing_init_ends_the_call_of_one_item) {
    _Atomic(unsigned) *broken = shared_memory(sizeof *broken);
    count(broken);
    DIST_SCOPED_POOL *pool = dist_pool_open(.executor = X, .workers = 1, .worker_init = bad_init,
                                            .user = (void *)broken);
    for (int i = 0; i < 3; i++) {
        int out = 5;
        assert_int_equal(dist_apply(add_one, &i, &out, .pool = pool), DIST_FAILED);
        assert_int_equal(dist_last_error()->code, 7);
        assert_non_null(strstr(dist_last_error()->message, "no state today"));
        assert_int_equal(out, 5);
    }
    atomic_store(broken, 0);
    int one = 1, out = 5;
    assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool), DIST_OK);
    assert_int_equal(out, 2);
}

MAIL_CASE("M-04", single_items_count_as_tasks_of_a_worker) {
    DIST_SCOPED_POOL *pool = dist_pool_open(.executor = X, .workers = 1, .tasks_per_worker = 3);
    pid_t last = 0;
    for (int i = 0; i < 30; i++) {
        struct about there;
        assert_int_equal(dist_apply(look_around, (int *)NULL, &there, .pool = pool), DIST_OK);
        if (i % 3 == 0) assert_int_not_equal(there.pid, last);
        else assert_int_equal(there.pid, last);
        last = there.pid;
    }
}

static int print_item(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    printf("%d;", *(const int *)item);
    return 0;
}

static void print_some(void *pool) {
    (void)pool;
    DIST_SCOPED_POOL *own = dist_pool_open(.executor = DIST_PROCESS, .workers = 2);
    for (int i = 0; i < 20; i++) {
        dist_apply(print_item, &i, (int *)NULL, .pool = own);
        char text[16];
        int length = snprintf(text, sizeof text, "%d.", i);
        if (write(STDOUT_FILENO, text, (size_t)length) != length) _exit(1);
    }
}

MAIL_CASE("G-11", what_the_only_item_prints_is_there_when_its_call_returns) {
    char text[OUTPUT_SIZE], wanted[OUTPUT_SIZE] = "", one[32];
    int status;
    for (int i = 0; i < 20; i++) {
        snprintf(one, sizeof one, "%d;%d.", i, i);
        strcat(wanted, one);
    }
    output_of(print_some, NULL, text, &status);
    assert_string_equal(text, wanted);
}

/* ------------------------------------------------------------------ many threads, and the end */

struct crowd {
    dist_pool *pool;
    _Atomic(unsigned) *runs, *begun;
    unsigned from, to;
    _Atomic(unsigned) wrong, crashed, cancelled, well;
};

static _Atomic(unsigned) *all_runs; /* shared, as of the pool's opening */

static int count_run(void *result, const void *item, void *ctx) {
    (void)ctx;
    unsigned i = *(const unsigned *)item;
    count(&all_runs[i]);
    *(unsigned *)result = 3 * i;
    return 0;
}

static void *apply_many(void *arg) {
    struct crowd *crowd = arg;
    for (unsigned i = crowd->from; i < crowd->to; i++) {
        unsigned out = 1;
        dist_status status = dist_apply(count_run, &i, &out, .pool = crowd->pool);
        unsigned ran = counted(&all_runs[i]);
        bool right = status == DIST_OK        ? out == 3 * i && ran == 1
                     : status == DIST_CRASHED ? out == 1 && ran <= 1
                                              : false;
        if (status == DIST_CRASHED) count(&crowd->crashed);
        if (!right) count(&crowd->wrong);
        if (!right)
            printf("item %u: %s, %u, ran %u times, %s\n", i, dist_status_name(status), out, ran,
                   dist_last_error()->message);
    }
    return NULL;
}

/* Kills workers, or their nursery, while threads apply. */
static void apply_and_kill(unsigned each, unsigned kills, bool nursery) {
    enum { THREADS = 4 };
    uint32_t random = random_seed();
    all_runs = shared_memory(THREADS * each * sizeof *all_runs);
    DIST_SCOPED_POOL *pool = open_pool(3);
    struct crowd crowd[THREADS];
    pthread_t thread[THREADS];
    for (unsigned k = 0; k < THREADS; k++) {
        crowd[k] = (struct crowd){.pool = pool, .from = k * each, .to = (k + 1) * each};
        assert_int_equal(pthread_create(&thread[k], NULL, apply_many, &crowd[k]), 0);
    }
    for (unsigned k = 0; k < kills; k++) {
        struct about there;
        nap(1e-6 * random_below(&random, nursery ? 30000 : 3000));
        if (dist_apply(look_around, (int *)NULL, &there, .pool = pool)) continue;
        if (nursery) {
            pid_t maker = nursery_of(there.pid);
            if (maker) kill(maker, SIGKILL);
        } else {
            random_spin(&random, 20);
            kill(there.pid, SIGKILL);
        }
    }
    unsigned crashed = 0;
    for (unsigned k = 0; k < THREADS; k++) {
        pthread_join(thread[k], NULL);
        assert_int_equal(counted(&crowd[k].wrong), 0);
        crashed += counted(&crowd[k].crashed);
    }
    assert_true(crashed <= (nursery ? 3 : 1) * kills);
}

MAIL_CASE("G-01", workers_are_killed_while_threads_apply_in_their_pool) {
    apply_and_kill(rounds(20000, 5000), rounds(200, 100), false);
}

MAIL_CASE("G-01", the_maker_of_workers_is_killed_while_threads_apply_in_their_pool) {
    apply_and_kill(rounds(5000, 2000), rounds(10, 10), true);
}

static int never_return(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 99;
    if (*(const int *)item) signal(SIGTERM, SIG_IGN);
    count(begun);
    for (;;) nap(1);
    return 0;
}

static void *apply_stay(void *arg) {
    struct crowd *crowd = arg;
    int item = (int)crowd->from, out = 5;
    if (dist_apply(never_return, &item, &out, .pool = crowd->pool) == DIST_CANCELLED && out == 5 &&
        dist_last_error()->status == DIST_CANCELLED && *dist_last_error()->message)
        count(&crowd->cancelled);
    return NULL;
}

MAIL_CASE("M-20", a_terminated_pool_ends_calls_of_one_item) {
    enum { THREADS = 6 };
    for (unsigned deaf = 0; deaf < 2; deaf++) {
        begun = shared_memory(sizeof *begun);
        dist_pool *pool = open_pool(2);
        struct crowd crowd[THREADS];
        pthread_t thread[THREADS];
        for (unsigned k = 0; k < THREADS; k++) {
            crowd[k] = (struct crowd){.pool = pool, .from = deaf};
            assert_int_equal(pthread_create(&thread[k], NULL, apply_stay, &crowd[k]), 0);
        }
        assert_true(reaches(begun, 2));
        nap(0.05);
        double start = now();
        assert_int_equal(dist_pool_terminate(pool), DIST_OK);
        assert_int_equal(dist_pool_join(pool, 30), DIST_OK);
        if (deaf) assert_true(now() - start >= 0.15);
        for (unsigned k = 0; k < THREADS; k++) {
            pthread_join(thread[k], NULL);
            assert_int_equal(counted(&crowd[k].cancelled), 1);
        }
        assert_int_equal(counted(begun), 2);
        int item = 1, out = 5;
        assert_int_equal(dist_apply(add_one, &item, &out, .pool = pool), DIST_CLOSED);
        dist_pool_free(&pool);
    }
}

static int call_in_it(void *result, const void *item, void *ctx) {
    (void)ctx;
    int in[3] = {*(const int *)item, 2, 3}, out[3] = {0};
    dist_status status = dist_map(add_one, in, 3, out, .executor = DIST_THREAD);
    *(int *)result = out[0] + out[1] + out[2];
    return (int)status;
}

static void *map_some(void *arg) {
    struct crowd *crowd = arg;
    enum { ITEMS = 500 };
    unsigned in[ITEMS], out[ITEMS] = {0};
    for (unsigned i = 0; i < ITEMS; i++) in[i] = i;
    for (unsigned r = crowd->from; r < crowd->to; r++) {
        for (unsigned i = 0; i < ITEMS; i++) atomic_store(&all_runs[i], 0);
        if (dist_map(count_run, in, ITEMS, out, .pool = crowd->pool)) count(&crowd->wrong);
        for (unsigned i = 0; i < ITEMS; i++)
            if (out[i] != 3 * i) count(&crowd->wrong);
    }
    return NULL;
}

MAIL_CASE("D-15", calls_of_one_item_and_of_many_share_a_pool) {
    all_runs = shared_memory(500 * sizeof *all_runs);
    DIST_SCOPED_POOL *pool = open_pool(2);
    struct crowd crowd = {.pool = pool, .to = rounds(50, 50)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, map_some, &crowd), 0);
    for (int i = 0, wanted = (int)rounds(2000, 1000); again((unsigned)i, (unsigned)wanted); i++) {
        int out = 0;
        assert_int_equal(dist_apply(call_in_it, &i, &out, .pool = pool), DIST_OK);
        assert_int_equal(out, i + 8);
        if (i % 100 == 0)
            assert_int_equal(dist_pool_resize(pool, 1 + (unsigned)(i / 100) % 2), DIST_OK);
    }
    pthread_join(thread, NULL);
    assert_int_equal(counted(&crowd.wrong), 0);
}

static void apply_in_child(void *pool) {
    int one = 1, out = 5;
    assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool), DIST_UNSUPPORTED);
    assert_int_equal(out, 5);
}

MAIL_CASE("G-03", a_forked_child_is_refused_by_the_pool_of_its_parent) {
    DIST_SCOPED_POOL *pool = open_pool(2);
    int one = 1, out = 5;
    assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool), DIST_OK);
    assert_int_equal(in_child(apply_in_child, pool), 0);
    assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool), DIST_OK);
}

enum { TOGETHER = 4 };

/* Waits for the others. */
static int meet(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    count(begun);
    *(bool *)result = reaches(begun, TOGETHER);
    return 0;
}

static void *apply_meet(void *arg) {
    struct crowd *crowd = arg;
    bool met = false;
    if (dist_apply(meet, (int *)NULL, &met, .pool = crowd->pool) || !met) count(&crowd->wrong);
    return NULL;
}

MAIL_CASE("D-15", as_many_single_items_as_workers_run_at_once) {
    uint32_t random = random_seed();
    begun = shared_memory(sizeof *begun);
    struct crowd crowd = {.pool = open_pool(TOGETHER)};
    for (unsigned r = 0, wanted = rounds(300, 300); again(r, wanted); r++) {
        pthread_t thread[TOGETHER];
        atomic_store(begun, 0);
        for (unsigned k = 0; k < TOGETHER; k++) {
            assert_int_equal(pthread_create(&thread[k], NULL, apply_meet, &crowd), 0);
            random_spin(&random, 60);
        }
        for (unsigned k = 0; k < TOGETHER; k++) pthread_join(thread[k], NULL);
        assert_int_equal(counted(&crowd.wrong), 0);
        nap(1e-6 * random_below(&random, 200));
    }
    dist_pool_free(&crowd.pool);
}
