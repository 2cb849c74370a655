/* pipe.h - stages between queues: items pass from one through a function into the next. Part of
 * dist.h. */
#ifndef DIST_PIPE_H
#define DIST_PIPE_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A stage. While (item = get(in)) put(out, fn(item, ctx)), by itself, as a job: workers run fn, and
 * what it gives is put into `out` in the order in which it was read (or, with .unordered, in which
 * it ends). The items of `in` are what fn gets, those of `out` what it gives; results begin as
 * zeros. NULL as `out`: what fn gives is not wanted. Stages with queues between them are a pipe:
 *
 *     dist_queue *lines = dist_queue_open(.item_size = sizeof(struct line), .capacity = 64),
 *                *words = dist_queue_open(.item_size = sizeof(struct words), .capacity = 64);
 *     dist_job *parse = dist_pipe(lines, parse_line, words, .executor = DIST_PROCESS),
 *              *sum = dist_pipe(words, add_words, NULL, .workers = 1);
 *
 * A stage of one worker runs its items one at a time, in order. All that streams promise (stream.h)
 * holds: .in_flight is how many items at most have been taken out of `in` and not been put into
 * `out` (0: 2 * workers), with a larger one they travel in groups; .silent, .max_failures,
 * .retries, .task_timeout, .rate, .token as there. Memory is that of the queues and of what is in
 * flight. The function runs in workers of .executor, or of .pool; queues are read and written in
 * the calling process, by two threads of the stage's own. INLINE: fn runs in one of these.
 *
 * How it ends. `in` closed and empty, and all that came out of it delivered: DIST_OK. An item
 * fails: its status, when all before it are delivered; with .silent it is left out, and the stage
 * goes on. `out` closed by somebody else: DIST_CLOSED. dist_job_cancel, .token, the end of the
 * pool: DIST_CANCELLED. .timeout: DIST_TIMEOUT. Items that it has taken out of `in` and not
 * delivered then, .in_flight at most, are gone; those in `in` stay there.
 *
 * However it ends, the last stage that puts into a queue closes it, and the last one that takes out
 * of a queue, too: so stages after it come to their end, and those before it, and whoever else
 * puts, do not wait for room that nobody makes. Stages count from dist_pipe on, so make all that
 * share a queue before the first can end.
 *
 * dist_queue_task_done is called for each item that was taken out, also for one that has failed.
 * .on_finish is told of each item, as it is delivered, in a thread of the stage's: event->item,
 * event->result or event->error, event->total being SIZE_MAX. The job remembers the first 1000
 * failures (dist_job_failure_at; their items are gone) and counts all. dist_job_stats tells how
 * busy its workers were. dist_job_next is not for stages: DIST_INVALID; `out` is for that.
 *
 * DIST_INVALID, and NULL: in or fn is NULL, out is in, a number is wrong, or an option that stages
 * do not have: names, job, abandon, in_place, no_wait, on_start, progress. The queues must stay
 * until the job has ended. A task that waits for its own stage: DIST_DEADLOCK. */
DIST_API dist_job *dist_pipe_fn(dist_queue *in, dist_fn fn, dist_queue *out, const dist_opts *opts);
#ifndef __cplusplus
/* dist_pipe(in, fn, out, .workers = 4): the arguments after fn are out, then options. */
#define dist_pipe(in, fn, ...)                                                                     \
    dist_pipe_fn((in), (fn), (DIST__HEAD(__VA_ARGS__)), DIST_OPTS(DIST__REST(__VA_ARGS__)))
#endif

#ifdef __cplusplus
}
#endif

#endif
