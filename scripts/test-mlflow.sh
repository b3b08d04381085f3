#!/usr/bin/env bash
# `make test-mlflow`: tracking against a real MLflow server of its own on loopback.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

VENV=$TARGET/mlflow/venv

# Starts the server on a port of the system's choice and waits until it answers.
serve() {
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    store=$(mktemp -d "$TARGET/mlflow/store.XXXXXX")
    "$VENV/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 \
        --backend-store-uri "sqlite:///$store/mlflow.db" --artifacts-destination "$store/artifacts" \
        >"$store/server.log" 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf "$store"' EXIT
    for _ in $(seq 120); do
        if curl --silent --fail --noproxy '*' "http://127.0.0.1:$port/health" >/dev/null; then
            return
        fi
        kill -0 "$server" 2>/dev/null || { cat "$store/server.log" >&2; return 1; }
        sleep 1
    done
    echo "the MLflow server does not answer; its log is:" >&2
    cat "$store/server.log" >&2
    return 1
}

mkdir -p "$TARGET/mlflow"
step "MLflow" install_python "$VENV" scripts/mlflow.txt
serve
export R2R_MLFLOW_URL="http://127.0.0.1:$port" NO_PROXY=127.0.0.1
step "tests at the server" cargo test --release --locked --bins \
    tracking::tests::a_real_server_gets_the_whole_run -- --ignored
