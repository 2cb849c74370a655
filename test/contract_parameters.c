/* contract_parameters.c - the parameters of plain functions: how many, of which types, and where
 * their values come from. */
#include "contract.h"
#include "contract_tools.h"
#include "parameters.h"

#include <stdio.h>
#include <stdlib.h>

CASE("P-15", a_function_may_have_any_number_of_parameters) {
    int one = 0, two[2] = {0};
    long twelve = 0;
    assert_int_equal(digits_1_map(&(digits_1_args){7}, 1, &one, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(one, 7);
    const digits_2_args pairs[] = {{1, 2}, {.b = 3, .a = 4}};
    assert_int_equal(digits_2_map(pairs, 2, two, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(two[0], 12);
    assert_int_equal(two[1], 43);
    const digits_12_args many = {.a = 1, .c = 3, .e = 5, .f = 6, .i = 9, .l = 2};
    assert_int_equal(digits_12_map(&many, 1, &twelve, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(twelve, 123456789012);
}

CASE("P-17", each_field_reaches_the_parameter_of_its_name) {
    long out[12];
    digits_12_args args[12] = {[0] = {.a = 9},
                               [1] = {.b = DIST_SET(9)},
                               [2] = {.c = 9},
                               [3] = {.d = DIST_SET(9)},
                               [4] = {.e = 9},
                               [5] = {.f = 9},
                               [6] = {.g = DIST_SET(9)},
                               [7] = {.h = DIST_SET(9)},
                               [8] = {.i = 9},
                               [9] = {.j = DIST_SET(9)},
                               [10] = {.k = DIST_SET(9)},
                               [11] = {.l = 9}};
    const digits_12_args zeros = {.b = DIST_SET(0),
                                  .d = DIST_SET(0),
                                  .g = DIST_SET(0),
                                  .h = DIST_SET(0),
                                  .j = DIST_SET(0),
                                  .k = DIST_SET(0)};
    assert_int_equal(digits_12_map(args, 12, out, DIST_OPTS(.executor = X, .extras = &zeros)),
                     DIST_OK);
    long expected = 900000000000;
    for (int at = 0; at < 12; at++, expected /= 10) assert_int_equal(out[at], expected);
}

CASE("P-16", positional_and_named_values_may_be_mixed) {
    long out[2];
    const digits_12_args args[] = {{1, DIST_SET(1), 1, DIST_SET(1), 1, 1, .i = 1},
                                   {5, .l = 5, .k = DIST_SET(5), .b = DIST_SET(5)}};
    assert_int_equal(digits_12_map(args, 2, out, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(out[0], 111111781010);
    assert_int_equal(out[1], 550400780055);
}

CASE("P-23", a_function_may_have_optional_parameters_alone) {
    int one[2], three[3];
    unsigned bits[3];
    const optional_1_args ones[] = {{.a = DIST_SET(0)}, {{0}}};
    assert_int_equal(optional_1_map(ones, 2, one, DIST_OPTS(.executor = X)), DIST_OK);
    assert_memory_equal(one, ((int[]){0, 7}), sizeof one);
    const optional_3_args threes[3] = {{.a = DIST_SET(1)}, {.b = DIST_SET(1)}, {.c = DIST_SET(1)}};
    assert_int_equal(optional_3_map(threes, 3, three, DIST_OPTS(.executor = X)), DIST_OK);
    assert_memory_equal(three, ((int[]){150, 10, 51}), sizeof three);
    const bits_16_args flags[3] = {
        {.p = DIST_SET(true)}, {.a = DIST_SET(false)}, {.o = DIST_SET(true), .n = DIST_SET(true)}};
    assert_int_equal(bits_16_map(flags, 3, bits, DIST_OPTS(.executor = X)), DIST_OK);
    assert_memory_equal(bits, ((unsigned[]){0xaaab, 0x2aaa, 0xaaae}), sizeof bits);
}

/* A value and whether it is given at all. */
struct given {
    bool is_set;
    int value;
};
static const struct given given[3] = {{false, 8}, {true, 0}, {true, 3}};

/* The rule in one line: what an unset field holds is of no concern. */
static int winner(struct given item, struct given extra, int initial) {
    return item.is_set ? item.value : extra.is_set ? extra.value : initial;
}

static optional_3_args same_for_all(struct given one) {
    optional_3_args args;
    memset(&args, 0x55, sizeof args); /* padding too */
    args.a.is_set = args.b.is_set = args.c.is_set = one.is_set;
    args.a.value = args.b.value = args.c.value = one.value;
    return args;
}

CASE("P-21", item_beats_extras_beats_default_for_zero_and_other_values) {
    for (size_t i = 0; i < N(given); i++)
        for (size_t e = 0; e < N(given); e++) {
            const optional_3_args item = same_for_all(given[i]), extras = same_for_all(given[e]);
            int zero = winner(given[i], given[e], 0), five = winner(given[i], given[e], 5), out = 0;
            const dist_opts *opts = DIST_OPTS(.executor = X, .extras = &extras);
            assert_int_equal(optional_3_map(&item, 1, &out, opts), DIST_OK);
            assert_int_equal(out, optional_3(zero, five, zero));
            dist_task task = optional_3_future("one", &item, &out);
            out = -1;
            assert_int_equal(dist_par(&task, 1, .executor = X, .extras = &extras), DIST_OK);
            assert_int_equal(out, optional_3(zero, five, zero));
            out = -1;
            assert_int_equal(
                dist_apply(optional_3_task, &item, &out, .executor = X, .extras = &extras),
                DIST_OK);
            assert_int_equal(out, optional_3(zero, five, zero));
        }
}

static int chunk_of_digits(void *results, const void *items, size_t n, void *extras) {
    const optional_3_args *args = items;
    for (size_t i = 0; i < n; i++) optional_3_task((int *)results + i, &args[i], extras);
    return dist_failure();
}

CASE("P-22", extras_reach_chunk_functions) {
    optional_3_args args[101] = {[50] = {.a = DIST_SET(9)}};
    const optional_3_args extras = {.c = DIST_SET(4)};
    int out[101];
    for (unsigned workers = 0; workers < 4; workers++) {
        memset(out, 0, sizeof out);
        assert_int_equal(dist_map_chunks(chunk_of_digits, args, 101, out, .executor = X,
                                         .workers = workers, .extras = &extras),
                         DIST_OK);
        for (int i = 0; i < 101; i++) assert_int_equal(out[i], i == 50 ? 954 : 54);
    }
}

static int nested_digits(void *result, const void *item, void *extras) {
    const optional_3_args *inner = extras;
    return (int)optional_3_map(item, 1, result, DIST_OPTS(.executor = X, .extras = inner));
}

CASE("P-22", extras_are_those_of_the_call_alone) {
    optional_3_args args[3] = {{.a = DIST_SET(1)}, {.a = DIST_SET(2)}, {.a = DIST_SET(3)}};
    int out[3];
    assert_int_equal(dist_map(nested_digits, args, 3, out, .executor = X, .workers = 2,
                              .extras = &(optional_3_args){.c = DIST_SET(6)}),
                     DIST_OK);
    assert_memory_equal(out, ((int[]){156, 256, 356}), sizeof out);
    assert_int_equal(dist_map(nested_digits, args, 3, out, .executor = X), DIST_OK);
    assert_memory_equal(out, ((int[]){150, 250, 350}), sizeof out);
}

CASE("P-14", parameters_may_be_structs_and_pointers) {
    const struct point up = {0, 1};
    const move_args moves[] = {{.from = {1, 1}}, {.from = {1, 1}, .by = DIST_SET(&up)}};
    struct point moved[2], most[2];
    assert_int_equal(
        move_map(moves, 2, moved,
                 DIST_OPTS(.executor = X, .extras = &(move_args){.times = DIST_SET(2)})),
        DIST_OK);
    assert_true(moved[0].x == 3 && moved[0].y == 5 && moved[1].x == 1 && moved[1].y == 3);
    const larger_args points[] = {{.a = {1, 1}}, {.a = {1, 1}, .b = DIST_SET({0, 9})}};
    assert_int_equal(larger_map(points, 2, most, DIST_OPTS(.executor = X)), DIST_OK);
    assert_true(most[0].x == 3 && most[0].y == 4 && most[1].x == 1 && most[1].y == 1);
}

CASE("P-14", parameters_may_be_texts_and_results_may_point_into_them) {
    const char text[] = "the quick brown fox";
    const after_args args[] = {
        {.text = text}, {text, DIST_SET("brown ")}, {.text = text, .word = DIST_SET("dog")}};
    const char *rest[3];
    assert_int_equal(after_map(args, 3, rest, DIST_OPTS(.executor = X, .workers = 2)), DIST_OK);
    assert_ptr_equal(rest[0], text + 4);
    assert_ptr_equal(rest[1], text + 16);
    assert_null(rest[2]);
}

CASE("P-14", parameters_may_be_small_numbers_enums_arrays_and_functions) {
    const small_args smalls[] = {{.c = DIST_SET('b')}, {.color = DIST_SET(RED), .s = DIST_SET(1)}};
    double sums[2];
    assert_int_equal(small_map(smalls, 2, sums, DIST_OPTS(.executor = X)), DIST_OK);
    assert_true(sums[0] == 'b' - 1 + 255 + 0.5 + BLUE + 1000);
    assert_true(sums[1] == 'a' + 1 + 255 + 0.5 + RED + 1000);
    const combine_args threes[] = {{.three = {1, 2, 3}}, {{1, 2, 3}, .by = DIST_SET(minus)}};
    int combined[2], x, *of[2];
    assert_int_equal(combine_map(threes, 2, combined, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(combined[0], 6);
    assert_int_equal(combined[1], -4);
    const address_args addresses[] = {{.of = DIST_SET(&x)}, {.of = DIST_SET(NULL)}};
    const dist_opts *opts =
        DIST_OPTS(.executor = X, .extras = &(address_args){.of = DIST_SET(of[0])});
    assert_int_equal(address_map(addresses, 2, of, opts), DIST_OK);
    assert_ptr_equal(of[0], &x);
    assert_null(of[1]); /* a null pointer that is set beats an extra */
}

CASE("P-15", parameters_may_have_the_names_that_the_macros_use) {
    int out[2];
    const names_args args[] = {{.is_set = 1, .ctx = 1},
                               {.value = DIST_SET(0), .ctx = 1, .out = DIST_SET(0)}};
    assert_int_equal(names_map(args, 2, out, DIST_OPTS(.executor = X)), DIST_OK);
    assert_int_equal(out[0], 63);
    assert_int_equal(out[1], 28);
}

/* ---- an item is a value: nobody looks into it */

static int sum_of_workers(const dist_opts *options) {
    int sum = 0;
    for (; options->size; options++) sum += (int)options->workers;
    return sum;
}
DIST_FN1(int, sum_of_workers, const dist_opts *)

CASE("P-18", an_item_may_be_an_array_of_options) {
    const dist_opts three[] = {{.size = sizeof *three, .workers = 3}, {.size = 0}};
    const dist_opts nine[] = {{.size = sizeof *nine, .workers = 4},
                              {.size = sizeof *nine, .executor = DIST_AUTO, .workers = 5},
                              {.size = 0}};
    const dist_opts *items[] = {three, nine};
    int out[2];
    assert_int_equal(dist_map(sum_of_workers_task, items, 2, out, .executor = X), DIST_OK);
    assert_memory_equal(out, ((int[]){3, 9}), sizeof out);
}

struct record {
    char name[21];
    int numbers[5];
    struct {
        double low, high;
    } range[2];
    const struct record *next;
};

static struct record mirror(struct record r) {
    for (int i = 0; i < 2; i++) {
        int kept = r.numbers[i];
        r.numbers[i] = r.numbers[4 - i];
        r.numbers[4 - i] = kept;
    }
    return r;
}
DIST_FN1(struct record, mirror, struct record)

CASE("P-19", structs_arrive_and_return_whole) {
    struct record in[29], out[29], back[29];
    for (int i = 0; i < 29; i++) {
        in[i] = (struct record){.numbers = {i, i + 1, i + 2, i + 3, i + 4},
                                .range = {{i, i + 0.5}, {-i, 0}},
                                .next = &in[28 - i]};
        snprintf(in[i].name, sizeof in[i].name, "record %d", i);
    }
    assert_int_equal(dist_map(mirror_task, in, 29, out, .executor = X, .workers = 3), DIST_OK);
    assert_int_equal(dist_map(mirror_task, out, 29, back, .executor = X, .chunk = 4), DIST_OK);
    for (int i = 0; i < 29; i++) {
        assert_int_equal(out[i].numbers[0], i + 4);
        assert_string_equal(back[i].name, in[i].name);
        assert_memory_equal(back[i].numbers, in[i].numbers, sizeof in[i].numbers);
        assert_memory_equal(back[i].range, in[i].range, sizeof in[i].range);
        assert_ptr_equal(back[i].next, in[i].next);
    }
}

/* ---- names and lists */

CASE("P-27", a_future_is_known_by_its_own_name) {
    int out[2];
    dist_job *job;
    dist_task tasks[] = {optional_1_future("first", &(optional_1_args){.a = DIST_SET(1)}, &out[0]),
                         optional_1_future(NULL, &(optional_1_args){{0}}, &out[1])};
    assert_int_equal(dist_par(tasks, 2, .executor = X, .job = &job), DIST_OK);
    assert_ptr_equal(dist_job_named(job, "first"), &out[0]);
    assert_null(dist_job_named(job, "optional_1"));
    assert_int_equal(out[1], 7);
    assert_int_equal(dist_job_finish(&job), DIST_OK);
}
