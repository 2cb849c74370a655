/* arena.c - memory that tasks may return pointers to: one anonymous mapping, made before the
 * workers are forked, so that it has the same address in all of them. Nothing in it has a name.
 *
 *     arena            + page            + LINE                  + next          + size
 *     | private page   | struct shared   | taken by workers ...  | never touched |
 *
 * All that processes share is one number, `next`, changed by one atomic operation: a worker that
 * is killed between any two instructions wastes what it had taken and blocks nobody. The count of
 * holders is private to each process: a child that frees the arena, or that was forked while other
 * threads held it, unmaps its own view and never its parent's. */
#include "arena.h"
#include "error.h"
#include "heap.h"
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    LINE = 64,               /* what is taken from the shared part is a multiple of it */
    FIRST_BLOCK = 4096,      /* of a worker; doubled each time, */
    LAST_BLOCK = 65536,      /* up to this */
    FAIR_SHARE = 4,          /* what needs more than this part of a block is taken by itself */
    LEAST_RESERVE = 1 << 20, /* if the system has no room for more than that, it has none */
    STRICT_UNREAD = 0,
    STRICT_OFF,
    STRICT_ON
};

struct shared {
    _Atomic(uint64_t) next; /* offset from here of what nobody has taken; never above the size */
};

struct dist_arena {          /* private to each process */
    _Atomic(size_t) holders; /* in this process; the last one unmaps [holders] */
    size_t mapped, size;     /* of all of it, and of the shared part */
    uint64_t birth;
    pid_t maker;                       /* of one in the common memory */
    bool is_common;                    /* its shared part lies in the common memory, and `mapped` is
                                        * that; else all of it is one mapping */
    alignas(LINE) unsigned char *base; /* of the shared part */
};

_Static_assert(alignof(max_align_t) <= LINE, "a line is aligned for any type");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock in shared memory could be held by the dead");

static struct shared *shared_of(const struct dist_arena *arena) { return (void *)arena->base; }

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

/* ------------------------------------------------------------------ the mapping */

/* The arena with room for `reserve` bytes, or NULL. */
static struct dist_arena *map_arena(size_t reserve, size_t page) {
    size_t size = round_up(LINE + reserve, page), mapped = page + size;
    int access = PROT_READ | PROT_WRITE;
    unsigned char *at =
        mmap(NULL, mapped, access, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return NULL;
    if (mmap(at, page, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
        munmap(at, mapped);
        return NULL;
    }
    struct dist_arena *arena = (void *)at;
    atomic_init(&arena->holders, 1);
    arena->mapped = mapped;
    arena->size = size;
    arena->birth = dist__arena_birth();
    arena->base = at + page;
    atomic_init(&shared_of(arena)->next, LINE);
    return arena;
}

/* ------------------------------------------------------------------ the common memory
 *
 * One mapping that arenas are made in once a pool of processes has been opened: workers have it
 * from their birth. It belongs to one process; a child that is forked makes one of its own. */

static struct {
    pthread_mutex_t lock;
    struct dist__heap heap;
    pid_t owner;
} common = {.lock = PTHREAD_MUTEX_INITIALIZER};

enum { FAIR_ARENAS = 16 };
static const size_t DEFAULT_RESERVE = (size_t)64 << 30;
static const size_t MOST_COMMON = (size_t)1 << 42, LEAST_COMMON = (size_t)1 << 20;

static void renew_lock(void) { common.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; }

/* No pthread_once: in the child of a fork in the middle of it, musl would wait for ever. */
__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, renew_lock);
}

void dist__arena_share(void) {
    pthread_mutex_lock(&common.lock);
    bool open = common.owner == getpid() && common.heap.base;
    if (!open && dist__heap_open(&common.heap, MOST_COMMON, LEAST_COMMON)) common.owner = getpid();
    pthread_mutex_unlock(&common.lock);
}

/* Room for one that leaves some for others, where the common memory is small. */
static size_t fair_room(void) {
    size_t room = DEFAULT_RESERVE;
    while (room > common.heap.size / FAIR_ARENAS && room / 2 >= LEAST_RESERVE) room /= 2;
    return room;
}

/* An arena in the common memory, or NULL if there is none, or no room in it. */
static struct dist_arena *common_arena(size_t reserve, size_t page) {
    unsigned char *base = NULL;
    pthread_mutex_lock(&common.lock);
    bool open = common.owner == getpid() && common.heap.base;
    size_t size = round_up(LINE + (reserve ? reserve : fair_room()), page);
    struct dist_arena *arena = open ? calloc(1, sizeof *arena) : NULL;
    if (arena) base = dist__heap_take(&common.heap, size);
    pthread_mutex_unlock(&common.lock);
    if (!base) {
        free(arena);
        return NULL;
    }
    atomic_init(&arena->holders, 1);
    arena->mapped = arena->size = size;
    arena->is_common = true;
    arena->maker = getpid();
    arena->base = base;
    atomic_init(&shared_of(arena)->next, LINE);
    return arena;
}

static void free_common(struct dist_arena *arena) {
    pthread_mutex_lock(&common.lock);
    if (arena->maker == getpid()) { /* else it is another process's, whose heap that is */
        /* relaxed: nobody uses it any more */
        size_t used = atomic_load_explicit(&shared_of(arena)->next, memory_order_relaxed);
        if (used > arena->mapped) used = arena->mapped;
        /* the next arena there begins with zeros */
        if (!dist__heap_empty(arena->base, arena->mapped)) memset(arena->base, 0, used);
        dist__heap_give(&common.heap, arena->base, arena->mapped);
    }
    pthread_mutex_unlock(&common.lock);
    free(arena);
}

uint64_t dist__arena_birth(void) {
    static _Atomic(uint64_t) births;
    /* relaxed: a number that grows */
    return atomic_fetch_add_explicit(&births, 1, memory_order_relaxed);
}

bool dist__arena_is_visible(const struct dist_arena *arena, uint64_t birth) {
    return arena->is_common || arena->birth < birth;
}

struct dist__arena_view dist__arena_view(const struct dist_arena *arena) {
    return arena ? (struct dist__arena_view){arena->base, arena->size}
                 : (struct dist__arena_view){NULL, 0};
}

struct dist_arena *dist__arena_see(const struct dist__arena_view *view) {
    static struct dist_arena seen; /* a worker runs one task at a time */
    if (!view->base) return NULL;
    atomic_init(&seen.holders, 1);
    seen.base = view->base;
    seen.size = view->size;
    return &seen;
}

dist_arena *dist_arena_new(size_t reserve) {
    int saved = errno;
    if (reserve > PTRDIFF_MAX) {
        dist__refuse(DIST_INVALID, 0, "reserve: %zu bytes exceed memory", reserve);
        return NULL;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = reserve ? reserve : DEFAULT_RESERVE;
    struct dist_arena *arena = common_arena(reserve, page);
    while (!arena && !(arena = map_arena(room, page)) && room / 2 >= LEAST_RESERVE) room /= 2;
    if (!arena) dist__refuse(DIST_NOMEM, errno, "no memory to reserve %zu bytes", room);
    else errno = saved;
    return arena;
}

void dist__arena_ref(struct dist_arena *arena) {
    /* relaxed: whoever asks holds it already */
    atomic_fetch_add_explicit(&arena->holders, 1, memory_order_relaxed);
}

void dist__arena_unref(struct dist_arena *arena) {
    /* release: this holder's use of the memory; acquire: that of all others, before it goes
     * [holders] */
    if (atomic_fetch_sub_explicit(&arena->holders, 1, memory_order_acq_rel) > 1) return;
    if (arena->is_common) free_common(arena);
    else munmap(arena, arena->mapped);
}

void dist_arena_free(dist_arena *arena) {
    if (arena) dist__arena_unref(arena);
}

bool dist_arena_owns(const dist_arena *arena, const void *pointer) {
    if (!arena) return false;
    uintptr_t base = (uintptr_t)arena->base, at = (uintptr_t)pointer;
    /* relaxed: whoever has the pointer has learnt of it after it was taken */
    uint64_t next = atomic_load_explicit(&shared_of(arena)->next, memory_order_relaxed);
    return at >= base + LINE && at - base < next;
}

bool dist__arena_shows(const struct dist_arena *arena, uint64_t birth, const void *begin,
                       size_t bytes) {
    if (!arena || !begin || bytes == 0 || !dist__arena_is_visible(arena, birth)) return false;
    return dist_arena_owns(arena, begin) &&
           dist_arena_owns(arena, (const unsigned char *)begin + bytes - 1);
}

/* ------------------------------------------------------------------ taking memory */

/* Takes `bytes` that nobody has; NULL: there are not so many. By comparing, since an addition past
 * the end would be there for all to see. */
static unsigned char *take(const struct dist_arena *arena, size_t bytes) {
    _Atomic(uint64_t) *shared_next = &shared_of(arena)->next;
    /* relaxed, here and below: the bytes behind it are zeros that nobody has touched */
    uint64_t next = atomic_load_explicit(shared_next, memory_order_relaxed), end;
    if (bytes > PTRDIFF_MAX) return NULL;
    do {
        if (next > arena->size || bytes > arena->size - next) return NULL;
        end = next + round_up(bytes, LINE);
    } while (!atomic_compare_exchange_weak_explicit(shared_next, &next, end, memory_order_relaxed,
                                                    memory_order_relaxed));
    return arena->base + next;
}

/* Takes a block for this worker alone. False: there is no room for one. */
static bool take_block(struct dist__record *record) {
    size_t size = record->block_size ? record->block_size : FIRST_BLOCK;
    unsigned char *block = take(record->arena, size);
    if (!block) return false;
    record->block = block;
    record->block_end = block + size;
    record->block_size = size < LAST_BLOCK ? 2 * size : LAST_BLOCK;
    return true;
}

static unsigned char *from_block(struct dist__record *record, size_t bytes) {
    /* no type is smaller than its alignment */
    size_t alignment = bytes >= LINE ? LINE : bytes >= LINE / 2 ? LINE / 2 : alignof(max_align_t);
    size_t gap = (size_t) - (uintptr_t)record->block & (alignment - 1);
    size_t left = (size_t)(record->block_end - record->block);
    if (gap > left || bytes > left - gap) return NULL;
    unsigned char *memory = record->block + gap;
    record->block = memory + bytes;
    return memory;
}

static void *refuse(struct dist__record *record, size_t bytes) {
    const struct dist_arena *arena = record->arena;
    uint64_t next = atomic_load_explicit(&shared_of(arena)->next, memory_order_relaxed);
    dist_fail(ENOMEM, "dist_alloc: no room for %zu bytes, %zu of the arena's %zu are taken", bytes,
              (size_t)next - LINE, arena->size - LINE);
    record->status = DIST_NOMEM;
    return NULL;
}

void *dist_alloc(size_t bytes) {
    struct dist__record *record = dist__record_current();
    if (!record) return NULL;
    if (!record->arena) {
        dist_fail(EINVAL, "dist_alloc: the call has no .arena");
        return NULL;
    }
    size_t wanted = bytes ? bytes : 1;
    unsigned char *memory = from_block(record, wanted);
    if (memory) return memory;
    size_t block = record->block_size ? record->block_size : FIRST_BLOCK;
    if (wanted <= block / FAIR_SHARE && take_block(record)) return from_block(record, wanted);
    memory = take(record->arena, wanted);
    return memory ? memory : refuse(record, bytes);
}

char *dist_strdup(const char *text) {
    if (!text) return NULL;
    size_t size = strlen(text) + 1;
    char *copy = dist_alloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

void dist__arena_leave(struct dist__record *record) {
    if (!record->block) return;
    unsigned char *base = record->arena->base;
    uint64_t end = (uint64_t)(record->block_end - base);
    uint64_t used = round_up((size_t)(record->block - base), LINE);
    /* relaxed: as in take; if `next` is where the block ends, all behind it is untouched */
    atomic_compare_exchange_strong_explicit(&shared_of(record->arena)->next, &end, used,
                                            memory_order_relaxed, memory_order_relaxed);
    record->block = record->block_end = NULL;
}

/* ------------------------------------------------------------------ DIST_STRICT */

static bool is_strict(void) {
    static _Atomic(int) cached;
    /* relaxed: a number by itself; two threads may both look it up */
    int strict = atomic_load_explicit(&cached, memory_order_relaxed);
    if (strict == STRICT_UNREAD) {
        const char *value = getenv("DIST_STRICT");
        strict = value && !strcmp(value, "1") ? STRICT_ON : STRICT_OFF;
        atomic_store_explicit(&cached, strict, memory_order_relaxed);
    }
    return strict == STRICT_ON;
}

void dist__check_result(const void *value) {
    if (!is_strict()) return;
    struct dist__record *record = dist__record_current();
    if (!record || record->company != DIST__FORKED || record->code) return;
    void *pointer;
    memcpy(&pointer, value, sizeof pointer);
    if (!pointer || dist_arena_owns(record->arena, pointer) || !dist__is_private(pointer)) return;
    dist_fail(EFAULT,
              "the returned pointer %p is private to this worker: take memory for results "
              "from dist_alloc",
              pointer);
}
