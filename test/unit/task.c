/* task.c - the record behind dist_index, dist_worker, dist_fail and dist_fail_at. */
#include "unit.h"
#include "common/batch.h"

#include <limits.h>

/* As a worker of a call of `workers` workers that was made from inside `caller`, or NULL. */
static void enter(struct dist__record *record, struct dist__record *caller, unsigned worker,
                  unsigned workers, bool process) {
    struct dist__batch batch = {.caller = caller, .workers = workers};
    dist__record_enter(record, &batch, worker, process ? DIST__FORKED : DIST__THREADED);
}

TEST(outside_of_tasks_there_is_nothing) {
    assert_null(dist__record_current());
    assert_int_equal(dist_index(), 0);
    assert_int_equal(dist_worker(), 0);
    assert_int_equal(dist_attempt(), 0);
    assert_int_equal(dist_failure(), 0);
    assert_null(dist_name());
    assert_int_equal(dist_fail(5, "not %s", "recorded"), 5);
    assert_int_equal(dist_fail(0, "x"), 1);
    assert_int_equal(dist_fail_at(3, 6, "x"), 6);
}

TEST(the_record_answers_what_a_task_asks) {
    struct dist__record record;
    enter(&record, NULL, 3, 8, false);
    assert_ptr_equal(dist__record_current(), &record);
    record.index = 41;
    record.name = "xrp";
    assert_int_equal(dist_index(), 41);
    assert_int_equal(dist_worker(), 3);
    assert_int_equal(dist_attempt(), 1);
    assert_string_equal(dist_name(), "xrp");
    assert_int_equal(dist_failure(), 0);
    dist__record_leave(&record);
    assert_null(dist__record_current());
}

TEST(failing_records_code_and_text) {
    struct dist__record record;
    enter(&record, NULL, 0, 1, false);
    assert_int_equal(dist_fail(7, "cannot read %s (%d)", "file", 2), 7);
    assert_int_equal(dist_failure(), 7);
    assert_string_equal(record.message, "cannot read file (2)");
    assert_int_equal(dist_fail(0, "zero"), 1);
    assert_int_equal(record.code, 1);
    assert_string_equal(record.message, "zero");
    dist__record_leave(&record);
}

TEST(long_texts_are_cut) {
    struct dist__record record;
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    enter(&record, NULL, 0, 1, false);
    record.chunk_count = 1;
    dist_fail(1, "%s", text);
    assert_int_equal(strlen(record.message), DIST__MESSAGE_SIZE - 1);
    dist_fail_at(0, 1, "%s", text);
    assert_int_equal(strlen(record.named[0].message), DIST__MESSAGE_SIZE - 1);
    dist__record_leave(&record);
}

TEST(records_nest) {
    struct dist__record outer, inner;
    enter(&outer, NULL, 1, 4, true);
    outer.index = 10;
    enter(&inner, &outer, 2, 3, false);
    inner.index = 20;
    assert_int_equal(dist_index(), 20);
    dist_fail(9, "inner");
    dist__record_leave(&inner);
    assert_int_equal(dist_index(), 10);
    assert_int_equal(dist_worker(), 1);
    assert_int_equal(dist_failure(), 0);
    dist__record_leave(&outer);
}

TEST(crowds_multiply_and_saturate) {
    struct dist__record a, b, c;
    enter(&a, NULL, 0, 4, true);
    assert_int_equal(a.crowd, 4);
    assert_int_equal(a.process_crowd, 4);
    enter(&b, &a, 0, 5, false);
    assert_int_equal(b.crowd, 20);
    assert_int_equal(b.process_crowd, 4);
    enter(&c, &b, 0, UINT_MAX / 2, true);
    assert_true(c.crowd == UINT_MAX && c.process_crowd == UINT_MAX);
    dist__record_leave(&c);
    dist__record_leave(&b);
    dist__record_leave(&a);
}

TEST(named_items_are_kept_in_the_order_of_naming) {
    struct dist__record record;
    enter(&record, NULL, 0, 1, false);
    record.chunk_count = 100;
    for (size_t k = 100; k-- > 0;)
        assert_int_equal(dist_fail_at(k, (int)k, "item %zu", k), k ? k : 1);
    assert_int_equal(record.named_count, 100);
    for (size_t i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "item %zu", 99 - i);
        assert_int_equal(record.named[i].offset, 99 - i);
        assert_string_equal(record.named[i].message, text);
    }
    assert_false(record.named_lost);
    assert_int_equal(dist_failure(), 0); /* the task as a whole has not failed */
    dist__record_leave(&record);
}

TEST(naming_an_item_past_the_chunk_fails_the_task) {
    struct dist__record record;
    enter(&record, NULL, 0, 1, false);
    record.chunk_count = 4;
    assert_int_equal(dist_fail_at(4, 12, "no such item"), 12);
    assert_true(record.named_lost);
    assert_int_equal(record.named_count, 0);
    assert_int_equal(dist_failure(), 12);
    assert_string_equal(record.message, "no such item");
    dist__record_leave(&record);
}

TEST(scratch_is_aligned_and_reused) {
    struct dist__record record;
    enter(&record, NULL, 0, 1, false);
    unsigned char *large = dist__record_scratch(&record, 10000);
    assert_non_null(large);
    assert_int_equal((uintptr_t)large % 64, 0);
    memset(large, 1, 10000);
    assert_ptr_equal(dist__record_scratch(&record, 1), large);
    for (size_t size = 1; size < 200000; size = size * 3 + 1) {
        unsigned char *scratch = dist__record_scratch(&record, size);
        assert_non_null(scratch);
        assert_int_equal((uintptr_t)scratch % 64, 0);
        memset(scratch, 2, size);
    }
    assert_null(dist__record_scratch(&record, SIZE_MAX));
    assert_null(dist__record_scratch(&record, SIZE_MAX - 62));
    assert_non_null(dist__record_scratch(&record, 100)); /* and goes on after that */
    dist__record_leave(&record);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(outside_of_tasks_there_is_nothing),
    cmocka_unit_test(the_record_answers_what_a_task_asks),
    cmocka_unit_test(failing_records_code_and_text),
    cmocka_unit_test(long_texts_are_cut),
    cmocka_unit_test(records_nest),
    cmocka_unit_test(crowds_multiply_and_saturate),
    cmocka_unit_test(named_items_are_kept_in_the_order_of_naming),
    cmocka_unit_test(naming_an_item_past_the_chunk_fails_the_task),
    cmocka_unit_test(scratch_is_aligned_and_reused),
};
RUN(tests)
