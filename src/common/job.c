/* job.c - looking at an ended call. Its outcome is sorted: see dist__outcome_sort. */
#include "job.h"
#include "error.h"
#include "light.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* While it runs there is nothing to see. */
static bool has_ended(const dist_job *job) {
    if (!job) return false;
    uint32_t word =
        dist__is_light(job) ? dist__light_look(dist__light_of(job)) : dist__phase_look(&job->phase);
    return dist__phase_of(word) == DIST__ENDED;
}

/* The failure of a light job that has ended, or NULL. */
static const dist_error *light_failure(const dist_job *job) {
    const struct dist__light_end *end = dist__light_ended(dist__light_of(job));
    return end && end->item.status != DIST_SKIPPED ? &end->item : NULL;
}

dist_status dist__job_as_if_loud(const dist_job *job) {
    const struct dist__outcome *outcome = &job->batch.outcome;
    if (job->batch.cut) return job->batch.cut;
    return outcome->failed_count ? outcome->lowest.status : job->status;
}

bool dist__job_cut(const dist_job *job) { return job->batch.cut != DIST_OK; }
uint64_t dist__job_took_ns(const dist_job *job) { return job->took_ns; }

void dist__job_free(dist_job *job) {
    dist__outcome_free(&job->batch.outcome);
    for (size_t k = 0; k < job->asked_count; k++) free(job->asked[k]);
    free(job->asked);
    free(job);
}

dist_status dist_job_state(const dist_job *job) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (dist__is_light(job)) return dist__light_state(dist__light_of(job));
    enum dist__phase phase = dist__phase_of(dist__phase_look(&job->phase));
    if (phase == DIST__ENDED) return job->status;
    if (job->maker != getpid()) return DIST_UNSUPPORTED;
    return phase == DIST__NEW ? DIST_PENDING : DIST_RUNNING;
}

size_t dist_job_count(const dist_job *job) {
    if (!job) return 0;
    return dist__is_light(job) ? 1 : job->batch.n;
}

size_t dist_job_failures(const dist_job *job) {
    if (!has_ended(job)) return 0;
    return dist__is_light(job) ? light_failure(job) != NULL : job->batch.outcome.failed_count;
}

const dist_error *dist_job_failure_at(const dist_job *job, size_t k) {
    if (!has_ended(job)) return NULL;
    if (dist__is_light(job)) return k == 0 ? light_failure(job) : NULL;
    return k < job->batch.outcome.kept_count ? &job->batch.outcome.failed[k] : NULL;
}

/* The number of failures whose index is below `index`. */
static size_t failures_below(const struct dist__outcome *outcome, size_t index) {
    size_t low = 0, high = outcome->kept_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (outcome->failed[middle].index < index) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The number of skipped spans that end at or below `index`. */
static size_t spans_below(const struct dist__outcome *outcome, size_t index) {
    size_t low = 0, high = outcome->skipped_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (outcome->skipped[middle].end <= index) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The next items at or above `from` that have no result; begin == end == n if there are none. */
static struct dist__span next_missing(const dist_job *job, size_t from) {
    const struct dist__outcome *outcome = &job->batch.outcome;
    struct dist__span missing = {job->batch.n, job->batch.n};
    size_t k = failures_below(outcome, from), s = spans_below(outcome, from);
    if (k < outcome->kept_count)
        missing = (struct dist__span){outcome->failed[k].index, outcome->failed[k].index + 1};
    if (s < outcome->skipped_count && outcome->skipped[s].begin <= missing.begin) {
        missing = outcome->skipped[s];
        if (missing.begin < from) missing.begin = from;
    }
    return missing;
}

/* The block of skipped items that holds `index`, made if there is none; NULL without memory. */
static struct dist__skipped_block *skipped_block(dist_job *job, size_t index) {
    size_t number = index / DIST__SKIPPED_BLOCK, low = 0, high = job->asked_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (job->asked[middle]->number < number) low = middle + 1;
        else high = middle;
    }
    if (low < job->asked_count && job->asked[low]->number == number) return job->asked[low];
    struct dist__skipped_block **grown =
        realloc(job->asked, (job->asked_count + 1) * sizeof(struct dist__skipped_block *));
    if (!grown) return NULL;
    job->asked = grown;
    struct dist__skipped_block *block = malloc(sizeof *block);
    if (!block) return NULL;
    block->number = number;
    memmove(&grown[low + 1], &grown[low], (job->asked_count - low) * sizeof *grown);
    grown[low] = block;
    job->asked_count++;
    return block;
}

/* Skipped items take no memory until somebody asks. */
static const dist_error *skipped_item(const dist_job *job, size_t index) {
    static const dist_error nameless = {.status = DIST_SKIPPED, .message = "skipped"};
    /* a cache: what the caller sees of the job stays the same */
    struct dist__skipped_block *block = skipped_block((dist_job *)job, index);
    if (!block) return &nameless;
    dist_error *error = &block->error[index % DIST__SKIPPED_BLOCK];
    *error = dist__skipped;
    error->index = index;
    dist__batch_describe(&job->batch, error);
    return error;
}

const dist_error *dist__job_outcome(const dist_job *job, size_t index) {
    const struct dist__outcome *outcome = &job->batch.outcome;
    size_t k = failures_below(outcome, index);
    if (k < outcome->kept_count && outcome->failed[k].index == index) return &outcome->failed[k];
    size_t s = spans_below(outcome, index);
    bool skipped = s < outcome->skipped_count && outcome->skipped[s].begin <= index;
    return skipped ? skipped_item(job, index) : NULL;
}

const dist_error *dist_job_outcome(const dist_job *job, size_t index) {
    if (!has_ended(job) || index >= dist_job_count(job)) return NULL;
    if (!dist__is_light(job)) return dist__job_outcome(job, index);
    const struct dist__light_end *end = dist__light_ended(dist__light_of(job));
    return end ? &end->item : NULL;
}

void *dist_job_named(const dist_job *job, const char *name) {
    if (!has_ended(job) || !name || dist__is_light(job)) return NULL;
    for (size_t i = 0; i < job->batch.n; i++) {
        const char *own = dist__batch_name(&job->batch, i);
        if (own && !strcmp(own, name))
            return dist_job_outcome(job, i) ? NULL : dist__batch_result(&job->batch, i);
    }
    return NULL;
}

/* Appends the results of items begin..end-1 to *packed, if that is not NULL. */
static void pack(const dist_job *job, size_t begin, size_t end, unsigned char **packed) {
    if (!*packed) return;
    for (size_t i = begin; i < end; i++) {
        size_t size = dist__batch_result_size(&job->batch, i);
        if (size) memcpy(*packed, dist__batch_result(&job->batch, i), size);
        *packed += size;
    }
}

static size_t light_succeeded(const struct dist__light *light, void *packed) {
    if (dist__light_ended(light)) return 0;
    if (packed && light->result) memcpy(packed, light->result, light->result_size);
    return 1;
}

size_t dist_job_succeeded(const dist_job *job, void *packed) {
    if (has_ended(job) && dist__is_light(job)) return light_succeeded(dist__light_of(job), packed);
    size_t count = 0, n = has_ended(job) ? job->batch.n : 0;
    unsigned char *to = packed;
    for (size_t i = 0; i < n;) {
        struct dist__span missing = next_missing(job, i);
        pack(job, i, missing.begin, &to);
        count += missing.begin - i;
        i = missing.end;
    }
    return count;
}

static dist_status light_replace(const struct dist__light *light, const void *value, void *copy) {
    if (!light->result)
        return dist__refuse(DIST_INVALID, 0, "job: its call had no array of results");
    const void *from = dist__light_ended(light) ? value : light->result;
    void *to = copy ? copy : light->result;
    if (to != from) memcpy(to, from, light->result_size);
    return DIST_OK;
}

dist_status dist_job_replace_failed(const dist_job *job, const void *value, void *copy) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (!has_ended(job)) return dist__refuse(DIST_STATE, 0, "job: has not ended");
    if (!value) return dist__refuse(DIST_INVALID, 0, "value: is NULL");
    if (dist__is_light(job)) return light_replace(dist__light_of(job), value, copy);
    const struct dist__batch *batch = &job->batch;
    if (batch->n == 0) return DIST_OK;
    if (batch->kind == DIST__PAR_TASKS || !batch->out)
        return dist__refuse(DIST_INVALID, 0, "job: its call had no array of results");
    unsigned char *to = copy ? copy : batch->out;
    if (copy) memcpy(copy, batch->out, batch->n * batch->out_size);
    for (size_t i = 0;;) {
        struct dist__span missing = next_missing(job, i);
        if (missing.begin == batch->n) return DIST_OK;
        for (i = missing.begin; i < missing.end; i++)
            memcpy(to + i * batch->out_size, value, batch->out_size);
    }
}

dist_status dist_job_stats(const dist_job *job, dist_stats *stats) {
    if (!job) return dist__refuse(DIST_INVALID, 0, "job: is NULL");
    if (!stats) return dist__refuse(DIST_INVALID, 0, "stats: is NULL");
    if (!has_ended(job)) return dist__refuse(DIST_STATE, 0, "job: has not ended");
    if (dist__is_light(job)) { /* it is not measured: that would cost more than it does */
        const struct dist__light_end *end = dist__light_ended(dist__light_of(job));
        *stats = (dist_stats){.tasks = !end || end->item.status != DIST_SKIPPED,
                              .failed = light_failure(job) != NULL,
                              .workers = 1,
                              .executor =
                                  dist__is_mail(dist__light_of(job)) ? DIST_PROCESS : DIST_THREAD};
        return DIST_OK;
    }
    *stats = job->stats;
    stats->failed = job->batch.outcome.failed_count;
    return DIST_OK;
}
