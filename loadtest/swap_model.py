#!/usr/bin/env python3
"""Swaps the model of a server under load (SIGHUP), to and fro, and prints how
long each swap took. Exits 1 when a request fails, an answer is not the one its
receipt names (the same question to the same model has one answer), or a swap
does not happen."""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import statistics
import sys
import threading
import time
import tomllib
from pathlib import Path

from gguf import rescaled
from r2r_server import NO_ANSWER_CACHE, REPOSITORY, Server, request

MANIFEST = REPOSITORY / "models/smollm2-135m-instruct.toml"
AS_OF = "2022-09-30"
OVERLOADED = "urn:r2r:problem:overloaded"
QUESTIONS = [(ticker, seed) for ticker in ("AAPL", "JPM", "KO") for seed in (0, 1)]


class Load:
    """Clients that ask one question after another, and what they were answered."""

    def __init__(self, url: str, clients: int):
        self.url, self.going = url, True
        self.lock = threading.Lock()
        # (model digest, ticker, seed) -> digests of the answers
        self.answers: dict[tuple[str, str, int], set[str]] = {}
        self.answered, self.refused, self.failures = 0, 0, []
        self.threads = [threading.Thread(target=self.ask, args=(i,)) for i in range(clients)]
        self.threads.append(threading.Thread(target=self.ask_batches))
        for thread in self.threads:
            thread.start()

    def ask(self, client: int) -> None:
        i = client
        while self.going:
            ticker, seed = QUESTIONS[i % len(QUESTIONS)]
            reply = request(self.url, "/v1/thesis", {"ticker": ticker, "as_of": AS_OF, "seed": seed})
            self.note(ticker, seed, reply.status, reply.body)
            time.sleep(float(reply.headers.get("retry-after", 0)))
            i += 1

    def ask_batches(self) -> None:
        tickers = sorted({ticker for ticker, _ in QUESTIONS})
        while self.going:
            body = {"tickers": tickers, "as_of": AS_OF, "seed": 1}
            reply = request(self.url, "/v1/batch/thesis", body, accept="application/x-ndjson")
            for line in reply.body.splitlines():
                element = json.loads(line)
                status = element.get("problem", {}).get("status", reply.status)
                self.note(element["ticker"], 1, status, line)

    def note(self, ticker: str, seed: int, status: int, body: bytes) -> None:
        with self.lock:
            answer = json.loads(body)
            # A full engine is no failure of a swap; a server that is not ready is one.
            if status == 503 and answer.get("type") == OVERLOADED:
                self.refused += 1
                return
            if status != 200:
                self.failures.append(f"{ticker} {seed}: {status} {body[:200]!r}")
                return
            self.answered += 1
            model = answer["receipt"]["model_digest"]
            digest = hashlib.sha256(body).hexdigest()
            self.answers.setdefault((model, ticker, seed), set()).add(digest)

    def mixed(self) -> int:
        """How many questions one model has answered in more than one way."""
        with self.lock:
            return sum(len(found) > 1 for found in self.answers.values())

    def stop(self) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()


def swap(server: Server, config: Path, model: str) -> float:
    """Serves another model and returns the seconds until it does."""
    before = server.health()["model"]["digest"]
    config.write_text(f"[engine]\nmodel = {json.dumps(model)}\n")
    begin = time.monotonic()
    server.process.send_signal(signal.SIGHUP)
    while time.monotonic() - begin < 60:
        if server.health()["model"]["digest"] != before:
            return time.monotonic() - begin
        time.sleep(0.01)
    raise SystemExit(f"no swap within 60 s; see {server.log_path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--clients", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    # The default, and one as fast that answers differently.
    manifest = tomllib.loads(MANIFEST.read_text())
    default = next((args.data_dir / "models").glob(f"{manifest['name']}.*.gguf"))
    other = rescaled(default, (args.out / "rescaled.gguf").resolve(), 1.5)
    models = [str(other), manifest["name"]]
    config = args.out / "swap.toml"
    config.write_text(f"[engine]\nmodel = {json.dumps(manifest['name'])}\n")
    with Server(args.server, args.data_dir, args.out, "swap-server", NO_ANSWER_CACHE, ["--config", str(config.resolve())]) as server:
        load, took = Load(server.url, args.clients), []
        try:
            for i in range(args.swaps):
                took.append(swap(server, config, models[i % 2]))
                if (i + 1) % 10 == 0:
                    print(f"{i + 1} swaps, {load.answered} answered, {load.refused} refused, {len(load.failures)} failed, {load.mixed()} mixed", flush=True)
        finally:
            load.stop()
        health = server.health()
    models_seen = {model for model, _, _ in load.answers}
    result = {
        "swaps": len(took), "answered": load.answered, "refused": load.refused, "failed": len(load.failures),
        "models": len(models_seen), "questions": len(load.answers), "mixed": load.mixed(),
        "swap_s": {"median": round(statistics.median(took), 2), "max": round(max(took), 2)},
        "restarts": health["worker"]["restarts"],
    }
    print(json.dumps(result, indent=1))
    for failure in load.failures[:5]:
        print(failure)
    (args.out / "swap.json").write_text(json.dumps(result, indent=1) + "\n")
    fine = not load.failures and not load.mixed() and len(models_seen) == 2
    print("passed" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
