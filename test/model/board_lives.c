/* genmc: --unroll=6 -DDIST__LIFE_ENDS=2
 *
 * board_lives.c - three workers of one number live and die, one after the other, while a host looks
 * at one of them: what it learns of that one, its pid or how it died, is that one's. */
#include "model.h"
#include "process/board.h"

enum { GENERATIONS = 3, PIDS = 100, ENDS = 200 };

static struct dist__life life;

THREAD(nursery) {
    for (int k = 1; k <= GENERATIONS; k++) {
        uint64_t generation = dist__life_next(&life);
        dist__life_begin(&life, generation, PIDS + k);
        dist__life_end(&life, generation, ENDS + k);
    }
    return NULL;
}

static void look_at_the_living(void) {
    uint64_t word = dist__life_read(&life), generation = word / DIST__LIFE_STATES;
    if (word % DIST__LIFE_STATES != DIST__LIFE_LIVE) return;
    int32_t pid = dist__life_pid(&life);
    if (dist__life_read(&life) == word) assert(pid == PIDS + (int32_t)generation);
}

static void look_at_the_dead(uint64_t generation) {
    int status;
    if (!dist__life_is_over(dist__life_read(&life), generation)) return;
    if (dist__life_status(&life, generation, &status)) assert(status == ENDS + (int)generation);
}

THREAD(host) {
    look_at_the_living();
    look_at_the_dead(1);
    return NULL;
}

int main(void) {
    pthread_t a = start(nursery, NULL), b = start(host, NULL);
    join(a);
    join(b);
    int status;
    assert(dist__life_is_over(dist__life_read(&life), 2));
    assert(dist__life_status(&life, 2, &status) && status == ENDS + 2);
    assert(!dist__life_is_over(dist__life_read(&life), 4));
    assert(!dist__life_status(&life, 1, &status));
    return 0;
}
