/* supervisor.h - the parent's side of a call: its workers, and what dead ones have left. */
#ifndef DIST_PROCESS_SUPERVISOR_H
#define DIST_PROCESS_SUPERVISOR_H

#include "worker.h"

#include <poll.h>

struct dist__member { /* a worker, seen from its parent */
    pid_t pid;        /* 0: none */
    int pidfd;
    bool late;                    /* its attempt was, so it is being killed */
    uint64_t kill_ns;             /* after SIGTERM: when SIGKILL follows; 0: neither */
    uint64_t generation, file_id; /* of a worker of a pool, and of its pidfd */
};

struct dist__desertion {  /* of something that workers of a pool are to do; at first 0 */
    uint64_t attended_ns; /* when it last had a worker, or its first look */
    uint64_t deserted_ns; /* since when its pool has had no worker; 0: it has some */
};

struct dist__supervisor {
    struct dist__process_call call;
    struct dist__member *member; /* one for each place */
    unsigned width;              /* places */
    struct pollfd *polled;       /* two for the control, then the pidfds */
    unsigned live;           /* workers; in a pool: those that are in the call or invited to it */
    struct dist__span *lost; /* items that dead workers held and never started */
    size_t lost_count, lost_room;
    unsigned barren; /* rounds of deaths that no item explains, with nothing finished in between */
    uint64_t finished; /* by all workers, at the last death */
    int fork_error;    /* why there are fewer workers; 0: there are not */

    /* Of a call in a pool; else NULL. */
    struct dist__staff *staff;
    struct dist__parcel *parcel;
    unsigned slot;
    struct dist__desertion desertion;
    uint64_t over_ns; /* when it was first found to be over with a worker between two items */
};

/* ------------------------------------------------------------------ members.c: births and deaths
 */

/* Starts a worker that begins with `items`, which may be none. False: the system has no room. */
bool dist__member_spawn(struct dist__supervisor *s, unsigned place, struct dist__span items);

/* Fills the places as long as there is something to do. */
void dist__member_spawn_missing(struct dist__supervisor *s);

/* True if all units below the stop have been drawn. */
bool dist__member_cursor_at_end(const struct dist__supervisor *s);

/* Sleeps until a worker may have ended, or, in a call that is looked after, until `until_ns` or
 * whatever else concerns it; buries all that have ended: one round, however many they are, of
 * deaths that mean something or do not. */
void dist__member_wait(struct dist__supervisor *s, uint64_t until_ns);

/* Remembers items that must run, and that no worker holds. */
void dist__member_note_lost(struct dist__supervisor *s, struct dist__span items);

/* Ends all workers: SIGTERM now, SIGKILL later. */
void dist__member_stop_all(struct dist__supervisor *s);

/* Condemns attempts that are late and kills whose grace is over. Returns when to look again. */
uint64_t dist__member_enforce(struct dist__supervisor *s);

/* "worker 2 (pid 41) killed by SIGSEGV" */
void dist__death_describe(char *text, size_t size, unsigned place, pid_t pid,
                          struct dist__exit end);

/* ------------------------------------------------------------------ collect.c: what they leave */

/* With no worker alive, in a call that is looked after: failures whose workers died before they
 * could tell. */
void dist__collect_untold(struct dist__supervisor *s);

/* With no worker alive: items that were drawn and that nobody has started become lost ones. Those
 * above the cursor will be drawn as before. True: there is something to do. */
bool dist__collect_lost(struct dist__supervisor *s);

/* The call ends at its lowest item that has not run. */
void dist__collect_give_up(struct dist__supervisor *s, dist_status status, int code,
                           const char *why);

/* Failures into the outcome, results to their places. */
void dist__collect_all(struct dist__supervisor *s);

/* What a control asks of its backend; see control.h. */
void dist__collect_land(void *supervisor, struct dist__span items);
void dist__collect_heard_of(void *supervisor, struct dist__span items, bool again);

#endif
