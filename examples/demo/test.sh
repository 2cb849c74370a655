#!/bin/sh
# test.sh DEMO FOLDER - runs the demonstration on a small directory made in FOLDER, and on bad input.
set -u
demo=$1 work=$2
in=$work/in out=$work/out
failures=0

check() { # check WHAT COMMAND...: the command must succeed
    what=$1
    shift
    if "$@" >"$work/check.log" 2>&1; then return; fi
    echo "FAILED: $what"
    cat "$work/check.log"
    failures=$((failures + 1))
}

# exits STATUS PATTERN COMMAND...: with this status, and stderr must match the pattern
exits() {
    want=$1 pattern=$2
    shift 2
    "$@" >"$work/stdout" 2>"$work/stderr"
    got=$?
    if [ $got -eq "$want" ]; then
        if [ -z "$pattern" ] || grep -q "$pattern" "$work/stderr"; then return; fi
    fi
    echo "FAILED: $* gave $got, not $want; its stderr (\"$pattern\" was to be in it):"
    cat "$work/stderr"
    failures=$((failures + 1))
}

make_input() {
    rm -rf "$work"
    mkdir -p "$in/deep/er" "$work/empty/er"
    for i in 1 2 3 4 5 6 7 8 9; do
        for where in "$in" "$in/deep" "$in/deep/er"; do
            awk -v n=$i 'BEGIN { for (k = 0; k < 700 * n; k++) print k * k % 1009, n }' >"$where/$i"
        done
    done
    : >"$in/empty"
    # shellcheck disable=SC1003
    # Names with which neither the JSON nor the plot may come apart.
    for name in 'a "quote" and \' "$(printf 'two\nlines')" "$(printf 'not \377 UTF-8')"; do
        cp "$in/9" "$in/$name"
    done
    ln -s nowhere "$in/dangling"
}

# shellcheck disable=SC2317 # called through check
json_has_all_keys() {
    python3 - "$1" <<'END'
import json, sys
demo = json.load(open(sys.argv[1], encoding="utf-8"))
for part in demo["io"], demo["cpu"]:
    for key in "serial_s", "thread_s", "process_s", "thread_cpu_s", "workers", "items":
        assert part[key] > 0, (key, part)
    assert part["identical"] is True and part["correct"] is True, part
assert demo["io"]["workers"] == 16 and demo["cpu"]["workers"] == demo["cpus"], demo
danger = demo["danger"]
assert danger["crashed"] == 1 and danger["right"] == danger["items"] - 1 == demo["files"] - 1, danger
assert danger["signal"] == danger["serial_signal"] == danger["thread_signal"] == "SIGSEGV", danger
assert danger["runs"] == danger["runs_right"] == 20 and "SIGSEGV" in danger["message"], danger
END
}

good_input() {
    exits 0 '' "$demo" --danger-runs 20 --out "$out/new" "$in"
    for word in 'I/O-bound: ' 'CPU-bound: ' 'Dangerous: ' 'in 20 of 20 runs' "files' own contents"; do
        check "the report says $word" grep -q "$word" "$work/stdout"
    done
    if command -v python3 >/dev/null; then
        check "demo.json is complete" json_has_all_keys "$out/new/demo.json"
    else
        check "demo.json is there" grep -q '"runs_right": 20' "$out/new/demo.json"
    fi
    if command -v gnuplot >/dev/null; then
        check "a PNG is drawn" test -s "$out/new/demo.png"
        check "an SVG is drawn" test -s "$out/new/demo.svg"
    fi
}

bad_input() {
    exits 2 'cannot read .*nowhere' "$demo" --out "$out" "$work/nowhere"
    exits 2 'cannot read .*/in/1' "$demo" --out "$out" "$in/1"
    exits 2 'not a single regular file' "$demo" --out "$out" "$work/empty"
    exits 2 'usage:' "$demo" --out "$out" --frobnicate "$in"
    exits 2 'usage:' "$demo" --out
    exits 2 'usage:' "$demo" --out "$out" "$in" "$in"
    exits 2 'from 1 to' "$demo" --danger-runs 0 "$in"
    exits 2 'from 1 to' "$demo" --danger-runs 7x "$in"
    exits 1 'cannot write to' "$demo" --out "$in/1/below" "$in"
    exits 1 'cannot write to' "$demo" --out "$in/1" "$in"
}

# root may read everything: then somebody else tries.
# shellcheck disable=SC2086 # $as is several words, or none
unreadable_input() {
    as=
    if [ "$(id -u)" -eq 0 ]; then as='setpriv --reuid 65534 --clear-groups'; fi
    if ! $as "$demo" --help >/dev/null 2>&1; then
        echo "skipped: unreadable files, there is no other user to try it as"
        return
    fi
    mkdir "$work/secret" "$work/secret/closed"
    echo open >"$work/secret/a"
    chmod 0 "$work/secret/closed"
    exits 2 'cannot read .*/closed: ' $as "$demo" --out "$out" "$work/secret"
    rmdir "$work/secret/closed"
    chmod 0 "$work/secret/a"
    exits 2 'cannot read .*/a: ' $as "$demo" --out "$out" "$work/secret"
}

bad_output() {
    if [ -w /dev/full ]; then
        mkdir -p "$work/full"
        ln -s /dev/full "$work/full/demo.json"
        exits 1 'cannot write .*demo.json' "$demo" --out "$work/full" "$in"
    fi
    exits 0 'gnuplot.* is missing' env PATH=/nowhere "$demo" --out "$out" "$in"
}

gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null; }

server_dies_with_its_parent() {
    if ! command -v pgrep >/dev/null; then
        echo "skipped: the end of the server, there is no pgrep"
        return
    fi
    "$demo" --out "$out" "$in" >/dev/null 2>&1 &
    parent=$!
    server=
    while kill -0 $parent 2>/dev/null && [ -z "$server" ]; do
        server=$(pgrep -P $parent | head -n 1)
    done
    if [ -z "$server" ]; then
        echo "skipped: the end of the server, it was over too soon"
        return
    fi
    kill -KILL $parent
    wait $parent 2>/dev/null
    for pause in 0 0.1 0.5 2 5; do
        sleep $pause
        if gone "$server"; then return; fi
    done
    check "the server ended with its parent" false
}

make_input
good_input
bad_input
unreadable_input
bad_output
server_dies_with_its_parent
if [ $failures -eq 0 ]; then echo "all as it should be"; fi
exit $((failures > 0))
