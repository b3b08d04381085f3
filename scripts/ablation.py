"""Tables of runs side by side, from their run.json: `ablation.py RUNS NAME...`."""

import json
import sys
from pathlib import Path

PARTS = ["total", "structure", "claims", "decision", "accuracy", "cost", "smoothness"]


def interval(found):
    ends = found.get("interval")
    return f" ({ends['lower']:+.3f} to {ends['upper']:+.3f})" if ends else ""


def rewards(runs):
    print("| reward on validation dates | before | after | difference (95 % interval) |")
    print("|---|---:|---:|---|")
    for name, run in runs:
        found = run.get("rewards")
        for part in PARTS if found else []:
            key = f"reward.{part}"
            difference = found["differences"][key]
            print(
                f"| {name}: {part} | {found['before'][key]:.3f} | {found['after'][key]:.3f} "
                f"| {difference['mean']:+.3f}{interval(difference)} |"
            )


def decisions(runs):
    print("| decision on test dates | contexts | log-loss | skill (95 % interval) | ECE | ECE, raw |")
    print("|---|---:|---:|---|---:|---:|")
    for name, run in runs:
        if "calibration" not in run:
            continue
        test = run["calibration"]["test"]
        fitted, raw = test["calibrated"], test["raw"]
        print(
            f"| {name} | {test['contexts']} | {fitted['log_loss']:.3f} "
            f"| {fitted['skill']['skill']:+.3f}{interval(fitted['skill'])} "
            f"| {fitted['ece']:.3f} | {raw['ece']:.3f} |"
        )


def main():
    place, names = Path(sys.argv[1]), sys.argv[2:]
    files = [(name, place / name / "run.json") for name in names]
    runs = [(name, json.loads(file.read_text())) for name, file in files if file.exists()]
    for name, file in files:
        if not file.exists():
            print(f"{name} has left no adapter: a guard stopped it, or it was not made.\n")
    rewards(runs)
    print()
    decisions(runs)


main()
