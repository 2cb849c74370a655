/* io.c - the I/O-bound part: fetch files from a server that waits before each answer. */
#include "demo.h"
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <zlib.h>

enum { IO_WORKERS = 16, IO_ITEMS = 400, IO_PATIENCE_S = 20 };

struct fetch {
    const struct files *files; /* all that the server knows */
    size_t count;              /* of them in the sample */
    uint16_t port;
    struct progress *progress;
    const struct file *sample;
};

/* A connection of its own to the server; -1: see errno. */
static int connect_to(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct timeval patience = {.tv_sec = IO_PATIENCE_S}; /* a dead server must not hang the demo */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Asks for file `index` and sums up what comes, to the end of the connection. 0, or an errno. */
static int receive(int fd, size_t index, struct sum *sum) {
    uint32_t request = htonl((uint32_t)index);
    if (send(fd, &request, sizeof request, MSG_NOSIGNAL) != sizeof request) return errno;
    unsigned char buffer[65536];
    uLong crc = crc32(0, NULL, 0);
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0) {
        crc = crc32(crc, buffer, (uInt)got);
        sum->bytes += (uint64_t)got;
    }
    sum->crc = crc;
    return got < 0 ? errno : 0;
}

static int fetch_task(void *result, const void *item, void *ctx) {
    const struct file *file = item;
    const struct fetch *fetch = ctx;
    size_t k = (size_t)(file - fetch->sample);

    int fd = connect_to(fetch->port);
    if (fd < 0) return dist_fail(errno, "cannot connect to the server: %s", strerror(errno));
    struct sum sum = {0};
    int error = receive(fd, files_sample_index(fetch->files, fetch->count, k), &sum);
    close(fd);
    if (error) return dist_fail(error, "the connection broke: %s", strerror(error));
    if (sum.bytes != file->sum.bytes)
        return dist_fail(EPROTO, "%" PRIu64 " bytes came instead of %" PRIu64, sum.bytes,
                         file->sum.bytes);
    *(struct sum *)result = sum;
    progress_step(fetch->progress);
    return 0;
}

static bool equal_to_contents(const struct part *part, const struct file *sample) {
    for (size_t i = 0; i < part->items; i++)
        if (memcmp(&part->results[SERIAL][i], &sample[i].sum, sizeof(struct sum)) != 0)
            return false;
    return part->identical;
}

bool io_run(struct part *part, const struct files *files, struct progress *progress) {
    size_t count = files->count < IO_ITEMS ? files->count : IO_ITEMS;
    *part = (struct part){.name = "io",
                          .items = count,
                          .workers = IO_WORKERS,
                          .ideal = count < IO_WORKERS ? (double)count : IO_WORKERS};
    struct file *sample = files_sample(files, count);
    struct server server;
    bool done = sample && server_start(&server, files);
    if (done) {
        struct fetch fetch = {files, count, server.port, progress, sample};
        for (size_t i = 0; i < count; i++) part->bytes += sample[i].sum.bytes;
        done = part_run(part, fetch_task, sample, &fetch, progress);
        server_stop(&server);
    }
    part->correct = done && equal_to_contents(part, sample);
    free(sample);
    return done;
}
