/* heap.c - first fit; holes that touch become one. */
#include "heap.h"
#include "os.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096 /* the unit, whatever the system's page is */, MODESTY = 8 };

static size_t round_up(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

static void *reserve(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
}

/* Where there is a limit, the rest of the process needs most of what it allows. */
static void *reserve_part(size_t most, size_t least, size_t *size) {
    void *base = reserve(*size = most);
    while (base == MAP_FAILED && *size / 2 >= least) base = reserve(*size = round_up(*size / 2));
    if (base == MAP_FAILED || *size == most) return base;
    munmap(base, *size);
    *size = *size / MODESTY > least ? round_up(*size / MODESTY) : least;
    return reserve(*size);
}

bool dist__heap_open(struct dist__heap *heap, size_t most, size_t least) {
    *heap = (struct dist__heap){.size = 0};
    struct dist__hole *all = malloc(sizeof *all);
    if (!all) return false;
    void *base = reserve_part(round_up(most), least, &heap->size);
    if (base == MAP_FAILED) {
        free(all);
        return false;
    }
    *all = (struct dist__hole){NULL, 0, heap->size};
    heap->base = base;
    heap->holes = all;
    return true;
}

void dist__heap_close(struct dist__heap *heap) {
    if (!heap->base) return;
    munmap(heap->base, heap->size);
    for (struct dist__hole *next; heap->holes; heap->holes = next) {
        next = heap->holes->next;
        free(heap->holes);
    }
    heap->base = NULL;
}

void *dist__heap_take(struct dist__heap *heap, size_t bytes) {
    if (bytes == 0 || bytes > heap->size) return NULL;
    bytes = round_up(bytes);
    for (struct dist__hole **link = &heap->holes, *hole; (hole = *link); link = &hole->next) {
        if (hole->end - hole->begin < bytes) continue;
        unsigned char *memory = heap->base + hole->begin;
        hole->begin += bytes;
        if (hole->begin == hole->end) {
            *link = hole->next;
            free(hole);
        }
        return memory;
    }
    return NULL;
}

void dist__heap_give(struct dist__heap *heap, void *memory, size_t bytes) {
    size_t begin = (size_t)((unsigned char *)memory - heap->base), end = begin + round_up(bytes);
    struct dist__hole **link = &heap->holes, *before = NULL;
    while (*link && (*link)->begin < begin) before = *link, link = &before->next;
    struct dist__hole *after = *link;
    bool joins_before = before && before->end == begin, joins_after = after && after->begin == end;
    if (joins_before && joins_after) {
        before->end = after->end;
        before->next = after->next;
        free(after);
    } else if (joins_before) {
        before->end = end;
    } else if (joins_after) {
        after->begin = begin;
    } else {
        struct dist__hole *hole = malloc(sizeof *hole);
        if (!hole) return; /* its address space is lost until the heap is closed */
        *hole = (struct dist__hole){after, begin, end};
        *link = hole;
    }
}

bool dist__heap_empty(void *memory, size_t bytes) {
    return madvise(memory, round_up(bytes), MADV_REMOVE) == 0;
}
