/* dist-bench - dist beside other ways to do the same, in one run. ../README.md says how to read it.
 */
#include "report.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_RESULTS = 64 };

struct options {
    const char *out;
    int rounds, retry;
    bool quick, list, help;
    char **ids;
    int id_count;
};

static void usage(FILE *f) {
    fprintf(f, "dist-bench [--quick] [--rounds N] [--retry N] [--out FOLDER] [--list] [ID ...]\n"
               "  ID          what to measure, as in --list; all without any\n"
               "  --quick     small sizes and two rounds: says whether it works, not how fast\n"
               "  --rounds N  instead of each row's own number, at most 99\n"
               "  --retry N   repeats disturbed rounds, N times as many as a row has at most\n"
               "  --out       where bench.json goes; else here\n");
}

static bool parse(struct options *o, int argc, char **argv) {
    *o = (struct options){.out = ".", .ids = argv};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) o->quick = true;
        else if (strcmp(argv[i], "--list") == 0) o->list = true;
        else if (strcmp(argv[i], "--help") == 0) o->help = true;
        else if (strcmp(argv[i], "--out") == 0 && i + 1 < argc) o->out = argv[++i];
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) o->rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--retry") == 0 && i + 1 < argc) o->retry = atoi(argv[++i]);
        else if (argv[i][0] == '-') return false;
        else o->ids[o->id_count++] = argv[i];
    }
    return o->retry >= 0 && o->rounds >= 0 && o->rounds <= MAX_ROUNDS;
}

static bool known(const char *id) {
    for (const struct work *w = works; w->id; w++)
        if (strcmp(w->id, id) == 0) return true;
    return false;
}

static bool wanted(const struct options *o, const char *id) {
    for (int k = 0; k < o->id_count; k++)
        if (strcmp(o->ids[k], id) == 0) return true;
    return o->id_count == 0;
}

static void list(void) {
    for (const struct work *w = works; w->id; w++) printf("%s  %s\n", w->id, w->title);
}

/* mkdir -p */
static bool make_folder(const char *path) {
    char part[4096];
    for (size_t k = 1; k <= strlen(path) && k < sizeof part; k++) {
        if (path[k] != '/' && path[k] != '\0') continue;
        snprintf(part, sizeof part, "%.*s", (int)k, path);
        if (mkdir(part, 0777) != 0 && errno != EEXIST) return false;
    }
    return true;
}

static const char *own_folder(void) {
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    return length > 0 ? dirname(path) : ".";
}

static const char *command_line(int argc, char **argv) {
    static char text[1024];
    size_t length = 0;
    for (int k = 0; k < argc && length < sizeof text; k++)
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%s", k ? " " : "", argv[k]);
    return text;
}

static void measure_all(struct run *run, const struct options *o) {
    for (const struct work *w = works; w->id; w++)
        for (const struct row *row = w->rows; wanted(o, w->id) && row->label; row++) {
            if (run->count == MAX_RESULTS) return;
            struct result *r = &run->results[run->count++];
            measure(r, w, row, &run->config);
            print_result(stdout, r);
        }
}

/* A peer may fail on its own account. dist may not, unless it is not built. */
static bool sound(const struct run *run) {
    for (size_t k = 0; k < run->count; k++)
        for (size_t c = 0; c < run->results[k].columns; c++)
            if (run->results[k].work->columns[c].kind == DIST &&
                run->results[k].cells[c].state == FAILED)
                return false;
    return true;
}

static int finish(const struct run *run, const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/bench.json", folder);
    print_summary(stdout, run);
    if (!write_json(path, run)) {
        fprintf(stderr, "dist-bench: cannot write %s\n", path);
        return 1;
    }
    printf("\nwritten: %s\n", path);
    return sound(run) ? 0 : 1;
}

int main(int argc, char **argv) {
    static struct result results[MAX_RESULTS];
    struct run run = {.command = command_line(argc, argv), .results = results};
    struct options o;
    bool good = parse(&o, argc, argv);
    for (int k = 0; good && k < o.id_count; k++) good = known(o.ids[k]);
    if (!good || o.help) return usage(good ? stdout : stderr), !good;
    if (o.list) return list(), 0;
    if (!make_folder(o.out)) {
        fprintf(stderr, "dist-bench: cannot make the folder %s\n", o.out);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    machine_describe(&run.machine);
    run.config = (struct config){.folder = own_folder(),
                                 .quick = o.quick,
                                 .rounds = o.rounds,
                                 .retry = o.retry,
                                 .cpus = machine_cpus(),
                                 .spin = machine_spin()};
    print_head(stdout, &run);
    measure_all(&run, &o);
    return finish(&run, o.out);
}
