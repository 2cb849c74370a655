/* heap.h - shared memory in one mapping that is made before processes are forked, handed out in
 * whole pages. What is taken and what is free stands in private memory of the one process that
 * hands it out: others only use what they were given, and nothing that they do or leave undone can
 * harm it. Not thread-safe: the owner locks. */
#ifndef DIST_COMMON_HEAP_H
#define DIST_COMMON_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct dist__hole { /* free pages, ordered by address, never neighbours */
    struct dist__hole *next;
    size_t begin, end;
};

struct dist__heap {
    unsigned char *base; /* NULL: not open */
    size_t size;
    struct dist__hole *holes;
};

/* Reserves `most` bytes of address space, or, if the system refuses that, a small part of what it
 * accepts; false if it has less than `least`. Pages cost nothing until they are touched. */
bool dist__heap_open(struct dist__heap *heap, size_t most, size_t least);
void dist__heap_close(struct dist__heap *heap);

/* NULL: there are not so many bytes in a row. What it returns holds what was there before. */
void *dist__heap_take(struct dist__heap *heap, size_t bytes);
void dist__heap_give(struct dist__heap *heap, void *memory, size_t bytes);

/* Gives the pages behind memory that is taken back to the system: it reads as zeros then. False: it
 * cannot. */
bool dist__heap_empty(void *memory, size_t bytes);

#endif
