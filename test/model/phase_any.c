/* genmc: --unroll=5
 *
 * phase_any.c - an onlooker of two jobs that end in two threads: if it would sleep after it has
 * seen neither of them, the count that it sleeps on changes, and it is woken. One that has been
 * woken sees an end. */
#include "phase_model.h"

static struct dist__onlookers onlookers;
static _Atomic(uint32_t) words[2];
static int results[2];
static bool told[2], sleeps;
static uint32_t expected;

static void end(int k) {
    results[k] = 1;
    dist__phase_end(&words[k], STATUS);
    told[k] = dist__onlookers_told(&onlookers);
}

THREAD(first) {
    end(0);
    return NULL;
}

THREAD(second) {
    end(1);
    return NULL;
}

static bool sees_an_end(void) {
    for (int k = 0; k < 2; k++)
        if (dist__phase_of(dist__phase_look(&words[k])) == DIST__ENDED) {
            assert(results[k] == 1);
            return true;
        }
    return false;
}

THREAD(onlooker) {
    uint32_t before = dist__onlookers_enter(&onlookers);
    if (!sees_an_end()) {
        expected = before;
        uint32_t now = dist__onlookers_look(&onlookers);
        if (now != before) assert(sees_an_end()); /* no sleep, and not in vain */
        else sleeps = true;
    }
    if (!sleeps) dist__onlookers_leave(&onlookers);
    return NULL;
}

int main(void) {
    for (int k = 0; k < 2; k++) atomic_init(&words[k], DIST__UNDER_WAY);
    pthread_t a = start(onlooker, NULL), b = start(first, NULL), c = start(second, NULL);
    join(a);
    join(b);
    join(c);
    if (!sleeps) return 0;
    assert(told[0] && told[1]); /* each wakes it; the first has changed what it sleeps on */
    assert(atomic_load_explicit(&onlookers.ended, memory_order_relaxed) != expected);
    return 0;
}
