# shellcheck shell=bash
# What every script of this folder shares; source it, do not run it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit

# A rustup installation of this user counts, also where its profile was not read.
if [ -d "${HOME:-}/.cargo/bin" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
fi

# The data directory, absolute: tests run in the directories of their crates.
R2R_DATA_DIR=${R2R_DATA_DIR:-data}
case $R2R_DATA_DIR in
    /*) ;;
    *) R2R_DATA_DIR=$ROOT/$R2R_DATA_DIR ;;
esac
export PATH R2R_DATA_DIR

TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# shellcheck disable=SC2034 # for the scripts that source this file
BIN=$TARGET/release

say() { printf 'r2r: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# install_python VENV REQUIREMENTS: a venv beside the requirements it was made from.
install_python() {
    if cmp -s "$2" "$1/requirements.txt"; then return 0; fi
    say "installs into ${1#"$ROOT"/}: the Python packages of $2"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r "$2"
    cp "$2" "$1/requirements.txt"
}

# step NAME COMMAND...: runs a command and says how long it took.
step() {
    local name=$1 begin=$SECONDS
    shift
    say "$name ..."
    "$@" || die "$name failed after $((SECONDS - begin)) s"
    say "$name took $((SECONDS - begin)) s"
}
