/* await.c - waiting for calls that go on by themselves, and for their items. A worker of a pool
 * that waits without limit for a job of this pool takes part in it: other workers there may be
 * none. */
#include "deadlock.h"
#include "error.h"
#include "job.h"
#include "light.h"
#include "onlookers.h"
#include "pool.h"

#include <unistd.h>

enum {
    BEGIN_NS = 10000000, /* so long a thread waits for others to begin a job */
    HELP_NS = 1000000,   /* between two looks whether there is something to help with */
    TEND_NS = 100000000  /* between two looks whether mail has workers */
};

dist_status dist__job_refuse_foreign(void) {
    return dist__refuse(DIST_UNSUPPORTED, 0, "job: belongs to another process");
}

/* DIST_OK, or why this thread must not wait for the job. */
dist_status dist__job_check(const struct dist_job *job) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (dist__is_light(job)) return dist__light_check(dist__light_of(job));
    enum dist__phase phase = dist__job_phase(job);
    if (phase == DIST__ENDED) return DIST_OK;
    if (job->maker != getpid()) return dist__job_refuse_foreign();
    if (phase == DIST__NEW) return dist__refuse(DIST_STATE, 0, "job: was not started");
    for (const struct dist_job *j = dist__job_running(); j; j = j->below)
        if (j == job) return dist__refuse(DIST_DEADLOCK, 0, "job: this hook is a part of it");
    for (const struct dist__record *r = dist__record_current(); r; r = r->caller)
        if (r->control && (r->control->batch->job == job || r->control->batch->of == job))
            return dist__refuse(DIST_DEADLOCK, 0, "job: this task is a part of it");
    return DIST_OK;
}

/* Nanoseconds from now until a time; -1: never. */
static int64_t until(uint64_t limit_ns) {
    if (limit_ns == UINT64_MAX) return -1;
    uint64_t now = dist__now_ns();
    return limit_ns > now ? (int64_t)(limit_ns - now) : 0;
}

static dist_status how_it_ended(const struct dist_job *job) {
    for (size_t i = 0; dist__backends[i]; i++)
        if (dist__backends[i]->rest) dist__backends[i]->rest();
    if (job->status) dist__remember(&job->why);
    return job->status;
}

/* ------------------------------------------------------------------ helping */

/* The task that waits here has a hand of the job's pool. */
static bool may_help(const struct dist_job *job, uint64_t limit_ns) {
    return limit_ns == UINT64_MAX && !dist__is_light(job) && job->batch.pool &&
           dist__hand_lender(job->batch.pool);
}

/* False: there is nothing to run now. */
static bool help(struct dist_job *job, bool (*enough)(const struct dist__helper *helper),
                 const struct dist__sight *sight) {
    struct dist__helper helper = {enough, job, sight};
    pthread_mutex_lock(&job->lock);
    dist__help *run = job->help;
    void *crew = job->crew;
    if (run) job->hold(crew);
    pthread_mutex_unlock(&job->lock);
    return run && run(crew, dist__hand_lender(job->batch.pool), &helper);
}

/* So long the thread sleeps that otherwise would for `left_ns`. */
static int64_t nap(int64_t left_ns, bool helps) {
    return helps && (left_ns < 0 || left_ns > HELP_NS) ? HELP_NS : left_ns;
}

static bool never_enough(const struct dist__helper *helper) {
    (void)helper;
    return false;
}

/* ------------------------------------------------------------------ waiting */

/* DIST_OK: it has ended. */
static dist_status await_end(struct dist_job *job, uint64_t limit, struct dist__wait *wait) {
    bool helps = may_help(job, limit);
    while (dist__job_phase(job) != DIST__ENDED) {
        if (helps && help(job, never_enough, NULL)) continue;
        if (dist__wait_is_vain(wait)) return dist__wait_refuse();
        int64_t left = nap(until(limit), helps);
        if (left == 0) return DIST_TIMEOUT;
        uint32_t word = dist__phase_await(&job->phase);
        if (dist__phase_of(word) == DIST__ENDED) break;
        dist__futex_wait(&job->phase, word, dist__wait_nap(wait, left), false);
    }
    return DIST_OK;
}

dist_status dist_job_wait(dist_job *job, double seconds) {
    if (job && dist__is_light(job)) return dist__light_wait(dist__light_of(job), seconds);
    dist_status refused = dist__job_check(job);
    if (refused) return refused;
    uint64_t limit = dist__limit_of(seconds);
    struct dist__wait wait;
    dist__wait_begin(&wait, &job, 1, limit);
    if (limit == UINT64_MAX && dist__job_begin(job)) {
        dist__wait_list(&wait);
        dist__job_run_here(job);
    }
    dist_status status = await_end(job, limit, &wait);
    dist__wait_end(&wait);
    if (status == DIST_TIMEOUT)
        return dist__refuse(DIST_TIMEOUT, 0, "the job has not ended within %g s", seconds);
    return status ? status : how_it_ended(job);
}

static void run_hurried(struct dist_job *job) {
    dist__job_run_here(job);
    dist__job_unref(job);
}

static void *hurried_thread(void *job) {
    dist__thread_name("job", 1);
    run_hurried(job);
    return NULL;
}

/* The threads there are may all be waiting for this job: one more runs it, if it is to begin. */
static void hurry(struct dist_job *job) {
    pthread_t thread;
    if (dist__is_light(job)) {
        dist__light_hurry(dist__light_of(job));
        return;
    }
    if (job->hurried || !dist__job_begin(job)) return;
    job->hurried = true;
    dist__job_ref(job);
    if (dist__thread_start(&thread, hurried_thread, job, dist__record_affinity())) run_hurried(job);
    else pthread_detach(thread);
}

/* The next item to deliver, if it has ended. */
static bool next_ended(struct dist_job *job, size_t *index) {
    pthread_mutex_lock(&job->lock);
    *index = job->delivered;
    bool any = job->order ? job->delivered < job->ended : job->item[job->delivered] != DIST__OPEN;
    if (any && job->order) *index = job->order[job->delivered];
    pthread_mutex_unlock(&job->lock);
    return any;
}

static bool has_next(const struct dist__helper *helper) {
    size_t index;
    return next_ended(helper->job, &index);
}

/* Why an item has failed: the failures are sorted at the end. */
static void find_error(struct dist_job *job, size_t index, enum dist__phase phase) {
    const dist_error *error = phase == DIST__ENDED ? dist__job_outcome(job, index) : NULL;
    if (error) job->error = *error;
    else dist__outcome_find(&job->batch.outcome, index, &job->error);
}

static void fill_event(struct dist_job *job, size_t index, enum dist__phase phase,
                       dist_event *event) {
    const struct dist__batch par = {.kind = DIST__PAR_TASKS, .tasks = job->tasks};
    const struct dist__batch *batch = job->tasks ? &par : &job->batch; /* that may be ordered */
    job->delivered++;
    job->error = dist__skipped; /* unless it has failed */
    job->error.index = index;
    dist__batch_describe(batch, &job->error);
    *event = (dist_event){.index = index,
                          .total = job->batch.n,
                          .done = job->delivered,
                          .name = job->error.name,
                          .item = job->error.item};
    if (job->item[index] == DIST__WELL) {
        event->result = dist__batch_result(batch, index);
    } else {
        if (job->item[index] == DIST__BADLY) find_error(job, index, phase);
        job->failed += job->item[index] == DIST__BADLY;
        event->error = &job->error;
    }
    event->failed = job->failed;
}

/* DIST_OK: there is one, or no more will come. */
static dist_status await_next(struct dist_job *job, dist_event *event, uint64_t limit,
                              struct dist__wait *wait) {
    uint64_t begin = dist__now_ns() + BEGIN_NS;
    bool helps = may_help(job, limit);
    for (size_t index;;) {
        uint32_t changes = dist__changes_look(&job->changes);
        enum dist__phase phase = dist__job_phase(job); /* at the end all items have been told of */
        if (next_ended(job, &index)) {
            fill_event(job, index, phase, event);
            return DIST_OK;
        }
        if (helps && help(job, has_next, NULL)) continue;
        bool queued = phase == DIST__QUEUED && limit == UINT64_MAX && !job->hurried;
        if (queued && dist__now_ns() >= begin) hurry(job), queued = false;
        if (dist__wait_is_vain(wait)) return dist__wait_refuse();
        int64_t left = until(queued ? begin : limit);
        if (left == 0 && !queued) return DIST_TIMEOUT;
        if (left && dist__changes_await(&job->changes, &changes))
            dist__futex_wait(&job->changes, changes, dist__wait_nap(wait, nap(left, helps)), false);
    }
}

dist_status dist_job_next(dist_job *job, dist_event *event, double seconds) {
    if (!event) return dist__refuse(DIST_INVALID, 0, "event: is NULL");
    if (job && dist__is_light(job)) return dist__light_next(dist__light_of(job), event, seconds);
    dist_status refused = dist__job_check(job);
    if (refused) return refused;
    if (job->stage) return dist__refuse(DIST_INVALID, 0, "job: is a stage, its items are in out");
    if (!job->item) return dist__refuse(DIST_INVALID, 0, "job: is one of a blocking call");
    if (job->delivered == job->batch.n) return DIST_EMPTY;
    uint64_t limit = dist__limit_of(seconds);
    struct dist__wait wait;
    dist__wait_begin(&wait, &job, 1, limit);
    wait.of_item = job->batch.n > 1;
    wait.item = job->delivered;
    if (wait.of_item && job->order) wait.for_ever = false; /* another item will do */
    dist_status status = await_next(job, event, limit, &wait);
    dist__wait_end(&wait);
    if (status == DIST_TIMEOUT)
        return dist__refuse(DIST_TIMEOUT, 0, "no item has ended within %g s", seconds);
    return status;
}

void dist__await(bool (*there)(void *state), void *state) {
    struct dist__sight sight = dist__sight_begin();
    for (; !there(state); dist__sight_renew(&sight)) dist__sight_await(&sight, -1);
    dist__sight_end(&sight);
}

static bool was_hurried(const struct dist_job *job) {
    if (!dist__is_light(job)) return job->hurried;
    return dist__phase_look(&dist__light_of(job)->word) & (DIST__HURRIED | DIST__MAIL);
}

/* The first that has ended, or n. *waiting: one is on its way; *queued: one that has not begun. */
static size_t first_ended(dist_job *const *jobs, size_t n, bool *waiting,
                          struct dist_job **queued) {
    *waiting = false;
    *queued = NULL;
    for (size_t k = 0; k < n; k++) {
        if (!jobs[k] || dist__job_check(jobs[k])) continue;
        enum dist__phase phase = dist__job_phase(jobs[k]);
        if (phase == DIST__ENDED) return k;
        if (phase == DIST__QUEUED && !*queued && !was_hurried(jobs[k])) *queued = jobs[k];
        *waiting = true;
    }
    return n;
}

static bool any_has_ended(const struct dist__helper *helper) {
    return dist__sight_has_expired(helper->sight);
}

/* *helps: there are jobs that this thread may help. True: it has. */
static bool help_any(dist_job *const *jobs, size_t n, uint64_t limit_ns,
                     const struct dist__sight *sight, bool *helps) {
    *helps = false;
    for (size_t k = 0; k < n; k++) {
        if (!jobs[k] || dist__job_check(jobs[k]) || !may_help(jobs[k], limit_ns)) continue;
        *helps = true;
        if (help(jobs[k], any_has_ended, sight)) return true;
    }
    return false;
}

/* Is there somebody for the mail among them? Now and then. Returns when to ask again. */
static uint64_t tend_all(dist_job *const *jobs, size_t n) {
    bool any = false;
    for (size_t k = 0; k < n; k++)
        any |= jobs[k] && dist__is_light(jobs[k]) && dist__light_tend(dist__light_of(jobs[k]));
    return any ? dist__now_ns() + TEND_NS : UINT64_MAX;
}

/* Looks, sleeps, and looks again. */
static size_t await_any(dist_job *const *jobs, size_t n, uint64_t limit, struct dist__wait *wait,
                        struct dist__sight *sight) {
    uint64_t begin = dist__now_ns() + BEGIN_NS, tend = dist__now_ns() + TEND_NS;
    for (;; dist__sight_renew(sight)) {
        bool waiting, helps;
        struct dist_job *queued;
        size_t first = first_ended(jobs, n, &waiting, &queued);
        if (first < n || !waiting) return first;
        if (help_any(jobs, n, limit, sight, &helps)) continue;
        if (limit != UINT64_MAX) queued = NULL;
        if (queued && dist__now_ns() >= begin) hurry(queued), queued = NULL;
        if (dist__wait_is_vain(wait)) {
            dist__wait_refuse();
            return n;
        }
        if (tend != UINT64_MAX && dist__now_ns() >= tend) tend = tend_all(jobs, n);
        uint64_t next = queued && begin < limit ? begin : limit;
        int64_t left = until(next < tend ? next : tend);
        if (left == 0 && dist__now_ns() >= limit) return n;
        if (left) dist__sight_await(sight, dist__wait_nap(wait, nap(left, helps)));
    }
}

size_t dist_job_wait_any(dist_job *const *jobs, size_t n, double seconds) {
    bool waiting;
    struct dist_job *queued;
    size_t first = first_ended(jobs, n, &waiting, &queued);
    if (first < n || !waiting || seconds == 0) return first;
    uint64_t limit = dist__limit_of(seconds);
    struct dist__wait wait;
    struct dist__sight sight = dist__sight_begin();
    dist__wait_begin(&wait, jobs, n, limit);
    first = await_any(jobs, n, limit, &wait, &sight);
    dist__wait_end(&wait);
    dist__sight_end(&sight);
    return first;
}
