/* waiting.c - items that wait for their next attempt: a binary heap by the time it is due. */
#include "control.h"

#include <stdlib.h>

static void sink_down(struct dist__retry *heap, size_t count, size_t at) {
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && heap[child + 1].due_ns < heap[child].due_ns) child++;
        if (heap[at].due_ns <= heap[child].due_ns) return;
        struct dist__retry moved = heap[at];
        heap[at] = heap[child], heap[child] = moved;
    }
}

bool dist__waiting_add(struct dist__control *control, const struct dist__retry *retry) {
    if (control->waiting_count == control->waiting_room) {
        size_t room = control->waiting_room ? 2 * control->waiting_room : 16;
        struct dist__retry *grown = realloc(control->waiting, room * sizeof *grown);
        if (!grown) return false;
        control->waiting = grown;
        control->waiting_room = room;
    }
    struct dist__retry *heap = control->waiting;
    size_t at = control->waiting_count++;
    for (; at > 0 && heap[(at - 1) / 2].due_ns > retry->due_ns; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = *retry;
    return true;
}

struct dist__retry dist__waiting_take(struct dist__control *control) {
    struct dist__retry first = control->waiting[0];
    control->waiting[0] = control->waiting[--control->waiting_count];
    sink_down(control->waiting, control->waiting_count, 0);
    return first;
}

void dist__waiting_order(struct dist__control *control) {
    for (size_t at = control->waiting_count / 2; at-- > 0;)
        sink_down(control->waiting, control->waiting_count, at);
}
