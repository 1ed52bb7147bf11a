"""When do states come back, for how long do they then go the same way, and is that more than noise would give?

Method: recurrence quantification (Marwan, Romano, Thiel, Kurths, Physics Reports 438, 237 (2007), section 3.5). States i and j
of one run recur when |x_i - x_j|_2 <= radius. By default the radius is that run's own exact quantile of the distances, so that
every run has the same rate of recurrence and runs of other systems, units and dimensions compare. Pairs within a Theiler window
are left out. Of the diagonal lines (i, j), (i + 1, j + 1), ... and the vertical lines (i, j), (i, j + 1), ...:

    determinism = share of the recurrences on diagonals of ``shortest`` or more, laminarity = the same on verticals.

Lines that the border cuts are counted in both shares. In the mean length and the entropy of diagonals all those but the longest
are left out (Kraemer and Marwan, Physics Letters A 383, 125977 (2019): "keep the longest"), since the lengths of a cycle's
lines would otherwise be the border's. Recurrence times are from one entry into the neighbourhood of a state to the next (the
second type of Gao, Phys. Rev. Lett. 83, 3178 (1999)), so that the period of a cycle is one.

Independent points at rate r have determinism m r^(m-1) - (m-1) r^m, m the shortest line; smooth noise has far more. So both
shares stand beside those of shuffled states and of random phases, with radius and lines found anew.

Takes a Trajectory, each run by itself. Costs two passes over the distances of steps^2 / 2 pairs and one over a matrix of
steps^2 bytes, for each run and each draw: 1.5 s for 10^4 steps of three coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.series._neighbours import embedded, turn_of
from analyses.surrogates import phase_randomised, shuffled
from hooks.errors import InputError
from hooks.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AT_ONCE = 1 << 20  # pairs held in one pass
SAME = 1e-9  # of the deviation of the states: a radius below it would ask which of two equal states are equal
FEWEST = 20  # states of a run
CELLS = 250  # of the picture along each side
NULLS = {
    "shuffled": (shuffled, "the order of the states does not matter"),
    "random phases": (phase_randomised, "the states are linear Gaussian noise of the same spectra"),
}
NUMBERS = (
    "radius", "rate", "determinism", "laminarity", "mean_diagonal", "diagonal_entropy", "mean_vertical", "longest_diagonal",
    "longest_vertical", "recurrence_time", "diagonal points", "vertical points",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Recurrence(Result):
    """Recurrences of each run, the lines that they form, and what noise gives.

    Attributes
    ----------
    radius : (runs,)
        In the states' unit.
    rate : (runs,)
        Share of the pairs beyond the window that recur. Above the one asked for where more pairs are equal.
    determinism, laminarity : (runs,)
        Shares of the recurrences on diagonal and on vertical lines of ``shortest`` or more.
    mean_diagonal, diagonal_entropy : (runs,)
        Steps, and nats, of the diagonals of ``shortest`` or more; border lines left out but for the longest.
    mean_vertical : (runs,)
        The trapping time: steps, of the verticals of ``shortest`` or more.
    longest_diagonal, longest_vertical : (runs,)
        Steps; 0 without a line.
    recurrence_time : (runs,)
        Mean steps from one entry into a state's neighbourhood to the next.
    shortest, theiler
        In steps; pairs at most ``theiler`` steps apart are left out.
    picture : (cells, cells)
        Of the first run: the share of the pairs in each cell that recur, at most 250 cells a side.
    outcomes : (runs,)
        TOO_SHORT for fewer than 20 states beyond the window, or states that do not move: numbers are NaN then.
    nulls
        Determinism and laminarity, means over the runs.
    checks
        Every recurrence is on one diagonal and on one vertical line.
    """

    radius: Float[np.ndarray, " runs"]
    rate: Float[np.ndarray, " runs"]
    determinism: Float[np.ndarray, " runs"]
    laminarity: Float[np.ndarray, " runs"]
    mean_diagonal: Float[np.ndarray, " runs"]
    diagonal_entropy: Float[np.ndarray, " runs"]
    mean_vertical: Float[np.ndarray, " runs"]
    longest_diagonal: Int[np.ndarray, " runs"]
    longest_vertical: Int[np.ndarray, " runs"]
    recurrence_time: Float[np.ndarray, " runs"]
    shortest: int
    theiler: int
    picture: Float[np.ndarray, "cells cells"]
    outcomes: tuple[Outcome, ...]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many runs were measured, the two shares beside their nulls, and the lengths of lines."""
        measured = np.array([outcome is Outcome.CONVERGED for outcome in self.outcomes], dtype=bool)
        text = f"{measured.sum()} of {counted(len(measured), 'run')} measured"
        if not measured.any():
            return f"{text}: too few states beyond the window, or none that moves"
        text += f" at a recurrence rate of {self.rate[measured].mean():.3g}"
        for name, values in (("determinism", self.determinism), ("laminarity", self.laminarity)):
            text += f"; {name} {values[measured].mean():.3f}"
            for null in (null for null in self.nulls if null.statistic == name):
                verdict = f"p = {null.p:.2g}" if null.beaten else f"not told apart, p = {null.p:.2g}"
                text += f", {null.name} {np.median(null.draws):.3f} ({verdict})"
        text += f"; diagonals of {self.mean_diagonal[measured].mean():.3g} steps in the mean, the longest of "
        text += (
            f"{self.longest_diagonal.max()}; states come back after {self.recurrence_time[measured].mean():.3g} steps"
        )
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The recurrence plot of the first run."""
        ax = axes_or_new(ax)
        if self.picture.size:
            ax.imshow(self.picture, origin="lower", cmap="Greys", vmin=0, vmax=max(self.picture.max(), 1e-300) ** 0.5)
        ax.set(xlabel="cell of steps", ylabel="cell of steps", aspect="equal")
        return ax


def recurrence(
    trajectory: Trajectory,
    *,
    rate: float = 0.05,
    radius: float | None = None,
    shortest: int = 2,
    theiler: int | None = None,
    dimension: int = 1,
    delay: int = 1,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> Recurrence:
    """How often and how long states of each run come back, beside shuffled states and random phases.

    Parameters
    ----------
    trajectory
        Past its transient.
    rate
        Share of the pairs beyond the window that shall recur; the radius follows.
    radius
        One for all runs, in the states' unit, in place of a rate.
    shortest
        Steps of the shortest line that counts.
    theiler
        Pairs at most this many steps apart are left out; 0 leaves out each state with itself. One turn at the median frequency
        when left out, at most a tenth of the steps.
    dimension, delay
        Values of each coordinate that make one state, and the steps between them. Surrogates are drawn of the coordinates.
    draws
        Of each null; 0 for none, 19 for a level of 5 %.
    generator
        Of the draws; seed 0 when left out.

    Raises
    ------
    InputError
        For a rate that is not between 0 and 1, a radius that is not positive, or another option out of range.
    """
    if not 0 < rate < 1 or (radius is not None and not radius > 0):
        raise InputError(f"a rate is between 0 and 1 and a radius above 0, but {rate=} and {radius=} came")
    if min(shortest, dimension, delay) < 1 or draws < 0 or (theiler or 0) < 0:
        raise InputError(
            f"shortest, dimension and delay are at least 1, theiler and draws not negative, but {shortest=}, {dimension=}, "
            f"{delay=}, {theiler=} and {draws=} came"
        )
    runs = [states[valid] for states, valid in zip(trajectory.states, trajectory.valid, strict=True)]
    if theiler is None:
        theiler = max((min(math.ceil(turn_of(run[None])), len(run) // 10) for run in runs), default=0)

    def measured(run: np.ndarray, cells: int = 0) -> tuple[dict[str, float], np.ndarray]:
        states, _ = embedded(run[None], dimension, delay, 0)
        return _measured(states, rate, radius, shortest, theiler, cells)

    first, picture = measured(runs[0], CELLS) if runs else ({}, np.zeros((0, 0)))
    found = [first, *(measured(run)[0] for run in runs[1:])][: len(runs)]
    moving = [i for i, numbers in enumerate(found) if numbers]
    values = {name: np.array([numbers.get(name, np.nan) for numbers in found], dtype=np.float64) for name in NUMBERS}
    longest = {
        name: np.nan_to_num(values.pop(name)).astype(np.int64) for name in ("longest_diagonal", "longest_vertical")
    }
    checks = tuple(
        Check(f"points on {kind} lines over recurrences, furthest from 1", 1.0, _furthest(values.pop(f"{kind} points")), 1e-12)
        for kind in ("diagonal", "vertical")
    )  # fmt: skip
    nulls = []
    for name, (surrogate, hypothesis) in NULLS.items() if moving else ():
        generator = generator or torch.Generator().manual_seed(0)
        drawn = [[measured(surrogate(runs[i][None], generator=generator)[0])[0] for i in moving] for _ in range(draws)]
        for statistic in ("determinism", "laminarity") if draws else ():
            observed = float(values[statistic][moving].mean())
            # a surrogate without a recurrence, at a radius that was given, has none on lines
            null = np.nan_to_num([[one[statistic] for one in draw] for draw in drawn]).mean(axis=1)
            nulls += [Null(name, hypothesis, "recording", null, observed, statistic)] if math.isfinite(observed) else []
    return Recurrence(
        **values,
        **longest,
        shortest=shortest,
        theiler=theiler,
        picture=picture,
        outcomes=tuple(Outcome.CONVERGED if numbers else Outcome.TOO_SHORT for numbers in found),
        nulls=tuple(nulls),
        checks=checks,
    )


def _furthest(ratios: np.ndarray) -> float:
    """From 1; 1 where nothing was measured."""
    known = ratios[np.isfinite(ratios)]
    return float(known[np.abs(known - 1).argmax()]) if len(known) else 1.0


def _measured(
    states: np.ndarray, rate: float, radius: float | None, shortest: int, theiler: int, cells: int
) -> tuple[dict[str, float], np.ndarray]:
    """Numbers of one run's states (steps, dim), by name, and its picture; none where there is nothing to measure."""
    steps = len(states)
    pairs = (steps - theiler) * (steps - theiler - 1) // 2
    if steps - theiler < FEWEST or (np.ptp(states, axis=0) <= 1e-12 * np.abs(states).max()).all():
        return {}, np.zeros((0, 0))
    if radius is None:
        floor = SAME * float(np.sqrt(states.var(axis=0).sum()))
        radius = max(floor, _quantile(states, max(1, round(rate * pairs)), theiler))

    # One row more than the matrix has, so that the diagonals are rows of a strided view.
    room = np.zeros((steps + 1) * steps, dtype=bool)
    recurs = room[: steps * steps].reshape(steps, steps)
    for first, distances in _distances(states, theiler):
        near = distances <= radius
        recurs[first : first + len(near), steps - near.shape[1] :] = near
    diagonals, cut = _diagonals(room, steps)
    for first in range(0, steps, 512):
        part = slice(first, first + 512)
        recurs[part, : first + 512] |= recurs[: first + 512, part].T
    verticals, entries, spent = _verticals(recurs, theiler)

    total = int(recurs.sum())
    lengths, kept = np.arange(len(diagonals)), diagonals - cut
    if cut.any():
        kept[int(np.flatnonzero(cut)[-1])] += 1
    longer, along, upright = lengths >= shortest, lengths * diagonals, np.arange(len(verticals)) * verticals
    shares = kept[longer][kept[longer] > 0] / max(1, kept[longer].sum())
    standing = np.arange(len(verticals)) >= shortest
    with np.errstate(invalid="ignore", divide="ignore"):
        numbers = {
            "radius": radius,
            "rate": total / (2 * pairs),
            "determinism": np.float64(2 * along[longer].sum()) / total,
            "laminarity": np.float64(upright[standing].sum()) / total,
            "mean_diagonal": np.float64((lengths * kept)[longer].sum()) / kept[longer].sum(),
            "diagonal_entropy": float(-(shares * np.log(shares)).sum()) if len(shares) else math.nan,
            "mean_vertical": np.float64(upright[standing].sum()) / verticals[standing].sum(),
            "longest_diagonal": np.flatnonzero(diagonals)[-1] if total else 0,
            "longest_vertical": np.flatnonzero(verticals)[-1] if total else 0,
            "recurrence_time": np.float64(spent) / entries,
            "diagonal points": np.float64(2 * along.sum()) / total,
            "vertical points": np.float64(upright.sum()) / total,
        }
    return numbers, _picture(recurs, min(steps, cells))


def _picture(recurs: np.ndarray, cells: int) -> np.ndarray:
    """The share of True in each of (cells, cells) parts."""
    edges = np.linspace(0, len(recurs), cells + 1).astype(np.int64)
    rows = [recurs[begin:end].sum(axis=0) for begin, end in pairwise(edges)]
    counts = np.add.reduceat(rows, edges[:-1], axis=1) if rows else np.zeros((0, 0))
    return counts / np.outer(np.diff(edges), np.diff(edges))


def _distances(states: np.ndarray, theiler: int) -> Iterator[tuple[int, np.ndarray]]:
    """The first row of a block, and distances (rows, columns) of its states to the last ``columns`` of all, those later by more
    than the window; infinite for the rest."""
    steps, first = len(states), 0
    while first + theiler + 1 < steps:
        begin = first + theiler + 1
        rows = max(1, min(AT_ONCE // (steps - begin), 1024))
        found = cdist(states[first : first + rows], states[begin:])
        corner = found[:, : len(found)]
        corner[np.tril_indices(len(corner), -1, corner.shape[1])] = np.inf
        yield first, found
        first += rows


def _quantile(states: np.ndarray, wanted: int, theiler: int) -> float:
    """The distance that ``wanted`` pairs do not exceed, exactly: the smallest so far are kept."""
    kept, bound = np.zeros(0), math.inf
    for _, distances in _distances(states, theiler):
        kept = np.concatenate([kept, distances[distances < bound]])
        if len(kept) > 2 * wanted:
            kept = np.partition(kept, wanted - 1)[:wanted]
            bound = float(kept.max())
    return float(np.partition(kept, wanted - 1)[wanted - 1])


def _lines(rows: Bool[np.ndarray, "rows columns"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, first column and the column behind each run of True."""
    width = rows.shape[1] + 1
    padded = np.zeros((len(rows), width), dtype=bool)
    padded[:, 1:] = rows
    edges = np.flatnonzero(np.diff(np.append(padded.reshape(-1), False)))
    row, begin = np.divmod(edges[::2], width)
    return row, begin, edges[1::2] - row * width


def _diagonals(room: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal lines of an upper triangle by length, all and those that touch the border."""
    counts, cut = np.zeros((2, steps + 1), dtype=np.int64)
    for first in range(1, steps, 64):
        lags = np.arange(first, min(first + 64, steps))
        # (lag, i) -> (i, i + lag); past the end of a diagonal the view meets the lower triangle, which is empty.
        view = np.lib.stride_tricks.as_strided(room[first:], (len(lags), steps - first), (1, steps + 1))
        row, begin, end = _lines(view)
        lengths = end - begin
        counts += np.bincount(lengths, minlength=steps + 1)
        touching = (begin == 0) | (end == steps - lags[row])
        cut += np.bincount(lengths[touching], minlength=steps + 1)
    return counts, cut


def _verticals(recurs: np.ndarray, theiler: int) -> tuple[np.ndarray, int, int]:
    """Vertical lines by length, and the number and sum of the steps between entries on one side of the window."""
    steps = len(recurs)
    counts, entries, spent = np.zeros(steps + 1, dtype=np.int64), 0, 0
    rows = max(1, AT_ONCE // steps)
    for first in range(0, steps, rows):
        row, begin, end = _lines(recurs[first : first + rows])
        counts += np.bincount(end - begin, minlength=steps + 1)
        after = begin > row + first
        entered = (begin > 0) & (begin != row + first + theiler + 1)  # others began before they could be seen
        row, begin, after = row[entered], begin[entered], after[entered]
        next_to = (np.diff(row) == 0) & (after[1:] == after[:-1])
        entries += int(next_to.sum())
        spent += int(np.diff(begin)[next_to].sum())
    return counts, entries, spent
