/* arena.h - memory that tasks may return pointers to. */
#ifndef DIST_COMMON_ARENA_H
#define DIST_COMMON_ARENA_H

#include "task.h"

/* One more holder of the arena in this process, and one less: the last one unmaps it here. Its
 * maker holds one until dist_arena_free. */
void dist__arena_ref(struct dist_arena *arena);
void dist__arena_unref(struct dist_arena *arena);

/* From now on arenas are made in memory that processes forked later share, even if they are forked
 * before the arena is made. */
void dist__arena_share(void);

/* Counts arenas and pools as they are made. */
uint64_t dist__arena_birth(void);

/* Can workers that were forked after `birth` see what lies in this arena? */
bool dist__arena_is_visible(const struct dist_arena *arena, uint64_t birth);

/* Are these bytes in it, and can they? */
bool dist__arena_shows(const struct dist_arena *arena, uint64_t birth, const void *begin,
                       size_t bytes);

/* A view of an arena for a process that has none; and what it takes. */
struct dist__arena_view {
    unsigned char *base; /* NULL: there is no arena */
    size_t size;
};
struct dist__arena_view dist__arena_view(const struct dist_arena *arena);
struct dist_arena *dist__arena_see(const struct dist__arena_view *view);

/* Gives back what the record has taken from its arena and not used, if nobody took more since.
 * While the call still runs: after it the arena may be gone. */
void dist__arena_leave(struct dist__record *record);

#endif
