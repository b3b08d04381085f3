#!/usr/bin/env bash
# `make test-extras`: the optional features `ballista`, on a cluster of three processes on
# loopback, and `minilm`, whose retrieval must find what docs/decisions/0008-retrieval.md says.
# Apart from `make test`, because they compile DataFusion once more and 120 crates beside; in
# one build for both, and in a target directory of its own, so that neither build undoes the other.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scripts/prepare.sh
# The other snapshots that the tests read; nothing is written where they are there.
for universe in PIT391 SYN10; do
    step "snapshot of $universe" sh -c \
        "'$BIN/r2r' data fetch --universe $universe && '$BIN/r2r' data build --universe $universe"
done

export CARGO_TARGET_DIR=$TARGET/extras
# The server for its features alone: without it DataFusion would have others, and compile again.
packages=(-p lake -p cli -p server --features cli/ballista,lake/minilm)
step "tests on a cluster" cargo test --release --locked "${packages[@]}" \
    --lib --test cli -- ballista:: cluster:: travel:: --test-threads 1
step "tests of retrieval" cargo test --release --locked "${packages[@]}" --lib -- retrieval::
step "retrieval with MiniLM" cargo bench --locked "${packages[@]}" --bench retrieval
step "clippy with the features" cargo clippy --release --locked "${packages[@]}" \
    --all-targets -- -D warnings
