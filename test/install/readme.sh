#!/bin/sh
# readme.sh CC README INCLUDE_DIR LIBRARY WORK: the first C block of the README compiles without a
# warning, is short, and prints what the block after it says.
set -eu
cc=$1 readme=$2 include=$3 library=$4 work=$5
mkdir -p "$work"

# The content of the first block of a kind: ```c or ```text.
block() { awk -v kind="$1" '/^```/ { if (on) exit; on = $0 == "```" kind; next } on' "$readme"; }

block c >"$work/example.c"
block text >"$work/expected"
if ! [ -s "$work/example.c" ] || ! [ -s "$work/expected" ]; then echo "no example in $readme"; exit 1; fi
lines=$(wc -l <"$work/example.c")
[ "$lines" -le 15 ] || { echo "the example has $lines lines, promised are 15"; exit 1; }
$cc -std=c17 -O2 -Wall -Wextra -Wpedantic -Werror -I"$include" "$work/example.c" "$library" \
    -Wl,-rpath,"$(dirname "$library")" -pthread -o "$work/example"
"$work/example" >"$work/printed" || { echo "exit status $?"; exit 1; }
diff "$work/expected" "$work/printed" && cat "$work/printed"
