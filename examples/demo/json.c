/* json.c - the folder that the demonstration writes to, and demo.json in it. */
#include "demo.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Like mkdir -p, and it must be possible to create files there. */
bool out_prepare(const char *out) {
    char *path = strdup(out);
    int error = path ? 0 : ENOMEM;
    for (char *end = path; !error && *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = '\0';
        if (mkdir(path, 0777) < 0 && errno != EEXIST) error = errno;
        *end = kept;
    }
    free(path);
    struct stat s;
    if (!error && stat(out, &s) < 0) error = errno;
    if (!error && !S_ISDIR(s.st_mode)) error = ENOTDIR;
    if (!error && access(out, W_OK | X_OK) < 0) error = errno;
    if (error) complain("cannot write to %s: %s", out, strerror(error));
    return !error;
}

char *out_path(const char *out, const char *name) {
    char *path;
    if (asprintf(&path, "%s/%s", out, name) >= 0) return path;
    complain("no memory for a path");
    return NULL;
}

/* How many bytes of well-formed UTF-8 start here: 1 to 4, or 0. */
static size_t utf8_length(const unsigned char *s) {
    size_t length = s[0] < 0x80                    ? 1
                    : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
                    : s[0] >= 0xe0 && s[0] <= 0xef ? 3
                    : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                                   : 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] > 0x9f, beyond = s[0] == 0xf4 && s[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : length;
}

/* File names may hold any bytes; JSON is UTF-8. What is not becomes the replacement character. */
static void put_string(FILE *f, const char *key, const char *value) {
    fprintf(f, "\"%s\": \"", key);
    for (const unsigned char *s = (const unsigned char *)value; *s;) {
        size_t length = utf8_length(s);
        if (length == 0) fputs("\\ufffd", f), s++;
        else if (*s == '"' || *s == '\\') fprintf(f, "\\%c", *s++);
        else if (*s < ' ' || *s == 127) fprintf(f, "\\u%04x", *s++);
        else fwrite(s, 1, length, f), s += length;
    }
    fputc('"', f);
}

static const char *boolean(bool value) { return value ? "true" : "false"; }

static void put_part(FILE *f, const struct part *part) {
    fprintf(f, "  \"%s\": {\n", part->name);
    fprintf(f, "    \"serial_s\": %.6f, \"thread_s\": %.6f, \"process_s\": %.6f,\n",
            part->seconds[SERIAL], part->seconds[THREAD], part->seconds[PROCESS]);
    fprintf(f, "    \"serial_cpu_s\": %.6f, \"thread_cpu_s\": %.6f, \"process_cpu_s\": %.6f,\n",
            part->cpu_s[SERIAL], part->cpu_s[THREAD], part->cpu_s[PROCESS]);
    fprintf(f,
            "    \"thread_speedup\": %.3f, \"process_speedup\": %.3f, \"ideal_speedup\": %.0f,\n",
            part_speedup(part, THREAD), part_speedup(part, PROCESS), part->ideal);
    fprintf(f, "    \"workers\": %u, \"items\": %zu, \"bytes\": %" PRIu64 ",\n", part->workers,
            part->items, part->bytes);
    fprintf(f, "    \"tries\": [%u, %u, %u], \"identical\": %s, \"correct\": %s\n  },\n",
            part->tries[SERIAL], part->tries[THREAD], part->tries[PROCESS],
            boolean(part->identical), boolean(part->correct));
}

static void put_danger(FILE *f, const struct danger *danger) {
    fprintf(f, "  \"danger\": {\n    \"items\": %zu, \"crashed\": %zu, \"right\": %zu,\n    ",
            danger->items, danger->crashed, danger->right);
    put_string(f, "signal", signal_name(danger->signal));
    fprintf(f, ", \"index\": %zu,\n    ", danger->victim);
    put_string(f, "path", danger->path);
    fputs(",\n    ", f);
    put_string(f, "message", danger->message);
    fputs(",\n    ", f);
    put_string(f, "serial_signal", signal_name(danger->serial_signal));
    fputs(", ", f);
    put_string(f, "thread_signal", signal_name(danger->thread_signal));
    fprintf(f, ",\n    \"process_s\": %.6f, \"runs\": %u, \"runs_right\": %u\n  }\n",
            danger->process_s, danger->runs, danger->runs_right);
}

static void put_demo(FILE *f, const struct demo *demo) {
    fputs("{\n  ", f);
    put_string(f, "version", dist_version());
    fputs(",\n  ", f);
    put_string(f, "directory", demo->directory);
    fprintf(f, ",\n  \"files\": %zu, \"bytes\": %" PRIu64 ", \"left_out\": %zu,\n",
            demo->files.count, demo->files.bytes, demo->files.left_out);
    fprintf(f, "  \"cpus\": %u, \"delay_s\": %.3f,\n", dist_cpus(), SERVER_DELAY_MS * 1e-3);
    put_part(f, &demo->io);
    put_part(f, &demo->cpu);
    put_danger(f, &demo->danger);
    fputs("}\n", f);
}

bool json_write(const struct demo *demo) {
    char *path = out_path(demo->out, "demo.json");
    if (!path) return false;
    FILE *f = fopen(path, "w");
    if (f) put_demo(f, demo);
    bool written = f && !ferror(f);
    if (f && fclose(f) != 0) written = false;
    if (written) printf("wrote %s\n", path);
    else complain("cannot write %s: %s", path, strerror(errno));
    free(path);
    return written;
}
