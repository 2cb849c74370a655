#!/bin/sh
# Memory orders: a comment's [label] stands at both ends of a pair, so at least twice in its folder,
# and every function with an order stronger than relaxed names one.
set -eu
cd "$1"
work=$2
files=$(find src -name '*.[ch]' | sort)
awk -v part=comment -f test/structure/part.awk $files >"$work.comment"

# A label is a word in brackets that is no subscript: [push], but not items[i].
awk '
    {
        where = $0; sub(/:.*/, "", where)
        folder = where; sub(/\/[^\/]*$/, "", folder)
        line = $0; sub(/^[^:]*:[0-9]*:/, "", line)
        while (match(line, /(^|[^]A-Za-z0-9_)])\[[a-z][a-z0-9_-]*\]/)) {
            label = substr(line, RSTART, RLENGTH); sub(/^[^\[]*/, "", label)
            count[folder " " label]++
            at[folder " " label] = $0; sub(/:[^:0-9].*/, "", at[folder " " label])
            line = substr(line, RSTART + RLENGTH)
        }
    }
    END { for (one in count) print one, count[one], at[one] }' "$work.comment" | sort >"$work.labels"
awk '$3 < 2 { print $4 ": " $2 " has no other end in " $1 }' "$work.labels" >"$work.faults"

# Function by function (they end with a brace in column 0): an order without a label.
awk -v part=both -f test/structure/part.awk $files | awk -F'\001' '
    {
        where = $1; sub(/:[^0-9].*|:$/, "", where)
        code = $1; sub(/^[^:]*:[0-9]*:/, "", code)
        file = where; sub(/:.*/, "", file)
        if (file != last) { order = ""; labelled = 0; last = file }
        if (code ~ /memory_order_(acquire|release|acq_rel|seq_cst)/ && order == "") order = where
        if ($2 ~ /(^|[^]A-Za-z0-9_)])\[[a-z][a-z0-9_-]*\]/) labelled = 1
        if (code ~ /^}/) {
            if (order != "" && !labelled) print order ": a memory order without a label"
            order = ""; labelled = 0
        }
    }' >>"$work.faults"

if [ -s "$work.faults" ]; then cat "$work.faults"; exit 1; fi
echo "$(grep -c . "$work.labels" || true) labels, each with both ends"
