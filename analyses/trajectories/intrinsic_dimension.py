"""How many coordinates does a cloud of states need, locally, at each step of the clock?

Method: TwoNN: with mu the ratio of the distances to the second and first neighbour, d = (N - 1) / sum log mu, the maximum
likelihood estimate less its bias (Facco, d'Errico, Rodriguez, Laio, Scientific Reports 7, 12140, 2017; no share of the largest
ratios is dropped). Beside it the estimate of Levina and Bickel (NeurIPS 2004) from ``neighbours`` distances T_j of each point,
its inverses averaged over points (MacKay and Ghahramani, 2005): 1 / d = mean over points and j < k of log(T_k / T_j). Both read
dimensions above about ten too low from any number of points that fits in memory: they are lower bounds there.

Of states that move, steps are clouds of their own; a stationary recording goes in as one step: reshape it to (points, 1, dim).
Standard errors leave out the texts in turn, where runs carry the label "text", else runs. The null draws Gaussian clouds with
the covariance of each step's own: one that is no lower needs no curved manifold to explain it.

Takes a Trajectory; costs points^2 dim a step and a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.trajectories._depth import SCRAMBLED, TWIN, twin_null
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class IntrinsicDimension(Result):
    """Local dimension of the cloud at each step.

    Attributes
    ----------
    two_neighbours, likelihood : (steps,)
        TwoNN and Levina-Bickel estimates; NaN where fewer than ``neighbours`` + 2 different points lie.
    standard_errors : (steps,)
        Of the first, by leaving out texts.
    gaussian : (steps,)
        Median of the first over Gaussian clouds of the same covariance and number of points; NaN without draws.
    points : (steps,)
        Different states; equal ones count once.
    neighbours
        Of the second estimate.
    nulls
        Of the mean over steps: "Gaussian clouds" and random-weight twins.
    checks
        None: the estimates have no identity to satisfy.
    """

    two_neighbours: Float[np.ndarray, " steps"]
    likelihood: Float[np.ndarray, " steps"]
    standard_errors: Float[np.ndarray, " steps"]
    gaussian: Float[np.ndarray, " steps"]
    points: Int[np.ndarray, " steps"]
    neighbours: int
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def mean(self) -> float:
        """Over the steps that have an estimate; NaN where none has."""
        known = np.isfinite(self.two_neighbours)
        return float(self.two_neighbours[known].mean()) if known.any() else float("nan")

    def summary(self) -> str:
        """First, least and last dimension over the steps, beside the Gaussian clouds."""
        known = np.flatnonzero(np.isfinite(self.two_neighbours))
        text = f"{len(known)} of {counted(len(self.points), 'step')} have an estimate"
        if not len(known):
            return text
        d, least = self.two_neighbours, known[self.two_neighbours[known].argmin()]
        text += f"; dimension {d[known[0]]:.1f} at first, {d[least]:.1f} at least (step {least}), {d[known[-1]]:.1f} at last"
        for null in self.nulls:
            verdict = f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
            text += f"; mean {null.observed:.1f}, {null.name} {np.median(null.draws):.1f} ({verdict})"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Dimension at each step, with two standard errors, beside the Gaussian clouds."""
        ax = axes_or_new(ax)
        at = np.arange(len(self.points))
        ax.errorbar(
            at, self.two_neighbours, 2 * np.nan_to_num(self.standard_errors), color="k", marker="o", label="TwoNN"
        )
        ax.plot(at, self.likelihood, color="tab:blue", label=f"likelihood, {self.neighbours} neighbours")
        ax.plot(at, self.gaussian, color="tab:red", linestyle=":", label="Gaussian cloud")
        ax.set(xlabel="step", ylabel="dimension")
        ax.legend(frameon=False)
        return ax


def intrinsic_dimension(
    trajectory: Trajectory,
    *,
    neighbours: int = 10,
    twins: Sequence[IntrinsicDimension] = (),
    scrambled: Sequence[IntrinsicDimension] = (),
    draws: int = 19,
    groups: int = 10,
    generator: torch.Generator | None = None,
) -> IntrinsicDimension:
    """TwoNN and likelihood estimates of the local dimension of the states at each step.

    Parameters
    ----------
    neighbours
        Of the likelihood estimate.
    twins, scrambled
        What this function gave for networks of the same shape on the same texts: with random weights, and with the network's
        own weights in random places; draws=0, groups=0 serve there.
    draws
        Gaussian clouds for each step.
    groups
        Of texts, left out in turn for the standard errors; fewer than two take none.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    InputError
        For fewer than three neighbours.
    """
    if neighbours < 3:
        raise InputError(f"the likelihood estimate takes three neighbours or more, not {neighbours}")
    runs, steps, _ = trajectory.states.shape
    labels = trajectory.labels.get("text", np.arange(runs))
    texts = np.unique(labels, return_inverse=True)[1] if labels.shape == (runs,) else np.arange(runs)
    parts = texts % max(groups, 1)
    generator = generator or torch.Generator().manual_seed(0)

    found = np.full((4, steps), np.nan)
    points = np.zeros(steps, dtype=np.int64)
    drawn = np.full((draws, steps), np.nan)
    for step in range(steps):
        there = trajectory.valid[:, step]
        cloud, first = np.unique(trajectory.states[there, step], axis=0, return_index=True)
        points[step] = len(cloud)
        if len(cloud) < neighbours + 2:
            continue
        distances = _distances(cloud, neighbours)
        found[:2, step] = _likelihood(distances[:, :2]), _likelihood(distances)
        found[2, step] = _error(cloud, parts[there][first])
        for draw, gaussian in enumerate(_gaussians(cloud, draws, generator)):
            drawn[draw, step] = _likelihood(_distances(gaussian, 2))
    known = np.isfinite(found[0])
    if draws and known.any():
        found[3, known] = np.median(drawn[:, known], axis=0)

    mean = float(found[0, known].mean()) if known.any() else float("nan")
    nulls = []
    if draws and known.any():
        hypothesis = "the clouds are Gaussian with these covariances"
        nulls.append(Null("Gaussian clouds", hypothesis, "network", drawn[:, known].mean(axis=1), mean, "dimension"))
    for name, others in ((TWIN, twins), (SCRAMBLED, scrambled)):
        nulls += twin_null("dimension", mean, [twin.mean for twin in others], name)
    return IntrinsicDimension(found[0], found[1], found[2], found[3], points, neighbours, tuple(nulls), ())


def _distances(cloud: np.ndarray, neighbours: int) -> np.ndarray:
    """(points, neighbours) distances to the nearest others, ascending."""
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=neighbours).fit(cloud).kneighbors()[0]


def _likelihood(distances: np.ndarray) -> float:
    """(terms - 1) / sum of log(T_k / T_j) over points and j < k; TwoNN of two distances a point."""
    logs = np.log(distances[:, -1:] / distances[:, :-1])
    total = logs.sum()
    return float((logs.size - 1) / total) if total > 0 else float("nan")


def _error(cloud: np.ndarray, parts: np.ndarray) -> float:
    """By the jackknife over groups of texts."""
    groups = np.unique(parts)
    kept = [cloud[parts != group] for group in groups]
    if len(groups) < 2 or min(map(len, kept)) < 4:
        return float("nan")
    values = [_likelihood(_distances(part, 2)) for part in kept]
    return float(np.sqrt((len(groups) - 1) * np.var(values)))


def _gaussians(cloud: np.ndarray, draws: int, generator: torch.Generator) -> np.ndarray:
    """(draws, points, dim) clouds with the covariance of this one."""
    _, sizes, axes = np.linalg.svd(cloud - cloud.mean(axis=0), full_matrices=False)
    noise = torch.randn(draws, len(cloud), len(sizes), generator=generator, dtype=torch.float64).numpy()
    return noise * (sizes / np.sqrt(len(cloud))) @ axes
