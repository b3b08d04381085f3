#!/usr/bin/env bash
# `make loadtest`: prepares everything, then runs the parts named (default: k6)
# against servers it starts on free ports and stops again.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

VENV=$TARGET/loadtest/venv

# A venv next to the requirements it was made from.
install_python() {
    if cmp -s loadtest/requirements.txt "$VENV/requirements.txt"; then return 0; fi
    say "installs into ${VENV#"$ROOT"/}: the Python packages of loadtest/requirements.txt"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        -r loadtest/requirements.txt
    cp loadtest/requirements.txt "$VENV/requirements.txt"
}

scripts/prepare.sh
install_python
exec "$VENV/bin/python" loadtest/run.py --server "$BIN/r2r-server" \
    --data-dir "$R2R_DATA_DIR" --out "$TARGET/loadtest" "$@"
