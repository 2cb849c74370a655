/* contract_reduce_end.c - how reductions fail, and what is refused. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct plan { /* in memory that workers share */
    int fail_at, name_at, name_too, crash_at, join_fails_at, join_sleeps_at; /* items; -1: none */
    _Atomic(unsigned) ran, joined;
};

static struct plan *new_plan(void) {
    struct plan *plan = shared_memory(sizeof *plan);
    plan->fail_at = plan->name_at = plan->name_too = plan->crash_at = -1;
    plan->join_fails_at = plan->join_sleeps_at = -1;
    return plan;
}

static bool holds(const int *items, size_t n, int item) {
    return item >= items[0] && item < items[0] + (int)n;
}

static int leaf(void *acc, const void *items, size_t n, void *ctx) {
    struct plan *plan = ctx;
    const int *in = items;
    count(&plan->ran);
    for (size_t i = 0; i < n; i++) *(long *)acc += in[i];
    if (holds(in, n, plan->crash_at)) abort();
    if (holds(in, n, plan->name_at))
        dist_fail_at((size_t)(plan->name_at - in[0]), 21, "item %d is bad", plan->name_at);
    if (holds(in, n, plan->name_too))
        return dist_fail_at((size_t)(plan->name_too - in[0]), 22, "item %d is bad", plan->name_too);
    if (holds(in, n, plan->fail_at)) return dist_fail(23, "not this block");
    return 0;
}

static int join(void *into, const void *other, void *ctx) {
    struct plan *plan = ctx;
    count(&plan->joined);
    *(long *)into += *(const long *)other;
    if (plan->join_sleeps_at == (int)dist_index()) nap(0.6);
    if (plan->join_fails_at == (int)dist_index()) return dist_fail(ERANGE, "no room for the sum");
    return 0;
}

enum { BEFORE = 5 };
static const char *names[PRIME];

/* A reduction in blocks of ten; the accumulator is left alone. */
static dist_status fails(struct plan *plan, unsigned retries, dist_error *e) {
    long acc = BEFORE;
    names[47] = "forty-seven";
    dist_status status =
        dist_reduce(leaf, join, numbers(), PRIME, &acc, .executor = X, .workers = 3, .chunk = 10,
                    .ctx = plan, .error = e, .retries = retries, .names = names);
    assert_int_equal(acc, BEFORE);
    assert_int_equal(e->status, status);
    assert_memory_equal(e, dist_last_error(), sizeof *e);
    assert_ptr_equal(e->item, &numbers()[e->index]);
    if (status != DIST_FAILED || !strstr(e->message, "sum")) assert_int_equal(plan->joined, 0);
    return status;
}

CASE("G-12", a_block_that_fails_is_known_by_its_first_item) {
    dist_error e;
    for (unsigned retries = 0; retries < 3; retries++) {
        struct plan *plan = new_plan();
        plan->fail_at = 345;
        assert_int_equal(fails(plan, retries, &e), DIST_FAILED);
        assert_int_equal(e.index, 340);
        assert_int_equal(e.code, 23);
        assert_int_equal(e.attempts, retries + 1);
        assert_string_equal(e.message, "not this block");
    }
}

CASE("G-12", a_block_that_names_items_is_known_by_the_lowest) {
    dist_error e;
    for (unsigned retries = 0; retries < 2; retries++) {
        struct plan *plan = new_plan();
        plan->name_at = 47;
        assert_int_equal(fails(plan, retries, &e), DIST_FAILED);
        assert_int_equal(e.index, 47);
        assert_int_equal(e.code, 21);
        assert_string_equal(e.message, "item 47 is bad");
        assert_string_equal(e.name, "forty-seven");
        plan->name_too = 44;
        assert_int_equal(fails(plan, retries, &e), DIST_FAILED);
        assert_int_equal(e.index, 44);
        assert_int_equal(e.code, 22);
        assert_null(e.name);
    }
}

static int name_then_fail(void *acc, const void *items, size_t n, void *ctx) {
    if (*(const int *)items != 20) return leaf(acc, items, n, ctx);
    return dist_attempt() == 1 ? dist_fail_at(3, 21, "at 23") : dist_fail(22, "all of it");
}

CASE("G-12", the_last_attempt_of_a_block_says_what_has_failed) {
    long acc = BEFORE;
    assert_int_equal(dist_reduce(name_then_fail, join, numbers(), 101, &acc, .executor = X,
                                 .workers = 2, .chunk = 10, .ctx = new_plan(), .retries = 1),
                     DIST_FAILED);
    assert_int_equal(dist_last_error()->code, 22);
    assert_int_equal(dist_last_error()->index, 20);
}

CASE("P-31", the_lowest_block_that_fails_is_reported) {
    struct plan *plan = new_plan();
    dist_error e;
    plan->fail_at = 700;
    plan->name_at = 333;
    plan->name_too = 901;
    for (unsigned i = 0; again(i, rounds(100, 20)); i++) {
        assert_int_equal(fails(plan, 0, &e), DIST_FAILED);
        assert_int_equal(e.index, 333);
    }
}

CASE_ON("G-01", a_leaf_that_crashes_costs_the_reduction, ON_PROCESS, 20) {
    struct plan *plan = new_plan();
    dist_error e;
    plan->crash_at = 19;
    assert_int_equal(fails(plan, 0, &e), DIST_CRASHED);
    assert_int_equal(e.index, 10);
    assert_true(e.signal != 0);
    assert_int_equal(fails(plan, 1, &e), DIST_CRASHED);
    assert_int_equal(e.index, 10);
    assert_int_equal(e.attempts, 2);
}

CASE("G-12", a_join_that_fails_says_why) {
    static const int at[] = {10, 20, 1000, 640};
    for (size_t k = 0; k < N(at); k++) {
        struct plan *plan = new_plan();
        dist_error e;
        plan->join_fails_at = at[k];
        assert_int_equal(fails(plan, 2, &e), DIST_FAILED);
        assert_int_equal(e.index, at[k]);
        assert_int_equal(e.code, ERANGE);
        assert_string_equal(e.message, "no room for the sum");
        assert_int_equal(counted(&plan->ran), 101); /* joins are not tried again */
        assert_true(dist_failure() == 0 && dist_index() == 0);
    }
}

static int join_to_7(void *into, const void *other, void *ctx) {
    (void)into, (void)other, (void)ctx;
    return 7;
}

CASE("G-12", a_join_without_words_is_known_by_its_code) {
    long acc = BEFORE;
    assert_int_equal(
        dist_reduce(leaf, join_to_7, numbers(), 20, &acc, .executor = X, .ctx = new_plan()),
        DIST_FAILED);
    assert_int_equal(dist_last_error()->code, 7);
    assert_int_equal(dist_last_error()->index, 1);
    assert_non_null(strstr(dist_last_error()->message, "join returned 7"));
    assert_int_equal(acc, BEFORE);
}

/* ------------------------------------------------------------------ limits */

CASE("G-06", a_limit_ends_a_reduction_between_its_joins) {
    struct plan *plan = new_plan();
    long acc = BEFORE;
    plan->join_sleeps_at = 30;
    assert_int_equal(dist_reduce(leaf, join, numbers(), 101, &acc, .executor = X, .workers = 2,
                                 .chunk = 10, .ctx = plan, .timeout = 0.5),
                     DIST_TIMEOUT);
    assert_int_equal(acc, BEFORE);
    assert_int_equal(dist_last_error()->index, 50);
    assert_int_equal(counted(&plan->joined), 2);
}

static int cancel_and_join(void *into, const void *other, void *ctx) {
    (void)into, (void)other;
    dist_token_cancel(ctx);
    return 0;
}

static int do_nothing(void *acc, const void *items, size_t n, void *ctx) {
    (void)acc, (void)items, (void)n, (void)ctx;
    return 0;
}

CASE("G-07", a_token_ends_a_reduction) {
    long acc = BEFORE;
    dist_token *token = dist_token_new();
    for (int i = 0; i < 2; i++) { /* in a join, and before the beginning */
        assert_int_equal(dist_reduce(do_nothing, cancel_and_join, numbers(), 101, &acc,
                                     .executor = X, .workers = 2, .ctx = token, .token = token),
                         DIST_CANCELLED);
        assert_int_equal(dist_last_error()->index, i ? 0 : 3);
        assert_int_equal(acc, BEFORE);
    }
    dist_token_free(token);
}

static int dawdle(void *acc, const void *items, size_t n, void *ctx) {
    (void)acc, (void)n, (void)ctx;
    if (*(const int *)items == 20)
        for (double end = now() + 20; now() < end && !dist_cancelled();) nap(0.001);
    return 0;
}

CASE("G-06", a_block_that_is_late_ends_a_reduction) {
    long acc = BEFORE;
    assert_int_equal(dist_reduce(dawdle, join, numbers(), 50, &acc, .executor = X, .workers = 2,
                                 .chunk = 10, .ctx = new_plan(), .task_timeout = 0.3),
                     DIST_TIMEOUT);
    assert_int_equal(dist_last_error()->index, 20);
    assert_int_equal(acc, BEFORE);
}

/* ------------------------------------------------------------------ hooks */

static struct heard {
    size_t started, finished, failed, retries;
    _Atomic(unsigned) inits; /* by its workers, several at once */
} heard;

static void check_event(const dist_event *event) {
    size_t index = event->index;
    assert_int_equal(index % 10, 0);
    assert_int_equal(event->total, 101);
    assert_null(event->result);
    assert_ptr_equal(event->item, &numbers()[index]);
    if (index == 40) assert_string_equal(event->name, "forty");
    else assert_null(event->name);
}

static void on_start(const dist_event *event, void *user) {
    assert_ptr_equal(user, &heard);
    check_event(event);
    heard.started++;
}

static void on_finish(const dist_event *event, void *user) {
    assert_ptr_equal(user, &heard);
    check_event(event);
    heard.finished += event->error == NULL;
    if (!event->error) return;
    heard.failed++;
    assert_int_equal(event->index, 40);
    assert_int_equal(event->error->index, 47);
    assert_string_equal(event->error->name, "forty-seven");
}

static bool retry_if(const dist_error *error, void *user) {
    assert_ptr_equal(user, &heard);
    assert_int_equal(error->index, 47);
    assert_ptr_equal(error->item, &numbers()[47]);
    heard.retries++;
    return true;
}

static int worker_init(void **state, unsigned worker, void *user) {
    *state = user == &heard && worker < 2 ? user : NULL;
    return 0;
}

static void worker_exit(void *state, unsigned worker, void *user) {
    if (worker < 2 && state == user && user == &heard)
        count(&heard.inits); /* not told by processes */
}

static int leaf_with_state(void *acc, const void *items, size_t n, void *ctx) {
    const char *name = names[dist_index()];
    if (!contract_in_pools() && dist_worker_state() != &heard) return dist_fail(24, "no state");
    if (!dist_name() != !name || (name && strcmp(dist_name(), name)))
        return dist_fail(25, "another name");
    return leaf(acc, items, n, ctx);
}

static dist_status reduce_with_hooks(struct plan *plan, long *acc) {
    names[40] = "forty";
    names[47] = "forty-seven";
    heard = (struct heard){0};
    dist_opts opts = *DIST_OPTS(.executor = X, .workers = 2, .chunk = 10, .ctx = plan,
                                .names = names, .on_start = on_start, .on_finish = on_finish,
                                .retry_if = retry_if, .retries = 2, .user = &heard);
    if (!contract_in_pools()) opts.worker_init = worker_init, opts.worker_exit = worker_exit;
    return dist_reduce_fn(leaf_with_state, join, numbers(), PRIME, sizeof(int), acc, sizeof *acc,
                          &opts);
}

CASE("M-11", hooks_hear_of_each_block_by_its_first_item) {
    struct plan *plan = new_plan();
    long acc = 0;
    assert_int_equal(reduce_with_hooks(plan, &acc), DIST_OK);
    assert_int_equal(acc, (long)PRIME * (PRIME - 1) / 2);
    assert_int_equal(heard.started, 101);
    assert_int_equal(heard.finished, 101);
    assert_true(X == DIST_PROCESS || contract_in_pools() || counted(&heard.inits) > 0);
    plan->name_at = 47;
    assert_int_equal(reduce_with_hooks(plan, &acc), DIST_FAILED);
    assert_int_equal(heard.failed, 1);
    assert_int_equal(heard.retries, 2);
    assert_int_equal(dist_last_error()->index, 47);
}

/* ------------------------------------------------------------------ what is refused */

static void assert_refused(dist_status got, const char *named) {
    const dist_error *e = dist_last_error();
    assert_int_equal(got, DIST_INVALID);
    assert_int_equal(e->status, DIST_INVALID);
    if (strncmp(e->message, named, strlen(named)))
        fail_msg("\"%s\" does not begin with %s", e->message, named);
}

CASE("G-15", wrong_arguments_of_a_reduction_are_refused) {
    struct plan *plan = new_plan();
    const dist_opts *o = DIST_OPTS(.executor = X, .ctx = plan);
    const int *in = numbers();
    size_t size = sizeof *in;
    long acc = BEFORE;
    assert_refused(dist_reduce_fn(NULL, join, in, 9, size, &acc, sizeof acc, o), "leaf:");
    assert_refused(dist_reduce_fn(leaf, NULL, in, 9, size, &acc, sizeof acc, o), "join:");
    assert_refused(dist_reduce_fn(leaf, join, NULL, 300, size, &acc, sizeof acc, o),
                   "items: is NULL and n is 300");
    assert_refused(dist_reduce_fn(leaf, join, in, 9, 0, &acc, sizeof acc, o), "items:");
    assert_refused(dist_reduce_fn(leaf, join, in, SIZE_MAX / 2, 2048, &acc, sizeof acc, o), "n:");
    assert_refused(dist_reduce_fn(leaf, join, in, 9, size, NULL, sizeof acc, o), "acc:");
    assert_refused(dist_reduce_fn(leaf, join, in, 9, size, &acc, 0, o), "acc_size:");
    assert_refused(
        dist_reduce_fn(leaf, join, in, 9, size, &acc, sizeof acc, &(dist_opts){.size = 8}),
        "opts.size:");
    assert_int_equal(counted(&plan->ran), 0);
    assert_int_equal(acc, BEFORE);
}

CASE("G-15", options_that_a_reduction_has_no_use_for_are_refused) {
    struct plan *plan = new_plan();
    long acc = BEFORE;
    dist_job *job = (dist_job *)plan;
    dist_error e = {.status = DIST_OK};
#define REFUSED(named, ...)                                                                        \
    assert_refused(dist_reduce(leaf, join, numbers(), 9, &acc, .executor = X, .ctx = plan,         \
                               .error = &e, __VA_ARGS__),                                          \
                   named);                                                                         \
    assert_int_equal(e.status, DIST_INVALID)
    REFUSED("silent:", .silent = true);
    REFUSED("in_place:", .in_place = true);
    REFUSED("abandon:", .abandon = true);
    REFUSED("job:", .job = &job);
    assert_null(job);
    REFUSED("deferred:", .deferred = true);
    REFUSED("unordered:", .unordered = true);
    REFUSED("timeout:", .timeout = -1);
    REFUSED("names:", .names = (const char *[9]){"a", NULL, "a"});
    assert_int_equal(counted(&plan->ran), 0);
    assert_int_equal(acc, BEFORE);
}

CASE("G-15", accumulators_that_exceed_memory_are_refused) {
    struct plan *plan = new_plan();
    long acc = BEFORE;
    const dist_opts *o = DIST_OPTS(.executor = X, .ctx = plan, .chunk = 1);
    /* if nobody looks, eight times these are 0 and less than 0 */
    static const size_t sizes[] = {SIZE_MAX / 8 + 1, SIZE_MAX - 3};
    for (size_t k = 0; k < N(sizes); k++) {
        assert_int_equal(dist_reduce_fn(leaf, join, numbers(), 8, sizeof(int), &acc, sizes[k], o),
                         DIST_NOMEM);
        assert_non_null(strstr(dist_last_error()->message, "8 accumulators"));
    }
    assert_int_equal(dist_reduce_fn(leaf, join, numbers(), SIZE_MAX / 4, 1, &acc, sizeof acc, o),
                     DIST_NOMEM);
    assert_int_equal(counted(&plan->ran), 0);
}
