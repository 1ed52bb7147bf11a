"""p-leaders with 20 orders and three cumulants: time beside pymultifracs, on the same walks in one run.

    python -m benchmarks.wavelet_leaders

One walk of 1e4 Gaussian steps, 50, and 1000. Octaves 4 to 9, db3, p = 2; the toolkit's time holds the choice of the range, 200
resamples of its blocks and their intervals; nulls are not drawn. A peer that is not installed is left out.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable

import numpy as np

from analyses.series.wavelet_leaders import wavelet_leaders
from benchmarks._table import allocated, machine, table, timed, write_section

ORDERS = np.linspace(-3, 3, 20).tolist()


def ours(walks: np.ndarray) -> np.ndarray:
    """c1 of each walk."""
    return wavelet_leaders(walks, orders=ORDERS, octaves=(4, 9), walk=True, integration=0.0, draws=0).c[:, 0]


def main() -> None:
    """Time both in turn and write the table to RESULTS.md."""
    walks = np.cumsum(np.random.default_rng(0).standard_normal((1000, 10_000)), axis=1)
    tools: dict[str, Callable[[np.ndarray], np.ndarray]] = {"this toolkit": ours}
    try:
        pymultifracs = importlib.import_module("pymultifracs")
    except ImportError:
        pass
    else:

        def theirs(walks: np.ndarray) -> np.ndarray:
            found = pymultifracs.wavelet_analysis(walks.T, wt_name="db3").get_leaders(p_exp=2)
            fitted = pymultifracs.mfa(found, scaling_ranges=[(4, 9)], weighted="Nj", q=ORDERS, n_cumul=3)
            return np.ravel(fitted.cumulants.c1)

        tools["pymultifracs, all at once"] = theirs
        tools["pymultifracs, one by one"] = lambda walks: np.concatenate([theirs(walk[None]) for walk in walks])
    rows = []
    for title, series, times in (("1 x 1e4", walks[:1], 15), ("50 x 1e4", walks[:50], 1), ("1000 x 1e4", walks, 1)):
        first = None
        for name, tool in tools.items():
            if len(series) != 50 and "one by one" in name:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tool(series[:1])  # imports on first use
                seconds, found = timed(lambda: tool(series), times=times)  # noqa: B023
            peak = allocated(lambda: tool(series))  # noqa: B023
            first = (seconds, found) if first is None else first
            apart = np.nanmax(np.abs(found - first[1]))
            ratio = f"{seconds / first[0]:.1f}"
            rows.append([title, name, f"{1000 * seconds:.1f}", ratio, f"{peak:.0f}", f"{apart:.3f}"])
    header = ["walks", "tool", "median, ms", "ratio", "peak beyond the walks, MiB", "farthest c1 from ours"]
    page = table(header, rows)
    print(page)
    write_section("Wavelet p-leaders", f"{page}\n\nWalks of Gaussian noise, seed 0. {machine()}.")


if __name__ == "__main__":
    main()
