#!/usr/bin/env bash
# `make bench`: criterion benches on the real snapshot, then theses a minute.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

scripts/prepare.sh
# The product's crates are named so that their dependencies keep the features
# they are built with: alone, benches would compile DataFusion once more.
cargo bench --locked -p domain -p contract -p lake -p inference -p server -p cli -p benches \
    --bench contract --bench grammar --bench lake --bench decode --bench soak -- "$@"
