/* A bounded queue as textbooks have it: a ring, a mutex, two condition variables. */
#include "flow.h"

#include <pthread.h>

static struct {
    pthread_mutex_t lock;
    pthread_cond_t items, room;
    size_t puts, gets;
    struct flow_item ring[FLOW_CAPACITY];
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER,
            .items = PTHREAD_COND_INITIALIZER,
            .room = PTHREAD_COND_INITIALIZER};

static void put(void *unused, const struct flow_item *item) {
    (void)unused;
    pthread_mutex_lock(&shared.lock);
    while (shared.puts - shared.gets == FLOW_CAPACITY)
        pthread_cond_wait(&shared.room, &shared.lock);
    shared.ring[shared.puts++ % FLOW_CAPACITY] = *item;
    pthread_mutex_unlock(&shared.lock);
    pthread_cond_signal(&shared.items);
}

static void get(void *unused, struct flow_item *item) {
    (void)unused;
    pthread_mutex_lock(&shared.lock);
    while (shared.puts == shared.gets) pthread_cond_wait(&shared.items, &shared.lock);
    *item = shared.ring[shared.gets++ % FLOW_CAPACITY];
    pthread_mutex_unlock(&shared.lock);
    pthread_cond_signal(&shared.room);
}

static const char *queue(struct load *l) { return flow_run(l, &(struct flow){put, get}, NULL); }

static const struct variant variants[] = {{"queue", queue}, {0}};

int main(int argc, char **argv) {
    return peer_main(argc, argv, "a ring under a mutex, with condition variables", variants);
}
