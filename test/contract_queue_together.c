/* contract_queue_together.c - producers and consumers on one queue at once: threads, or forked
 * workers and their parent. */
#include "contract.h"
#include "contract_tools.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 8 };

struct message {
    unsigned producer, number;
};

/* What all see. */
static struct scene {
    dist_queue *queue;
    unsigned producers, consumers, each;
    _Atomic(unsigned) puts, gets, wrong, ended, beats;
    _Atomic(unsigned) seen[]; /* how often each message was got */
} * scene;

static void open_scene(unsigned producers, unsigned consumers, unsigned each, size_t capacity,
                       bool priority) {
    scene = shared_memory(sizeof *scene + (size_t)producers * each * sizeof *scene->seen);
    scene->producers = producers;
    scene->consumers = consumers;
    scene->each = each;
    scene->queue = dist_queue_open(.item_size = sizeof(struct message), .capacity = capacity,
                                   .priority = priority, .process_shared = X == DIST_PROCESS);
    assert_non_null(scene->queue);
}

/* Runs the role in so many workers at once, of which each has an index. */
static void act(dist_index_fn role, unsigned workers) {
    assert_int_equal(dist_for(role, workers, .executor = X, .workers = workers, .chunk = 1),
                     DIST_OK);
}

static void check(bool right) {
    if (!right) count(&scene->wrong);
}

static void produce(unsigned self) {
    for (unsigned k = 0; k < scene->each; k++) {
        check(dist_queue_put(scene->queue, &(struct message){self, k}, DIST_FOREVER) == DIST_OK);
        count(&scene->puts);
    }
}

/* A consumer sees what each producer has put in its order. */
static void consume(void) {
    struct message message;
    unsigned next[MOST] = {0};
    dist_status status;
    for (;;) {
        unsigned puts = counted(&scene->puts); /* before gets: see below */
        check(puts <= counted(&scene->gets) + dist_queue_capacity(scene->queue));
        check(dist_queue_length(scene->queue) <= dist_queue_capacity(scene->queue));
        count(&scene->gets); /* counted before the get, puts after: so their difference is held */
        if ((status = dist_queue_get(scene->queue, &message, DIST_FOREVER)) != DIST_OK) break;
        check(message.producer < scene->producers && message.number < scene->each);
        check(message.number >= next[message.producer % MOST]);
        next[message.producer % MOST] = message.number + 1;
        count(&scene->seen[message.producer * scene->each + message.number]);
        check(dist_queue_task_done(scene->queue) == DIST_OK);
    }
    check(status == DIST_CLOSED);
}

static int meet(size_t index, void *ctx) {
    (void)ctx;
    if (index >= scene->producers) {
        consume();
        return 0;
    }
    produce((unsigned)index);
    count(&scene->ended);
    if (counted(&scene->ended) == scene->producers) dist_queue_close(scene->queue);
    return 0;
}

static void check_all_passed(void) {
    assert_int_equal(counted(&scene->wrong), 0);
    for (unsigned k = 0; k < scene->producers * scene->each; k++)
        assert_int_equal(counted(&scene->seen[k]), 1);
    assert_int_equal(dist_queue_length(scene->queue), 0);
    assert_int_equal(dist_queue_join(scene->queue, 0), DIST_OK);
    assert_int_equal(dist_queue_task_done(scene->queue), DIST_STATE);
    dist_queue_free(&scene->queue);
}

CASE_ON("L-08", each_item_passes_once_and_the_bound_holds, ON_THREAD | ON_PROCESS, 60) {
    static const unsigned crews[][2] = {{1, 1}, {2, 2}, {4, 1}, {1, 4}, {4, 4}};
    static const size_t capacities[] = {1, 3, 64, 0};
    for (unsigned k = 0; again(k, 2 * N(crews) * N(capacities)); k++) {
        const unsigned *crew = crews[k % N(crews)];
        size_t capacity = capacities[k / N(crews) % N(capacities)];
        open_scene(crew[0], crew[1], rounds(2000, 1000), capacity, k / N(crews) / N(capacities));
        act(meet, crew[0] + crew[1]);
        check_all_passed();
    }
}

static int put_until_closed(size_t index, void *ctx) {
    (void)ctx;
    struct message message = {(unsigned)index, 0};
    if (index >= scene->producers) {
        while (dist_queue_get(scene->queue, &message, DIST_FOREVER) == DIST_OK) count(&scene->gets);
        return 0;
    }
    dist_status status;
    while ((status = dist_queue_put(scene->queue, &message, DIST_FOREVER)) == DIST_OK) {
        count(&scene->puts);
        message.number++;
        if (index == 0 && message.number == scene->each) dist_queue_close(scene->queue);
    }
    check(status == DIST_CLOSED);
    return 0;
}

CASE_ON("L-09", what_was_put_is_got_when_a_queue_is_closed_under_fire, ON_THREAD | ON_PROCESS, 60) {
    uint32_t random = random_seed();
    for (unsigned k = 0; again(k, rounds(300, 60)); k++) {
        open_scene(1 + k % 4, 1 + k / 4 % 3, 1 + random_below(&random, 100), 1 + k % 7, k % 2);
        act(put_until_closed, scene->producers + scene->consumers);
        assert_int_equal(counted(&scene->wrong), 0);
        assert_int_equal(counted(&scene->puts), counted(&scene->gets));
        assert_int_equal(dist_queue_length(scene->queue), 0);
        dist_queue_free(&scene->queue);
    }
}

static int hear_of_the_end(size_t index, void *ctx) {
    struct message message = {0};
    bool puts = *(const bool *)ctx;
    if (index == 0) {
        nap(0.05);
        check(dist_queue_close(scene->queue) == DIST_OK);
        return 0;
    }
    dist_status status = puts ? dist_queue_put(scene->queue, &message, DIST_FOREVER)
                              : dist_queue_get(scene->queue, &message, DIST_FOREVER);
    check(status == DIST_CLOSED);
    count(&scene->ended);
    return 0;
}

CASE_ON("L-09", all_who_wait_hear_that_it_is_closed, ON_THREAD | ON_PROCESS, 60) {
    for (int k = 0; k < 4; k++) {
        bool puts = k % 2;
        open_scene(0, 0, 0, 1, k / 2);
        if (puts) assert_int_equal(dist_queue_put(scene->queue, &(struct message){0}, 0), DIST_OK);
        assert_int_equal(
            dist_for(hear_of_the_end, 5, .executor = X, .workers = 5, .chunk = 1, .ctx = &puts),
            DIST_OK);
        assert_int_equal(counted(&scene->wrong), 0);
        assert_int_equal(counted(&scene->ended), 4);
        dist_queue_free(&scene->queue);
    }
}

static int wait_long(size_t index, void *ctx) {
    struct message message = {7, 7};
    bool puts = *(const bool *)ctx;
    double before = now();
    if (index == 0) {
        nap(0.1);
        check(puts ? dist_queue_get(scene->queue, &message, 0) == DIST_OK
                   : dist_queue_put(scene->queue, &message, 0) == DIST_OK);
        return 0;
    }
    check(puts ? dist_queue_put(scene->queue, &message, 1000) == DIST_OK
               : dist_queue_get(scene->queue, &message, 1000) == DIST_OK);
    check(message.producer == 7 && now() - before < 500);
    return 0;
}

/* Its limit is longer than the case may take. */
CASE_ON("L-10", an_arrival_ends_a_wait, ON_THREAD | ON_PROCESS, 60) {
    for (int k = 0; k < 4; k++) {
        bool puts = k % 2;
        open_scene(0, 0, 0, 1, k / 2);
        struct message old = {7, 0};
        if (puts) assert_int_equal(dist_queue_put(scene->queue, &old, 0), DIST_OK);
        assert_int_equal(
            dist_for(wait_long, 2, .executor = X, .workers = 2, .chunk = 1, .ctx = &puts), DIST_OK);
        assert_int_equal(counted(&scene->wrong), 0);
        dist_queue_free(&scene->queue);
    }
}

static int beat(size_t index, void *ctx) {
    struct message message;
    dist_status status;
    (void)ctx;
    if (index == 0) {
        reaches(&scene->beats, 3);
        produce(0);
        return dist_queue_close(scene->queue) != DIST_OK;
    }
    while ((status = dist_queue_get(scene->queue, &message, 0.02)) != DIST_CLOSED)
        count(status == DIST_EMPTY ? &scene->beats : &scene->gets);
    return 0;
}

CASE_ON("L-10", a_consumer_beats_while_nothing_comes, ON_THREAD | ON_PROCESS, 60) {
    open_scene(1, 1, 100, 3, false);
    act(beat, 2);
    assert_true(counted(&scene->beats) >= 3);
    assert_int_equal(counted(&scene->gets), 100);
    dist_queue_free(&scene->queue);
}

static int finish_slowly(size_t index, void *ctx) {
    struct message message;
    (void)ctx;
    if (index == 0) {
        produce(0);
        check(dist_queue_join(scene->queue, DIST_FOREVER) == DIST_OK);
        check(counted(&scene->gets) == scene->each);
        return dist_queue_close(scene->queue) != DIST_OK;
    }
    while (dist_queue_get(scene->queue, &message, DIST_FOREVER) == DIST_OK) {
        if (message.number % 8 == 0) nap(0.001);
        count(&scene->gets);
        check(dist_queue_task_done(scene->queue) == DIST_OK);
    }
    return 0;
}

CASE_ON("L-14", join_waits_until_every_item_is_done, ON_THREAD | ON_PROCESS, 60) {
    for (unsigned k = 0; again(k, rounds(20, 10)); k++) {
        open_scene(1, 3, 40, 50, k % 2);
        act(finish_slowly, 4);
        assert_int_equal(counted(&scene->wrong), 0);
        dist_queue_free(&scene->queue);
    }
}

/* Each item is the successor of one before it: a loop, however deep it goes. */
static int renew(size_t index, void *ctx) {
    struct message message;
    (void)index, (void)ctx;
    while (dist_queue_get(scene->queue, &message, DIST_FOREVER) == DIST_OK) {
        count(&scene->gets);
        if (++message.number < scene->each)
            check(dist_queue_put(scene->queue, &message, DIST_FOREVER) == DIST_OK);
        else dist_queue_close(scene->queue);
    }
    return 0;
}

CASE_ON("L-17", a_task_puts_its_successor_ten_thousand_deep, ON_ALL, 60) {
    for (unsigned workers = 1; workers <= (X == DIST_INLINE ? 1 : 3); workers++) {
        open_scene(0, 0, 10000, 3, false);
        assert_int_equal(dist_queue_put(scene->queue, &(struct message){0, 0}, 0), DIST_OK);
        act(renew, workers);
        assert_int_equal(counted(&scene->wrong), 0);
        assert_int_equal(counted(&scene->gets), 10000);
        dist_queue_free(&scene->queue);
    }
}

static int wait_in_a_task(size_t index, void *ctx) {
    struct message message = {0};
    (void)index;
    dist_status *heard = ctx;
    *heard = dist_queue_get(scene->queue, &message, DIST_FOREVER);
    return *heard == DIST_OK ? 0 : dist_fail(1, "%s", dist_status_name(*heard));
}

/* Worker processes are ended by their limit anyway. */
CASE_ON("G-06", a_limit_reaches_a_task_that_waits_for_a_queue, ON_ALL, 60) {
    dist_status heard = DIST_OK;
    open_scene(0, 0, 0, 1, false);
    assert_int_equal(
        dist_for(wait_in_a_task, 1, .executor = X, .workers = 1, .timeout = 0.05, .ctx = &heard),
        DIST_TIMEOUT);
    if (X != DIST_PROCESS) assert_int_equal(heard, DIST_CANCELLED);
    dist_queue_free(&scene->queue);
}

static int wait_by_pointer(void *result, const void *item, void *ctx) {
    (void)item;
    *(int *)result = wait_in_a_task(0, ctx);
    return *(int *)result;
}

CASE_ON("F-02", a_cancelled_job_does_not_wait_on_for_a_queue, ON_THREAD | ON_PROCESS, 60) {
    for (int k = 0; k < 2; k++) {
        dist_status heard = DIST_OK;
        int result = 0;
        open_scene(0, 0, 0, 1, k);
        dist_job *job =
            dist_apply_async(wait_by_pointer, DIST_NONE, &result, .executor = X, .ctx = &heard);
        assert_non_null(job);
        nap(0.02);
        dist_job_cancel(job, true);
        assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
        dist_queue_free(&scene->queue);
    }
}

struct part {
    enum { VALUE, SUBTOTAL, TOTAL } kind;
    double value;
};

static int fifth_power(void *result, const void *item, void *ctx) {
    double x = *(const int *)item;
    (void)ctx;
    *(double *)result = x * x * x * x * x;
    return 0;
}

/* Blocks of 25 in worker processes or threads; each value, then what the block comes to. */
static int split_list(void *result, const void *item, void *ctx) {
    dist_queue *queue = *(dist_queue **)ctx;
    double out[60], total = 0;
    (void)result, (void)item;
    for (size_t k = 0; dist_chunk(60, 25, k).count; k++) {
        dist_range block = dist_chunk(60, 25, k);
        struct part part = {SUBTOTAL, 0};
        if (dist_map(fifth_power, numbers() + block.begin, block.count, out + block.begin,
                     .executor = X, .workers = 3))
            return dist_fail(1, "block %zu", k);
        for (size_t i = block.begin; i < block.begin + block.count; i++) {
            dist_queue_put(queue, &(struct part){VALUE, out[i]}, DIST_FOREVER);
            part.value += out[i];
        }
        dist_queue_put(queue, &part, DIST_FOREVER);
        total += part.value;
    }
    dist_queue_put(queue, &(struct part){TOTAL, total}, DIST_FOREVER);
    return dist_queue_close(queue) != DIST_OK;
}

CASE_ON("L-07", values_subtotals_and_the_total_agree, ON_THREAD | ON_PROCESS, 60) {
    struct part part;
    double sum[3] = {0};
    unsigned count[3] = {0};
    dist_queue *queue = dist_queue_open(.item_size = sizeof part, .capacity = 3);
    assert_non_null(queue);
    dist_job *job =
        dist_apply_async(split_list, DIST_NONE, DIST_NONE, .executor = DIST_THREAD, .ctx = &queue);
    assert_non_null(job);
    for (dist_status s; (s = dist_queue_get(queue, &part, 30)) != DIST_CLOSED;) {
        assert_int_equal(s, DIST_OK);
        sum[part.kind] += part.value;
        count[part.kind]++;
        assert_int_equal(dist_queue_task_done(queue), DIST_OK);
    }
    assert_true(sum[VALUE] == sum[SUBTOTAL] && sum[SUBTOTAL] == sum[TOTAL]);
    assert_true(count[VALUE] == 60 && count[SUBTOTAL] == 3 && count[TOTAL] == 1);
    assert_int_equal(dist_queue_task_done(queue), DIST_STATE);
    assert_int_equal(dist_queue_join(queue, 0), DIST_OK);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    dist_queue_free(&queue);
}

static int flow(size_t index, void *ctx) {
    struct message message = {0, 0};
    unsigned expected = 0;
    (void)ctx;
    if (index == 0) {
        for (; again(message.number, 1000000); message.number++)
            check(dist_queue_put(scene->queue, &message, DIST_FOREVER) == DIST_OK);
        return dist_queue_close(scene->queue) != DIST_OK;
    }
    while (dist_queue_get(scene->queue, &message, DIST_FOREVER) == DIST_OK)
        check(message.number == expected++);
    atomic_store(&scene->gets, expected);
    return 0;
}

CASE_ON("L-24", a_million_items_pass_through_three_slots_in_flat_memory, ON_THREAD | ON_PROCESS,
        120) {
    open_scene(0, 0, 0, 3, false);
    size_t before = resident_bytes();
    act(flow, 2);
    assert_int_equal(counted(&scene->wrong), 0);
    assert_true(counted(&scene->gets) > 1000);
    if (!SANITIZED) assert_true(resident_bytes() < before + (4 << 20));
    dist_queue_free(&scene->queue);
}
