#!/bin/sh
# references.sh WORK OBJECT...: the floors once more, read off the compiled objects: what a backend uses
# is defined in common or in its own folder; what common uses, in common or in the registry.
set -eu
work=$1
shift
nm -A "$@" | awk '
    {
        folder = $1; sub(/:[^:]*$/, "", folder)
        if (match(folder, /\/src\/[a-z]+\//)) folder = substr(folder, RSTART + 5, RLENGTH - 6)
        else folder = "registry"
        name = $NF; kind = $(NF - 1)
        if (name !~ /^dist_/) next
        if (kind == "U") uses[folder " " name] = 1; else if (kind ~ /[A-Z]/) home[name] = folder
    }
    END {
        for (one in uses) {
            split(one, part, " "); from = part[1]; to = home[part[2]]
            if (from == "registry" || to == from || to == "common") continue
            if (from == "common" && to == "registry") continue
            print "src/" from " uses " part[2] " of " (to ? "src/" to : "nowhere")
        }
    }' >"$work"
if [ -s "$work" ]; then cat "$work"; exit 1; fi
echo "$# objects use only what is on their floor"
