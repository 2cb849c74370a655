/* refusals.c - whatever a call asks of the system (memory, descriptors, threads, processes) is
 * refused once, request by request, or from some request on. The call ends, with DIST_OK and all
 * results or with a status that says why; it leaves nothing behind, and the next one is whole.
 *
 * The linker puts the functions below between the library and the system (--wrap). */
#include "fault.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ------------------------------------------------------------------ refusing */

enum kind { MEMORY = 1, OTHERS = 2 };

static _Atomic(unsigned) *kinds;   /* that are counted, by all processes */
static _Atomic(long) left;         /* requests until one is refused */
static _Atomic(bool) from_then_on; /* all that follow are refused, too */
static _Atomic(unsigned) *refused; /* by all processes */

static bool refuses(enum kind kind, int error) {
    if (!kinds || !(*kinds & kind)) return false;
    long before = atomic_fetch_sub(&left, 1);
    if (from_then_on ? before > 1 : before != 1) return false;
    atomic_fetch_add(refused, 1);
    errno = error;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__real_mmap(void *at, size_t size, int rights, int flags, int fd, off_t offset);
int __real_eventfd(unsigned value, int flags);
pid_t __real_fork(void);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *),
                          void *arg);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_mmap(void *at, size_t size, int rights, int flags, int fd, off_t offset);
int __wrap_eventfd(unsigned value, int flags);
pid_t __wrap_fork(void);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *),
                          void *arg);

void *__wrap_malloc(size_t size) { return refuses(MEMORY, ENOMEM) ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t count, size_t size) {
    return refuses(MEMORY, ENOMEM) ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *memory, size_t size) {
    return refuses(MEMORY, ENOMEM) ? NULL : __real_realloc(memory, size);
}
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return refuses(MEMORY, ENOMEM) ? NULL : __real_aligned_alloc(alignment, size);
}
void *__wrap_mmap(void *at, size_t size, int rights, int flags, int fd, off_t offset) {
    if (refuses(MEMORY, ENOMEM)) return MAP_FAILED;
    return __real_mmap(at, size, rights, flags, fd, offset);
}
int __wrap_eventfd(unsigned value, int flags) {
    return refuses(OTHERS, EMFILE) ? -1 : __real_eventfd(value, flags);
}
pid_t __wrap_fork(void) { return refuses(OTHERS, EAGAIN) ? -1 : __real_fork(); }
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *),
                          void *arg) {
    return refuses(OTHERS, EAGAIN) ? EAGAIN : __real_pthread_create(thread, attr, body, arg);
}

/* ------------------------------------------------------------------ tasks and calls */

enum { ITEMS = 24, WORKERS = 3 };

static int item[ITEMS];
static long out[ITEMS];
static char name_text[ITEMS][16];
static const char *name[ITEMS];

static int triple(void *result, const void *number, void *ctx) {
    (void)ctx;
    *(long *)result = 3L * *(const int *)number;
    return 0;
}

static int triple_the_second_time(void *result, const void *number, void *ctx) {
    if (*(const int *)number % 3 == 1 && dist_attempt() == 1) return 5;
    return triple(result, number, ctx);
}

static int triple_chunk(void *results, const void *items, size_t n, void *ctx) {
    for (size_t k = 0; k < n; k++)
        if (triple_the_second_time((long *)results + k, (const int *)items + k, ctx))
            dist_fail_at(k, 5, "not yet");
    return 0;
}

/* The accumulator is all of out; a leaf fills in what is its. */
static int triple_some(void *acc, const void *items, size_t n, void *ctx) {
    for (size_t k = 0; k < n; k++)
        if (triple_the_second_time((long *)acc + ((const int *)items)[k], (const int *)items + k,
                                   ctx))
            return 5;
    return 0;
}

static int join_triples(void *into, const void *other, void *ctx) {
    (void)ctx;
    for (size_t i = 0; i < ITEMS; i++)
        if (((const long *)other)[i] != -1) ((long *)into)[i] = ((const long *)other)[i];
    return 0;
}

static int triple_nested(void *result, const void *number, void *ctx) {
    (void)ctx;
    return dist_thread_map(triple_the_second_time, (const int *)number, 1, (long *)result,
                           .retries = 1, .workers = 2) != DIST_OK;
}

static int init(void **state, unsigned worker, void *user) {
    (void)worker, (void)user;
    *state = name_text;
    return 0;
}

static void hook(const dist_event *event, void *user) { (void)event, (void)user; }

struct sort {
    const char *what;
    dist_fn fn; /* NULL: the chunk function */
    dist_opts opts;
    bool fails;   /* by itself, too: every failure is an item's */
    bool reduces; /* with all of out for its result */
    enum { NO_POOL, IN_POOL, AS_JOB } pool;
};

#define OPTS(...)                                                                                  \
    { .size = sizeof(dist_opts), .workers = WORKERS, __VA_ARGS__ }
static const struct sort sorts[] = {
    {"plain", triple, OPTS(.chunk = 2), false, false, NO_POOL},
    {"retries", triple_the_second_time, OPTS(.retries = 1, .backoff = 1e-4), false, false, NO_POOL},
    {"limits and hooks", triple,
     OPTS(.timeout = 60, .task_timeout = 60, .on_start = hook, .on_finish = hook), false, false,
     NO_POOL},
    {"a rate", triple, OPTS(.rate = 1e5, .worker_init = init), false, false, NO_POOL},
    {"chunks that name", NULL, OPTS(.retries = 1, .chunk = 5), false, false, NO_POOL},
    {"abandoned", triple_the_second_time,
     OPTS(.timeout = 60, .abandon = true, .names = name, .retries = 1), false, false, NO_POOL},
    {"failures kept", triple_the_second_time, OPTS(.silent = true, .timeout = 60), true, false,
     NO_POOL},
    {"a reduction", NULL, OPTS(.retries = 1, .chunk = 5), false, true, NO_POOL},
    {"nested calls", triple_nested, OPTS(.timeout = 60, .silent = true), true, false, NO_POOL},
    {"in a pool", triple_the_second_time, OPTS(.retries = 1), false, false, IN_POOL},
    {"a pool's job", triple, OPTS(.chunk = 2), false, false, AS_JOB},
};

static int look(size_t index, void *ctx) {
    (void)ctx;
    return index != dist_worker();
}

static dist_status call_in_pool(const struct sort *sort, dist_executor executor, dist_job **job) {
    dist_opts opts = sort->opts;
    dist_pool *pool = dist_pool_open(.executor = executor, .workers = WORKERS);
    if (!pool) return dist_last_error()->status;
    opts.pool = pool;
    dist_status status = dist_each_worker(pool, look, NULL);
    if (!status && sort->pool == AS_JOB) {
        dist_job *own =
            dist_map_async_fn(sort->fn, item, ITEMS, sizeof *item, out, sizeof *out, &opts);
        status = own ? dist_job_finish(&own) : dist_last_error()->status;
    } else if (!status) {
        opts.job = job;
        status = dist_map_fn(sort->fn, item, ITEMS, sizeof *item, out, sizeof *out, &opts);
    }
    dist_pool_free(&pool);
    CHECK(!pool);
    return status;
}

static dist_status call(const struct sort *sort, dist_executor executor, dist_job **job) {
    dist_opts opts = sort->opts;
    opts.executor = executor;
    opts.job = job;
    for (int i = 0; i < ITEMS; i++) out[i] = -1;
    if (sort->reduces) {
        opts.job = NULL;
        return dist_reduce_fn(triple_some, join_triples, item, ITEMS, sizeof *item, out, sizeof out,
                              &opts);
    }
    if (sort->pool) return call_in_pool(sort, executor, job);
    return sort->fn ? dist_map_fn(sort->fn, item, ITEMS, sizeof *item, out, sizeof *out, &opts)
                    : dist_map_chunks_fn(triple_chunk, item, ITEMS, sizeof *item, out, sizeof *out,
                                         &opts);
}

/* ------------------------------------------------------------------ one refusal after the other */

static void check_results(const struct sort *sort, dist_status status, dist_job *job) {
    bool by_item = status == DIST_FAILED && sort->opts.retries; /* no memory for another attempt */
    CHECK(status == DIST_OK || status == DIST_NOMEM || status == DIST_SYSTEM || by_item);
    CHECK(status == DIST_OK || dist_last_error()->status == status);
    CHECK(status == DIST_OK || dist_last_error()->message[0]);
    for (size_t i = 0; i < ITEMS; i++) {
        bool right = out[i] == 3L * (long)i;
        CHECK(right || out[i] == -1);
        CHECK(right || sort->fails || status != DIST_OK);
        /* the list of failures may be what there was no memory for */
        if (job && status == DIST_OK) CHECK(right == (dist_job_outcome(job, i) == NULL));
    }
}

/* An abandoned call ends with its last thread. */
static void check_footprint_soon(struct footprint before) {
    for (double limit = now() + 2; now() < limit; nap(0.001)) {
        struct footprint after = footprint();
        if (memcmp(&before, &after, sizeof before) == 0) return;
    }
    check_footprint(before);
}

/* True: a request was refused. */
static bool call_with_refusal(const struct sort *sort, dist_executor executor, long number) {
    struct footprint before = footprint();
    dist_job *job = NULL;
    atomic_store(refused, 0);
    atomic_store(&left, number);
    unsigned counted = *kinds;
    dist_status status = call(sort, executor, number % 2 ? &job : NULL);
    *kinds = 0;
    check_results(sort, status, job);
    dist_job_finish(&job);
    check_footprint_soon(before);
    bool any = atomic_load(refused) > 0;
    CHECK(any || status == DIST_OK);
    if (number % 8 == 0) {
        CHECK(call(sort, executor, NULL) == DIST_OK);
        for (int i = 0; i < ITEMS; i++) CHECK(sort->fails || out[i] == 3L * i);
    }
    *kinds = counted;
    return any;
}

static unsigned refuse_one_by_one(const struct sort *sort, dist_executor executor, unsigned what,
                                  bool ever) {
    enum { REQUESTS_MOST = 2000 };
    for (long number = 1;; number += THREAD_SANITIZED ? 1 + random_below(5) : 1) {
        CHECK(number < REQUESTS_MOST);
        *kinds = 0;
        dist_shutdown(); /* so that threads are asked for again */
        *kinds = what;
        from_then_on = ever;
        if (!call_with_refusal(sort, executor, number)) {
            *kinds = 0;
            return (unsigned)number - 1;
        }
    }
}

static void refuse_all(unsigned what, bool ever) {
    static const dist_executor executors[] = {DIST_INLINE, DIST_THREAD, DIST_PROCESS};
    unsigned requests = 0;
    refused = shared_memory(sizeof *refused);
    kinds = shared_memory(sizeof *kinds);
    for (int i = 0; i < ITEMS; i++) {
        item[i] = i;
        snprintf(name_text[i], sizeof name_text[i], "n%d", i);
        name[i] = name_text[i];
    }
    for (size_t k = 0; k < N(executors); k++)
        for (size_t s = 0; s < N(sorts); s++) {
            /* each of these waits 5 s for a thread: crew.c does that once */
            if (sorts[s].opts.abandon && ever) continue;
            if (sorts[s].pool && executors[k] == DIST_PROCESS) continue; /* below */
            if (call(&sorts[s], executors[k], NULL) == DIST_UNSUPPORTED) continue;
            requests += refuse_one_by_one(&sorts[s], executors[k], what, ever);
        }
    printf("%u requests refused; ", requests);
    fflush(stdout);
    CHECK(requests > 20);
}

static void each_once(void) { refuse_all(MEMORY | OTHERS, false); }
static void memory_from_then_on(void) { refuse_all(MEMORY, true); }
static void others_from_then_on(void) { refuse_all(OTHERS, true); }

/* ------------------------------------------------------------------ pools of processes */

/* One call of each sort; those with a worker_init have it in the pool. */
static void call_in_open_pool(const struct sort *sort, dist_pool *pool, dist_status *status,
                              dist_job **job) {
    dist_opts opts = sort->opts;
    opts.pool = pool;
    opts.executor = DIST_DEFAULT;
    opts.worker_init = NULL;
    opts.job = job;
    for (int i = 0; i < ITEMS; i++) out[i] = -1;
    *status = sort->fn ? dist_map_fn(sort->fn, item, ITEMS, sizeof *item, out, sizeof *out, &opts)
                       : dist_map_chunks_fn(triple_chunk, item, ITEMS, sizeof *item, out,
                                            sizeof *out, &opts);
}

/* True: a request was refused, while the pool was opened or in the call. */
static bool pool_with_refusal(const struct sort *sort, unsigned what, bool in_call, long number) {
    struct footprint before = footprint();
    dist_status status = DIST_NOMEM;
    dist_job *job = NULL;
    atomic_store(refused, 0);
    atomic_store(&left, number);
    *kinds = in_call ? 0 : what;
    dist_pool *pool = dist_pool_open(.executor = DIST_PROCESS, .workers = WORKERS);
    *kinds = pool ? what : 0;
    CHECK(pool || (!in_call && dist_last_error()->message[0]));
    if (pool) call_in_open_pool(sort, pool, &status, number % 2 ? &job : NULL);
    *kinds = 0;
    if (pool) check_results(sort, status, job);
    dist_job_finish(&job);
    bool any = atomic_load(refused) > 0;
    if (pool && number % 4 == 0) {
        call_in_open_pool(sort, pool, &status, NULL);
        CHECK(status == DIST_OK);
        for (int i = 0; i < ITEMS; i++) CHECK(sort->fails || out[i] == 3L * i);
    }
    dist_pool_free(&pool);
    check_footprint_soon(before);
    return any;
}

static void refuse_in_pools(bool ever) {
    enum { REQUESTS_MOST = 500 };
    unsigned requests = 0;
    dist_pool *any = dist_pool_open(.executor = DIST_PROCESS, .workers = 1);
    if (!any) skip("no processes");
    dist_pool_free(&any);
    refused = shared_memory(sizeof *refused);
    kinds = shared_memory(sizeof *kinds);
    for (int i = 0; i < ITEMS; i++) item[i] = i;
    from_then_on = ever;
    for (size_t s = 0; s < N(sorts); s++) {
        if (sorts[s].opts.names || sorts[s].fn == triple_nested) continue;
        if (sorts[s].pool || sorts[s].reduces) continue;
        for (int in_call = 0; in_call < 2; in_call++)
            for (long number = 1;; number += THREAD_SANITIZED ? 1 + random_below(5) : 1) {
                CHECK(number < REQUESTS_MOST);
                if (!pool_with_refusal(&sorts[s], MEMORY | OTHERS, in_call, number)) break;
                requests++;
            }
    }
    printf("%u requests refused; ", requests);
    fflush(stdout);
    CHECK(requests > 20);
}

static void in_pools_each_once(void) { refuse_in_pools(false); }
static void in_pools_from_then_on(void) { refuse_in_pools(true); }

static const struct fault_case cases[] = {
    {"each request is refused once", each_once, 120},
    {"no more memory from some request on", memory_from_then_on, 120},
    {"nothing but memory from some request on", others_from_then_on, 120},
    {"in a pool, each is refused once", in_pools_each_once, 60},
    {"in a pool, all from some request on", in_pools_from_then_on, 60},
};

int main(int argc, char **argv) { return fault_main(cases, N(cases), argc, argv); }
