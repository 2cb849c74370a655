/* light.c - jobs of one item that nothing has to look after. */
#include "light.h"
#include "call.h"
#include "control.h"
#include "deadlock.h"
#include "error.h"
#include "job.h"
#include "onlookers.h"
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STAGE_SIZE = 64,       /* results up to this size are staged on the stack */
    DEEPEST = 1024 * 1024, /* bytes of stack under tasks that wait for tasks, in one thread */
    SPIN_NS = 5000,        /* about what a sleep and its wake cost */
    SPINS_PER_LOOK = 16
};

/* When there is no memory to say how a job ended. */
static const struct dist__light_end unknown_end = {
    .item = {.status = DIST_NOMEM, .message = "no memory to keep how it ended"},
    .why = {.status = DIST_NOMEM, .message = "no memory to keep 1 failure"}};

/* Of a job's word. */
static uint32_t maker(void) { return dist__process % DIST__MAKERS; }

static bool is_foreign(uint32_t word) { return word >> DIST__MAKER_AT != maker(); }

/* The lanes that all light jobs are in: there is one backend that has any. */
static const struct dist__lanes *lanes(void) {
    static _Atomic(const struct dist__lanes *) found;
    /* relaxed: constants; two threads may both look them up */
    const struct dist__lanes *lanes = atomic_load_explicit(&found, memory_order_relaxed);
    if (lanes) return lanes;
    for (size_t i = 0; !lanes && dist__backends[i]; i++) lanes = dist__backends[i]->lanes;
    atomic_store_explicit(&found, lanes, memory_order_relaxed);
    return lanes;
}

static const struct dist__post *the_post(void) {
    static _Atomic(const struct dist__post *) found;
    /* relaxed: see above */
    const struct dist__post *post = atomic_load_explicit(&found, memory_order_relaxed);
    if (post) return post;
    for (size_t i = 0; !post && dist__backends[i]; i++) post = dist__backends[i]->post;
    atomic_store_explicit(&found, post, memory_order_relaxed);
    return post;
}

uint32_t dist__light_look(struct dist__light *light) {
    uint32_t word = dist__phase_look(&light->word);
    if (!(word & DIST__MAIL)) return word;
    bool ended = dist__phase_of(word) == DIST__ENDED;
    if (is_foreign(word)) return ended ? word - DIST__ENDED + DIST__UNDER_WAY : word;
    if (ended && !(word & DIST__LANDED)) the_post()->land(light);
    return word;
}

/* ------------------------------------------------------------------ its end */

static void free_end(struct dist__light_end *end) {
    if (end != &unknown_end) free(end);
}

/* By whoever has moved it to UNDER_WAY, who must not touch it any more. */
static void publish(struct dist__light *light, dist_status status) {
    struct dist__light_end *end = light->end;
    uint32_t old = dist__phase_end_word(&light->word, status);
    if (old & DIST__WAITED) dist__futex_wake(&light->word, INT_MAX, false);
    dist__tell_onlookers();
    if (!(old & DIST__GONE) || old & DIST__HOLDERS) return;
    free_end(end); /* it was given up, and nobody else holds it */
    lanes()->put(light);
}

/* Keeps how it ended, if not well; nobody sees it yet. Returns the status of the job. */
static dist_status keep(struct dist__light *light, const dist_error *item, const dist_error *why) {
    dist_error *given = light->given;
    struct dist__light_end *end = malloc(sizeof *end);
    if (end) {
        end->item = *item;
        end->why = *why;
    }
    light->end = end ? end : (struct dist__light_end *)(uintptr_t)&unknown_end;
    if (light->end->why.status && given) *given = light->end->why;
    return light->end->why.status;
}

const struct dist__light_end *dist__light_ended(const struct dist__light *light) {
    return dist__is_mail(light) ? the_post()->ended(light) : light->end;
}

/* Nobody refers to it any more. */
static void release(struct dist__light *light) {
    if (dist__phase_of(dist__phase_look(&light->word)) == DIST__ENDED) free_end(light->end);
    lanes()->put(light);
}

/* ------------------------------------------------------------------ running it */

static bool is_cancelled(const struct dist__light *light) {
    /* relaxed: a fact by itself */
    return atomic_load_explicit(&light->word, memory_order_relaxed) & DIST__CANCEL;
}

dist_status dist__light_reason(const struct dist__light *light) {
    return is_cancelled(light) ? DIST_CANCELLED : DIST_OK;
}

/* It has failed with this code, or was told to return before. */
static __attribute__((noinline)) dist_status
fail(struct dist__light *light, struct dist__record *record, int code, bool cancelled) {
    dist_error why, error = {.item = light->item, .attempts = 1};
    bool silent = atomic_load_explicit(&light->word, memory_order_relaxed) & DIST__SILENT;
    error.status = cancelled ? DIST_CANCELLED : record->code ? record->status : DIST_FAILED;
    error.code = code ? code : record->code ? record->code : ECANCELED;
    if (record->code) memcpy(error.message, record->message, sizeof error.message);
    else if (cancelled)
        snprintf(error.message, sizeof error.message, "was running when it was cancelled");
    else snprintf(error.message, sizeof error.message, "the task returned %d", code);
    why = error;
    if (cancelled) {
        why.code = 0;
        snprintf(why.message, sizeof why.message, "cancelled by dist_job_cancel");
    } else if (silent) {
        why.status = DIST_OK;
    }
    return keep(light, &error, &why);
}

/* Results are mostly a number or a pointer. */
static void copy(void *to, const void *from, size_t size) {
    if (size == sizeof(uint64_t)) memcpy(to, from, sizeof(uint64_t));
    else if (size == sizeof(uint32_t)) memcpy(to, from, sizeof(uint32_t));
    else if (size) memcpy(to, from, size);
}

static dist_status call(struct dist__light *light, struct dist__record *record) {
    alignas(DIST__CACHE_LINE) unsigned char small[STAGE_SIZE];
    /* relaxed: the bit never changes */
    uint32_t word = atomic_load_explicit(&light->word, memory_order_relaxed);
    size_t size = light->result && !(word & DIST__IN_PLACE) ? light->result_size : 0;
    void *stage = light->result;
    if (size) stage = size <= sizeof small ? small : dist__record_scratch(record, size);
    if (size && !stage) {
        dist_fail(ENOMEM, "no memory to stage a result of %zu bytes", size);
        record->status = DIST_NOMEM;
        return fail(light, record, ENOMEM, false);
    }
    copy(stage, light->result, size);
    int code = light->fn(stage, light->item, light->ctx);
    bool cancelled = record->told || is_cancelled(light);
    if (code || cancelled) return fail(light, record, code, cancelled);
    copy(light->result, stage, size);
    light->end = NULL;
    return DIST_OK;
}

/* By whoever has moved it to UNDER_WAY, in a thread that cannot be cancelled now. */
static void run(struct dist__light *light) {
    struct dist__record record;
    int saved = errno;
    dist__record_enter_light(&record, light, light->seed);
    dist_status status = call(light, &record);
    dist__record_leave(&record);
    errno = saved;
    publish(light, status);
}

bool dist__light_take(struct dist__light *light) {
    enum dist__duty duty = dist__phase_take(&light->word);
    if (duty == DIST__MUST_RUN) run(light);
    if (duty == DIST__MUST_FREE && dist__phase_of(dist__phase_look(&light->word)) == DIST__ENDED)
        free_end(light->end);
    return duty == DIST__MUST_FREE;
}

/* True: this thread has room on its stack for one more task inside the ones that it runs. */
static bool has_room(void) {
    const struct dist__record *record = dist__record_current();
    if (!record) return true;
    uintptr_t base = record->base, at = (uintptr_t)__builtin_frame_address(0);
    return (base > at ? base - at : at - base) < DEEPEST;
}

/* The calling thread runs it, if it has not begun. */
static void run_here(struct dist__light *light) {
    bool taken = lanes()->take_back(light);
    if (!taken && !dist__phase_move(&light->word, DIST__QUEUED, DIST__UNDER_WAY)) return;
    bool inside = dist__record_current() != NULL; /* of a task: it cannot be cancelled anyway */
    int cancel_state = inside ? 0 : dist__cancel_disable();
    if (taken) dist__light_take(light); /* its handle is there: never to free */
    else run(light);
    if (!inside) dist__cancel_restore(cancel_state);
}

static void begin_hurried(struct dist__light *light) {
    int cancel_state = dist__cancel_disable();
    if (dist__phase_move(&light->word, DIST__QUEUED, DIST__UNDER_WAY)) run(light);
    dist__cancel_restore(cancel_state);
    if (dist__phase_unhurry(&light->word)) release(light);
}

static void *hurried_thread(void *light) {
    dist__thread_name("job", 1);
    begin_hurried(light);
    return NULL;
}

void dist__light_hurry(struct dist__light *light) {
    pthread_t thread;
    /* relaxed: for this thread, and the one that it starts */
    if (atomic_fetch_or_explicit(&light->word, DIST__HURRIED, memory_order_relaxed) & DIST__HURRIED)
        return;
    if (dist__thread_start(&thread, hurried_thread, light, NULL)) begin_hurried(light);
    else pthread_detach(thread);
}

/* ------------------------------------------------------------------ its beginning */

/* But for the pool and the size of ctx. */
static bool is_plain(const dist_opts *o) {
    bool no_numbers = !((o->max_failures | o->in_flight | o->tasks_per_worker | o->worker_memory |
                         o->n_cpus | o->retries | o->stack_size | o->max_pending) ||
                        o->strict || o->no_wait || o->abandon || o->timeout != 0 ||
                        o->task_timeout != 0 || o->rate != 0 || o->backoff != 0);
    return o->size == sizeof *o && no_numbers && !o->retry_if && !o->names && !o->arena &&
           !o->token && !o->job && !o->worker_init && !o->worker_exit && !o->on_start &&
           !o->on_finish && !o->cpus && !o->progress && !o->trace;
}

bool dist__light_suits(const dist_opts *o) { return is_plain(o) && !o->pool && !o->ctx_size; }

bool dist__mail_suits(const dist_opts *o) {
    return is_plain(o) && (o->ctx || !o->ctx_size) &&
           (o->executor == DIST_DEFAULT || o->executor == o->pool->backend->executor);
}

/* A thread will come for it, or, if there is no memory to tell one, is started for it. */
static void submit(struct dist__light *light) {
    if (lanes()->submit(light)) return;
    /* relaxed: nobody else has seen it in a lane; as dist__phase_take without running it */
    atomic_fetch_and_explicit(&light->word, ~(uint32_t)DIST__IN_LANE, memory_order_relaxed);
    dist__light_hurry(light);
}

dist_job *dist__light_start(const struct dist__backend *backend, dist_fn fn, const void *item,
                            void *result, size_t result_size, const dist_opts *opts) {
    struct dist__record *caller = dist__record_current();
    if (!backend->lanes || result_size > UINT32_MAX || (caller && caller->arena)) return NULL;
    struct dist__light *light = backend->lanes->get();
    if (!light) return NULL;
    uint32_t word = DIST__LIGHT | maker() << DIST__MAKER_AT;
    word |= opts->deferred ? DIST__NEW : DIST__QUEUED | DIST__IN_LANE;
    if (opts->silent) word |= DIST__SILENT;
    if (opts->in_place) word |= DIST__IN_PLACE;
    /* relaxed: whoever else gets to see it, the lane or its owner hands it over */
    atomic_store_explicit(&light->word, word, memory_order_relaxed);
    light->result_size = (uint32_t)result_size;
    light->fn = fn;
    light->item = item;
    light->result = result;
    light->ctx = opts->ctx;
    light->seed = opts->seed ? opts->seed : dist__random_nested_seed(caller);
    light->given = opts->error;
    if (!opts->deferred) submit(light);
    return (dist_job *)light;
}

dist_job *dist__mail_start(const struct dist__single *single) {
    const struct dist__post *post = single->opts->pool->backend->post;
    if (!post) return NULL;
    uint32_t bits = DIST__LIGHT | DIST__MAIL | maker() << DIST__MAKER_AT;
    if (single->opts->silent) bits |= DIST__SILENT;
    return post->begin(single->opts->pool, single, bits);
}

dist_status dist__light_begin(struct dist__light *light) {
    uint32_t word = dist__light_look(light);
    if (dist__phase_of(word) != DIST__ENDED && is_foreign(word)) return dist__job_refuse_foreign();
    if (!dist__phase_move(&light->word, DIST__NEW, DIST__QUEUED | DIST__IN_LANE))
        return dist__refuse(DIST_STATE, 0, "job: was started before");
    submit(light);
    return DIST_OK;
}

/* ------------------------------------------------------------------ waiting */

/* Its task waits for it: here, or in a call that it has made. */
static bool is_part(const struct dist__light *light) {
    const struct dist__record *r = dist__record_current();
    for (; r; r = r->caller)
        if (r->light == light) return true;
    for (r = dist__record_current(); r; r = r->outer)
        if (r->light == light) return true;
    return false;
}

dist_status dist__light_check(struct dist__light *light) {
    uint32_t word = dist__light_look(light);
    enum dist__phase phase = dist__phase_of(word);
    if (phase == DIST__ENDED) return DIST_OK;
    if (is_foreign(word)) return dist__job_refuse_foreign();
    if (phase == DIST__NEW) return dist__refuse(DIST_STATE, 0, "job: was not started");
    if (phase == DIST__UNDER_WAY && is_part(light))
        return dist__refuse(DIST_DEADLOCK, 0, "job: this task is a part of it");
    return DIST_OK;
}

static bool has_ended(struct dist__light *light) {
    return dist__phase_of(dist__light_look(light)) == DIST__ENDED;
}

/* Most tasks that are under way elsewhere end in less time than a sleep takes. */
static bool ends_soon(struct dist__light *light) {
    uint64_t limit = dist__ticks() + SPIN_NS / 1000 * dist__ticks_per_us();
    do {
        for (int i = 0; i < SPINS_PER_LOOK; i++) {
            if (has_ended(light)) return true;
            dist__cpu_pause();
        }
    } while (dist__ticks() < limit);
    return false;
}

bool dist__light_tend(struct dist__light *light) {
    if (!dist__is_mail(light) || dist__light_check(light)) return false;
    the_post()->tend(light);
    return true;
}

/* DIST_OK: it has ended. */
static dist_status sleep_until_end(struct dist__light *light, uint64_t limit) {
    dist_job *job = (dist_job *)light;
    dist_status status = DIST_OK;
    struct dist__wait wait;
    dist__wait_begin(&wait, &job, 1, limit);
    for (;;) {
        uint32_t word = dist__phase_await(&light->word);
        if (dist__phase_of(word) == DIST__ENDED) break;
        int64_t left = -1;
        if (limit != UINT64_MAX) {
            uint64_t now = dist__now_ns();
            if (now >= limit) status = DIST_TIMEOUT;
            left = (int64_t)(limit - now);
        }
        if (dist__wait_is_vain(&wait)) status = dist__wait_refuse();
        if (status) break;
        dist__futex_wait(&light->word, word, dist__wait_nap(&wait, left), false);
    }
    dist__wait_end(&wait);
    return status;
}

/* The same, sooner if it can be had. */
static dist_status await_end(struct dist__light *light, double seconds) {
    if (seconds == 0) return has_ended(light) ? DIST_OK : DIST_TIMEOUT;
    uint64_t limit = dist__limit_of(seconds);
    if (dist__is_mail(light)) return the_post()->await(light, limit) ? DIST_OK : DIST_TIMEOUT;
    if (limit == UINT64_MAX && has_room()) run_here(light);
    else if (limit != UINT64_MAX) lanes()->hand_over();
    else if (dist__phase_of(dist__phase_look(&light->word)) == DIST__QUEUED)
        dist__light_hurry(light);
    return ends_soon(light) ? DIST_OK : sleep_until_end(light, limit);
}

static dist_status how_it_ended(const struct dist__light *light) {
    dist_status status = (dist_status)dist__phase_status(dist__phase_look(&light->word));
    if (status) dist__remember(&dist__light_ended(light)->why);
    return status;
}

/* Of one that the handle's owner waits for. DIST_OK: it has ended. */
static dist_status await(struct dist__light *light, double seconds) {
    if (has_ended(light)) return DIST_OK;
    dist_status refused = dist__light_check(light);
    if (refused) return refused;
    dist_status status = await_end(light, seconds);
    if (status != DIST_TIMEOUT) return status;
    return dist__refuse(DIST_TIMEOUT, 0, "the job has not ended within %g s", seconds);
}

dist_status dist__light_wait(struct dist__light *light, double seconds) {
    dist_status refused = await(light, seconds);
    return refused ? refused : how_it_ended(light);
}

dist_status dist__light_next(struct dist__light *light, dist_event *event, double seconds) {
    dist_status refused = await(light, seconds);
    if (refused) return refused;
    /* relaxed: only who may use the handle looks at it */
    if (atomic_fetch_or_explicit(&light->word, DIST__DELIVERED, memory_order_relaxed) &
        DIST__DELIVERED)
        return DIST_EMPTY;
    const struct dist__light_end *end = dist__light_ended(light);
    *event = (dist_event){.total = 1, .done = 1, .item = light->item};
    if (end) event->error = &end->item, event->failed = end->item.status != DIST_SKIPPED;
    else event->result = light->result;
    return DIST_OK;
}

/* ------------------------------------------------------------------ the handle */

dist_status dist__light_state(struct dist__light *light) {
    uint32_t word = dist__light_look(light);
    enum dist__phase phase = dist__phase_of(word);
    if (phase == DIST__ENDED) return (dist_status)dist__phase_status(word);
    if (is_foreign(word)) return DIST_UNSUPPORTED;
    return phase == DIST__NEW ? DIST_PENDING : DIST_RUNNING;
}

/* It has not begun, and will not. */
static void end_unrun(struct dist__light *light) {
    dist_error item = dist__skipped, why = {.status = DIST_CANCELLED};
    item.item = light->item;
    snprintf(why.message, sizeof why.message, "cancelled before it began");
    publish(light, keep(light, &item, &why));
}

dist_status dist__light_cancel(struct dist__light *light, bool running_too) {
    uint32_t word = dist__light_look(light);
    if (dist__phase_of(word) != DIST__ENDED && is_foreign(word)) return dist__job_refuse_foreign();
    bool mail = dist__is_mail(light);
    if (mail) word = the_post()->cancel(light, running_too);
    else word = dist__phase_cancel(&light->word, running_too);
    switch (dist__phase_of(word)) {
    case DIST__ENDED:
        return word & DIST__CANCEL ? DIST_OK : dist__refuse(DIST_STATE, 0, "job: had ended before");
    case DIST__UNDER_WAY: return running_too ? DIST_OK : DIST_RUNNING;
    default:
        if (!mail) end_unrun(light);
        return DIST_OK;
    }
}

dist_status dist__light_finish(dist_job **handle) {
    struct dist__light *light = dist__light_of(*handle);
    dist_status status = DIST_OK;
    if (dist__phase_of(dist__light_look(light)) != DIST__NEW) {
        dist_status refused = await(light, DIST_FOREVER);
        if (refused == DIST_DEADLOCK) return refused;
        if (refused) {
            *handle = NULL; /* its threads are in another process: it stays as it is */
            return refused;
        }
        status = how_it_ended(light);
        const struct dist__light_end *end = status ? NULL : dist__light_ended(light);
        if (end) status = end->item.status; /* it was silent */
    }
    *handle = NULL;
    if (dist__is_mail(light)) the_post()->leave(light);
    else if (dist__phase_leave(&light->word)) release(light);
    return status;
}

dist_status dist__light_detach(dist_job **handle) {
    struct dist__light *light = dist__light_of(*handle);
    uint32_t word = dist__light_look(light);
    if (dist__phase_of(word) == DIST__NEW)
        return dist__refuse(DIST_STATE, 0, "job: was not started");
    *handle = NULL;
    if (dist__phase_of(word) != DIST__ENDED && is_foreign(word)) return dist__job_refuse_foreign();
    if (dist__is_mail(light)) the_post()->give_up(light);
    else if (dist__phase_give_up(&light->word)) release(light);
    return DIST_OK;
}
