/* contract_pool_chaos.c - everything at once: threads that call, submit, wait, cancel and resize,
 * while the pool is closed or terminated. Nothing hangs, and what has succeeded is right. */
#define _GNU_SOURCE
#include "contract_pools.h"

enum { ACTORS = 4, ITEMS = 23 };

struct stage {
    dist_pool *pool;
    dist_token *token;
    _Atomic(unsigned) wrong, late, ended;
    unsigned steps;
};

struct actor {
    struct stage *stage;
    uint32_t random;
};

static void expect(struct stage *stage, bool right) {
    if (!right) count(&stage->wrong);
}

/* How a call in a pool may end that others close, terminate and cancel. */
static bool is_an_end(dist_status status) {
    return status == DIST_OK || status == DIST_CLOSED || status == DIST_CANCELLED ||
           status == DIST_TIMEOUT;
}

/* How dist_each_worker may: others change their number. */
static bool is_end_of_each(dist_status status) {
    return is_an_end(status) || (X == DIST_PROCESS && status == DIST_STATE);
}

static void check_results(struct stage *stage, dist_status status, const int *out, size_t n) {
    expect(stage, is_an_end(status));
    for (size_t i = 0; i < n; i++) expect(stage, out[i] == 10 * (int)i || (status && out[i] == -1));
}

static int spin(void *result, const void *item, void *ctx) {
    uint32_t random = (uint32_t)(*(const int *)item + 1) * 2654435761u;
    (void)ctx;
    random_spin(&random, 40);
    if (result) *(int *)result = 10 * *(const int *)item;
    return 0;
}

static int call_below(void *result, const void *item, void *ctx) {
    struct stage *stage = ctx;
    int i = *(const int *)item, out[3] = {-1, -1, -1};
    dist_status status = dist_map(spin, numbers(), 3, out, .pool = stage->pool);
    check_results(stage, status, out, 3);
    *(int *)result = 10 * i;
    return status && status != DIST_CLOSED ? (int)status : 0;
}

/* Waits for a job of its own pool. */
static int submit_below(void *result, const void *item, void *ctx) {
    struct stage *stage = ctx;
    int out[3] = {-1, -1, -1};
    dist_job *job = dist_map_async(spin, numbers(), 3, out, .pool = stage->pool);
    if (job) check_results(stage, dist_job_wait(job, DIST_FOREVER), out, 3);
    dist_job_finish(&job);
    *(int *)result = 10 * *(const int *)item;
    return 0;
}

static void hook_that_submits(const dist_event *event, void *user) {
    struct stage *stage = user;
    int one = 3, out = -1;
    if (event->index % 8 == 0) {
        dist_status status = dist_apply(spin, &one, &out, .pool = stage->pool);
        expect(stage, is_an_end(status) && (status || out == 30));
    } else if (event->index % 8 == 4) {
        dist_job *job = dist_apply_async(spin, numbers(), DIST_NONE, .pool = stage->pool);
        dist_job_cancel(job, true);
        dist_job_finish(&job);
    }
}

static int look(size_t index, void *ctx) {
    expect(ctx, index == dist_worker());
    return 0;
}

static void call(struct actor *actor) {
    static const dist_fn fns[] = {spin, spin, call_below, submit_below};
    struct stage *stage = actor->stage;
    uint32_t kind = random_below(&actor->random, 8);
    bool apart = X == DIST_PROCESS; /* tasks cannot use the pool, nor hooks wait for its workers */
    dist_fn fn = fns[random_below(&actor->random, apart ? 2 : N(fns))];
    int out[ITEMS];
    memset(out, -1, sizeof out);
    dist_opts *opts =
        DIST_OPTS(.pool = stage->pool, .ctx = stage, .workers = random_below(&actor->random, 4));
    if (kind == 0) opts->timeout = 0.002;
    if (kind == 1) opts->timeout = 0.001, opts->abandon = true;
    if (kind == 2) opts->token = stage->token;
    if (kind == 3 && !apart) opts->on_finish = hook_that_submits, opts->user = stage;
    if (kind == 1 && fn != spin) opts->abandon = false; /* its tasks use this very stage */
    dist_status status = dist_map_fn(fn, numbers(), ITEMS, sizeof(int), out, sizeof(int), opts);
    if (status == DIST_FAILED) return; /* a call below was cut */
    check_results(stage, status, out, ITEMS);
}

static void use_job(struct actor *actor, dist_job *job) {
    dist_event event;
    switch (random_below(&actor->random, 6)) {
    case 0: dist_job_wait(job, 0.001); break;
    case 1: dist_job_cancel(job, random_below(&actor->random, 2)); break;
    case 2:
        while (dist_job_next(job, &event, DIST_FOREVER) == DIST_OK) continue;
        break;
    case 3: dist_job_next(job, &event, 0.0005); break;
    case 4: dist_job_wait_any(&job, 1, DIST_FOREVER); break;
    default: break;
    }
}

static void submit(struct actor *actor) {
    struct stage *stage = actor->stage;
    int own[ITEMS];
    memset(own, -1, sizeof own);
    bool detached = random_below(&actor->random, 4) == 0;
    size_t n = random_below(&actor->random, 2) ? ITEMS : 1;
    dist_job *job = dist_map_async(spin, numbers(), n, detached ? NULL : own, .pool = stage->pool,
                                   .unordered = random_below(&actor->random, 2), .in_place = false,
                                   .deferred = random_below(&actor->random, 2));
    if (!job) {
        expect(stage, dist_last_error()->status == DIST_CLOSED);
        return;
    }
    dist_status started = dist_job_state(job) == DIST_PENDING ? dist_job_start(job) : DIST_OK;
    if (started == DIST_OK) use_job(actor, job);
    if (started == DIST_OK && detached && dist_job_detach(&job) == DIST_OK) return;
    dist_status status = dist_job_finish(&job);
    if (started == DIST_OK) check_results(stage, status, own, n * !detached);
}

static void *act(void *arg) {
    struct actor *actor = arg;
    struct stage *stage = actor->stage;
    for (unsigned k = 0; k < stage->steps; k++) {
        uint32_t what = random_below(&actor->random, 16);
        if (what < 7) call(actor);
        else if (what < 13) submit(actor);
        else if (what == 13) dist_pool_resize(stage->pool, 1 + random_below(&actor->random, 5));
        else if (what == 14)
            expect(stage, is_end_of_each(dist_each_worker(stage->pool, look, stage)));
        else expect(stage, is_an_end(dist_pool_wait(stage->pool, 0.0005)));
        random_spin(&actor->random, 30);
    }
    count(&stage->ended);
    return NULL;
}

static void play(uint32_t *random) {
    struct stage stage = {.steps = 25, .token = dist_token_new()};
    struct actor actor[ACTORS];
    pthread_t thread[ACTORS];
    stage.pool = dist_pool_open(.executor = X, .workers = 1 + random_below(random, 4),
                                .max_pending = random_below(random, 2) * 3);
    for (int k = 0; k < ACTORS; k++) {
        actor[k] = (struct actor){&stage, random_next(random)};
        thread[k] = begin_thread(act, &actor[k]);
    }
    uint32_t end = random_below(random, 4);
    nap(1e-6 * random_below(random, 12000));
    if (random_below(random, 3) == 0) dist_token_cancel(stage.token);
    if (end == 0) assert_int_equal(dist_pool_terminate(stage.pool), DIST_OK);
    if (end == 1) assert_int_equal(dist_pool_close(stage.pool), DIST_OK);
    if (end < 2) dist_pool_join(stage.pool, 0.001);
    for (int k = 0; k < ACTORS; k++) pthread_join(thread[k], NULL);
    dist_pool_free(&stage.pool);
    dist_token_free(stage.token);
    assert_int_equal(counted(&stage.wrong), 0);
}

CASE_ON("G-20", a_pool_survives_all_that_is_done_to_it, ON_THREAD | ON_PROCESS, 60) {
    uint32_t random = random_seed();
    for (unsigned k = 0, wanted = rounds(400, 60); again(k, wanted); k++) play(&random);
}
