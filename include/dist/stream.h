/* stream.h - a loop whose items are not all there when it begins. Part of dist.h. */
#ifndef DIST_STREAM_H
#define DIST_STREAM_H

#include "dist.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The source: writes the next item to *item; false: there is none, or, if it has called dist_fail,
 * none can be had. */
typedef bool (*dist_next_fn)(void *item, void *source);

/* The sink: receives one ended item. event->result is its result, or NULL if it failed, and then
 * event->error says why; event->total is SIZE_MAX. All of it is valid until it returns. False: that
 * is enough. */
typedef bool (*dist_sink_fn)(const dist_event *event, void *user);

/* while (next(&item, source) && sink(fn(&result, &item, ctx), user)) ;
 *
 * `next` and `sink` run in the calling thread. The sink receives items in the order in which they
 * were read (or, with .unordered, in which they end). At most .in_flight items have been read and
 * not been given to the sink (0: 2 * workers): a slow sink stops the source, and memory is theirs
 * alone, however many items pass. With a larger .in_flight items travel in groups, as large as last
 * for some 50 us, which costs less for each; .chunk limits the size of a group (with 1 each item
 * goes by itself). Results begin as zeros.
 *
 * Returns DIST_OK when all items have passed, DIST_CANCELLED when the sink has had enough: what had
 * been read and was not delivered is cancelled then. The first item that fails is the last that the
 * sink receives, and its status is returned; .silent and .max_failures as for other calls. A source
 * that fails: what was read before is delivered, then DIST_FAILED with its text, the index being
 * that of the item it did not deliver. .timeout and .token end it in the middle.
 *
 * .retry_if runs in other threads, one at a time. .rate limits how many items are read per second.
 * Not for streams (DIST_INVALID): names, job, deferred, abandon, in_place, no_wait, on_start,
 * on_finish, progress. THREAD and PROCESS without .pool open one for the time of the call; with
 * .pool at most .workers of its workers run tasks of the stream at a time. */
DIST_API dist_status dist_stream_fn(dist_fn fn, size_t item_size, size_t result_size,
                                    dist_next_fn next, void *source, dist_sink_fn sink,
                                    const dist_opts *opts);
#ifndef __cplusplus
/* dist_stream(fn, struct line, int, next, source, sink, .workers = 4): the types of item and
 * result, then source and sink, then options. */
#define dist_stream(fn, item_type, result_type, next, source, ...)                                 \
    dist_stream_fn((fn), sizeof(item_type), sizeof(result_type), (next), (source),                 \
                   (DIST__HEAD(__VA_ARGS__)), DIST_OPTS(DIST__REST(__VA_ARGS__)))
#endif

#ifdef __cplusplus
}
#endif

#endif
