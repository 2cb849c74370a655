/* team.c - one list, one lock: a hand-out lasts 50 us, or is a task that somebody else has to wait
 * for anyway. Threads start when there is a work that no idle one will take. */
#include "team.h"
#include "common/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct queue {
    struct dist__node *first, **last;
};

struct member {
    struct dist__hand hand;
    struct team *team;
    struct queue own; /* works for it alone */
    pthread_t handle;
    bool present; /* started, and not joined */
    bool gone;    /* it ends, and only has to be joined */
    pthread_cond_t wake;
    bool idle;
    struct member *next_idle;
};

struct team {
    struct dist_pool *pool;
    pthread_mutex_t lock; /* over all that follows */
    struct queue queue;
    _Atomic(unsigned) queued; /* works in it; written under the lock, looked at without it */
    _Atomic(unsigned) size;   /* members from this number on are to leave; likewise */
    unsigned room;            /* of member[] */
    struct member **member;
    struct member *idle; /* the last to have become so first: its caches are warm */
    unsigned active;     /* members that are there and not gone */
    bool ending;
};

static _Thread_local struct member *self __attribute__((tls_model("initial-exec")));

struct dist__hand *dist__team_self(const struct dist_pool *pool) {
    return self && self->hand.pool == pool ? &self->hand : NULL;
}

bool dist__team_must_yield(const struct dist_pool *pool) {
    const struct team *team = pool->team;
    /* relaxed, both: a hint; it is asked again after the next hand-out */
    return atomic_load_explicit(&team->queued, memory_order_relaxed) > 0 ||
           self->hand.number >= atomic_load_explicit(&team->size, memory_order_relaxed);
}

/* relaxed, here and below: all writers hold the lock */
static unsigned size_of(const struct team *team) {
    return atomic_load_explicit(&team->size, memory_order_relaxed);
}

static void add_queued(struct team *team, int delta) {
    atomic_fetch_add_explicit(&team->queued, (unsigned)delta, memory_order_relaxed);
}

static void append(struct queue *queue, struct dist__node *node) {
    node->next = NULL;
    *queue->last = node;
    queue->last = &node->next;
}

static struct dist__work *take(struct queue *queue) {
    struct dist__node *node = queue->first;
    if (!node) return NULL;
    queue->first = node->next;
    if (!queue->first) queue->last = &queue->first;
    return (struct dist__work *)node;
}

/* ------------------------------------------------------------------ a thread */

static struct dist__work *next_work(struct team *team, struct member *member) {
    struct dist__work *work = take(&member->own);
    bool stays = team->ending || member->hand.number < size_of(team);
    if (work || !stays) return work;
    work = take(&team->queue);
    if (work) add_queued(team, -1);
    return work;
}

static void rouse(struct team *team);

static bool must_leave(const struct team *team, const struct member *member) {
    return team->ending || member->hand.number >= size_of(team);
}

static void sleep_until_woken(struct team *team, struct member *member) {
    member->idle = true;
    member->next_idle = team->idle;
    team->idle = member;
    while (member->idle) pthread_cond_wait(&member->wake, &team->lock);
}

/* With the lock held. True: it has left. */
static bool leave(struct team *team, struct member *member) {
    pthread_mutex_unlock(&team->lock);
    dist__hand_end(&member->hand); /* it is ready again when it stays after all */
    pthread_mutex_lock(&team->lock);
    if (member->own.first || !must_leave(team, member)) return false;
    member->gone = true;
    team->active--;
    if (team->queue.first) rouse(team); /* it may have been woken for that */
    return true;
}

static void *member_main(void *arg) {
    struct member *member = self = arg;
    struct team *team = member->team;
    const dist_opts *opts = &team->pool->opts;
    dist__thread_name("pool", member->hand.number);
    struct dist__affinity before;
    if (opts->cpus && dist__pin(opts->cpus[member->hand.number % opts->n_cpus], &before))
        dist__thread_is_pinned(&before);
    pthread_mutex_lock(&team->lock);
    for (;;) {
        struct dist__work *work = next_work(team, member);
        if (work) {
            pthread_mutex_unlock(&team->lock);
            work->run(work);
            pthread_mutex_lock(&team->lock);
        } else if (!must_leave(team, member)) {
            sleep_until_woken(team, member);
        } else if (leave(team, member)) {
            break;
        }
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

/* With the lock held. */
static void wake(struct team *team, struct member *member) {
    struct member **link = &team->idle;
    while (*link != member) link = &(*link)->next_idle;
    *link = member->next_idle;
    member->idle = false;
    pthread_cond_signal(&member->wake);
}

static struct member *new_member(struct team *team, unsigned number) {
    struct member *member = calloc(1, sizeof *member);
    if (!member) return NULL;
    member->team = team;
    member->hand.pool = team->pool;
    member->hand.number = number;
    member->own.last = &member->own.first;
    pthread_cond_init(&member->wake, NULL);
    return member;
}

/* With the lock held: the one of that number, made if there is none. NULL: no memory. */
static struct member *member_of(struct team *team, unsigned number) {
    if (!team->member[number]) team->member[number] = new_member(team, number);
    return team->member[number];
}

/* With the lock held. 0, or an errno. */
static int start_member(struct team *team, struct member *member) {
    if (member->present && !member->gone) return 0;
    if (member->present) pthread_join(member->handle, NULL); /* it has done with the lock */
    member->gone = false;
    int error = dist__thread_start_sized(&member->handle, member_main, member,
                                         dist__record_affinity(), team->pool->opts.stack_size);
    member->present = error == 0;
    team->active += member->present;
    return error;
}

/* With the lock held: one more, if there is room. 0, or an errno if there is none at all. At the
 * end those that are there do what is left: somebody joins them. */
static int start_another(struct team *team) {
    int error = 0;
    bool room = !team->ending && team->active < size_of(team);
    for (unsigned k = 0; room && k < size_of(team); k++) {
        struct member *member = member_of(team, k);
        if (member && member->present && !member->gone) continue;
        error = member ? start_member(team, member) : ENOMEM;
        break;
    }
    return team->active ? 0 : error;
}

/* With the lock held: there is a work for one more. */
static void rouse(struct team *team) {
    if (team->idle) wake(team, team->idle);
    else start_another(team);
}

/* ------------------------------------------------------------------ works */

static void push(struct team *team, struct dist__work *work) {
    append(&team->queue, &work->node);
    add_queued(team, 1);
    rouse(team);
}

/* 0, or an errno: it has no thread, and nothing is done. */
static int push_to(struct team *team, unsigned number, struct dist__work *work) {
    struct member *member = member_of(team, number);
    int error = member ? start_member(team, member) : ENOMEM;
    if (error) return error;
    append(&member->own, &work->node);
    if (member->idle) wake(team, member);
    return 0;
}

int dist__team_submit(struct dist_pool *pool, struct dist__work *(*next)(void *state, unsigned k),
                      void *state, unsigned count, bool to_each) {
    struct team *team = pool->team;
    struct queue lost = {NULL, &lost.first};
    int error = 0;
    pthread_mutex_lock(&team->lock);
    for (unsigned k = 0; k < count; k++) {
        struct dist__work *work = next(state, k);
        int failed = 0;
        if (to_each) failed = push_to(team, k, work);
        else push(team, work);
        if (failed) append(&lost, &work->node), error = failed;
    }
    pthread_mutex_unlock(&team->lock);
    for (struct dist__work *work; (work = take(&lost));) work->drop(work);
    return error;
}

static struct dist__work *only(void *work, unsigned k) {
    (void)k;
    return work;
}

void dist__team_append(struct dist_pool *pool, struct dist__work *work) {
    dist__team_submit(pool, only, work, 1, false);
}

void dist__team_give_back(struct dist_pool *pool, struct dist__work *work) {
    struct team *team = pool->team;
    pthread_mutex_lock(&team->lock);
    bool takes_another = !dist__record_current() && self->hand.number < size_of(team);
    if (takes_another) {
        append(&team->queue, &work->node);
        add_queued(team, 1);
    } else {
        push(team, work);
    }
    pthread_mutex_unlock(&team->lock);
}

/* Moves those that are meant from one queue to another. Returns how many. */
static unsigned sort_out(struct queue *from, struct queue *to,
                         bool (*mine)(struct dist__work *work, void *state), void *state) {
    struct queue all = {from->first, NULL};
    unsigned moved = 0;
    from->first = NULL;
    from->last = &from->first;
    for (struct dist__work *work; all.first;) {
        work = (struct dist__work *)all.first;
        all.first = all.first->next;
        bool meant = mine(work, state);
        append(meant ? to : from, &work->node);
        moved += meant;
    }
    return moved;
}

void dist__team_retract(struct dist_pool *pool, bool (*mine)(struct dist__work *work, void *state),
                        void *state) {
    struct team *team = pool->team;
    struct queue meant = {NULL, &meant.first};
    pthread_mutex_lock(&team->lock);
    add_queued(team, -(int)sort_out(&team->queue, &meant, mine, state));
    for (unsigned k = 0; k < team->room; k++)
        if (team->member[k]) sort_out(&team->member[k]->own, &meant, mine, state);
    pthread_mutex_unlock(&team->lock);
    for (struct dist__work *work; (work = take(&meant));) work->drop(work);
}

struct dist__work *dist__team_take(struct dist_pool *pool,
                                   bool (*fit)(struct dist__work *work, void *state), void *state) {
    struct team *team = pool->team;
    struct dist__work *found = NULL;
    pthread_mutex_lock(&team->lock);
    struct queue all = team->queue;
    if (!all.first) all.last = &all.first;
    team->queue = (struct queue){NULL, &team->queue.first};
    for (struct dist__work *work; (work = take(&all));) {
        if (found || !fit(work, state)) append(&team->queue, &work->node);
        else found = work;
    }
    if (found) add_queued(team, -1);
    pthread_mutex_unlock(&team->lock);
    return found;
}

/* ------------------------------------------------------------------ the team */

static void free_team(struct team *team) {
    for (unsigned k = 0; k < team->room; k++) {
        if (!team->member[k]) continue;
        pthread_cond_destroy(&team->member[k]->wake);
        free(team->member[k]);
    }
    pthread_mutex_destroy(&team->lock);
    free(team->member);
    free(team);
}

/* With the lock held. */
static bool make_room(struct team *team, unsigned size) {
    if (size <= team->room) return true;
    struct member **grown = realloc(team->member, size * sizeof *grown);
    if (!grown) return false;
    memset(grown + team->room, 0, (size - team->room) * sizeof *grown);
    team->member = grown;
    team->room = size;
    return true;
}

static dist_status check_size(unsigned size) {
    if (size <= DIST__POOL_MOST) return DIST_OK;
    return dist__refuse(DIST_INVALID, 0, "workers: is %u, at most %d are possible", size,
                        DIST__POOL_MOST);
}

dist_status dist__team_open(struct dist_pool *pool) {
    if (check_size(pool->workers)) return DIST_INVALID;
    struct team *team = calloc(1, sizeof *team);
    if (!team || !make_room(team, pool->workers)) {
        free(team);
        return dist__refuse(DIST_NOMEM, 0, "no memory for a pool of %u workers", pool->workers);
    }
    pthread_mutex_init(&team->lock, NULL);
    team->pool = pool;
    team->queue.last = &team->queue.first;
    atomic_store_explicit(&team->size, pool->workers, memory_order_relaxed);
    pthread_mutex_lock(&team->lock);
    int error = start_another(team); /* so that there is one at least */
    pthread_mutex_unlock(&team->lock);
    if (error) {
        free_team(team);
        return dist__refuse(DIST_SYSTEM, error, "pool: no thread: %s", strerror(error));
    }
    pool->team = team;
    return DIST_OK;
}

dist_status dist__team_resize(struct dist_pool *pool, unsigned workers) {
    if (check_size(workers)) return DIST_INVALID;
    struct team *team = pool->team;
    pthread_mutex_lock(&team->lock);
    bool room = make_room(team, workers);
    if (room) atomic_store_explicit(&team->size, workers, memory_order_relaxed);
    for (struct member *member = team->idle, *next; room && member; member = next) {
        next = member->next_idle;
        if (member->hand.number >= workers) wake(team, member);
    }
    for (unsigned k = 0; room && k < atomic_load_explicit(&team->queued, memory_order_relaxed); k++)
        start_another(team);
    pthread_mutex_unlock(&team->lock);
    return room ? DIST_OK : dist__refuse(DIST_NOMEM, 0, "no memory for %u workers", workers);
}

void dist__team_end(struct dist_pool *pool) {
    struct team *team = pool->team;
    pthread_mutex_lock(&team->lock);
    team->ending = true;
    while (team->idle) wake(team, team->idle);
    pthread_mutex_unlock(&team->lock);
    for (unsigned k = 0; k < team->room; k++)
        if (team->member[k] && team->member[k]->present)
            pthread_join(team->member[k]->handle, NULL);
    free_team(team);
}
