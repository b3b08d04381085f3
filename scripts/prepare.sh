#!/usr/bin/env bash
# From a bare machine to built programs, the model and the data snapshot.
# Everything is cached: a second time it only checks.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scripts/setup.sh
[ -x "$BIN/r2r-server" ] || say 'builds llama.cpp, DataFusion and r2r; the first time takes 30 to 40 minutes on two cores'
# The default members, as the tests and benches build them: naming other members
# changes features, and DataFusion would be compiled once more.
cargo build --release --locked
say 'checks model and data, and fetches what is missing'
# Once more after a while: a network may fail in the middle of a file.
twice() { "$@" || { say "tries again in 10 s"; sleep 10; "$@"; }; }
twice "$BIN/r2r" model fetch
twice "$BIN/r2r" data fetch
R2R_GIT_COMMIT=$(git rev-parse HEAD 2>/dev/null || echo unknown) "$BIN/r2r" data build
