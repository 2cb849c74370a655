#!/bin/sh
# pkg_config.sh CC FLAGS SOURCE PREFIX LIBDIR WORK: a program built with nothing but pkg-config, shared
# and --static.
set -eu
cc=$1 flags=$2 source=$3 prefix=$4 libdir=$5 work=$6
if ! command -v pkg-config >/dev/null; then echo "skipped: no pkg-config"; exit 77; fi
mkdir -p "$work"
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH

version=$(pkg-config --modversion dist)
[ -n "$version" ]
# shellcheck disable=SC2046,SC2086 # one word for each flag
$cc $flags "$source" $(pkg-config --cflags --libs dist) -o "$work/shared"
LD_LIBRARY_PATH=$libdir "$work/shared" | tee "$work/says"
grep -qF "dist $version," "$work/says"
LD_LIBRARY_PATH=$libdir ldd "$work/shared" | grep -F "$prefix"

# shellcheck disable=SC2046,SC2086
$cc $flags -static "$source" $(pkg-config --static --cflags --libs dist) -o "$work/static"
"$work/static"
