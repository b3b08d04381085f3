#!/usr/bin/env bash
# `make bench-data`: features, labels and the as-of join against pandas, polars and
# DuckDB in the same run, then how well and how fast texts are found.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

VENV=$TARGET/peers/venv

scripts/prepare.sh
install_python "$VENV" crates/lake/benches/requirements.txt
export R2R_PEERS_PYTHON=$VENV/bin/python
# All crates are named for the reason scripts/bench.sh gives.
bench() { cargo bench --locked -p domain -p contract -p lake -p inference -p server -p cli -p benches --bench "$@"; }
bench data
bench retrieval
