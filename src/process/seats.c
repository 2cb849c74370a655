/* seats.c - the members of a call that runs in a pool: who sits in its seats, who has left them,
 * and who has died in one. */
#include "common/control.h"
#include "common/error.h"
#include "common/job.h"
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    OBITUARY_NS = 1000000000, /* from a worker's end until the nursery has told how */
    OBITUARY_LOOK_NS = 50000  /* between looks whether it has */
};

static struct dist__seat *seat_of(const struct dist__supervisor *s, unsigned place) {
    return dist__seat_of(s->staff, place, s->slot);
}

static struct dist__slot *slot_of(const struct dist__supervisor *s) {
    return &s->staff->slot[s->slot];
}

static bool is_taken(uint64_t word) {
    return dist__seat_state(word) == DIST__SEAT_TAKEN ||
           dist__seat_state(word) == DIST__SEAT_CONDEMNED;
}

bool dist__seats_are_open(const struct dist__supervisor *s) { return s->slot < s->staff->slots; }

dist_status dist__seats_open(struct dist__supervisor *s) {
    struct dist__control *control = s->call.batch->control;
    s->slot = s->staff->slots;
    s->fork_error = EAGAIN;
    if (!dist__staff_is_alive(s->staff))
        return dist__refuse(DIST_SYSTEM, s->fork_error, "the pool's workers cannot be started");
    s->slot = dist__staff_take_slot(s->staff, control);
    if (!dist__seats_are_open(s)) return DIST_OK;
    struct dist__slot *slot = slot_of(s);
    slot->parcel = s->parcel;
    struct dist_job *job = s->call.batch->job;
    /* relaxed: see dist__pool_queue */
    uint64_t turn = job ? atomic_load_explicit(&job->turn, memory_order_relaxed) : 0;
    /* relaxed: published with the invitation; a worker that was too late for the last one sees any
     */
    atomic_store_explicit(&slot->turn, turn, memory_order_relaxed);
    slot->chairs = s->call.batch->workers < s->width ? s->call.batch->workers : 0;
    struct dist__file bell = s->staff->bell[s->slot];
    if (!dist__file_is_open(bell)) return DIST_OK; /* then it is done without */
    uint64_t rung;
    if (read(bell.fd, &rung, sizeof rung) < 0) {
    } /* of the call before; there is nothing in it now */
    /* relaxed: a ring that meets the old one is one in vain */
    atomic_store_explicit(&control->bell_file, bell.id, memory_order_relaxed);
    dist__control_set_bell(control, bell.fd);
    return DIST_OK;
}

void dist__seats_close(struct dist__supervisor *s) {
    if (!dist__seats_are_open(s)) return;
    dist__control_set_bell(s->call.batch->control, -1);
    dist__staff_give_slot(s->staff, s->slot);
}

/* ------------------------------------------------------------------ inviting */

static unsigned office_size(const struct dist__staff *staff) {
    /* relaxed: workers above it leave by themselves */
    return atomic_load_explicit(&staff->office->size, memory_order_relaxed);
}

/* What dead workers held goes to whoever comes; or to their successors, if each has its own. */
static void hand_out_lost(struct dist__supervisor *s) {
    struct dist__region *region = &s->call.region;
    if (s->call.batch->each_worker) return;
    while (s->lost_count && dist__due_count(region->due) < DIST__DUE_ROOM) {
        struct dist__span items = s->lost[--s->lost_count];
        dist__due_put(region->due, items.begin, items.end);
    }
}

/* With each_worker: the lost item of this place, which is FREE. False: it has none. */
static bool give_own(struct dist__supervisor *s, unsigned place) {
    for (size_t k = 0; k < s->lost_count; k++) {
        if (s->lost[k].begin != place) continue;
        dist__claim_hold(&s->call.region.claim[place], place, place + 1);
        s->lost[k] = s->lost[--s->lost_count];
        return true;
    }
    return false;
}

static bool anything_for(struct dist__supervisor *s, unsigned place) {
    if (s->call.batch->each_worker) return give_own(s, place);
    return dist__due_count(s->call.region.due) > 0 || !dist__member_cursor_at_end(s);
}

/* With each_worker: those that have been told to leave will not do their own part. */
static void end_if_resized(struct dist__supervisor *s, unsigned size) {
    for (unsigned k = size; k < s->width; k++)
        if (dist__seat_revoke(seat_of(s, k), dist__seat_read(seat_of(s, k))))
            dist__member_note_lost(s, (struct dist__span){k, k + 1});
    dist_error why = {.status = DIST_STATE, .message = "the pool has fewer workers now"};
    for (size_t k = 0; k < s->lost_count; k++)
        if (s->lost[k].begin >= size) dist__control_end(s->call.batch->control, &why);
}

static void revoke_all(struct dist__supervisor *s) {
    for (unsigned k = 0; k < s->width; k++)
        dist__seat_revoke(seat_of(s, k), dist__seat_read(seat_of(s, k)));
}

/* What its worker has told is heard first: it may have ended the call. */
static bool may_be_offered(const struct dist__supervisor *s, unsigned place) {
    struct dist__ring *ring = &s->call.batch->control->desk->ring[place];
    return dist__seat_state(dist__seat_read(seat_of(s, place))) == DIST__SEAT_FREE &&
           !dist__ring_peek(ring);
}

/* For how many workers there is room. */
static unsigned vacant_places(const struct dist__supervisor *s) {
    unsigned chairs = slot_of(s)->chairs;
    return chairs ? dist__chair_count(dist__chairs_of(s->staff, s->slot), chairs) : s->width;
}

void dist__seats_invite(struct dist__supervisor *s) {
    hand_out_lost(s);
    bool own = s->call.batch->each_worker;
    if (!own && !anything_for(s, 0)) {
        revoke_all(s);
        return;
    }
    uint64_t ticket = dist__staff_ticket(s->staff);
    unsigned size = office_size(s->staff), vacant = vacant_places(s), woken = 0;
    if (own) end_if_resized(s, size);
    for (unsigned k = 0; k < size && vacant > 0; k++) {
        if (!may_be_offered(s, k) || !anything_for(s, k)) continue;
        dist__verdict_reset(&s->call.region.verdict[k]);
        dist__seat_invite(seat_of(s, k), ticket);
    }
    for (unsigned k = 0; k < size && woken < vacant; k++)
        if (dist__seat_state(dist__seat_read(seat_of(s, k))) == DIST__SEAT_INVITED)
            woken += dist__staff_wake(s->staff, k);
}

/* ------------------------------------------------------------------ who is there */

/* A worker of this generation has taken the seat: from now on its end is noticed. */
static void welcome(struct dist__supervisor *s, unsigned place, uint64_t generation) {
    struct dist__life *life = &s->staff->life[place];
    struct dist__member *m = &s->member[place];
    *m = (struct dist__member){.pid = dist__life_pid(life), .pidfd = -1, .generation = generation};
    int fd = dist__pidfd_open(m->pid);
    if (dist__life_read(life) == generation * DIST__LIFE_STATES + DIST__LIFE_LIVE) {
        m->pidfd = fd;
        m->file_id = dist__file_id(fd);
    } else if (fd >= 0) {
        close(fd);
    }
}

static void dismiss(struct dist__member *m) {
    dist__file_close(&(struct dist__file){m->pidfd, m->file_id});
    *m = (struct dist__member){.pid = 0, .pidfd = -1};
}

/* Is nobody there, and has nobody been for a while? Then the system has no room for workers. */
static bool is_deserted(struct dist__supervisor *s) {
    bool any = false;
    for (unsigned k = 0; k < s->width && !any; k++) any = s->member[k].pid != 0;
    return dist__staff_is_deserted(s->staff, &s->desertion, any);
}

void dist__seats_refresh(struct dist__supervisor *s) {
    s->live = 0;
    dist__bell_arm(&slot_of(s)->asleep); /* whoever leaves from now on wakes this thread */
    if (is_deserted(s)) {
        s->fork_error = EAGAIN;
        revoke_all(s);
    }
    for (unsigned k = 0; k < s->width; k++) {
        uint64_t word = dist__seat_read(seat_of(s, k));
        struct dist__member *m = &s->member[k];
        bool taken = is_taken(word);
        if (m->pid && (!taken || m->generation != dist__seat_number(word))) dismiss(m);
        if (taken && !m->pid) welcome(s, k, dist__seat_number(word));
        s->live += dist__seat_state(word) != DIST__SEAT_FREE;
    }
}

static bool has_ended(const struct dist__member *m) {
    return m->pidfd >= 0 && poll(&(struct pollfd){.fd = m->pidfd, .events = POLLIN}, 1, 0) > 0 &&
           dist__file_is_open((struct dist__file){m->pidfd, m->file_id});
}

/* One that has left before it died took nothing with it, and the seat may be another's by now. */
bool dist__seats_is_dead(const struct dist__supervisor *s, unsigned place) {
    const struct dist__member *m = &s->member[place];
    uint64_t word = dist__life_read(&s->staff->life[place]);
    if (!dist__life_is_over(word, m->generation) && !has_ended(m)) return false;
    word = dist__seat_read(seat_of(s, place));
    return is_taken(word) && dist__seat_number(word) == m->generation;
}

void dist__seats_unwatch(struct dist__supervisor *s, unsigned place) {
    struct dist__member *m = &s->member[place];
    dist__file_close(&(struct dist__file){m->pidfd, m->file_id});
    m->pidfd = -1;
}

struct dist__exit dist__seats_end_of(const struct dist__supervisor *s, unsigned place) {
    struct dist__life *life = &s->staff->life[place];
    uint64_t generation = s->member[place].generation, limit = dist__now_ns() + OBITUARY_NS;
    const struct timespec look = {.tv_nsec = OBITUARY_LOOK_NS};
    while (!dist__life_is_over(dist__life_read(life), generation) && dist__now_ns() < limit) {
        ppoll(NULL, 0, &look, NULL);
        if (limit - dist__now_ns() < OBITUARY_NS / 2) dist__staff_prod(s->staff);
        dist__staff_is_alive(s->staff);
    }
    int status;
    struct dist__exit end = {.known = dist__life_status(life, generation, &status)};
    if (end.known && WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    else if (end.known) end.exit_code = WEXITSTATUS(status);
    return end;
}

void dist__seats_clear(struct dist__supervisor *s, unsigned place) {
    dismiss(&s->member[place]);
    dist__claim_set(&s->call.region.claim[place], DIST__IDLE);
    dist__chair_give(dist__chairs_of(s->staff, s->slot), slot_of(s)->chairs, place);
    dist__seat_clear(seat_of(s, place));
}

bool dist__seats_condemn(struct dist__supervisor *s, unsigned place) {
    return dist__seat_condemn(seat_of(s, place), s->member[place].generation);
}

void dist__seats_withdraw(struct dist__supervisor *s) {
    revoke_all(s);
    dist__seats_refresh(s);
}
