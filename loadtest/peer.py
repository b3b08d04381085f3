#!/usr/bin/env python3
"""Compares r2r with llama-server in one run: the same GGUF, the same evidence,
the same number of claims. llama-server is built from the llama.cpp sources inside
the Python package named below and serves with its best settings for this load.
It writes JSON under a JSON Schema in one of two forms: `sentences`, claims as a
user of llama-server asks for them, and `choices`, only what r2r lets its model
choose, with a glue around it that splices in the rest as r2r does. Rounds of all
three alternate; those that wait are stopped."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import numpy as np
from r2r_server import NOTHING_KEPT, REPOSITORY, Server, request, thesis

PACKAGE = "llama-cpp-python==0.3.36"
SLOTS = 8
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
FORMS = ["sentences", "choices"]
# The model r2r serves where no other is named.
DEFAULT = "smollm2-135m-r2r"
DATES = ["2006-03-31", "2010-06-30", "2014-09-30", "2018-12-31", "2022-09-30"]
# llama-server queues without a bound, so r2r is let queue too.
SETTINGS = NOTHING_KEPT | {"R2R_SERVER__ENGINE__LATENCY_MAX_MS": "600000"}
SYSTEM = """You are an equity analyst. You read numbered evidence about one company, known at one date, and write a thesis as JSON.
For each section cite the numbers of the evidence that matters most for the stock, each another one, and say how you read it.
Then decide: A = strong sell, B = sell, C = hold, D = buy, E = strong buy."""


def build(folder: Path) -> Path:
    """Builds llama-server once and returns its path."""
    binary = folder / "llama.cpp/build/bin/llama-server"
    if binary.exists():
        return binary
    print(f"builds llama-server from {PACKAGE}, about ten minutes on two cores", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", PACKAGE]
    subprocess.run([*pip, "-d", str(folder)], check=True)
    archive = next(folder.glob("llama_cpp_python-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "sdist", filter="data")
    source = next((folder / "sdist").glob("*/vendor/llama.cpp"))
    shutil.move(source, folder / "llama.cpp")
    flags = ["CMAKE_BUILD_TYPE=Release", "GGML_NATIVE=ON", "LLAMA_BUILD_TESTS=OFF", "LLAMA_BUILD_UI=OFF"]
    configure = ["cmake", "-B", "build", *(f"-D{flag}" for flag in flags)]
    make = ["cmake", "--build", "build", "--target", "llama-server", "-j", str(os.cpu_count())]
    with (folder / "build.log").open("wb") as log:
        for command in (configure, make):
            subprocess.run(command, cwd=folder / "llama.cpp", stdout=log, stderr=log, check=True)
    return binary


@dataclass
class Case:
    """One thesis to write: evidence and choices as r2r shows them."""

    ticker: str
    as_of: str
    user: str
    # By form.
    schemas: dict[str, dict]
    # Section -> code -> what r2r would begin a claim on it with.
    leads: dict[str, dict[str, str]]
    # Section -> code -> phrases that may be said of it.
    allowed: dict[str, dict[str, list[str]]]


def case(r2r: Path, data_dir: Path, ticker: str, as_of: str) -> Case:
    def show(what: str) -> str:
        command = [str(r2r), "--data-dir", str(data_dir), "thesis", ticker, "--as-of", as_of, "--show", what]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    user = show("prompt").split("\n---\n", 1)[1]
    plan, rules = show("grammar").split("\n\n", 1)
    phrases = {
        name: re.findall(r'"([^"]+)"', said) for name, said in re.findall(r"^([A-Z_]+): .*?\((.*)\)", rules, re.M)
    }
    claims, allowed, leads, section = {}, {}, {}, ""
    for line in plan.splitlines():
        if opened := re.match(r"(\w+): claims: (\d)", line):
            section = opened[1]
            claims[section], allowed[section], leads[section] = int(opened[2]), {}, {}
        else:
            code, rule = line.split()[0], line.split()[-1]
            allowed[section][code], leads[section][code] = phrases.get(rule, ["no data"]), line.split(maxsplit=2)[2]
    schemas = {form: schema(claims, allowed, form) for form in FORMS}
    return Case(ticker, as_of, user, schemas, leads, allowed)


def schema(claims: dict[str, int], allowed: dict[str, dict[str, list[str]]], form: str) -> dict:
    def section(name: str) -> dict:
        said = sorted({phrase for phrases in allowed[name].values() for phrase in phrases})
        text = {"enum": said} if form == "choices" else {"type": "string", "minLength": 20, "maxLength": 120}
        item = {"e": {"enum": list(allowed[name])}, "c": text}
        claim = {"type": "object", "properties": item, "required": ["e", "c"], "additionalProperties": False}
        return {"type": "array", "minItems": claims[name], "maxItems": claims[name], "items": claim}

    properties = {name: section(name) for name in claims} | {"decision": {"enum": list("ABCDE")}}
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }


class LlamaServer:
    """`with LlamaServer(...)` runs llama-server on a free port."""

    def __init__(self, binary: Path, model: Path, out: Path):
        self.binary, self.model, self.out = binary, model, out

    def __enter__(self) -> "LlamaServer":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        cpus = str(os.cpu_count())
        options = ["-m", str(self.model), "--host", "127.0.0.1", "--port", str(port), "--parallel", str(SLOTS)]
        options += ["-c", str(SLOTS * 2048), "-t", cpus, "-tb", cpus, "-fa", "on", "--cont-batching"]
        options += ["--cache-reuse", "64", "--no-webui"]
        self.log = (self.out / "llama-server.log").open("ab")
        self.process = subprocess.Popen(
            [str(self.binary), *options], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if request(self.url, "/health", timeout=2).status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"llama-server does not start; see {self.out / 'llama-server.log'}")

    def __exit__(self, *_exception) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()

    def write(self, case: Case, form: str) -> tuple[float, str]:
        """Returns seconds and a verdict."""
        schema = case.schemas[form]
        body = {
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": case.user}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "thesis", "schema": schema}},
            "temperature": 0.4, "min_p": 0.1, "seed": 0, "max_tokens": 700, "cache_prompt": True,
        }
        begin = time.monotonic()
        reply = request(self.url, "/v1/chat/completions", body)
        seconds = time.monotonic() - begin
        if reply.status != 200:
            return seconds, f"status {reply.status}"
        return seconds, judge(case, form, reply.json()["choices"][0]["message"]["content"])


def judge(case: Case, form: str, text: str) -> str:
    """Says what is wrong with an answer of llama-server."""
    try:
        answer = json.loads(text)
        jsonschema.validate(answer, case.schemas[form])
    except (ValueError, jsonschema.ValidationError):
        return "not valid"
    for name, codes in case.allowed.items():
        cited = [claim["e"] for claim in answer[name]]
        if len(set(cited)) < len(cited):
            return "cites an item twice"
        for claim in answer[name]:
            if form == "choices" and claim["c"] not in codes[claim["e"]]:
                return "contradicts its evidence"
            if form == "sentences" and set(NUMBER.findall(claim["c"])) - set(NUMBER.findall(case.leads[name][claim["e"]])):
                return "invents a number"
    return "sound"


@dataclass
class Result:
    """What one side did in all rounds."""

    seconds: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    verdicts: dict[str, int] = field(default_factory=dict)

    def add(self, wall_s: float, answers: list[tuple[float, str]]) -> None:
        self.wall_s += wall_s
        for seconds, verdict in answers:
            self.seconds.append(seconds)
            self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1

    def summary(self) -> dict:
        p50, p95 = np.percentile(self.seconds, [50, 95])
        n = len(self.seconds)
        return {
            "theses": n, "theses_per_min": round(n / self.wall_s * 60, 1),
            "p50_s": round(p50, 2), "p95_s": round(p95, 2), "verdicts": self.verdicts,
        }


def ours(server: Server, seed: int):
    def write(case: Case) -> tuple[float, str]:
        begin = time.monotonic()
        reply = thesis(server.url, case.ticker, case.as_of, seed)
        seconds = time.monotonic() - begin
        sound = reply.status == 200
        if sound:
            sound = all(v["verdict"] != "withheld" for v in reply.json()["verification"])
        return seconds, "sound" if sound else f"status {reply.status}"

    return write


def closed_loop(write, cases: list[Case]) -> tuple[float, list[tuple[float, str]]]:
    """As many at a time as llama-server has slots; returns wall time and answers."""
    with ThreadPoolExecutor(SLOTS) as pool:
        begin = time.monotonic()
        answers = list(pool.map(write, cases))
        return time.monotonic() - begin, answers


def converted(models: Path) -> Path:
    """The file the default model serves from, the latest where an adapter was replaced."""
    found = sorted(models.glob(f"{DEFAULT}.*.gguf"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit(f"{models}: no converted {DEFAULT}; run `r2r model fetch`")
    return found[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="GGUF file; the converted default model otherwise")
    parser.add_argument("--peer", type=Path, help="a llama-server that is built already")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20, help="theses of each side in a round")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    binary = args.peer or build(REPOSITORY / "target/loadtest/peer")
    model = args.model or converted(args.data_dir / "models")
    r2r = args.server.with_name("r2r")
    # One case more than needed: the first of each round warms up.
    names = ["AAPL", "MSFT", "JPM", "XOM", "PEP", "GE", "KO", "PG", "JNJ", "WMT"]
    pairs = [(ticker, as_of) for as_of in DATES for ticker in names]
    cases = [case(r2r, args.data_dir, *pair) for pair in pairs[: args.count + 1]]
    found = {name: Result() for name in ["r2r", *FORMS]}
    for number in range(args.rounds):
        with Server(args.server, args.data_dir, args.out, f"peer-{number}", SETTINGS) as server:
            write = ours(server, number)
            write(cases[-1])
            found["r2r"].add(*closed_loop(write, cases[:-1]))
        for form in FORMS:
            with LlamaServer(binary, model, args.out) as server:
                write = lambda case, form=form, server=server: server.write(case, form)  # noqa: E731
                write(cases[-1])
                found[form].add(*closed_loop(write, cases[:-1]))
        for name, result in found.items():
            print(f"round {number + 1}, {name}: {json.dumps(result.summary())}", flush=True)
    result = {name: found[name].summary() for name in found}
    mine = result["r2r"]
    for form in FORMS:
        theirs = result[form]
        theirs["theses_per_min_ratio"] = round(mine["theses_per_min"] / theirs["theses_per_min"], 2)
        theirs["p95_ratio"] = round(theirs["p95_s"] / mine["p95_s"], 2)
    (args.out / "peer.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
