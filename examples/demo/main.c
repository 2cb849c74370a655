/* main.c - the demonstration: options, and the parts one after the other. */
#include "demo.h"
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { EXIT_WRONG = 1, EXIT_INPUT = 2 };

static const char usage[] =
    "usage: dist-demo [--out DIR] [--danger-runs N] [DIR]\n"
    "\n"
    "Works through the files of DIR (/usr/include) three times over: serially, with threads and "
    "in\n"
    "processes. Prints a table and writes demo.json, demo.svg and demo.png.\n"
    "\n"
    "  --out DIR        where these files go (the current directory)\n"
    "  --danger-runs N  how often the dangerous part runs in processes (10)\n"
    "\n"
    "Exit status: 0 all results were right, 1 they were not or could not be written,\n"
    "2 the options or the files of DIR are unusable.\n";

void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("dist-demo: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool parse_count(const char *text, unsigned *count) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 1 || value > 1000000) {
        complain("--danger-runs wants a number from 1 to 1000000, not \"%s\"", text);
        return false;
    }
    *count = (unsigned)value;
    return true;
}

/* Returns the exit status, or -1 to go on. */
static int parse_options(struct demo *demo, int argc, char **argv) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"danger-runs", required_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'o') {
            demo->out = optarg;
        } else if (c == 'n' && parse_count(optarg, &demo->danger.runs)) {
            continue;
        } else if (c == 'h') {
            return fputs(usage, stdout) < 0 ? EXIT_WRONG : EXIT_SUCCESS;
        } else {
            fputs(usage, stderr);
            return EXIT_INPUT;
        }
    }
    if (optind < argc) demo->directory = argv[optind++];
    if (optind == argc) return -1;
    complain("one directory at a time, please: \"%s\" is too much", argv[optind]);
    fputs(usage, stderr);
    return EXIT_INPUT;
}

static void print_head(const struct demo *demo) {
    printf("dist %s with %u CPUs: %zu files of ", dist_version(), dist_cpus(), demo->files.count);
    print_path(demo->directory);
    printf(", %.1f MB\n", (double)demo->files.bytes * 1e-6);
    if (demo->files.left_out)
        printf("(%zu more files are left out, so that this does not take too long)\n",
               demo->files.left_out);
    putchar('\n');
    fflush(stdout);
}

static bool run_parts(struct demo *demo) {
    struct progress *progress = progress_open();
    bool done = progress && io_run(&demo->io, &demo->files, progress) &&
                cpu_run(&demo->cpu, &demo->files, progress) &&
                danger_run(&demo->danger, &demo->files, demo->cpu.results[SERIAL], progress);
    progress_close(progress);
    return done;
}

/* What is measured is shown even if it is not right, and even if it cannot be written. */
static int run(struct demo *demo) {
    if (!out_prepare(demo->out)) return EXIT_WRONG;
    print_head(demo);
    if (!run_parts(demo)) return EXIT_WRONG;
    report_print(demo);
    bool written = json_write(demo) && plot_write(demo);
    if (fflush(stdout)) complain("cannot write the report: %s", strerror(errno)), written = false;
    return written && report_is_right(demo) ? EXIT_SUCCESS : EXIT_WRONG;
}

int main(int argc, char **argv) {
    struct demo demo = {.directory = "/usr/include", .out = ".", .danger.runs = 10};
    int status = parse_options(&demo, argc, argv);
    if (status >= 0) return status;

    /* The dangerous part dies a few times on purpose: no core files. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});

    status = files_collect(&demo.files, demo.directory) ? run(&demo) : EXIT_INPUT;
    part_free(&demo.io);
    part_free(&demo.cpu);
    files_free(&demo.files);
    return status;
}
