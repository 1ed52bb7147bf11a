"""How often does each unit of the residual stream turn in its phase plane, and more often than a random walk would?

Method: of the mean path a_l over texts, x_l = a_l - a_0 and y_l = g_l - g_0 with g the centred differences of a (one-sided at
both ends); tangent angles atan2(dy, dx) of successive sites, their wrapped increments summed over 2 pi. Turns are counted
clockwise: y is the slope of x, so a path that swings turns that way. Source: Fernando and Guitchounts, Transformer Dynamics,
arXiv 2502.12131, which draws its null by permuting the layers. That null destroys the sum over layers; a stream of independent
increments already turns about 0.17 times a site, so walks are drawn here as well. A path of T sites has T - 2 increments of
the angle: five full cycles over 64 sites are counted as 5 x 62 / 63.

Takes a Trajectory with depth as its steps; costs draws x sites x dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.surrogates import increments_flipped, increments_shuffled, increments_turned, random_walk, shuffled
from analyses.trajectories._depth import SCRAMBLED, TWIN, depth_runs, refuse_other_shapes, text_means, twin_null
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SURROGATES: Mapping[str, tuple[Callable[..., np.ndarray], str]] = {
    "random walk": (
        partial(random_walk, drift=False),
        "increments are independent, Gaussian, with the path's covariance",
    ),
    "turned increments": (increments_turned, "increments have their lengths and independent directions"),
    "shuffled increments": (increments_shuffled, "the order of the increments does not matter"),
    "flipped increments": (increments_flipped, "the signs of the increments do not matter"),
    "shuffled layers": (shuffled, "the order of the layers does not matter (the paper's null, which is no walk)"),
}


@dataclass(frozen=True, eq=False)
class Rotations(Result):
    """Turns of a stream's mean path in the phase plane of each unit.

    Attributes
    ----------
    turns : (dim,)
        Clockwise turns of each unit along the mean path over texts; NaN for a unit that never moves.
    mean_turns
        Their mean over units: the published count. NaN when no unit moves.
    per_text : (texts,)
        The same mean along the path of each text alone.
    sites
        Points of the path.
    nulls
        Surrogates of the mean path, and the mean turns of twins.
    checks
        None: turns have no identity to satisfy.
    """

    turns: Float[np.ndarray, " dim"]
    mean_turns: float
    per_text: Float[np.ndarray, " texts"]
    sites: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How often units turn, and whether more or less than each null."""
        moving = int(np.isfinite(self.turns).sum())
        if not moving:
            return f"none of {counted(len(self.turns), 'unit')} moves, so none turns"
        text = f"{moving} of {counted(len(self.turns), 'unit')} move and turn {self.mean_turns:.2f} times"
        text += f" over {self.sites} sites"
        for null in self.nulls:
            verdict = f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
            text += f"; {null.name} {np.median(null.draws):.2f} ({verdict})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Turns of every unit, and where the walks' means lie."""
        ax = axes_or_new(ax)
        ax.hist(self.turns[np.isfinite(self.turns)], bins=32, color="0.7")
        for null in self.nulls:
            ax.axvline(float(np.median(null.draws)), linewidth=1, linestyle=":", color="tab:red")
        if np.isfinite(self.mean_turns):
            ax.axvline(self.mean_turns, color="k", linewidth=1)
        ax.set(xlabel="clockwise turns (line: mean; dotted: nulls)", ylabel="units")
        return ax


def rotations(
    trajectory: Trajectory,
    *,
    twins: Sequence[Rotations] = (),
    scrambled: Sequence[Rotations] = (),
    draws: int = 199,
    generator: torch.Generator | None = None,
) -> Rotations:
    """Turns of each unit of the stream over depth, against random walks.

    Parameters
    ----------
    trajectory
        Clock "layer", runs of equal length; the label "text" says which runs belong to one text, each run is one without it.
    twins, scrambled
        What this function gave for networks of the same shape on the same texts: with random weights, and with the network's
        own weights in random places.
    draws
        Surrogates of each kind.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    InputError
        When the clock is another, runs are ragged, or there are fewer than three sites, or a twin has another shape.
    """
    states, texts = depth_runs(trajectory, "rotations")
    refuse_other_shapes([(twin.sites, len(twin.turns)) for twin in (*twins, *scrambled)], states, "rotations")
    generator = generator or torch.Generator().manual_seed(0)

    paths = text_means(states, texts)
    mean = paths.mean(axis=0)[None]
    turns = _turns(mean)[0]
    observed = _mean(turns[None])[0]

    nulls = []
    if np.isfinite(observed) and draws:
        repeated = np.repeat(mean, draws, axis=0)
        for name, (surrogate, hypothesis) in SURROGATES.items():
            drawn = _mean(_turns(surrogate(repeated, generator=generator)))
            nulls.append(Null(name, hypothesis, "network", drawn, float(observed), "turns"))
    for name, others in ((TWIN, twins), (SCRAMBLED, scrambled)):
        nulls += twin_null("turns", float(observed), [twin.mean_turns for twin in others], name)
    return Rotations(turns, float(observed), _mean(_turns(paths)), states.shape[1], tuple(nulls), ())


def _turns(paths: np.ndarray) -> np.ndarray:
    """(paths, dim) from (paths, sites, dim)."""
    x = paths - paths[:, :1]
    slopes = np.gradient(paths, axis=1)
    angles = np.arctan2(np.diff(slopes, axis=1), np.diff(x, axis=1))
    turned = (np.diff(angles, axis=1) + np.pi) % (2 * np.pi) - np.pi
    moves = np.ptp(paths, axis=1) > 1e-12 * np.abs(paths).max(axis=1)
    return np.where(moves, -turned.sum(axis=1) / (2 * np.pi), np.nan)


def _mean(turns: np.ndarray) -> np.ndarray:
    """Over the units that move; NaN where none does."""
    moving = np.isfinite(turns).sum(axis=1)
    return np.where(moving, np.nansum(turns, axis=1) / np.maximum(moving, 1), np.nan)
