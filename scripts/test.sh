#!/usr/bin/env bash
# `make test`: the tests run on the real model and the real snapshot.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

# With cargo-nextest where it is installed, else with cargo's own runner.
run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --release --locked "$@"
    else
        cargo test --release --locked --lib --bins --tests "$@"
    fi
}

step "prepare: build, model, data" scripts/prepare.sh
step "tests" run_tests
step "doc tests" cargo test --release --locked --doc
# xtask apart: see default-members in Cargo.toml.
step "tests of xtask" cargo test --release --locked --quiet -p xtask
step "tidy" cargo run --release --locked --quiet -p xtask -- tidy
