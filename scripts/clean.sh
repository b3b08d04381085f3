#!/usr/bin/env bash
# `make clean`: removes what was built and what was fetched.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

for dir in target data; do
    if [ -e "$dir" ]; then
        say "removes $dir/ ($(du -sh "$dir" | cut -f1))"
        rm -rf "./$dir"
    fi
done
# What lies elsewhere may serve other checkouts too.
[ "$TARGET" = "$ROOT/target" ] || say "leaves $TARGET alone"
[ "$R2R_DATA_DIR" = "$ROOT/data" ] || say "leaves $R2R_DATA_DIR alone"
