#!/bin/sh
# No file above 500 lines, no function above 60. A function begins at a line in column 0 with a
# parenthesis and a brace at its end (or at the end of a later line), and ends at a brace in column 0.
set -eu
cd "$1"
folders=$(ls -d include src test bench examples 2>/dev/null)
find $folders -name '*.[ch]' -o -name '*.cpp' | sort | xargs awk '
    function file_ends() { if (lines > 500) print name ": " lines " lines, the limit is 500" }
    FNR == 1 { file_ends(); name = FILENAME; begun = 0 }
    { lines = FNR }
    /^[A-Za-z_]/ && !begun { start = FNR; head = "" }
    !begun { head = head $0 }
    !begun && /\{$/ && head ~ /^[A-Za-z_].*\(/ && head !~ /;/ { begun = 1 }
    /^}/ {
        if (begun && FNR - start + 1 > 60)
            print name ":" start ": a function of " FNR - start + 1 " lines, the limit is 60"
        begun = 0; head = ""
    }
    END { file_ends() }' >"$2"
if [ -s "$2" ]; then cat "$2"; exit 1; fi
echo "every file and function within its limit"
