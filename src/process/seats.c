/* seats.c - the members of a call that runs in a pool: who sits in its seats, who has left them,
 * and who has died in one. */
#include "common/control.h"
#include "common/error.h"
#include "common/os.h"
#include "staff.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    OBITUARY_NS = 200000000, /* from a worker's end until the nursery has told how */
    DESERTED_NS = 1000000000 /* without any worker, and the call gives up */
};

static struct dist__seat *seat_of(const struct dist__supervisor *s, unsigned place) {
    return dist__seat_of(s->staff, place, s->slot);
}

static struct dist__slot *slot_of(const struct dist__supervisor *s) {
    return &s->staff->slot[s->slot];
}

bool dist__seats_open(struct dist__supervisor *s) {
    if (!dist__staff_is_alive(s->staff)) return false;
    s->slot = dist__staff_take_slot(s->staff);
    struct dist__slot *slot = slot_of(s);
    slot->parcel = s->parcel;
    /* relaxed: published by the seats */
    atomic_store_explicit(&slot->vacant, (int32_t)s->call.batch->workers, memory_order_relaxed);
    struct dist__control *control = s->call.batch->control;
    int bell = s->staff->bell[s->slot];
    uint64_t rung;
    if (bell >= 0 && read(bell, &rung, sizeof rung) < 0) {
    } /* of the call before; there is nothing in it now */
    /* relaxed: a ring that meets the old one is one in vain */
    atomic_store_explicit(&control->bell_file, dist__file_id(bell), memory_order_relaxed);
    dist__control_set_bell(control, bell);
    return true;
}

void dist__seats_close(struct dist__supervisor *s) {
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

/* A worker that is to do its own part has been told to leave. */
static void end_if_resized(struct dist__supervisor *s, unsigned size) {
    dist_error why = {.status = DIST_STATE, .message = "the pool has fewer workers now"};
    for (size_t k = 0; k < s->lost_count; k++)
        if (s->lost[k].begin >= size) dist__control_end(s->call.batch->control, &why);
}

static void revoke_all(struct dist__supervisor *s) {
    for (unsigned k = 0; k < s->width; k++)
        dist__seat_revoke(seat_of(s, k), dist__seat_read(seat_of(s, k)));
}

void dist__seats_invite(struct dist__supervisor *s) {
    hand_out_lost(s);
    bool own = s->call.batch->each_worker;
    if (!own && !anything_for(s, 0)) {
        revoke_all(s);
        return;
    }
    uint64_t ticket = dist__staff_ticket(s->staff);
    unsigned size = office_size(s->staff), woken = 0;
    if (own && s->lost_count) end_if_resized(s, size);
    /* relaxed: at worst one comes in vain, or a little later */
    int32_t vacant = atomic_load_explicit(&slot_of(s)->vacant, memory_order_relaxed);
    for (unsigned k = 0; k < size && vacant > 0; k++) {
        struct dist__seat *seat = seat_of(s, k);
        if (dist__seat_state(dist__seat_read(seat)) != DIST__SEAT_FREE || !anything_for(s, k))
            continue;
        dist__verdict_reset(&s->call.region.verdict[k]);
        dist__seat_invite(seat, ticket);
    }
    for (unsigned k = 0; k < size && woken < (unsigned)vacant; k++)
        if (dist__seat_state(dist__seat_read(seat_of(s, k))) == DIST__SEAT_INVITED)
            woken += dist__staff_wake(s->staff, k);
}

/* ------------------------------------------------------------------ who is there */

/* A worker of this generation has taken the seat: from now on its end is noticed. */
static void welcome(struct dist__supervisor *s, unsigned place, uint64_t generation) {
    struct dist__life *life = &s->staff->life[place];
    struct dist__member *m = &s->member[place];
    *m = (struct dist__member){.pidfd = -1, .generation = generation};
    /* relaxed: it is this generation's if that is LIVE before and after */
    m->pid = atomic_load_explicit(&life->pid, memory_order_relaxed);
    int fd = dist__pidfd_open(m->pid);
    if (dist__life_read(life) == generation * DIST__LIFE_STATES + DIST__LIFE_LIVE) m->pidfd = fd;
    else if (fd >= 0) close(fd);
}

static void dismiss(struct dist__member *m) {
    if (m->pidfd >= 0) close(m->pidfd);
    *m = (struct dist__member){.pid = 0, .pidfd = -1};
}

/* Is nobody there, and has nobody been for a while? Then the system has no room for workers. */
static bool is_deserted(struct dist__supervisor *s) {
    bool any = false;
    for (unsigned k = 0; k < s->width && !any; k++)
        any = dist__life_read(&s->staff->life[k]) % DIST__LIFE_STATES == DIST__LIFE_LIVE;
    any = dist__staff_is_alive(s->staff) && any;
    uint64_t now = dist__now_ns();
    if (any) s->deserted_ns = 0;
    else if (s->deserted_ns == 0) s->deserted_ns = now;
    return !any && now - s->deserted_ns > DESERTED_NS;
}

void dist__seats_refresh(struct dist__supervisor *s) {
    s->live = 0;
    if (is_deserted(s)) {
        s->fork_error = EAGAIN;
        revoke_all(s);
    }
    for (unsigned k = 0; k < s->width; k++) {
        uint64_t word = dist__seat_read(seat_of(s, k));
        struct dist__member *m = &s->member[k];
        bool taken = dist__seat_state(word) == DIST__SEAT_TAKEN;
        if (m->pid && (!taken || m->generation != dist__seat_number(word))) dismiss(m);
        if (taken && !m->pid) welcome(s, k, dist__seat_number(word));
        s->live += dist__seat_state(word) != DIST__SEAT_FREE;
    }
}

static bool has_ended(const struct dist__member *m) {
    return m->pidfd >= 0 && poll(&(struct pollfd){.fd = m->pidfd, .events = POLLIN}, 1, 0) > 0;
}

bool dist__seats_is_dead(const struct dist__supervisor *s, unsigned place) {
    const struct dist__member *m = &s->member[place];
    uint64_t word = dist__life_read(&s->staff->life[place]);
    return dist__life_is_over(word, m->generation) || has_ended(m);
}

struct dist__exit dist__seats_end_of(const struct dist__supervisor *s, unsigned place) {
    struct dist__life *life = &s->staff->life[place];
    uint64_t dead = s->member[place].generation * DIST__LIFE_STATES + DIST__LIFE_DEAD, word;
    uint64_t limit = dist__now_ns() + OBITUARY_NS;
    while ((word = dist__life_read(life)) < dead && dist__now_ns() < limit) {
        poll(NULL, 0, 1);
        dist__staff_is_alive(s->staff);
    }
    /* relaxed: its own as long as the next one has not died too */
    int status = atomic_load_explicit(&life->status, memory_order_relaxed);
    uint64_t born = dead - DIST__LIFE_DEAD + DIST__LIFE_STATES + DIST__LIFE_LIVE; /* the next */
    bool known = (word == dead || word == born) && dist__life_read(life) == word;
    struct dist__exit end = {.known = known};
    if (end.known && WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    else if (end.known) end.exit_code = WEXITSTATUS(status);
    return end;
}

void dist__seats_clear(struct dist__supervisor *s, unsigned place) {
    dismiss(&s->member[place]);
    dist__claim_set(&s->call.region.claim[place], DIST__IDLE);
    /* it had counted itself in */
    atomic_fetch_add_explicit(&slot_of(s)->vacant, 1, memory_order_relaxed); /* see resident.c */
    dist__seat_leave(seat_of(s, place));
}

void dist__seats_withdraw(struct dist__supervisor *s) {
    revoke_all(s);
    dist__seats_refresh(s);
}
