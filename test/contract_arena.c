/* contract_arena.c - memory that tasks allocate and return pointers to. */
#define _GNU_SOURCE
#include "contract.h"
#include "contract_tools.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static char *decimal(int x) {
    char text[16];
    snprintf(text, sizeof text, "%d", x);
    return dist_strdup(text);
}
DIST_FN1(char *, decimal, int)

static void check_decimals(char *const *out, size_t n, const dist_arena *arena) {
    for (size_t i = 0; i < n; i++) {
        assert_true(dist_arena_owns(arena, out[i]));
        assert_int_equal(atoi(out[i]), (int)i);
    }
}

CASE("D-23", pointers_from_workers_are_valid_in_the_caller) {
    char *out[PRIME];
    dist_arena *arena = dist_arena_new(0);
    assert_non_null(arena);
    for (unsigned workers = 1; workers < 8; workers += 2) {
        assert_int_equal(dist_map(decimal_task, numbers(), PRIME, out, .executor = X,
                                  .workers = workers, .arena = arena),
                         DIST_OK);
        check_decimals(out, PRIME, arena);
    }
    dist_arena_free(arena);
}

CASE("D-23", results_of_earlier_calls_stay) {
    char *out[40][3];
    dist_arena *arena = dist_arena_new(1 << 20); /* calls must not waste much of it */
    unsigned calls = rounds(2000, 60);
    for (unsigned k = 0; k < calls; k++)
        assert_int_equal(dist_map(decimal_task, numbers(), 3, out[k % N(out)], .executor = X,
                                  .workers = 1, .arena = arena),
                         DIST_OK);
    for (unsigned k = 0; k < N(out) && k < calls; k++) check_decimals(out[k], 3, arena);
    dist_arena_free(arena);
}

CASE("D-23", an_arena_may_go_as_soon_as_its_call_has_returned) {
    char *out[20];
    for (unsigned k = 0; again(k, rounds(5000, 50)); k++) {
        dist_arena *arena = dist_arena_new(1 << 20);
        assert_int_equal(dist_map(decimal_task, numbers(), N(out), out, .executor = X, .workers = 4,
                                  .chunk = 1, .arena = arena),
                         DIST_OK);
        check_decimals(out, N(out), arena);
        dist_arena_free(arena);
    }
}

/* ------------------------------------------------------------------ many pieces */

struct piece {
    struct piece *next; /* of the same item */
    size_t size;
    unsigned char *bytes;
    size_t number; /* all bytes are made from it */
};

static unsigned char byte_of(size_t number, size_t at) {
    return (unsigned char)((number * 2654435761u >> 7) + at * 7);
}

static bool is_zero(const unsigned char *bytes, size_t size) {
    for (size_t at = 0; at < size; at++)
        if (bytes[at]) return false;
    return true;
}

/* One more piece, made and checked; NULL and dist_fail if something is wrong. */
static struct piece *make_piece(struct piece *next, size_t size, size_t number) {
    struct piece *piece = dist_alloc(sizeof *piece);
    unsigned char *bytes = dist_alloc(size);
    if (!piece || !bytes) return NULL;
    size_t alignment = size >= 64 ? 64 : size >= 32 ? 32 : _Alignof(max_align_t);
    if ((uintptr_t)piece % _Alignof(struct piece) || (uintptr_t)bytes % alignment)
        return dist_fail(EFAULT, "%zu bytes at %p", size, (void *)bytes), NULL;
    if (!is_zero((void *)piece, sizeof *piece) || !is_zero(bytes, size))
        return dist_fail(EFAULT, "%zu bytes that are not zero", size), NULL;
    for (size_t at = 0; at < size; at++) bytes[at] = byte_of(number, at);
    *piece = (struct piece){next, size, bytes, number};
    return piece;
}

static const size_t sizes[] = {0, 1, 7, 16, 31, 32, 64, 65, 1000, 1500, 5000, 17000, 70000};
enum { PIECES = 2 * N(sizes) };

static struct piece *pieces(int item) {
    struct piece *last = NULL;
    for (size_t k = 0; k < PIECES; k++) {
        last = make_piece(last, sizes[(k * 5 + (size_t)item) % N(sizes)], (size_t)item * 100 + k);
        if (!last) return NULL;
    }
    return last;
}
DIST_FN1(struct piece *, pieces, int)

static int by_begin(const void *a, const void *b) {
    const struct dist_range *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static void assert_piece_is_right(const struct piece *piece, const dist_arena *arena) {
    assert_true(dist_arena_owns(arena, piece) && dist_arena_owns(arena, piece->bytes));
    assert_true(dist_arena_owns(arena, (char *)(piece + 1) - 1));
    assert_true(piece->size == 0 || dist_arena_owns(arena, piece->bytes + piece->size - 1));
    for (size_t at = 0; at < piece->size; at++)
        assert_int_equal(piece->bytes[at], byte_of(piece->number, at));
}

/* All of them are as they were made, and nothing lies in two. Returns how many. */
static size_t check_pieces(struct piece *const *out, size_t n, const dist_arena *arena) {
    size_t count = 0, filled = 0;
    for (size_t i = 0; i < n; i++)
        for (const struct piece *piece = out[i]; piece; piece = piece->next) {
            assert_piece_is_right(piece, arena);
            count++;
        }
    dist_range *ranges = malloc(2 * count * sizeof *ranges);
    assert_non_null(ranges);
    for (size_t i = 0; i < n; i++)
        for (const struct piece *piece = out[i]; piece; piece = piece->next) {
            ranges[filled++] = (dist_range){(uintptr_t)piece, sizeof *piece};
            ranges[filled++] = (dist_range){(uintptr_t)piece->bytes, piece->size ? piece->size : 1};
        }
    qsort(ranges, filled, sizeof *ranges, by_begin);
    for (size_t k = 1; k < filled; k++)
        assert_true(ranges[k - 1].begin + ranges[k - 1].count <= ranges[k].begin);
    free(ranges);
    return count;
}

CASE("D-23", no_two_allocations_overlap) {
    size_t n = rounds(500, 500);
    struct piece **out = calloc(n, sizeof *out);
    dist_arena *arena = dist_arena_new(0);
    assert_int_equal(dist_map(pieces_task, numbers(), n, out, .executor = X, .workers = 7,
                              .chunk = 1, .arena = arena),
                     DIST_OK);
    assert_int_equal(check_pieces(out, n, arena), n * PIECES);
    dist_arena_free(arena);
    free(out);
}

enum { CLAIMS = 5000, CLAIM_SIZE = 20000 }; /* too large to come from a worker's own block */

static char **claims(int unused) {
    char **all = dist_alloc(CLAIMS * sizeof *all);
    (void)unused;
    for (size_t k = 0; k < CLAIMS; k++) all[k] = dist_alloc(CLAIM_SIZE);
    return all;
}
DIST_FN1(char **, claims, int)

static int by_address(const void *a, const void *b) {
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return (x > y) - (x < y);
}

CASE("D-23", allocations_at_the_same_moment_do_not_meet) {
    static char *all[8 * CLAIMS];
    char **out[8];
    dist_arena *arena = dist_arena_new(0);
    assert_int_equal(dist_map(claims_task, numbers(), 8, out, .executor = X, .workers = 4,
                              .chunk = 1, .arena = arena),
                     DIST_OK);
    for (size_t i = 0; i < 8; i++) memcpy(all + i * CLAIMS, out[i], CLAIMS * sizeof *all);
    qsort(all, N(all), sizeof *all, by_address);
    assert_true(dist_arena_owns(arena, all[0]));
    for (size_t k = 1; k < N(all); k++) assert_true(all[k] - all[k - 1] >= CLAIM_SIZE);
    dist_arena_free(arena);
}

struct caller {
    struct piece *out[64];
    dist_arena *arena;
    dist_status status;
};

static void *call_it(void *arg) {
    struct caller *caller = arg;
    caller->status = dist_map(pieces_task, numbers(), N(caller->out), caller->out, .executor = X,
                              .workers = 3, .arena = caller->arena);
    return NULL;
}

CASE("D-23", two_calls_at_once_share_an_arena) {
    dist_arena *arena = dist_arena_new(0);
    struct caller caller[2] = {{.arena = arena}, {.arena = arena}};
    struct piece *all[2 * N(caller->out)];
    pthread_t thread;
    if (THREAD_SANITIZED && X == DIST_PROCESS) skip(); /* which deadlocks with itself in a fork */
    assert_int_equal(pthread_create(&thread, NULL, call_it, &caller[0]), 0);
    call_it(&caller[1]);
    pthread_join(thread, NULL);
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(caller[k].status, DIST_OK);
        memcpy(all + k * N(caller->out), caller[k].out, sizeof caller[k].out);
    }
    assert_int_equal(check_pieces(all, N(all), arena), N(all) * PIECES);
    dist_arena_free(arena);
}

/* Every tenth item allocates until the alarm kills its worker, at any moment. */
static struct piece *pieces_or_death(int item) {
    if (item % 10 != 7) return pieces(item);
    struct itimerval soon = {.it_value.tv_usec = 1 + item * 29 % 700};
    setitimer(ITIMER_REAL, &soon, NULL);
    for (size_t k = 0;; k++)
        if (!make_piece(NULL, sizes[k % N(sizes)], k)) return NULL;
}
DIST_FN1(struct piece *, pieces_or_death, int)

CASE_ON("G-01", a_worker_killed_while_it_allocates_spoils_nothing, ON_PROCESS, 60) {
    size_t n = rounds(0, 300);
    struct piece **out = calloc(n, sizeof *out);
    dist_arena *arena = dist_arena_new(0);
    dist_job *job;
    assert_int_equal(dist_map(pieces_or_death_task, numbers(), n, out, .executor = X, .workers = 3,
                              .arena = arena, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), (n + 2) / 10);
    for (size_t k = 0; k < dist_job_failures(job); k++) {
        assert_int_equal(dist_job_failure_at(job, k)->status, DIST_CRASHED);
        assert_int_equal(dist_job_failure_at(job, k)->index, k * 10 + 7);
        assert_null(out[k * 10 + 7]);
    }
    size_t good = n - dist_job_failures(job);
    assert_int_equal(check_pieces(out, n, arena), good * PIECES);
    dist_job_finish(&job);
    dist_arena_free(arena);
    free(out);
}

/* ------------------------------------------------------------------ a full arena */

static char *sized(int size) {
    char *text = dist_alloc((size_t)size);
    if (text) memset(text, 'x', (size_t)size - 1);
    return text;
}
DIST_FN1(char *, sized, int)

enum { TOO_LARGE = 3 << 20, RESERVED = 1 << 20 };

static void assert_full(const dist_error *e, size_t index) {
    assert_int_equal(e->status, DIST_NOMEM);
    assert_int_equal(e->code, ENOMEM);
    assert_int_equal(e->index, index);
    assert_non_null(strstr(e->message, "3145728 bytes"));
    assert_non_null(strstr(e->message, "arena"));
}

CASE("G-17", only_items_that_do_not_fit_fail_for_it) {
    int wanted[100];
    char *out[N(wanted)] = {NULL};
    dist_job *job;
    dist_arena *arena = dist_arena_new(RESERVED);
    for (size_t i = 0; i < N(wanted); i++) wanted[i] = i % 10 == 3 ? TOO_LARGE : 1000 + (int)i;
    assert_int_equal(dist_map(sized_task, wanted, N(wanted), out, .executor = X, .workers = 3,
                              .arena = arena, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), N(wanted) / 10);
    for (size_t i = 0; i < N(wanted); i++) {
        if (i % 10 == 3) assert_full(dist_job_outcome(job, i), i);
        else assert_int_equal(strlen(out[i]), wanted[i] - 1);
    }
    assert_int_equal(dist_job_finish(&job), DIST_NOMEM);
    assert_int_equal(
        dist_map(sized_task, wanted, N(wanted), out, .executor = X, .workers = 3, .arena = arena),
        DIST_NOMEM);
    assert_full(dist_last_error(), 3);
    dist_arena_free(arena);
}

/* What is too large by any measure takes nothing. */
static bool refuses_the_absurd(void) {
    static const size_t absurd[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2, PTRDIFF_MAX, 1 << 21};
    for (size_t k = 0; k < N(absurd); k++)
        if (dist_alloc(absurd[k])) return false;
    return true;
}

/* Takes as much as there is, and tells how much that was. */
static int fill(void *result, const void *item, void *ctx) {
    size_t got = 0, size = *(const size_t *)item;
    (void)ctx;
    if (!refuses_the_absurd()) return 1;
    for (char *text; (text = dist_alloc(size)); got += size) memset(text, 'y', size);
    *(size_t *)result = got;
    if (!refuses_the_absurd()) return 2;
    return dist_failure() == ENOMEM ? 0 : 3; /* a task that returns 0 has succeeded all the same */
}

CASE("G-17", an_arena_can_be_filled_to_its_end) {
    static const size_t sizes_of[] = {8, 64, 100, 1000, 4000, 50000, RESERVED};
    char *out[3];
    for (size_t k = 0; k < N(sizes_of); k++) {
        size_t got = 0, size = sizes_of[k], takes = size < 64 ? 16 : (size + 63) / 64 * 64;
        dist_arena *arena = dist_arena_new(RESERVED);
        assert_int_equal(dist_apply(fill, &sizes_of[k], &got, .executor = X, .arena = arena),
                         DIST_OK);
        assert_true(got / size * takes >= RESERVED / 10 * 9);
        if (size % 64 == 0) assert_true(got >= RESERVED);
        if (size <= 64)
            assert_int_equal(
                dist_map(decimal_task, numbers(), 3, out, .executor = X, .arena = arena),
                DIST_NOMEM);
        dist_arena_free(arena);
    }
}

static int says_it_itself(void *result, const void *item, void *ctx) {
    (void)result, (void)ctx;
    if (*(const int *)item == 1) return dist_alloc(TOO_LARGE) ? 0 : dist_fail(77, "my own words");
    if (*(const int *)item == 2) return dist_alloc(TOO_LARGE) ? 0 : 78;
    return 0;
}

CASE("G-17", a_task_may_say_itself_what_was_missing) {
    dist_arena *arena = dist_arena_new(RESERVED);
    dist_job *job;
    char out[4];
    assert_int_equal(dist_map(says_it_itself, numbers(), 4, out, .executor = X, .workers = 2,
                              .arena = arena, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 2);
    assert_int_equal(dist_job_failure_at(job, 0)->status, DIST_FAILED);
    assert_int_equal(dist_job_failure_at(job, 0)->code, 77);
    assert_string_equal(dist_job_failure_at(job, 0)->message, "my own words");
    assert_int_equal(dist_job_failure_at(job, 1)->status, DIST_NOMEM);
    assert_int_equal(dist_job_failure_at(job, 1)->code, 78);
    dist_job_finish(&job);
    dist_arena_free(arena);
}

/* In the first chunk an item is named, the second fails as a whole, the third is good. */
static int chunk_of_three(void *results, const void *items, size_t n, void *ctx) {
    (void)results, (void)n, (void)ctx;
    if (*(const int *)items == 6) return 0;
    if (dist_alloc(TOO_LARGE)) return 0;
    if (*(const int *)items == 3) return 5;
    dist_fail_at(1, 6, "named");
    return 0;
}

CASE("G-13", an_item_of_a_chunk_that_is_named_has_failed_by_its_own_words) {
    dist_arena *arena = dist_arena_new(RESERVED);
    dist_job *job;
    char out[9];
    assert_int_equal(dist_map_chunks(chunk_of_three, numbers(), 9, out, .executor = X, .chunk = 3,
                                     .arena = arena, .silent = true, .job = &job),
                     DIST_OK);
    assert_int_equal(dist_job_failures(job), 4);
    for (size_t k = 0; k < 4; k++) {
        const dist_error *e = dist_job_failure_at(job, k);
        assert_int_equal(e->index, k + (k ? 2 : 1));
        assert_int_equal(e->status, k ? DIST_NOMEM : DIST_FAILED);
        assert_int_equal(e->code, k ? 5 : 6);
        if (!k) assert_string_equal(e->message, "named");
    }
    dist_job_finish(&job);
    dist_arena_free(arena);
}

/* ------------------------------------------------------------------ which arena */

CASE("G-15", without_an_arena_there_is_no_memory) {
    char *out[3] = {NULL};
    assert_int_equal(dist_map(decimal_task, numbers(), 3, out, .executor = X), DIST_FAILED);
    assert_int_equal(dist_last_error()->code, EINVAL);
    assert_string_equal(dist_last_error()->message, "dist_alloc: the call has no .arena");
    assert_null(out[0]);
}

CASE("G-15", outside_of_tasks_there_is_no_memory) {
    assert_null(dist_alloc(1));
    assert_null(dist_alloc(0));
    assert_null(dist_strdup("text"));
    assert_int_equal(dist_last_error()->status, DIST_OK);
    assert_false(dist_arena_owns(NULL, dist_last_error()));
    dist_arena_free(NULL);
}

static int keep_index(size_t index, void *ctx) {
    char **kept = ctx;
    kept[index] = decimal((int)index);
    return kept[index] ? 0 : 1;
}

static int keep_chunk(void *results, const void *items, size_t n, void *ctx) {
    char **to = results;
    (void)ctx;
    for (size_t i = 0; i < n; i++) to[i] = decimal(((const int *)items)[i]);
    return dist_failure();
}

CASE("P-30", every_kind_of_call_has_an_arena) {
    dist_arena *arena = dist_arena_new(0);
    char **kept = shared_memory(8 * sizeof *kept), *out[8];
    assert_int_equal(dist_for(keep_index, 8, .executor = X, .arena = arena, .ctx = kept), DIST_OK);
    check_decimals(kept, 8, arena);
    assert_int_equal(dist_map_chunks(keep_chunk, numbers(), 8, out, .executor = X, .arena = arena),
                     DIST_OK);
    check_decimals(out, 8, arena);
    memset(out, 0, sizeof out);
    assert_int_equal(dist_apply(decimal_task, numbers(), out, .executor = X, .arena = arena),
                     DIST_OK);
    dist_task tasks[2] = {DIST_TASK("a", decimal_task, &numbers()[1], &out[1]),
                          DIST_TASK("b", decimal_task, &numbers()[2], &out[2])};
    assert_int_equal(dist_par(tasks, 2, .executor = X, .arena = arena), DIST_OK);
    check_decimals(out, 3, arena);
    dist_arena_free(arena);
}

struct nest {
    dist_executor inner;
    dist_arena *arena; /* of the inner call; NULL: that of the outer one */
};

/* An array of pointers, both from dist_alloc, made by a call of its own. */
static int nested(void *result, const void *item, void *ctx) {
    const struct nest *nest = ctx;
    char **inner = dist_alloc(5 * sizeof *inner);
    *(char ***)result = inner;
    if (*(const int *)item % 3 == 0) decimal(1); /* a block is begun before and after */
    dist_status status = dist_map(decimal_task, numbers(), 5, inner, .executor = nest->inner,
                                  .workers = 2, .arena = nest->arena);
    return status || !decimal(2);
}

CASE("G-04", a_nested_call_has_the_arena_of_its_caller) {
    NOT_IN_POOLS("its tasks call on all executors");
    static const dist_executor all[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    dist_arena *arena = dist_arena_new(0), *other = dist_arena_new(0);
    char **out[16];
    for (size_t k = 0; k < 2 * N(all); k++) {
        struct nest nest = {all[k / 2], k % 2 ? other : NULL};
        if (!built(nest.inner) || (THREAD_SANITIZED && X == DIST_PROCESS)) continue;
        assert_int_equal(dist_map(nested, numbers(), N(out), out, .executor = X, .workers = 2,
                                  .arena = arena, .ctx = &nest),
                         DIST_OK);
        for (size_t i = 0; i < N(out); i++) check_decimals(out[i], 5, k % 2 ? other : arena);
    }
    dist_arena_free(other);
    dist_arena_free(arena);
}

static int strdups(void *result, const void *item, void *ctx) {
    static char text[10001];
    (void)item, (void)ctx;
    memset(text, 'z', sizeof text - 1);
    char *empty = dist_strdup(""), *long_text = dist_strdup(text);
    *(int *)result = dist_strdup(NULL) == NULL && *empty == 0 && !strcmp(long_text, text);
    return 0;
}

CASE("D-23", texts_are_copied_whole) {
    int right = 0;
    dist_arena *arena = dist_arena_new(0);
    assert_int_equal(dist_apply(strdups, DIST_NONE, &right, .executor = X, .arena = arena),
                     DIST_OK);
    assert_int_equal(right, 1);
    dist_arena_free(arena);
}
