"""Does an orbit look chaotic or regular? The generalised alignment index GALI_k: the volume of k unit deviation vectors.

Method: Skokos, Bountis, Antonopoulos, Physica D 231 (2007): exponential decay at the rate
sum (l_1 - l_j) on chaotic orbits, a power of time or a constant on regular ones. The vectors are kept as an orthonormal
frame times a triangular matrix with unit columns, so that the volume's logarithm is exact far below the smallest float.

Takes (dynamics, starts (starts, dim)); costs a push of k tangents and a QR of (starts, dim, k) a step; keeps
steps x starts logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.result import Check, Outcome, Result, axes_or_new
from hooks.dynamics import Dynamics, as_states, autonomous
from hooks.errors import InputError
from hooks.tangent import push
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLOCKS = 16  # of the later nine tenths, from which errors are taken
SURE = 3.0  # standard errors that a rate must clear
FLOOR = 1e-9  # per unit of the clock: no rate is claimed to be known better
SHORTEST = 100  # steps below which no law is told from another
RETURNS = 64  # last states among which the final one is looked for: found, the orbit rests or cycles
REST = 1e-6  # of the size of a state (or of 1, if smaller): nearer than this is the same state
FLAT = 0.5  # powers of time below which the index is called constant


@dataclass(frozen=True, eq=False)
class Alignment(Result):
    """GALI_k along each start's orbit, and the law it follows. Rates are per unit of the clock.

    Attributes
    ----------
    log_index : (starts, steps + 1)
        ln GALI_k, at most 0; the first entry belongs to the start. -inf once a direction is annihilated; NaN from where a
        start overflows.
    rates, rate_errors : (starts,)
        Fitted decay -d ln GALI / dt over the last nine tenths, and its standard error from blocks.
    powers : (starts,)
        Fitted -d ln GALI / d ln t over the same steps.
    predicted, predicted_errors : (starts,)
        sum (l_1 - l_j) from the frame's growth over the same steps, j = 2 to k.
    leading, leading_errors : (starts,)
        The largest exponent, from the same frame.
    verdicts
        One a start: "chaotic", "an unstable rest or cycle, never left", "exponential, not chaotic", "power law", "constant" or
        "undecided".
    outcome
        How the run ended.
    checks
        Where the decay is exponential: the fitted rate against the predicted one, in standard errors.
    """

    log_index: Float[np.ndarray, "starts times"]
    rates: Float[np.ndarray, " starts"]
    rate_errors: Float[np.ndarray, " starts"]
    powers: Float[np.ndarray, " starts"]
    predicted: Float[np.ndarray, " starts"]
    predicted_errors: Float[np.ndarray, " starts"]
    leading: Float[np.ndarray, " starts"]
    leading_errors: Float[np.ndarray, " starts"]
    verdicts: tuple[str, ...]
    outcome: Outcome
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many starts have a law, and which."""
        decided = [verdict for verdict in self.verdicts if verdict != "undecided"]
        text = f"{len(decided)} of {len(self.verdicts)} starts follow a law of alignment"
        kinds = [f"{decided.count(kind)} {kind}" for kind in dict.fromkeys(decided)]
        text += f": {', '.join(kinds)}" if kinds else ""
        chaotic = np.array([verdict == "chaotic" for verdict in self.verdicts], dtype=bool)
        if chaotic.any():
            text += (
                f"; on the chaotic the index decays at {np.median(self.rates[chaotic]):.3g} where the exponents "
                f"predict {np.median(self.predicted[chaotic]):.3g} (medians)"
            )
        return text + (f"; the run {self.outcome.value}" if self.outcome is not Outcome.CONVERGED else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """ln GALI over the steps, one line a start."""
        ax = axes_or_new(ax)
        for row, verdict in zip(self.log_index, self.verdicts, strict=True):
            shown = np.isfinite(row)
            ax.plot(np.flatnonzero(shown), row[shown], color="C3" if verdict == "chaotic" else "C0", linewidth=0.8)
        ax.set(xlabel="step", ylabel="ln GALI")
        return ax


@dataclass(frozen=True, eq=False)
class Spread:
    """All starts after one more step; the logarithms are filled in place."""

    step: int
    log_index: Tensor  # (steps + 1, starts)
    growth: Tensor  # (steps, starts, k) logarithms of the frame's stretches
    states: Tensor  # (starts, dim)
    recent: Tensor  # (returns, starts, dim) the states before, a ring


def alignment(
    dynamics: Dynamics,
    starts: Any,
    *,
    steps: int,
    directions: int = 2,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> Alignment:
    """GALI_k of each start and the law that it follows.

    Parameters
    ----------
    starts : (starts, dim)
        On what is to be judged: no burn-in is taken.
    steps
        Laws are fitted to the last nine tenths; fewer than 100 steps stay undecided.
    directions
        k, from 2 to dim.
    generator
        Of the first deviation vectors, orthonormal at first; a fixed seed when left out.
    watch
        Wraps the loop; stopped early, the numbers so far are returned with the outcome OUT_OF_TIME.

    Returns
    -------
    Alignment
        "chaotic" when ln GALI is nearer to a line in t than in ln t, or has fallen below steps^(-2k), its rate, the predicted
        rate and the largest exponent are positive beyond three standard errors, the two rates agree within three of those of
        their gap, and the orbit does not end on one of the 64 states before.

    Raises
    ------
    DrivenError
        For a driven map.
    InputError
        For no steps, or directions outside 2 to dim.

    Notes
    -----
    Regular motion lets GALI_k fall as steps^(-k) at the fastest (all 2N directions of N degrees of freedom: Skokos et al. 2007,
    section 3.2), so an index below the square of that follows no power law, however it came there: chaos that sticks to islands
    falls in jumps, which a line in ln t may fit the better.

    On the standard map at kick 1, half of whose orbits are regular, weighted Birkhoff averages confirm the verdicts at 1000
    steps: at most 1 % of the regular orbits are called chaotic and 5 % of the chaotic ones regular. A verdict is of this
    run's length: an orbit that sticks to an island looks regular until it leaves.
    """
    autonomous(dynamics, "alignment")
    now = as_states(dynamics, starts)
    if steps < 1 or not 2 <= directions <= dynamics.dim:
        raise InputError(
            f"steps={steps}, directions={directions}: need a step and 2 to dim directions, and {dynamics.name!r} has "
            f"dim {dynamics.dim}"
        )
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    spread = None
    for spread in watch(_spreads(dynamics, now, steps, directions, generator), steps):
        pass
    done = 0 if spread is None else spread.step
    if spread is None:
        logs, growth = np.zeros((1, len(now))), np.zeros((0, len(now), directions))
        resting = np.zeros(len(now), dtype=bool)
    else:
        logs = spread.log_index[: done + 1].double().cpu().numpy()
        growth = spread.growth[:done].double().cpu().numpy() / dynamics.dt
        size = torch.linalg.vector_norm(spread.states, dim=1).clamp(min=1.0)
        back = torch.linalg.vector_norm(spread.recent - spread.states, dim=2).amin(0)
        resting = (back <= REST * size).cpu().numpy()
    return _judged(logs, growth, resting, dynamics, Outcome.CONVERGED if done == steps else Outcome.OUT_OF_TIME)


def _spreads(dynamics: Dynamics, states: Tensor, steps: int, k: int, generator: torch.Generator) -> Iterator[Spread]:
    starts, dim = states.shape
    frame = torch.linalg.qr(torch.randn(starts, dim, k, generator=generator, dtype=torch.float64).to(states))[0]
    columns = torch.eye(k).to(states).expand(starts, k, k)  # the deviation vectors in the frame
    log_index, growth = states.new_zeros(steps + 1, starts), states.new_zeros(steps, starts, k)
    recent = torch.full((RETURNS, starts, dim), torch.inf).to(states)
    for step in range(steps):
        recent[step % RETURNS] = states
        states, carried = push(dynamics, states, frame)
        lost = ~torch.isfinite(states).all(1) | ~torch.isfinite(carried).all(2).all(1)
        frame, R = torch.linalg.qr(torch.where(lost[:, None, None], frame, carried))
        columns = R @ columns
        lengths = torch.linalg.vector_norm(columns, dim=1)
        columns = torch.nan_to_num(columns / lengths[:, None, :])
        growth[step] = torch.diagonal(R, dim1=1, dim2=2).abs().log()
        # the volume is the product of the frame's stretches over that of the vectors' own
        log_index[step + 1] = log_index[step] + (growth[step] - lengths.log()).sum(1)
        log_index[step + 1, lost], growth[step, lost] = torch.nan, torch.nan
        yield Spread(step + 1, log_index, growth, states, recent)


def _judged(
    logs: np.ndarray, growth: np.ndarray, resting: np.ndarray, dynamics: Dynamics, outcome: Outcome
) -> Alignment:
    """Laws of (steps + 1, starts) logarithms, with the frame's (steps, starts, k) growth per unit of the clock."""
    steps, starts, dt = len(growth), logs.shape[1], dynamics.dt
    floor = max(FLOOR, 1e3 * torch.finfo(dynamics.dtype).eps)
    numbers = {
        name: np.full(starts, np.nan)
        for name in ("rates", "rate_errors", "powers", "predicted", "predicted_errors", "leading", "leading_errors")
    }
    verdicts, checks = ["undecided"] * starts, []
    first = steps // 10
    fallen = -2 * growth.shape[2] * math.log(max(steps, 1))  # the square of the fastest regular fall
    times = np.arange(first, steps + 1) * dt
    for start in np.flatnonzero(np.isfinite(logs).all(axis=0)) if steps >= SHORTEST else ():
        late, stretch = logs[first:, start], growth[first:, start]
        rate, off_line = _slope(times, late)
        power, off_power = _slope(np.log(times), late)
        cuts = np.linspace(0, len(late) - 1, BLOCKS + 1).astype(int)
        fall = -np.diff(late[cuts]) / np.diff(times[cuts])
        means = np.add.reduceat(stretch, cuts[:-1], axis=0) / np.diff(cuts)[:, None]
        gaps = (means[:, :1] - means[:, 1:]).sum(axis=1)
        rate_error, gap_error, leading_error = (
            float(blocks.std(ddof=1)) / BLOCKS**0.5 for blocks in (fall, gaps, means[:, 0])
        )
        predicted = float((stretch[:, :1] - stretch[:, 1:]).sum(axis=1).mean())
        leading = float(stretch[:, 0].mean())
        values = (-rate, rate_error, -power, predicted, gap_error, leading, leading_error)
        for name, value in zip(numbers, values, strict=True):
            numbers[name][start] = value

        apart = abs(-rate - predicted) / max(math.hypot(rate_error, gap_error), floor)
        falls = -rate > max(SURE * rate_error, floor) and predicted > max(SURE * gap_error, floor)
        if abs(power) < FLAT:
            verdicts[start] = "constant"
        elif off_power < off_line and late[-1] > fallen:
            verdicts[start] = "power law"
        elif falls:
            checks.append(
                Check(f"start {start + 1}: fitted against predicted rate, in standard errors", 0.0, apart, SURE)
            )
            if apart <= SURE:
                sure = leading > max(SURE * leading_error, floor)
                grows = "an unstable rest or cycle, never left" if resting[start] else "chaotic"
                verdicts[start] = grows if sure else "exponential, not chaotic"
    return Alignment(**numbers, log_index=logs.T, verdicts=tuple(verdicts), outcome=outcome, checks=tuple(checks))


def _slope(at: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least-squares slope, and what is left."""
    centred = at - at.mean()
    slope = float((centred * values).sum() / (centred**2).sum())
    return slope, float(((values - values.mean() - slope * centred) ** 2).sum())
