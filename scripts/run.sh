#!/usr/bin/env bash
# `make run`: prepares everything and serves in the foreground.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${PORT:-8080} in
    *[!0-9]* | '' | ??????*) die "PORT is ${PORT:-empty}, expected a number such as 8080" ;;
esac
scripts/prepare.sh
R2R_SERVER__HTTP__LISTEN=${R2R_SERVER__HTTP__LISTEN:-127.0.0.1:${PORT:-8080}}
export R2R_SERVER__HTTP__LISTEN
exec "$BIN/r2r-server"
