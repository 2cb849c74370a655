#!/bin/sh
# contract_test.sh PAGE WORK PROGRAM...: the page is what contract.sh writes now.
set -eu
page=$1 work=$2
shift 2
sh "${page%.md}.sh" "$work" "$@"
if ! diff -u "$page" "$work"; then
    echo "docs/contract.md is out of date: ./dev docs writes it anew"
    exit 1
fi
