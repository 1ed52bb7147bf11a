"""What does the trajectory look like? Its principal plane, how many directions it uses, how fast it moves.

Method: principal components of all visited states by singular value decomposition; participation ratio
(sum l)^2 / sum l^2 of their variances l (Gao et al., bioRxiv 214262, 2017). Takes a Trajectory; costs one SVD,
O(points dim^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class StreamGeometry(Result):
    """The portrait of a trajectory.

    Attributes
    ----------
    basis : (dim, kept)
        Principal directions, orthonormal; each with its largest entry positive.
    origin : (dim,)
        Mean state.
    variance_shares : (directions,)
        Share of the variance along every principal direction, largest first; zeros for a trajectory that never moves.
    participation_ratio
        Effective number of directions, 1 to dim; 0 for a trajectory that never moves.
    speeds : (runs, 3)
        Smallest, median and largest distance moved in a step, per run; NaN for a run of one state.
    portrait : (runs, steps, kept)
        The states in the principal directions, padded with NaN.
    checks
        The basis is orthonormal.
    """

    basis: Float[np.ndarray, "dim kept"]
    origin: Float[np.ndarray, " dim"]
    variance_shares: Float[np.ndarray, " directions"]
    participation_ratio: float
    speeds: Float[np.ndarray, "runs 3"]
    portrait: Float[np.ndarray, "runs steps kept"]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many directions hold how much of the variance."""
        kept = self.basis.shape[1]
        if not self.participation_ratio:
            return "the trajectory never moves, so it has no directions"
        share = 100 * self.variance_shares[:kept].sum()
        return (
            f"{share:.0f} % of the variance lies in {counted(kept, 'principal direction')} of {len(self.origin)}; "
            f"participation ratio {self.participation_ratio:.1f}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Trajectories in the first two principal directions."""
        ax = axes_or_new(ax)
        for run in self.portrait[:64]:
            y = run[:, 1] if run.shape[1] > 1 else np.zeros(len(run))
            ax.plot(run[:, 0], y, color="0.6", linewidth=0.6, alpha=0.6)
        ax.set(xlabel="principal direction 1", ylabel="principal direction 2")
        return ax


def stream_geometry(trajectory: Trajectory, *, kept: int = 3) -> StreamGeometry:
    """Principal directions, participation ratio and speeds of a trajectory.

    Parameters
    ----------
    kept
        Directions of the portrait; at most dim and the number of states.

    Raises
    ------
    InputError
        When ``kept`` is below 1, or the trajectory has no state.
    """
    points = trajectory.points()
    if kept < 1 or not len(points):
        raise InputError(
            f"a portrait needs a direction and a state at least, but kept={kept} and {len(points)} states came"
        )

    origin = points.mean(axis=0)
    _, lengths, rows = np.linalg.svd(points - origin, full_matrices=False)
    basis = rows[:kept].T
    basis = basis * np.where(np.take_along_axis(basis, np.abs(basis).argmax(axis=0)[None], axis=0) < 0, -1.0, 1.0)
    variances = lengths**2
    total = variances.sum()
    moves = total > np.finfo(np.float64).eps * (points**2).sum()

    return StreamGeometry(
        basis=basis,
        origin=origin,
        variance_shares=variances / total if moves else np.zeros_like(variances),
        participation_ratio=float(total**2 / (variances**2).sum()) if moves else 0.0,
        speeds=_speeds(trajectory),
        portrait=(trajectory.states - origin) @ basis,
        checks=(
            Check(
                "departure of the basis from orthonormal",
                0.0,
                float(np.abs(basis.T @ basis - np.eye(basis.shape[1])).max()),
                1e-10,
            ),
        ),
    )


def _speeds(trajectory: Trajectory) -> np.ndarray:
    steps = np.linalg.norm(np.diff(trajectory.states, axis=1), axis=2)
    speeds = np.full((len(steps), 3), np.nan)
    for row, (run, follows) in enumerate(zip(steps, trajectory.valid[:, 1:], strict=True)):
        if follows.any():
            speeds[row] = run[follows].min(), np.median(run[follows]), run[follows].max()
    return speeds
