"""When do curves of a training fall for good, and do they fall together? Loss, error and number of states, side by side.

Method: a curve's fall is its last way from near its highest value to near its last one. It begins at the last checkpoint
whose value is at least ``1 - margin`` of the range between the two and ends at the first one afterwards with at most
``margin`` of it; its middle is where half the range is last crossed, by a straight line. Falls are together when their
middles are closer than those of curves that fall independently, each at any time of the training.

A fall says nothing of its cause, and a curve that wanders has one too: the null is of their coincidence alone. Takes curves
(curves, checkpoints) and when the checkpoints were taken; costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Null, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Falls(Result):
    """Where each curve falls.

    Attributes
    ----------
    names
        One a curve.
    at : (checkpoints,)
        When each was taken.
    curves : (curves, checkpoints)
    begins, middles, ends : (curves,)
        Of the falls, in units of ``at``; NaN for a curve that ends at its highest value.
    spread
        Largest middle less the smallest; NaN when fewer than two curves fall.
    nulls
        "falls at any time": the logarithm of the spread. None when fewer than two curves fall.
    checks
        None.
    """

    names: tuple[str, ...]
    at: Float[np.ndarray, " checkpoints"]
    curves: Float[np.ndarray, "curves checkpoints"]
    begins: Float[np.ndarray, " curves"]
    middles: Float[np.ndarray, " curves"]
    ends: Float[np.ndarray, " curves"]
    spread: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def together(self) -> bool:
        """Whether the middles are closer than falls at any time are (p at most 0.05)."""
        return any(null.beaten and null.observed < np.median(null.draws) for null in self.nulls)

    def summary(self) -> str:
        """How many curves fall, from what to what and when, and how far apart."""
        fallen = np.isfinite(self.middles)
        ways = [
            f"{name} from {curve.max():.3g} to {curve[-1]:.3g} between {begin:.4g} and {end:.4g}"
            for name, curve, begin, end, falls in zip(
                self.names, self.curves, self.begins, self.ends, fallen, strict=True
            )
            if falls
        ]
        text = f"{int(fallen.sum())} of {counted(len(fallen), 'curve')} fall"
        text += f": {', '.join(ways)}" if ways else ""
        if self.nulls:
            null = self.nulls[0]
            usual = np.exp(np.median(null.draws))
            text += (
                f"; their middles lie within {self.spread:.3g} of each other, against {usual:.3g} for falls at any time "
                f"(p = {null.p:.2g}): {'' if self.together else 'not shown to be '}together"
            )
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each curve as a share of its highest value, its middle marked."""
        ax = axes_or_new(ax)
        for name, curve, middle in zip(self.names, self.curves, self.middles, strict=True):
            (line,) = ax.plot(self.at, curve / max(curve.max(), 1e-300), label=name)
            if np.isfinite(middle):
                ax.axvline(middle, color=line.get_color(), linewidth=0.8, linestyle=":")
        ax.set(xlabel="training", ylabel="share of the highest value", ylim=(-0.02, 1.05))
        if self.names:
            ax.legend(fontsize=7, frameon=False)
        return ax


def falls(
    curves: Any,
    *,
    at: Any,
    names: Sequence[str],
    margin: float = 0.1,
    draws: int = 999,
    generator: np.random.Generator | None = None,
) -> Falls:
    """Find when curves fall for good, and whether they do so together.

    Parameters
    ----------
    curves : (curves, checkpoints)
        Finite, 0 or more.
    at : (checkpoints,)
        Ascending: epochs or updates.
    names
        One a curve.
    margin
        Share of a curve's range that counts as near its end, above 0 and below one half.
    draws
        Of the null.
    generator
        A fixed seed when left out.

    Raises
    ------
    InputError
        For curves of another shape, negative or not finite, checkpoints that do not ascend, or a margin out of range.
    """
    values, when = np.array(curves, dtype=np.float64), np.array(at, dtype=np.float64)
    if values.ndim != 2 or when.shape != values.shape[1:] or len(names) != len(values) or not len(when):
        raise InputError(
            f"curves are (curves, checkpoints) with a name each and a time for each checkpoint, but {values.shape}, "
            f"{len(names)} names and {when.shape} came"
        )
    if not np.isfinite(values).all() or values.min(initial=0) < 0 or (np.diff(when) <= 0).any():
        raise InputError("curves are finite and 0 or more, and checkpoints ascend")
    if not 0 < margin < 0.5:
        raise InputError(f"margin={margin} must lie between 0 and one half")
    generator = generator or np.random.default_rng(0)

    places = np.array([_fall(curve, when, margin) for curve in values]).reshape(-1, 3)
    middles = places[np.isfinite(places[:, 1]), 1]
    spread, nulls = float("nan"), tuple[Null, ...]()
    if len(middles) > 1:
        spread = float(np.ptp(middles))
        anyhow = np.log(np.ptp(generator.uniform(when[0], when[-1], (draws, len(middles))), axis=1))
        observed = np.log(spread) if spread > 0 else -np.inf
        hypothesis = "curves fall independently of each other, each at any time"
        nulls = (Null("falls at any time", hypothesis, "training", anyhow, float(observed)),)
    begins, middle, ends = places.T
    return Falls(tuple(names), when, values, begins, middle, ends, spread, nulls, ())


def _fall(curve: np.ndarray, at: np.ndarray, margin: float) -> tuple[float, float, float]:
    """When it begins, passes half of its range and ends; NaN for a curve that ends at its highest value."""
    drop = curve.max() - curve[-1]
    if not drop > 0:
        return (float("nan"),) * 3
    left = (curve - curve[-1]) / drop
    begin = int(np.flatnonzero(left >= 1 - margin)[-1])
    half = int(np.flatnonzero(left >= 0.5)[-1])
    end = begin + int(np.flatnonzero(left[begin:] <= margin)[0])
    middle = np.interp(-0.5, -left[half : half + 2], at[half : half + 2])
    return float(at[begin]), float(middle), float(at[end])
