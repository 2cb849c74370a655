/* task.c - the current task: what a task asks about itself and how it fails. */
#include "arena.h"
#include "batch.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { STAGE_ALIGNMENT = 64 }; /* of the widest vector types */

/* initial-exec: one load instead of a call; eight bytes of static TLS are always to be had. */
static _Thread_local struct dist__record *current __attribute__((tls_model("initial-exec")));

struct dist__record *dist__record_current(void) {
    return current;
}

void dist__record_switch(struct dist__record *record) { current = record; }

static unsigned product(unsigned a, unsigned b) { return a > UINT_MAX / b ? UINT_MAX : a * b; }

/* What is the same for all calls, and makes it the current record. */
static void enter(struct dist__record *record) {
    record->index = record->first = 0;
    record->scale = 1;
    record->order = NULL;
    record->code = 0;
    record->status = DIST_FAILED;
    record->attempt = 1;
    record->name = NULL;
    record->chunk_count = 0;
    record->named = NULL;
    record->named_count = record->named_room = 0;
    record->named_lost = false;
    record->random_count = 0;
    record->random_index = SIZE_MAX;
    record->random_attempt = 0;
    record->block = record->block_end = NULL;
    record->block_size = 0;
    record->scratch = NULL;
    record->scratch_size = 0;
    record->state = NULL;
    record->hand = NULL;
    atomic_init(&record->borrower, 0);
    record->direct = record->begun = record->idle = false;
    record->told = DIST_OK;
    record->limit_ns = UINT64_MAX;
    record->now_ns = 0;
    record->before_pin.is_set = false;
    record->meter = NULL;
    record->cpu_looked = 0;
    record->follows = false;
    record->light = NULL;
    record->outer = current;
    record->base = current ? current->base : (uintptr_t)__builtin_frame_address(0);
    current = record;
}

void dist__record_enter(struct dist__record *record, const struct dist__batch *batch,
                        unsigned worker, enum dist__company company) {
    const struct dist__record *caller = batch->caller;
    enter(record);
    record->first = batch->first;
    record->order = batch->order;
    record->place = record->worker = worker;
    record->names = batch->names;
    record->seed = batch->seed;
    record->arena = batch->arena;
    record->control = batch->control;
    record->meter = batch->meters ? &batch->meters->worker[worker] : NULL;
    record->caller = batch->abandoned ? NULL : caller;
    unsigned workers = company == DIST__ALONE ? 1 : batch->workers;
    record->crowd = product(caller ? caller->crowd : 1, workers);
    record->process_crowd =
        product(caller ? caller->process_crowd : 1, company == DIST__FORKED ? workers : 1);
    record->threaded =
        company == DIST__THREADED || (company == DIST__ALONE && caller && caller->threaded);
    record->company = company;
}

void dist__record_enter_light(struct dist__record *record, const struct dist__light *light,
                              uint64_t seed) {
    enter(record);
    record->place = record->worker = 0;
    record->names = NULL;
    record->seed = seed;
    record->arena = NULL;
    record->control = NULL;
    record->caller = NULL;
    record->crowd = record->process_crowd = 1;
    record->threaded = false;
    record->company = DIST__ALONE;
    record->light = light;
}

/* Of a thread that is pinned for good. */
static _Thread_local const struct dist__affinity *pinned_from;

void dist__thread_is_pinned(const struct dist__affinity *before) { pinned_from = before; }

const struct dist__affinity *dist__record_affinity(void) {
    for (const struct dist__record *r = current; r; r = r->caller)
        if (r->before_pin.is_set) return &r->before_pin;
    return pinned_from;
}

void dist__record_leave(struct dist__record *record) {
    current = record->outer;
    /* other workers leave when the call may have returned and the arena may be gone */
    if (record->block && record->company == DIST__ALONE) dist__arena_leave(record);
    if (record->named) free(record->named); /* mostly not: a call each for a task of a few ns */
    if (record->scratch) free(record->scratch);
}

void *dist__record_scratch(struct dist__record *record, size_t size) {
    if (record->scratch_size < size) {
        free(record->scratch);
        size_t whole_lines = (size + STAGE_ALIGNMENT - 1) / STAGE_ALIGNMENT * STAGE_ALIGNMENT;
        record->scratch = whole_lines < size ? NULL : aligned_alloc(STAGE_ALIGNMENT, whole_lines);
        record->scratch_size = record->scratch ? size : 0;
    }
    return record->scratch;
}

int dist_fail(int code, const char *format, ...) {
    if (code == 0) code = 1;
    struct dist__record *record = current;
    if (!record) return code;
    record->code = code;
    record->status = DIST_FAILED;
    va_list args;
    va_start(args, format);
    vsnprintf(record->message, sizeof record->message, format, args);
    va_end(args);
    return code;
}

static struct dist__named_item *name_item(struct dist__record *record) {
    if (record->named_count == record->named_room) {
        size_t room = record->named_room ? 2 * record->named_room : 8;
        struct dist__named_item *grown = realloc(record->named, room * sizeof *grown);
        if (!grown) return NULL;
        record->named = grown;
        record->named_room = room;
    }
    return &record->named[record->named_count++];
}

int dist_fail_at(size_t k, int code, const char *format, ...) {
    if (code == 0) code = 1;
    struct dist__record *record = current;
    if (!record) return code;
    char message[DIST__MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    struct dist__named_item *item = k < record->chunk_count ? name_item(record) : NULL;
    if (!item) { /* not in a chunk task, past its end, or no memory: the task as a whole fails */
        record->named_lost = true;
        return dist_fail(code, "%s", message);
    }
    item->offset = k;
    item->code = code;
    snprintf(item->message, sizeof item->message, "%s", message);
    return code;
}

int dist_failure(void) { return current ? current->code : 0; }
size_t dist_index(void) { return current ? dist__record_index(current) : 0; }
const char *dist_name(void) {
    if (!current) return NULL;
    return current->names ? current->names[dist_index()] : current->name;
}
unsigned dist_attempt(void) { return current ? current->attempt : 0; }
unsigned dist_worker(void) { return current ? current->worker : 0; }

/* The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014): a bijection that leaves no pattern of its input. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t base_of(uint64_t seed, uint64_t index) {
    return mix(mix(seed + golden) + (index + 1) * golden);
}

static uint64_t draw(uint64_t base, uint64_t count) { return mix(base + (count + 1) * golden); }

uint64_t dist__random_of(uint64_t seed, uint64_t index, uint64_t count) {
    return draw(base_of(seed, index), count);
}

/* Forgets what was drawn for another item or attempt. */
static void begin_random(struct dist__record *record) {
    if (record->random_index == record->index && record->random_attempt == record->attempt) return;
    record->random_index = record->index;
    record->random_attempt = record->attempt;
    record->random_count = record->nested_count = 0;
    record->random_base = base_of(record->seed, dist__record_index(record));
}

uint64_t dist__random_nested_seed(struct dist__record *caller) {
    if (!caller) return 0;
    begin_random(caller);
    return draw(caller->random_base, ~caller->nested_count++);
}

uint64_t dist_random(void) {
    if (!current) return 0;
    begin_random(current);
    return draw(current->random_base, current->random_count++);
}
