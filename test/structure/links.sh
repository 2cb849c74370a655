#!/bin/sh
# Every relative link in a Markdown file leads to a file.
set -eu
cd "$1"
find . -name build -prune -o -name .git -prune -o -name '*.md' -print | sort | while read -r page; do
    grep -o '](\([^)]*\))' "$page" | sed 's/^](//; s/)$//; s/[# ].*//' | while read -r link; do
        case $link in '' | *://* | mailto:*) continue ;; esac
        [ -e "$(dirname "$page")/$link" ] || echo "$page: no file at $link"
    done
done >"$2"
if [ -s "$2" ]; then cat "$2"; exit 1; fi
echo "every link leads to a file"
