#!/usr/bin/env bash
# `make run`: prepares everything and serves in the foreground.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

case ${PORT:-8080} in
    *[!0-9]* | '' | ??????*) die "PORT is ${PORT:-empty}, expected a number such as 8080" ;;
esac
# Said before the build, not after it; a server that is configured otherwise says so itself.
if [ -z "${R2R_SERVER__HTTP__LISTEN:-}" ] &&
    (exec 3<>"/dev/tcp/127.0.0.1/${PORT:-8080}") 2>/dev/null; then
    die "something listens on port ${PORT:-8080} already: stop it, or run: make run PORT=8081"
fi
scripts/prepare.sh
R2R_SERVER__HTTP__LISTEN=${R2R_SERVER__HTTP__LISTEN:-127.0.0.1:${PORT:-8080}}
export R2R_SERVER__HTTP__LISTEN
exec "$BIN/r2r-server"
