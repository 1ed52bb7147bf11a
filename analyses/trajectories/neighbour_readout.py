"""Is a quantity a function of the state, whatever function: do neighbours in state space agree about it, now and later?

Method: each state is told the mean of the quantity at its nearest neighbours (Euclidean), ``ahead`` steps after them, and
R2 = 1 - sum |y - y'|^2 / sum |y - mean|^2. Neighbours are beyond a Theiler window, so a state never tells itself, nor does its
own past. Of a quantity ahead this is a forecast by analogues (Lorenz, J. Atmos. Sci. 26, 636 (1969); Farmer and Sidorowich,
Phys. Rev. Lett. 59, 845 (1987)); of another recording at the same time it is cross mapping (Sugihara et al., Science 338, 496
(2012)). On finitely many states R2 falls short of 1 also for a function, by its bend between neighbours: what grows with more
states was not lost. R2 is about -1/neighbours where neighbours know nothing, and lower where they lie on one piece of orbit.

Takes a Trajectory (runs, steps, dim) and targets (runs, steps, coordinates); costs one KD-tree and a search, and one pass over
the neighbours for each draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.series._neighbours import nearest, turn_of
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 50  # states with neighbours


@dataclass(frozen=True, eq=False)
class NeighbourReadout(Result):
    """How well neighbours tell a quantity.

    Attributes
    ----------
    ahead : (aheads,)
        Steps.
    r2 : (aheads,)
        Share of the variance of all targets together, each in its own unit; NaN where nothing varies.
    per_target : (aheads, targets)
    neighbours, theiler
        How many, and the window in steps.
    states
        Asked for their neighbours, and answered.
    outcome
        TOO_SHORT for fewer than 50.
    nulls
        R2 at the first of ``ahead``, of targets moved along each run by a random time.
    checks
        None: a share has no identity to satisfy.
    """

    ahead: Int[np.ndarray, " aheads"]
    r2: Float[np.ndarray, " aheads"]
    per_target: Float[np.ndarray, "aheads targets"]
    neighbours: int
    theiler: int
    states: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The shares told, by steps ahead, and what the null reaches."""
        if self.outcome is not Outcome.CONVERGED:
            return f"nothing is told: {counted(self.states, 'state')} with neighbours, {FEWEST} are needed"
        lost = [null.name for null in self.nulls if not (null.beaten and null.observed > np.median(null.draws))]
        text = f"no more than its null ({', '.join(lost)}): " if lost else ""
        shares = ", ".join(f"{r2:.4f} at {ahead} ahead" for r2, ahead in zip(self.r2, self.ahead, strict=True))
        text += f"{self.neighbours} neighbours of {self.states} states tell R2 {shares} of "
        text += counted(self.per_target.shape[1], "target")
        for null in self.nulls:
            text += f"; {null.name}: {np.median(null.draws):.4f}, at most {null.draws.max():.4f} in {len(null.draws)}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """R2 of each target by steps ahead."""
        ax = axes_or_new(ax)
        ax.plot(self.ahead, self.per_target, "o-", color="0.7", linewidth=0.8, markersize=3)
        ax.plot(self.ahead, self.r2, "o-", color="#0072b2", label="all targets")
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.set(xlabel="steps ahead", ylabel="R2")
        ax.legend(frameon=False)
        return ax


def neighbour_readout(
    trajectory: Trajectory,
    targets: Any,
    *,
    ahead: Sequence[int] = (0,),
    neighbours: int = 4,
    theiler: int | None = None,
    references: int = 5000,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> NeighbourReadout:
    """What neighbours of a state tell of the targets beside it.

    Parameters
    ----------
    trajectory
        Coordinates count by their size; delayed copies of one recording are of ``interp.delay_embedded``.
    targets : (runs, steps, targets)
        Padding is not read.
    ahead
        Steps after the state, 0 for the same time.
    neighbours
        Their number.
    theiler
        Steps within which states of one run are no neighbours; one turn at the median frequency when left out, at most a tenth
        of the steps.
    references
        At most as many states, evenly spaced, are asked for their neighbours.
    draws
        Random times by which the targets are moved; 0 for none, 19 for a level of 5 %.
    generator
        Of the draws; seed 0 when left out.

    Raises
    ------
    InputError
        For targets that do not fit the trajectory or are not finite, or an option out of range.
    """
    runs, steps, dim = trajectory.states.shape
    values = np.asarray(targets, dtype=np.float64)
    if values.ndim != 3 or values.shape[:2] != (runs, steps) or not values.shape[2]:
        raise InputError(f"targets have shape ({runs}, {steps}, targets), but {values.shape} came")
    if not np.isfinite(values[trajectory.valid]).all():
        raise InputError(f"{(~np.isfinite(values[trajectory.valid])).any(axis=1).sum()} targets are not finite")
    later = np.asarray(ahead, dtype=np.int64)
    if not len(later) or later.min() < 0 or min(neighbours, references) < 1 or draws < 0 or (theiler or 0) < 0:
        raise InputError(
            f"neighbours and references are at least 1, ahead, theiler and draws not negative, but {neighbours=}, "
            f"{references=}, {ahead=}, {theiler=} and {draws=} came"
        )
    lengths = trajectory.valid.sum(axis=1)
    if theiler is None:
        turns = [turn_of(run[None, :length]) for run, length in zip(trajectory.states, lengths, strict=True)]
        theiler = max((min(math.ceil(turn), int(n) // 10) for turn, n in zip(turns, lengths, strict=True)), default=0)

    # the last state of a run is left out also at 0 ahead, so that rows of two runs are never successive
    usable = np.flatnonzero(np.arange(steps) < (lengths - max(1, later.max()))[:, None])
    chosen = usable[np.linspace(0, len(usable) - 1, min(references, len(usable))).astype(np.int64)]
    apart, partners = np.full((len(chosen), neighbours), np.inf), np.zeros((len(chosen), neighbours), dtype=np.int64)
    if len(usable) > neighbours:
        apart, partners = nearest(trajectory.states.reshape(-1, dim), usable, chosen, theiler, neighbours, -1.0)
    known = np.isfinite(apart).all(axis=1)
    enough = int(known.sum()) >= FEWEST
    chosen, partners = (chosen[known], partners[known]) if enough else (chosen[:0], partners[:0])

    flat = values.reshape(-1, values.shape[2])
    shares = np.full((len(later), 1 + flat.shape[1]), np.nan)
    for row, step in zip(shares, later, strict=True):
        row[:] = _shares(flat, chosen + step, partners + step)
    nulls: tuple[Null, ...] = ()
    if draws and enough and np.isfinite(shares[0, 0]):
        generator = generator or torch.Generator().manual_seed(0)
        drawn = np.array([
            _shares(_moved(values, lengths, theiler, generator), chosen + later[0], partners + later[0])[0]
            for _ in range(draws)
        ])  # fmt: skip
        nulls = (
            Null("targets of another time", "the states know nothing of the targets beside them", "recording", drawn,
                 float(shares[0, 0]), "R2"),
        )  # fmt: skip
    return NeighbourReadout(
        ahead=later,
        r2=shares[:, 0],
        per_target=shares[:, 1:],
        neighbours=neighbours,
        theiler=theiler,
        states=int(known.sum()),
        outcome=Outcome.CONVERGED if enough else Outcome.TOO_SHORT,
        nulls=nulls,
        checks=(),
    )


def _shares(flat: np.ndarray, rows: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """R2 of all targets and of each, at these rows from those of their partners."""
    if not len(rows):
        return np.full(1 + flat.shape[1], np.nan)
    y = flat[rows]
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    wrong = ((y - flat[partners].mean(axis=1)) ** 2).sum(axis=0)
    varies = spread > 1e-24 * len(y) * (y**2).max(axis=0)
    each = np.where(varies, 1 - wrong / np.where(varies, spread, 1.0), np.nan)
    total = 1 - wrong[varies].sum() / spread[varies].sum() if varies.any() else np.nan
    return np.array([total, *each])


def _moved(values: np.ndarray, lengths: np.ndarray, theiler: int, generator: torch.Generator) -> np.ndarray:
    """(runs x steps, targets), each run turned round by a random time beyond the window."""
    moved = values.copy()
    for run, length in zip(moved, lengths, strict=True):
        by = int(torch.randint(min(theiler + 1, length - 1), max(length - theiler, 2), (1,), generator=generator))
        run[:length] = np.roll(run[:length], by, axis=0)
    return moved.reshape(-1, values.shape[2])
