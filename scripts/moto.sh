#!/usr/bin/env bash
# Serves an S3 of its own on loopback: moto.sh PORT. The tests of the
# crate lake start it; it ends with its process.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

PORT=${1:?usage: moto.sh PORT}
REQUIREMENTS=scripts/moto.txt
VENV=$TARGET/moto/venv

# A venv next to the requirements it was made from. Several tests may start at
# once: the first makes it, the others wait.
install_python() {
    mkdir -p "$TARGET/moto"
    exec 9>"$TARGET/moto/.lock"
    flock 9
    if cmp -s "$REQUIREMENTS" "$VENV/requirements.txt"; then return 0; fi
    say "installs into ${VENV#"$ROOT"/}: the Python packages of $REQUIREMENTS"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        -r "$REQUIREMENTS"
    cp "$REQUIREMENTS" "$VENV/requirements.txt"
}

install_python
exec 9>&-
exec "$VENV/bin/moto_server" --host 127.0.0.1 --port "$PORT"
