"""Permutation entropy at order 6: time and peak memory beside antropy and ordpy, on the same series in one run.

    python -m benchmarks.ordinal

One Gaussian series of 1e5 values, and 1000 of 1e4. A peer that is not installed is left out. The toolkit's time holds the
complexity, absent patterns, ties, bounds and standard errors too; nulls are not drawn.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import numpy as np

from analyses.series.ordinal import ordinal_patterns
from benchmarks._table import allocated, machine, table, timed, write_section


def peer(name: str) -> ModuleType | None:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def main() -> None:
    """Time all in turn, print the table and write it to RESULTS.md."""
    rng = np.random.default_rng(0)
    one, many = rng.standard_normal(100_000), rng.standard_normal((1000, 10_000))
    antropy, ordpy = peer("antropy"), peer("ordpy")
    rows = []
    for title, series, times in (("1 x 1e5", one[None], 15), ("1000 x 1e4", many, 1)):
        tools: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "this toolkit": lambda x: ordinal_patterns(x, draws=0).entropies[:, 0]
        }
        if antropy is not None:
            tools["antropy"] = lambda x: np.array([antropy.perm_entropy(row, 6, normalize=True) for row in x])
        if ordpy is not None:
            tools["ordpy"] = lambda x: np.array([ordpy.permutation_entropy(row, dx=6) for row in x])
        ours = None
        for name, tool in tools.items():
            seconds, found = timed(lambda: tool(series), times=times)  # noqa: B023
            peak = allocated(lambda: tool(series))  # noqa: B023
            ours = (seconds, found) if ours is None else ours
            apart = float(np.abs(found - ours[1]).max())
            ratio = f"{seconds / ours[0]:.1f}"
            rows.append([title, name, f"{1000 * seconds:.1f}", ratio, f"{peak:.0f}", f"{apart:.0e}"])
    header = ["series", "tool", "median, ms", "ratio", "peak beyond the series, MiB", "farthest from ours"]
    page = table(header, rows)
    print(page)
    write_section("Permutation entropy, order 6", f"{page}\n\nGaussian noise, seed 0. {machine()}.")


if __name__ == "__main__":
    main()
