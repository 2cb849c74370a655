#!/bin/sh
# find_package.sh CMAKE CC SOURCE PREFIX WORK: a CMake project finds the installed dist, builds with the
# shared and with the static library, and runs.
set -eu
cmake=$1 cc=$2 source=$3 prefix=$4 work=$5
rm -rf "$work"
"$cmake" -S "$source" -B "$work" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
"$cmake" --build "$work" >/dev/null
for one in with_dist with_dist_shared with_dist_static; do echo "$one:"; "$work/$one"; done
if ldd "$work/with_dist_static" | grep -q libdist; then echo "with_dist_static is not static"; exit 1; fi
ldd "$work/with_dist" | grep -F "$prefix"
