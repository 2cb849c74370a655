/* token.c - the switch is a word in shared memory, for those who look, and an eventfd, for those
 * who sleep in poll. It is never read, so it wakes all, and stays. */
#include "token.h"
#include "error.h"
#include "os.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static const uint64_t LOOK_NS = 20000000; /* between two looks */

struct dist_token {
    _Atomic(unsigned) refs;
    _Atomic(uint32_t) *cancelled; /* mapped shared; publishes nothing but itself */
    int fd;
};

dist_token *dist_token_new(void) {
    dist_token *token = malloc(sizeof *token);
    if (!token) {
        dist__refuse(DIST_NOMEM, ENOMEM, "no memory for a token");
        return NULL;
    }
    void *word = mmap(NULL, sizeof *token->cancelled, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    token->fd = word == MAP_FAILED ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (token->fd < 0) {
        dist__refuse(DIST_SYSTEM, errno, "no %s for a token: %s",
                     word == MAP_FAILED ? "memory" : "descriptor", strerror(errno));
        if (word != MAP_FAILED) munmap(word, sizeof *token->cancelled);
        free(token);
        return NULL;
    }
    token->cancelled = word; /* new pages read as 0 */
    atomic_init(&token->refs, 1);
    return token;
}

void dist_token_cancel(dist_token *token) {
    if (!token) return;
    int saved = errno;
    /* relaxed: a fact by itself, and the write below is a system call */
    atomic_store_explicit(token->cancelled, 1, memory_order_relaxed);
    uint64_t one = 1;
    if (write(token->fd, &one, sizeof one) < 0) { /* it is full: readable all the more */
    }
    errno = saved;
}

bool dist_token_cancelled(const dist_token *token) {
    /* relaxed: see above */
    return token && atomic_load_explicit(token->cancelled, memory_order_relaxed) != 0;
}

int dist__token_fd(const dist_token *token) { return token->fd; }

void dist__token_ref(dist_token *token) {
    if (token) atomic_fetch_add_explicit(&token->refs, 1, memory_order_relaxed);
}

void dist__token_unref(dist_token *token) {
    /* acq_rel, [token]: the last one comes after all that the others did with it, [token] too */
    if (!token || atomic_fetch_sub_explicit(&token->refs, 1, memory_order_acq_rel) > 1) return;
    close(token->fd);
    munmap(token->cancelled, sizeof *token->cancelled);
    free(token);
}

void dist_token_free(dist_token *token) { dist__token_unref(token); }

uint64_t dist__token_look(const dist_token *token, uint64_t limit_ns) {
    uint64_t look = token ? dist__now_ns() + LOOK_NS : UINT64_MAX;
    return look < limit_ns ? look : limit_ns;
}
