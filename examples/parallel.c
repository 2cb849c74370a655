/* parallel.c - what the README of santiagobasulto/parallel shows: map and par, parameters with
 * defaults and extras, failures as values; and what it promises: retries, and time limits that
 * hold. Downloads are replaced by pure functions. */
#include "check.h"

#include <dist/dist.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* def download_and_store(url, content_type, db_table='websites', log_level='info', options=None)
 *
 * The text that it returns lies in the call's arena, so a worker process can return it as well as a
 * thread. Without the arena there is no memory that both would see. */
struct header {
    const char *key, *value;
};

static char *download_and_store(const char *url, const char *content_type, const char *db_table,
                                const char *log_level, const struct header *options) {
    char text[160];
    snprintf(text, sizeof text, "%s results|%s|%s|%s|%s", url, content_type ? content_type : "-",
             db_table, log_level, options ? options->value : "-");
    return dist_strdup(text);
}
#define DOWNLOAD(REQ, OPT)                                                                         \
    REQ(const char *, url)                                                                         \
    REQ(const char *, content_type)                                                                \
    OPT(const char *, db_table, "websites")                                                        \
    OPT(const char *, log_level, "info")                                                           \
    OPT(const struct header *, options, NULL)
DIST_DEFINE(char *, download_and_store, DOWNLOAD) /* @parallel.decorate */

static bool is_from(const char *page, const char *url) {
    return !strncmp(page, url, strlen(url)) && !strncmp(page + strlen(url), " results", 8);
}

static void check_pages(char *const *pages) {
    CHECK(is_from(pages[0], "https://python.org") && is_from(pages[1], "https://rmotr.com"));
}

/* parallel.map(download_and_store, urls): the executor is an attribute or a parameter */
static void map_urls(void) {
    const download_and_store_args urls[] = {{.url = "https://python.org"},
                                            {.url = "https://rmotr.com"}};
    dist_arena *memory = dist_arena_new(0);
    char *pages[2];
    CHECK(dist_map(download_and_store_task, urls, 2, pages, .arena = memory) == DIST_OK);
    printf("parallel.map(download_and_store, urls)\n    %s\n    %s\n", pages[0], pages[1]);
    check_pages(pages);

    CHECK(dist_thread_map(download_and_store_task, urls, 2, pages, .arena = memory) == DIST_OK);
    check_pages(pages);
    CHECK(dist_map(download_and_store_task, urls, 2, pages, .arena = memory,
                   .executor = DIST_THREAD) == DIST_OK);
    check_pages(pages);
    CHECK(dist_process_map(download_and_store_task, urls, 2, pages, .arena = memory) == DIST_OK);
    check_pages(pages);
    CHECK(dist_map(download_and_store_task, urls, 2, pages, .arena = memory,
                   .executor = DIST_PROCESS) == DIST_OK);
    check_pages(pages);
    dist_arena_free(memory);
}

/* The decorated function has maps of its own; timeout=10, max_workers=5 */
static void map_of_a_decorated_function(void) {
    const download_and_store_args urls[] = {{.url = "https://python.org"},
                                            {.url = "https://rmotr.com"}};
    dist_arena *memory = dist_arena_new(0);
    const dist_opts *opts = DIST_OPTS(.arena = memory, .timeout = 10, .workers = 5);
    char *pages[2];
    CHECK(download_and_store_map(urls, 2, pages, DIST_OPTS(.arena = memory)) == DIST_OK);
    check_pages(pages);
    CHECK(download_and_store_thread_map(urls, 2, pages, opts) == DIST_OK);
    check_pages(pages);
    CHECK(download_and_store_process_map(urls, 2, pages, opts) == DIST_OK);
    check_pages(pages);
    dist_arena_free(memory);
}

static double get_price_bitcoin(const char *exchange) { return 1.0 + (double)strlen(exchange); }
#define BITCOIN(REQ, OPT) REQ(const char *, exchange)
DIST_DEFINE(double, get_price_bitcoin, BITCOIN)

static double get_price_ether(const char *exchange, const struct header *options) {
    return 2.0 + (double)strlen(exchange) + (options ? 100 : 0);
}
#define ETHER(REQ, OPT) REQ(const char *, exchange) OPT(const struct header *, options, NULL)
DIST_DEFINE(double, get_price_ether, ETHER)

static double get_price_ripple(const char *exchange) { return 3.0 + (double)strlen(exchange); }
DIST_FN1(double, get_price_ripple, const char *)

/* parallel.par({'btc': ..., 'eth': ..., 'xrp': ...}): different functions, results by name */
static void par_of_three_functions(void) {
    struct {
        double btc, eth, xrp;
    } prices;
    const struct header json = {"Content-Type", "application/json"};
    dist_task tasks[] = {
        get_price_bitcoin_future("btc", &(get_price_bitcoin_args){"bitstamp"}, &prices.btc),
        get_price_ether_future(
            "eth", &(get_price_ether_args){.exchange = "bitfinex", .options = DIST_SET(&json)},
            &prices.eth),
        DIST_TASK("xrp", get_price_ripple_task, &(const char *){"bitstamp"}, &prices.xrp),
    };
    dist_job *job;
    CHECK(dist_par(tasks, 3, .job = &job) == DIST_OK);
    printf("parallel.par({...})\n    btc: %g, eth: %g, xrp: %g\n", prices.btc, prices.eth,
           prices.xrp);
    CHECK(prices.btc == 9 && prices.eth == 110 && prices.xrp == 11);
    CHECK(*(double *)dist_job_named(job, "eth") == 110); /* prices['eth'] */
    dist_job_finish(&job);
}

static void a_decorated_function_is_still_ordinary(void) {
    CHECK(get_price_bitcoin("bitstamp") == 9);
}

/* parallel.map(download_and_store, {'python': ..., 'rmotr': ...}) */
static void named_results(void) {
    const download_and_store_args urls[] = {{.url = "https://python.org"},
                                            {.url = "https://rmotr.com"}};
    const char *const names[] = {"python", "rmotr"};
    dist_arena *memory = dist_arena_new(0);
    dist_job *job;
    char *pages[2];
    CHECK(dist_map(download_and_store_task, urls, 2, pages, .names = names, .arena = memory,
                   .job = &job) == DIST_OK);
    CHECK(is_from(*(char **)dist_job_named(job, "python"), "https://python.org"));
    CHECK(*(char **)dist_job_named(job, "rmotr") == pages[1]);
    CHECK(dist_job_named(job, "nobody") == NULL);
    dist_job_finish(&job);
    dist_arena_free(memory);
}

/* Several parameters, and some of them by name: ('https://python.org', 'json',
 * {'db_table': 'webpages'}) */
static void parameters(void) {
    const download_and_store_args urls[] = {
        {"https://python.org", "json", .db_table = DIST_SET("webpages")},
        {"https://rmotr.com", "xml", .log_level = DIST_SET("debug")}};
    dist_arena *memory = dist_arena_new(0);
    char *pages[2];
    CHECK(download_and_store_map(urls, 2, pages, DIST_OPTS(.arena = memory)) == DIST_OK);
    CHECK(strstr(pages[0], "|json|webpages|info|"));
    CHECK(strstr(pages[1], "|xml|websites|debug|"));

    /* extras={'db_table': ...}: the item's own value wins, then that of the extras, then the
     * default. */
    const download_and_store_args extras = {.db_table = DIST_SET("temporary_webpages")};
    CHECK(download_and_store_map(urls, 2, pages, DIST_OPTS(.arena = memory, .extras = &extras)) ==
          DIST_OK);
    CHECK(strstr(pages[0], "|json|webpages|info|"));
    CHECK(strstr(pages[1], "|xml|temporary_webpages|debug|"));

    /* parallel.arg(..., options={...}): a dictionary that is an argument, and not arguments. In C
     * nobody could take it for anything else. */
    const struct header json = {"Content-Type", "application/json"};
    const download_and_store_args with_options[] = {
        {.url = "https://python.org", .options = DIST_SET(&json)}, {.url = "https://rmotr.com"}};
    CHECK(download_and_store_map(with_options, 2, pages, DIST_OPTS(.arena = memory)) == DIST_OK);
    CHECK(strstr(pages[0], "|application/json") && strstr(pages[1], "|-"));
    dist_arena_free(memory);
}

/* def add(x, y): return x + y, of ints or of strings */
struct value {
    enum { INT, STRING } kind;
    int number;
    const char *text;
};
struct pair {
    struct value x, y;
};

static const char *kind_name(struct value v) { return v.kind == INT ? "int" : "str"; }

static int add_task(void *result, const void *item, void *ctx) {
    (void)ctx;
    const struct pair *pair = item;
    struct value *sum = result;
    if (pair->x.kind != pair->y.kind)
        return dist_fail(EINVAL, "unsupported operand types for +: %s and %s", kind_name(pair->x),
                         kind_name(pair->y));
    if (pair->x.kind == INT) {
        *sum = (struct value){INT, pair->x.number + pair->y.number, NULL};
        return 0;
    }
    char text[64];
    snprintf(text, sizeof text, "%s%s", pair->x.text, pair->y.text);
    *sum = (struct value){STRING, 0, dist_strdup(text)};
    return dist_failure(); /* of dist_strdup, where the arena is full */
}

static const struct pair pairs[3] = {{{INT, 2, NULL}, {INT, 3, NULL}},
                                     {{STRING, 0, "a"}, {INT, 5, NULL}},
                                     {{STRING, 0, "hello "}, {STRING, 0, "world"}}};

/* By default the failure of a task is that of the call. In Python it is raised once all tasks have
 * ended, and their results are lost. Here no further item starts, and out has what succeeded. */
static void a_failure_is_that_of_the_call(void) {
    dist_arena *memory = dist_arena_new(0);
    struct value sums[3];
    dist_error error;
    CHECK(dist_map(add_task, pairs, 3, sums, .arena = memory, .error = &error) == DIST_FAILED);
    printf("parallel.map(add, pairs)\n    item %zu: %s\n", error.index, error.message);
    CHECK(error.index == 1 && error.code == EINVAL && error.item == &pairs[1]);
    CHECK(sums[0].number == 5);
    dist_arena_free(memory);
}

/* silent=True: it is one of the results. */
static void failures_are_values(void) {
    dist_arena *memory = dist_arena_new(0);
    struct value sums[3], good[3], patched[3];
    dist_job *job;
    CHECK(dist_map(add_task, pairs, 3, sums, .arena = memory, .silent = true, .job = &job) ==
          DIST_OK);
    CHECK(sums[0].number == 5 && !strcmp(sums[2].text, "hello world"));
    CHECK(dist_job_failures(job) == 1);                     /* results.failures */
    const dist_error *failed = dist_job_failure_at(job, 0); /* results.failed */
    CHECK(failed->index == 1 && strstr(failed->message, "unsupported operand"));
    CHECK(dist_job_outcome(job, 0) == NULL && dist_job_outcome(job, 1) == failed);
    CHECK(dist_job_succeeded(job, good) == 2); /* results.succeeded */
    CHECK(good[0].number == 5 && !strcmp(good[1].text, "hello world"));

    const struct value none = {INT, -1, NULL};
    CHECK(dist_job_replace_failed(job, &none, patched) == DIST_OK); /* results.replace_failed(-1) */
    printf("results.replace_failed(-1)\n    [%d, %d, '%s']\n", patched[0].number, patched[1].number,
           patched[2].text);
    CHECK(patched[0].number == 5 && patched[1].number == -1);
    CHECK(!strcmp(patched[2].text, "hello world"));
    dist_job_finish(&job);
    dist_arena_free(memory);
}

/* max_retries, which the README announces: the second server answers at the third attempt. */
static char *download(const char *url) {
    if (strstr(url, "busy") && dist_attempt() < 3) dist_fail(EAGAIN, "%s is busy", url);
    return dist_strdup(url);
}
DIST_FN1(char *, download, const char *)

static bool if_busy(const dist_error *error, void *attempts) {
    *(unsigned *)attempts = error->attempts + 1;
    return error->code == EAGAIN;
}

static void retries(void) {
    const char *urls[] = {"https://python.org", "https://busy.org", "https://rmotr.com"};
    dist_arena *memory = dist_arena_new(0);
    unsigned attempts = 1;
    char *pages[3];
    CHECK(dist_map(download_task, urls, 3, pages, .arena = memory, .retries = 4, .backoff = 0.01,
                   .retry_if = if_busy, .user = &attempts) == DIST_OK);
    printf("max_retries=4\n    %s at attempt %u\n", pages[1], attempts);
    CHECK(attempts == 3 && !strcmp(pages[1], "https://busy.org"));
    dist_arena_free(memory);
}

/* timeout=0.1 for a task that takes a minute: in Python the exception comes when the task has
 * ended, after a minute. Here the task is ended, at once in processes; in threads it has to ask. */
static int work_for_a_minute(size_t index, void *ctx) {
    (void)index, (void)ctx;
    for (int ms = 0; ms < 60000 && !dist_cancelled(); ms++) usleep(1000);
    return 0;
}

static int sleep_for_a_minute(size_t index, void *ctx) {
    (void)index, (void)ctx;
    sleep(60);
    return 0;
}

static void a_limit_that_holds(void) {
    CHECK(dist_thread_for(work_for_a_minute, 2, .timeout = 0.1) == DIST_TIMEOUT);
    CHECK(dist_process_for(sleep_for_a_minute, 2, .timeout = 0.1) == DIST_TIMEOUT);
    printf("timeout=0.1\n    %s\n", dist_last_error()->message);
}

int main(void) {
    map_urls();
    map_of_a_decorated_function();
    par_of_three_functions();
    a_decorated_function_is_still_ordinary();
    named_results();
    parameters();
    a_failure_is_that_of_the_call();
    failures_are_values();
    retries();
    a_limit_that_holds();
    puts("parallel: all of it holds");
    return 0;
}
