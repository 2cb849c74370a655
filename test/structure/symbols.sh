#!/bin/sh
# symbols.sh LIBRARY INCLUDE_DIR WORK CC: libdist.so exports the functions that the headers declare,
# and nothing else.
set -eu
library=$1 include=$2 work=$3 cc=$4

nm -D --defined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' | sort >"$work.exported"

# Prototypes of our headers, after the preprocessor, without attributes and bodies.
for header in "$include"/dist/*.h; do echo "#include \"$header\""; done |
    $cc -std=c11 -E -I"$include" -x c - | awk '
        /^# [0-9]/ { ours = $3 ~ /\/dist\/[a-z]+\.h"$/; next }
        ours { text = text " " $0 }
        END {
            gsub(/__attribute__/, "@", text)
            while (gsub(/\([^()]*\)/, "@", text)) {} # f(a, b) becomes f@
            while (gsub(/\{[^{}]*\}/, ";", text)) {}
            n = split(text, statement, ";")
            for (i = 1; i <= n; i++) {
                one = statement[i]
                if (one ~ /typedef|static/) continue
                gsub(/@@/, "", one) # an attribute
                if (match(one, /[A-Za-z_][A-Za-z0-9_]* *@/)) {
                    name = substr(one, RSTART, RLENGTH); gsub(/[ @]/, "", name); print name
                }
            }
        }' | sort -u >"$work.declared"

[ -s "$work.declared" ] || { echo "found no declarations"; exit 1; }
if ! diff "$work.declared" "$work.exported" >"$work.diff"; then
    sed -n 's/^< /declared, not exported: /p; s/^> /exported, not declared: /p' "$work.diff"
    exit 1
fi
# dist__check_result is called by what the macros of define.h make.
if grep -v -e '^dist_[a-z]' -e '^dist__check_result$' "$work.exported"; then echo "not a public name"; exit 1; fi
echo "$(grep -c . "$work.exported") functions, all declared and exported"
