#!/usr/bin/env python3
"""Runs the parts of the load test named on the command line and prints a
summary: k6 (default), verify, determinism, chaos, swap, or all."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from r2r_server import NOTHING_KEPT, REPOSITORY, Server, counters, request

# `peer` is not in `all`: it builds llama-server first.
ALL = ["k6", "verify", "determinism", "chaos", "swap"]
PARTS = [*ALL, "peer"]
HERE = Path(__file__).resolve().parent
MIB = 1 << 20


def script(name: str, args: argparse.Namespace, *more: str) -> int:
    """Runs a script of this folder in this interpreter."""
    return subprocess.run([sys.executable, str(HERE / name), *more], check=False).returncode


def k6(server: Server, name: str, out: Path, **env: object) -> dict:
    """Runs a k6 script and returns its metrics."""
    path = out / f"k6-{name}.json"
    path.unlink(missing_ok=True)
    settings = {key.upper(): str(value) for key, value in env.items()}
    settings |= {"BASE_URL": server.url, "OUT": str(path), "K6_NO_USAGE_REPORT": "true"}
    program = Path(sys.executable).with_name("k6")
    kind = name.split("-")[0]
    with (out / f"k6-{name}.log").open("wb") as log:
        subprocess.run(
            [str(program), "run", "--quiet", str(HERE / "k6" / f"{kind}.js")],
            env={**os.environ, **settings}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, check=False,
        )
    if not path.exists():
        raise SystemExit(f"k6 left no summary; see {out / f'k6-{name}.log'}")
    return json.loads(path.read_text())["metrics"]


def value(metrics: dict, name: str, stat: str = "count") -> float:
    return metrics.get(name, {}).get("values", {}).get(stat, 0.0)


def times(metrics: dict, name: str) -> dict[str, float]:
    """Returns the percentiles of a trend in milliseconds."""
    return {stat: round(value(metrics, name, stat), 1) for stat in ("med", "p(95)", "p(99)", "max")}


def token_rates(before: dict[str, float], after: dict[str, float], seconds: float) -> dict[str, float]:
    """Tokens a second by kind between two scrapes."""
    grown = {key: after[key] - before.get(key, 0.0) for key in after if key.startswith("r2r_tokens_total")}
    return {key.split('"')[1]: round(n / seconds, 1) for key, n in grown.items()}


def mebibytes(found: dict[str, int]) -> dict[str, float]:
    return {name: round(n / MIB, 1) for name, n in found.items()}


def measure(args: argparse.Namespace) -> dict:
    """The k6 scripts, but for the first against a server that keeps no prompt."""
    out, asks = args.out, {}
    with Server(args.server, args.data_dir, out, "k6-server-asks") as server:
        found = k6(server, "asks", out, pairs=args.pairs)
        asks = {
            "first ask": times(found, "first_ask_ms"),
            "another seed": times(found, "another_seed_ms"),
        }
    with Server(args.server, args.data_dir, out, "k6-server", NOTHING_KEPT) as server:
        result = {
            "cold_start_s": round(server.cold_start_s, 3),
            "memory_at_start_mib": mebibytes(server.memory()),
            "health": request(server.url, "/v1/healthz").json(),
        }
        result["one_at_a_time_ms"] = asks
        before, begin = counters(server.url), time.monotonic()
        batch = k6(server, "batch", out, rounds=args.rounds)
        seconds = time.monotonic() - begin
        batch_s = value(batch, "hundred_ms", "avg") / 1e3
        per_min = 100 / batch_s * 60 if batch_s else 0.0
        result["hundred_distinct"] = {
            "seconds": round(batch_s, 1), "theses_per_min": round(per_min, 1),
            "answered": value(batch, "theses_answered"), "failed": value(batch, "theses_failed"),
            "tokens_per_s": token_rates(before, counters(server.url), seconds),
        }
        result["arrivals"] = {
            "60 a minute": arrivals(server, args, 60, 1),
            "twice the capacity": arrivals(server, args, 2 * per_min, 2),
        }
        result["memory_at_end_mib"] = mebibytes(server.memory())
        result["memory_peak_mib"] = mebibytes(server.peaks)
        scraped = counters(server.url)
        result["schema_invalid"] = scraped.get("r2r_thesis_schema_invalid_total", 0.0)
    return result


def arrivals(server: Server, args: argparse.Namespace, per_min: float, run: int) -> dict:
    """Single theses arriving at a constant rate."""
    rate = max(1, round(per_min))
    metrics = k6(
        server, f"single-{run}", args.out, rate_per_min=rate,
        duration=f"{args.duration_s}s", seed_base=run * 100_000,
    )
    answered, refused = value(metrics, "theses_answered"), value(metrics, "theses_refused")
    return {
        "rate_per_min": rate, "answered": answered,
        "answered_per_min": round(answered / args.duration_s * 60, 1), "refused_503": refused,
        "failed": value(metrics, "theses_failed"), "not_sent": value(metrics, "dropped_iterations"),
        "accepted_ms": times(metrics, "accepted_ms"), "rejected_ms": times(metrics, "rejected_ms"),
    }


def show(result: dict, indent: str = "") -> None:
    """Prints nested figures, one line a leaf dictionary."""
    for key, found in result.items():
        if isinstance(found, dict) and any(isinstance(v, dict) for v in found.values()):
            print(f"{indent}{key}:")
            show(found, indent + "  ")
        elif isinstance(found, dict):
            print(f"{indent}{key}: " + ", ".join(f"{name} {n}" for name, n in found.items()))
        else:
            print(f"{indent}{key}: {found}")


def run_k6(args: argparse.Namespace, _common: list[str]) -> int:
    result = measure(args)
    (args.out / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    failed = result["hundred_distinct"]["failed"] + sum(a["failed"] for a in result["arrivals"].values())
    return 1 if failed or result["schema_invalid"] else 0


def run_verify(args: argparse.Namespace, _common: list[str]) -> int:
    with Server(args.server, args.data_dir, args.out, "verify-server") as server:
        return script(
            "verify_theses.py", args, "--url", server.url, "--data-dir", str(args.data_dir),
            "--dates", str(args.dates), "--json", str(args.out / "verify.json"),
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} or all")
    parser.add_argument("--server", type=Path, default=REPOSITORY / "target/release/r2r-server")
    parser.add_argument("--data-dir", type=Path, default=REPOSITORY / "data")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "target/loadtest")
    parser.add_argument("--dates", type=int, default=20, help="dates of verify, 20 tickers each")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--duration-s", type=int, default=60, help="of arrivals, at each rate")
    args = parser.parse_args()
    parts = ALL if "all" in args.parts else args.parts or ["k6"]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    args.out.mkdir(parents=True, exist_ok=True)
    common = ["--server", str(args.server), "--data-dir", str(args.data_dir), "--out", str(args.out)]
    runs = {
        "k6": run_k6,
        "verify": run_verify,
        "determinism": lambda args, common: script("determinism.py", args, *common),
        "chaos": lambda args, common: script("chaos_worker.py", args, *common),
        "swap": lambda args, common: script("swap_model.py", args, *common),
        "peer": lambda args, common: script("peer.py", args, *common),
    }
    codes = {}
    for part in parts:
        print(f"\n== {part}", flush=True)
        codes[part] = runs[part](args, common)
    print("\n" + ", ".join(f"{part} {'failed' if code else 'passed'}" for part, code in codes.items()))
    print(f"details are in {args.out}")
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
