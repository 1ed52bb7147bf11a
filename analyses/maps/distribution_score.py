"""Which data did a network not learn? The distance of an input's trajectory to the attractors, beside simpler scores.

Method: the score of an input is the mean distance of the states that follow its code, z, f(z), ..., to the nearest attractor
(Fumero et al., ICLR 2026). Beside it stand what needs no loop: the distance of the code itself to the nearest attractor, the
distance to the k-th nearest training code (Sun et al., ICML 2022), and the caller's scores, the reconstruction error first of
all. AUROC is the share of pairs in which the outside input scores higher (ties count half); FPR95 the share of outside inputs
taken for inside ones where 95 % of these are accepted. Intervals by bootstrap over the inputs, the same for all scores, so that
a gain of one over another has its own interval.

Takes (dynamics, attractors (found, dim), inside (inputs, dim), outside (others, dim)); costs ``steps`` steps of all inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from analyses.result import Check, Null, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAJECTORY, START, NEIGHBOURS = "trajectory", "code to attractor", "neighbours"
ACCEPTED = 0.95  # of the inside inputs
CHUNK = 1 << 21  # numbers resampled at once


@dataclass(frozen=True, eq=False)
class DistributionScore(Result):
    """Scores of inputs, larger for outside, and how well each tells.

    Attributes
    ----------
    names
        "trajectory", "code to attractor", "neighbours", then the caller's.
    inside : (scores, inputs)
    outside : (scores, others)
        Infinite for a trajectory that overflows.
    auroc, fpr95 : (scores,)
    auroc_intervals, fpr95_intervals : (scores, 2)
        Bootstrap, 95 %.
    gains : (scores,)
        AUROC of the trajectory less that of each.
    gain_intervals : (scores, 2)
    checks
        None: the scores are what they are.
    nulls
        AUROC of the trajectory under shuffled labels.
    """

    names: tuple[str, ...]
    inside: Float[np.ndarray, "scores inputs"]
    outside: Float[np.ndarray, "scores others"]
    auroc: Float[np.ndarray, " scores"]
    auroc_intervals: Float[np.ndarray, "scores 2"]
    fpr95: Float[np.ndarray, " scores"]
    fpr95_intervals: Float[np.ndarray, "scores 2"]
    gains: Float[np.ndarray, " scores"]
    gain_intervals: Float[np.ndarray, "scores 2"]
    checks: tuple[Check, ...]
    nulls: tuple[Null, ...]

    @property
    def shown(self) -> bool:
        """Whether the trajectory tells more than every other score, each difference beyond its interval."""
        return bool((self.gain_intervals[1:, 0] > 0).all())

    def summary(self) -> str:
        """AUROC and FPR95 of each score, and whether the trajectory tells more than the others."""
        said = [
            f"{name} AUROC {value:.3f} ({low:.3f} to {high:.3f}), FPR95 {rate:.3f}"
            for name, value, (low, high), rate in zip(
                self.names, self.auroc, self.auroc_intervals, self.fpr95, strict=True
            )
        ]
        text = f"{self.inside.shape[1]} inputs inside, {self.outside.shape[1]} outside: {'; '.join(said)}"
        rivals = [name for name, (low, _) in zip(self.names[1:], self.gain_intervals[1:], strict=True) if not low > 0]
        if not rivals:
            return f"{text}; the trajectory tells more than each of the others"
        return f"{text}; that the trajectory tells more than {' or '.join(rivals)} is not shown"

    def plot(self, ax: Axes | None = None) -> Axes:
        """AUROC of each score with its interval, against a coin's."""
        ax = axes_or_new(ax)
        rows = np.arange(len(self.names))[::-1]
        error = np.abs(self.auroc_intervals.T - self.auroc)
        ax.errorbar(self.auroc, rows, xerr=error, fmt="o", color="#0072b2", ecolor="0.4", capsize=2)
        ax.axvline(0.5, color="0.6", linewidth=1)
        ax.set(xlabel="AUROC, outside against inside", yticks=rows, yticklabels=self.names)
        return ax


def distribution_score(
    dynamics: Dynamics,
    attractors: Any,
    inside: Any,
    outside: Any,
    *,
    training: Any,
    others: Mapping[str, tuple[Any, Any]],
    steps: int = 100,
    neighbours: int = 5,
    draws: int = 999,
    generator: np.random.Generator | None = None,
) -> DistributionScore:
    """Score inputs by their trajectories to the attractors, beside scores that need none.

    Parameters
    ----------
    attractors : (found, dim)
        Those that training data end on.
    inside, outside : (inputs, dim), (others, dim)
        Codes of held-out data, and of what is to be told from them.
    training : (points, dim)
        Codes of training data, of the neighbours.
    others
        Name -> (of the inside inputs, of the outside ones), larger for outside: {"reconstruction error": (...)}.
    steps
        Of each trajectory.
    neighbours
        k of the k-th nearest training code.
    draws
        Bootstrap resamples, and shuffles of the labels.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    DrivenError
        When the map takes a drive.
    InputError
        Without attractors or inputs on either side, for fewer training codes than neighbours, or scores that do not fit the
        inputs.
    """
    dynamics = autonomous(dynamics, "distribution_score")
    generator = generator or np.random.default_rng(0)
    points, near, far, seen = (as_states(dynamics, given) for given in (attractors, inside, outside, training))
    if not len(points) or not len(near) or not len(far) or len(seen) < neighbours or neighbours < 1 or steps < 0:
        raise InputError(
            f"a score takes attractors, inputs on both sides and {neighbours} training codes, but {len(points)}, {len(near)}, "
            f"{len(far)} and {len(seen)} came, for {steps=}"
        )
    states, total = torch.cat([near, far]), torch.zeros(len(near) + len(far)).to(near)
    with torch.no_grad():
        first = torch.cdist(states, points).amin(1)
        for step in range(steps + 1):
            total += torch.cdist(states, points).amin(1)
            states = dynamics(states) if step < steps else states
    trajectory = torch.where(torch.isfinite(total), total / (steps + 1), torch.inf).double().cpu().numpy()
    codes, tree = torch.cat([near, far]).double().cpu().numpy(), cKDTree(seen.double().cpu().numpy())
    kth = tree.query(codes, k=[neighbours])[0][:, 0]
    scores = {TRAJECTORY: trajectory, START: first.double().cpu().numpy(), NEIGHBOURS: kth}
    for name, (one, other) in others.items():
        scores[name] = np.concatenate([np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)])
        if np.shape(one) != (len(near),) or np.shape(other) != (len(far),) or np.isnan(scores[name]).any():
            raise InputError(
                f"scores {name!r} are ({len(near)},) and ({len(far)},) numbers, but {np.shape(one)} and {np.shape(other)} came"
            )
    table = np.stack(list(scores.values()))
    low, high = table[:, : len(near)], table[:, len(near) :]
    auroc, fpr95 = _auroc(low, high), _fpr95(low, high)
    areas, rates = _resampled(low, high, draws, generator)
    shuffled = generator.permuted(np.tile(trajectory, (draws, 1)), axis=1)
    chance = _auroc(shuffled[:, : len(near)], shuffled[:, len(near) :])
    said = "inside and outside inputs score alike"
    nulls = (
        (Null("shuffled labels", said, "input", chance, float(auroc[0]), "AUROC of the trajectory"),) if draws else ()
    )
    return DistributionScore(
        names=tuple(scores),
        inside=low,
        outside=high,
        auroc=auroc,
        auroc_intervals=_interval(areas),
        fpr95=fpr95,
        fpr95_intervals=_interval(rates),
        gains=auroc[0] - auroc,
        gain_intervals=_interval(areas[:, :1] - areas),
        checks=(),
        nulls=nulls,
    )


def _auroc(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(...,) of (..., inside) and (..., outside): Mann and Whitney's U over the number of pairs."""
    n, m = low.shape[-1], high.shape[-1]
    ranks = rankdata(np.concatenate([low, high], axis=-1), axis=-1)
    return (ranks[..., n:].sum(axis=-1) - m * (m + 1) / 2) / (n * m)


def _fpr95(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(...,) share of outside scores at or below the one that accepts 95 % of the inside ones."""
    threshold = np.quantile(low, ACCEPTED, axis=-1, method="inverted_cdf", keepdims=True)
    return (high <= threshold).mean(axis=-1)


def _resampled(
    low: np.ndarray, high: np.ndarray, draws: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(draws, scores) AUROC and FPR95 of resampled inputs, the same inputs for all scores."""
    areas, rates, left = [], [], draws
    while left > 0:
        count = min(left, max(1, CHUNK // (low.size + high.size)))
        one, other = (
            generator.integers(part.shape[1], size=(count, part.shape[1])) for part in (low, high)
        )  # of inputs, for each draw
        again = (low[:, one].swapaxes(0, 1), high[:, other].swapaxes(0, 1))
        areas.append(_auroc(*again))
        rates.append(_fpr95(*again))
        left -= count
    none = np.zeros((0, len(low)))
    return np.concatenate([none, *areas]), np.concatenate([none, *rates])


def _interval(resampled: np.ndarray) -> np.ndarray:
    """(scores, 2) of (draws, scores); NaN without draws."""
    if not len(resampled):
        return np.full((resampled.shape[1], 2), np.nan)
    return np.quantile(resampled, [0.025, 0.975], axis=0).T
