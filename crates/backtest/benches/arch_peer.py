"""The peer of benches/statistics.rs: arch (PyPI) on 1,000 stationary bootstraps of the
Sharpe ratio of 8,000 days, on one core. Prints the best and the median of ten runs."""

import time

import numpy as np
from arch.bootstrap import StationaryBootstrap

returns = np.random.default_rng(1).uniform(-0.02, 0.0207, 8000)


def sharpe(r):
    return r.mean() / r.std(ddof=1) * np.sqrt(252)


def run(block):
    start = time.perf_counter()
    values = StationaryBootstrap(block, returns, seed=np.random.default_rng(42)).apply(sharpe, 1000)
    np.quantile(values, [0.025, 0.975])
    return (time.perf_counter() - start) * 1e3


for block in (21, 63):
    times = sorted(run(block) for _ in range(11))
    print(f"block {block}: best {times[0]:.1f} ms, median {times[5]:.1f} ms")
