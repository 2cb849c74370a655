#!/bin/sh
# blocks.sh PAGE EXAMPLES...: each C block of the page stands in one of the examples, line for line. Lines of
# dots part a block into pieces that stand there in this order; indentation and empty lines do not count.
set -eu
page=$1
shift
awk -v page="$page" '
    function trimmed(line) { gsub(/^[ \t]+|[ \t]+$/, "", line); return line }

    # Line `from` or a later one where the piece begins (0: nowhere); sets `after` to the line behind it.
    function find(file, piece, size, from,    at, k) {
        for (at = from; at + size - 1 <= lines[file]; at++) {
            for (k = 0; k < size && text[file, at + k] == piece[k]; k++) {}
            if (k == size) { after = at + size; return at }
        }
        return 0
    }
    function stands_in(file,    k, from, n) {
        from = 1; n = 0
        for (k = 0; k <= size; k++) {
            if (k < size && block[k] != "...") { piece[n++] = block[k]; continue }
            if (n && !find(file, piece, n, from)) return 0
            from = after; n = 0
        }
        return 1
    }
    function check(    f) {
        blocks++
        for (f = 1; f <= files; f++) if (stands_in(names[f])) return
        print page ":" start ": this block stands in no example"
        faults++
    }

    FNR == 1 && FILENAME != page { names[++files] = FILENAME }
    FILENAME != page { if (trimmed($0) != "") text[FILENAME, ++lines[FILENAME]] = trimmed($0); next }
    /^```/ {
        if (inside) { if (c) check(); inside = 0 }
        else { inside = 1; c = $0 == "```c"; size = 0; start = FNR }
        next
    }
    inside && trimmed($0) != "" { block[size++] = trimmed($0) }
    END {
        if (!blocks) { print page ": no C block"; exit 1 }
        if (faults) exit 1
        print blocks " blocks stand in the examples"
    }' "$@" "$page"
