/* contract_par.c - different functions at once. */
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <string.h>

static int half(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(double *)result = *(const double *)item / 2;
    return 0;
}

static int greet(void *result, const void *item, void *ctx) {
    (void)ctx;
    memcpy(result, "hello ", 7);
    memcpy((char *)result + 6, item, strlen(item) + 1);
    return 0;
}

static int answer(void *result, const void *item, void *ctx) {
    (void)ctx;
    if (result) *(int *)result = item ? -1 : 42;
    return 0;
}

struct prices {
    int squared, answer, again;
    double half;
    char text[32];
};

/* Five tasks, one without argument, into the fields of *p. */
#define FIVE_TASKS(p)                                                                              \
    {                                                                                              \
        DIST_TASK("square", square, &(const int){7}, &(p)->squared),                               \
            DIST_TASK("half", half, &(const double){5}, &(p)->half),                               \
            DIST_TASK("text", greet, "world", &(p)->text),                                         \
            DIST_TASK(NULL, answer, DIST_NONE, &(p)->answer),                                      \
            DIST_TASK(NULL, square, &(const int){9}, &(p)->again),                                 \
    }

static void check_five(const struct prices *p) {
    assert_int_equal(p->squared, 49);
    assert_int_equal(p->answer, 42);
    assert_int_equal(p->again, 81);
    assert_true(p->half == 2.5);
    assert_string_equal(p->text, "hello world");
}

CASE("P-25", par_fills_the_fields_of_one_struct) {
    NOT_IN_PROCESS_POOLS("an argument is larger than its arg_size");
    for (unsigned workers = 0; workers < 7; workers++) {
        struct prices p = {0};
        dist_task tasks[] = FIVE_TASKS(&p);
        assert_int_equal(dist_par(tasks, N(tasks), .executor = X, .workers = workers), DIST_OK);
        check_five(&p);
    }
}

CASE("P-30", par_takes_the_options_of_map) {
    NOT_IN_PROCESS_POOLS("an argument is larger than its arg_size");
    struct prices p = {0};
    dist_task tasks[] = FIVE_TASKS(&p);
    dist_error e = {.index = 77};
    dist_job *job;
    assert_int_equal(dist_par(tasks, N(tasks), .executor = X, .chunk = 2, .silent = true,
                              .max_failures = 2, .error = &e, .job = &job),
                     DIST_OK);
    check_five(&p);
    assert_int_equal(e.index, 77);
    assert_int_equal(dist_job_count(job), 5);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
    memset(&p, 0, sizeof p);
    assert_int_equal(dist_par(tasks, N(tasks), .executor = X, .in_place = true), DIST_OK);
    check_five(&p);
}

CASE("P-26", a_task_may_have_no_argument_and_no_result) {
    int out = 0;
    dist_task tasks[] = {{.fn = answer, .result = &out, .result_size = sizeof out}, {.fn = answer}};
    assert_int_equal(dist_par(tasks, 2, .executor = X), DIST_OK);
    assert_int_equal(out, 42);
}

static int own_name(void *result, const void *item, void *ctx) {
    (void)item, (void)ctx;
    strcpy(result, dist_name() ? dist_name() : "(none)");
    return 0;
}

CASE("P-27", a_result_is_found_by_the_name_of_its_task) {
    char first[16], second[16], third[16];
    dist_job *job;
    dist_task tasks[] = {DIST_TASK("btc", own_name, DIST_NONE, &first),
                         DIST_TASK("eth", own_name, DIST_NONE, &second),
                         DIST_TASK(NULL, own_name, DIST_NONE, &third)};
    assert_int_equal(dist_par(tasks, 3, .executor = X, .job = &job), DIST_OK);
    assert_string_equal(first, "btc");
    assert_string_equal(second, "eth");
    assert_string_equal(third, "(none)");
    assert_ptr_equal(dist_job_named(job, "btc"), first);
    assert_ptr_equal(dist_job_named(job, "eth"), second);
    assert_null(dist_job_named(job, "xrp"));
    assert_null(dist_job_named(job, ""));
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

CASE("P-28", the_same_function_may_stand_there_many_times) {
    int in[101], out[101];
    dist_task tasks[101];
    for (int i = 0; i < 101; i++) {
        in[i] = i;
        tasks[i] = (dist_task)DIST_TASK(NULL, square, &in[i], &out[i]);
    }
    assert_int_equal(dist_par(tasks, 101, .executor = X, .workers = 3), DIST_OK);
    for (int i = 0; i < 101; i++) assert_int_equal(out[i], i * i);
}

CASE("P-29", par_of_nothing_succeeds) {
    struct prices p;
    dist_task tasks[] = FIVE_TASKS(&p);
    dist_job *job;
    memset(&p, 7, sizeof p);
    assert_int_equal(dist_par(tasks, 0, .executor = X, .job = &job), DIST_OK);
    assert_int_equal(p.squared, 0x07070707);
    assert_int_equal(dist_job_count(job), 0);
    assert_null(dist_job_named(job, "square"));
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}

static int context_value(void *result, const void *item, void *ctx) {
    (void)item;
    *(int *)result = *(const int *)ctx;
    return 0;
}

CASE("P-22", a_context_of_its_own_beats_that_of_the_call) {
    int out[3];
    dist_task tasks[3];
    for (int i = 0; i < 3; i++)
        tasks[i] = (dist_task)DIST_TASK(NULL, context_value, DIST_NONE, &out[i]);
    tasks[1].ctx = &(int){11};
    assert_int_equal(dist_par(tasks, 3, .executor = X, .ctx = &(int){22}), DIST_OK);
    assert_int_equal(out[0], 22);
    assert_int_equal(out[1], 11);
    assert_int_equal(out[2], 22);
}

static int spoil(void *result, const void *item, void *ctx) {
    (void)ctx;
    *(int *)result = 99;
    return dist_fail(ENOENT, "no price for %s", (const char *)item);
}

CASE("P-34", silent_par_reports_failures_by_name) {
    NOT_IN_PROCESS_POOLS("an argument is larger than its arg_size");
    int out[4] = {-1, -1, -1, -1};
    dist_job *job;
    const char *what = "xrp";
    dist_task tasks[] = {DIST_TASK("btc", square, &(const int){3}, &out[0]),
                         {"xrp", spoil, what, sizeof *what, &out[1], sizeof out[1], 0, 0, 0, 0},
                         DIST_TASK("eth", square, &(const int){4}, &out[2]),
                         {NULL, spoil, what, sizeof *what, &out[3], sizeof out[3], 0, 0, 0, 0}};
    assert_int_equal(dist_par(tasks, 4, .executor = X, .workers = 2, .silent = true, .job = &job),
                     DIST_OK);
    assert_memory_equal(out, ((int[]){9, -1, 16, -1}), sizeof out);
    assert_int_equal(dist_job_failures(job), 2);
    const dist_error *e = dist_job_failure_at(job, 0);
    assert_int_equal(e->index, 1);
    assert_string_equal(e->name, "xrp");
    assert_string_equal(e->message, "no price for xrp");
    assert_int_equal(e->code, ENOENT);
    assert_ptr_equal(e->item, what);
    assert_null(dist_job_failure_at(job, 1)->name);
    assert_null(dist_job_named(job, "xrp"));
    assert_ptr_equal(dist_job_named(job, "eth"), &out[2]);
    assert_int_equal(dist_job_finish(&job), DIST_FAILED);
}

CASE("P-31", par_reports_the_first_failure_of_the_list) {
    for (unsigned i = 0; again(i, rounds(300, 100)); i++) {
        int out[6];
        dist_error e;
        dist_task tasks[6];
        for (int k = 0; k < 6; k++)
            tasks[k] = (dist_task)DIST_TASK(NULL, answer, DIST_NONE, &out[k]);
        tasks[2] = (dist_task)DIST_TASK("bad", spoil, "y", &out[2]);
        tasks[4] = (dist_task)DIST_TASK("worse", spoil, "y", &out[4]);
        assert_int_equal(dist_par(tasks, 6, .executor = X, .workers = 3, .error = &e), DIST_FAILED);
        assert_int_equal(e.index, 2);
        assert_string_equal(e.name, "bad");
    }
}

struct block {
    char bytes[10007];
};

static int fill_block(void *result, const void *item, void *ctx) {
    (void)ctx;
    memset(result, *(const char *)item, sizeof(struct block));
    return 0;
}

CASE("G-17", par_results_may_differ_in_size) {
    static struct block blocks[20];
    char letters[20];
    int out[20];
    dist_task tasks[40];
    for (int i = 0; i < 20; i++) {
        letters[i] = (char)('a' + i);
        tasks[2 * i] = (dist_task)DIST_TASK(NULL, fill_block, &letters[i], &blocks[i]);
        tasks[2 * i + 1] = (dist_task)DIST_TASK(NULL, square, &numbers()[i], &out[i]);
    }
    assert_int_equal(dist_par(tasks, 40, .executor = X, .workers = 3), DIST_OK);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(out[i], i * i);
        for (size_t at = 0; at < sizeof blocks[i].bytes; at++)
            assert_int_equal(blocks[i].bytes[at], letters[i]);
    }
}

struct order {
    _Atomic(unsigned) next, wrong;
};

static int in_turn(void *result, const void *item, void *ctx) {
    struct order *order = ctx;
    (void)result;
    if (atomic_fetch_add(&order->next, 1) != (unsigned)*(const int *)item) count(&order->wrong);
    return 0;
}

CASE("P-30", par_with_one_worker_runs_in_the_order_of_the_list) {
    struct order *order = shared_memory(sizeof *order);
    dist_task tasks[101];
    for (int i = 0; i < 101; i++)
        tasks[i] = (dist_task)DIST_TASK(NULL, in_turn, &numbers()[i], DIST_NONE);
    assert_int_equal(dist_par(tasks, 101, .executor = X, .workers = 1, .ctx = order), DIST_OK);
    assert_int_equal(counted(&order->next), 101);
    assert_int_equal(counted(&order->wrong), 0);
}
