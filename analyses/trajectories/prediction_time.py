"""How long does a forecast stay with the truth? Its error step by step, and the first step at which it is too large.

Method: the error at step t is |forecast - truth| over the root mean square deviation of the truth about its mean (all
coordinates together, over all runs and steps); a forecast is valid until the first step at which it exceeds ``threshold``. 0.4
is the usual threshold; an unrelated state of the same system is at sqrt 2 in the root mean square. Source: Pathak et al., PRL
120, 024102, 2018 (the normalised error; their f = 0.4). Takes two Trajectories whose runs begin at the same states; costs one
pass, and one for each draw of the null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Null, Result, axes_or_new
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class PredictionTime(Result):
    """How long each forecast is valid.

    Attributes
    ----------
    steps : (runs,)
        The first step whose error exceeds the threshold; the number of steps where none does.
    lasting : (runs,) bool
        Whether none does: the forecast is valid for at least that long.
    errors : (steps + 1, 3)
        Lower quartile, median and upper quartile of the normalised error over the runs, from step 0; a run that overflowed is
        infinitely far off.
    one_step
        Root mean square of the normalised error at step 1, over runs.
    times : (steps + 1,)
        In units of the clock.
    threshold
    nulls
        "forecast of another run": the mean valid steps when forecasts are held against the truth of another run.
    checks
        The forecasts begin at the true states.
    """

    steps: Int[np.ndarray, " runs"]
    lasting: np.ndarray
    errors: Float[np.ndarray, "points 3"]
    one_step: float
    times: Float[np.ndarray, " points"]
    threshold: float
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def durations(self) -> np.ndarray:
        """(runs,) valid times in units of the clock."""
        return self.times[self.steps]

    def summary(self) -> str:
        """The median valid time with its quartiles, and the error of one step."""
        low, middle, high = np.quantile(self.durations, (0.25, 0.5, 0.75))
        text = f"{len(self.steps)} forecasts are valid for {middle:.3g} units of time in the median (quartiles {low:.3g} and "
        text += f"{high:.3g}), {int(self.lasting.sum())} of them to the end; one step errs by {self.one_step:.2g} deviations"
        for null in self.nulls:
            text += "" if null.beaten else "; forecasts of other runs are valid for no shorter"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Median error with its quartiles against time, and the threshold."""
        ax = axes_or_new(ax)
        low, middle, high = np.maximum(np.minimum(self.errors[1:], 1e6), 1e-16).T
        ax.fill_between(self.times[1:], low, high, alpha=0.3, linewidth=0)
        ax.plot(self.times[1:], middle, linewidth=1)
        ax.axhline(self.threshold, color="0.6", linewidth=1)
        ax.set(xlabel="time", ylabel="normalised error (median, quartiles)", yscale="log")
        return ax


def valid_prediction_time(
    true: Trajectory,
    forecast: Trajectory,
    *,
    threshold: float = 0.4,
    dt: float = 1.0,
    draws: int = 19,
    generator: np.random.Generator | None = None,
) -> PredictionTime:
    """How long forecasts stay within ``threshold`` of the truth.

    Parameters
    ----------
    true, forecast
        Runs that begin at the same states, with the same steps. A forecast may have been cut because it overflowed.
    threshold
        In deviations of the truth.
    dt
        Units of time a step.
    draws
        Pairings of each forecast with another run, for the null; none where there is one run.
    generator
        Of the pairings.

    Raises
    ------
    InputError
        For shapes that differ, runs of one state, a true run that was cut, or a truth that never moves.
    """
    if true.states.shape != forecast.states.shape or true.states.shape[1] < 2 or not len(true.states):
        raise InputError(
            f"truth and forecast have the same runs, steps (2 states at least) and coordinates, but {true.states.shape} and "
            f"{forecast.states.shape} came"
        )
    if not true.valid.all():
        raise InputError("the truth has runs that were cut: leave those out")
    if not (threshold > 0 and dt > 0 and draws >= 0):
        raise InputError(
            f"threshold and dt are positive and draws not negative, but {threshold=}, {dt=}, {draws=} came"
        )
    spread = float(np.sqrt(((true.states - true.points().mean(axis=0)) ** 2).sum(axis=2).mean()))
    if not spread > 0:
        raise InputError("the truth never moves, so an error has no scale")
    said = np.where(forecast.valid[:, :, None], forecast.states, np.inf)

    def errors(truth: np.ndarray) -> np.ndarray:
        return np.linalg.norm(said - truth, axis=2) / spread

    def valid(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        beyond = error > threshold
        lasting = np.logical_not(beyond.any(axis=1))
        return np.where(lasting, error.shape[1] - 1, beyond.argmax(axis=1)).astype(np.int64), lasting

    error = errors(true.states)
    steps, lasting = valid(error)
    nulls: tuple[Null, ...] = ()
    runs = len(error)
    if runs > 1 and draws:
        generator = generator or np.random.default_rng(0)
        shifts = generator.integers(1, runs, draws)
        means = np.array([valid(errors(np.roll(true.states, shift, axis=0)))[0].mean() for shift in shifts])
        nulls = (
            Null("forecast of another run", "a forecast says nothing of its run", "run", means, float(steps.mean())),
        )
    return PredictionTime(
        steps=steps,
        lasting=lasting,
        errors=np.quantile(error, (0.25, 0.5, 0.75), axis=0, method="lower").T,
        one_step=float(np.sqrt((error[:, 1] ** 2).mean())),
        times=dt * np.arange(error.shape[1]),
        threshold=float(threshold),
        nulls=nulls,
        checks=(Check("largest error at the start", 0.0, float(error[:, 0].max()), float(threshold)),),
    )
