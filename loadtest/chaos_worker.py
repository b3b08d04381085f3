#!/usr/bin/env python3
"""Kills the worker (kill -9, by its pid) in the middle of a batch of 100 and
prints the timeline. Exits 1 when the server falls, a ticker is neither answered
nor reported, or it takes longer than a second to be ready again."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from r2r_server import NO_ANSWER_CACHE, Server, connect, parent, request

READY_WITHIN_S = 1.0


class Batch(threading.Thread):
    """Reads the lines of a batch as they come."""

    def __init__(self, url: str, tickers: list[str], as_of: str):
        super().__init__(daemon=True)
        self.url, self.tickers, self.as_of = url, tickers, as_of
        self.lines: list[dict] = []
        self.error = ""

    def run(self) -> None:
        body = {"tickers": self.tickers, "as_of": self.as_of, "seed": 1}
        try:
            connection = connect(self.url, "/v1/batch/thesis", body, "application/x-ndjson", 900)
            for line in connection.getresponse():
                self.lines.append(json.loads(line))
        except (OSError, ValueError) as error:
            self.error = str(error)


class Timeline:
    """Prints what happened when."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.events: list[dict] = []

    def note(self, text: str) -> None:
        at = round(time.monotonic() - self.begin, 3)
        self.events.append({"at_s": at, "event": text})
        print(f"{at:>9.3f} s  {text}", flush=True)


def kill_worker(server: Server, timeline: Timeline, batch: Batch) -> float:
    """Kills the worker and returns how long the server took to be ready again."""
    before = server.health()["worker"]
    pid = before["pid"]
    # Only ever a child of the server this script has started.
    if parent(pid) != server.process.pid:
        raise SystemExit(f"process {pid} is not a child of the server {server.process.pid}")
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    timeline.note(f"kill -9 {pid} (worker) after {len(batch.lines)} of {len(batch.tickers)} lines")
    seen_down = False
    while time.monotonic() - killed < 60:
        health = server.health()
        if health is None:
            raise SystemExit("the server does not answer")
        if not health["ready"] and not seen_down:
            seen_down = True
            timeline.note(f"healthz: not ready, state {health['state']}")
        worker = health["worker"]
        if health["ready"] and worker["pid"] != pid and worker["restarts"] > before["restarts"]:
            took = time.monotonic() - killed
            timeline.note(f"healthz: ready, worker {worker['pid']}, {took * 1e3:.0f} ms after the kill")
            return took
        time.sleep(0.005)
    raise SystemExit("not ready again within 60 s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--as-of", default="2022-09-30")
    args = parser.parse_args()
    # Without the answer cache each of the 100 elements is a decode of its own.
    with Server(args.server, args.data_dir, args.out, "chaos", NO_ANSWER_CACHE) as server:
        known = [span["ticker"] for span in request(server.url, "/v1/tickers").json()]
        tickers = (known * 100)[:100]
        timeline, batch, took = Timeline(), Batch(server.url, tickers, args.as_of), []
        batch.start()
        timeline.note("batch of 100 sent")
        for kill in range(args.kills):
            while len(batch.lines) < 10 + 30 * kill and batch.is_alive():
                time.sleep(0.01)
            if batch.is_alive():
                took.append(kill_worker(server, timeline, batch))
        batch.join()
        reported = [line for line in batch.lines if "problem" in line]
        answered = len(batch.lines) - len(reported)
        timeline.note(f"batch ended: {answered} answered, {len(reported)} reported {batch.error}")
        for line in reported[:5]:
            print(f"{'':>13}{json.dumps(line)[:160]}")
        complete = sorted(line["ticker"] for line in batch.lines) == sorted(tickers)
        up = server.process.poll() is None
        health = server.health()
        timeline.note(f"server {'up' if up else 'DOWN'}, {health['worker']['restarts']} restarts, ready {health['ready']}")
    fine = up and complete and len(took) == args.kills and max(took) <= READY_WITHIN_S
    result = {
        "answered": answered, "reported": len(reported), "ready_again_s": [round(s, 3) for s in took],
        "server_up": up, "complete": complete, "passed": fine, "timeline": timeline.events,
    }
    (args.out / "chaos.json").write_text(json.dumps(result, indent=1) + "\n")
    print("passed" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
