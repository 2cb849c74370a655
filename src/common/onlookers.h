/* onlookers.h - those who wait for whichever of several jobs ends first (how: phase.h). There is
 * one place where they are told, which worker processes see, too, as soon as there are any. */
#ifndef DIST_COMMON_ONLOOKERS_H
#define DIST_COMMON_ONLOOKERS_H

#include "phase.h"

/* What an onlooker has seen. */
struct dist__sight {
    struct dist__onlookers *place;
    uint32_t ended;
};

/* Before it looks at its jobs for the first time, and again; and when it has found what it wants.
 * The sight expires as soon as another job has ended. */
struct dist__sight dist__sight_begin(void);
void dist__sight_renew(struct dist__sight *sight);
void dist__sight_end(const struct dist__sight *sight);
bool dist__sight_has_expired(const struct dist__sight *sight);

/* Sleeps until it has expired, or so long; -1: for ever. */
void dist__sight_await(const struct dist__sight *sight, int64_t timeout_ns);

/* After the end of any job: they are told. */
void dist__tell_onlookers(void);

/* The place, from now on in memory that processes share which are forked later; for them to tell
 * those of this process. NULL: there is no memory. */
struct dist__onlookers *dist__onlookers_share(void);
void dist__onlookers_tell(struct dist__onlookers *place);

#endif
