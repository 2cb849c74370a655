/* cpu.c - the CPU-bound part: compress all files as well as zlib can. */
#include "demo.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* The bug of the dangerous part: an address that was never anyone's. */
static __attribute__((noinline)) int follow_wild_pointer(void) {
    const int *volatile wild = (const int *)(uintptr_t)0x5ee0;
    return *wild;
}

/* Compresses what `in` holds, and with Z_FINISH all that is left, into `sum`. */
static void deflate_some(z_stream *z, int flush, struct sum *sum) {
    unsigned char out[65536];
    do {
        z->next_out = out;
        z->avail_out = sizeof out;
        deflate(z, flush); /* cannot fail: the stream is sound and there is always room */
        uInt made = (uInt)sizeof out - z->avail_out;
        sum->crc = crc32((uLong)sum->crc, out, made);
        sum->bytes += made;
    } while (z->avail_out == 0);
}

/* The file is never in memory as a whole, however large. 0, or an errno. */
static int compress_file(int fd, struct sum *sum) {
    z_stream z = {0};
    if (deflateInit(&z, Z_BEST_COMPRESSION) != Z_OK) return ENOMEM;
    unsigned char in[65536];
    ssize_t got;
    do {
        got = read(fd, in, sizeof in);
        if (got < 0) break;
        z.next_in = in;
        z.avail_in = (uInt)got;
        deflate_some(&z, got ? Z_NO_FLUSH : Z_FINISH, sum);
    } while (got > 0);
    int error = got < 0 ? errno : 0;
    deflateEnd(&z);
    return error;
}

int compress_task(void *result, const void *item, void *ctx) {
    const struct file *file = item;
    const struct compress *compress = ctx;
    if (file->path == compress->poisoned) return follow_wild_pointer();

    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return dist_fail(errno, "cannot open it: %s", strerror(errno));
    struct sum sum = {0};
    int error = compress_file(fd, &sum);
    close(fd);
    if (error) return dist_fail(error, "cannot compress it: %s", strerror(error));
    *(struct sum *)result = sum;
    if (compress->progress) progress_step(compress->progress);
    return 0;
}

bool cpu_run(struct part *part, const struct files *files, struct progress *progress) {
    unsigned cpus = dist_cpus();
    *part = (struct part){.name = "cpu",
                          .items = files->count,
                          .bytes = files->bytes,
                          .workers = cpus,
                          .cpu_bound = true,
                          .ideal = files->count < cpus ? (double)files->count : cpus};
    struct compress compress = {.progress = progress};
    bool done = part_run(part, compress_task, files->file, &compress, progress);
    part->correct = part->identical; /* the serial loop is what is right */
    return done;
}
