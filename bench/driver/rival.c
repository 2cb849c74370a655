#include "rival.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MS = 60000 };

static void give_up(struct rival *v, enum state state, const char *why) {
    rival_stop(v);
    v->state = state;
    snprintf(v->note, sizeof v->note, "%s", why);
}

static void become(const char *path, char *const argv[], int in, int out) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execv(path, argv);
    _exit(127);
}

/* The ends that belong to the driver are closed on exec, so that no competitor holds another's. */
static bool launch(struct rival *v, const char *path, char *const argv[]) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) return false;
    if (pipe2(out, O_CLOEXEC) != 0) return close(in[0]), close(in[1]), false;
    v->pid = fork();
    if (v->pid == 0) become(path, argv, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    v->in = in[1];
    v->out = out[0];
    if (v->pid > 0) return true;
    v->pid = 0;
    close(v->in);
    close(v->out);
    return false;
}

/* Reads a line, without its end, of at most size - 1 characters. */
static bool read_line(const struct rival *v, char *line, size_t size) {
    size_t length = 0;
    while (length + 1 < size) {
        struct pollfd p = {.fd = v->out, .events = POLLIN};
        if (poll(&p, 1, ANSWER_MS) <= 0) return false;
        if (read(v->out, &line[length], 1) != 1) return false;
        if (line[length] == '\n') break;
        length++;
    }
    line[length] = '\0';
    return true;
}

/* Reads an answer; "missing" and "fail" and silence end the process. */
static bool receive(struct rival *v, char *line, size_t size) {
    if (!read_line(v, line, size)) give_up(v, FAILED, "no answer");
    else if (strncmp(line, "missing ", 8) == 0) give_up(v, MISSING, line + 8);
    else if (strncmp(line, "fail ", 5) == 0) give_up(v, FAILED, line + 5);
    return v->state == READY;
}

static bool ask(struct rival *v, const char *command, char *line, size_t size) {
    size_t length = strlen(command);
    if (write(v->in, command, length) != (ssize_t)length) {
        give_up(v, FAILED, "gone");
        return false;
    }
    return receive(v, line, size);
}

void rival_start(struct rival *v, const struct column *column, const struct row *row,
                 const struct config *config) {
    const struct size *size = row_size(row, config);
    char path[4096], text[8][64];
    *v = (struct rival){.state = READY};
    snprintf(path, sizeof path, "%s/%s", config->folder, column->program);
    if (access(path, X_OK) != 0) {
        give_up(v, MISSING, "not built");
        return;
    }
    snprintf(text[0], sizeof *text, "load=%s", row->load);
    snprintf(text[1], sizeof *text, "variant=%s", column->variant);
    snprintf(text[2], sizeof *text, "n=%zu", size->n);
    snprintf(text[3], sizeof *text, "size=%zu", size->size);
    snprintf(text[4], sizeof *text, "workers=%u", row->workers);
    snprintf(text[5], sizeof *text, "cpus=%u", config->cpus);
    snprintf(text[6], sizeof *text, "spin=%llu", (unsigned long long)config->spin);
    snprintf(text[7], sizeof *text, "sample_ns=%llu", (unsigned long long)size->sample_ns);
    char *argv[] = {path,    text[0], text[1], text[2], text[3],
                    text[4], text[5], text[6], text[7], NULL};
    char line[sizeof v->note];
    if (!launch(v, path, argv)) give_up(v, FAILED, "cannot be started");
    else if (!read_line(v, line, sizeof line)) give_up(v, MISSING, "does not start");
    else if (strncmp(line, "hello ", 6) == 0) snprintf(v->note, sizeof v->note, "%s", line + 6);
    else give_up(v, FAILED, line);
}

bool rival_warm(struct rival *v) {
    char line[sizeof v->note];
    return v->state == READY && ask(v, "warm\n", line, sizeof line);
}

bool rival_sample(struct rival *v, double *ns) {
    char line[sizeof v->note];
    if (v->state != READY || !ask(v, "run\n", line, sizeof line)) return false;
    *ns = strtod(line, NULL);
    if (*ns > 0) return true;
    give_up(v, FAILED, "no number");
    return false;
}

static bool thread_runs(const char *tasks, const char *tid) {
    char path[512], line[256];
    snprintf(path, sizeof path, "%s/%s/stat", tasks, tid);
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t length = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[length] = '\0';
    const char *after_name = strrchr(line, ')');
    return after_name && after_name[1] == ' ' && after_name[2] == 'R';
}

static bool process_runs(pid_t pid) {
    char tasks[64];
    snprintf(tasks, sizeof tasks, "/proc/%d/task", (int)pid);
    DIR *d = opendir(tasks);
    if (!d) return false;
    bool runs = false;
    for (struct dirent *e; !runs && (e = readdir(d));)
        if (e->d_name[0] != '.') runs = thread_runs(tasks, e->d_name);
    closedir(d);
    return runs;
}

void rival_settle(const struct rival *v) {
    const struct timespec ms = {0, 1000000};
    for (int k = 0; k < 100; k++) {
        nanosleep(&ms, NULL);
        if (!v->pid || !process_runs(v->pid)) return;
    }
}

static bool reaped_within(pid_t pid, int ms) {
    const struct timespec pause = {0, 1000000};
    for (int k = 0; k < ms; k++) {
        if (waitpid(pid, NULL, WNOHANG) == pid) return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

void rival_stop(struct rival *v) {
    if (!v->pid) return;
    close(v->in);
    close(v->out);
    if (!reaped_within(v->pid, v->state == READY ? 5000 : 100)) {
        kill(-v->pid, SIGKILL);
        waitpid(v->pid, NULL, 0);
    }
    v->pid = 0;
}
