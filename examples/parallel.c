/* parallel.c - what the README of santiagobasulto/parallel shows: map and par, parameters with
 * defaults and extras, failures as values. Downloads are replaced by pure functions. */
#include "check.h"

#include <dist/dist.h>
#include <errno.h>
#include <string.h>

/* def download_and_store(url, content_type, db_table='websites', log_level='info', options=None) */
struct header {
    const char *key, *value;
};
struct page {
    char text[160];
};

static struct page download_and_store(const char *url, const char *content_type,
                                      const char *db_table, const char *log_level,
                                      const struct header *options) {
    struct page page;
    snprintf(page.text, sizeof page.text, "%s results|%s|%s|%s|%s", url,
             content_type ? content_type : "-", db_table, log_level,
             options ? options->value : "-");
    return page;
}
#define DOWNLOAD(REQ, OPT)                                                                         \
    REQ(const char *, url)                                                                         \
    REQ(const char *, content_type)                                                                \
    OPT(const char *, db_table, "websites")                                                        \
    OPT(const char *, log_level, "info")                                                           \
    OPT(const struct header *, options, NULL)
DIST_DEFINE(struct page, download_and_store, DOWNLOAD) /* @parallel.decorate */

/* parallel.map(download_and_store, urls), and the same with each executor */
static void map_urls(void) {
    const download_and_store_args urls[] = {{.url = "https://python.org"},
                                            {.url = "https://rmotr.com"}};
    struct page pages[2], threads[2], processes[2];
    CHECK(dist_map(download_and_store_task, urls, 2, pages) == DIST_OK);
    CHECK(!strncmp(pages[0].text, "https://python.org results", 26));
    CHECK(!strncmp(pages[1].text, "https://rmotr.com results", 25));

    CHECK(dist_thread_map(download_and_store_task, urls, 2, threads) == DIST_OK);
    CHECK(dist_map(download_and_store_task, urls, 2, threads, .executor = DIST_THREAD) == DIST_OK);
    CHECK(download_and_store_process_map(urls, 2, processes, DIST_OPTS(.workers = 5)) == DIST_OK);
    for (int i = 0; i < 2; i++) {
        CHECK(!strcmp(threads[i].text, pages[i].text));
        CHECK(!strcmp(processes[i].text, pages[i].text));
    }
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
    CHECK(prices.btc == 9 && prices.eth == 110 && prices.xrp == 11);
    CHECK(*(double *)dist_job_named(job, "eth") == 110); /* prices['eth'] */
    dist_job_finish(&job);
}

static void a_decorated_function_is_still_ordinary(void) {
    CHECK(get_price_bitcoin("bitstamp") == 9);
}

/* Several parameters, named parameters, extras={...}: the item's own value wins, then that of the
 * extras, then the default. */
static void parameters(void) {
    const download_and_store_args urls[] = {
        {"https://python.org", "json", .db_table = DIST_SET("webpages")},
        {"https://rmotr.com", "xml", .log_level = DIST_SET("debug")}};
    const download_and_store_args extras = {.db_table = DIST_SET("temporary")};
    struct page pages[2];
    CHECK(download_and_store_map(urls, 2, pages, NULL) == DIST_OK);
    CHECK(strstr(pages[0].text, "|json|webpages|info|"));
    CHECK(strstr(pages[1].text, "|xml|websites|debug|"));
    CHECK(download_and_store_map(urls, 2, pages, DIST_OPTS(.extras = &extras)) == DIST_OK);
    CHECK(strstr(pages[0].text, "|json|webpages|info|"));
    CHECK(strstr(pages[1].text, "|xml|temporary|debug|"));
}

/* add(x, y) of ints or of strings */
struct value {
    enum { INT, STRING } kind;
    int number;
    char text[32];
};
struct pair {
    struct value x, y;
};

static int add_task(void *result, const void *item, void *ctx) {
    (void)ctx;
    const struct pair *pair = item;
    struct value *sum = result;
    if (pair->x.kind != pair->y.kind) return dist_fail(EINVAL, "unsupported operands for +");
    *sum = (struct value){.kind = pair->x.kind, .number = pair->x.number + pair->y.number};
    snprintf(sum->text, sizeof sum->text, "%.15s%.15s", pair->x.text, pair->y.text);
    return 0;
}

static void failures_are_values(void) {
    const struct pair pairs[3] = {{{INT, 2, ""}, {INT, 3, ""}},
                                  {{STRING, 0, "a"}, {INT, 5, ""}},
                                  {{STRING, 0, "hello "}, {STRING, 0, "world"}}};
    struct value sums[3], good[3], patched[3];
    dist_error error;
    dist_job *job;

    /* by default the failure is that of the call */
    CHECK(dist_map(add_task, pairs, 3, sums, .error = &error) == DIST_FAILED);
    CHECK(error.index == 1 && error.code == EINVAL && error.item == &pairs[1]);

    /* silent=True: it is one of the results */
    CHECK(dist_map(add_task, pairs, 3, sums, .silent = true, .job = &job) == DIST_OK);
    CHECK(sums[0].number == 5 && !strcmp(sums[2].text, "hello world"));
    CHECK(dist_job_failures(job) == 1);                     /* results.failures */
    const dist_error *failed = dist_job_failure_at(job, 0); /* results.failed */
    CHECK(failed->index == 1 && strstr(failed->message, "unsupported operands"));
    CHECK(dist_job_outcome(job, 0) == NULL && dist_job_outcome(job, 1) == failed);
    CHECK(dist_job_succeeded(job, good) == 2); /* results.succeeded */
    CHECK(good[0].number == 5 && !strcmp(good[1].text, "hello world"));
    dist_job_replace_failed(job, &(struct value){INT, -1, ""}, patched); /* .replace_failed(-1) */
    CHECK(patched[0].number == 5 && patched[1].number == -1);
    CHECK(!strcmp(patched[2].text, "hello world"));
    dist_job_finish(&job);
}

int main(void) {
    map_urls();
    par_of_three_functions();
    a_decorated_function_is_still_ordinary();
    parameters();
    failures_are_values();
    puts("parallel: all of it holds");
    return 0;
}
