"""How many dimensions does a cloud of states fill: the Renyi dimensions D_q of its weights, over a stated range of scales.

Method: a grid of boxes of width e, moved at random; p_i the weight in box i; H_q(e) = ln(sum p_i^q) / (1 - q), at q = 1 the
entropy -sum p_i ln p_i; D_q is minus the slope of the mean of H_q over the grids against ln e (Hentschel and Procaccia, Physica
D 8, 435, 1983). q = 0 counts boxes, q = 1 gives the information dimension, q = 2 the correlation dimension. Of finitely many
points no dimension is ever proved: numbers hold for these scales, a cloud of n points has none below the scale where boxes hold
single points, and noise fills every direction below its own size. Self-similar clouds have slopes that swing around D_q with
the logarithm of the scale, so two clouds are compared at the same scales.

Takes the states of a Trajectory (points, dim) in coordinates of one unit; costs dim sorts of the points a grid and scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Outcome, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDERS = (0.0, 1.0, 2.0)
SINGLE = 0.5  # share of the occupied boxes of the smallest scale that may hold one point alone


@dataclass(frozen=True, eq=False)
class BoxDimensions(Result):
    """Renyi dimensions over one range of scales.

    Attributes
    ----------
    orders : (orders,)
        q.
    scales : (scales,)
        Widths of boxes, ascending.
    entropies : (orders, scales)
        H_q in nats, means over the grids.
    dimensions : (orders,)
        Slopes over the whole range; NaN where they cannot be taken.
    standard_errors : (orders,)
        Of the slope, from the grids alone: it knows nothing of the range of scales.
    local_slopes : (orders, scales - 1)
        Between neighbouring scales: how far the range is from one straight line.
    alone : (scales,)
        Share of the occupied boxes that hold one point.
    points
        How many of positive weight.
    outcome
        Whether boxes of the smallest scale hold more than single points.
    checks
        H_q never rises with q.
    """

    orders: Float[np.ndarray, " orders"]
    scales: Float[np.ndarray, " scales"]
    entropies: Float[np.ndarray, "orders scales"]
    dimensions: Float[np.ndarray, " orders"]
    standard_errors: Float[np.ndarray, " orders"]
    local_slopes: Float[np.ndarray, "orders steps"]
    alone: Float[np.ndarray, " scales"]
    points: int
    outcome: Outcome
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Dimensions, their range of scales and how far the slope swings there."""
        about = f"{counted(self.points, 'point')}, boxes of {self.scales[0]:.3g} to {self.scales[-1]:.3g}"
        if self.outcome is not Outcome.CONVERGED:
            return f"no dimension: the cloud {self.outcome.value} ({about})"
        parts = [
            f"D_{q:g} {D:.3f} +- {error:.3f} (local slopes {slopes.min():.2f} to {slopes.max():.2f})"
            for q, D, error, slopes in zip(
                self.orders, self.dimensions, self.standard_errors, self.local_slopes, strict=True
            )
        ]
        return f"{', '.join(parts)}; {about}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Entropies against the scale."""
        ax = axes_or_new(ax)
        for q, D, H in zip(self.orders, self.dimensions, self.entropies, strict=True):
            ax.semilogx(self.scales, H, "o-", markersize=3, label=f"q = {q:g}, slope {-D:.2f}")
        ax.set(xlabel="width of boxes", ylabel="entropy, nats")
        ax.legend(frameon=False, fontsize="small")
        return ax


def box_dimensions(
    trajectory: Trajectory,
    *,
    scales: Sequence[float] | Float[np.ndarray, " scales"],
    orders: Sequence[float] = ORDERS,
    weights: Any = None,
    grids: int = 16,
    generator: torch.Generator | None = None,
) -> BoxDimensions:
    """The dimensions of all states of a trajectory as one weighted cloud.

    Parameters
    ----------
    scales
        Widths of boxes in the states' own unit, three at least.
    orders
        q, not negative: boxes of little weight would count for most of a negative order.
    weights : (runs,) or (runs, steps)
        How much each state counts; alike when left out.
    grids
        Random places of the grid, over which entropies are averaged.
    generator
        Of the grids; seed 0 when left out, so that two clouds meet the same grids.

    Returns
    -------
    BoxDimensions
        Outcome TOO_SHORT, and dimensions NaN, where more than half of the occupied boxes at the smallest scale hold one point
        and the cloud has more than one: a count of boxes is then a count of points.

    Raises
    ------
    InputError
        For fewer than three scales, scales that are not positive and different, a negative order, no grid, or weights that do
        not fit, are negative, or are all zero.
    """
    widths, q = np.unique(np.asarray(scales, dtype=np.float64)), np.asarray(orders, dtype=np.float64)
    if len(widths) < 3 or len(widths) != len(scales) or not widths[0] > 0 or not np.isfinite(widths[-1]):
        raise InputError(f"scales are three or more different positive widths, but {list(scales)} came")
    if not len(q) or not (q >= 0).all() or grids < 1:
        raise InputError(f"orders are 0 or more and grids 1 or more, but {list(orders)} and {grids} came")
    share = np.ones(trajectory.valid.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    share = share[:, None] if share.ndim == 1 else share
    if share.shape not in (trajectory.valid.shape, (len(trajectory.valid), 1)) or not (share >= 0).all():
        raise InputError(f"weights are not negative, one a run or a state of {trajectory.valid.shape}")
    p = np.broadcast_to(share, trajectory.valid.shape)[trajectory.valid]
    points, p = trajectory.points()[p > 0], p[p > 0]
    if not len(points):
        raise InputError("no state has a positive weight")
    p = p / p.sum()

    places = (
        torch.rand(grids, points.shape[1], generator=generator or torch.Generator().manual_seed(0)).double().numpy()
    )
    entropies, alone = np.empty((grids, len(q), len(widths))), np.empty((grids, len(widths)))
    for j, width in enumerate(widths):
        for i, place in enumerate(places):
            boxes = _boxes(points / width + place)
            alone[i, j] = (np.bincount(boxes) == 1).mean()
            entropies[i, :, j] = _renyi(np.bincount(boxes, weights=p), q)

    slopes = -np.polyfit(np.log(widths), entropies.reshape(-1, len(widths)).T, 1)[0].reshape(grids, len(q))
    sparse = len(points) > 1 and alone[:, 0].mean() > SINGLE
    mean = entropies.mean(0)
    rises = np.diff(mean[np.argsort(q)], axis=0).max(initial=0.0)
    error = slopes.std(0, ddof=1) / np.sqrt(grids) if grids > 1 else np.full(len(q), np.nan)
    return BoxDimensions(
        orders=q,
        scales=widths,
        entropies=mean,
        dimensions=np.full(len(q), np.nan) if sparse else slopes.mean(0),
        standard_errors=np.full(len(q), np.nan) if sparse else error,
        local_slopes=-np.diff(mean, axis=1) / np.diff(np.log(widths)),
        alone=alone.mean(0),
        points=len(points),
        outcome=Outcome.TOO_SHORT if sparse else Outcome.CONVERGED,
        checks=(Check("largest rise of the entropy with the order", 0.0, float(max(rises, 0.0)), 1e-9),),
    )


def _boxes(cells: np.ndarray) -> np.ndarray:
    """The number of each point's box, 0 upwards."""
    number = np.zeros(len(cells), dtype=np.int64)
    for column in np.floor(cells).T:
        _, along = np.unique(column, return_inverse=True)
        _, number = np.unique(number * (along.max() + 1) + along, return_inverse=True)
    return number


def _renyi(p: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """H_q in nats of one distribution, at each order."""
    return np.array([-(p @ np.log(p)) if q == 1 else np.log((p**q).sum()) / (1 - q) for q in orders])
