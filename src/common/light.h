/* light.h - a job of one item that nothing has to look after: no more than a cache line, run by the
 * thread of the pool that takes it out of a lane, or by the thread that waits for it. The rules of
 * its word are in phase.h; job.h of include/dist holds for it as for any job. */
#ifndef DIST_COMMON_LIGHT_H
#define DIST_COMMON_LIGHT_H

#include "backend.h"
#include "phase.h"

#include <stdalign.h>

/* How it ended, if not well. */
struct dist__light_end {
    dist_error item; /* DIST_SKIPPED: it was never started */
    dist_error why;  /* the job */
};

struct dist__light {
    alignas(
        DIST__CACHE_LINE) _Atomic(uint32_t) word; /* see phase.h; first, as in struct dist_job */
    uint32_t result_size;
    dist_fn fn;
    const void *item;
    void *result; /* NULL: none */
    void *ctx;
    uint64_t seed;
    union {
        dist_error *given;           /* the option .error, before its end */
        struct dist__light_end *end; /* afterwards; NULL: it ended well */
        struct dist__light *next;    /* of those that are free */
    };
};

_Static_assert(sizeof(struct dist__light) == DIST__CACHE_LINE, "no more than a line");

/* The same handle, seen from both sides. */
static inline bool dist__is_light(const dist_job *job) {
    /* relaxed: this bit never changes */
    return atomic_load_explicit((const _Atomic(uint32_t) *)job, memory_order_relaxed) & DIST__LIGHT;
}

/* Of a light one. */
static inline bool dist__is_mail(const struct dist__light *light) {
    /* relaxed: this bit never changes */
    return atomic_load_explicit(&light->word, memory_order_relaxed) & DIST__MAIL;
}

static inline struct dist__light *dist__light_of(const dist_job *job) {
    return (struct dist__light *)(uintptr_t)job;
}

/* True if a call with these options can be a light job, apart from what it runs. */
bool dist__light_suits(const dist_opts *opts);

/* The same for a call in a pool, if that has a short way for it. */
bool dist__mail_suits(const dist_opts *opts);

/* The call fn(result, item, ctx) as a light job in the backend's lanes; NULL: it has to become a
 * job like any other (which then says why, if it is refused). */
dist_job *dist__light_start(const struct dist__backend *backend, dist_fn fn, const void *item,
                            void *result, size_t result_size, const dist_opts *opts);

/* The same by the backend's post, to workers of a pool. */
dist_job *dist__mail_start(const struct dist__single *single);

/* Its word, as dist__phase_look: if it has ended, all that it did is there. One of another process
 * never ends. */
uint32_t dist__light_look(struct dist__light *light);

/* Is there anybody for it? For those who wait long. False: it is none of those that go by mail. */
bool dist__light_tend(struct dist__light *light);

/* A thread has taken it out of its lane: runs it if nobody else has. True: nobody needs it any
 * more, it goes back to where it came from. */
bool dist__light_take(struct dist__light *light);

/* DIST_CANCELLED if the task that runs for it should return. */
dist_status dist__light_reason(const struct dist__light *light);

/* ------------------------------------------------------------------ public calls, for light jobs
 */

/* DIST_OK, or why this thread must not wait for it. */
dist_status dist__light_check(struct dist__light *light);
dist_status dist__light_begin(struct dist__light *light); /* dist_job_start */
dist_status dist__light_state(struct dist__light *light);
dist_status dist__light_wait(struct dist__light *light, double seconds);
dist_status dist__light_next(struct dist__light *light, dist_event *event, double seconds);
dist_status dist__light_cancel(struct dist__light *light, bool running_too);
dist_status dist__light_finish(dist_job **handle);
dist_status dist__light_detach(dist_job **handle);

/* A thread of its own begins it, unless one was started before. */
void dist__light_hurry(struct dist__light *light);

/* Of one that has ended; NULL: it ended well. */
const struct dist__light_end *dist__light_ended(const struct dist__light *light);

#endif
