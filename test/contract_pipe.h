/* contract_pipe.h - what the cases about stages share. */
#ifndef DIST_TEST_CONTRACT_PIPE_H
#define DIST_TEST_CONTRACT_PIPE_H

#define CONTRACT_OWN_POOLS
#include "contract.h"
#include "contract_tools.h"

#include <pthread.h>
#include <string.h>

static inline dist_queue *queue(size_t capacity) {
    dist_queue *q = dist_queue_open(.item_size = sizeof(long), .capacity = capacity);
    assert_non_null(q);
    return q;
}

/* Somebody who puts 0, 1, 2 ... and closes, in a thread of its own. */
struct producer {
    dist_queue *to;
    long n;
    bool stays_open;
    dist_status end; /* of the last put */
    long put;
    pthread_t thread;
};

static inline void *produce(void *arg) {
    struct producer *p = arg;
    for (; p->put < p->n && !p->end; p->put += !p->end)
        p->end = dist_queue_put(p->to, &p->put, DIST_FOREVER);
    if (!p->stays_open) dist_queue_close(p->to);
    return NULL;
}

static inline void start_producer(struct producer *p, dist_queue *to, long n) {
    *p = (struct producer){.to = to, .n = n};
    assert_int_equal(pthread_create(&p->thread, NULL, produce, p), 0);
}

static inline void fill(dist_queue *q, long n, bool and_close) {
    for (long i = 0; i < n; i++) assert_int_equal(dist_queue_put(q, &i, 0), DIST_OK);
    if (and_close) dist_queue_close(q);
}

static inline int twice(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (*(long *)result != 0) return 98;
    *(long *)result = 2 * *(const long *)item;
    return 0;
}

static inline int plus_one(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(long *)result = *(const long *)item + 1;
    return 0;
}

/* All that comes, until the queue is closed: f(0), f(1) ... */
static inline long expect_in_order(dist_queue *q, long factor, long offset) {
    long got = 0, x;
    dist_status status;
    while ((status = dist_queue_get(q, &x, 10)) == DIST_OK)
        assert_int_equal(x, factor * got++ + offset);
    assert_int_equal(status, DIST_CLOSED);
    return got;
}

static inline int all_fail(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    return dist_fail(1, "item %ld", *(const long *)item);
}

#endif
