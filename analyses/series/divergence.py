"""How fast do neighbours part, from data alone? The stretch curve, and its linear range or none.

Method: Rosenstein, Collins and De Luca, Physica D 65, 117 (1993): each state is paired with its nearest neighbour further away
in time than a Theiler window, and S(k) is the mean over pairs of ln distance after k steps. With several neighbours their
distances are averaged before the logarithm, as in Kantz, Phys. Lett. A 185, 77 (1994), a fixed number in place of a radius.
Where S rises on a line its slope is the largest exponent. States are delay embeddings of a scalar series, or the recorded
variables themselves. Every pair is followed over the whole horizon, so that S never changes its members.

The linear range is the one that rises most among those (their ends on a grid of 60 steps) that begin after the first step,
which neighbours take in any direction, hold 5 points and half a turn, end 1.5 below saturation (the mean ln distance of states
unrelated in time), rise by 1 or more, stay within 2 % of that rise of their line (root mean square), and whose halves have
slopes that differ by at most 10 % or by two standard errors. If there is none, no slope is given. High-dimensional chaos often
has none, its neighbours being too far apart to begin with; noise in the recording lowers the slope. The null asks whether
linear noise of the same spectrum has one.

Takes a recording (steps,), (steps, variables) or (runs, steps, variables); costs one KD-tree and references x horizon
distances, and at most as much again for each draw of the null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._neighbours import REPEATS, decorrelation, embedded, nearest, turn_of
from analyses.series._turns import as_series, still
from analyses.surrogates import phase_randomised
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHORTEST = 200  # embedded states with their whole horizon ahead
BLOCKS = 20  # of reference states, consecutive in time, for the standard errors
FEWEST = 5  # points on a line
RISE = 1.0  # of ln distance: a factor e
BELOW = 1.5  # of ln distance, from the line's end to saturation, where the curve bends
LOOSE = 0.02  # of the rise: how far off its line a curve may be
BENT = 0.1  # of the slope: how far the halves' may differ
GRID = 60  # steps at which a range may begin or end


@dataclass(frozen=True, eq=False)
class Divergence(Result):
    """The stretch curve and its slope.

    Attributes
    ----------
    rate, rate_error
        Slope on the linear range, per unit of the clock, and its error: the standard error over 20 blocks of pairs and half
        the difference of the halves, in quadrature; NaN when there is no linear range.
    halves : (2,)
        Slopes on the first and the second half of the range.
    reason
        Why there is no linear range; empty when there is one.
    times, curve, curve_errors : (points,)
        Time since the pairs were closest, S, and its standard error; followed to twice the step where S comes near
        saturation, at most the horizon; empty when nothing could be paired.
    first, last
        The linear range, in steps, both included; -1 when there is none.
    intercept
        Of the line, at time 0.
    saturation
        Mean ln distance of states drawn at random.
    dimension, delay, theiler, neighbours, pairs
        What the curve was made with: embedding, window in steps, neighbours of each state, and how many pairs.
    outcome
        Whether there were states enough.
    nulls
        "phase-randomised": the rise of the linear range of linear noise with the same spectra and cross-spectra, 0 without
        one; empty when the recording has none itself.
    checks
        S(0) against the distances that the search for neighbours gave.
    """

    rate: float
    rate_error: float
    halves: Float[np.ndarray, " 2"]
    reason: str
    times: Float[np.ndarray, " points"]
    curve: Float[np.ndarray, " points"]
    curve_errors: Float[np.ndarray, " points"]
    first: int
    last: int
    intercept: float
    saturation: float
    dimension: int
    delay: int
    theiler: int
    neighbours: int
    pairs: int
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The slope with its range and error, or why there is none, and whether linear noise has a range too."""
        if self.reason:
            return f"no linear range in the stretch curve of {self.pairs} pairs: {self.reason}"
        text = f"{self.pairs} pairs of neighbours part at {self.rate:.3g} ± {self.rate_error:.1g} per unit of time, on a line "
        text += f"from step {self.first} to {self.last} with slopes {self.halves[0]:.3g} and {self.halves[1]:.3g} in its halves"
        for null in self.nulls:
            ranged = int((null.draws > 0).sum())
            text += f"; {ranged} of {len(null.draws)} phase-randomised surrogates have a linear range"
            text += "" if null.beaten or not ranged else ", so linear noise explains the line as well"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The curve with two standard errors, the line on its range, and saturation."""
        ax = axes_or_new(ax)
        if len(self.times):
            ax.plot(self.times, self.curve, linewidth=1)
            ax.fill_between(
                self.times, self.curve - 2 * self.curve_errors, self.curve + 2 * self.curve_errors, alpha=0.3
            )
        if not self.reason:
            on = self.times[self.first : self.last + 1]
            ax.plot(on, self.intercept + self.rate * on, "k--", linewidth=1.5, label=f"slope {self.rate:.3g}")
            ax.legend(fontsize=8)
        if math.isfinite(self.saturation):
            ax.axhline(self.saturation, color="0.6", linewidth=1)
        ax.set(xlabel="time", ylabel="mean ln distance")
        return ax


def divergence_rate(
    recording: Any,
    *,
    dt: float = 1.0,
    dimension: int | None = None,
    delay: int | None = None,
    theiler: int | None = None,
    horizon: int | None = None,
    neighbours: int = 1,
    references: int = 5000,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> Divergence:
    """The largest exponent of whatever made a recording, if its stretch curve has a linear range.

    Parameters
    ----------
    recording : (steps,), (steps, variables) or (runs, steps, variables)
        Past its transient; pairs may join two runs.
    dt
        Time between steps.
    dimension, delay
        Of the embedding, delay in steps. When left out: 3 for one variable, 1 (no delays) for several; where the
        autocorrelation first falls below 1 - 1/e (Rosenstein et al.).
    theiler
        Steps within which states of one run are no neighbours; one turn at the median frequency, all variables together, when
        left out, at most a tenth of the steps.
    horizon
        Steps over which pairs are followed; ten turns, at least 20, when left out, at most a fifth of the steps.
    neighbours
        Of each state.
    references
        At most as many states, evenly spaced, are paired.
    draws
        Phase-randomised surrogates; 0 for none, 19 for a level of 5 %.
    generator
        Of the surrogates.

    Returns
    -------
    Divergence
        With outcome TOO_SHORT and NaN when fewer than 200 states have their horizon ahead.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, or an option out of range.
    """
    data = as_series(recording, (1, 2, 3), "(steps,), (steps, variables) or (runs, steps, variables)")
    runs = data.reshape((1, -1, 1) if data.ndim == 1 else (1, *data.shape) if data.ndim == 2 else data.shape)
    counts = (runs.shape[2], dimension, delay, horizon, neighbours, references)
    if any(count is not None and count < 1 for count in counts) or not dt > 0 or draws < 0 or (theiler or 0) < 0:
        raise InputError(
            "variables, dimension, delay, horizon, neighbours and references are at least 1, dt above 0, draws and theiler not "
            f"negative, but {counts}, {dt=}, {draws=}, {theiler=} came"
        )

    steps = runs.shape[1]
    turn = turn_of(runs)
    dimension = dimension or (3 if runs.shape[2] == 1 else 1)
    delay = delay or decorrelation(runs)
    theiler = min(math.ceil(turn), steps // 10) if theiler is None else theiler
    horizon = horizon or max(1, min(max(20, round(10 * turn)), steps // 5))
    shape = dimension, delay, theiler, horizon, neighbours, references
    shortest = max(FEWEST - 1, math.ceil(turn / 2))

    blocks, pairs, saturation, nearest = _stretch(runs, *shape)
    curve, errors = blocks.mean(axis=0), blocks.std(axis=0, ddof=1) / math.sqrt(BLOCKS)
    ahead = len(runs) * max(0, steps - (dimension - 1) * delay - horizon)
    if ahead < SHORTEST:
        first, last, reason = -1, -1, f"{ahead} states have {horizon} steps ahead, fewer than {SHORTEST}"
    elif not pairs:
        first, last, reason = (
            -1,
            -1,
            "no states have neighbours apart in time and in space: a constant, an exact cycle, or too wide a window",
        )
    else:
        first, last, reason = _linear_range(blocks, saturation, shortest)

    times = dt * np.arange(len(curve))
    rate = rate_error = intercept = math.nan
    halves = np.full(2, np.nan)
    if not reason:
        on, middle = slice(first, last + 1), (first + last) // 2
        rate, intercept = np.polyfit(times[on], curve[on], 1).tolist()
        parts = slice(first, middle + 1), slice(middle, last + 1)
        halves = np.array([np.polyfit(times[part], curve[part], 1)[0] for part in parts])
        each = np.polyfit(times[on], blocks[:, on].T, 1)[0]
        rate_error = float(math.hypot(each.std(ddof=1) / math.sqrt(BLOCKS), (halves[0] - halves[1]) / 2))

    nulls: tuple[Null, ...] = ()
    if draws and not reason:
        generator = generator or torch.Generator().manual_seed(0)
        rises = np.array([_rise(phase_randomised(runs, generator=generator), shape, shortest) for _ in range(draws)])
        hypothesis = "the recording is linear Gaussian noise with these spectra"
        nulls = (Null("phase-randomised", hypothesis, "recording", rises, float(curve[last] - curve[first])),)
    return Divergence(
        rate=rate, rate_error=rate_error, halves=halves, reason=reason, times=times, curve=curve, curve_errors=errors,
        first=first, last=last, intercept=intercept, saturation=saturation, dimension=dimension, delay=delay, theiler=theiler,
        neighbours=neighbours, pairs=pairs, outcome=Outcome.TOO_SHORT if ahead < SHORTEST else Outcome.CONVERGED, nulls=nulls,
        checks=(Check("S(0) against the distances of the search", nearest, float(curve[0]), 1e-6),) if pairs else (),
    )  # fmt: skip


def _stretch(
    runs: np.ndarray, dimension: int, delay: int, theiler: int, horizon: int, neighbours: int, references: int
) -> tuple[np.ndarray, int, float, float]:
    """Block means of ln distance (blocks, points), how many pairs, saturation, and the mean ln distance by the tree."""
    states, usable = embedded(runs, dimension, delay, horizon)
    nothing = np.zeros((BLOCKS, 0)), 0, math.nan, math.nan
    if len(usable) < max(SHORTEST, neighbours + 1) or still(states[usable].T).all():
        return nothing
    same = REPEATS * float(np.linalg.norm(states[usable].std(axis=0)))
    chosen = usable[np.linspace(0, len(usable) - 1, min(references, len(usable))).astype(np.int64)]
    distances, partners = nearest(states, usable, chosen, theiler, neighbours, same)
    paired = np.isfinite(distances).all(axis=1)
    if paired.sum() < BLOCKS:
        return nothing
    saturation = _saturation(states[usable])
    here, there = chosen[paired], partners[paired]
    edges = np.linspace(0, len(here), BLOCKS + 1).astype(np.int64)
    blocks: list[np.ndarray] = []
    until = horizon
    for k in range(horizon + 1):
        if k > until:
            break
        apart = np.linalg.norm(states[here + k][:, None] - states[there + k], axis=2).mean(axis=1)
        logs = np.log(np.maximum(apart, np.finfo(np.float64).tiny))
        blocks.append(np.add.reduceat(logs, edges[:-1]) / np.diff(edges))
        if until == horizon and blocks[-1].mean() > saturation - BELOW:
            until = min(horizon, 2 * k + FEWEST)
    tree = np.add.reduceat(np.log(distances[paired].mean(axis=1)), edges[:-1]) / np.diff(edges)
    return np.stack(blocks, axis=1), there.size, saturation, float(tree.mean())


def _saturation(points: np.ndarray) -> float:
    """Mean ln distance between each state and those fixed fractions of the recording away."""
    shifts = [max(1, int(fraction * len(points))) for fraction in (0.236, 0.382, 0.447, 0.618)]
    apart = np.concatenate([np.linalg.norm(points - np.roll(points, shift, axis=0), axis=1) for shift in shifts])
    return float(np.log(apart[apart > 0]).mean())


def _linear_range(blocks: np.ndarray, saturation: float, shortest: int) -> tuple[int, int, str]:
    """First and last step of the linear range that rises most, or -1, -1 and why there is none."""
    curve = blocks.mean(axis=0)
    above = np.flatnonzero(curve > saturation - BELOW)
    end = int(above[0]) if len(above) else len(curve)
    if end <= shortest:
        return -1, -1, f"S is within {BELOW:g} of saturation after {end} steps, and a line needs more than {shortest}"
    total = curve[:end].max() - curve[0]
    if total < RISE:
        return -1, -1, f"neighbours do not part, S rises by {total:.2g} in {end} steps"
    grid = np.unique(np.linspace(1, end - 1, min(GRID, end - 1)).astype(np.int64))
    first, last = (part.ravel() for part in np.meshgrid(grid, grid, indexing="ij"))
    allowed = (last - first >= shortest) & (curve[last] - curve[first] >= RISE)
    if not allowed.any():
        return -1, -1, f"no range of {shortest} steps below saturation rises by {RISE:g}"
    first, last = first[allowed], last[allowed]
    rise, middle = curve[last] - curve[first], (first + last) // 2
    slope, off = _lines(curve[None], first, last)
    bends = _lines(blocks, first, middle)[0] - _lines(blocks, middle, last)[0]
    errors = bends.std(axis=0, ddof=1) / math.sqrt(BLOCKS)
    good = (off[0] <= LOOSE * rise) & (np.abs(bends.mean(axis=0)) <= np.maximum(BENT * slope[0], 2 * errors))
    if not good.any():
        return -1, -1, f"S bends everywhere: no line fits {shortest} steps and a rise of {RISE:g}"
    best = np.flatnonzero(good)[rise[good].argmax()]
    return int(first[best]), int(last[best]), ""


def _lines(curves: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(curves, ranges): least-squares slope per step, and the root mean square off that line, from prefix sums."""
    k = np.arange(curves.shape[1], dtype=np.float64)
    level = curves - curves.mean(axis=1, keepdims=True)
    terms = np.stack([np.broadcast_to(np.ones_like(k), level.shape), np.broadcast_to(k, level.shape),
                      np.broadcast_to(k * k, level.shape), level, k * level, level * level])  # fmt: skip
    sums = np.concatenate([np.zeros((*terms.shape[:2], 1)), np.cumsum(terms, axis=2)], axis=2)
    n, x, xx, y, xy, yy = sums[:, :, last + 1] - sums[:, :, first]
    together, own = xy - x * y / n, yy - y * y / n
    slope = together / (xx - x * x / n)
    return slope, np.sqrt(np.maximum(own - slope * together, 0.0) / n)


def _rise(runs: np.ndarray, shape: tuple[int, int, int, int, int, int], shortest: int) -> float:
    """The rise of the linear range of one surrogate; 0 when it has none."""
    blocks, pairs, saturation, _ = _stretch(runs, *shape)
    first, last, reason = _linear_range(blocks, saturation, shortest) if pairs else (0, 0, "no pairs")
    return 0.0 if reason else float(np.diff(blocks.mean(axis=0)[[first, last]])[0])
