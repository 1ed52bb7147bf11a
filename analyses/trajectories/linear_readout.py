"""Is a known quantity written in the states, so that one linear map reads it off runs it was not fitted on?

Method: weighted least squares with an offset, fitted on all folds but one and scored on that one. Folds are made of whole
groups of runs, never of single states, so that two parts of one run, or of what the caller calls one group, are never on both
sides. R2 = 1 - sum w |y - y'|^2 / sum w |y - mean|^2, pooled over the coordinates of the target. So Shai et al., arXiv
2405.15943 (2024), read beliefs off a residual stream; here it is held out, and beside what the same fit makes of other states:
the targets given to other runs; the states of networks with random weights; features that the caller suspects to be enough. The
networks with random weights matter most: what a wide random network keeps of its input, a linear map reads as well.

Takes a Trajectory (runs, steps, dim) and targets (runs, steps, coordinates); costs one Gram matrix, O(states dim^2), and
O(states dim coordinates) a shuffle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.trajectories._depth import twin_null
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT = 1e-10  # of the largest variance of a direction: what is below is rounding of float32 states, and left out of the fit
NO_FEATURES: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class LinearReadout(Result):
    """How well one linear map reads the targets.

    Attributes
    ----------
    r2
        Share of the targets' variance that is read, held out; NaN where the targets never vary. It may be negative.
    fitted
        The same of the fit to all states on those states: what it is above ``r2`` was learned by heart.
    per_target : (targets,)
        The same of each coordinate.
    per_fold : (folds,)
        The same of each fold, about the mean of all.
    coefficients : (dim, targets)
    offset : (targets,)
        Of the fit to all states, which is the map to use: state @ coefficients + offset.
    predicted : (runs, steps, targets)
        Held-out readings, NaN in the padding.
    control_names
    control_r2 : (controls,)
        R2 of the same fit from other features.
    states, groups
        How many.
    checks
        The fit to all states solves its normal equations: without a ridge, errors are uncorrelated with the states.
    nulls
        Targets of other runs; networks with random weights, where they were given.
    """

    r2: float
    fitted: float
    per_target: Float[np.ndarray, " targets"]
    per_fold: Float[np.ndarray, " folds"]
    coefficients: Float[np.ndarray, "dim targets"]
    offset: Float[np.ndarray, " targets"]
    predicted: Float[np.ndarray, "runs steps targets"]
    control_names: tuple[str, ...]
    control_r2: Float[np.ndarray, " controls"]
    states: int
    groups: int
    checks: tuple[Check, ...]
    nulls: tuple[Null, ...]

    def summary(self) -> str:
        """The share read, and what controls and nulls reach."""
        if np.isnan(self.r2):
            return "nothing is read: the targets never vary"
        lost = [null.name for null in self.nulls if not null.beaten]
        text = f"no more than its null ({', '.join(lost)}): " if lost else ""
        text += (
            f"R2 {self.r2:.4f} of {counted(len(self.offset), 'target')}, on {self.states} held-out states in "
            f"{counted(len(self.per_fold), 'fold')} of {counted(self.groups, 'group')} ({self.fitted:.4f} where it is fitted)"
        )
        for name, r2 in zip(self.control_names, self.control_r2, strict=True):
            text += f"; from {name} {r2:.4f}"
        for null in self.nulls:
            text += f"; {null.name}: {np.median(null.draws):.4f}, at most {null.draws.max():.4f} in {len(null.draws)}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The held-out readings of the first two targets; of a single one, along the runs."""
        ax = axes_or_new(ax)
        read = self.predicted.reshape(-1, self.predicted.shape[2])
        first = read[:, 0]
        second = read[:, 1] if read.shape[1] > 1 else np.arange(len(read), dtype=np.float64)
        ax.plot(first, second, ".", color="#0072b2", markersize=1, alpha=0.5)
        ax.set(xlabel="target 1, read", ylabel="target 2, read" if read.shape[1] > 1 else "state")
        return ax


def linear_readout(
    trajectory: Trajectory,
    targets: Any,
    *,
    weights: Any = None,
    groups: Any = None,
    folds: int = 5,
    ridge: float = 0.0,
    controls: Mapping[str, Any] = NO_FEATURES,
    twins: Sequence[Trajectory] = (),
    shuffles: int = 99,
    generator: torch.Generator | None = None,
) -> LinearReadout:
    """Fit a linear map from states to targets, and score it where it was not fitted.

    Parameters
    ----------
    targets : (runs, steps, targets)
        What may be written in the states; padding is not read.
    weights : (runs,)
        How much each run counts, such as the probability of its history; alike when left out.
    groups : (runs,) int
        Runs of one group stay in one fold: give runs that share a beginning the same group. Each run its own when left out.
    folds
        At most the number of groups.
    ridge
        Penalty on the coefficients of coordinates of unit variance, beside the mean square error. Many coordinates and few
        different runs need one: 1e-6 leaves to rounding what moves by a thousandth, as half-precision weights do.
    controls
        Name -> features (runs, steps, features) to read the same targets from.
    twins
        The same runs through networks with random weights; 19 of them allow p = 0.05.
    shuffles
        Draws of the null that gives each run the targets of another.
    generator
        Of the folds and the shuffles; seed 0 when left out.

    Raises
    ------
    InputError
        When targets, weights, groups, controls or twins do not fit the trajectory, a target or weight is not finite or is
        negative, or there are fewer than two folds or groups, or a negative ridge.
    """
    values, valid = _beside(trajectory, targets, "targets"), trajectory.valid
    features = {name: _beside(trajectory, given, name) for name, given in controls.items()}
    for twin in twins:
        if twin.states.shape[:2] != valid.shape or (twin.valid != valid).any():
            raise InputError(f"a twin has the trajectory's {valid.shape} runs and steps, not {twin.states.shape[:2]}")
    generator = generator or torch.Generator().manual_seed(0)
    if not 0 <= ridge < np.inf:
        raise InputError(f"a ridge is a number from 0 upwards, not {ridge}")
    parts = _parts(trajectory, weights, groups, folds, generator)

    y, fit = values[valid], _Solver(trajectory.states[valid], parts, ridge)
    read = fit.held_out(y)
    coefficients, offset = fit.whole(y)
    known = trajectory.states[valid] @ coefficients + offset
    r2 = parts.r2(y, read)

    def score(states: np.ndarray) -> float:
        return parts.r2(y, _Solver(states[valid], parts, ridge).held_out(y))

    drawn = []
    for _ in range(shuffles):
        given = values[_exchanged(valid.sum(1), generator)][valid]
        drawn.append(parts.r2(given, fit.held_out(given)))
    about = "the states know nothing of their own run's targets"
    shuffled = Null("targets of other runs", about, "run", np.array(drawn, dtype=np.float64), r2, "R2")

    predicted = np.full(values.shape, np.nan)
    predicted[valid] = read
    return LinearReadout(
        r2=r2,
        fitted=parts.r2(y, known),
        per_target=np.array([parts.r2(y[:, [k]], read[:, [k]]) for k in range(y.shape[1])]),
        per_fold=np.array([parts.r2(y, read, only=k) for k in range(folds)]),
        coefficients=coefficients,
        offset=offset,
        predicted=predicted,
        control_names=tuple(features),
        control_r2=np.array([score(given) for given in features.values()], dtype=np.float64),
        states=len(y),
        groups=parts.groups,
        # a direction left out has a size of at most sqrt(KEPT (dim + 1))
        checks=(
            Check(
                "what the normal equations leave", 0.0, fit.leftover(y, known), (KEPT * (len(coefficients) + 1)) ** 0.5
            ),
        ),
        nulls=(
            *((shuffled,) if drawn and np.isfinite(r2) else ()),
            *twin_null("R2", r2, [score(twin.states) for twin in twins]),
        ),
    )


def _beside(trajectory: Trajectory, given: Any, name: str) -> np.ndarray:
    """(runs, steps, coordinates), finite where a state is."""
    values = np.asarray(given, dtype=np.float64)
    if values.ndim != 3 or values.shape[:2] != trajectory.states.shape[:2] or not values.shape[2]:
        runs, steps, _ = trajectory.states.shape
        raise InputError(f"{name} have shape ({runs}, {steps}, coordinates), but {values.shape} came")
    bad = ~np.isfinite(values[trajectory.valid]).all(axis=1)
    if bad.any():
        raise InputError(f"{name} are not finite at {bad.sum()} of {len(bad)} states")
    return values


@dataclass(frozen=True, eq=False)
class _Parts:
    """The fold and the weight of each state, weights summing to 1."""

    fold: np.ndarray
    weight: np.ndarray
    folds: int
    groups: int

    def r2(self, y: np.ndarray, read: np.ndarray, only: int | None = None) -> float:
        """Of all states or of one fold; NaN where the targets do not vary beyond rounding."""
        weight = self.weight if only is None else np.where(self.fold == only, self.weight, 0.0)
        spread = weight @ (y - self.weight @ y) ** 2
        if not spread.sum() > np.finfo(np.float64).eps * (weight @ y**2).sum():
            return float("nan")
        return float(1 - (weight @ (y - read) ** 2).sum() / spread.sum())


def _parts(trajectory: Trajectory, weights: Any, groups: Any, folds: int, generator: torch.Generator) -> _Parts:
    lengths = trajectory.valid.sum(1)
    runs = len(lengths)
    share = np.ones(runs) if weights is None else np.asarray(weights, dtype=np.float64)
    group = np.arange(runs) if groups is None else np.asarray(groups)
    if share.shape != (runs,) or group.shape != (runs,):
        raise InputError(f"weights and groups give {runs} runs one number each, not {share.shape} and {group.shape}")
    if not (np.isfinite(share) & (share >= 0)).all() or not share.sum() > 0:
        raise InputError("weights are finite, not negative, and not all zero")
    names, number = np.unique(group, return_inverse=True)
    if not 2 <= folds <= len(names):
        raise InputError(f"folds are 2 or more and at most the {len(names)} groups, not {folds}")
    fold = (torch.randperm(len(names), generator=generator) % folds).numpy()[number]
    return _Parts(np.repeat(fold, lengths), np.repeat(share / (share @ lengths), lengths), folds, len(names))


def _exchanged(lengths: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """For each run another of the same length."""
    order = np.arange(len(lengths))
    for length in np.unique(lengths):
        (alike,) = np.nonzero(lengths == length)
        order[alike] = alike[torch.randperm(len(alike), generator=generator).numpy()]
    return order


class _Solver:
    """Least squares from one set of states, whose Gram matrices are kept fold by fold."""

    def __init__(self, states: np.ndarray, parts: _Parts, ridge: float) -> None:
        self.parts, self.mean = parts, parts.weight @ states
        size = np.sqrt(parts.weight @ (states - self.mean) ** 2)
        self.size = np.where(size > KEPT * np.abs(self.mean), size, np.inf)  # a unit that never moves reads nothing
        x = np.column_stack([(states - self.mean) / self.size, np.ones(len(states))])
        self.rows = [np.flatnonzero(parts.fold == k) for k in range(parts.folds)]
        self.x = [x[rows] for rows in self.rows]
        self.weighted = [part.T * parts.weight[rows] for part, rows in zip(self.x, self.rows, strict=True)]
        self.penalty = ridge * np.diag(np.append(np.ones(len(size)), 0.0))
        grams = self._sums(x)
        self.all, *self.inverse = (
            np.linalg.pinv(gram + self.penalty, rcond=KEPT, hermitian=True)
            for gram in (grams.sum(0), *(grams.sum(0) - gram for gram in grams))
        )

    def held_out(self, y: np.ndarray) -> np.ndarray:
        """Readings of each fold by the fit to the others."""
        products, read = self._sums(y), np.empty(y.shape)
        for rows, x, inverse, own in zip(self.rows, self.x, self.inverse, products, strict=True):
            read[rows] = x @ (inverse @ (products.sum(0) - own))
        return read

    def whole(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients and offset of the fit to all states, in the states' own coordinates."""
        fit = self.all @ self._sums(y).sum(0)
        coefficients = fit[:-1] / self.size[:, None]
        return coefficients, fit[-1] - self.mean @ coefficients

    def leftover(self, y: np.ndarray, read: np.ndarray) -> float:
        """Largest entry of x' w (y - read) less the ridge's part, as a share of the targets' own size."""
        size = np.sqrt((self.parts.weight @ y**2).max())
        left = self._sums(y - read).sum(0) - self.penalty @ (self.all @ self._sums(y).sum(0))
        return float(np.abs(left).max() / size) if size > 0 else 0.0

    def _sums(self, y: np.ndarray) -> np.ndarray:
        """(folds, dim + 1, columns): the weighted products of states and columns in each fold."""
        return np.stack([weighted @ y[rows] for weighted, rows in zip(self.weighted, self.rows, strict=True)])
