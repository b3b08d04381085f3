#!/usr/bin/env python3
"""Asks the same theses in many ways - alone, several at a time, shuffled, in
batches, after the worker was killed, with other lanes and threads, from kept
prompts - and compares the bytes. Exits 1 on any difference."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from r2r_server import NO_ANSWER_CACHE, NOTHING_KEPT, Server, request, thesis

DATES = ["2006-03-31", "2010-06-30", "2015-01-02", "2018-12-31", "2022-09-30"]
PATIENT = {"R2R_SERVER__ENGINE__LATENCY_MAX_MS": "600000"}
ONE_LANE = {"R2R_SERVER__ENGINE__LANES": "1"}
TWO_THREADS = {"R2R_SERVER__ENGINE__THREADS": "2"}

# Ticker, date, seed.
Probe = tuple[str, str, int]


def at_a_time(server: Server, probes: list[Probe], n: int) -> dict[Probe, bytes]:
    """Asks each as a request of its own, `n` of them at the same time."""

    def ask(probe: Probe) -> bytes:
        reply = thesis(server.url, *probe)
        if reply.status != 200:
            raise SystemExit(f"{probe}: {reply.status} {reply.body[:300]!r}")
        return reply.body

    with ThreadPoolExecutor(n) as pool:
        return dict(zip(probes, pool.map(ask, probes), strict=True))


def in_batches(server: Server, probes: list[Probe]) -> dict[Probe, bytes]:
    """Asks for them in batches, one a date, with every ticker there is."""
    tickers = [span["ticker"] for span in request(server.url, "/v1/tickers").json()]
    found = {}
    for as_of, seed in dict.fromkeys((as_of, seed) for _, as_of, seed in probes):
        body = {"tickers": tickers, "as_of": as_of, "seed": seed}
        reply = request(server.url, "/v1/batch/thesis", body, accept="application/x-ndjson")
        for line in reply.body.splitlines():
            found[json.loads(line)["ticker"], as_of, seed] = line
    return {probe: found[probe] for probe in probes}


def differences(a, b, path: str = "") -> list[str]:
    """Returns the paths at which two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = list(dict.fromkeys([*a, *b]))
        return [d for key in keys for d in differences(a.get(key), b.get(key), f"{path}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, pair in enumerate(zip(a, b)) for d in differences(*pair, f"{path}[{i}]")]
    return [] if a == b else [path or "."]


class Comparison:
    """Compares each run with the first one."""

    def __init__(self) -> None:
        self.first: dict[Probe, bytes] = {}
        self.runs: list[dict] = []

    def add(self, name: str, answers: dict[Probe, bytes]) -> None:
        if not self.first:
            self.first = answers
        other = [probe for probe, answer in answers.items() if answer != self.first[probe]]
        for probe in other[:3]:
            paths = differences(json.loads(self.first[probe]), json.loads(answers[probe]))
            print(f"  {' '.join(map(str, probe))} differs at {', '.join(paths[:8])}")
        print(f"{name:<52}{len(answers) - len(other):>4} of {len(answers)} identical", flush=True)
        self.runs.append({"run": name, "asked": len(answers), "differing": other})

    @property
    def is_same(self) -> bool:
        return not any(run["differing"] for run in self.runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=15)
    args = parser.parse_args()
    compared = Comparison()
    start = lambda name, env: Server(args.server, args.data_dir, args.out, name, PATIENT | env)  # noqa: E731
    with start("determinism-1", NOTHING_KEPT) as server:
        tickers = [span["ticker"] for span in request(server.url, "/v1/tickers").json()]
        pairs = [(ticker, seed) for ticker in tickers for seed in range(len(DATES))]
        probes = [(ticker, DATES[seed], seed) for ticker, seed in pairs[: args.requests]]
        shuffled = random.Random(0).sample(probes, len(probes))
        compared.add("alone", at_a_time(server, probes, 1))
        for n in (2, 7, 20):
            compared.add(f"{n} at a time, shuffled", at_a_time(server, shuffled, n))
        compared.add("in batches of all tickers", in_batches(server, probes))
        server.signal_worker(signal.SIGKILL)
        time.sleep(0.1)
        server.wait_ready(60)
        compared.add("after the worker was killed", at_a_time(server, probes, 1))
    with start("determinism-2", NO_ANSWER_CACHE | ONE_LANE) as server:
        compared.add("another server, one lane with one thread", at_a_time(server, shuffled, 7))
    with start("determinism-3", NO_ANSWER_CACHE | ONE_LANE | TWO_THREADS) as server:
        compared.add("another server, one lane with two threads", at_a_time(server, shuffled, 7))
        compared.add("the same again, where it can from kept prompts", at_a_time(server, probes, 1))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "determinism.json").write_text(json.dumps(compared.runs, indent=1) + "\n")
    print("passed" if compared.is_same else "FAILED")
    return 0 if compared.is_same else 1


if __name__ == "__main__":
    sys.exit(main())
