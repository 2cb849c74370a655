/* demo.h - what the files of the demonstration share.
 *
 * Three parts over the files of a directory, each one serially, with threads and in processes:
 * fetch (waits), compress (computes), and compress with a bug in it (dies).
 */
#ifndef DEMO_H
#define DEMO_H

#include "dist/dist.h"
#include <stdatomic.h>

/* ------------------------------------------------------------------ main.c */

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
double now_s(void);

/* ------------------------------------------------------------------ files.c: the items */

/* Size and CRC-32 of some bytes, also what a task returns. No padding: memcmp compares two. */
struct sum {
    uint64_t bytes, crc;
};

/* An item. The path is plain memory of this program, reached by pointer in every executor: a forked
 * worker sees it where it is, so nothing has to be packed for the journey. */
struct file {
    const char *path;
    struct sum sum; /* of the contents, as read once before everything else */
};

struct files {
    struct file *file; /* in a fixed order */
    size_t count;
    uint64_t bytes;
    size_t left_out; /* how many files found no place below the limit on bytes */
};

/* All regular files below `directory`, each read once: so they are known to be readable, and lie in
 * the page cache before the first measurement. false: complained. */
bool files_collect(struct files *files, const char *directory);
void files_free(struct files *files);

/* Where item k of an evenly spread sample of `count` stands in `files`. */
size_t files_sample_index(const struct files *files, size_t count, size_t k);

/* Such a sample, in malloc'ed memory that borrows the paths; NULL: complained. */
struct file *files_sample(const struct files *files, size_t count);

/* ------------------------------------------------------------------ progress.c */

/* Counts finished tasks in memory that is shared with forked workers. The task that completes
 * another percent prints it, so no thread is needed that a fork could disturb. */
struct progress;

struct progress *progress_open(void); /* NULL: complained */
void progress_close(struct progress *progress);
void progress_start(struct progress *progress, const char *part, const char *way, size_t total);
void progress_step(struct progress *progress);
void progress_end(struct progress *progress);

/* ------------------------------------------------------------------ part.c */

enum way { SERIAL, THREAD, PROCESS, WAYS };
extern const char *const way_names[WAYS];

struct part {
    const char *name;
    size_t items;
    uint64_t bytes;
    unsigned workers;
    double ideal; /* the speed-up to be had at best */
    double seconds[WAYS];
    double cpu_s[WAYS]; /* CPU time of this program and of its workers in these seconds */
    bool cpu_bound; /* a way that gets too little CPU time is tried again; the best try counts */
    unsigned tries[WAYS];
    struct sum *results[WAYS];
    bool identical; /* the three results are the same bytes */
    bool correct;   /* and what they should be, where that is known */
};

/* Runs `task` over files[0..items-1] in each way and fills in seconds, results and identical. The
 * caller has set the rest, and frees with part_free in any case. false: complained. */
bool part_run(struct part *part, dist_fn task, const struct file *files, void *ctx,
              struct progress *progress);
void part_free(struct part *part);
double part_speedup(const struct part *part, enum way way);
double part_cpus(const struct part *part, enum way way); /* how many it had the time of */

/* ------------------------------------------------------------------ server.c */

enum { SERVER_DELAY_MS = 10 };

/* A process that serves files[index] over TCP on the loopback; it ends with this one. */
struct server {
    int pid;
    uint16_t port;
};

bool server_start(struct server *server, const struct files *files); /* false: complained */
void server_stop(struct server *server);

/* ------------------------------------------------------------------ io.c, cpu.c, danger.c */

bool io_run(struct part *part, const struct files *files, struct progress *progress);

struct compress {
    struct progress *progress; /* or NULL */
    const char *poisoned;      /* the path of the file on which the task goes wrong, or NULL */
};

int compress_task(void *result, const void *item, void *ctx);
bool cpu_run(struct part *part, const struct files *files, struct progress *progress);

struct danger {
    size_t items, victim;
    const char *path;                 /* of the victim */
    size_t crashed;                   /* items, in the first run or in a run that was not right */
    size_t right;                     /* results equal to those of the CPU-bound part */
    int signal;                       /* that killed the worker */
    int serial_signal, thread_signal; /* that killed the whole program; 0: it lived */
    char message[sizeof((dist_error){0}.message)];
    unsigned runs, runs_right;
    double process_s; /* mean of a run */
};

/* `expected` holds the compressed sum of each of `files`. false: complained. */
bool danger_run(struct danger *danger, const struct files *files, const struct sum *expected,
                struct progress *progress);

/* ------------------------------------------------------------------ report.c, json.c, plot.c */

struct demo {
    const char *directory, *out;
    struct files files;
    struct part io, cpu;
    struct danger danger;
};

void report_print(const struct demo *demo);
bool report_is_right(const struct demo *demo);
const char *signal_name(int signal);               /* "SIGSEGV"; "none" for 0 */
void print_path(const char *path);                 /* without its control characters */
bool json_write(const struct demo *demo);          /* false: complained */
bool plot_write(const struct demo *demo);          /* false: complained */
bool out_prepare(const char *out);                 /* false: complained */
char *out_path(const char *out, const char *name); /* malloc'ed; NULL: complained */

#endif
