#!/bin/sh
# run.sh HARNESS SOURCE-DIRECTORY: model-checks one harness against the headers in the directory (src,
# or a copy of it). The harness says on its first line which options it needs.
set -u
harness=$1 source=$2
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v genmc >/dev/null 2>&1; then
    echo "SKIPPED: genmc, the model checker, is not installed (https://github.com/MPI-SWS/genmc)"
    exit 77
fi
options=$(sed -n '1s|^/\* genmc: *||p' "$here/$harness.c")
defines=
for one in $options; do
    case $one in -[DO]*) defines="$defines $one" ;; esac
done
options=$(echo "$options" | tr ' ' '\n' | grep -v "^-[DO]" | xargs)
# shellcheck disable=SC2086 # one word for each option
output=$(timeout "${DIST_MODEL_SECONDS:-300}" genmc --rc11 --disable-estimation --disable-spin-assume $options -- \
    -std=c17 -I"$here" -I"$source" $defines "$here/$harness.c" 2>&1)
result=$?
explored=$(echo "$output" | sed -n 's/^Number of complete executions explored: //p')
case $result in
0)
    blocked=$(echo "$output" | sed -n 's/^Number of blocked executions seen: //p')
    if [ "${explored:-0}" -ge 1 ] && [ "${blocked:-0}" -eq 0 ]; then
        echo "$harness: $explored executions, no error"
        exit 0
    fi
    echo "$harness: $explored executions are complete, ${blocked:-0} were cut off: --unroll is too small"
    result=1 ;;
42) echo "$harness: an execution breaks it" ;;
124) echo "$harness: not finished within ${DIST_MODEL_SECONDS:-300} s" ;;
esac
echo "$output"
exit $result
