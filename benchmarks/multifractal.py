"""Multifractal detrended fluctuation analysis: CPU time and peak memory beside the MFDFA package, in one run.

    python -m benchmarks.multifractal

One Gaussian series of 1e4 values, and 1000 of them; 20 scales from 10 to 2500, 20 orders in [-5, 5], degree 1. The package is
called series by series and gives F_q(s) alone; the toolkit's time holds the range of scaling, exponents, spectrum, intervals
and the search for flat runs too, nulls are not drawn. A peer that is not installed is left out.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
import torch

from analyses.series.multifractal import mfdfa
from benchmarks._table import machine, resident, table, write_section

SCALES = np.unique(np.geomspace(10, 2500, 20).astype(int))
ORDERS = np.linspace(-5, 5, 20)
STEPS, ROUNDS = 10_000, 5


def fluctuations(tool: str, series: np.ndarray) -> np.ndarray:
    """(series, orders, scales)."""
    if tool == "this toolkit":
        return mfdfa(series, scales=SCALES, orders=ORDERS, draws=0).fluctuations
    from MFDFA import MFDFA

    return np.stack([MFDFA(row, SCALES, order=1, q=ORDERS)[1].T for row in series])


def drawn(count: int) -> np.ndarray:
    """(count, STEPS) Gaussian noise, seed 0."""
    return np.random.default_rng(0).standard_normal((count, STEPS))


def grown(tool: str, count: int) -> float:
    """Peak memory of one call beyond the series and the modules, in MiB (Linux)."""
    torch.set_num_threads(1)
    series = drawn(count)
    fluctuations(tool, series[:1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    fluctuations(tool, series)
    return (resident("VmHWM") - before) / 2**20


def main() -> None:
    """Time both by turns, print the table and write it to RESULTS.md."""
    torch.set_num_threads(1)
    tools = ["this toolkit", *(["MFDFA 0.4.3"] if find_spec("MFDFA") else [])]
    whole = STEPS % SCALES == 0  # where both cut the same windows
    rows = []
    for count in (1, 1000):
        series = drawn(count)
        inner = 20 if count == 1 else 1
        seconds: dict[str, list[float]] = {tool: [] for tool in tools}
        for _ in range(ROUNDS):
            for tool in tools:
                begin = time.process_time()
                for _ in range(inner):
                    fluctuations(tool, series)
                seconds[tool].append((time.process_time() - begin) / inner)
        ours = fluctuations(tools[0], series)[:, :, whole]
        for tool in tools:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                peak = pool.submit(grown, tool, count).result()
            apart = float(np.abs(fluctuations(tool, series[:20])[:, :, whole] / ours[:20] - 1).max())
            ratio = median(seconds[tool]) / median(seconds[tools[0]])
            took = f"{1000 * median(seconds[tool]):.1f}"
            rows.append([f"{count} x 1e4", tool, took, f"{ratio:.1f}", f"{peak:.0f}", f"{apart:.0e}"])
    header = ["series", "tool", "median CPU time, ms", "ratio", "peak beyond the series, MiB", "F farthest from ours"]
    text = (
        f"{table(header, rows)}\n\nGaussian noise, seed 0; F compared at the {whole.sum()} scales where both cut "
        f"the same windows. {machine()}."
    )
    print(text)
    write_section("Multifractal detrended fluctuation analysis", text)


if __name__ == "__main__":
    main()
