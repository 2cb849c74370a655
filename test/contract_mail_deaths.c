/* contract_mail_deaths.c - jobs of one item in a pool of processes whose workers, or whose maker of
 * workers, are killed or stopped. */
#define _GNU_SOURCE
#include "contract_mail.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ deaths among thousands */

static _Atomic(unsigned) *all_runs; /* shared */

static int count_run(void *result, const void *item, void *ctx) {
    (void)ctx;
    unsigned i = *(const unsigned *)item;
    count(&all_runs[i]);
    *(unsigned *)result = 3 * i;
    if (i % 1000 == 7) raise(i % 2000 == 7 ? SIGKILL : SIGSEGV);
    return 0;
}

struct killer {
    dist_pool *pool;
    _Atomic(unsigned) stop, kills;
    bool nursery;
};

static void *kill_workers(void *arg) {
    struct killer *killer = arg;
    uint32_t random = 77;
    while (!counted(&killer->stop)) {
        pid_t pid = 0;
        nap(1e-6 * random_below(&random, killer->nursery ? 40000 : 4000));
        if (dist_apply(own_pid, (int *)NULL, &pid, .pool = killer->pool)) continue;
        pid_t nursery = nursery_of(pid); /* none: it has died, and its pid may be another's */
        if (nursery && kill(killer->nursery ? nursery : pid, SIGKILL) == 0) count(&killer->kills);
    }
    return NULL;
}

static void jobs_and_kills(unsigned n, unsigned workers, bool nursery) {
    all_runs = shared_memory(n * sizeof *all_runs);
    DIST_SCOPED_POOL *pool = open_pool(workers);
    struct killer killer = {.pool = pool, .nursery = nursery};
    dist_job **job = calloc(n, sizeof(dist_job *));
    unsigned *in = calloc(n, sizeof *in), *out = calloc(n, sizeof *out), crashed = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, kill_workers, &killer), 0);
    for (unsigned i = 0; i < n; i++) {
        in[i] = i, out[i] = 1;
        job[i] = dist_apply_async(count_run, &in[i], &out[i], .pool = pool);
        assert_non_null(job[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        dist_status status = dist_job_finish(&job[i]);
        unsigned ran = counted(&all_runs[i]);
        crashed += status == DIST_CRASHED;
        if (status == DIST_OK) assert_true(out[i] == 3 * i && ran == 1 && i % 1000 != 7);
        else assert_true(status == DIST_CRASHED && out[i] == 1 && ran <= 1);
    }
    count(&killer.stop);
    pthread_join(thread, NULL);
    assert_true(crashed <= n / 1000 + 1 + (nursery ? workers : 1) * counted(&killer.kills));
    free(job);
    free(in);
    free(out);
}

MAIL_CASE("G-01", workers_are_killed_among_a_hundred_thousand_jobs) {
    for (unsigned r = 0; again(r, rounds(6, 6)); r++) jobs_and_kills(100000, 3, false);
}

MAIL_CASE("G-01", the_maker_of_workers_is_killed_among_thousands_of_jobs) {
    for (unsigned r = 0; again(r, rounds(6, 6)); r++) jobs_and_kills(50000, 3, true);
}

/* ------------------------------------------------------------------ before it begins */

/* Dies as often as *left says. */
static int die_in_init(void **state, unsigned worker, void *user) {
    (void)worker;
    _Atomic(unsigned) *left = user;
    if (counted(left) && atomic_fetch_sub(left, 1) > 0) raise(SIGSEGV);
    *state = user;
    return 0;
}

MAIL_CASE("G-01", an_item_is_run_though_workers_die_in_their_init) {
    _Atomic(unsigned) *left = shared_memory(sizeof *left);
    for (unsigned deaths = 1; deaths < 6; deaths++) {
        atomic_store(left, deaths);
        DIST_SCOPED_POOL *pool = dist_pool_open(.executor = X, .workers = 1,
                                                .worker_init = die_in_init, .user = (void *)left);
        int one = 1, out = 0;
        dist_job *job = dist_apply_async(add_one, &one, &out, .pool = pool);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
        assert_int_equal(out, 2);
        assert_int_equal(counted(left), 0);
    }
}

MAIL_CASE("M-03", an_item_ends_where_all_workers_die_in_their_init) {
    _Atomic(unsigned) *left = shared_memory(sizeof *left);
    atomic_store(left, 1u << 30);
    DIST_SCOPED_POOL *pool = dist_pool_open(.executor = X, .workers = 2, .worker_init = die_in_init,
                                            .user = (void *)left);
    for (int r = 0; r < 2; r++) {
        int one = 1, out = 5;
        dist_error error;
        assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool, .error = &error),
                         DIST_CRASHED);
        assert_non_null(strstr(error.message, "before they run anything"));
        assert_int_equal(out, 5);
    }
    atomic_store(left, 0);
    int one = 1, out = 5;
    assert_int_equal(dist_apply(add_one, &one, &out, .pool = pool), DIST_OK);
    assert_int_equal(out, 2);
}

/* ------------------------------------------------------------------ stopped, and nobody there */

enum waits { BY_JOB, BY_ANY, BY_POOL, WAYS };

static dist_status wait_by(enum waits way, dist_pool *pool, dist_job **job) {
    if (way == BY_ANY) assert_int_equal(dist_job_wait_any(job, 1, DIST_FOREVER), 0);
    if (way == BY_POOL) assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
    return dist_job_finish(job);
}

/* The nursery is killed, or stopped and its workers are killed: whoever waits sees to it. */
MAIL_CASE("G-01", whoever_waits_for_mail_has_workers_made) {
    new_gate();
    for (int r = 0; r < 2 * WAYS; r++) {
        DIST_SCOPED_POOL *pool = open_pool(2);
        pid_t pid = 0;
        int one = 1, out[2] = {5, 5};
        assert_int_equal(dist_apply(own_pid, (int *)NULL, &pid, .pool = pool), DIST_OK);
        pid_t nursery = nursery_of(pid);
        assert_true(nursery > 1);
        atomic_store(begun, 0);
        dist_job *job[2];
        for (int k = 0; k < 2; k++)
            job[k] = dist_apply_async(pass_gate, &one, &out[k], .pool = pool);
        assert_true(reaches(begun, 2));
        dist_job *last = dist_apply_async(own_pid, (int *)NULL, &pid, .pool = pool);
        assert_int_equal(kill(nursery, r < WAYS ? SIGKILL : SIGSTOP), 0);
        if (r >= WAYS)
            for (pid_t worker = 2; worker < nursery + 1000; worker++)
                if (nursery_of(worker) == nursery) kill(worker, SIGKILL);
        for (int k = 0; k < 2; k++)
            assert_int_equal(wait_by((enum waits)(r % WAYS), pool, &job[k]), DIST_CRASHED);
        assert_int_equal(wait_by((enum waits)(r % WAYS), pool, &last), DIST_OK);
        assert_int_equal(out[0], 5);
    }
}

MAIL_CASE("G-01", a_worker_that_was_stopped_holds_up_its_own_item_alone) {
    uint32_t random = random_seed();
    DIST_SCOPED_POOL *pool = open_pool(2);
    for (unsigned r = 0, wanted = rounds(100, 30); again(r, wanted); r++) {
        enum { JOBS = 40 };
        int in[JOBS], out[JOBS];
        pid_t pid = 0;
        dist_job *job[JOBS];
        assert_int_equal(dist_apply(own_pid, (int *)NULL, &pid, .pool = pool), DIST_OK);
        random_spin(&random, 20);
        kill(pid, SIGSTOP);
        for (int i = 0; i < JOBS; i++) {
            in[i] = i;
            job[i] = dist_apply_async(add_one, &in[i], &out[i], .pool = pool);
        }
        unsigned open = JOBS;
        for (double limit = now() + 20; open > 1 && now() < limit;) {
            open = 0;
            for (int i = 0; i < JOBS; i++) open += dist_job_state(job[i]) == DIST_RUNNING;
            dist_job_wait(job[JOBS - 1], 0.25);
        }
        assert_true(open <= 1);
        kill(pid, SIGCONT);
        for (int i = 0; i < JOBS; i++) {
            assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
            assert_int_equal(out[i], i + 1);
        }
    }
}

/* ------------------------------------------------------------------ forks */

struct inherited {
    dist_pool *pool;
    dist_job *runs, *ended;
};

static void use_in_child(void *arg) {
    struct inherited *all = arg;
    int one = 1, out = 5;
    assert_null(dist_apply_async(add_one, &one, &out, .pool = all->pool));
    assert_int_equal(dist_last_error()->status, DIST_UNSUPPORTED);
    dist_job *both[] = {all->runs, all->ended};
    for (int k = 0; k < 2; k++) {
        dist_event event;
        assert_int_equal(dist_job_state(both[k]), DIST_UNSUPPORTED);
        assert_int_equal(dist_job_wait(both[k], DIST_FOREVER), DIST_UNSUPPORTED);
        assert_int_equal(dist_job_next(both[k], &event, DIST_FOREVER), DIST_UNSUPPORTED);
        assert_int_equal(dist_job_cancel(both[k], true), DIST_UNSUPPORTED);
    }
    assert_int_equal(dist_job_wait_any(both, 2, DIST_FOREVER), 2);
    assert_int_equal(dist_job_detach(&both[0]), DIST_UNSUPPORTED);
    assert_int_equal(dist_job_finish(&both[1]), DIST_UNSUPPORTED);
    assert_int_equal(dist_pool_wait(all->pool, DIST_FOREVER), DIST_UNSUPPORTED);
}

MAIL_CASE("G-03", a_forked_child_cannot_use_the_jobs_of_its_parent) {
    new_gate();
    struct inherited all = {.pool = open_pool(2)};
    int in[2] = {1, 2}, out[2] = {0};
    all.ended = dist_apply_async(add_one, &in[0], &out[0], .pool = all.pool);
    assert_int_equal(dist_job_wait(all.ended, DIST_FOREVER), DIST_OK);
    all.runs = dist_apply_async(pass_gate, &in[1], &out[1], .pool = all.pool);
    assert_true(reaches(begun, 1));
    assert_int_equal(in_child(use_in_child, &all), 0);
    count(gate);
    assert_int_equal(dist_job_finish(&all.runs), DIST_OK);
    assert_int_equal(dist_job_finish(&all.ended), DIST_OK);
    assert_int_equal(out[0], 2);
    assert_int_equal(out[1], 3);
    dist_pool_free(&all.pool);
}
