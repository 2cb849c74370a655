/* heap.c - shared pages are handed out once, and come back. */
#include "unit.h"
#include "common/heap.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, ROOM = 64 * PAGE };

static struct dist__heap heap;

static int open_heap(void **state) {
    (void)state;
    return dist__heap_open(&heap, ROOM, ROOM) ? 0 : -1;
}

static int close_heap(void **state) {
    (void)state;
    dist__heap_close(&heap);
    assert_null(heap.base);
    return 0;
}

static unsigned holes(void) {
    unsigned count = 0;
    for (const struct dist__hole *hole = heap.holes; hole; hole = hole->next) {
        assert_true(hole->begin < hole->end && hole->end <= heap.size);
        assert_true(!hole->next || hole->end < hole->next->begin);
        count++;
    }
    return count;
}

TEST(what_is_taken_is_whole_pages) {
    unsigned char *a = dist__heap_take(&heap, 1), *b = dist__heap_take(&heap, PAGE + 1),
                  *c = dist__heap_take(&heap, PAGE);
    assert_ptr_equal(a, heap.base);
    assert_ptr_equal(b, a + PAGE);
    assert_ptr_equal(c, b + 2 * PAGE);
    memset(b, 1, 2 * PAGE);
    assert_int_equal(a[0] + c[0], 0); /* zeros at first */
}

TEST(what_does_not_fit_is_refused) {
    assert_null(dist__heap_take(&heap, 0));
    assert_null(dist__heap_take(&heap, ROOM + 1));
    assert_null(dist__heap_take(&heap, SIZE_MAX));
    assert_null(dist__heap_take(&heap, SIZE_MAX - PAGE));
    assert_non_null(dist__heap_take(&heap, ROOM));
    assert_null(dist__heap_take(&heap, 1));
    assert_int_equal(holes(), 0);
}

TEST(neighbours_become_one_hole) {
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t k = 0; k < N(orders); k++) {
        void *memory[3];
        for (int i = 0; i < 3; i++) memory[i] = dist__heap_take(&heap, (size_t)(i + 1) * PAGE);
        void *rest = dist__heap_take(&heap, ROOM - 6 * PAGE);
        assert_non_null(rest);
        for (int i = 0; i < 3; i++) {
            int one = orders[k][i];
            dist__heap_give(&heap, memory[one], (size_t)(one + 1) * PAGE);
        }
        assert_int_equal(holes(), 1);
        dist__heap_give(&heap, rest, ROOM - 6 * PAGE);
        assert_int_equal(holes(), 1);
    }
    assert_ptr_equal(dist__heap_take(&heap, ROOM), heap.base);
}

TEST(nothing_is_handed_out_twice) {
    enum { MOST = 24 };
    struct {
        unsigned char *memory;
        size_t bytes;
    } taken[MOST] = {{NULL, 0}};
    for (int round = 0; round < 20000; round++) {
        size_t k = random_below(MOST);
        if (taken[k].memory) {
            for (size_t i = 0; i < taken[k].bytes; i += 512)
                assert_int_equal(taken[k].memory[i], k + 1);
            dist__heap_give(&heap, taken[k].memory, taken[k].bytes);
            taken[k].memory = NULL;
        } else {
            taken[k].bytes = 1 + random_below(8 * PAGE);
            taken[k].memory = dist__heap_take(&heap, taken[k].bytes);
            if (taken[k].memory) memset(taken[k].memory, (int)k + 1, taken[k].bytes);
        }
    }
    for (size_t k = 0; k < MOST; k++)
        if (taken[k].memory) dist__heap_give(&heap, taken[k].memory, taken[k].bytes);
    assert_int_equal(holes(), 1);
    assert_non_null(dist__heap_take(&heap, ROOM));
}

TEST(emptied_memory_reads_as_zeros) {
    unsigned char *memory = dist__heap_take(&heap, 3 * PAGE);
    memset(memory, 7, 3 * PAGE);
    assert_true(dist__heap_empty(memory, 2 * PAGE));
    assert_true(memory[0] == 0 && memory[2 * PAGE - 1] == 0 && memory[2 * PAGE] == 7);
}

TEST(a_child_shares_what_was_taken_after_its_fork) {
    int line[2];
    assert_int_equal(pipe(line), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        _exit(read(line[0], &byte, 1) == 1 && heap.base[5 * PAGE] == 9 ? 0 : 1);
    }
    unsigned char *memory = dist__heap_take(&heap, 6 * PAGE);
    memory[5 * PAGE] = 9;
    assert_int_equal(write(line[1], "", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(line[0]);
    close(line[1]);
}

TEST(where_memory_is_limited_most_is_left_to_others) {
    struct dist__heap other;
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)1 << 34;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    bool opened = dist__heap_open(&other, (size_t)1 << 40, PAGE);
    size_t size = opened ? other.size : 0;
    bool refused = !dist__heap_open(&(struct dist__heap){0}, (size_t)1 << 40, (size_t)1 << 35);
    if (opened) dist__heap_close(&other);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(refused);
    assert_true(!opened || size <= (size_t)1 << 31); /* a sanitizer leaves nothing */
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(what_is_taken_is_whole_pages, open_heap, close_heap),
    cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused, open_heap, close_heap),
    cmocka_unit_test_setup_teardown(neighbours_become_one_hole, open_heap, close_heap),
    cmocka_unit_test_setup_teardown(nothing_is_handed_out_twice, open_heap, close_heap),
    cmocka_unit_test_setup_teardown(emptied_memory_reads_as_zeros, open_heap, close_heap),
    cmocka_unit_test_setup_teardown(a_child_shares_what_was_taken_after_its_fork, open_heap,
                                    close_heap),
    cmocka_unit_test(where_memory_is_limited_most_is_left_to_others),
};
RUN(tests)
