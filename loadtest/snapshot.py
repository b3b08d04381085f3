"""The snapshot as an outsider reads it: Parquet through pyarrow, features
through numpy. Shares no code with crates/lake."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

DAY_US = 86_400_000_000
# Kinds whose table has another name.
KINDS = {"index_bars": "index", "macro_series": "macro"}


class Snapshot:
    """The current snapshot of a data directory."""

    def __init__(self, data_dir: Path):
        self.id = (data_dir / "refs/CURRENT").read_text().strip()
        self.root = data_dir
        manifest = json.loads((data_dir / "snapshots" / self.id / "manifest.json").read_text())
        self.sources = manifest["data_sources"]
        self.records: dict[str, dict[str, dict]] = {}

    @lru_cache(maxsize=None)
    def table(self, file: str) -> pd.DataFrame:
        """Reads the files of a table; times become microseconds of the epoch."""
        table = file.removesuffix(".parquet")
        kind = KINDS.get(table, table)
        files = [s["file_path"] for s in self.sources if s["source_type"] == kind]
        if not files:
            raise KeyError(f"{file} is not a table of this snapshot")
        frame = pd.concat([pq.read_table(self.root / path).to_pandas() for path in files])
        for column in ("event_time", "known_at"):
            frame[column] = frame[column].astype("datetime64[us, UTC]").astype("int64")
        return frame.sort_values(["known_at", "record_id"], kind="stable").reset_index(drop=True)

    def record(self, file: str, record_id: str) -> dict | None:
        """Returns one record."""
        if file not in self.records:
            rows = self.table(file).to_dict("records")
            self.records[file] = {row["record_id"]: row for row in rows}
        return self.records[file].get(record_id)

    @lru_cache(maxsize=None)
    def _of(self, file: str, ticker: str | None) -> pd.DataFrame:
        frame = self.table(file)
        return frame if ticker is None else frame[frame["ticker"] == ticker]

    def known(self, file: str, ticker: str | None, as_of: str, days: float | None = None) -> pd.DataFrame:
        """Returns what was known by the end of `as_of`, in order of time."""
        frame, last = self._of(file, ticker), end_of_day(as_of)
        keep = frame["known_at"] <= last
        if days is not None:
            keep &= (last - frame["known_at"]) / DAY_US < days
        return frame[keep]


def end_of_day(as_of: str) -> int:
    """Last microsecond of a date, UTC."""
    return pd.Timestamp(as_of, tz="UTC").value // 1000 + DAY_US - 1


def rsi(closes: np.ndarray, n: int) -> float:
    """Wilder's RSI of the last close, seeded by the mean of the first n moves."""
    moves = np.diff(closes)
    gain, loss = np.clip(moves[:n], 0, None).mean(), np.clip(-moves[:n], 0, None).mean()
    for move in moves[n:]:
        gain = (gain * (n - 1) + max(move, 0.0)) / n
        loss = (loss * (n - 1) + max(-move, 0.0)) / n
    return 100 * gain / (gain + loss)


def beta(stock: pd.DataFrame, index: pd.DataFrame, n: int) -> float:
    """Beta of the last n simple returns, sessions matched."""
    returns = [f.set_index("session")["close"].pct_change() for f in (stock, index)]
    pair = pd.concat([returns[0].iloc[-n:], returns[1]], axis=1, join="inner").to_numpy()
    covariance = np.cov(pair.T, ddof=1)
    return covariance[0, 1] / covariance[1, 1]


def ratio(closes: np.ndarray, now: int, past: int) -> float:
    return closes[-1 - now] / closes[-1 - past] - 1


def volatility(closes: np.ndarray, n: int) -> float:
    return np.diff(np.log(closes))[-n:].std(ddof=1) * np.sqrt(252)


CLOSES = {
    "ret_10d": lambda c: ratio(c, 0, 10),
    "mom_30d": lambda c: ratio(c, 0, 30),
    "mom_252_21": lambda c: ratio(c, 21, 252),
    "vol_20d": lambda c: volatility(c, 20),
    "vol_60d": lambda c: volatility(c, 60),
    "dist_52w_high": lambda c: c[-1] / c[-252:].max() - 1,
    "px_vs_sma50": lambda c: c[-1] / c[-50:].mean() - 1,
    "max_drawdown_252d": lambda c: (c[-252:] / np.maximum.accumulate(c[-252:])).min() - 1,
    "rsi_14": lambda c: rsi(c, 14),
}
INDEX_CLOSES = {
    "index_ret_21d": lambda c: ratio(c, 0, 21),
    "index_ret_252d": lambda c: ratio(c, 0, 252),
    "index_vol_20d": lambda c: volatility(c, 20),
}
NEWS_DAYS = {"news_count_7d": 7, "news_count_30d": 30}


def recompute(snapshot: Snapshot, name: str, ticker: str, as_of: str) -> tuple[float, int] | None:
    """Computes a feature anew: value and the time its last record was known.
    None for a feature this script has no formula of."""
    if name in NEWS_DAYS:
        news = snapshot.known("news.parquet", ticker, as_of, NEWS_DAYS[name])
        return float(len(news)), int(news["known_at"].max())
    if name == "vix_level":
        macro = snapshot.known("macro_series.parquet", None, as_of)
        vix = macro[macro["series"] == "VIX"].sort_values("period_end")
        return float(vix["value"].iloc[-1]), int(vix["known_at"].iloc[-1])
    if name in INDEX_CLOSES:
        bars = snapshot.known("index_bars.parquet", None, as_of)
        return float(INDEX_CLOSES[name](bars["close"].to_numpy())), int(bars["known_at"].iloc[-1])
    if name not in CLOSES and name != "beta_252d":
        return None
    bars = snapshot.known("bars.parquet", ticker, as_of)
    known_at = int(bars["known_at"].iloc[-1])
    if name == "beta_252d":
        index = snapshot.known("index_bars.parquet", None, as_of)
        return float(beta(bars, index, 252)), max(known_at, int(index["known_at"].iloc[-1]))
    return float(CLOSES[name](bars["close"].to_numpy())), known_at
