#!/usr/bin/env python3
"""Does with pandas, polars or DuckDB what `cargo bench --bench data` times, on the
same files, and prints seconds and checksums as JSON. Reading files is not timed."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

WINDOWS = (5, 10, 20, 30, 60)
HORIZONS = (5, 21, 63)
VOLATILITY, EPSILON = 60, 1e-8
BORDERS = (-1.0, -0.25, 0.25, 1.0)


def best(work, repeats: int):
    """Returns the shortest time in seconds, and the last result."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - begin)
    return min(times), result


class Pandas:
    def __init__(self, directory: Path):
        import pandas

        self.pd, self.version = pandas, pandas.__version__
        self.closes = pandas.read_parquet(directory / "closes.parquet")
        # merge_asof wants both sides in order of time alone.
        in_time = lambda name: pandas.read_parquet(directory / name).sort_values("known_at", kind="stable")
        self.prices, self.events = in_time("prices.parquet"), in_time("events.parquet")

    def features(self):
        frame = self.closes.copy()
        of = lambda column: frame.groupby("ticker", sort=False)[column]
        close = frame["close"]
        rolled = lambda column, n, how, **more: getattr(of(column).rolling(n), how)(**more).reset_index(level=0, drop=True)
        previous = of("close").shift(1)
        frame["ret"] = close / previous - 1
        frame["up"] = (close > previous).astype(float).where(previous.notna())
        for n in WINDOWS:
            frame[f"roc_{n}"] = of("close").shift(n) / close
            frame[f"ma_{n}"] = rolled("close", n, "mean") / close
            frame[f"std_{n}"] = rolled("close", n, "std") / close
            frame[f"cntp_{n}"] = rolled("up", n, "mean")
            frame[f"qtlu_{n}"] = rolled("close", n, "quantile", q=0.8) / close
        unit = rolled("ret", VOLATILITY, "std") + EPSILON
        scaled = [(of("close").shift(-h) - close) / close / unit / math.sqrt(h) for h in HORIZONS]
        z = sum(scaled) / 3
        frame["label"] = self.pd.cut(z, [-math.inf, *BORDERS, math.inf], labels=False, right=False)
        return frame

    def checksum(self, frame) -> dict[str, float]:
        names = [name for name in frame.columns if "_" in name] + ["label"]
        return {name: float(frame[name].sum()) for name in names}

    def join(self):
        joined = self.pd.merge_asof(self.prices, self.events, on="known_at", by="ticker")
        return float(joined["value"].sum()), int(joined["value"].notna().sum())


class Polars:
    def __init__(self, directory: Path):
        import polars

        self.pl, self.version = polars, polars.__version__
        self.closes = polars.read_parquet(directory / "closes.parquet")
        self.prices = polars.read_parquet(directory / "prices.parquet")
        self.events = polars.read_parquet(directory / "events.parquet")

    def features(self):
        pl, close = self.pl, self.pl.col("close")
        previous = close.shift(1)
        frame = self.closes.lazy().with_columns(
            (close / previous - 1).over("ticker").alias("ret"),
            (close > previous).cast(pl.Float64).over("ticker").alias("up"),
        )
        columns = []
        for n in WINDOWS:
            columns += [
                (close.shift(n) / close).over("ticker").alias(f"roc_{n}"),
                (close.rolling_mean(n) / close).over("ticker").alias(f"ma_{n}"),
                (close.rolling_std(n) / close).over("ticker").alias(f"std_{n}"),
                pl.col("up").rolling_mean(n).over("ticker").alias(f"cntp_{n}"),
                (close.rolling_quantile(0.8, "linear", n) / close).over("ticker").alias(f"qtlu_{n}"),
            ]
        unit = pl.col("ret").rolling_std(VOLATILITY) + EPSILON
        scaled = [(close.shift(-h) - close) / close / unit / math.sqrt(h) for h in HORIZONS]
        z = (sum(scaled[1:], scaled[0]) / 3).over("ticker").alias("z")
        frame = frame.with_columns(*columns, z)
        label = sum((pl.col("z") >= border).cast(pl.Float64) for border in BORDERS)
        return frame.with_columns(label.alias("label")).collect()

    def checksum(self, frame) -> dict[str, float]:
        names = [name for name in frame.columns if "_" in name] + ["label"]
        return {name: float(frame[name].sum()) for name in names}

    def join(self):
        joined = self.prices.join_asof(self.events, on="known_at", by="ticker", check_sortedness=False)
        value = joined["value"]
        return float(value.sum()), len(value) - value.null_count()


class DuckDB:
    def __init__(self, directory: Path):
        import duckdb

        self.version = duckdb.__version__
        self.connection = duckdb.connect()
        for name in ("closes", "prices", "events"):
            self.connection.execute(f"CREATE TABLE {name} AS FROM '{directory / name}.parquet'")

    def features(self):
        columns = []
        for n in WINDOWS:
            over = f"OVER (PARTITION BY ticker ORDER BY session ROWS {n - 1} PRECEDING)"
            full = f"place >= {n}"
            columns += [
                f"lag(close, {n}) OVER w / close AS roc_{n}",
                f"CASE WHEN {full} THEN avg(close) {over} / close END AS ma_{n}",
                f"CASE WHEN {full} THEN stddev_samp(close) {over} / close END AS std_{n}",
                f"CASE WHEN place > {n} THEN avg(up) {over} END AS cntp_{n}",
                f"CASE WHEN {full} THEN quantile_cont(close, 0.8) {over} / close END AS qtlu_{n}",
            ]
        over = f"OVER (PARTITION BY ticker ORDER BY session ROWS {VOLATILITY - 1} PRECEDING)"
        unit = f"(CASE WHEN place > {VOLATILITY} THEN stddev_samp(ret) {over} END + {EPSILON})"
        scaled = [f"(lead(close, {h}) OVER w - close) / close / {unit} / sqrt({h})" for h in HORIZONS]
        label = " + ".join(f"(z >= {border})::DOUBLE" for border in BORDERS)
        self.connection.execute(f"""
            CREATE OR REPLACE TABLE features AS
            WITH moved AS (
                SELECT ticker, session, close, close / lag(close) OVER w - 1 AS ret,
                    (close > lag(close) OVER w)::DOUBLE AS up, row_number() OVER w AS place
                FROM closes WINDOW w AS (PARTITION BY ticker ORDER BY session)
            ), scaled AS (
                SELECT *, {", ".join(columns)}, ({" + ".join(scaled)}) / 3 AS z
                FROM moved WINDOW w AS (PARTITION BY ticker ORDER BY session)
            )
            SELECT *, {label} AS label FROM scaled""")

    def checksum(self, _) -> dict[str, float]:
        names = [f"{kind}_{n}" for n in WINDOWS for kind in ("roc", "ma", "std", "cntp", "qtlu")] + ["label"]
        sums = ", ".join(f"sum({name})" for name in names)
        return dict(zip(names, self.connection.execute(f"SELECT {sums} FROM features").fetchone()))

    def join(self):
        self.connection.execute("""
            CREATE OR REPLACE TABLE joined AS
            SELECT prices.*, events.value FROM prices ASOF LEFT JOIN events
            ON prices.ticker = events.ticker AND prices.known_at >= events.known_at""")
        return self.connection.execute("SELECT sum(value), count(value) FROM joined").fetchone()


def main() -> None:
    name, directory = sys.argv[1], Path(sys.argv[2])
    peer = {"pandas": Pandas, "polars": Polars, "duckdb": DuckDB}[name](directory)
    features_s, frame = best(peer.features, 10)
    join_s, (total, joined) = best(peer.join, 3)
    print(json.dumps({
        "version": peer.version, "features_s": features_s, "features": peer.checksum(frame),
        "join_s": join_s, "join": [total, joined],
    }))


if __name__ == "__main__":
    main()
