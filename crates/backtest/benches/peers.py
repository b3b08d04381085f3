#!/usr/bin/env python3
"""Does with NumPy, vectorbt or arch what `cargo bench --bench peers` times, on the same
files and one thread, and prints seconds and checks as JSON. Reading files and compiling
with numba are not timed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

LOOKBACKS, SKIPS, TOPS = (63, 126, 189, 252, 378), (0, 5, 10, 21, 42), (2, 3, 5, 8)
HOLD, COST, CAPITAL = 21, 5e-4, 1e6
TRAIN, TEST, PURGED, EMBARGO = 320, 120, 63, 63
RESAMPLES = 1000


def best(work, repeats: int):
    """Returns the least time of a CPU in seconds, and the last result."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        result = work()
        times.append(time.process_time() - begin)
    return min(times), result


def grid() -> list[tuple[int, int, int]]:
    return [(lookback, skip, top) for lookback in LOOKBACKS for skip in SKIPS for top in TOPS]


def decisions(close: np.ndarray):
    """Returns the rows of decision, and the weights of all parameters there."""
    days, names = close.shape
    rows = np.arange(0, days - 2, HOLD)
    weights = np.zeros((len(LOOKBACKS) * len(SKIPS) * len(TOPS), len(rows), names))
    trial = 0
    for lookback in LOOKBACKS:
        for skip in SKIPS:
            known = rows >= lookback
            at = rows[known]
            order = np.argsort(-(close[at - skip] / close[at - lookback] - 1), axis=1, kind="stable")
            for top in TOPS:
                chosen = np.zeros((len(at), names))
                np.put_along_axis(chosen, order[:, :top], 0.5 / top, axis=1)
                np.put_along_axis(chosen, order[:, -top:], -0.5 / top, axis=1)
                weights[trial, known] = chosen
                trial += 1
    return rows, weights


def picks(returns: np.ndarray, rows: np.ndarray):
    """Returns for each row of decision the trial that was best in training, -1 before the
    first test block. Returns have a row for each day."""
    days = len(returns)
    chosen = np.full(len(rows), -1)
    ends: list[int] = []
    for start in range(TRAIN + PURGED, days, TEST):
        train = np.zeros(days, dtype=bool)
        train[start - PURGED - TRAIN : start - PURGED] = True
        for end in ends:
            train[end : end + EMBARGO] = False
        with np.errstate(invalid="ignore", divide="ignore"):
            sample = returns[train]
            sharpe = sample.mean(axis=0) / sample.std(axis=0, ddof=1)
        chosen[rows >= start] = np.argmax(np.where(np.isfinite(sharpe), sharpe, -np.inf))
        ends.append(min(days, start + TEST))
    return chosen


def follow(weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns the weights of the trials that were picked, cash where there is none."""
    followed = weights[np.maximum(chosen, 0), np.arange(len(chosen))].copy()
    followed[chosen < 0] = 0.0
    return followed[None]


def returns_of(equity: np.ndarray) -> np.ndarray:
    """Returns the daily returns of equity, a day a row; the first is against 1."""
    return np.diff(equity, axis=0, prepend=np.ones((1, equity.shape[1]))) / np.vstack(
        [np.ones((1, equity.shape[1])), equity[:-1]]
    )


class NumPy:
    """All parameters side by side; a step for each day of a trade."""

    def __init__(self, directory: Path):
        self.version = np.__version__
        self.close = np.fromfile(directory / "close.f64").reshape(-1, 20)

    def equity(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        close, trials = self.close, len(weights)
        days = len(close)
        equity = np.ones((days, trials))
        shares, cash = np.zeros((trials, close.shape[1])), np.ones(trials)
        for i, row in enumerate(rows):
            day = row + 1
            price = close[day]
            value = cash + shares @ price
            wanted = weights[:, i] * value[:, None] / price
            traded = (wanted - shares) * price
            cash = cash - traded.sum(axis=1) - COST * np.abs(traded).sum(axis=1)
            shares = wanted
            until = rows[i + 1] + 1 if i + 1 < len(rows) else days
            equity[day:until] = cash + close[day:until] @ shares.T
        equity[-1] -= COST * (np.abs(shares) @ close[-1])
        return equity

    def sweep(self):
        rows, weights = decisions(self.close)
        equity = self.equity(rows, weights)
        chosen = picks(returns_of(equity), rows)
        followed = self.equity(rows, follow(weights, chosen))
        return [float(equity[-1].sum()), float(followed[-1, 0])]

    def run(self):
        return best(self.sweep, 5)


class NumPyEach(NumPy):
    """A parameter after another, as strategies that know nothing of each other are run."""

    def equity(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        one = super().equity
        return np.hstack([one(rows, weights[trial : trial + 1]) for trial in range(len(weights))])


class Vectorbt(NumPy):
    """One portfolio for each parameter, its names sharing cash."""

    def __init__(self, directory: Path):
        import vectorbt

        super().__init__(directory)
        self.vbt, self.version = vectorbt, vectorbt.__version__

    def equity(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        import pandas as pd

        (days, names), trials = self.close.shape, len(weights)
        size = np.full((days, trials, names), np.nan)
        size[rows + 1] = weights.transpose(1, 0, 2)
        size[-1] = 0.0
        columns = pd.MultiIndex.from_product([range(trials), range(names)], names=["trial", "name"])
        portfolio = self.vbt.Portfolio.from_orders(
            pd.DataFrame(np.tile(self.close, trials), columns=columns),
            size=size.reshape(days, -1),
            size_type="targetpercent",
            fees=COST,
            init_cash=CAPITAL,
            cash_sharing=True,
            group_by="trial",
            call_seq="auto",
            freq="1D",
        )
        return portfolio.value().to_numpy().reshape(days, trials) / CAPITAL

    def run(self):
        # The first run compiles.
        self.sweep()
        return best(self.sweep, 3)


class Arch:
    """Intervals of the Sharpe ratio by stationary bootstraps."""

    def __init__(self, directory: Path):
        import arch

        self.version = arch.__version__
        self.returns = np.fromfile(directory / "returns.f64")

    def run(self):
        from arch.bootstrap import StationaryBootstrap

        def sharpe(values):
            return values.mean() / values.std(ddof=1) * np.sqrt(252)

        def interval():
            bootstrap = StationaryBootstrap(21, self.returns, seed=np.random.default_rng(42))
            return np.quantile(bootstrap.apply(sharpe, RESAMPLES), [0.025, 0.975])

        interval()
        seconds, ends = best(interval, 10)
        return seconds, ends.tolist()


def main() -> None:
    name, directory = sys.argv[1], Path(sys.argv[2])
    peer = {"numpy": NumPy, "numpy-each": NumPyEach, "vectorbt": Vectorbt, "arch": Arch}[name](directory)
    seconds, checks = peer.run()
    print(json.dumps({"version": peer.version, "seconds": seconds, "checks": checks}))


if __name__ == "__main__":
    main()
