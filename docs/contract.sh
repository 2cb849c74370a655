#!/bin/sh
# contract.sh PAGE PROGRAM...: writes contract.md, from what the contract programs list (ID, case, executors)
# and from contract.txt: a promise for each ID; "= ID", the same as another; "-", nothing to promise in C;
# "(TEST) promise", held by a test that is no case.
set -eu
page=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
cases=$(for program in "$@"; do "$program" --list || exit 1; done)
written=$(echo "$cases" | LC_ALL=C sort | awk '
    BEGIN { split("inline thread process", executor); for (e = 1; e <= 3; e++) bit[e] = 2 ^ (e - 1) }
    function cell(n) { return n ? n : "" }
    FNR == NR { # contract.txt
        order[++ids] = $1
        promise[$1] = substr($0, length($1) + 2)
        next
    }
    !($1 in promise) { print "no promise in contract.txt for " $1 " of " $2 >"/dev/stderr"; failed = 1; exit 1 }
    {
        on = ""
        for (e = 1; e <= 3; e++)
            if (int($3 / bit[e]) % 2) { count[$1, e]++; total[e]++; on = on (on ? ", " : "") executor[e] }
        cases[$1]++
        all++
        text[$1] = text[$1] (text[$1] ? ", " : "") $2 ($3 == 7 ? "" : " (" on ")")
    }
    END {
        if (failed) exit 1
        print "# The contract\n"
        print "What dist promises, and how many test cases hold each promise on each executor. A case runs in"
        print "`test/contract_*.c`; `build/dev/test/contract_map thread P-01` runs those of one ID.\n"
        print "The IDs tell where a promise comes from: P from santiagobasulto/parallel, D from doctable, M from"
        print "multiprocessing, F from concurrent.futures, L from mp_list_splitter; G are guarantees that these"
        print "do not give. See [from-python.md](from-python.md).\n"
        print "This page is written by `./dev docs`.\n"
        print "| ID | Promise | inline | thread | process |\n| --- | --- | ---: | ---: | ---: |"
        for (i = 1; i <= ids; i++) {
            id = order[i]; said = promise[id]
            if (said == "-") { none = none (none ? ", " : "") id; continue }
            if (said ~ /^= /) said = "as " substr(said, 3)
            else if (said ~ /^\(/) { test = said; sub(/\).*/, "", test); sub(/^[^)]*\) /, "", said)
                                     said = said " (test `" substr(test, 2) "`)" }
            else if (!cases[id]) { later = later "\n- " id " " said; continue }
            print "| " id " | " said " | " cell(count[id, 1]) " | " cell(count[id, 2]) " | " cell(count[id, 3]) " |"
        }
        print "| | " all " cases | " total[1] " | " total[2] " | " total[3] " |"
        print "\n## Not yet\n" later
        print "\nNothing to promise in C: " none "."
        print "\n## The cases\n"
        for (i = 1; i <= ids; i++) if (cases[order[i]]) print "- " order[i] ": " text[order[i]]
    }' "$here/contract.txt" -)
echo "$written" >"$page"
