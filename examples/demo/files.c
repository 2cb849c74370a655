/* files.c - the items: the regular files below a directory. */
#include "demo.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* As much as keeps the serial compression well below a quarter of a minute. */
static const uint64_t limit_bytes = 300000000;

static bool refuse(const char *path, int error) {
    complain("cannot read %s: %s", path, strerror(error));
    return false;
}

static int is_entry(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool add(struct files *files, const char *path, uint64_t bytes) {
    if (files->bytes + bytes > limit_bytes) {
        files->left_out++;
        return true;
    }
    if ((files->count & (files->count - 1)) == 0) { /* full at every power of two */
        size_t room = files->count ? 2 * files->count : 1;
        struct file *grown = realloc(files->file, room * sizeof *grown);
        if (!grown) return refuse(path, ENOMEM);
        files->file = grown;
    }
    char *copy = strdup(path);
    if (!copy) return refuse(path, ENOMEM);
    files->file[files->count++] = (struct file){.path = copy};
    files->bytes += bytes;
    return true;
}

static bool walk(struct files *files, const char *directory);

static bool visit(struct files *files, const char *directory, const char *name) {
    size_t length = strlen(directory);
    const char *slash = length && directory[length - 1] == '/' ? "" : "/";
    char *path;
    if (asprintf(&path, "%s%s%s", directory, slash, name) < 0) return refuse(directory, ENOMEM);
    struct stat s;
    bool ok = lstat(path, &s) == 0 || refuse(path, errno);
    if (ok && S_ISDIR(s.st_mode)) ok = walk(files, path);
    else if (ok && S_ISREG(s.st_mode)) ok = add(files, path, (uint64_t)s.st_size);
    free(path);
    return ok;
}

static bool walk(struct files *files, const char *directory) {
    struct dirent **entries;
    int count = scandir(directory, &entries, is_entry, by_name);
    if (count < 0) return refuse(directory, errno);
    bool ok = true;
    for (int i = 0; i < count; i++) {
        ok = ok && visit(files, directory, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return ok;
}

/* Reads the file from end to end. */
static bool take_sum(struct file *file) {
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refuse(file->path, errno);
    unsigned char buffer[65536];
    uLong crc = crc32(0, NULL, 0);
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
        crc = crc32(crc, buffer, (uInt)got);
        file->sum.bytes += (uint64_t)got;
    }
    int error = errno;
    close(fd);
    file->sum.crc = crc;
    return got == 0 || refuse(file->path, error);
}

bool files_collect(struct files *files, const char *directory) {
    if (!walk(files, directory)) return false;
    if (files->count == 0) {
        complain("there is not a single regular file%s in %s",
                 files->left_out ? " that is small enough" : "", directory);
        return false;
    }
    files->bytes = 0; /* from here on what was read, not what the directory promised */
    for (size_t i = 0; i < files->count; i++) {
        if (!take_sum(&files->file[i])) return false;
        files->bytes += files->file[i].sum.bytes;
    }
    return true;
}

void files_free(struct files *files) {
    for (size_t i = 0; i < files->count; i++) free((char *)files->file[i].path);
    free(files->file);
    *files = (struct files){0};
}

size_t files_sample_index(const struct files *files, size_t count, size_t k) {
    return dist_split(files->count, count, k).begin;
}

struct file *files_sample(const struct files *files, size_t count) {
    struct file *sample = malloc(count * sizeof *sample);
    if (!sample) complain("no memory for a sample of %zu files", count);
    for (size_t k = 0; sample && k < count; k++)
        sample[k] = files->file[files_sample_index(files, count, k)];
    return sample;
}
