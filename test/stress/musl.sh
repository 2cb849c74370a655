#!/bin/sh
# musl.sh SOURCE_DIR WORK CMAKE MUSL_GCC NAME: NAME.c with another C library: musl, without its kernel headers.
set -eu
source=$1 work=$2 cmake=$3 cc=$4 name=$5
mkdir -p "$work"
log=$work/$name.log
if ! {
    "$cmake" -S "$source" -B "$work/build" -DCMAKE_C_COMPILER="$cc" -DCMAKE_BUILD_TYPE=Release \
        -DDIST_WERROR=ON -DDIST_TESTS=OFF -DDIST_BENCH=OFF -DDIST_EXAMPLES=OFF &&
        "$cmake" --build "$work/build" --target dist_static &&
        "$cc" -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -I"$source/include" -I"$source/src" \
            "$source/test/stress/$name.c" "$work/build/libdist.a" -o "$work/$name"
} >"$log" 2>&1; then
    cat "$log"
    exit 1
fi
exec "$work/$name"
