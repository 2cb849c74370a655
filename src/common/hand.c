/* hand.c - what a worker of a pool keeps between calls, and who may have it. */
#include "os.h"
#include "pool.h"

struct dist__record *dist__hand_lender(const struct dist_pool *pool) {
    const struct dist__record *r = dist__record_current();
    while (r && !(r->hand && r->hand->pool == pool)) r = r->caller;
    return (struct dist__record *)r; /* for its borrower */
}

bool dist__hand_borrow(struct dist__record *lender, bool *again) {
    uint32_t nobody = 0;
    /* acquire: what the worker before has done to its state; pairs with [borrower] */
    if (atomic_compare_exchange_strong_explicit(&lender->borrower, &nobody, dist__thread_number(),
                                                memory_order_acquire, memory_order_relaxed)) {
        *again = false;
        return true;
    }
    *again = nobody == dist__thread_number();
    return *again;
}

void dist__hand_return(struct dist__record *lender, bool again) {
    /* release: pairs with [borrower] */
    if (!again) atomic_store_explicit(&lender->borrower, 0, memory_order_release);
}

int dist__hand_begin(struct dist__hand *hand, struct dist__record *record) {
    const dist_opts *opts = &hand->pool->opts;
    record->state = hand->state;
    if (hand->ready || hand->in_callback) return 0;
    hand->in_callback = true;
    record->code = 0;
    int code = opts->worker_init ? opts->worker_init(&hand->state, hand->number, opts->user) : 0;
    hand->in_callback = false;
    if (code) hand->state = NULL;
    hand->ready = !code;
    record->state = hand->state;
    return code;
}

void dist__hand_end(struct dist__hand *hand) {
    const dist_opts *opts = &hand->pool->opts;
    void *state = hand->state;
    if (!hand->ready) return;
    hand->ready = false;
    hand->state = NULL; /* for the next worker of that number */
    if (!opts->worker_exit) return;
    struct dist__batch batch = {.n = 1, .workers = 1, .pool = hand->pool};
    struct dist__record record;
    dist__record_enter(&record, &batch, hand->number, DIST__ALONE);
    record.hand = hand;
    record.state = state;
    hand->in_callback = true;
    opts->worker_exit(state, hand->number, opts->user);
    hand->in_callback = false;
    dist__record_leave(&record);
}
