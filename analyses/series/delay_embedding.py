"""In how many delayed copies of itself does a series unfold, and is there anything to unfold?

Method: Cao, Physica D 110, 43 (1997). Each embedded state of d delayed values has a nearest neighbour in the maximum norm;
a(i, d) is their distance with one value more over their distance, E(d) its mean, and E1(d) = E(d + 1) / E(d) comes to 1 where
neighbours are no longer neighbours by projection alone. E*(d) is the mean difference of the next values of neighbours and
E2(d) = E*(d + 1) / E*(d): 1 at every d where the future does not depend on the past. Neighbours are beyond a Theiler window.

Curves near 1 alone prove nothing on finite data: the null draws series with the same values and nearly the same spectrum
(amplitude-adjusted surrogates), whose future depends on their past through the spectrum alone.

Takes a recording (steps,) or (runs, steps); costs a KD-tree and one search a dimension, and as much for each draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._neighbours import REPEATS, decorrelation, embedded, nearest, turn_of
from analyses.series._turns import as_series, still
from analyses.surrogates import amplitude_adjusted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHORTEST = 200  # embedded states in the largest dimension
UNFOLDED = 0.9  # of E1, from the embedding dimension on


@dataclass(frozen=True, eq=False)
class DelayEmbedding(Result):
    """Delay and dimension of an embedding, and whether the series is more than noise of its spectrum.

    Attributes
    ----------
    delay
        In steps.
    dimension
        The first from which on E1 stays above 0.9; -1 when it does not.
    E1, E2 : (dimensions,)
        For 1, 2, ... delayed values.
    theiler
        Window in steps.
    outcome
        TOO_SHORT when there are fewer than 200 states, or nothing moves.
    nulls
        The largest |E2 - 1| of amplitude-adjusted surrogates.
    checks
        E of one delayed value more is no smaller than 1, since a distance does not shrink with one value more.
    """

    delay: int
    dimension: int
    E1: Float[np.ndarray, " dimensions"]
    E2: Float[np.ndarray, " dimensions"]
    theiler: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Whether the null is beaten, the dimension and the delay."""
        if self.outcome is not Outcome.CONVERGED:
            return "no embedding: too few states, or a series that does not move"
        null = self.nulls[0] if self.nulls else None
        text = (
            ""
            if null is None
            else f"{'beats' if null.beaten else 'does not beat'} noise of the same spectrum (p = {null.p:.2g}): "
        )
        text += f"E2 departs from 1 by at most {np.abs(self.E2 - 1).max():.2g}; "
        if self.dimension < 0:
            return (
                text
                + f"E1 does not stay above {UNFOLDED:g} up to {len(self.E1)} delayed values {self.delay} steps apart"
            )
        return (
            text
            + f"{self.dimension} delayed values {self.delay} steps apart unfold it (E1 = {self.E1[self.dimension - 1]:.2g})"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """E1 and E2 by dimension."""
        ax = axes_or_new(ax)
        dimensions = np.arange(1, len(self.E1) + 1)
        ax.plot(dimensions, self.E1, "o-", label="E1", markersize=4)
        ax.plot(dimensions, self.E2, "s--", label="E2", markersize=4)
        ax.axhline(1, color="0.6", linewidth=1)
        ax.set(xlabel="delayed values", ylabel="E1, E2")
        ax.legend(frameon=False)
        return ax


def delay_embedding(
    recording: Any,
    *,
    delay: int | None = None,
    most: int = 8,
    theiler: int | None = None,
    references: int = 5000,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> DelayEmbedding:
    """Delay and dimension that unfold a series, with Cao's two curves and their null.

    Parameters
    ----------
    recording : (steps,) or (runs, steps)
        Past its transient; neighbours may lie in two runs.
    delay
        In steps; where the autocorrelation first falls below 1 - 1/e when left out.
    most
        Dimensions tried.
    theiler
        Steps within which states of one run are no neighbours; one turn at the median frequency when left out, at most a tenth
        of the steps.
    references
        At most as many states, evenly spaced, are asked for their neighbours.
    draws
        Surrogates; 0 for none, 19 for a level of 5 %.
    generator
        Of the surrogates; seed 0 when left out.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, or an option out of range.
    """
    data = np.atleast_2d(as_series(recording, (1, 2), "(steps,) or (runs, steps)"))
    if (delay is not None and delay < 1) or most < 1 or references < 1 or draws < 0 or (theiler or 0) < 0:
        raise InputError(
            f"delay, most and references are at least 1, draws and theiler not negative, but {delay=}, {most=}, {references=}, "
            f"{draws=}, {theiler=} came"
        )
    steps = data.shape[1]
    theiler = min(math.ceil(turn_of(data[..., None])), steps // 10) if theiler is None else theiler
    delay = delay or decorrelation(data[..., None])
    if len(data) * (steps - most * delay) < SHORTEST or still(data).all():
        none = np.full(most, np.nan)
        return DelayEmbedding(delay, -1, none, none.copy(), theiler, Outcome.TOO_SHORT, (), ())

    E1, E2, least = _curves(data, delay, most, theiler, references)
    above = np.flatnonzero(~(E1 >= UNFOLDED))
    dimension = int(above[-1]) + 2 if len(above) else 1
    nulls: tuple[Null, ...] = ()
    if draws:
        generator = generator or torch.Generator().manual_seed(0)
        drawn = [
            _curves(amplitude_adjusted(data, generator=generator), delay, most, theiler, references)[1]
            for _ in range(draws)
        ]
        departs = np.abs(np.array(drawn) - 1).max(axis=1)
        hypothesis = "the series is a monotonic function of linear Gaussian noise"
        nulls = (Null("amplitude-adjusted", hypothesis, "recording", departs, float(np.abs(E2 - 1).max())),)
    return DelayEmbedding(
        delay=delay,
        dimension=dimension if dimension <= most else -1,
        E1=E1,
        E2=E2,
        theiler=theiler,
        outcome=Outcome.CONVERGED,
        nulls=nulls,
        checks=(Check("E below 1 by", 0.0, max(0.0, 1 - least), 1e-12),),
    )


def delay_embedded(recording: Any, *, dimension: int, delay: int) -> Float[np.ndarray, "runs states dimension"]:
    """States of ``dimension`` values ``delay`` steps apart, oldest first, of each run of a recording (steps,) or (runs, steps).

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, or a recording shorter than one state.
    """
    data = np.atleast_2d(as_series(recording, (1, 2), "(steps,) or (runs, steps)"))
    if dimension < 1 or delay < 1 or data.shape[1] <= (dimension - 1) * delay:
        raise InputError(
            f"{dimension} values {delay} steps apart need more than {(dimension - 1) * delay} steps, but {data.shape[1]} came"
        )
    states, _ = embedded(data[..., None], dimension, delay, 0)
    return states.reshape(len(data), -1, dimension)


def _curves(
    data: np.ndarray, delay: int, most: int, theiler: int, references: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """E1 and E2 of 1 to ``most`` delayed values, and the smallest E."""
    runs, E, E_star = data[..., None], [], []
    same = REPEATS * float(data.std())
    for d in range(1, most + 2):
        states, usable = embedded(runs, d, delay, min(delay, data.shape[1] - (d - 1) * delay - 1))
        length = data.shape[1] - (d - 1) * delay
        following = np.full((len(data), length), np.nan)
        following[:, : length - delay] = data[:, d * delay :]
        after = following.reshape(-1)
        chosen = usable[np.linspace(0, len(usable) - 1, min(references, len(usable))).astype(np.int64)]
        apart, partner = (part[:, 0] for part in nearest(states, usable, chosen, theiler, 1, same, norm=np.inf))
        paired = np.isfinite(apart)
        differs = np.abs(after[chosen] - after[partner])[paired]
        E.append((np.maximum(apart[paired], differs) / apart[paired]).mean() if paired.any() else np.nan)
        E_star.append(differs.mean() if paired.any() else np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(E[1:], E[:-1]), np.divide(E_star[1:], E_star[:-1]), float(np.min(E))
