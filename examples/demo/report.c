/* report.c - the table and the conclusions; every word of them follows from the numbers. */
#include "demo.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Differences below this much are noise. */
static const double noise = 0.03;

static const char *const way_plurals[WAYS] = {"the loop", "threads", "processes"};

const char *signal_name(int signal) {
    switch (signal) {
    case 0: return "none";
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGABRT: return "SIGABRT";
    case SIGKILL: return "SIGKILL";
    case SIGTERM: return "SIGTERM";
    default: return "another signal";
    }
}

void print_path(const char *path) {
    for (; *path; path++) putchar((unsigned char)*path < ' ' || *path == 127 ? '?' : *path);
}

static void print_row(const struct part *part, enum way way) {
    printf("%-8s%-9s%9.3f%9.2fx", way == SERIAL ? part->name : "", way_names[way],
           part->seconds[way], part_speedup(part, way));
    if (way != SERIAL) printf("%8.0fx", part->ideal);
    putchar('\n');
}

static void print_rows(const struct part *part) {
    for (enum way way = SERIAL; way < WAYS; way++) print_row(part, way);
}

static void print_fate(const char *part, const char *way, int signal) {
    printf("%-8s%-9s%9s   ", part, way, "-");
    if (signal) printf("the whole program is killed by %s\n", signal_name(signal));
    else printf("the program survives\n");
}

static void print_danger_rows(const struct danger *danger) {
    print_fate("danger", "serial", danger->serial_signal);
    print_fate("", "thread", danger->thread_signal);
    printf("%-8s%-9s%9.3f   %zu of %zu items crashed, %zu right\n", "", "process",
           danger->process_s, danger->crashed, danger->items, danger->right);
}

static const char *verdict(const struct part *part, enum way way) {
    double speedup = part_speedup(part, way);
    if (speedup > 1.1 * part->ideal) return "beyond (so the loop was disturbed) the ideal";
    if (speedup >= 0.95 * part->ideal) return "practically the ideal";
    if (speedup >= 0.80 * part->ideal) return "near the ideal";
    if (speedup < 1) return "slower than the plain loop, far from the ideal";
    return speedup >= 0.50 * part->ideal ? "well below the ideal" : "far below the ideal";
}

static void print_speedups(const struct part *part) {
    const char *thread = verdict(part, THREAD), *process = verdict(part, PROCESS);
    printf("%.2fx with threads", part_speedup(part, THREAD));
    if (strcmp(thread, process) != 0) printf(" (%s %.0fx)", thread, part->ideal);
    printf(" and %.2fx in processes", part_speedup(part, PROCESS));
    if (strcmp(thread, process) != 0) printf(" (%s %.0fx); ", process, part->ideal);
    else printf(", both %s %.0fx; ", process, part->ideal);
}

static void print_faster(const struct part *part) {
    double ratio = part->seconds[PROCESS] / part->seconds[THREAD];
    const char *slower = ratio > 1 ? way_plurals[PROCESS] : way_plurals[THREAD];
    const char *faster = ratio > 1 ? way_plurals[THREAD] : way_plurals[PROCESS];
    if (ratio < 1) ratio = 1 / ratio;
    if (ratio < 1 + noise) printf("neither was faster by more than %.0f %%.\n", 100 * noise);
    else if (ratio < 2)
        printf("%s took %.0f %% longer than %s.\n", slower, 100 * (ratio - 1), faster);
    else printf("%s took %.1f times as long as %s.\n", slower, ratio, faster);
}

static void conclude_io(const struct part *io) {
    printf("I/O-bound: %zu files fetched over TCP by %u workers, %d ms wait each: ", io->items,
           io->workers, SERVER_DELAY_MS);
    print_speedups(io);
    print_faster(io);
    if (io->correct)
        puts("  The three received the same bytes, and these are the files' own contents.");
    else if (io->identical) puts("  WRONG: the bytes received are not the files' own contents.");
    else puts("  WRONG: the three did not receive the same bytes.");
}

/* Says so if the figures tell more of the machine than of the library. */
static void admit_tries(const struct part *part) {
    unsigned most = 0;
    for (enum way way = SERIAL; way < WAYS; way++)
        if (part->tries[way] > most) most = part->tries[way];
    if (most <= 1) return;
    printf("  The CPUs were not always to be had (other work, or idle workers), so the best try "
           "counts:\n ");
    for (enum way way = SERIAL; way < WAYS; way++)
        printf(" %s got %.2f CPUs in the best of %u%s", way_plurals[way], part_cpus(part, way),
               part->tries[way], way + 1 < WAYS ? "," : ".\n");
}

static void conclude_cpu(const struct part *cpu) {
    printf("CPU-bound: %zu files compressed by %u workers: ", cpu->items, cpu->workers);
    print_speedups(cpu);
    print_faster(cpu);
    admit_tries(cpu);
    puts(cpu->identical ? "  The three made the same bytes."
                        : "  WRONG: the three did not make the same bytes.");
}

static void conclude_danger(const struct danger *danger) {
    printf("Dangerous: on one of %zu files the task follows a wild pointer: ", danger->items);
    if (danger->serial_signal && danger->thread_signal)
        printf("the loop and the threads take the program with them, ");
    printf("processes lost %zu and got %zu right, in %u of %u runs exactly as they should.\n",
           danger->crashed, danger->right, danger->runs_right, danger->runs);
    printf("  Lost: ");
    print_path(danger->path);
    printf(": %s\n", danger->message);
}

void report_print(const struct demo *demo) {
    printf("%-8s%-9s%9s%10s%9s\n", "part", "way", "seconds", "speed-up", "ideal");
    print_rows(&demo->io);
    print_rows(&demo->cpu);
    print_danger_rows(&demo->danger);
    putchar('\n');
    conclude_io(&demo->io);
    conclude_cpu(&demo->cpu);
    conclude_danger(&demo->danger);
    putchar('\n');
}

bool report_is_right(const struct demo *demo) {
    return demo->io.correct && demo->cpu.correct && demo->danger.runs_right == demo->danger.runs;
}
