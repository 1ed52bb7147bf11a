"""Is the loss smooth in a parameter, or rough? A one-dimensional slice of it for several unrolls.

A smooth slice rises and falls a few times: its total variation is a few times its range. In a chaotic map the loss after many
steps turns on differences of every size, and neighbouring points of a slice have nothing to do with one another (Metz,
Freeman, Schoenholz, Kachman, arXiv 2111.05803). Roughness here is total variation over range, 1 for a monotone slice; the null
is the same values in random order, which a slice cannot be told from once its points are independent.

Takes (dynamics, starts and drives along a line (points, dim), (points, inputs)); costs one rollout of the longest length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.maps._loss import Loss, projected
from analyses.result import Check, Null, Result, axes_or_new
from hooks.dynamics import Dynamics, as_drive, as_states, autonomous
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = 199  # shuffles, so that p can reach 0.005
ROUNDING = 1e-13  # of the largest loss: a slice with a smaller range is constant


@dataclass(frozen=True, eq=False)
class LossSlices(Result):
    """The loss at the end of each unroll, point by point.

    Attributes
    ----------
    lengths : (lengths,)
        Steps unrolled, ascending.
    losses : (lengths, points)
    roughness : (lengths,)
        Total variation over range; 1 for a monotone slice, 0 for a constant one, NaN where a loss is not finite.
    dt
        Clock units per step.
    checks
        The slice at the shortest unroll, again from one point at a time.
    nulls
        One an unroll: the roughness of the same values in random order.
    """

    lengths: Int[np.ndarray, " lengths"]
    losses: Float[np.ndarray, "lengths points"]
    roughness: Float[np.ndarray, " lengths"]
    dt: float
    checks: tuple[Check, ...]
    nulls: tuple[Null, ...]

    @property
    def of_shuffled(self) -> np.ndarray:
        """(lengths,) roughness as a share of its null's median: 1 where neighbours have nothing to do with one another."""
        medians = np.array([np.median(null.draws) for null in self.nulls])
        return np.divide(self.roughness, medians, out=np.zeros(len(medians)), where=medians > 0)

    def summary(self) -> str:
        """On how many unrolls the slice beats shuffled values, and the roughness at the shortest and the longest."""
        smooth = sum(null.beaten and null.observed < np.median(null.draws) for null in self.nulls)
        return (
            f"{smooth} of {len(self.lengths)} slices are smoother than their own values in random order; total variation over "
            f"range {self.roughness[0]:.3g} at {self.lengths[0]} steps and {self.roughness[-1]:.3g} at {self.lengths[-1]} "
            f"({self.of_shuffled[0]:.2g} and {self.of_shuffled[-1]:.2g} of shuffled)"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """The slices of the shortest, a middle and the longest unroll, each over its own range."""
        ax = axes_or_new(ax)
        rows = sorted({0, len(self.lengths) // 2, len(self.lengths) - 1})
        place = np.linspace(0, 1, self.losses.shape[1])
        for shift, row in enumerate(rows):
            values = self.losses[row]
            spread = np.ptp(values) if len(values) and np.isfinite(values).all() else 0.0
            scaled = (values - values.min()) / spread if spread > 0 else np.full(len(values), 0.5)
            ax.plot(place, scaled + 1.2 * shift, linewidth=0.8, label=f"{self.lengths[row]} steps")
        ax.set(xlabel="place on the slice", ylabel="loss, each over its own range", yticks=[])
        ax.legend(frameon=False, fontsize="small", loc="upper right")
        return ax


def loss_slices(
    dynamics: Dynamics,
    starts: Any,
    *,
    lengths: Sequence[int],
    drives: Any = None,
    loss: Loss | None = None,
    generator: torch.Generator | None = None,
) -> LossSlices:
    """The loss on the last state of unrolls, along a line of starts or of held drives.

    Parameters
    ----------
    starts : (points, dim) or (dim,)
        In the order of the slice; one start is used at every point.
    lengths
        Steps to unroll, each at least 1.
    drives : (points, inputs)
        Held over the unroll, a driven map's drive at each point: a parameter of the map may enter as its drive.
    loss
        (batch, dim) -> (batch,), each row its own. Left out, the component along one random direction.
    generator
        Draws that direction and the shuffles; fixed seeds when left out.

    Raises
    ------
    DrivenError
        For a driven map without drives.
    InputError
        For no lengths or one below 1, fewer than three points, or starts and drives of different numbers.
    """
    first = as_states(dynamics, starts)
    held = None if drives is None else as_drive(dynamics, drives)
    if held is None:
        autonomous(dynamics, "loss_slices without drives")
    points = len(first) if held is None else len(held)
    wanted = sorted(set(lengths))
    if not wanted or wanted[0] < 1 or points < 3 or len(first) not in (1, points):
        raise InputError(
            f"lengths={tuple(lengths)}, {len(first)} starts, {points} points: need a step, three points and one start "
            f"or one each"
        )
    now = first.expand(points, dynamics.dim)
    measured = loss or projected(dynamics, generator)
    losses = _losses(dynamics, now, held, wanted, measured)
    again = [
        _losses(dynamics, now[row : row + 1], None if held is None else held[row : row + 1], wanted[:1], measured)
        for row in range(0, points, max(1, points // 8))
    ]
    gap = np.abs(np.concatenate(again, axis=1)[0] - losses[0, :: max(1, points // 8)])
    scale = max(1.0, float(np.abs(losses[0]).max(initial=0)))

    generator = generator or torch.Generator().manual_seed(0)
    order = torch.rand(DRAWS, points, generator=generator, dtype=torch.float64).argsort(dim=1).numpy()
    draws, roughness = _roughness(losses[:, order]), _roughness(losses)
    return LossSlices(
        lengths=np.array(wanted, dtype=np.int64),
        losses=losses,
        roughness=roughness,
        dt=dynamics.dt,
        checks=(Check("the shortest slice, from one point at a time", 0.0, float(gap.max()), 1e-8 * scale),),
        nulls=tuple(
            Null(
                f"shuffled points, {length} steps",
                "neighbouring losses are independent",
                "point",
                draws[row],
                float(rough),
            )
            for row, (length, rough) in enumerate(zip(wanted, roughness, strict=True))
        ),
    )


def _losses(dynamics: Dynamics, now: Any, held: Any, lengths: list[int], loss: Loss) -> np.ndarray:
    """(lengths, points)"""
    found = []
    with torch.no_grad():
        for step in range(1, lengths[-1] + 1):
            now = dynamics(now, held)
            if step in lengths:
                found.append(loss(now).double().cpu().numpy())
    return np.stack(found)


def _roughness(losses: np.ndarray) -> np.ndarray:
    """(...) total variation over range along the last axis."""
    finite = np.isfinite(losses).all(axis=-1)
    values = np.where(finite[..., None], losses, 0.0)
    spread = np.ptp(values, axis=-1)
    varied = spread > ROUNDING * np.abs(values).max(axis=-1)
    rough = np.abs(np.diff(values, axis=-1)).sum(axis=-1) / np.where(varied, spread, np.inf)
    return np.where(finite, rough, np.nan)
