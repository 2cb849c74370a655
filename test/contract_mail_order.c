/* contract_mail_order.c - jobs of one item in a pool of processes begin in their order, whichever
 * way they go, and calls have their turn among them. */
#define _GNU_SOURCE
#include "contract_mail.h"

static int nap_us(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    nap(1e-6 * *(const int *)item);
    return 0;
}

static _Atomic(unsigned) *order; /* shared */

static int note_order(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(unsigned *)result = atomic_fetch_add(order, 1);
    return 0;
}

MAIL_CASE("M-01", jobs_of_one_item_start_in_their_order) {
    enum { JOBS = 500 };
    order = shared_memory(sizeof *order);
    DIST_SCOPED_POOL *pool = open_pool(1);
    unsigned out[JOBS];
    dist_job *job[JOBS];
    for (unsigned i = 0; i < JOBS; i++)
        job[i] = dist_apply_async(note_order, (int *)NULL, &out[i], .pool = pool);
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
        assert_int_equal(out[i], i);
    }
}

/* Whatever its options are, and so whichever way it goes. */
MAIL_CASE("M-01", jobs_of_all_kinds_start_in_their_order) {
    enum { JOBS = 60 };
    uint32_t random = random_seed();
    order = shared_memory(sizeof *order);
    new_gate();
    DIST_SCOPED_POOL *pool = open_pool(1);
    for (unsigned r = 0, wanted = rounds(60, 30); again(r, wanted); r++) {
        unsigned out[JOBS];
        int first = 0, passed = 0;
        dist_job *job[JOBS], *head = NULL;
        atomic_store(order, 0);
        atomic_store(gate, r % 2);
        if (r % 3) head = dist_apply_async(pass_gate, &first, &passed, .pool = pool);
        for (unsigned i = 0; i < JOBS; i++) {
            double limit = random_below(&random, 4) ? 0 : 1000; /* somebody has to look after it */
            job[i] =
                dist_apply_async(note_order, (int *)NULL, &out[i], .pool = pool, .timeout = limit);
            assert_non_null(job[i]);
            random_spin(&random, 5);
        }
        count(gate);
        /* not for one of them: that begins at once then */
        assert_int_equal(dist_pool_wait(pool, DIST_FOREVER), DIST_OK);
        assert_int_equal(dist_job_finish(&head), DIST_OK);
        for (unsigned i = 0; i < JOBS; i++) {
            assert_int_equal(dist_job_finish(&job[i]), DIST_OK);
            assert_int_equal(out[i], i);
        }
    }
}

/* Calls do not wait behind all jobs there are. */
MAIL_CASE("D-15", a_call_has_its_turn_among_thousands_of_jobs) {
    enum { JOBS = 3000 };
    new_gate();
    DIST_SCOPED_POOL *pool = open_pool(2);
    int in[JOBS], out[JOBS], one = 1, result = 0;
    dist_job *job[JOBS];
    for (int i = 0; i < JOBS; i++) {
        in[i] = 2000;
        job[i] = dist_apply_async(nap_us, &in[i], &out[i], .pool = pool);
        assert_non_null(job[i]);
    }
    assert_int_equal(dist_apply(add_one, &one, &result, .pool = pool), DIST_OK);
    assert_int_equal(result, 2);
    assert_int_equal(dist_job_state(job[JOBS / 2]), DIST_RUNNING);
    for (int i = 0; i < JOBS; i++) {
        dist_job_cancel(job[i], false);
        dist_job_finish(&job[i]);
    }
}
