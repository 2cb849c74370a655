#!/bin/sh
# Who may include whom (src/README.md, "floors"), read off the #include lines.
set -eu
cd "$1"
here=test/structure

# The directory that #include "name" in `file` is found in; a missing file is a system header.
resolve() { # FILE NAME
    for place in "$(dirname "$1")" src include; do
        if [ -f "$place/$2" ]; then
            echo "$place/$2" | sed ':again; s|[^/.][^/]*/\.\./||; t again'
            return
        fi
    done
    echo "<$2>"
}

standard='assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads
    time uchar wchar wctype'
standard=$(echo "$standard" | xargs)
is_standard() { case " $standard " in *" $1 "*) ;; *) return 1 ;; esac; }

# allowed FLOOR TARGET: may a file of this floor include the target?
allowed() {
    case $1:$2 in
    *:include/dist/*) return ;;
    interface:\<*.h\> | door:\<*.h\> | inline:\<*.h\>) name=${2#<}; is_standard "${name%.h>}" ;;
    *:\<*) ;;
    interface:* | outside:src/*) return 1 ;;
    outside:*) ;; # its own files
    door:src/common/* | common:src/common/*) ;;
    door:* | common:*) return 1 ;;
    *:src/common/* | *:src/"$1"/*) ;;
    *) return 1 ;;
    esac
}

floor() {
    case $1 in
    include/*) echo interface ;;
    src/common/call.c | src/common/check.[ch]) echo door ;;
    src/*/*) one=${1#src/}; echo "${one%%/*}" ;;
    *) echo outside ;;
    esac
}

folders=$(ls -d include src test bench examples 2>/dev/null)
find $folders -name '*.[ch]' -o -name '*.cpp' | sort | while read -r file; do
    case $file in test/contract*) ;; test/*) continue ;; esac
    awk -v part=code -f $here/part.awk "$file"
done | sed -n 's/^\([^:]*:[0-9]*\):[ \t]*#[ \t]*include[ \t]*["<]\([^">]*\)[">].*/\1 \2/p' |
    while read -r where name; do
        target=$(resolve "${where%:*}" "$name")
        allowed "$(floor "${where%:*}")" "$target" || echo "$where: may not include $target"
    done >"$2"

if [ -s "$2" ]; then cat "$2"; exit 1; fi
echo "every #include stays on its floor"
