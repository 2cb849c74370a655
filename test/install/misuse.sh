#!/bin/sh
# misuse.sh WORK SOURCE CC FLAGS...: the source compiles as it is; with any of its cases it does not, and
# the compiler says what stands in the comment beside the case.
set -eu
work=$1 source=$2
shift 2

"$@" -c "$source" -o "$work.o"
sed -nE 's,^#(ifdef |elif defined\()([A-Z_]+)\)? /\* (.*) \*/$,\2 \3,p' "$source" >"$work.cases"
[ -s "$work.cases" ] || { echo "$source: no cases"; exit 1; }
faults=0
while read -r case diagnostic; do
    if "$@" -D"$case" -c "$source" -o "$work.o" 2>"$work.errors"; then
        echo "$case compiles"
    elif ! grep -qE "error: .*($diagnostic)" "$work.errors"; then
        echo "$case is refused for another reason than \"$diagnostic\":"
        cat "$work.errors"
    else
        continue
    fi
    faults=1
done <"$work.cases"
[ $faults -eq 0 ] || exit 1
echo "$(grep -c . "$work.cases") misuses refused"
