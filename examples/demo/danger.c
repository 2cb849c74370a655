/* danger.c - the dangerous part: compress again, but one item sends the task astray. */
#include "demo.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A sample keeps a run short, so that many can be made. */
enum { DANGER_ITEMS = 64 };

struct trial {
    const struct file *files;
    size_t count, victim;
    struct sum *expected, *out;
    struct compress compress;
};

/* What happens to a program that does this serially, or with threads: a copy of this program tries
 * it. *signal is what killed the copy, or 0. */
static bool try_in_copy(enum way way, const struct trial *trial, int *signal_out) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        complain("cannot fork: %s", strerror(errno));
        return false;
    }
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* sanitizers catch it, and would tell a long story */
        void *ctx = (void *)&trial->compress;
        if (way == THREAD)
            dist_thread_map(compress_task, trial->files, trial->count, trial->out,
                            .workers = dist_cpus(), .ctx = ctx);
        else
            for (size_t i = 0; i < trial->count; i++)
                compress_task(&trial->out[i], &trial->files[i], ctx);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    *signal_out = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return true;
}

static size_t count_right(const struct trial *trial, const dist_job *job) {
    size_t right = 0;
    for (size_t i = 0; i < trial->count; i++)
        right += !dist_job_outcome(job, i) &&
                 memcmp(&trial->out[i], &trial->expected[i], sizeof(struct sum)) == 0;
    return right;
}

/* Exactly the victim is lost, it is named, its result is untouched, and all others are right. */
static bool is_right(const struct danger *danger, const struct trial *trial,
                     const dist_error *error) {
    static const struct sum untouched;
    return danger->crashed == 1 && danger->right == trial->count - 1 && error &&
           error->index == trial->victim && error->item == &trial->files[trial->victim] &&
           error->signal == SIGSEGV &&
           memcmp(&trial->out[trial->victim], &untouched, sizeof untouched) == 0;
}

/* Keeps what the first run gave, or a later one that was not right. */
static void look_at(struct danger *danger, unsigned run, const struct trial *trial,
                    const dist_job *job) {
    struct danger seen = *danger;
    seen.crashed = 0;
    seen.right = count_right(trial, job);
    const dist_error *first = dist_job_failure_at(job, 0);
    for (size_t k = 0; k < dist_job_failures(job); k++)
        seen.crashed += dist_job_failure_at(job, k)->status == DIST_CRASHED;
    seen.signal = first ? first->signal : 0;
    snprintf(seen.message, sizeof seen.message, "%s", first ? first->message : "no failure");
    bool right = is_right(&seen, trial, first);
    if (run == 0 || !right) *danger = seen;
    danger->runs_right += right;
}

/* One run in processes. */
static bool run_once(struct danger *danger, unsigned run, struct trial *trial) {
    memset(trial->out, 0, trial->count * sizeof *trial->out);
    dist_job *job = NULL;
    double start = now_s();
    dist_status status = dist_process_map(compress_task, trial->files, trial->count, trial->out,
                                          .workers = dist_cpus(), .silent = true, .job = &job,
                                          .ctx = &trial->compress);
    danger->process_s += (now_s() - start) / danger->runs;
    if (status != DIST_OK) {
        complain("danger, process: %s: %s", dist_status_name(status), dist_last_error()->message);
        return false;
    }
    look_at(danger, run, trial, job);
    dist_job_finish(&job);
    return true;
}

static bool run_trial(struct danger *danger, struct trial *trial, struct progress *progress) {
    /* Ends the idle threads: the copies begin as a fresh program would, with one thread. */
    dist_shutdown();
    if (!try_in_copy(SERIAL, trial, &danger->serial_signal)) return false;
    if (!try_in_copy(THREAD, trial, &danger->thread_signal)) return false;
    progress_start(progress, "danger", way_names[PROCESS], danger->runs);
    unsigned run = 0;
    while (run < danger->runs && run_once(danger, run, trial)) run++, progress_step(progress);
    progress_end(progress);
    return run == danger->runs;
}

bool danger_run(struct danger *danger, const struct files *files, const struct sum *expected,
                struct progress *progress) {
    size_t count = files->count < DANGER_ITEMS ? files->count : DANGER_ITEMS;
    struct file *sample = files_sample(files, count);
    struct trial trial = {.files = sample, .count = count, .victim = count / 3};
    trial.expected = malloc(count * sizeof *trial.expected);
    trial.out = malloc(count * sizeof *trial.out);
    bool done = sample && trial.expected && trial.out;
    if (done) {
        for (size_t k = 0; k < count; k++)
            trial.expected[k] = expected[files_sample_index(files, count, k)];
        danger->items = count;
        danger->victim = trial.victim;
        danger->path = trial.compress.poisoned = sample[trial.victim].path;
        done = run_trial(danger, &trial, progress);
    } else complain("no memory for %zu items", count);
    free(trial.out);
    free(trial.expected);
    free(sample);
    return done;
}
