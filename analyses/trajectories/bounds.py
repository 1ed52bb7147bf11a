"""Does a bound that was proved of a quantity hold along recorded values, and how much of the room is used?

Each coordinate is held against its own lower and upper bound; a value beyond by more than ``rounding`` (relative to the width
of the interval, or to 1 where that is 0) is a violation. Takes a Trajectory of the quantity; costs one pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class TrajectoryBounds(Result):
    """Recorded values between their bounds.

    Attributes
    ----------
    lower, upper : (dim,)
    quantiles : (5, dim)
        Least, quartiles and largest of the values.
    used : (dim,)
        Share of the interval between the least and the largest value; 0 for an interval of no width.
    violations, values
        How many values lie beyond their bounds, of how many.
    worst
        How far beyond, at most, in the quantity's units; negative when every value is inside: then how near it comes.
    checks
        No value lies beyond its bounds.
    """

    lower: Float[np.ndarray, " dim"]
    upper: Float[np.ndarray, " dim"]
    quantiles: Float[np.ndarray, "5 dim"]
    used: Float[np.ndarray, " dim"]
    violations: int
    values: int
    worst: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many values keep the bounds, and how much of the room they use."""
        kept = self.values - self.violations
        text = f"{kept} of {self.values} values of {counted(len(self.lower), 'coordinate')} keep their bounds"
        text += f", the others are up to {self.worst:.2g} beyond" if self.violations else ""
        text += f"; they use {np.median(self.used):.0%} of the interval in the median"
        return text + f", {self.used.min():.0%} to {self.used.max():.0%}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Bounds, range and quartiles of each coordinate."""
        ax = axes_or_new(ax)
        places = np.arange(1, len(self.lower) + 1)
        ax.vlines(places, self.lower, self.upper, color="0.8", linewidth=5, label="bounds")
        ax.vlines(places, self.quantiles[0], self.quantiles[4], color="C0", linewidth=1.5, label="range")
        ax.vlines(places, self.quantiles[1], self.quantiles[3], color="C0", linewidth=4, label="quartiles")
        ax.set(xlabel="coordinate", ylabel="value")
        ax.legend(frameon=False, fontsize="small")
        return ax


def trajectory_bounds(trajectory: Trajectory, lower: Any, upper: Any, *, rounding: float = 1e-12) -> TrajectoryBounds:
    """Hold recorded values against the bounds that were proved of them.

    Parameters
    ----------
    lower, upper
        A number for all coordinates or (dim,); infinite where there is none.
    rounding
        Allowed beyond, as a share of the width of the interval.

    Raises
    ------
    InputError
        For bounds of another width, NaN, or a lower one above the upper one.
    """
    points = trajectory.points()
    dim = points.shape[1]
    try:
        low, high = (np.broadcast_to(np.asarray(bound, dtype=np.float64), (dim,)).copy() for bound in (lower, upper))
    except ValueError:
        raise InputError(
            f"bounds are numbers or have shape ({dim},), but {np.shape(lower)} and {np.shape(upper)} came"
        ) from None
    if not dim or not (low <= high).all():
        raise InputError(
            f"every lower bound is at most the upper one, but {int((~(low <= high)).sum())} of {dim} are not"
        )
    width = high - low
    scale = np.where(np.isfinite(width) & (width > 0), width, 1.0)
    beyond = np.maximum(low - points, points - high)
    quantiles = np.quantile(points, LEVELS, axis=0)
    bounded = np.isfinite(width) & (width > 0)
    violations = int((beyond > rounding * scale).sum())
    return TrajectoryBounds(
        lower=low,
        upper=high,
        quantiles=quantiles,
        used=np.divide(quantiles[4] - quantiles[0], width, out=np.zeros(dim), where=bounded),
        violations=violations,
        values=points.size,
        worst=float(beyond.max()),
        checks=(Check("values beyond their bounds", 0.0, float(violations), 0.0),),
    )
