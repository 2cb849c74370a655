#!/bin/sh
# mutants.sh LIST SOURCE-DIRECTORY WORK-DIRECTORY [WORD]: makes one change at a time in a copy of a header,
# and requires that the model checker finds what it breaks. With WORD only the headers whose name has it.
set -u
list=$1 source=$2 work=$3 wanted=${4:-}
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v genmc >/dev/null 2>&1; then
    echo "SKIPPED: genmc, the model checker, is not installed (https://github.com/MPI-SWS/genmc)"
    exit 77
fi

# mutate FILE: replaces the one place in function $in that reads $find by $put; line breaks do not count.
mutate() {
    awk '
        function squeeze(text) { gsub(/[ \n]+/, " ", text); return text }
        index($0, ENVIRON["in"] "(") && /^static/ { inside = 1; body = ""; from = 0 }
        !inside { print; next }
        { body = body $0 "\n" }
        /^}/ {
            inside = 0
            body = squeeze(body)
            sub(/ } $/, "\n}", body)
            find = squeeze(ENVIRON["find"])
            while (at = index(substr(body, from + 1), find)) { from += at; found++ }
            if (found == 1)
                body = substr(body, 1, from - 1) ENVIRON["put"] substr(body, from + length(find))
            print body
        }
        END { if (found != 1) { print found + 0 " matches" >"/dev/stderr"; exit 1 } }' "$1"
}

fresh_copy() {
    rm -rf "$work/src" "$work/model"
    mkdir -p "$work/src" "$work/model"
    cp -r "$here"/*.[ch] "$here"/run.sh "$here"/dist "$work/model"
    (cd "$source" && find . -name '*.h') | while read -r one; do
        mkdir -p "$work/src/$(dirname "$one")"
        cp "$source/$one" "$work/src/$one"
    done
}

edit() {
    case $header in */*) file=$work/src/$header ;; *) file=$work/model/$header ;; esac
    mutate "$file" >"$work/mutated" && cp "$work/mutated" "$file" && return
    echo "WRONG     $header, $in: \"$find\" must stand there once"
    return 1
}

judge() { # EXPECTED HARNESS
    sh "$work/model/run.sh" "$2" "$work/src" >"$work/output" 2>&1
    result=$?
    name="$header, $in: $put"
    case $1:$result in
    dies:42 | lives:0) echo "$1  $2: $name"; return 0 ;;
    dies:0) echo "SURVIVES  $2: $name" ;;
    lives:42) echo "DIES      $2: $name" ;;
    *) echo "FAILS     $2: $name"; cat "$work/output" ;;
    esac
    return 1
}

mkdir -p "$work"
count=0 wrong=0 edited=0 header='' in='' find='' put=''
export in find put
while IFS= read -r line; do
    value=${line#* }
    case $line in
    'header '*) header=$value ;;
    'in '*) in=$value ;;
    'find '*) find=$value ;;
    'put '* | 'put')
        put=${line#put} put=${put# }
        case $header in *"$wanted"*) ;; *) continue ;; esac
        [ $edited -ne 0 ] || fresh_copy
        edited=1
        edit || { wrong=$((wrong + 1)); continue; } ;;
    'dies '* | 'lives '*)
        case $header in *"$wanted"*) ;; *) continue ;; esac
        count=$((count + 1)) edited=0
        judge "${line%% *}" "$value" </dev/null || wrong=$((wrong + 1)) ;;
    '' | '#'*) ;;
    *) echo "$list: cannot read: $line"; exit 2 ;;
    esac
done <"$list"
echo "$count mutants, $wrong not as the list says"
[ "$count" -gt 0 ] && [ "$wrong" -eq 0 ]
