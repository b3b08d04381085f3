#!/usr/bin/env python3
"""Asks the same thesis alone twice, after a restart and inside a batch of 20,
without the answer cache, and reports which fields differ. A report, not a test:
exits 0 unless an answer is missing; --strict exits 1 on any difference."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from r2r_server import NO_ANSWER_CACHE, Server, request, thesis

PROBES = [("AAPL", "2022-09-30", 7), ("JPM", "2006-03-31", 11), ("XOM", "2015-01-02", 0)]


def alone(server: Server, probe: tuple[str, str, int]) -> bytes:
    reply = thesis(server.url, *probe)
    if reply.status != 200:
        raise SystemExit(f"{probe}: {reply.status} {reply.body[:300]!r}")
    return reply.body


def in_batch(server: Server, probe: tuple[str, str, int]) -> bytes:
    """Returns the bytes of one element of a batch of every ticker."""
    ticker, as_of, seed = probe
    tickers = [span["ticker"] for span in request(server.url, "/v1/tickers").json()][:20]
    tickers += [ticker] if ticker not in tickers else []
    body = {"tickers": tickers, "as_of": as_of, "seed": seed}
    reply = request(server.url, "/v1/batch/thesis", body, accept="application/x-ndjson")
    for line in reply.body.splitlines():
        if json.loads(line)["ticker"] == ticker:
            return line
    raise SystemExit(f"{probe}: not in the answer of the batch")


def differences(a, b, path: str = "") -> list[str]:
    """Returns the paths at which two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys([*a, *b]))
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{path}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, pair in enumerate(zip(a, b)) for d in differences(*pair, f"{path}[{i}]")]
    return [] if a == b else [path or "."]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    runs: dict[str, list[bytes]] = {}
    start = lambda name: Server(args.server, args.data_dir, args.out, name, NO_ANSWER_CACHE)  # noqa: E731
    with start("determinism-1") as server:
        runs["alone"] = [alone(server, probe) for probe in PROBES]
        runs["alone again"] = [alone(server, probe) for probe in PROBES]
        runs["in a batch of 20"] = [in_batch(server, probe) for probe in PROBES]
    with start("determinism-2") as server:
        runs["in a batch, after a restart"] = [in_batch(server, probe) for probe in PROBES]
        runs["alone, after a restart"] = [alone(server, probe) for probe in PROBES]
    result, same = [], True
    first = runs.pop("alone")
    for name, answers in runs.items():
        for probe, expected, found in zip(PROBES, first, answers, strict=True):
            identical = expected == found
            same &= identical
            paths = [] if identical else differences(json.loads(expected), json.loads(found))
            result.append({"run": name, "probe": probe, "identical": identical, "differing": paths})
            verdict = "identical bytes" if identical else f"differs at {', '.join(paths[:8])}"
            print(f"{' '.join(map(str, probe)):<22}{name:<30}{verdict}")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "determinism.json").write_text(json.dumps(result, indent=1) + "\n")
    return 1 if args.strict and not same else 0


if __name__ == "__main__":
    sys.exit(main())
