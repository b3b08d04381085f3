#!/usr/bin/env python3
"""Checks theses of a live server from outside: an independent validator for the
schema, pyarrow for the quotes, numpy for the numbers. Exits 1 on any failure."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from jsonschema import Draft202012Validator, FormatChecker

from r2r_server import REPOSITORY, request, thesis
from snapshot import Snapshot, end_of_day, recompute

SECTIONS = ["market", "fundamentals", "sentiment", "technicals", "insider", "risks"]
LABELS = ["SSell", "Sell", "Hold", "Buy", "SBuy"]
CHECKS = [
    "answered", "schema", "claims with evidence", "verdict per claim", "quotes byte for byte",
    "evidence known in time", "numbers stand in evidence", "features recomputed", "decision", "receipt",
]
SPELLED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
NUMBER = re.compile(r"(?<![\w.])[+-]\d+(?:\.\d+)?|\d+(?:\.\d+)?")


def numbers(text: str) -> set[str]:
    """Returns the numbers of a text, thousands separators removed. A number with
    a sign also counts without it."""
    found = set(NUMBER.findall(SPELLED.sub("", text)))
    return found | {number.lstrip("+-") for number in found}


def signed(text: str) -> set[str]:
    """Returns the numbers of a text as they stand there."""
    return set(NUMBER.findall(SPELLED.sub("", text)))


def micros(time_text: str) -> int:
    return pd.Timestamp(time_text).value // 1000


def validator() -> Draft202012Validator:
    schema = json.loads((REPOSITORY / "schemas/thesis.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    formats = FormatChecker()
    # A format without its checker would pass silently.
    missing = {"date", "date-time", "uri"} - set(formats.checkers)
    if missing:
        sys.exit(f"no checker for {sorted(missing)}: install loadtest/requirements.txt")
    return Draft202012Validator(schema, format_checker=formats)


class Report:
    """Counts of passed and failed checks, and what the theses are like."""

    def __init__(self) -> None:
        self.passed, self.failed = Counter(), Counter()
        self.failures: list[str] = []
        self.verdicts, self.labels, self.kinds = Counter(), Counter(), Counter()
        self.recomputed = Counter()
        self.claims: Counter[str] = Counter()
        self.sections_abstaining = 0

    def check(self, name: str, holds: bool, where: str, detail: str = "") -> None:
        if holds:
            self.passed[name] += 1
        else:
            self.failed[name] += 1
            self.failures.append(f"{name}: {where}: {detail}")


class Checker:
    """Checks one answer after the other."""

    def __init__(self, snapshot: Snapshot, report: Report):
        self.snapshot, self.report, self.schema = snapshot, report, validator()

    def answer(self, ticker: str, as_of: str, seed: int, answer: dict | None, problem: str) -> None:
        where = f"{ticker} {as_of}"
        self.report.check("answered", answer is not None, where, problem)
        if answer is None:
            return
        errors = [f"{e.json_path}: {e.message[:120]}" for e in self.schema.iter_errors(answer)]
        self.report.check("schema", not errors, where, "; ".join(errors))
        if errors:
            return
        asked, receipt = (ticker, as_of, seed, self.snapshot.id), answer["receipt"]
        got = (answer["ticker"], answer["as_of"], receipt["seed"], receipt["snapshot_id"])
        self.report.check("receipt", asked == got, where, f"asked {asked}, got {got}")
        self.decision(where, answer["decision"])
        self.claims(where, answer)
        for evidence in answer["thesis"]["evidence"]:
            self.evidence(f"{where} {evidence['claim_id']}", answer, evidence)

    def decision(self, where: str, decision: dict) -> None:
        probs, label = decision["probs"], decision["label"]
        total, top = math.fsum(probs), max(probs)
        sound = abs(total - 1) <= 1e-6 and probs[LABELS.index(label)] == top
        sound = sound and abs(decision["conviction"] - (top - 0.2) / 0.8) < 1e-5
        self.report.check("decision", sound, where, json.dumps(decision))
        self.report.labels[label] += 1

    def claims(self, where: str, answer: dict) -> None:
        report, evidence = self.report, {}
        for item in answer["thesis"]["evidence"]:
            evidence.setdefault(item["claim_id"], []).append(item)
        verdicts = {v["claim_id"]: v["verdict"] for v in answer["verification"]}
        ids = []
        for section in SECTIONS:
            section_verdicts = []
            for position, text in enumerate(answer["thesis"][section], 1):
                claim_id = f"{section[0].upper()}{position}"
                ids.append(claim_id)
                items, verdict = evidence.get(claim_id, []), verdicts.get(claim_id)
                report.check("claims with evidence", bool(items), f"{where} {claim_id}", text)
                basis = " ".join(item["quote"] or item.get("statement", "") for item in items)
                invented = signed(text) - numbers(basis)
                detail = f"{sorted(invented)} of {text!r} not in {basis!r}"
                report.check("numbers stand in evidence", not invented, f"{where} {claim_id}", detail)
                report.verdicts[verdict] += 1
                report.claims[text] += 1
                section_verdicts.append(verdict)
            report.sections_abstaining += section_verdicts == ["abstained"]
        complete = sorted(verdicts) == sorted(ids) and set(evidence) <= set(ids)
        complete = complete and len(answer["verification"]) == len(ids)
        report.check("verdict per claim", complete, where, f"{sorted(verdicts)} for {ids}")

    def evidence(self, where: str, answer: dict, item: dict) -> None:
        report, last = self.report, end_of_day(answer["as_of"])
        report.kinds[item["kind"]] += 1
        in_time = micros(item["time"]) <= last and micros(item["event_time"]) <= last
        if item["kind"] == "numeric":
            report.check("evidence known in time", in_time, where, item["time"])
            self.feature(where, answer, item)
            return
        record = self.snapshot.record(item["file"], item["record_id"])
        if record is None:
            report.check("quotes byte for byte", False, where, f"no record {item['record_id']}")
            return
        stored = record[item["column"]].encode()[item["start"] : item["end"]]
        detail = f"{item['quote']!r} against {stored!r}"
        report.check("quotes byte for byte", stored == item["quote"].encode(), where, detail)
        same = record["known_at"] == micros(item["time"]) and record["known_at"] <= last
        same = same and record.get("ticker", answer["ticker"]) == answer["ticker"]
        report.check("evidence known in time", in_time and same, where, item["time"])

    def feature(self, where: str, answer: dict, item: dict) -> None:
        anew = recompute(self.snapshot, item["feature"], answer["ticker"], answer["as_of"])
        if anew is None:
            return
        value, known_at = anew
        same = math.isclose(value, item["value"], rel_tol=1e-9, abs_tol=1e-12)
        same = same and known_at == micros(item["time"])
        detail = f"{item['feature']} is {item['value']!r} of {item['time']}, recomputed {value!r} of {known_at}"
        self.report.check("features recomputed", same, where, detail)
        self.report.recomputed[item["feature"]] += 1


def pick_dates(first: str, last: str, count: int) -> list[str]:
    """Spreads dates evenly, any day of the week."""
    days = pd.date_range(first, last, periods=count)
    return [day.strftime("%Y-%m-%d") for day in days]


def fetch(url: str, tickers: list[str], dates: list[str], seed: int, parallel: int):
    """Asks for every (ticker, date): even dates as batches, odd ones singly and
    in parallel. Yields (ticker, as_of, answer or None, problem)."""
    with ThreadPoolExecutor(parallel) as pool:
        for i, as_of in enumerate(dates):
            if i % 2 == 0:
                body = {"tickers": tickers, "as_of": as_of, "seed": seed}
                reply = request(url, "/v1/batch/thesis", body)
                elements = reply.json() if reply.status == 200 else [{}] * len(tickers)
                for ticker, element in zip(tickers, elements, strict=True):
                    problem = element.get("problem", None if element else reply.status)
                    yield ticker, as_of, None if problem else element, json.dumps(problem)
            else:
                replies = pool.map(lambda ticker, day=as_of: thesis(url, ticker, day, seed), tickers)
                for ticker, reply in zip(tickers, replies, strict=True):
                    fine = reply.status == 200
                    yield ticker, as_of, reply.json() if fine else None, f"{reply.status} {reply.body[:200]!r}"


def summary(report: Report, asked: int, seconds: float) -> dict:
    total = sum(report.claims.values())
    return {
        "theses": asked,
        "seconds": round(seconds, 1),
        "theses_per_min": round(asked / seconds * 60, 1),
        "checks": {name: [report.passed[name], report.failed[name]] for name in CHECKS},
        "claims": total,
        "distinct_claim_texts": len(report.claims),
        "verdicts": dict(report.verdicts),
        "sections_abstaining": report.sections_abstaining,
        "evidence": dict(report.kinds),
        "labels": {label: report.labels[label] for label in LABELS},
        "recomputed": dict(report.recomputed),
        "failures": report.failures[:200],
    }


def show(result: dict) -> None:
    print(f"\n{result['theses']} theses in {result['seconds']} s, {result['theses_per_min']} a minute\n")
    print(f"{'check':<28}{'passed':>9}{'failed':>9}")
    for name, (passed, failed) in result["checks"].items():
        print(f"{name:<28}{passed:>9}{failed:>9}")
    print(f"\nclaims {result['claims']}, distinct texts {result['distinct_claim_texts']}")
    for name in ("verdicts", "evidence", "labels", "recomputed"):
        print(f"{name}: " + ", ".join(f"{key} {n}" for key, n in result[name].items()))
    print(f"sections that abstain: {result['sections_abstaining']}")
    for failure in result["failures"][:20]:
        print(f"FAILED {failure}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--tickers", default="all", help="a number, or all")
    parser.add_argument("--dates", type=int, default=20)
    parser.add_argument("--first", default="2006-02-15")
    parser.add_argument("--last", default="2022-12-28")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--json", type=Path, help="where to write the report")
    args = parser.parse_args()
    tickers = [span["ticker"] for span in request(args.url, "/v1/tickers").json()]
    tickers = tickers if args.tickers == "all" else tickers[: int(args.tickers)]
    dates = pick_dates(args.first, args.last, args.dates)
    report = Report()
    checker = Checker(Snapshot(args.data_dir), report)
    begin, asked, seconds = time.monotonic(), 0, 0.0
    for ticker, as_of, answer, problem in fetch(args.url, tickers, dates, args.seed, args.parallel):
        seconds, asked = time.monotonic() - begin, asked + 1
        checker.answer(ticker, as_of, args.seed, answer, problem)
        if asked % len(tickers) == 0:
            print(f"{asked:>5} theses, {len(report.failures)} failures, {seconds:.0f} s", file=sys.stderr)
    result = summary(report, asked, seconds)
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
