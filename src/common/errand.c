/* errand.c - finding a thread for what shall go on by itself. */
#include "backend.h"

static void do_errand(struct dist__errand *errand) {
    bool ran = errand->run(errand);
    errand->done(errand, ran);
}

static void *errand_thread(void *errand) {
    dist__thread_name("job", 0);
    do_errand(errand);
    return NULL;
}

/* A thread of its own, where no backend has any. */
static void submit_to_new_thread(struct dist__errand *errand) {
    pthread_t thread;
    if (dist__thread_start(&thread, errand_thread, errand, dist__record_affinity()))
        do_errand(errand);
    else pthread_detach(thread);
}

void dist__errand_submit(struct dist__errand *errand) {
    void (*to)(struct dist__errand *) = submit_to_new_thread;
    for (size_t i = 0; dist__backends[i]; i++)
        if (dist__backends[i]->submit) to = dist__backends[i]->submit;
    to(errand);
}
