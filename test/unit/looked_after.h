/* looked_after.h - a call that is looked after without a backend: the tests are its workers, and
 * call what a supervisor would call. */
#ifndef DIST_TEST_LOOKED_AFTER_H
#define DIST_TEST_LOOKED_AFTER_H

#include "unit.h"
#include "common/control.h"
#include "common/os.h"

struct call {
    struct dist__batch batch;
    struct dist__control control;
    struct dist__desk *desk;
};

/* So many rings, 0: the caller is the worker. `limit` failures stop the call; 0: none does. */
static inline void open_call(struct call *c, size_t n, unsigned rings, size_t limit,
                             dist_opts opts) {
    c->batch = (struct dist__batch){.kind = DIST__INDICES, .n = n, .workers = rings ? rings : 1};
    dist__outcome_init(&c->batch.outcome, limit, true);
    dist__control_open(&c->control, &c->batch, &opts);
    size_t size = dist__desk_size(rings);
    c->desk = aligned_alloc(64, (size + 63) / 64 * 64);
    assert_non_null(c->desk);
    memset((void *)c->desk, 0, size);
    c->control.desk = c->desk;
    c->control.rings = rings;
    c->batch.control = &c->control;
}

static inline void close_call(struct call *c) {
    dist__control_leave_desk(&c->control);
    dist__control_close(&c->control);
    dist__outcome_free(&c->batch.outcome);
    free(c->desk);
}

/* Items begin..end-1 have failed in their attempt of that number. */
static inline struct dist__note failure(size_t begin, size_t end, unsigned attempts) {
    return (struct dist__note){
        .kind = DIST__FAILED,
        .begin = begin,
        .end = end,
        .error = {.status = DIST_FAILED, .code = 5, .attempts = attempts, .message = "failed"}};
}

static inline void tell_failure(struct call *c, size_t i, unsigned attempts) {
    struct dist__note note = failure(i, i + 1, attempts);
    dist__control_take(&c->control, &note);
}

static inline void sleep_ns(uint64_t ns) {
    nanosleep(
        &(struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)},
        NULL);
}

#endif
