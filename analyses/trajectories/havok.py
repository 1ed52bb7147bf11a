"""Is a chaotic recording a linear system that something kicks now and then? Its delay coordinates and their forcing (HAVOK).

Windows of ``delays`` successive values of one coordinate, less its mean, are the rows of a Hankel matrix H = U S V'. The
leading ``rank`` columns of U, scaled to unit variance, are the coordinates v. One linear step is fitted by least squares to the
first rank - 1 of them, the last one entering as a forcing:

    v(k + 1) = A v(k) + B f(k),    f = v_rank.

This variant steps in discrete time, since it also reads networks; the source fits derivatives by central differences. The last
coordinate is badly predicted in every recording that is not a sum of few exponentials, because its own next value needs the
coordinate that was cut off after it; so that alone says nothing of chaos. What a linear Gaussian process cannot give is a
forcing with long tails, quiet for long and then large. The forcing is a linear function of the recording, Gaussian where that
is, so its excess kurtosis stands beside that of the same forcing with random phases, each run with its own variance.

Source: Brunton, Brunton, Proctor, Kaiser, Kutz, Nature Communications 8, 19 (2017). Takes a Trajectory; windows never cross
runs. Costs one singular value decomposition of the windows, O(windows delays^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float64, Int64

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.surrogates import phase_randomised
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-14  # of the largest singular value: directions below are rounding


@dataclass(frozen=True, eq=False)
class Havok(Result):
    """A linear model of delay coordinates and what forces it.

    Attributes
    ----------
    basis : (delays, rank)
        Shapes of a window in each coordinate, orthonormal, the largest entry positive; the first sample comes first.
    singular_values : (delays,)
        Root mean squares over the windows, largest first.
    advance, entry : (rank - 1, rank - 1), (rank - 1,)
        A and B, for coordinates of unit variance.
    forcing : (windows,)
        The last coordinate, of unit variance.
    places : (windows, 2)
        Run and step of the last sample of each window.
    predicted : (rank,)
        Share of the variance of one step's increments that the linear step from all coordinates explains.
    followed : (2,)
        Share of the windows' variance that the model follows from the first window of each run to its end: with its
        forcing, and without. Below 0, worse than the mean.
    kurtosis
        Excess kurtosis of the forcing: 0 for a Gaussian.
    dropped
        Coordinates asked for that are rounding, and are left out.
    outcome
        TOO_SHORT with fewer windows than two for each delay.
    nulls
        "random phases": the kurtosis of a Gaussian forcing of the same spectrum in each run.
    checks
        The coordinates are orthonormal over the windows.
    """

    basis: Float64[np.ndarray, "delays rank"]
    singular_values: Float64[np.ndarray, " delays"]
    advance: Float64[np.ndarray, "linear linear"]
    entry: Float64[np.ndarray, " linear"]
    forcing: Float64[np.ndarray, " windows"]
    places: Int64[np.ndarray, "windows 2"]
    predicted: Float64[np.ndarray, " rank"]
    followed: Float64[np.ndarray, " 2"]
    kurtosis: float
    dropped: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How well the linear part is predicted, what the forcing adds, and whether it has long tails."""
        rank = len(self.predicted)
        if self.outcome is Outcome.TOO_SHORT:
            return f"0 delay coordinates: the recording {self.outcome.value} for {len(self.singular_values)} delays"
        if rank < 2:
            return f"{counted(rank, 'delay coordinate')} above rounding, so nothing is left to be a forcing"
        text = f"{counted(rank - 1, 'delay coordinate')} and a forcing: a linear step explains at least "
        text += f"{100 * self.predicted[:-1].min():.1f} % of the variance of each one's increments, and "
        text += f"{100 * self.predicted[-1]:.0f} % of the forcing's; the model follows {self.followed[0]:.3f} of the variance "
        text += (
            f"with its forcing and {self.followed[1]:.3f} without; the forcing's excess kurtosis is {self.kurtosis:.2f}"
        )
        for null in self.nulls:
            low, high = null.draws.min(), null.draws.max()
            text += f", {low:.2f} to {high:.2f} with random phases"
            text += "" if null.beaten and self.kurtosis > 0 else ", so intermittent forcing is not shown"
        return text + (f"; {counted(self.dropped, 'coordinate')} left out as rounding" if self.dropped else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """The forcing of the first run against the step."""
        ax = axes_or_new(ax)
        first = self.places[:, 0] == (self.places[0, 0] if len(self.places) else 0)
        ax.plot(self.places[first, 1], self.forcing[first], linewidth=0.7)
        ax.set(xlabel="step", ylabel="forcing (deviations)")
        return ax


def havok(
    trajectory: Trajectory,
    *,
    coordinate: int = 0,
    delays: int = 100,
    rank: int = 15,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> Havok:
    """The forced linear model of one coordinate's delays.

    Parameters
    ----------
    trajectory
        Runs shorter than ``delays`` + 1 steps give no window.
    coordinate
        Which one is read.
    delays
        Samples in a window.
    rank
        Coordinates, the forcing included.
    draws
        Of forcings with random phases; 19 for a level of 5 %.
    generator
        Of the draws; a fixed seed when left out.

    Raises
    ------
    InputError
        For a coordinate that there is not, or unless 2 <= rank <= delays and draws >= 0.
    """
    if not 0 <= coordinate < trajectory.states.shape[2]:
        raise InputError(
            f"there are {trajectory.states.shape[2]} coordinates, numbered from 0, but {coordinate} was asked"
        )
    if not (2 <= rank <= delays and draws >= 0):
        raise InputError(f"2 <= rank <= delays and draws >= 0 are needed, but {rank=}, {delays=}, {draws=} came")
    runs = [
        (number, run[kept, coordinate])
        for number, (run, kept) in enumerate(zip(trajectory.states, trajectory.valid, strict=True))
        if kept.sum() > delays
    ]
    lengths = [len(series) - delays + 1 for _, series in runs]
    if sum(lengths) < 2 * delays:
        return _nothing(delays, rank, Outcome.TOO_SHORT)

    v, basis, sizes = _coordinates([series for _, series in runs], delays, rank)
    numbers = np.repeat([number for number, _ in runs], lengths)
    steps = np.concatenate([np.arange(delays - 1, delays - 1 + length) for length in lengths])
    found = v.shape[1]
    if found < 2:
        told = {"basis": basis, "singular_values": sizes, "predicted": np.full(found, np.nan)}
        return _nothing(delays, rank - found, Outcome.CONVERGED, **told)
    follows = np.flatnonzero(np.diff(numbers) == 0)
    now, after = v[follows], v[follows + 1]
    step = np.linalg.lstsq(now, after, rcond=None)[0].T
    predicted = 1 - ((after - now @ step.T) ** 2).sum(axis=0) / ((after - now) ** 2).sum(axis=0)
    A, B = step[:-1, :-1], step[:-1, -1]

    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    weights = sizes[: found - 1] ** 2
    followed = [_followed(v, starts, np.array(lengths), A, entry, weights) for entry in (B, np.zeros_like(B))]
    kurtosis = _kurtosis(v[:, -1])
    generator = generator or torch.Generator().manual_seed(0)
    drawn = [
        np.concatenate(
            [phase_randomised(forcing[None], generator=generator)[0] for forcing in np.split(v[:, -1], starts[1:])]
        )
        for _ in range(draws)
    ]
    nulls = (
        Null(
            "random phases", "the forcing is Gaussian", "run",
            np.array([_kurtosis(forcing) for forcing in drawn]), kurtosis,
        ),
    ) if draws else ()  # fmt: skip
    apart = np.abs(v.T @ v / len(v) - np.eye(found)).max()
    return Havok(
        basis=basis, singular_values=sizes, advance=A, entry=B, forcing=v[:, -1], places=np.stack([numbers, steps], axis=1),
        predicted=predicted, followed=np.array(followed), kurtosis=kurtosis, dropped=rank - found, outcome=Outcome.CONVERGED,
        nulls=nulls, checks=(Check("coordinates are orthonormal, largest deviation", 0.0, float(apart), 1e-10),),
    )  # fmt: skip


def _coordinates(runs: list[np.ndarray], delays: int, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates of all windows, of unit variance, with their shapes and the root mean squares of all shapes."""
    mean = np.concatenate(runs).mean()
    windows = np.concatenate([np.lib.stride_tricks.sliding_window_view(series - mean, delays) for series in runs])
    left, sizes, shapes = np.linalg.svd(windows, full_matrices=False)
    kept = int((sizes[:rank] > SMALLEST * max(sizes[0], abs(mean) * np.sqrt(windows.size))).sum())
    basis = shapes[:kept].T
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(kept)])
    return left[:, :kept] * signs * np.sqrt(len(windows)), basis * signs, sizes / np.sqrt(len(windows))


def _followed(
    v: np.ndarray, starts: np.ndarray, lengths: np.ndarray, A: np.ndarray, B: np.ndarray, weights: np.ndarray
) -> float:
    """Share of the variance, weighted by that of each coordinate, all runs side by side."""
    now, missed = v[starts, :-1], 0.0
    for k in range(1, int(lengths.max())):
        going = lengths > k
        at = starts + np.minimum(k, lengths - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            now = now @ A.T + v[at - 1, -1:] * B
            missed += float((((now - v[at, :-1])[going] ** 2) @ weights).sum())
    return 1 - missed / float((v[:, :-1] ** 2 @ weights).sum())


def _kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2 - 3)


def _nothing(delays: int, dropped: int, outcome: Outcome, **found: np.ndarray) -> Havok:
    fields = {
        "basis": np.zeros((delays, 0)),
        "singular_values": np.full(delays, np.nan),
        "predicted": np.zeros(0),
    } | found
    return Havok(
        advance=np.zeros((0, 0)), entry=np.zeros(0), forcing=np.zeros(0), places=np.zeros((0, 2), dtype=np.int64),
        followed=np.full(2, np.nan), kurtosis=np.nan, dropped=dropped, outcome=outcome, nulls=(), checks=(), **fields,
    )  # fmt: skip
