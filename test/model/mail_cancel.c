/* genmc: --unroll=6
 *
 * mail_cancel.c - an item is cancelled while workers come for it: it has ended unrun, or its worker
 * is condemned and says nothing more, or it had ended before. Its cell is used again only when no
 * worker looks into it. */
#include "mail_model.h"

static uint32_t before;
static bool again;

THREAD(host) {
    before = dist__mail_cancel(&cell[0].word, true, CANCELLED);
    if (dist__phase_of(before) != DIST__QUEUED || !dist__stamp_withdraw(&cell[0].stamp))
        return NULL;
    again = true;
    post(0, 1);
    return NULL;
}

THREAD(first) {
    work(0);
    return NULL;
}

THREAD(second) {
    work(1);
    return NULL;
}

int main(void) {
    post(0, 0);
    pthread_t a = start(host, NULL), b = start(first, NULL), c = start(second, NULL);
    join(a);
    join(b);
    join(c);
    int ran = __c11_atomic_load(&runs[0], memory_order_relaxed);
    uint32_t word = dist__phase_look(&cell[0].word);
    if (dist__phase_of(before) == DIST__QUEUED) assert(ran == 0);
    else assert(ran == 1);
    if (dist__phase_of(before) == DIST__UNDER_WAY) {
        assert(dist__phase_of(word) == DIST__UNDER_WAY && !settled[0] && !settled[1]);
        inherit(0);
        inherit(1);
        assert(look(0) && ended[0] == CANCELLED);
    }
    if (dist__phase_of(before) == DIST__ENDED) assert(look(0) && ended[0] == WELL);
    if (!again) return 0;
    work(2);
    assert(look(0) && ended[1] == WELL && __c11_atomic_load(&runs[1], memory_order_relaxed) == 1);
    return 0;
}
