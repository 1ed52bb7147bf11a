"""How often should a linear model of lifted states go back to the state? Its error against the period of re-encoding.

A Koopman autoencoder, or a dictionary with a linear fit, forecasts by z = lift(x), z <- K z, x = back(z). Latent states leave
the image of the lift as they advance. Periodic re-encoding puts them back on it every ``period`` steps, z <- lift(back(z)),
which makes the forecast a nonlinear map. Here every period is held against the truth from the same starts, and against never
going back. The error is the mean over runs, steps 1 to the horizon and coordinates of the squared difference.

Source: Fathi, Gehring, Pilault, Kanaa, Bacon, Goroshin, Course correcting Koopman representations, ICLR 2024 (arXiv
2310.15386). Takes a Trajectory and the three parts of a model; costs one way back a step and one lift where it is due.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Int64

from analyses.result import Check, Result, axes_or_new
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAR = 100.0  # deviations of the truth: a forecast that ends farther off has diverged
RESAMPLINGS = 199


@dataclass(frozen=True, eq=False)
class ReEncoding(Result):
    """Errors of a lifted linear model by the period of going back to the state.

    Attributes
    ----------
    periods : (periods,)
        Ascending; the last is the recording's number of steps: never.
    horizons : (horizons,)
        Steps over which an error is averaged, ascending.
    errors : (periods, horizons)
        Mean squared errors; infinite after an overflow.
    best : (horizons,)
        The period of the smallest error.
    interior : (horizons,)
        Share of resamplings of the runs in which the best period is neither the first nor never.
    diverged : (periods,)
        Runs that end more than a hundred deviations of the truth away, or overflow.
    runs
        How many there are.
    variance
        Of the truth, a coordinate: the error of saying the mean.
    at_start
        Mean squared error of lifting the first states and going back.
    radius
        Largest modulus of K's eigenvalues.
    checks
        Whatever the period, the first step is the same.
    """

    periods: Int64[np.ndarray, " periods"]
    horizons: Int64[np.ndarray, " horizons"]
    errors: Float64[np.ndarray, "periods horizons"]
    best: Int64[np.ndarray, " horizons"]
    interior: Float64[np.ndarray, " horizons"]
    diverged: Int64[np.ndarray, " periods"]
    runs: int
    variance: float
    at_start: float
    radius: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many runs diverge without going back, and the best period at each horizon."""
        text = f"{self.diverged[-1]} of {self.runs} runs diverge without re-encoding (largest |eigenvalue| {self.radius:.5g})"
        for h, horizon in enumerate(self.horizons):
            never = self.best[h] == self.periods[-1]
            text += f"; over {horizon} steps the best is {'never' if never else f'every {self.best[h]}'}, error "
            text += f"{self.errors[:, h].min():.2g} against {self.errors[0, h]:.2g} at every {self.periods[0]} and "
            text += f"{self.errors[-1, h]:.2g} at never, in between in {100 * self.interior[h]:.0f} % of resamplings"
        return text + f"; saying the mean errs by {self.variance:.2g}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Errors against the period, a line a horizon, never last; the variance of the truth dashed."""
        ax = axes_or_new(ax)
        places = np.arange(len(self.periods))
        for h, horizon in enumerate(self.horizons):
            ax.plot(places, np.clip(self.errors[:, h], 1e-16, 1e16), "o-", markersize=3, label=f"{horizon} steps")
        ax.axhline(max(self.variance, 1e-16), color="0.6", linestyle="--", linewidth=1)
        ax.set_xticks(places, [*map(str, self.periods[:-1]), "never"])
        ax.set(xlabel="re-encode every", ylabel="mean squared error", yscale="log")
        ax.legend(frameon=False, fontsize="small")
        return ax


def re_encoding(
    trajectory: Trajectory,
    lift: Callable[[np.ndarray], np.ndarray],
    matrix: Float[np.ndarray, "latent latent"],
    back: Callable[[np.ndarray], np.ndarray],
    *,
    periods: tuple[int, ...] = (1, 5, 10, 25, 50, 100),
    horizons: tuple[int, ...] = (100, 1000),
    generator: np.random.Generator | None = None,
) -> ReEncoding:
    """Errors of z <- K z between returns to the state, for several periods and never.

    Parameters
    ----------
    trajectory
        The truth, in runs of one length; a forecast starts at each run's first state.
    lift, back
        (points, dim) -> (points, latent), and the way back.
    matrix
        K, for columns: z <- K z.
    periods, horizons
        In steps; horizons beyond the recording's steps are cut to it.
    generator
        Of the resamplings of runs; a fixed seed when left out.

    Raises
    ------
    InputError
        For runs of several lengths, of one state or none, periods or horizons below 1 or none, parts of widths that do not fit,
        or a matrix that is not finite.
    """
    truth = trajectory.states
    if not len(truth) or truth.shape[1] < 2 or not trajectory.valid.all():
        raise InputError("the truth needs runs of one length, of two states at least: select or cut them")
    if not periods or not horizons or min(*periods, *horizons) < 1:
        raise InputError(f"periods and horizons are steps, one at least, but {periods=}, {horizons=} came")
    steps = truth.shape[1] - 1
    K = np.asarray(matrix, dtype=np.float64)
    z = np.asarray(lift(truth[:, 0]), dtype=np.float64)
    if z.shape != (len(truth), len(K)) or K.shape != (len(K), len(K)):
        raise InputError(f"{len(truth)} states are lifted to shape {z.shape}, which a matrix {K.shape} cannot advance")
    if not np.isfinite(K).all():
        raise InputError(f"{int((~np.isfinite(K)).sum())} entries of the matrix are not finite")
    start = np.asarray(back(z), dtype=np.float64)
    if start.shape != truth[:, 0].shape:
        raise InputError(f"states of shape {truth[:, 0].shape} come back as {start.shape}")
    every = np.unique(np.array([*(p for p in periods if p < steps), steps], dtype=np.int64))
    until = np.unique(np.minimum(np.array(horizons, dtype=np.int64), steps))

    z = np.broadcast_to(z, (len(every), *z.shape)).copy()
    squares = np.empty((len(every), len(truth), steps))
    for step in range(1, steps + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            z = z @ K.T
            x = np.asarray(back(z.reshape(-1, len(K))), dtype=np.float64).reshape(len(every), *truth[:, 0].shape)
            squares[:, :, step - 1] = ((x - truth[:, step]) ** 2).mean(axis=2)
            due = step % every == 0
            if due.any():
                z[due] = np.asarray(lift(x[due].reshape(-1, x.shape[2]))).reshape(z[due].shape)
    squares[np.isnan(squares)] = np.inf

    per_run = np.stack([squares[:, :, :horizon].mean(axis=2) for horizon in until], axis=2)
    variance = float(truth.var(axis=(0, 1)).mean())
    generator = generator or np.random.default_rng(0)
    drawn = generator.integers(0, len(truth), (RESAMPLINGS, len(truth)))
    winners = per_run[:, drawn].mean(axis=2).argmin(axis=0)
    errors = per_run.mean(axis=1)
    first = np.where(np.isinf(squares[:, :, 0]), 0.0, squares[:, :, 0])  # infinite at every period, or at none
    return ReEncoding(
        periods=every,
        horizons=until,
        errors=errors,
        best=every[errors.argmin(axis=0)],
        interior=((winners > 0) & (winners < len(every) - 1)).mean(axis=0),
        diverged=(squares[:, :, -1] > FAR**2 * variance).sum(axis=1).astype(np.int64),
        runs=len(truth),
        variance=variance,
        at_start=float(((start - truth[:, 0]) ** 2).mean()),
        radius=float(np.abs(np.linalg.eigvals(K)).max()),
        checks=(
            Check(
                "squared error of the first step, largest gap between periods",
                0.0,
                float(np.ptp(first, axis=0).max()),
                1e-10 * (1 + variance),
            ),
        ),
    )
