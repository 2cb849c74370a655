/* contract_report.c - what is told of every kind of failure: which item, its name, and why. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { FINE, FAILS, RETURNS, IS_KILLED, EXITS, KINDS };

static const char *const names[] = {"fine", "fails", "returns", "is killed", "exits",
                                    NULL,   "f1",    "r1",      "k1",        "e1"};
static int items[10];

static int end_somehow(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 1;
    switch (*(const int *)item % KINDS) {
    case FAILS: return dist_fail(ENOENT, "no file %d", *(const int *)item);
    case RETURNS: return 7;
    case IS_KILLED: return X == DIST_PROCESS ? raise(SIGSEGV) : dist_fail(1, "SIGSEGV");
    case EXITS:
        if (X == DIST_PROCESS) _exit(3);
        return dist_fail(3, "3");
    default: return 0;
    }
}

static void check_failure(const dist_error *e, size_t index) {
    int kind = (int)index % KINDS;
    bool crashed = X == DIST_PROCESS && kind >= IS_KILLED;
    static const char *const said[KINDS] = {"", "no file", "7", "SIGSEGV", "3"};
    assert_int_equal(e->status, crashed ? DIST_CRASHED : DIST_FAILED);
    assert_int_equal(e->index, index);
    assert_ptr_equal(e->item, &items[index]);
    assert_ptr_equal(e->name, names[index]);
    assert_int_equal(e->attempts, 1);
    assert_int_equal(e->signal, crashed && kind == IS_KILLED ? SIGSEGV : 0);
    assert_int_equal(e->exit_code, crashed && kind == EXITS ? 3 : 0);
    assert_non_null(strstr(e->message, said[kind]));
}

CASE("G-12", every_kind_of_failure_tells_which_item_it_was) {
    int out[10];
    dist_job *job;
    for (int i = 0; i < 10; i++) items[i] = i;
    for (unsigned workers = 1; workers < 4; workers++) {
        assert_int_equal(dist_map(end_somehow, items, 10, out, .executor = X, .workers = workers,
                                  .names = names, .silent = true, .job = &job),
                         DIST_OK);
        assert_int_equal(dist_job_failures(job), 8);
        for (size_t i = 0, k = 0; i < 10; i++) {
            if (i % KINDS == FINE) continue;
            check_failure(dist_job_failure_at(job, k++), i);
            check_failure(dist_job_outcome(job, i), i);
        }
        dist_job_finish(&job);
    }
}

CASE("G-12", the_failure_of_the_call_tells_which_item_it_was) {
    int out[10];
    for (int i = 0; i < 10; i++) items[i] = i;
    for (int first = 1; first < KINDS; first++) {
        dist_error e;
        dist_status status = dist_map(end_somehow, items + first, (size_t)(10 - first), out,
                                      .executor = X, .workers = 2, .error = &e);
        assert_int_equal(status, e.status);
        assert_memory_equal(&e, dist_last_error(), sizeof e);
        assert_ptr_equal(e.item, &items[first]);
        e.index += (size_t)first;
        e.name = names[first];
        check_failure(&e, (size_t)first);
    }
}

CASE("G-12", an_item_that_never_started_is_told_of_too) {
    int out[10] = {0};
    dist_job *job;
    for (int i = 0; i < 10; i++) items[i] = i;
    assert_int_equal(dist_map(end_somehow, items, 10, out, .executor = X, .workers = 1, .chunk = 1,
                              .names = names, .job = &job),
                     DIST_FAILED);
    for (size_t i = 2; i < 10; i++) {
        const dist_error *e = dist_job_outcome(job, i);
        assert_int_equal(e->status, DIST_SKIPPED);
        assert_int_equal(e->index, i);
        assert_ptr_equal(e->item, &items[i]);
        assert_ptr_equal(e->name, names[i]);
        assert_int_equal(e->attempts, 0);
        assert_int_equal(out[i], 0);
    }
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}
