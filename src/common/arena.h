/* arena.h - memory that tasks may return pointers to. */
#ifndef DIST_COMMON_ARENA_H
#define DIST_COMMON_ARENA_H

#include "task.h"

/* One more holder of the arena in this process, and one less: the last one unmaps it here. Its
 * maker holds one until dist_arena_free. */
void dist__arena_ref(struct dist_arena *arena);
void dist__arena_unref(struct dist_arena *arena);

/* Gives back what the record has taken from its arena and not used, if nobody took more since.
 * While the call still runs: after it the arena may be gone. */
void dist__arena_leave(struct dist__record *record);

#endif
