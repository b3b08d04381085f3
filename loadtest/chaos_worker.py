#!/usr/bin/env python3
"""Kills the worker in the middle of batches of 100 (SIGKILL, SIGABRT and SIGSTOP
in turn, by its pid) and prints the timeline. Exits 1 when the server falls, a
ticker is neither answered nor reported, an answer differs from that of an
undisturbed run, or it takes longer than a second to be ready again."""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

from r2r_server import NO_ANSWER_CACHE, Server, connect, request

READY_WITHIN_S = 1.0
SIGNALS = [signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP]
# Kills whose timeline is printed in full.
SHOWN = 6


def read_batch(url: str, tickers: list[str], as_of: str):
    """Yields the elements of a batch as they come: ticker, status, digest."""
    body = {"tickers": tickers, "as_of": as_of, "seed": 1}
    connection = connect(url, "/v1/batch/thesis", body, "application/x-ndjson", 900)
    for line in connection.getresponse():
        element = json.loads(line)
        status = element.get("problem", {}).get("status", 200)
        yield element["ticker"], status, hashlib.sha256(line.strip()).hexdigest()
    connection.close()


class Load(threading.Thread):
    """Sends one batch of 100 after another and compares the answers."""

    def __init__(self, url: str, tickers: list[str], as_of: str, expected: dict[str, str]):
        super().__init__(daemon=True)
        self.url, self.tickers, self.as_of, self.expected = url, tickers, as_of, expected
        self.going = True
        self.batches, self.answered, self.reported = 0, 0, 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while self.going:
            found = []
            try:
                for ticker, status, digest in read_batch(self.url, self.tickers, self.as_of):
                    found.append(ticker)
                    self.answered += status == 200
                    self.reported += status == 503
                    if status != 503 and digest != self.expected[ticker]:
                        self.wrong.append(f"{ticker}: status {status}, another answer")
            except (OSError, ValueError) as error:
                self.wrong.append(f"batch {self.batches}: {error}")
            if sorted(found) != sorted(self.tickers):
                self.wrong.append(f"batch {self.batches}: {len(found)} of {len(self.tickers)} elements")
            self.batches += 1

    @property
    def lines(self) -> int:
        return self.answered + self.reported


class Timeline:
    """Prints what happened when."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.events: list[dict] = []

    def note(self, text: str, is_shown: bool = True) -> None:
        at = round(time.monotonic() - self.begin, 3)
        self.events.append({"at_s": at, "event": text})
        if is_shown:
            print(f"{at:>9.3f} s  {text}", flush=True)


def kill_worker(server: Server, timeline: Timeline, how: signal.Signals, lines: int, is_shown: bool) -> float:
    """Kills the worker and returns how long the server took to be ready again."""
    restarts = server.health()["worker"]["restarts"]
    pid = server.signal_worker(how)
    killed = time.monotonic()
    timeline.note(f"{how.name} to {pid} (worker) after {lines} elements", is_shown)
    seen_down = False
    while time.monotonic() - killed < 60:
        health = server.health()
        if health is None:
            raise SystemExit("the server does not answer")
        if not health["ready"] and not seen_down:
            seen_down = True
            timeline.note(f"healthz: not ready, state {health['state']}", is_shown)
        worker = health["worker"]
        if health["ready"] and worker["pid"] != pid and worker["restarts"] > restarts:
            took = time.monotonic() - killed
            timeline.note(f"healthz: ready, worker {worker['pid']}, {took * 1e3:.0f} ms after the signal", is_shown)
            return took
        time.sleep(0.005)
    raise SystemExit("not ready again within 60 s")


def summary(took: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median and worst time to ready in seconds, by signal."""
    return {
        name: {"median": round(statistics.median(times), 3), "max": round(max(times), 3), "n": len(times)}
        for name, times in took.items() if times
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--as-of", default="2022-09-30")
    args = parser.parse_args()
    # Without the answer cache each of the 100 elements is a decode of its own.
    with Server(args.server, args.data_dir, args.out, "chaos", NO_ANSWER_CACHE) as server:
        known = [span["ticker"] for span in request(server.url, "/v1/tickers").json()]
        expected = {ticker: digest for ticker, _, digest in read_batch(server.url, known, args.as_of)}
        load, timeline = Load(server.url, (known * 100)[:100], args.as_of, expected), Timeline()
        took: dict[str, list[float]] = {how.name: [] for how in SIGNALS}
        load.start()
        timeline.note("batches of 100, one after another")
        for kill in range(args.kills):
            how, lines = SIGNALS[kill % len(SIGNALS)], load.lines
            # In the middle of work, not of a restart.
            while load.lines < lines + 1:
                time.sleep(0.01)
            took[how.name].append(kill_worker(server, timeline, how, load.lines, kill < SHOWN))
            if (kill + 1) % 50 == 0:
                timeline.note(f"{kill + 1} kills: {load.answered} answered, {load.reported} reported, {len(load.wrong)} wrong")
        load.going = False
        load.join()
        timeline.note(f"{load.batches} batches: {load.answered} answered, {load.reported} reported, {len(load.wrong)} wrong")
        for line in load.wrong[:5]:
            print(f"{'':>13}{line[:160]}")
        up = server.process.poll() is None
        health = server.health()
        timeline.note(f"server {'up' if up else 'DOWN'}, {health['worker']['restarts']} restarts, ready {health['ready']}")
    ready = summary(took)
    fine = up and not load.wrong and max(times["max"] for times in ready.values()) <= READY_WITHIN_S
    result = {
        "kills": args.kills, "answered": load.answered, "reported": load.reported, "wrong": load.wrong[:50],
        "ready_again_s": ready, "server_up": up, "passed": fine, "timeline": timeline.events,
    }
    (args.out / "chaos.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(ready))
    print("passed" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
