"""Does what one network shows hold over networks, and since when in training? Numbers of many networks side by side.

Of each number its value and whether it was found (beat its nulls) in every network and at every checkpoint. Over networks the
mean has Student's interval at 95 %, and the count of those in which it was found a p: the chance of as many or more among
networks that show nothing, each found at the rate of false ones that the pages allow (a binomial tail, networks independent).
Networks are the unit: neither texts nor checkpoints of one network add to their number.

Takes (networks, checkpoints, numbers) values; costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binom, t

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL = 0.95
DRAWN = 8  # numbers in the plot


@dataclass(frozen=True, eq=False)
class Replication(Result):
    """Numbers over networks and checkpoints.

    Attributes
    ----------
    networks, checkpoints, statistics
        Names.
    values : (networks, checkpoints, statistics)
        NaN where one was not measured.
    found : (networks, checkpoints, statistics)
        Whether it beat its nulls; False where it was not measured.
    rate
        At which a network that shows nothing is found to.
    means, halves : (checkpoints, statistics)
        Mean over networks and half of its interval; the latter NaN below two networks.
    checks
        None.
    """

    networks: tuple[str, ...]
    checkpoints: tuple[str, ...]
    statistics: tuple[str, ...]
    values: Float[np.ndarray, "networks checkpoints statistics"]
    found: Bool[np.ndarray, "networks checkpoints statistics"]
    rate: float
    means: Float[np.ndarray, "checkpoints statistics"]
    halves: Float[np.ndarray, "checkpoints statistics"]
    checks: tuple[Check, ...] = ()

    @property
    def measured(self) -> np.ndarray:
        """(checkpoints, statistics) networks in which each was measured."""
        return np.isfinite(self.values).sum(axis=0)

    @property
    def p(self) -> np.ndarray:
        """(checkpoints, statistics): the chance of as many networks or more if none shows it; 1 where none was measured."""
        return binom.sf(self.found.sum(axis=0) - 1, self.measured, self.rate)

    @property
    def replicated(self) -> np.ndarray:
        """(checkpoints, statistics) bool: found in more networks than chance allows, by Holm over a checkpoint's numbers."""
        order = np.argsort(self.p, axis=1, kind="stable")
        ranked = np.take_along_axis(self.p, order, axis=1) * (self.p.shape[1] - np.arange(self.p.shape[1]))
        held = np.zeros(self.p.shape, dtype=bool)
        np.put_along_axis(held, order, np.maximum.accumulate(ranked, axis=1) <= 1 - LEVEL, axis=1)
        return held

    def summary(self) -> str:
        """How many numbers hold over the networks at the last checkpoint, which, and where they were first so."""
        text = f"{counted(len(self.networks), 'network')} at {counted(len(self.checkpoints), 'checkpoint')}"
        if not self.values.size:
            return f"{text}: nothing was measured"
        held = self.replicated
        last = np.flatnonzero(held[-1])
        text = f"{len(last)} of {counted(len(self.statistics), 'number')} found in more networks than chance, {text}"
        for one in last.tolist():
            since = len(held) - int(np.argmin(held[::-1, one])) if not held[:, one].all() else 0
            text += f"; {self.statistics[one]}: {self._said(-1, one)}, since {self.checkpoints[since]}"
        if not len(last):
            best = int(self.p[-1].argmin())
            text += f" (the nearest, {self.statistics[best]}: {self._said(-1, best)})"
        if len(self.networks) < 3:
            text += "; too few networks to tell"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Means over networks by checkpoint with their intervals, each over its largest; full where found beyond chance."""
        ax = axes_or_new(ax)
        at = np.arange(len(self.checkpoints))
        held = self.replicated
        for one, name in enumerate(self.statistics[:DRAWN]):
            size = np.nanmax(np.abs(self.means[:, one]), initial=0.0) or 1.0
            mean, half = self.means[:, one] / size, np.nan_to_num(self.halves[:, one]) / size
            ax.errorbar(at, mean, half, color=f"C{one}", lw=1, capsize=2, label=name)
            ax.scatter(at[held[:, one]], mean[held[:, one]], color=f"C{one}", s=30, zorder=3)
        ax.set_xticks(at, self.checkpoints, rotation=45, fontsize=7)
        ax.set(ylabel="mean over networks, over its largest")
        if self.statistics:
            ax.legend(fontsize=6, frameon=False)
        return ax

    def _said(self, checkpoint: int, statistic: int) -> str:
        half = self.halves[checkpoint, statistic]
        spread = f" ± {half:.2g}" if np.isfinite(half) else ""
        count, of = self.found[:, checkpoint, statistic].sum(), self.measured[checkpoint, statistic]
        where = f"found in {count} of {of} (p = {self.p[checkpoint, statistic]:.2g})"
        return f"{self.means[checkpoint, statistic]:.3g}{spread}, {where}"


def replication(
    values: Any,
    found: Any,
    *,
    networks: Sequence[str],
    checkpoints: Sequence[str],
    statistics: Sequence[str],
    rate: float = 0.05,
) -> Replication:
    """Numbers of many networks side by side.

    Parameters
    ----------
    values, found : (networks, checkpoints, statistics)
        Each number, NaN where it was not measured, and whether it beat its nulls there.
    networks, checkpoints, statistics
        Names.
    rate
        At which a network that shows nothing is found to.

    Raises
    ------
    InputError
        When the shapes do not fit the names, or the rate is no chance.
    """
    numbers, hits = np.asarray(values, dtype=np.float64), np.asarray(found, dtype=bool)
    shape = len(networks), len(checkpoints), len(statistics)
    if numbers.shape != shape or hits.shape != shape or not 0 < rate < 1:
        raise InputError(
            f"values and found are (networks, checkpoints, statistics) = {shape} and the rate is in 0 to 1, but "
            f"{numbers.shape}, {hits.shape} and {rate} came"
        )
    there = np.isfinite(numbers)
    count = there.sum(axis=0)
    filled = np.where(there, numbers, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = filled.sum(axis=0) / count
        spread = np.sqrt((np.where(there, numbers - means, 0.0) ** 2).sum(axis=0) / (count - 1) / count)
    halves = np.where(count > 1, spread * t.ppf((1 + LEVEL) / 2, np.maximum(count - 1, 1)), np.nan)
    return Replication(
        tuple(networks), tuple(checkpoints), tuple(statistics), numbers, hits & there, float(rate), means, halves
    )
