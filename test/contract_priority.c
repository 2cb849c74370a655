/* contract_priority.c - tasks of dist_par that have priorities start in their order, and all else
 * goes by index. */
#include "contract.h"
#include "contract_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASKS = 101, NOBODY = -1 };

struct board { /* in memory that workers share */
    _Atomic(unsigned) started;
    unsigned start[3 * TASKS]; /* indices, as they started */
    int slow, bad, worse, deadly;
    bool uneven; /* some tasks take longer than others */
};

static int out[TASKS], priority[TASKS];
static unsigned order[TASKS];    /* indices, as they should start */
static unsigned position[TASKS]; /* and where each stands */
static char name[TASKS][24];
static dist_task tasks[TASKS];

static int ten_times(void *result, const void *item, void *ctx) {
    struct board *board = ctx;
    int i = *(const int *)item;
    board->start[atomic_fetch_add(&board->started, 1)] = (unsigned)i;
    *(int *)result = 10 * i;
    if ((size_t)i != dist_index()) return dist_fail(90, "index %zu of %d", dist_index(), i);
    if (strcmp(dist_name(), name[i])) return dist_fail(91, "name %s of %d", dist_name(), i);
    if (i == board->deadly) abort();
    if (board->uneven && position[i] % 10 == 9) nap(0.002);
    for (double end = now() + 60; i == board->slow && now() < end && !dist_cancelled();) nap(0.001);
    if (i == board->bad || i == board->worse) return dist_fail(7, "task %d is bad", i);
    return 0;
}

static void sort_order(void) {
    for (unsigned i = 0; i < TASKS; i++) {
        unsigned k = i;
        for (; k > 0 && priority[order[k - 1]] > priority[i]; k--) order[k] = order[k - 1];
        order[k] = i;
    }
    for (unsigned k = 0; k < TASKS; k++) position[order[k]] = k;
}

static struct board *prepare(void) {
    uint32_t state = 4711;
    struct board *board = shared_memory(sizeof *board);
    board->slow = board->bad = board->worse = board->deadly = NOBODY;
    for (int i = 0; i < TASKS; i++) {
        priority[i] = (int)random_below(&state, 9) - 4;
        snprintf(name[i], sizeof name[i], "task %d", i);
        out[i] = -1;
        tasks[i] = (dist_task)DIST_TASK(name[i], ten_times, &numbers()[i], &out[i]);
        tasks[i].priority = priority[i];
    }
    sort_order();
    return board;
}

static void check_results(void) {
    for (int i = 0; i < TASKS; i++) assert_int_equal(out[i], 10 * i);
}

/* ------------------------------------------------------------------ the order */

CASE("P-30", one_worker_starts_tasks_by_priority_and_equal_ones_by_index) {
    for (int looked_after = 0; looked_after < 2; looked_after++) {
        struct board *board = prepare();
        assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 1, .ctx = board,
                                  .timeout = looked_after ? 1000 : 0),
                         DIST_OK);
        check_results();
        assert_int_equal(counted(&board->started), TASKS);
        assert_memory_equal(board->start, order, sizeof order);
    }
}

/* What is before a task in the order has been handed out before it: all but as many as there are
 * other workers have started. */
CASE("P-30", workers_take_tasks_in_the_order_of_their_priority) {
    enum { WORKERS = 4 };
    for (unsigned round = 0; round < 10; round++) {
        struct board *board = prepare();
        board->uneven = true;
        assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = WORKERS, .ctx = board),
                         DIST_OK);
        check_results();
        for (unsigned k = 0; k < TASKS; k++)
            assert_in_range(position[board->start[k]], 0, k + WORKERS - 1);
    }
}

CASE("P-30", a_hand_out_of_several_tasks_is_in_order) {
    struct board *board = prepare();
    assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 1, .ctx = board, .chunk = 7),
                     DIST_OK);
    check_results();
    assert_memory_equal(board->start, order, sizeof order);
}

/* ------------------------------------------------------------------ what goes by index */

static int draw(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    *(int *)result = (int)(dist_random() % 1000000);
    return 0;
}

CASE("G-19", priorities_do_not_change_random_numbers) {
    int expected[TASKS];
    for (int prior = 0; prior < 2; prior++) {
        prepare();
        for (int i = 0; i < TASKS; i++) {
            tasks[i].fn = draw;
            if (!prior) tasks[i].priority = 0;
        }
        assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 3, .seed = 5), DIST_OK);
        if (!prior) memcpy(expected, out, sizeof out);
    }
    assert_memory_equal(out, expected, sizeof out);
}

/* Positions 40 and 60: the first of them stops the call, whichever has the lower index. */
CASE("G-14", the_first_failure_in_the_order_is_reported) {
    for (unsigned workers = 1; workers <= 4; workers += 3) {
        struct board *board = prepare();
        dist_job *job;
        dist_error e;
        unsigned bad = order[40], worse = order[60];
        board->bad = (int)bad, board->worse = (int)worse;
        assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = workers, .ctx = board,
                                  .job = &job, .error = &e),
                         DIST_FAILED);
        assert_int_equal(e.index, bad);
        assert_string_equal(e.name, name[bad]);
        assert_ptr_equal(e.item, &numbers()[bad]);
        assert_int_equal(e.code, 7);
        size_t skipped = 0;
        for (unsigned i = 0; i < TASKS; i++) {
            const dist_error *o = dist_job_outcome(job, i);
            assert_true(o || out[i] == 10 * (int)i);
            if (i == bad) assert_int_equal(o->status, DIST_FAILED);
            if (position[i] < 40) assert_null(o);
            if (o) assert_int_equal(o->index, i);
            skipped += o && o->status == DIST_SKIPPED;
        }
        if (workers == 1) assert_int_equal(skipped, TASKS - 41);
        assert_int_equal(dist_job_succeeded(job, NULL), TASKS - skipped - dist_job_failures(job));
        dist_job_finish(&job);
    }
}

CASE("P-12", failures_and_results_of_ordered_tasks_are_found_by_index_and_name) {
    struct board *board = prepare();
    dist_job *job;
    unsigned bad = order[70] < order[20] ? order[70] : order[20];
    unsigned worse = order[70] < order[20] ? order[20] : order[70];
    board->bad = (int)bad, board->worse = (int)worse;
    assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 3, .ctx = board, .job = &job,
                              .silent = true),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 2);
    assert_int_equal(dist_job_failure_at(job, 0)->index, bad);
    assert_int_equal(dist_job_failure_at(job, 1)->index, worse);
    for (unsigned i = 0; i < TASKS; i++) {
        void *result = dist_job_named(job, name[i]);
        if (i == bad || i == worse) assert_null(result);
        else assert_ptr_equal(result, &out[i]);
    }
    dist_job_finish(&job);
}

CASE_ON("G-01", a_task_that_crashes_is_known_by_its_index, ON_PROCESS, 20) {
    struct board *board = prepare();
    dist_error e;
    board->deadly = (int)order[33];
    assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 2, .ctx = board, .error = &e),
                     DIST_CRASHED);
    assert_int_equal(e.index, order[33]);
    assert_string_equal(e.name, name[order[33]]);
}

CASE("G-06", a_limit_names_the_first_task_in_the_order_that_had_not_ended) {
    struct board *board = prepare();
    dist_error e;
    board->slow = (int)order[5];
    assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 2, .ctx = board,
                              .timeout = SANITIZED ? 2 : 0.7, .error = &e),
                     DIST_TIMEOUT);
    assert_int_equal(e.index, order[5]);
    assert_ptr_equal(e.item, &numbers()[order[5]]);
}

/* ------------------------------------------------------------------ hooks and jobs */

static struct {
    unsigned started, finished, failed, asked;
    bool wrong;
} heard;

static void check_event(const dist_event *event) {
    size_t i = event->index;
    heard.wrong |= event->item != &numbers()[i] || strcmp(event->name, name[i]) != 0;
    if (event->error) heard.wrong |= event->error->index != i;
    if (event->result) heard.wrong |= event->result != &out[i];
}

static void on_start(const dist_event *event, void *board) {
    (void)board;
    check_event(event);
    heard.started++;
}

static void on_finish(const dist_event *event, void *board) {
    (void)board;
    check_event(event);
    heard.finished++;
    heard.failed += event->error != NULL;
}

static bool retry_if(const dist_error *error, void *board) {
    heard.asked += (int)error->index == ((struct board *)board)->bad;
    return true;
}

CASE("M-11", hooks_hear_of_ordered_tasks_by_index) {
    struct board *board = prepare();
    board->bad = (int)order[50];
    assert_int_equal(dist_par(tasks, TASKS, .executor = X, .workers = 3, .ctx = board,
                              .silent = true, .retries = 2, .on_start = on_start,
                              .on_finish = on_finish, .retry_if = retry_if, .user = board),
                     DIST_OK);
    assert_int_equal(heard.started, TASKS);
    assert_int_equal(heard.finished, TASKS);
    assert_int_equal(heard.failed, 1);
    assert_int_equal(heard.asked, 2);
    assert_false(heard.wrong);
}

CASE("P-63", a_job_of_ordered_tasks_delivers_by_index) {
    for (int unordered = 0; unordered < 2; unordered++) {
        struct board *board = prepare();
        bool delivered[TASKS] = {false};
        dist_event event;
        board->bad = (int)order[50];
        dist_job *job = dist_par_async(tasks, TASKS, .executor = X, .workers = 3, .ctx = board,
                                       .silent = true, .unordered = unordered);
        assert_non_null(job);
        for (size_t k = 0; k < TASKS; k++) {
            assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_OK);
            if (!unordered) assert_int_equal(event.index, k);
            assert_false(delivered[event.index]);
            delivered[event.index] = true;
            check_event(&event);
            assert_int_equal(event.total, TASKS);
            assert_true(!event.error == ((int)event.index != board->bad));
            if (event.error) assert_int_equal(event.error->code, 7);
        }
        assert_false(heard.wrong);
        assert_int_equal(dist_job_next(job, &event, DIST_FOREVER), DIST_EMPTY);
        assert_int_equal(dist_job_finish(&job), DIST_FAILED);
    }
}

CASE("P-63", ordered_tasks_of_a_job_that_is_cancelled_are_skipped) {
    struct board *board = prepare();
    dist_job *job = dist_par_async(tasks, TASKS, .executor = X, .ctx = board, .deferred = true);
    assert_non_null(job);
    assert_int_equal(dist_job_cancel(job, true), DIST_OK);
    for (unsigned i = 0; i < TASKS; i++) {
        assert_int_equal(dist_job_outcome(job, i)->status, DIST_SKIPPED);
        assert_string_equal(dist_job_outcome(job, i)->name, name[i]);
    }
    assert_int_equal(dist_job_finish(&job), DIST_CANCELLED);
}
