"""Is one number larger than another, measured twice on the same things? Differences within pairs, and how many go which way.

The mean difference has a bootstrap interval over the pairs; the test is the exact sign test (McNemar's exact test where values
are 0 and 1): pairs that are equal say nothing, and of the others either direction is as likely if nothing differs.

Takes two numbers a unit; costs a bootstrap of 2000 draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest

from analyses.result import Check, Result, axes_or_new
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS, LEVEL = 2000, 0.95


@dataclass(frozen=True, eq=False)
class PairedDifference(Result):
    """The second number less the first, over units.

    Attributes
    ----------
    names
        Of the first and the second number.
    unit
        What was measured twice.
    first, second : (units,)
    difference
        Mean of second - first; NaN without units.
    interval : (2,)
        Bootstrap percentiles, 95 %.
    p
        Two-sided, of the exact sign test; 1 where no pair differs.
    checks
        None.
    """

    names: tuple[str, str]
    unit: str
    first: Float[np.ndarray, " units"]
    second: Float[np.ndarray, " units"]
    difference: float
    interval: Float[np.ndarray, "2"]
    p: float
    checks: tuple[Check, ...] = ()

    @property
    def larger(self) -> bool:
        """Whether the second is larger: the sign test rejects at 5 % and more pairs go up than down."""
        return self.p <= 0.05 and bool((self.second > self.first).sum() > (self.second < self.first).sum())

    def summary(self) -> str:
        """How many pairs go up and down, the means, and the difference with its interval."""
        up, down = int((self.second > self.first).sum()), int((self.second < self.first).sum())
        text = (
            f"{up} of {len(self.first)} {self.unit}s larger in {self.names[1]} than in {self.names[0]}, {down} smaller"
        )
        if not len(self.first):
            return text
        text += f"; means {self.second.mean():.4g} and {self.first.mean():.4g}, apart by {self.difference:+.3g} "
        return text + f"({self.interval[0]:+.3g} to {self.interval[1]:+.3g}), p = {self.p:.2g}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Second against first, with the line of no difference."""
        ax = axes_or_new(ax)
        ax.plot(self.first, self.second, ".", alpha=0.5)
        if len(self.first):
            ends = [min(self.first.min(), self.second.min()), max(self.first.max(), self.second.max())]
            ax.plot(ends, ends, color="0.6", lw=1)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        return ax


def paired_difference(
    first: Any,
    second: Any,
    *,
    names: Sequence[str] = ("first", "second"),
    unit: str = "unit",
    generator: np.random.Generator | None = None,
) -> PairedDifference:
    """The second number less the first, over the same units.

    Parameters
    ----------
    first, second : (units,)
        Booleans count as 0 and 1.
    names, unit
        What to call them.
    generator
        Of the bootstrap; a fixed seed when left out.

    Raises
    ------
    InputError
        When they are not of one length, or a value is not finite.
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if a.shape != b.shape or a.ndim != 1 or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise InputError(f"pairs are two finite (units,) arrays of one length, but {a.shape} and {b.shape} came")
    generator = generator or np.random.default_rng(0)
    gaps = b - a
    moved = int((gaps != 0).sum())
    drawn = gaps[generator.integers(0, len(gaps), (DRAWS, len(gaps)))].mean(axis=1) if len(gaps) else np.full(1, np.nan)
    return PairedDifference(
        names=(names[0], names[1]),
        unit=unit,
        first=a,
        second=b,
        difference=float(gaps.mean()) if len(gaps) else float("nan"),
        interval=np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]),
        p=float(binomtest(int((gaps > 0).sum()), moved).pvalue) if moved else 1.0,
    )
