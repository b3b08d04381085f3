#!/usr/bin/env bash
# `make bench-backtest`: a walk-forward sweep against NumPy and vectorbt, bootstraps against
# arch in the same run, and how cost and memory grow. It needs neither model nor data.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

VENV=$TARGET/peers/backtest

scripts/setup.sh
mkdir -p "$TARGET/peers"
install_python "$VENV" crates/backtest/benches/requirements.txt
export R2R_PEERS_PYTHON=$VENV/bin/python
# Built with the default members, for the reason scripts/bench.sh gives.
cargo bench --locked --bench peers
