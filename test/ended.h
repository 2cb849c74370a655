/* ended.h - is a process, anybody's child, over? A zombie is. */
#ifndef DIST_TEST_ENDED_H
#define DIST_TEST_ENDED_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

static inline bool process_has_ended(pid_t pid) {
    char path[32], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *stat = fopen(path, "re");
    if (!stat) return true;
    bool got = fgets(line, sizeof line, stat) != NULL;
    fclose(stat);
    const char *after_name = strrchr(line, ')');
    return !got || !after_name || after_name[2] == 'Z' || after_name[2] == 'X';
}

#endif
