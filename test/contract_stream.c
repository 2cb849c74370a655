/* contract_stream.c - dist_stream: items that are read one by one. */
#include "contract.h"
#include "contract_tools.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A source of 0, 1, 2 ... and a sink that keeps what it receives; both see how far they are apart.
 */
static struct flow {
    size_t n, read, got, failed, most_apart;
    size_t enough;       /* items that the sink wants; 0: all */
    size_t source_fails; /* at this item; 0: never */
    size_t index[4096];
    long result[4096];
    dist_status status[4096];
    char message[160];
    double pause; /* of the sink */
} flow;

static void begin(size_t n) { flow = (struct flow){.n = n}; }

static bool next(void *item, void *source) {
    assert_ptr_equal(source, &flow);
    if (flow.source_fails && flow.read == flow.source_fails) {
        dist_fail(7, "the source is dry at %zu", flow.read);
        return false;
    }
    if (flow.read == flow.n) return false;
    *(long *)item = (long)flow.read++;
    if (flow.read - flow.got > flow.most_apart) flow.most_apart = flow.read - flow.got;
    return true;
}

static bool keep(const dist_event *event, void *user) {
    assert_ptr_equal(user, &flow);
    assert_int_equal(event->total, SIZE_MAX);
    assert_int_equal(event->done, flow.got + 1);
    assert_int_equal(*(const long *)event->item, event->index);
    size_t k = flow.got++ % N(flow.index);
    flow.index[k] = event->index;
    flow.status[k] = event->error ? event->error->status : DIST_OK;
    flow.result[k] = event->result ? *(const long *)event->result : -1;
    flow.failed += event->error != NULL;
    assert_int_equal(event->failed, flow.failed);
    if (event->error) {
        assert_null(event->result);
        assert_int_equal(event->worker, event->error->worker);
        assert_int_equal(event->error->index, event->index);
        assert_ptr_equal(event->error->item, event->item);
        memcpy(flow.message, event->error->message, sizeof flow.message);
    }
    if (flow.pause > 0) nap(flow.pause);
    return flow.got != flow.enough;
}

#define STREAM(fn, ...)                                                                            \
    dist_stream(fn, long, long, next, &flow, keep, .executor = X, .user = &flow, __VA_ARGS__)

static int twice(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (dist_index() != (size_t) * (const long *)item) return 99;
    if (*(long *)result != 0) return 98;
    *(long *)result = 2 * *(const long *)item;
    return 0;
}

static void assert_delivered(size_t n) {
    assert_int_equal(flow.got, n);
    for (size_t k = 0; k < n && k < N(flow.index); k++) {
        assert_int_equal(flow.index[k], k);
        assert_int_equal(flow.status[k], DIST_OK);
        assert_int_equal(flow.result[k], 2 * k);
    }
}

CASE("D-20", a_stream_delivers_in_order) {
    for (size_t n = 0; n < 70; n = 2 * n + 1) {
        begin(n);
        assert_int_equal(STREAM(twice, .workers = 3), DIST_OK);
        assert_delivered(n);
    }
    begin(2000);
    assert_int_equal(STREAM(twice, .workers = 2, .in_flight = 500), DIST_OK);
    assert_delivered(2000);
    begin(300);
    assert_int_equal(STREAM(twice, .in_flight = 100, .chunk = 1), DIST_OK);
    assert_delivered(300);
}

static int slow_first(void *result, const void *item, void *ctx) {
    if (*(const long *)item == 0) nap(0.15);
    return twice(result, item, ctx);
}

CASE("D-20", a_stream_waits_for_a_slow_item_to_keep_the_order) {
    begin(20);
    assert_int_equal(STREAM(slow_first, .workers = 3, .in_flight = 6), DIST_OK);
    assert_delivered(20);
}

CASE_ON("M-17", an_unordered_stream_does_not, ON_THREAD | ON_PROCESS, 20) {
    begin(20);
    assert_int_equal(STREAM(slow_first, .workers = 3, .in_flight = 6, .unordered = true), DIST_OK);
    assert_int_equal(flow.got, 20);
    assert_int_not_equal(flow.index[0], 0);
    bool seen[20] = {false};
    for (size_t k = 0; k < 20; k++) seen[flow.index[k]] = true;
    for (size_t k = 0; k < 20; k++) assert_true(seen[k]);
}

CASE("M-18", a_stream_reads_no_further_ahead_than_in_flight) {
    static const size_t limits[] = {1, 2, 7, 64, 1000};
    for (size_t k = 0; k < N(limits); k++) {
        begin(3000);
        assert_int_equal(STREAM(twice, .workers = 2, .in_flight = limits[k]), DIST_OK);
        assert_delivered(3000);
        assert_true(flow.most_apart <= limits[k]);
    }
    begin(100);
    assert_int_equal(STREAM(twice, .workers = 3), DIST_OK);
    assert_true(flow.most_apart <= 6);
}

CASE("G-16", a_slow_sink_stops_the_source) {
    begin(40);
    flow.pause = 0.002;
    assert_int_equal(STREAM(twice, .workers = 2, .in_flight = 5), DIST_OK);
    assert_delivered(40);
    assert_true(flow.most_apart <= 5);
}

CASE("M-18", a_sink_that_has_enough_ends_an_endless_stream) {
    static const size_t limits[] = {0, 3, 200};
    for (size_t k = 0; k < N(limits); k++) {
        begin(SIZE_MAX);
        flow.enough = 5;
        assert_int_equal(STREAM(twice, .workers = 2, .in_flight = limits[k]), DIST_CANCELLED);
        assert_delivered(5);
        assert_true(flow.read <= 5 + (limits[k] ? limits[k] : 4));
    }
}

static int odd_fails(void *result, const void *item, void *ctx) {
    if (*(const long *)item % 10 == 7) return dist_fail(3, "item %ld", *(const long *)item);
    return twice(result, item, ctx);
}

CASE("M-14", a_failed_item_is_the_last_one_delivered) {
    static const size_t limits[] = {1, 4, 300};
    for (size_t k = 0; k < N(limits); k++) {
        begin(1000);
        assert_int_equal(STREAM(odd_fails, .workers = 2, .in_flight = limits[k]), DIST_FAILED);
        assert_int_equal(flow.got, 8);
        assert_int_equal(flow.status[7], DIST_FAILED);
        assert_string_equal(flow.message, "item 7");
        assert_int_equal(dist_last_error()->index, 7);
        assert_int_equal(dist_last_error()->code, 3);
        assert_string_equal(dist_last_error()->message, "item 7");
    }
}

CASE("M-14", a_silent_stream_goes_on) {
    begin(100);
    assert_int_equal(STREAM(odd_fails, .workers = 2, .in_flight = 40, .silent = true), DIST_OK);
    assert_int_equal(flow.got, 100);
    for (size_t k = 0; k < 100; k++)
        assert_int_equal(flow.status[k], k % 10 == 7 ? DIST_FAILED : DIST_OK);
}

CASE("P-34", a_stream_stops_after_max_failures) {
    dist_error error;
    begin(1000);
    assert_int_equal(STREAM(odd_fails, .workers = 2, .in_flight = 40, .silent = true,
                            .max_failures = 3, .error = &error),
                     DIST_FAILED);
    assert_int_equal(flow.got, 28);
    assert_int_equal(error.index, 7);
}

CASE("M-16", a_source_that_fails_ends_the_stream_with_its_text) {
    begin(1000);
    flow.source_fails = 23;
    assert_int_equal(STREAM(twice, .workers = 2, .in_flight = 40), DIST_FAILED);
    assert_delivered(23);
    assert_int_equal(dist_last_error()->index, 23);
    assert_int_equal(dist_last_error()->code, 7);
    assert_string_equal(dist_last_error()->message, "the source is dry at 23");
}

static int crash_at_11(void *result, const void *item, void *ctx) {
    if (*(const long *)item == 11 && dist_attempt() == 1) raise(SIGKILL);
    return twice(result, item, ctx);
}

CASE_ON("P-58", a_crash_in_a_stream_is_one_item, ON_PROCESS, 20) {
    begin(200);
    assert_int_equal(STREAM(crash_at_11, .workers = 2, .in_flight = 60, .silent = true), DIST_OK);
    assert_int_equal(flow.got, 200);
    for (size_t k = 0; k < 200; k++)
        assert_int_equal(flow.status[k], k == 11 ? DIST_CRASHED : DIST_OK);
    begin(200);
    assert_int_equal(STREAM(crash_at_11, .workers = 2, .in_flight = 60, .retries = 1), DIST_OK);
    assert_delivered(200);
}

static int fails_twice(void *result, const void *item, void *ctx) {
    if (dist_attempt() < 3) return dist_fail(1, "attempt %u", dist_attempt());
    return twice(result, item, ctx);
}

static bool not_for_seven(const dist_error *e, void *user) {
    return user == &flow && e->index != 7;
}

CASE("P-62", items_of_a_stream_are_tried_again) {
    begin(60);
    assert_int_equal(STREAM(fails_twice, .workers = 2, .in_flight = 30, .retries = 2), DIST_OK);
    assert_delivered(60);
    begin(60);
    assert_int_equal(
        STREAM(fails_twice, .workers = 2, .in_flight = 30, .retries = 5, .retry_if = not_for_seven),
        DIST_FAILED);
    assert_int_equal(flow.got, 8);
    assert_string_equal(flow.message, "attempt 1");
}

static int times_ctx(void *result, const void *item, void *ctx) {
    *(long *)result = *(const long *)item * *(const long *)ctx;
    return 0;
}

CASE("P-20", tasks_of_a_stream_have_the_context) {
    long two = 2;
    begin(50);
    assert_int_equal(
        STREAM(times_ctx, .workers = 2, .in_flight = 30, .ctx = &two, .ctx_size = sizeof two),
        DIST_OK);
    assert_delivered(50);
}

/* 1 fails long after 2 has. */
static int two_fail(void *result, const void *item, void *ctx) {
    long i = *(const long *)item;
    if (i == 1) nap(0.2);
    return i == 1 || i == 2 ? dist_fail(3, "item %ld", i) : twice(result, item, ctx);
}

CASE_ON("M-17", an_unordered_stream_tells_the_lowest_failure, ON_THREAD | ON_PROCESS, 20) {
    begin(1000);
    assert_int_equal(
        STREAM(two_fail, .workers = 3, .in_flight = 3, .unordered = true, .max_failures = 2),
        DIST_FAILED);
    assert_int_equal(dist_last_error()->index, 1);
    assert_int_equal(flow.failed, 2);
}

static int never_ends(void *result, const void *item, void *ctx) {
    while (*(const long *)item == 3 && !dist_cancelled()) nap(0.001);
    return twice(result, item, ctx);
}

CASE("P-32", the_limit_of_a_stream_ends_it) {
    begin(SIZE_MAX);
    assert_int_equal(STREAM(never_ends, .workers = 2, .timeout = 0.1), DIST_TIMEOUT);
    assert_int_equal(flow.got, 3);
    assert_int_equal(dist_last_error()->index, 3);
}

CASE("P-32", a_late_item_of_a_stream_is_late_alone) {
    begin(30);
    assert_int_equal(STREAM(never_ends, .workers = 2, .task_timeout = 0.1, .silent = true),
                     DIST_OK);
    assert_int_equal(flow.got, 30);
    for (size_t k = 0; k < 30; k++)
        assert_int_equal(flow.status[k], k == 3 ? DIST_TIMEOUT : DIST_OK);
}

static dist_token *token;
static bool cancelling_next(void *item, void *source) {
    if (flow.read == 10) dist_token_cancel(token);
    return next(item, source);
}

CASE("F-02", a_token_ends_a_stream) {
    token = dist_token_new();
    begin(SIZE_MAX);
    assert_int_equal(dist_stream(twice, long, long, cancelling_next, &flow, keep, .executor = X,
                                 .workers = 2, .token = token, .user = &flow),
                     DIST_CANCELLED);
    assert_true(flow.got <= 10);
    dist_token_free(token);
}

static int random_of(void *result, const void *item, void *ctx) {
    (void)item;
    (void)ctx;
    *(uint64_t *)result = dist_random();
    return 0;
}

CASE("G-19", random_numbers_of_a_stream_depend_on_seed_and_index_alone) {
    static uint64_t expected[200];
    static long items[200];
    assert_int_equal(dist_map(random_of, items, 200, expected, .executor = DIST_INLINE, .seed = 5),
                     DIST_OK);
    begin(200);
    assert_int_equal(STREAM(random_of, .workers = 3, .in_flight = 50, .seed = 5), DIST_OK);
    assert_int_equal(flow.got, 200);
    for (size_t k = 0; k < 200; k++) assert_int_equal((uint64_t)flow.result[k], expected[k]);
}

static int init(void **state, unsigned worker, void *user) {
    (void)worker;
    *state = user;
    return 0;
}

static int needs_state(void *result, const void *item, void *ctx) {
    return dist_worker_state() == &flow ? twice(result, item, ctx) : 97;
}

CASE("D-17", workers_of_a_stream_have_their_state) {
    begin(50);
    assert_int_equal(STREAM(needs_state, .workers = 2, .worker_init = init), DIST_OK);
    assert_delivered(50);
}

CASE("D-14", streams_and_calls_share_a_pool) {
    dist_pool *pool = dist_pool_open(.executor = X, .workers = 2);
    for (int k = 0; k < 3; k++) {
        begin(100);
        const dist_opts opts = {.size = sizeof opts, .pool = pool, .user = &flow, .in_flight = 40};
        assert_int_equal(
            dist_stream_fn(twice, sizeof(long), sizeof(long), next, &flow, keep, &opts), DIST_OK);
        assert_delivered(100);
    }
    dist_pool_free(&pool);
}

CASE("L-16", a_stream_keeps_its_rate) {
    begin(11);
    double before = now();
    assert_int_equal(STREAM(twice, .workers = 2, .rate = 200), DIST_OK);
    assert_true(now() - before >= 0.049);
    assert_delivered(11);
}

CASE("G-15", bad_arguments_of_a_stream_are_named) {
    begin(5);
#define REFUSED(what, ...)                                                                         \
    do {                                                                                           \
        assert_int_equal(STREAM(twice, __VA_ARGS__), DIST_INVALID);                                \
        assert_non_null(strstr(dist_last_error()->message, what));                                 \
        assert_int_equal(flow.read, 0);                                                            \
    } while (0)
    REFUSED("timeout", .timeout = -1);
    REFUSED("in_place", .in_place = true);
    REFUSED("abandon", .abandon = true);
    REFUSED("progress", .progress = "bar");
    REFUSED("names", .names = (const char *const[]){"a"});
    REFUSED("stack_size", .stack_size = 1);
    assert_int_equal(dist_stream_fn(NULL, 8, 8, next, &flow, keep, DIST_OPTS(.executor = X)),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "fn"));
    assert_int_equal(dist_stream_fn(twice, 8, 8, NULL, &flow, keep, DIST_OPTS(.executor = X)),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "next"));
    assert_int_equal(dist_stream_fn(twice, 8, 8, next, &flow, NULL, DIST_OPTS(.executor = X)),
                     DIST_INVALID);
    assert_non_null(strstr(dist_last_error()->message, "sink"));
}

CASE_ON("G-16", memory_does_not_grow_with_the_items, ON_ALL, 60) {
    begin(20000);
    assert_int_equal(STREAM(twice, .workers = 2, .in_flight = 1000), DIST_OK);
    size_t before = resident_bytes();
    begin(200000);
    assert_int_equal(STREAM(twice, .workers = 2, .in_flight = 1000), DIST_OK);
    assert_int_equal(flow.got, 200000);
    if (!SANITIZED)
        assert_true(resident_bytes() < before + (1 << 20)); /* they keep memory of their own */
}
