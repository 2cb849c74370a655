#!/bin/sh
# git sees every header: a line such as "dist/" in a .gitignore would swallow them in silence.
set -eu
cd "$1"
git() { command git -c safe.directory='*' "$@"; }
if ! git rev-parse --git-dir >/dev/null 2>&1; then echo "skipped: not a git checkout"; exit 77; fi
git ls-files --cached --others --exclude-standard include/dist | sort -u >"$2.git"
find include/dist -type f | sort >"$2.found"
[ -s "$2.found" ] && diff "$2.git" "$2.found" && echo "git sees $(grep -c . "$2.found") headers"
