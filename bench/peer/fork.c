/* What a program without any library does: fork one child for each CPU, give each an equal part,
 * and read the results from pipes. No child is watched, and a dead one ends the call as a failure.
 */
#include "peer.h"

#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 64 };

struct child {
    pid_t pid;
    int fd;
    size_t begin, count;
};

static bool transfer(ssize_t (*io)(int, char *, size_t), int fd, char *bytes, size_t size) {
    while (size) {
        ssize_t done = io(fd, bytes, size);
        if (done <= 0) return false;
        bytes += done;
        size -= (size_t)done;
    }
    return true;
}

static ssize_t get(int fd, char *bytes, size_t size) { return read(fd, bytes, size); }
static ssize_t put(int fd, char *bytes, size_t size) { return write(fd, bytes, size); }

static void work(const struct load *l, const struct child *c, int fd) {
    for (size_t i = c->begin; i < c->begin + c->count; i++) l->task(&l->out[i], &l->items[i], NULL);
    bool sent = transfer(put, fd, (char *)&l->out[c->begin], c->count * sizeof *l->out);
    _exit(!sent);
}

static bool start(const struct load *l, struct child *c) {
    int ends[2];
    if (pipe(ends) != 0) return false;
    c->fd = ends[0];
    c->pid = fork();
    if (c->pid == 0) work(l, c, ends[1]);
    close(ends[1]);
    return c->pid > 0;
}

static bool finish(const struct load *l, const struct child *c) {
    bool got = transfer(get, c->fd, (char *)&l->out[c->begin], c->count * sizeof *l->out);
    close(c->fd);
    return c->pid > 0 && waitpid(c->pid, NULL, 0) == c->pid && got;
}

static const char *halves(struct load *l) {
    struct child children[MOST];
    size_t want = l->workers ? l->workers : l->cpus, count = want < MOST ? want : MOST;
    bool good = true;
    for (size_t k = 0; k < count; k++) {
        size_t begin = l->n * k / count;
        children[k] = (struct child){.begin = begin, .count = l->n * (k + 1) / count - begin};
        good &= start(l, &children[k]);
    }
    for (size_t k = 0; k < count; k++) good &= finish(l, &children[k]);
    return good ? NULL : "fail a child did not deliver";
}

static const struct variant variants[] = {{"halves", halves}, {0}};

int main(int argc, char **argv) { return peer_main(argc, argv, "fork, pipe, waitpid", variants); }
