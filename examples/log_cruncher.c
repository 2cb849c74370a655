/* log_cruncher.c - a program in three stages: threads read the files of a directory, as many at
 * once as a disk or a network likes; processes parse, for the parser gives up on lines that it does
 * not know, and takes its process with it; one worker adds up.
 *
 *     log_cruncher [DIRECTORY]    access logs in the Common Log Format; without one it makes some
 *
 * The result is that of a plain loop over all blocks but those that the parser has died of. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <dist/dist.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 32768, MOST_FILES = 4096, MOST_DAMAGED = 64 };

struct block { /* whole lines of a file */
    size_t file, offset, size;
    char text[BLOCK + 1];
};

struct counts {
    uint64_t requests, bytes, by_class[6], by_hour[24];
};

static char path[MOST_FILES][512];
static const char *paths[MOST_FILES];
static size_t files;

/* ------------------------------------------------------------------ read */

/* Fills a block from `offset` on. Returns how much of the file it took; 0: the end. */
static size_t read_block(FILE *from, size_t file, size_t offset, struct block *block) {
    size_t size = fread(block->text, 1, BLOCK, from);
    if (size == BLOCK) {
        char *end = memrchr(block->text, '\n', size);
        if (end) size = (size_t)(end - block->text) + 1;
        fseek(from, (long)(offset + size), SEEK_SET);
    }
    block->text[size] = '\0';
    block->file = file;
    block->offset = offset;
    block->size = size;
    return size;
}

static int read_file(void *result, const void *item, void *ctx) {
    dist_queue *blocks = *(dist_queue **)ctx;
    const char *name = *(const char *const *)item;
    (void)result;
    FILE *from = fopen(name, "r");
    struct block *block = malloc(sizeof *block);
    int code = !from || !block ? dist_fail(errno, "%s: %s", name, strerror(errno)) : 0;
    for (size_t offset = 0, size; !code; offset += size) {
        size = read_block(from, dist_index(), offset, block);
        if (size == 0) break;
        code = (int)dist_queue_put(blocks, block, DIST_FOREVER);
    }
    free(block);
    if (from) fclose(from);
    return code;
}

/* ------------------------------------------------------------------ parse */

/* host - user [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326 */
static void parse_line(const char *line, struct counts *counts) {
    const char *when = strchr(line, '['), *request = strchr(line, '"');
    const char *hour = when ? strchr(when, ':') : NULL;
    const char *status = request ? strchr(request + 1, '"') : NULL;
    if (!hour || !status) abort(); /* "cannot happen" */
    char *end;
    unsigned long code = strtoul(status + 1, &end, 10), at = strtoul(hour + 1, NULL, 10);
    counts->requests++;
    counts->bytes += strtoul(end, NULL, 10);
    counts->by_class[code / 100 < 6 ? code / 100 : 0]++;
    counts->by_hour[at % 24]++;
}

static int parse_block(void *result, const void *item, void *ctx) {
    const struct block *block = item;
    (void)ctx;
    char line[1024];
    for (const char *at = block->text, *end; *at; at = end) {
        end = strchrnul(at, '\n');
        snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
        if (*line) parse_line(line, result);
        end += *end == '\n';
    }
    return 0;
}

/* What the parser has died of. */
struct damage {
    size_t count;
    struct {
        size_t file, offset;
    } at[MOST_DAMAGED];
};

static void note_damage(const dist_event *event, void *user) {
    struct damage *damage = user;
    if (!event->error || damage->count == MOST_DAMAGED) return;
    const struct block *block = event->item;
    damage->at[damage->count].file = block->file;
    damage->at[damage->count++].offset = block->offset;
    printf("%s: damaged after byte %zu: %s\n", paths[block->file], block->offset,
           event->error->message);
}

static bool is_damaged(const struct damage *damage, const struct block *block) {
    for (size_t k = 0; k < damage->count; k++)
        if (damage->at[k].file == block->file && damage->at[k].offset == block->offset) return true;
    return false;
}

/* ------------------------------------------------------------------ add up */

static void add(struct counts *total, const struct counts *part) {
    total->requests += part->requests;
    total->bytes += part->bytes;
    for (int k = 0; k < 6; k++) total->by_class[k] += part->by_class[k];
    for (int k = 0; k < 24; k++) total->by_hour[k] += part->by_hour[k];
}

static int add_part(void *result, const void *item, void *ctx) {
    (void)result;
    add(ctx, item);
    return 0;
}

/* ------------------------------------------------------------------ both ways */

static struct counts in_stages(struct damage *damage) {
    struct counts total = {0};
    dist_queue *blocks = dist_queue_open(.item_size = sizeof(struct block), .capacity = 16);
    dist_queue *parts = dist_queue_open(.item_size = sizeof(struct counts), .capacity = 16);
    dist_job *parse = dist_pipe(blocks, parse_block, parts, .executor = DIST_PROCESS,
                                .silent = true, .on_finish = note_damage, .user = damage);
    dist_job *sum = dist_pipe(parts, add_part, NULL, .workers = 1, .ctx = &total);
    dist_job *read =
        dist_map_async(read_file, paths, files, DIST_NONE, .executor = DIST_THREAD, .workers = 16,
                       .ctx = &blocks, .silent = true, .progress = "files");
    CHECK(blocks && parts && parse && sum && read);
    dist_job_wait(read, DIST_FOREVER);
    for (size_t k = 0; k < dist_job_failures(read); k++)
        puts(dist_job_failure_at(read, k)->message); /* files that cannot be read */
    dist_job_finish(&read);
    dist_queue_close(blocks);
    dist_job_finish(&parse);
    CHECK(dist_job_finish(&sum) == DIST_OK);
    dist_queue_free(&blocks);
    dist_queue_free(&parts);
    return total;
}

static struct counts in_a_loop(const struct damage *damage) {
    struct counts total = {0};
    struct block block;
    for (size_t k = 0; k < files; k++) {
        FILE *from = fopen(paths[k], "r");
        if (!from) continue;
        for (size_t offset = 0; read_block(from, k, offset, &block); offset += block.size) {
            struct counts part = {0};
            if (is_damaged(damage, &block)) continue;
            parse_block(&part, &block, NULL);
            add(&total, &part);
        }
        fclose(from);
    }
    return total;
}

static void list_files(const char *directory) {
    DIR *dir = opendir(directory);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir)) && files < MOST_FILES;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path[files], sizeof path[files], "%.255s/%.255s", directory, entry->d_name);
        paths[files] = path[files];
        files++;
    }
    closedir(dir);
}

static void show(const struct counts *total) {
    printf("%zu files, %llu requests, %llu bytes\n", files, (unsigned long long)total->requests,
           (unsigned long long)total->bytes);
    for (int k = 1; k < 6; k++)
        printf("    %dxx %8llu\n", k, (unsigned long long)total->by_class[k]);
}

/* ------------------------------------------------------------------ a directory to try it on */

enum { SAMPLES = 24, LINES = 3000 };

static void write_sample(const char *directory, int k) {
    char name[300];
    snprintf(name, sizeof name, "%s/access.%d.log", directory, k);
    FILE *to = fopen(name, "w");
    CHECK(to);
    for (int i = 0; i < LINES; i++) {
        if (k == 7 && i == LINES / 2) fputs("\x7f\x45\x4c\x46 not a line of a log\n", to);
        fprintf(to, "10.0.%d.%d - - [10/Oct/2000:%02d:55:36 -0700] \"GET /%d HTTP/1.0\" %d %d\n",
                k % 256, i % 256, i % 24, i,
                i % 9   ? 200
                : i % 2 ? 404
                        : 503,
                i * 37 % 5000);
    }
    fclose(to);
}

static void remove_samples(const char *directory) {
    for (size_t k = 0; k < files; k++) unlink(paths[k]);
    rmdir(directory);
}

int main(int argc, char **argv) {
    char samples[] = "/tmp/log_cruncher.XXXXXX";
    const char *directory = argc > 1 ? argv[1] : mkdtemp(samples);
    CHECK(directory);
    for (int k = 0; argc == 1 && k < SAMPLES; k++) write_sample(directory, k);
    list_files(directory);
    struct damage damage = {0};
    struct counts total = in_stages(&damage), expected = in_a_loop(&damage);
    show(&total);
    if (argc == 1) remove_samples(directory);
    CHECK(!memcmp(&total, &expected, sizeof total));
    if (argc == 1) CHECK(damage.count == 1 && files == SAMPLES);
    puts("log_cruncher: equal to a plain loop");
    return 0;
}
