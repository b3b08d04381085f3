#!/usr/bin/env bash
# `make loadtest`: prepares everything, then runs the parts named (default: k6)
# against servers it starts on free ports and stops again.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

VENV=$TARGET/loadtest/venv

scripts/prepare.sh
install_python "$VENV" loadtest/requirements.txt
exec "$VENV/bin/python" loadtest/run.py --server "$BIN/r2r-server" \
    --data-dir "$R2R_DATA_DIR" --out "$TARGET/loadtest" "$@"
