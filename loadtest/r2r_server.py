"""A server of our own for a measurement: started on a free port, watched, and
stopped by its own process id."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).resolve().parent.parent
NO_ANSWER_CACHE = {"R2R_SERVER__CACHE__ANSWERS_BYTES_MAX": "0"}
# Each thesis is decoded, but for what all tickers share on its date.
NOTHING_KEPT = {**NO_ANSWER_CACHE, "R2R_SERVER__ENGINE__PROMPT_CACHE_BYTES_MAX": "0"}


@dataclass
class Reply:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


def request(url: str, path: str, body=None, accept: str | None = None, timeout: float = 900) -> Reply:
    """Sends one request on a connection of its own."""
    connection = connect(url, path, body, accept, timeout)
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    reply = Reply(response.status, headers, response.read())
    connection.close()
    return reply


def connect(url: str, path: str, body, accept: str | None, timeout: float) -> http.client.HTTPConnection:
    """Sends a request and leaves its answer to be read."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    headers = {"Accept": accept} if accept else {}
    method, payload = "GET", None
    if body is not None:
        method, payload = "POST", json.dumps(body)
        headers["Content-Type"] = "application/json"
    connection.request(method, path, payload, headers)
    return connection


def thesis(url: str, ticker: str, as_of: str, seed: int, patience_s: float = 600) -> Reply:
    """Asks for one thesis, and again where the server is full and says when."""
    until = time.monotonic() + patience_s
    while True:
        reply = request(url, "/v1/thesis", {"ticker": ticker, "as_of": as_of, "seed": seed})
        if reply.status != 503 or time.monotonic() > until:
            return reply
        time.sleep(float(reply.headers.get("retry-after", 1)))


def counters(url: str) -> dict[str, float]:
    """Reads the Prometheus metrics: name with labels -> value."""
    text = request(url, "/v1/metrics").body.decode()
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    return {name: float(value) for name, value in pairs}


def anonymous_bytes(pid: int | None) -> int:
    """Returns RssAnon of a process, 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def parent(pid: int) -> int:
    """Returns the parent of a process, 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)[1])


class Server:
    """`with Server(...) as server:` runs r2r-server and stops it."""

    def __init__(
        self, binary: Path, data_dir: Path, out: Path, name: str,
        env: dict[str, str] | None = None, flags: Sequence[str] = (),
    ):
        self.command, self.out, self.name = [str(binary.resolve()), *flags], out, name
        self.env = {
            **os.environ,
            "R2R_SERVER__DATA__DIR": str(data_dir.resolve()),
            **(env or {}),
        }
        self.peaks = {"front": 0, "worker": 0}
        self.cold_start_s = 0.0

    def __enter__(self) -> "Server":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.url = f"http://{address}"
        self.out.mkdir(parents=True, exist_ok=True)
        self.log_path = self.out / f"{self.name}.log"
        self.log = self.log_path.open("wb")
        self.env["R2R_SERVER__HTTP__LISTEN"] = address
        begin = time.monotonic()
        self.process = subprocess.Popen(
            self.command, cwd=REPOSITORY, env=self.env, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=subprocess.STDOUT,
        )
        try:
            self.wait_ready(120)
        except BaseException:
            self.__exit__()
            raise
        self.cold_start_s = time.monotonic() - begin
        self.watching = threading.Event()
        threading.Thread(target=self._watch_memory, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        if hasattr(self, "watching"):
            self.watching.set()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def wait_ready(self, limit_s: float) -> dict:
        """Waits until theses can be written and returns the health."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                tail = self.log_path.read_text(errors="replace")[-2000:]
                raise SystemExit(f"the server ended with {self.process.returncode}:\n{tail}")
            health = self.health()
            if health and health["ready"]:
                return health
            time.sleep(0.005)
        raise SystemExit(f"the server was not ready within {limit_s:.0f} s; see {self.log_path}")

    def health(self) -> dict | None:
        """Returns the health, none while nothing listens."""
        try:
            return request(self.url, "/v1/healthz", timeout=5).json()
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def memory(self) -> dict[str, int]:
        """Returns RssAnon of both processes in bytes."""
        worker = ((self.health() or {}).get("worker") or {}).get("pid")
        return {"front": anonymous_bytes(self.process.pid), "worker": anonymous_bytes(worker)}

    def signal_worker(self, how: signal.Signals) -> int:
        """Signals the worker and returns its pid."""
        pid = self.health()["worker"]["pid"]
        # Only ever a child of the server this script has started.
        if parent(pid) != self.process.pid:
            raise SystemExit(f"process {pid} is not a child of the server {self.process.pid}")
        os.kill(pid, how)
        return pid

    def _watch_memory(self) -> None:
        while not self.watching.wait(1.0):
            for name, found in self.memory().items():
                self.peaks[name] = max(self.peaks[name], found)
