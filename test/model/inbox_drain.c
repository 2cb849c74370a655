/* genmc: --unroll=5
 *
 * inbox_drain.c - two producers push two nodes each, one consumer drains while they do: each node
 * comes out once, with its contents, and those of one producer in their order. */
#include "model.h"
#include "thread/inbox.h"

enum { PRODUCERS = 2, EACH = 2 };

struct parcel {
    struct dist__node node; /* first */
    int payload, producer, number;
};

static struct dist__inbox inbox;
static struct parcel parcel[PRODUCERS][EACH];
static int next[PRODUCERS]; /* expected of each, by whoever drains */

THREAD(produce) {
    struct parcel *mine = arg;
    for (int k = 0; k < EACH; k++) {
        mine[k].payload = 7;
        dist__inbox_push(&inbox, &mine[k].node);
    }
    return NULL;
}

static void drain(void) {
    for (struct dist__node *node = dist__inbox_drain(&inbox); node; node = node->next) {
        struct parcel *got = (struct parcel *)node;
        assert(got->payload == 7);
        assert(got->number == next[got->producer]);
        next[got->producer]++;
    }
}

THREAD(consume) {
    drain();
    drain();
    return NULL;
}

int main(void) {
    pthread_t thread[PRODUCERS];
    for (int p = 0; p < PRODUCERS; p++)
        for (int k = 0; k < EACH; k++) parcel[p][k].producer = p, parcel[p][k].number = k;
    pthread_t consumer = start(consume, NULL);
    for (int p = 0; p < PRODUCERS; p++) thread[p] = start(produce, parcel[p]);
    for (int p = 0; p < PRODUCERS; p++) join(thread[p]);
    join(consumer);
    drain();
    for (int p = 0; p < PRODUCERS; p++) assert(next[p] == EACH);
    return 0;
}
