"""Does the state go round, in one direction, and more than noise or a linear process of its spectra would?

Method: of the runs in the plane of their two leading principal axes, angles about the mean of all states, their wrapped
increments summed over 2 pi; the rate is the net turns of all runs over their steps, positive counterclockwise (the axes' signs
are fixed by their largest entries, so a rate is comparable within one recording, and across recordings in size). Two nulls keep
the spectra of both coordinates: with their phases randomised apart from one another, which leaves no common rotation, and
together, which leaves the rotation of a linear Gaussian process with the same cross-spectrum.

Takes a Trajectory of runs of equal length; costs one singular value decomposition and 2 draws x runs x steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.surrogates import phase_randomised
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 400  # steps of the path drawn


@dataclass(frozen=True, eq=False)
class Winding(Result):
    """Turns in the leading plane.

    Attributes
    ----------
    turns : (runs,)
        Net turns of each run, positive counterclockwise; NaN where nothing moves in two directions.
    rate
        Net turns a step, over all runs.
    radius
        Root mean square distance from the mean, within the plane.
    share
        Of the variance of all states, in the plane.
    steps
        Transitions of each run.
    path : (shown, 2)
        The head of the first run in the plane.
    nulls
        Of the rate: "phases apart", "linear process". None where it is NaN.
    checks
        None: turns have no identity to satisfy.
    """

    turns: Float[np.ndarray, " runs"]
    rate: float
    radius: float
    share: float
    steps: int
    path: Float[np.ndarray, "shown two"]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How fast the runs turn, how many agree on the direction, and the rates of the nulls."""
        if not np.isfinite(self.rate):
            return f"0 of {counted(len(self.turns), 'run')} move in two directions, so none turns"
        same = int((np.sign(self.turns) == np.sign(self.rate)).sum())
        text = f"{same} of {counted(len(self.turns), 'run')} turn in the common direction, {1000 * abs(self.rate):.3g} net "
        text += f"turns in 1000 steps at radius {self.radius:.3g}, in a plane with {self.share:.0%} of the variance"
        for null in self.nulls:
            verdict = f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
            text += f"; {null.name} {1000 * np.median(null.draws * np.sign(self.rate)):.3g} ({verdict})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The head of the first run."""
        ax = axes_or_new(ax)
        ax.plot(*self.path.T, linewidth=0.7)
        ax.plot(0, 0, "k+")
        ax.set(xlabel="first principal axis", ylabel="second")
        return ax


def winding(trajectory: Trajectory, *, draws: int = 99, generator: torch.Generator | None = None) -> Winding:
    """Net turns of the runs about their mean, in the plane of the two leading principal axes.

    Parameters
    ----------
    trajectory
        Runs of equal length.
    draws
        Of each null.
    generator
        Of the phases; a fixed seed when left out.

    Raises
    ------
    InputError
        When the runs are of unequal length.
    """
    if not trajectory.valid.all():
        raise InputError("surrogates need runs of equal length: cut them to the shortest")
    generator = generator or torch.Generator().manual_seed(0)
    runs, steps, dim = trajectory.states.shape
    points = trajectory.points()
    centered = points - points.mean(axis=0) if len(points) else points
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    if len(points) < 2 or dim < 2 or sizes[1] <= 1e-12 * max(1.0, float(np.abs(points).max())):
        return Winding(np.full(runs, np.nan), np.nan, np.nan, np.nan, steps - 1, np.zeros((0, 2)), (), ())
    axes = axes[:2] * np.sign(np.take_along_axis(axes[:2], np.abs(axes[:2]).argmax(axis=1)[:, None], axis=1))

    plane = (centered @ axes.T).reshape(runs, steps, 2)
    turns = _turns(plane)
    rate = float(turns.sum() / (runs * max(1, steps - 1)))
    apart, together = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        columns = [phase_randomised(plane[..., k], generator=generator) for k in (0, 1)]
        apart[draw] = _turns(np.stack(columns, axis=2)).sum() / (runs * max(1, steps - 1))
        together[draw] = _turns(phase_randomised(plane, generator=generator)).sum() / (runs * max(1, steps - 1))
    return Winding(
        turns=turns,
        rate=rate,
        radius=float(np.sqrt((plane**2).sum(axis=2).mean())),
        share=float((sizes[:2] ** 2).sum() / (sizes**2).sum()),
        steps=steps - 1,
        path=plane[0, :SHOWN],
        nulls=(
            Null("phases apart", "the two coordinates have nothing to do with one another", "run", apart, rate, "rate"),
            Null("linear process", "a linear Gaussian process turns as much", "run", together, rate, "linear rate"),
        )
        if draws
        else (),
        checks=(),
    )


def _turns(plane: np.ndarray) -> np.ndarray:
    """(runs,) net turns of (runs, steps, 2) about the origin."""
    angles = np.arctan2(plane[..., 1], plane[..., 0])
    return ((np.diff(angles, axis=1) + np.pi) % (2 * np.pi) - np.pi).sum(axis=1) / (2 * np.pi)
