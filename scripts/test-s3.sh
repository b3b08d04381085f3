#!/usr/bin/env bash
# `make test-s3`: the feature `s3` of the crate lake, on the S3 that scripts/moto.sh
# serves. Apart from `make test`, because the feature compiles DataFusion once more.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

step "tests of stores in S3" \
    cargo test --release --locked -p lake --features s3 --lib -- store::tests --nocapture
