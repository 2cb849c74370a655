#!/bin/sh
# subproject.sh CMAKE CC SOURCE DIST "BACKENDS" WORK: add_subdirectory(dist) in somebody's project.
set -eu
cmake=$1 cc=$2 source=$3 dist=$4 backends=$5 work=$6
rm -rf "$work"
"$cmake" -S "$source" -B "$work" -DCMAKE_C_COMPILER="$cc" -DDIST="$dist" \
    -DDIST_BACKENDS="$(echo "$backends" | tr ' ' ';')" >/dev/null
"$cmake" --build "$work" --target outer >/dev/null
"$work/outer"
