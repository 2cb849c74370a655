#!/bin/sh
# What the library's code must not contain: printing, ending the program, signal handlers, platform
# conditionals outside common/os, fences, volatile, atomic operations without an explicit order.
set -eu
cd "$1"
code=$2
find src include -name '*.[ch]' | sort | xargs awk -v part=code -f test/structure/part.awk >"$code"

faults=0
# ban WHAT EXPRESSION [EXCEPT]: no code line matches, but for lines (file:number:code) like EXCEPT
ban() {
    grep -nE "^[^:]*:[0-9]*:.*$2" "$code" | cut -d: -f2- | grep -vE "${3:-^$}" >"$code.found" || return 0
    sed "s|^|$1: |" "$code.found"
    faults=1
}
call() { echo "(^|[^A-Za-z0-9_.>])($1)[ 	]*\("; }

ban "prints" "$(call '(v|f|vf|d|vd|w|fw)?printf|f?puts|f?putc|putchar|perror|psignal|(v?sys)?log|warnx?|errx?')"
ban "ends the program" "$(call 'abort|exit|quick_exit|_Exit|__builtin_trap')"
ban "ends the process" "$(call '_exit')" '^src/process/'
ban "installs a signal handler" "$(call 'signal|sigset|bsd_signal|sigvec')"
ban "touches signal dispositions" "$(call 'sigaction')" '^src/process/|^src/common/os\.'
ban "installs a signal handler" '(sa_handler|sa_sigaction)[ 	]*=[^=]' 'sa_handler[ 	]*=[ 	]*SIG_DFL'
ban "waits for children that are not its own" "$(call 'wait|wait3')|waitpid\([ 	]*-[ 	]*1|P_ALL"
ban "changes the environment" "$(call 'setenv|putenv|unsetenv|clearenv|setlocale|chdir|umask')"
ban "has no bound" "$(call 'gets|sprintf|vsprintf|strcpy|strcat')"
ban "asserts with a side effect" '[^_A-Za-z]assert\(.*(\+\+|--|[^=!<>]=[^=])'
ban "is a fence" 'atomic_(thread|signal)_fence|__sync_|__atomic_'
ban "has the order consume" 'memory_order_consume'
ban "is volatile" '(^|[^A-Za-z0-9_])volatile' '^src/common/os\.[ch]:[0-9]*:.*__asm__ volatile'
ban "is atomic without an explicit order" \
    "$(call 'atomic_(load|store|exchange|compare_exchange_(strong|weak)|fetch_[a-z]+|flag_test_and_set|flag_clear)')"

# Platform conditionals: none outside common/os.*. No conditionals are the guard of a header, which bears
# its name, and a default: #ifndef DIST__X, #define DIST__X.
grep -E '^src/' "$code" | awk -F: '
    { text = $3; for (i = 4; i <= NF; i++) text = text ":" $i }
    text !~ /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)/ || $1 ~ /^src\/common\/os\./ { next }
    {
        guard = toupper(substr($1, 5)); gsub(/[^A-Z0-9]/, "_", guard)
        if ($1 ~ /\.h$/ && !seen[$1]++ && text ~ "^#ifndef DIST_" guard "$") next
        if (text ~ /^#ifndef DIST__[A-Z_]+$/) next
        print "platform conditional (or wrong guard): " $1 ":" $2 ":" text
    }' >"$code.found"
if [ -s "$code.found" ]; then cat "$code.found"; faults=1; fi

[ $faults -eq 0 ] || exit 1
echo "nothing banned in $(grep -c . "$code") lines"
