/* distribute.c - what the documentation of doctable's Distribute shows: a function with a default,
 * a function of chunks, and a connection for each worker, over three processes. */
#include "check.h"

#include <dist/dist.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* def multiply(x, y=2); d.map(multiply, nums); d.map(multiply, nums, 5) */
static int multiply(int x, int y) { return x * y; }
#define MULTIPLY(REQ, OPT) REQ(int, x) OPT(int, y, 2)
DIST_DEFINE(int, multiply, MULTIPLY)

static void map_with_a_default(void) {
    multiply_args nums[5];
    int result[5];
    for (int i = 0; i < 5; i++) nums[i] = (multiply_args){.x = i};

    CHECK(multiply_process_map(nums, 5, result, DIST_OPTS(.workers = 3)) == DIST_OK);
    show_ints("d.map(multiply, nums)", result, 5);
    for (int i = 0; i < 5; i++) CHECK(result[i] == i * 2); /* [0, 2, 4, 6, 8] */

    const multiply_args five = {.y = DIST_SET(5)};
    CHECK(multiply_process_map(nums, 5, result, DIST_OPTS(.workers = 3, .extras = &five)) ==
          DIST_OK);
    show_ints("d.map(multiply, nums, 5)", result, 5);
    for (int i = 0; i < 5; i++) CHECK(result[i] == i * 5); /* [0, 5, 10, 15, 20] */
}

/* d.map_chunk(multiply_nums, nums): each worker gets neighbouring items. */
static int multiply_nums(void *results, const void *items, size_t n, void *ctx) {
    (void)ctx;
    const double *nums = items;
    double *products = results;
    for (size_t i = 0; i < n; i++) products[i] = nums[i] * 1.275;
    return 0;
}

static void map_chunks(void) {
    static double nums[1000], products[1000], serial[1000];
    for (int i = 0; i < 1000; i++) nums[i] = i;

    CHECK(dist_process_map_chunks(multiply_nums, nums, 1000, products, .workers = 3) == DIST_OK);
    printf("%-40s [%g, %g, %g]\n", "d.map_chunk(multiply_nums, nums)[:3]", products[0], products[1],
           products[2]);
    CHECK(products[0] == 0.0 && products[1] == 1.275 && products[2] == 2.55);

    /* With one worker Distribute runs the function in the calling process. Here that is an executor
     * of its own: one worker of processes still is a process. */
    CHECK(dist_map_chunks(multiply_nums, nums, 1000, serial, .executor = DIST_INLINE) == DIST_OK);
    for (int i = 0; i < 1000; i++) CHECK(products[i] == serial[i]);
}

/* d.map_insert(parse, names, db=db): every worker opens a connection of its own, hands it to each
 * of its tasks, and closes it at the end. The database of this example is a file. */
static int open_database(void **state, unsigned worker, void *user) {
    (void)worker;
    *state = fopen(user, "a");
    return *state ? 0 : dist_fail(errno, "cannot open %s", (const char *)user);
}

static void close_database(void *state, unsigned worker, void *user) {
    (void)worker, (void)user;
    fclose(state);
}

static size_t parse(const char *name) {
    FILE *database = dist_worker_state();
    if (fprintf(database, "%s\n", name) < 0) dist_fail(errno, "cannot insert %s", name);
    return strlen(name);
}
DIST_FN1(size_t, parse, const char *)

static void a_connection_for_each_worker(void) {
    const char *names[] = {"Ada", "Grace", "Barbara", "Radia", "Frances"};
    char path[] = "/tmp/dist-example-XXXXXX", row[64];
    size_t lengths[5];
    int file = mkstemp(path), rows = 0;
    CHECK(file >= 0);
    close(file);
    CHECK(dist_process_map(parse_task, names, 5, lengths, .workers = 3,
                           .worker_init = open_database, .worker_exit = close_database,
                           .user = path) == DIST_OK);

    FILE *database = fopen(path, "r");
    CHECK(database);
    while (fgets(row, sizeof row, database)) rows++;
    fclose(database);
    unlink(path);
    printf("%-40s %d rows\n", "d.map_insert(parse, names, db=db)", rows);
    CHECK(rows == 5 && lengths[0] == 3 && lengths[4] == 7);
}

/* Where a worker dies, Distribute waits for ever. Here the call returns and tells which item it
 * was. */
static int halve(int x) {
    if (x % 2) raise(SIGKILL);
    return x / 2;
}
DIST_FN1(int, halve, int)

static void a_worker_that_dies(void) {
    int nums[] = {8, 6, 5, 4}, halves[4] = {0};
    dist_error error;
    CHECK(dist_process_map(halve_task, nums, 4, halves, .workers = 3, .error = &error) ==
          DIST_CRASHED);
    printf("%-40s item %zu: %s\n", "d.map(halve, [8, 6, 5, 4])", error.index, error.message);
    CHECK(error.index == 2 && error.signal == SIGKILL);
    CHECK(halves[0] == 4 && halves[1] == 3 && halves[2] == 0);
}

int main(void) {
    map_with_a_default();
    map_chunks();
    a_connection_for_each_worker();
    a_worker_that_dies();
    puts("distribute: all of it holds");
    return 0;
}
