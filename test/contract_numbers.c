/* contract_numbers.c - times and rates that are none are refused, before anything runs. */
#include "contract.h"
#include "contract_kinds.h"
#include "contract_tools.h"

#include <float.h>
#include <math.h>
#include <string.h>

static _Atomic(unsigned) *ran;

static int task(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    count(ran);
    *(int *)result = 9;
    return 0;
}

/* All kinds of call refuse the options, say so, and name what is wrong. */
static void assert_refused(const dist_opts *opts, const char *named) {
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        int out[5] = {-1, -1, -1, -1, -1};
        dist_job *job = (dist_job *)(uintptr_t)0xdead;
        dist_error error;
        dist_opts own = *opts;
        if (!ran) ran = shared_memory(sizeof *ran);
        own.job = &job;
        own.error = &error;
        assert_int_equal(call_kind(kind, task, 5, out, &own), DIST_INVALID);
        assert_int_equal(error.status, DIST_INVALID);
        assert_null(job);
        const char *message = dist_last_error()->message;
        if (!strstr(message, named)) fail_msg("\"%s\" does not name %s", message, named);
        assert_int_equal(counted(ran), 0);
        for (int i = 0; i < 5; i++) assert_int_equal(out[i], -1);
    }
}

static const double wrong[] = {-1, -1e-9, -DBL_MIN, -1e300, -INFINITY, NAN};

CASE("G-15", times_that_are_negative_or_no_number_are_refused) {
    for (size_t k = 0; k < N(wrong); k++) {
        assert_refused(DIST_OPTS(.executor = X, .timeout = wrong[k]), "timeout");
        assert_refused(DIST_OPTS(.executor = X, .task_timeout = wrong[k]), "task_timeout");
        assert_refused(DIST_OPTS(.executor = X, .backoff = wrong[k]), "backoff");
        assert_refused(DIST_OPTS(.executor = X, .backoff = wrong[k], .retries = 2), "backoff");
        assert_refused(DIST_OPTS(.executor = X, .rate = wrong[k]), "rate");
    }
}

CASE("G-15", a_task_of_par_with_a_wrong_time_is_refused) {
    if (!ran) ran = shared_memory(sizeof *ran);
    for (size_t k = 0; k < N(wrong); k++) {
        int out[3];
        dist_task tasks[3] = {DIST_TASK("a", task, numbers(), &out[0]),
                              DIST_TASK("b", task, numbers(), &out[1]),
                              DIST_TASK("c", task, numbers(), &out[2])};
        tasks[1].timeout = wrong[k];
        assert_int_equal(dist_par(tasks, 3, .executor = X), DIST_INVALID);
        assert_non_null(strstr(dist_last_error()->message, "tasks[1].timeout"));
    }
    assert_int_equal(counted(ran), 0);
}

CASE("G-15", no_limit_may_be_written_as_infinity) {
    if (!ran) ran = shared_memory(sizeof *ran);
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        int out[5];
        assert_int_equal(
            call_kind(kind, task, 5, out,
                      DIST_OPTS(.executor = X, .timeout = INFINITY, .task_timeout = INFINITY)),
            DIST_OK);
    }
    int out;
    dist_task tasks[1] = {DIST_TASK("a", task, numbers(), &out)};
    tasks[0].timeout = INFINITY;
    assert_int_equal(dist_par(tasks, 1, .executor = X), DIST_OK);
}

static bool always(const dist_error *e, void *user) {
    (void)e, (void)user;
    return true;
}

CASE("G-15", what_has_no_effect_is_no_error) {
    if (!ran) ran = shared_memory(sizeof *ran);
    for (enum kind kind = MAP; kind < KINDS; kind++) {
        int out[5];
        assert_int_equal(
            call_kind(kind, task, 5, out,
                      DIST_OPTS(.executor = X, .retry_if = always, .backoff = 1, .user = out,
                                .timeout = 0, .task_timeout = 0, .rate = 0)),
            DIST_OK);
        assert_int_equal(
            call_kind(kind, task, 5, out, DIST_OPTS(.executor = X, .retries = UINT32_MAX)),
            DIST_OK);
        if (kind != PAR) /* there it is refused */
            assert_int_equal(
                call_kind(kind, task, 5, out, DIST_OPTS(.executor = X, .abandon = true)), DIST_OK);
    }
}
