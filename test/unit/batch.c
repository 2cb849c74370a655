/* batch.c - units, their items and the ends of chunks describe the same division of a batch. */
#include "unit.h"
#include "common/batch.h"

static const enum dist__kind kinds[] = {DIST__MAP_ITEMS, DIST__MAP_CHUNKS, DIST__INDICES,
                                        DIST__PAR_TASKS};

/* As the door fills it in: 0 <= chunk <= n, and never more workers than units. */
static struct dist__batch batch_of(enum dist__kind kind, size_t n, size_t chunk, unsigned workers) {
    struct dist__batch batch = {.kind = kind, .n = n, .chunk = chunk < n ? chunk : n};
    batch.workers = workers < n ? workers : (unsigned)n;
    size_t units = dist__batch_units(&batch);
    if (batch.workers > units) batch.workers = (unsigned)units;
    return batch;
}

static void check_unit(const struct dist__batch *batch, size_t unit, struct dist__span span) {
    assert_true(span.begin < span.end && span.end <= batch->n);
    if (batch->chunk) assert_int_equal(span.begin, unit * batch->chunk);
    if (batch->kind != DIST__MAP_CHUNKS) return;
    size_t inside[] = {span.begin, span.begin + (span.end - span.begin) / 2, span.end - 1};
    for (size_t i = 0; i < N(inside); i++)
        assert_int_equal(dist__batch_chunk_end(batch, inside[i]), span.end);
}

/* All units of a small batch: neighbours, from 0 to n. */
static void check_all_units(const struct dist__batch *batch) {
    size_t units = dist__batch_units(batch), next = 0;
    assert_true(units >= 1 && units <= batch->n && batch->workers <= units);
    for (size_t unit = 0; unit < units; unit++) {
        struct dist__span span = dist__batch_items(batch, unit, unit + 1);
        assert_int_equal(span.begin, next);
        check_unit(batch, unit, span);
        next = span.end;
    }
    assert_int_equal(next, batch->n);
}

/* Several neighbouring units are what they are one by one. */
static void check_some_units(const struct dist__batch *batch) {
    size_t units = dist__batch_units(batch), begin = random_below(units);
    size_t end = begin + 1 + random_below(units - begin);
    struct dist__span span = dist__batch_items(batch, begin, end);
    assert_int_equal(span.begin, dist__batch_items(batch, begin, begin + 1).begin);
    assert_int_equal(span.end, dist__batch_items(batch, end - 1, end).end);
}

TEST(units_cover_the_items_in_order) {
    for (int round = 0; round < 4000; round++) {
        enum dist__kind kind = kinds[random_below(N(kinds))];
        size_t n = 1 + random_below(random_below(4) ? 100 : 2000);
        size_t chunk = random_below(2) ? random_below(n + 2) : 0;
        unsigned workers = 1 + (unsigned)random_below(70);
        struct dist__batch batch = batch_of(kind, n, chunk, workers);
        check_all_units(&batch);
        check_some_units(&batch);
    }
}

TEST(chunks_of_the_default_size_differ_by_one_at_most) {
    for (size_t n = 1; n <= 100; n++)
        for (unsigned workers = 1; workers <= n; workers++) {
            struct dist__batch batch = batch_of(DIST__MAP_CHUNKS, n, 0, workers);
            assert_int_equal(dist__batch_units(&batch), workers);
            for (size_t i = 0; i < n;) {
                size_t end = dist__batch_chunk_end(&batch, i);
                assert_true(end - i == n / workers || end - i == n / workers + 1);
                i = end;
            }
        }
}

TEST(the_largest_batches_do_not_overflow) {
    size_t chunks[] = {
        0, 1, 2, 3, 1000, SIZE_MAX / 3, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX - 1, SIZE_MAX};
    for (size_t less = 0; less < 5; less++)
        for (size_t c = 0; c < N(chunks); c++)
            for (size_t k = 0; k < N(kinds); k++) {
                struct dist__batch batch =
                    batch_of(kinds[k], SIZE_MAX - less, chunks[c], 1 + (unsigned)random_below(64));
                size_t units = dist__batch_units(&batch);
                struct dist__span first = dist__batch_items(&batch, 0, 1);
                struct dist__span last = dist__batch_items(&batch, units - 1, units);
                assert_int_equal(first.begin, 0);
                assert_int_equal(last.end, batch.n);
                check_unit(&batch, 0, first);
                check_unit(&batch, units - 1, last);
                check_some_units(&batch);
                struct dist__span all = dist__batch_items(&batch, 0, units);
                assert_true(all.begin == 0 && all.end == batch.n);
            }
}

TEST(results_stand_where_the_caller_wants_them) {
    unsigned char out[40], one[8];
    struct dist__batch map = {.kind = DIST__MAP_ITEMS, .n = 10, .out = out, .out_size = 4};
    assert_ptr_equal(dist__batch_result(&map, 3), out + 12);
    assert_int_equal(dist__batch_result_size(&map, 3), 4);
    map.out = NULL;
    assert_null(dist__batch_result(&map, 3));
    assert_int_equal(dist__batch_result_size(&map, 3), 0);
    dist_task tasks[] = {{.result = one, .result_size = sizeof one}, {.result_size = 9}};
    struct dist__batch par = {.kind = DIST__PAR_TASKS, .n = 2, .tasks = tasks};
    assert_ptr_equal(dist__batch_result(&par, 0), one);
    assert_int_equal(dist__batch_result_size(&par, 0), sizeof one);
    assert_null(dist__batch_result(&par, 1));
    assert_int_equal(dist__batch_result_size(&par, 1), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(units_cover_the_items_in_order),
    cmocka_unit_test(chunks_of_the_default_size_differ_by_one_at_most),
    cmocka_unit_test(the_largest_batches_do_not_overflow),
    cmocka_unit_test(results_stand_where_the_caller_wants_them),
};
RUN(tests)
