/* contract_mail_jobs.c - jobs of one item in a pool of processes: thousands at a time, and each one
 * a job like any other. */
#define _GNU_SOURCE
#include "contract_mail.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail_some(void *result, const void *item, void *ctx) {
    (void)ctx;
    int i = *(const int *)item;
    *(int *)result = i + 1;
    return i % 3 == 1 ? dist_fail(i, "item %d", i) : 0;
}

/* ------------------------------------------------------------------ many, and how they end */

static void submit_and_finish(unsigned n, unsigned workers) {
    DIST_SCOPED_POOL *pool = open_pool(workers);
    dist_job **job = calloc(n, sizeof(dist_job *));
    int *in = calloc(n, sizeof *in), *out = calloc(n, sizeof *out);
    assert_true(job && in && out);
    for (unsigned i = 0; i < n; i++) {
        in[i] = (int)i;
        job[i] = dist_apply_async(add_one, &in[i], &out[i], .pool = pool);
        assert_non_null(job[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
        assert_null(job[i]);
        assert_int_equal(out[i], i + 1);
    }
    free(job);
    free(in);
    free(out);
}

MAIL_CASE("D-14", a_hundred_thousand_jobs_wait_at_once) {
    submit_and_finish(rounds(100000, 100000), 2);
}

/* More than there is room for on the short way. */
MAIL_CASE("D-14", more_jobs_than_there_are_cells_wait_at_once) {
    submit_and_finish(rounds(133000, 132000), 2);
}

MAIL_CASE("P-41", each_job_of_one_item_ends_for_itself_in_a_pool) {
    enum { JOBS = 300 };
    DIST_SCOPED_POOL *pool = open_pool(2);
    dist_job *job[JOBS];
    dist_error error[JOBS];
    int in[JOBS], out[JOBS];
    for (int i = 0; i < JOBS; i++) {
        in[i] = i, out[i] = -5;
        error[i].status = DIST_OK;
        job[i] = dist_apply_async(fail_some, &in[i], &out[i], .pool = pool, .silent = i % 2,
                                  .error = &error[i]);
        assert_non_null(job[i]);
    }
    for (int i = 0; i < JOBS; i++) {
        bool fails = i % 3 == 1, tells = fails && i % 2 == 0;
        assert_int_equal(dist_job_wait(job[i], DIST_FOREVER), tells ? DIST_FAILED : DIST_OK);
        assert_int_equal(dist_job_state(job[i]), tells ? DIST_FAILED : DIST_OK);
        assert_int_equal(out[i], fails ? -5 : i + 1);
        assert_int_equal(error[i].status, tells ? DIST_FAILED : DIST_OK);
        assert_int_equal(dist_job_failures(job[i]), fails);
        assert_int_equal(dist_job_count(job[i]), 1);
        const dist_error *outcome = dist_job_outcome(job[i], 0);
        assert_int_equal(outcome != NULL, fails);
        if (fails) {
            assert_int_equal(outcome->code, i);
            assert_ptr_equal(outcome->item, &in[i]);
            char text[32];
            snprintf(text, sizeof text, "item %d", i);
            assert_string_equal(outcome->message, text);
            if (tells) assert_string_equal(dist_last_error()->message, text);
        }
        dist_stats stats;
        assert_int_equal(dist_job_stats(job[i], &stats), DIST_OK);
        assert_int_equal(stats.executor, DIST_PROCESS);
        assert_int_equal(dist_job_cancel(job[i], true), DIST_STATE);
        dist_event event;
        assert_int_equal(dist_job_next(job[i], &event, DIST_FOREVER), DIST_OK);
        assert_int_equal(event.error != NULL, fails);
        assert_int_equal(event.failed, fails);
        assert_ptr_equal(event.item, &in[i]);
        if (!fails) assert_ptr_equal(event.result, &out[i]);
        assert_int_equal(dist_job_next(job[i], &event, DIST_FOREVER), DIST_EMPTY);
        assert_int_equal(dist_job_finish(&job[i]), fails ? DIST_FAILED : DIST_OK);
    }
}

MAIL_CASE("P-41", a_job_of_one_item_lands_for_whoever_looks_first) {
    DIST_SCOPED_POOL *pool = open_pool(2);
    for (int i = 0; i < 200; i++) {
        int out = 0;
        dist_job *job = dist_apply_async(add_one, &i, &out, .pool = pool);
        dist_event event;
        switch (i % 6) {
        case 0:
            while (dist_job_state(job) == DIST_RUNNING) continue;
            break;
        case 1: assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK); break;
        case 2: assert_int_equal(dist_job_wait_any(&job, 1, DIST_FOREVER), 0); break;
        case 3: assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK); break;
        case 4:
            while (dist_job_wait(job, 0)) continue;
            break;
        default:
            while (!dist_job_succeeded(job, NULL)) continue;
            break;
        }
        assert_int_equal(out, i + 1);
        assert_int_equal(dist_job_finish(&job), DIST_OK);
    }
}

/* Those who wait for any job are told in another place from the first pool of processes on. */
static _Atomic(unsigned) waiting;

static void *wait_for_any(void *arg) {
    dist_job **job = arg;
    count(&waiting);
    return dist_job_wait_any(job, 2, DIST_FOREVER) < 2 ? job : NULL;
}

MAIL_CASE("P-41", a_wait_for_any_job_goes_on_when_a_pool_is_opened) {
    new_gate();
    int in[2] = {1, 2}, out[2] = {0};
    dist_job *job[2];
    for (int k = 0; k < 2; k++)
        job[k] = dist_apply_async(pass_gate, &in[k], &out[k], .executor = DIST_THREAD);
    pthread_t thread[4];
    void *told;
    for (int k = 0; k < 4; k++)
        assert_int_equal(pthread_create(&thread[k], NULL, wait_for_any, job), 0);
    assert_true(reaches(&waiting, 4));
    nap(0.3); /* all of them sleep */
    dist_pool *pool = open_pool(1);
    count(gate);
    for (int k = 0; k < 4; k++) {
        pthread_join(thread[k], &told);
        assert_ptr_equal(told, job);
    }
    for (int k = 0; k < 2; k++) assert_int_equal(dist_job_finish(&job[k]), DIST_OK);
    dist_pool_free(&pool);
}

static int die_as_told(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 99;
    int how = *(const int *)item;
    if (how > 0) raise(how);
    _exit(-how);
}

MAIL_CASE("G-01", a_job_of_one_item_dies_with_its_worker) {
    static const int ways[] = {SIGKILL, SIGSEGV, -3, SIGABRT, -0};
    DIST_SCOPED_POOL *pool = open_pool(2);
    for (size_t k = 0; k < N(ways); k++) {
        int one = 1, out = 5, second = 5;
        dist_job *job = dist_apply_async(die_as_told, &ways[k], &out, .pool = pool);
        dist_job *well = dist_apply_async(add_one, &one, &second, .pool = pool);
        assert_int_equal(dist_job_wait(job, DIST_FOREVER), DIST_CRASHED);
        assert_int_equal(dist_job_outcome(job, 0)->signal, ways[k] > 0 ? ways[k] : 0);
        assert_int_equal(dist_job_outcome(job, 0)->exit_code, ways[k] < 0 ? -ways[k] : 0);
        assert_int_equal(dist_job_finish(&job), DIST_CRASHED);
        assert_int_equal(dist_job_finish(&well), DIST_OK);
        assert_int_equal(out, 5);
        assert_int_equal(second, 2);
    }
}

/* ------------------------------------------------------------------ waiting for the pool */

MAIL_CASE("P-45", a_pool_waits_for_jobs_that_nobody_looks_at) {
    enum { JOBS = 100 };
    new_gate();
    DIST_SCOPED_POOL *pool = open_pool(2);
    int in[JOBS], out[JOBS] = {0};
    dist_job *job[JOBS];
    for (int i = 0; i < JOBS; i++) {
        in[i] = i;
        job[i] = dist_apply_async(pass_gate, &in[i], &out[i], .pool = pool);
        if (i % 2) assert_int_equal(dist_job_detach(&job[i]), DIST_OK);
    }
    assert_int_equal(dist_pool_wait(pool, 0.05), DIST_TIMEOUT);
    assert_int_equal(dist_job_wait(job[0], 0.01), DIST_TIMEOUT);
    assert_int_equal(dist_job_wait_any(job, JOBS, 0.01), JOBS);
    assert_int_equal(dist_job_state(job[JOBS - 2]), DIST_RUNNING);
    count(gate);
    assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
    for (int i = 0; i < JOBS; i++) assert_int_equal(out[i], i + 1);
    for (int i = 0; i < JOBS; i += 2) assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
}

MAIL_CASE("P-45", a_job_that_was_given_up_brings_its_result) {
    if (THREAD_SANITIZED) skip(); /* nothing but the result itself tells of the end */
    DIST_SCOPED_POOL *pool = open_pool(2);
    int in = 4;
    _Atomic(int) out = 0;
    for (int i = 0; i < 100; i++) {
        atomic_store(&out, 0);
        dist_job *job =
            dist_apply_async_fn(add_one, &in, sizeof in, &out, sizeof out, DIST_OPTS(.pool = pool));
        assert_int_equal(dist_job_detach(&job), DIST_OK);
        for (double start = now(); atomic_load(&out) != 5 && now() < start + 10;) nap(0.0001);
        assert_int_equal(atomic_load(&out), 5);
    }
}

/* A pool's wait hears of jobs that were started while it was not looking. */
static void *start_jobs(void *arg) {
    dist_pool *pool = arg;
    static int in = 1, out;
    uint32_t random = 5;
    for (int i = 0; i < 2000; i++) {
        dist_job *job = dist_apply_async(add_one, &in, &out, .pool = pool);
        random_spin(&random, 3);
        if (random_below(&random, 2)) dist_apply(add_one, &in, (int *)NULL, .pool = pool);
        dist_pool_wait(pool, DIST_FOREVER);
        if (dist_job_state(job) == DIST_RUNNING) return pool;
        dist_job_finish(&job);
    }
    return NULL;
}

MAIL_CASE("P-45", several_wait_for_a_pool_while_jobs_are_started) {
    DIST_SCOPED_POOL *pool = open_pool(2);
    pthread_t thread[3];
    for (int k = 0; k < 3; k++)
        assert_int_equal(pthread_create(&thread[k], NULL, start_jobs, pool), 0);
    for (int k = 0; k < 3; k++) {
        void *wrong;
        pthread_join(thread[k], &wrong);
        assert_null(wrong);
    }
}

MAIL_CASE("M-22", jobs_outlive_their_pool) {
    enum { JOBS = 50 };
    int in[JOBS], out[JOBS] = {0};
    dist_job *job[JOBS];
    for (int r = 0; r < 10; r++) {
        dist_pool *pool = open_pool(2);
        for (int i = 0; i < JOBS; i++) {
            in[i] = i;
            job[i] = dist_apply_async(fail_some, &in[i], &out[i], .pool = pool);
        }
        dist_pool_free(&pool);
        assert_null(pool);
        for (int i = 0; i < JOBS; i++) {
            assert_int_equal(dist_job_state(job[i]), i % 3 == 1 ? DIST_FAILED : DIST_OK);
            assert_int_equal(out[i], i % 3 == 1 ? 0 : i + 1);
            assert_int_equal(dist_job_finish(&job[i]), i % 3 == 1 ? DIST_FAILED : DIST_OK);
        }
    }
}

MAIL_CASE("M-19", jobs_of_one_item_in_a_closed_pool_end_and_more_are_refused) {
    new_gate();
    DIST_SCOPED_POOL *pool = open_pool(1);
    int in[3] = {0, 1, 2}, out[3] = {0};
    dist_job *job[3];
    for (int i = 0; i < 3; i++) job[i] = dist_apply_async(pass_gate, &in[i], &out[i], .pool = pool);
    assert_int_equal(dist_pool_close(pool), DIST_OK);
    assert_null(dist_apply_async(add_one, &in[0], &out[0], .pool = pool));
    assert_int_equal(dist_last_error()->status, DIST_CLOSED);
    count(gate);
    assert_int_equal(dist_pool_join(pool, DIST_FOREVER), DIST_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(out[i], i + 1);
        assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
    }
}

/* ------------------------------------------------------------------ cancelling */

static void note_signal(int number) {
    (void)number;
    count(begun);
}

static int never_return(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 99;
    if (*(const int *)item) signal(SIGTERM, note_signal); /* and it goes on */
    count(begun);
    for (;;) nap(1);
    return 0;
}

MAIL_CASE("P-48", a_job_of_one_item_is_cancelled_before_and_while_it_runs) {
    new_gate();
    DIST_SCOPED_POOL *pool = open_pool(1);
    for (int r = 0; r < 6; r++) {
        atomic_store(begun, 0);
        int in[3] = {r % 2, 1, 2}, out[3] = {5, 5, 5};
        dist_job *runs = dist_apply_async(never_return, &in[0], &out[0], .pool = pool);
        dist_job *waits = dist_apply_async(add_one, &in[1], &out[1], .pool = pool);
        dist_job *last = dist_apply_async(add_one, &in[2], &out[2], .pool = pool);
        assert_true(reaches(begun, 1));
        assert_int_equal(dist_job_cancel(waits, false), DIST_OK);
        assert_int_equal(dist_job_state(waits), DIST_CANCELLED);
        assert_int_equal(dist_job_wait(waits, 0), DIST_CANCELLED);
        assert_int_equal(dist_job_outcome(waits, 0)->status, DIST_SKIPPED);
        assert_int_equal(dist_job_cancel(waits, false), DIST_OK);
        assert_int_equal(dist_job_cancel(runs, false), DIST_RUNNING);
        assert_int_equal(dist_job_state(runs), DIST_RUNNING);
        assert_int_equal(dist_job_cancel(runs, true), DIST_OK);
        assert_int_equal(dist_job_wait(runs, DIST_FOREVER), DIST_CANCELLED);
        assert_int_equal(counted(begun), 1 + r % 2);
        assert_int_equal(dist_job_cancel(runs, true), DIST_OK);
        assert_int_equal(dist_job_outcome(runs, 0)->status, DIST_CANCELLED);
        assert_int_equal(dist_job_finish(&runs), DIST_CANCELLED);
        assert_int_equal(dist_job_finish(&waits), DIST_CANCELLED);
        assert_int_equal(dist_job_finish(&last), DIST_OK);
        assert_int_equal(out[0], 5);
        assert_int_equal(out[1], 5);
        assert_int_equal(out[2], 3);
    }
}

static int stay_until_told(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    signal(SIGTERM, SIG_IGN);
    count(begun);
    while (!dist_cancelled()) continue;
    *(int *)result = 99;
    return 0;
}

MAIL_CASE("P-48", a_job_that_returns_when_it_is_cancelled_costs_no_other_its_worker) {
    enum { BEHIND = 20 };
    new_gate();
    DIST_SCOPED_POOL *pool = open_pool(1);
    for (unsigned r = 0; r < 5; r++) {
        int in = 1, out = 5, behind[BEHIND];
        dist_job *job[BEHIND], *told = dist_apply_async(stay_until_told, &in, &out, .pool = pool);
        assert_true(reaches(begun, r + 1));
        for (int i = 0; i < BEHIND; i++)
            job[i] = dist_apply_async(add_one, &in, &behind[i], .pool = pool);
        assert_int_equal(dist_job_cancel(told, true), DIST_OK);
        assert_int_equal(dist_job_wait(told, 10), DIST_CANCELLED);
        assert_int_equal(out, 5);
        assert_int_equal(dist_job_finish(&told), DIST_CANCELLED);
        for (int i = 0; i < BEHIND; i++) {
            assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
            assert_int_equal(behind[i], 2);
        }
    }
}

MAIL_CASE("P-48", jobs_are_cancelled_in_any_moment) {
    enum { JOBS = 64 };
    uint32_t random = random_seed();
    DIST_SCOPED_POOL *pool = open_pool(2);
    for (unsigned r = 0, wanted = rounds(300, 300); again(r, wanted); r++) {
        int in[JOBS], out[JOBS];
        dist_job *job[JOBS];
        dist_status said[JOBS];
        for (int i = 0; i < JOBS; i++) {
            in[i] = i, out[i] = -5;
            job[i] = dist_apply_async(add_one, &in[i], &out[i], .pool = pool);
        }
        for (int i = 0; i < JOBS; i++) {
            random_spin(&random, 2);
            bool too = random_below(&random, 20) == 0;
            said[i] = dist_job_cancel(job[i], too);
            if (too && said[i] == DIST_RUNNING) fail_msg("DIST_RUNNING");
        }
        for (int i = 0; i < JOBS; i++) {
            dist_status status = dist_job_finish(&job[i]);
            if (said[i] == DIST_OK) assert_int_equal(status, DIST_CANCELLED);
            else assert_int_equal(status, DIST_OK);
            assert_int_equal(out[i], status ? -5 : i + 1);
        }
    }
}

MAIL_CASE("M-20", a_terminated_pool_cancels_jobs_of_one_item) {
    enum { JOBS = 40 };
    for (int deaf = 0; deaf < 2; deaf++) {
        new_gate();
        dist_pool *pool = open_pool(2);
        int out[JOBS];
        dist_job *job[JOBS];
        for (int i = 0; i < JOBS; i++) {
            out[i] = 5;
            job[i] = dist_apply_async(never_return, &deaf, &out[i], .pool = pool);
        }
        assert_true(reaches(begun, 2));
        assert_int_equal(dist_pool_terminate(pool), DIST_OK);
        assert_int_equal(dist_pool_join(pool, 30), DIST_OK);
        dist_pool_free(&pool);
        for (int i = 0; i < JOBS; i++) {
            assert_int_equal(dist_job_state(job[i]), DIST_CANCELLED);
            assert_int_equal(dist_job_finish(&job[i]), DIST_CANCELLED);
            assert_int_equal(out[i], 5);
        }
        assert_int_equal(counted(begun), deaf ? 4 : 2);
    }
}
