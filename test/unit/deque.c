/* deque.c - the deque and its blocks, in one thread. */
#include "unit.h"
#include "thread/deque.h"

static struct dist__deque deque;
static int element[1000];

static struct dist__deque_block *new_block(int64_t size) {
    struct dist__deque_block *block =
        malloc(sizeof *block + (size_t)size * sizeof(_Atomic(void *)));
    assert_non_null(block);
    block->older = NULL;
    block->size = size;
    for (int64_t i = 0; i < size; i++) atomic_init(&block->slot[i], NULL);
    return block;
}

static void open_deque(int64_t size) { dist__deque_init(&deque, new_block(size)); }

/* Returns how many blocks there were. */
static unsigned close_deque(void) {
    unsigned count = 0;
    struct dist__deque_block *older, *block = deque.block;
    for (; block; block = older, count++) {
        older = block->older;
        free(block);
    }
    return count;
}

static void *steal(void) {
    bool lost = true;
    void *got = dist__deque_steal(&deque, &lost);
    assert_false(lost); /* there is nobody to lose against */
    return got;
}

static void push_growing(void *one) {
    if (dist__deque_push(&deque, one)) return;
    struct dist__deque_block *block = deque.block;
    dist__deque_grow(&deque, new_block(2 * block->size));
    assert_true(dist__deque_push(&deque, one));
}

TEST(the_owner_gets_the_newest_and_a_thief_the_oldest) {
    open_deque(4);
    for (size_t i = 0; i < 4; i++) assert_true(dist__deque_push(&deque, &element[i]));
    assert_ptr_equal(dist__deque_pop(&deque), &element[3]);
    assert_ptr_equal(steal(), &element[0]);
    assert_ptr_equal(steal(), &element[1]);
    assert_ptr_equal(dist__deque_pop(&deque), &element[2]);
    assert_null(dist__deque_pop(&deque));
    assert_null(steal());
    close_deque();
}

TEST(an_empty_deque_stays_usable) {
    open_deque(1);
    for (size_t i = 0; i < 100; i++) {
        assert_null(dist__deque_pop(&deque));
        assert_null(steal());
        assert_true(dist__deque_push(&deque, &element[i]));
        assert_ptr_equal(i % 2 ? steal() : dist__deque_pop(&deque), &element[i]);
    }
    close_deque();
}

TEST(a_full_block_refuses_and_changes_nothing) {
    for (int64_t size = 1; size <= 8; size *= 2) {
        open_deque(size);
        for (int64_t i = 0; i < size; i++) assert_true(dist__deque_push(&deque, &element[i]));
        for (int i = 0; i < 3; i++) assert_false(dist__deque_push(&deque, &element[99]));
        for (int64_t i = size; i-- > 0;) assert_ptr_equal(dist__deque_pop(&deque), &element[i]);
        assert_null(dist__deque_pop(&deque));
        close_deque();
    }
}

TEST(indices_wrap_around_the_block) {
    open_deque(4);
    for (size_t i = 0; i < 3; i++) assert_true(dist__deque_push(&deque, &element[i]));
    for (size_t i = 3; i < N(element); i++) {
        assert_true(dist__deque_push(&deque, &element[i]));
        assert_ptr_equal(steal(), &element[i - 3]);
    }
    for (size_t i = N(element); i-- > N(element) - 3;)
        assert_ptr_equal(dist__deque_pop(&deque), &element[i]);
    close_deque();
}

TEST(a_larger_block_holds_all_elements_wherever_they_stood) {
    for (size_t shift = 0; shift < 8; shift++) {
        open_deque(4);
        for (size_t i = 0; i < shift; i++) {
            assert_true(dist__deque_push(&deque, &element[0]));
            assert_ptr_equal(steal(), &element[0]);
        }
        for (size_t i = 0; i < 100; i++) push_growing(&element[i]);
        for (size_t i = 0; i < 50; i++) assert_ptr_equal(steal(), &element[i]);
        for (size_t i = 100; i-- > 50;) assert_ptr_equal(dist__deque_pop(&deque), &element[i]);
        assert_null(steal());
        assert_int_equal(close_deque(), 6); /* 4, 8, ... 128: old blocks are kept */
    }
}

TEST(growing_early_keeps_the_order) {
    open_deque(2);
    for (size_t i = 0; i < 2; i++) assert_true(dist__deque_push(&deque, &element[i]));
    dist__deque_grow(&deque, new_block(64));
    assert_ptr_equal(steal(), &element[0]);
    assert_ptr_equal(dist__deque_pop(&deque), &element[1]);
    dist__deque_grow(&deque, new_block(128)); /* with nothing in it */
    assert_null(steal());
    assert_int_equal(close_deque(), 3);
}

static int64_t steal_some(void **got, int64_t most) {
    bool lost = true;
    int64_t count = dist__deque_steal_some(&deque, got, most, &lost);
    assert_false(lost);
    return count;
}

static void push_many(size_t count) {
    for (size_t i = 0; i < count; i++) push_growing(&element[i]);
}

TEST(a_thief_gets_several_only_from_an_open_deque) {
    void *got[DIST__DEQUE_REACH];
    open_deque(4);
    push_many(100);
    assert_int_equal(steal_some(got, DIST__DEQUE_REACH), 1);
    assert_ptr_equal(got[0], &element[0]);
    dist__deque_open(&deque, 100); /* there are 99 */
    assert_int_equal(steal_some(got, DIST__DEQUE_REACH), 1);
    dist__deque_open(&deque, 98);
    assert_int_equal(steal_some(got, DIST__DEQUE_REACH), DIST__DEQUE_REACH);
    for (size_t i = 0; i < DIST__DEQUE_REACH; i++) assert_ptr_equal(got[i], &element[2 + i]);
    assert_int_equal(steal_some(got, 3), 3);
    assert_ptr_equal(got[2], &element[4 + DIST__DEQUE_REACH]);
    assert_ptr_equal(steal(), &element[5 + DIST__DEQUE_REACH]);
    assert_int_equal(dist__deque_taken(&deque), 6 + DIST__DEQUE_REACH);
    assert_int_equal(dist__deque_count(&deque), 94 - DIST__DEQUE_REACH);
    close_deque();
}

TEST(a_thief_leaves_half_to_others) {
    void *got[DIST__DEQUE_REACH];
    open_deque(64);
    push_many(DIST__DEQUE_REACH);
    dist__deque_open(&deque, DIST__DEQUE_REACH);
    for (int64_t left = DIST__DEQUE_REACH; left > 0; left -= (left + 1) / 2)
        assert_int_equal(steal_some(got, DIST__DEQUE_REACH), (left + 1) / 2);
    assert_int_equal(steal_some(got, DIST__DEQUE_REACH), 0);
    close_deque();
}

TEST(the_owner_closes_it_where_thieves_might_reach) {
    void *got[DIST__DEQUE_REACH];
    open_deque(4);
    push_many(100);
    dist__deque_open(&deque, 100);
    for (size_t i = 100; i-- > DIST__DEQUE_REACH;)
        assert_ptr_equal(dist__deque_pop(&deque), &element[i]);
    assert_true(dist__deque_is_open(deque.top));
    assert_ptr_equal(dist__deque_pop(&deque), &element[DIST__DEQUE_REACH - 1]);
    assert_false(dist__deque_is_open(deque.top));
    push_many(100);
    dist__deque_open(&deque, 100); /* top has not moved since */
    assert_int_equal(steal_some(got, DIST__DEQUE_REACH), 1);
    dist__deque_open(&deque, 100);
    assert_int_equal(steal_some(got, DIST__DEQUE_REACH), DIST__DEQUE_REACH);
    close_deque();
}

TEST(an_open_deque_is_usable_to_its_end) {
    void *got[DIST__DEQUE_REACH];
    open_deque(64);
    push_many(DIST__DEQUE_REACH);
    dist__deque_open(&deque, DIST__DEQUE_REACH);
    while (steal_some(got, DIST__DEQUE_REACH) > 0) continue;
    assert_true(dist__deque_is_open(deque.top));
    assert_true(dist__deque_seems_empty(&deque));
    assert_null(dist__deque_newest(&deque));
    assert_null(dist__deque_oldest(&deque));
    assert_null(dist__deque_pop(&deque));
    for (size_t i = 0; i < 10; i++) {
        assert_true(dist__deque_push(&deque, &element[i]));
        assert_ptr_equal(dist__deque_newest(&deque), &element[i]);
        assert_ptr_equal(dist__deque_oldest(&deque), &element[i]);
        assert_ptr_equal(i % 2 ? steal() : dist__deque_pop(&deque), &element[i]);
    }
    close_deque();
}

TEST(several_are_offered_at_once_or_none) {
    void *some[3] = {&element[1], &element[2], &element[3]};
    open_deque(4);
    for (int k = 0; k < 3; k++) {
        assert_true(dist__deque_push(&deque, &element[0]));
        assert_ptr_equal(steal(), &element[0]);
    }
    assert_true(dist__deque_push(&deque, &element[0]));
    assert_true(dist__deque_offer_some(&deque, some, 3));
    assert_ptr_equal(steal(), &element[0]);
    assert_false(dist__deque_offer_some(&deque, some, 2));
    assert_int_equal(dist__deque_count(&deque), 3);
    for (size_t i = 3; i > 0; i--) assert_ptr_equal(dist__deque_pop(&deque), &element[i]);
    close_deque();
}

/* Random operations against a plain array with two ends. */
TEST(it_is_a_deque) {
    for (int round = 0; round < 200; round++) {
        void *model[2000];
        size_t first = 0, last = 0;
        open_deque(INT64_C(1) << random_below(4));
        for (int k = 0; k < 1000; k++) {
            size_t what = random_below(5);
            if (random_below(20) == 0) dist__deque_open(&deque, DIST__DEQUE_REACH);
            if (what < 3) {
                model[last] = &element[random_below(N(element))];
                push_growing(model[last++]);
            } else if (first == last) {
                assert_null(what == 3 ? steal() : dist__deque_pop(&deque));
            } else if (what == 4) {
                assert_ptr_equal(dist__deque_pop(&deque), model[--last]);
            } else {
                void *got[DIST__DEQUE_REACH];
                int64_t count = steal_some(got, 1 + (int64_t)random_below(DIST__DEQUE_REACH));
                for (int64_t i = 0; i < count; i++) assert_ptr_equal(got[i], model[first++]);
            }
        }
        close_deque();
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_owner_gets_the_newest_and_a_thief_the_oldest),
    cmocka_unit_test(an_empty_deque_stays_usable),
    cmocka_unit_test(a_full_block_refuses_and_changes_nothing),
    cmocka_unit_test(indices_wrap_around_the_block),
    cmocka_unit_test(a_larger_block_holds_all_elements_wherever_they_stood),
    cmocka_unit_test(growing_early_keeps_the_order),
    cmocka_unit_test(a_thief_gets_several_only_from_an_open_deque),
    cmocka_unit_test(a_thief_leaves_half_to_others),
    cmocka_unit_test(the_owner_closes_it_where_thieves_might_reach),
    cmocka_unit_test(an_open_deque_is_usable_to_its_end),
    cmocka_unit_test(several_are_offered_at_once_or_none),
    cmocka_unit_test(it_is_a_deque),
};
RUN(tests)
