/* plot.c - demo.gp, a gnuplot script with the figures in it, and what gnuplot makes of it. */
#include "demo.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_GNUPLOT = 127 };

/* Bars stand at 0, 1, 2 for the first part and at 4, 5, 6 for the second. */
static const double part_step = 4;

static const char head[] =
    "set encoding utf8\n"
    "set label \"{/:Bold=24 dist: one loop, three ways to run it}\" at screen 0.5,0.945 center\n"
    "set label 'seconds taken, and in bold the speed-up over the serial loop' "
    "at screen 0.5,0.89 center font ',15' textcolor rgb '#404040'\n"
    "set key at screen 0.5,0.835 center horizontal maxrows 1 Left reverse samplen 1.5 width -1 "
    "font ',15'\n"
    "set ylabel 'seconds (less is better)' font ',15' offset -1\n"
    "set border 1 lc rgb '#606060'\n"
    "set grid y lt 1 lw 1 lc rgb '#e4e4e4'\n"
    "set tics scale 0\n"
    "set ytics font ',13' textcolor rgb '#606060'\n"
    "set xrange [-0.9:6.9]\n"
    "set style fill solid 1 noborder\n"
    "set boxwidth 0.86\n"
    "set errorbars small\n"
    "set lmargin 11\n"
    "set rmargin 4\n"
    "set tmargin at screen 0.79\n"
    "set bmargin at screen 0.2\n"
    "set linetype 1 lc rgb '#9aa0a6'\n"
    "set linetype 2 lc rgb '#2a6fb0'\n"
    "set linetype 3 lc rgb '#e0762b'\n";

static const char body[] =
    "draw = \"plot $serial using 1:2 with boxes lt 1 title 'serial', "
    "$thread using 1:2 with boxes lt 2 title 'threads', "
    "$process using 1:2 with boxes lt 3 title 'processes', "
    "$ideal using 1:2:(0.47) with xerrorbars pt -1 lw 2.5 lc rgb '#202020' "
    "title 'ideal', "
    "$labels using 1:2:3 with labels offset 0,1.7 font ',15' notitle\"\n"
    "set terminal pngcairo size 1200,760 font 'sans,14' background rgb 'white'\n"
    "set output 'demo.png'\n"
    "eval draw\n"
    "set terminal svg size 1200,760 font 'sans-serif,14' background rgb 'white' enhanced\n"
    "set output 'demo.svg'\n"
    "eval draw\n"
    "unset output\n";

static double bar_at(int p, enum way way) { return part_step * p + (int)way; }

static double ideal_s(const struct part *part) { return part->seconds[SERIAL] / part->ideal; }

/* The bars of one way. */
static void put_bars(FILE *f, const struct part *const parts[2], enum way way) {
    fprintf(f, "$%s << end\n", way_names[way]);
    for (int p = 0; p < 2; p++) fprintf(f, "%g %.6f\n", bar_at(p, way), parts[p]->seconds[way]);
    fputs("end\n", f);
}

/* The marks of the ideal, on the bars that could reach it. */
static void put_ideals(FILE *f, const struct part *const parts[2]) {
    fputs("$ideal << end\n", f);
    for (int p = 0; p < 2; p++)
        for (enum way way = THREAD; way < WAYS; way++)
            fprintf(f, "%g %.6f\n", bar_at(p, way), ideal_s(parts[p]));
    fputs("end\n", f);
}

static void put_label(FILE *f, const struct part *part, double x, enum way way) {
    double y = part->seconds[way], speedup = part_speedup(part, way);
    bool below_mark = way != SERIAL && y < ideal_s(part); /* then the words stand over the mark */
    fprintf(f, "%g %.6f \"", x, below_mark ? ideal_s(part) : y);
    if (way != SERIAL) fprintf(f, "{/:Bold %.*f×}", speedup < 10 ? 2 : 1, speedup);
    fprintf(f, "\\n%.2f s\"\n", y);
}

static void put_data(FILE *f, const struct part *const parts[2]) {
    for (enum way way = SERIAL; way < WAYS; way++) put_bars(f, parts, way);
    put_ideals(f, parts);
    fputs("$labels << end\n", f);
    for (int p = 0; p < 2; p++)
        for (enum way way = SERIAL; way < WAYS; way++) put_label(f, parts[p], bar_at(p, way), way);
    fputs("end\n", f);
}

static void put_script(FILE *f, const struct demo *demo) {
    const struct part *const parts[2] = {&demo->io, &demo->cpu};
    double highest = 0;
    for (int p = 0; p < 2; p++)
        for (enum way way = SERIAL; way < WAYS; way++)
            if (parts[p]->seconds[way] > highest) highest = parts[p]->seconds[way];
    fputs(head, f);
    put_data(f, parts);
    fprintf(f, "set yrange [0:%.6f]\n", highest * 1.15);
    fprintf(f,
            "set xtics (\"{/:Bold=16 I/O-bound}\\n%zu fetches, %d ms wait each, %u workers\" 1, ",
            demo->io.items, SERVER_DELAY_MS, demo->io.workers);
    fprintf(f, "\"{/:Bold=16 CPU-bound}\\n%zu files compressed, %u workers\" 5) offset 0,-0.4\n",
            demo->cpu.items, demo->cpu.workers);
    fprintf(f, "set label \"With a wild pointer in one of %zu tasks:  serial %s,  threads %s,  ",
            demo->danger.items,
            demo->danger.serial_signal ? signal_name(demo->danger.serial_signal) : "survived",
            demo->danger.thread_signal ? signal_name(demo->danger.thread_signal) : "survived");
    fprintf(f, "processes %zu right, %zu reported as crashed\" ", demo->danger.right,
            demo->danger.crashed);
    fputs("at screen 0.5,0.04 center font ',13' textcolor rgb '#404040'\n", f);
    fputs(body, f);
}

/* Runs gnuplot in the output folder, so that no path needs quoting. Its exit status, or -1. */
static int run_gnuplot(const char *out) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(out) == 0) execlp("gnuplot", "gnuplot", "demo.gp", (char *)NULL);
        _exit(errno == ENOENT ? NO_GNUPLOT : 1);
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool write_script(const struct demo *demo, const char *path) {
    FILE *f = fopen(path, "w");
    if (f) put_script(f, demo);
    bool written = f && !ferror(f);
    if (f && fclose(f) != 0) written = false;
    if (!written) complain("cannot write %s: %s", path, strerror(errno));
    return written;
}

/* No gnuplot is no failure, but it is said: the figures are in demo.json all the same. */
bool plot_write(const struct demo *demo) {
    char *path = out_path(demo->out, "demo.gp");
    bool written = path && write_script(demo, path);
    int status = written ? run_gnuplot(demo->out) : 0;
    if (written && status == 0) printf("wrote %s/demo.svg and %s/demo.png\n", demo->out, demo->out);
    else if (written && status == NO_GNUPLOT)
        complain("gnuplot (gnuplot-nox) is missing: no plot; later: gnuplot demo.gp in %s",
                 demo->out);
    else if (written) complain("gnuplot failed on %s: no plot", path);
    free(path);
    return written;
}
