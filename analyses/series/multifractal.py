"""Do the fluctuations of a series scale, with one exponent or with many, and with more than its nulls have? MFDFA.

Method: Kantelhardt, Zschiegner, Koscielny-Bunde, Havlin, Bunde, Stanley, Physica A 316, 87 (2002). The profile, the running
sum of the series less its mean, is cut into windows of s steps; in each a polynomial is taken out by least squares, and F^2 is
the mean square that is left. F_q(s) = (mean over windows of F^q)^(1/q), its limit for q = 0, goes as s^h(q) where the series
scales; tau = q h - 1 (eq. 13), alpha = tau', f = q alpha - tau (eq. 15), and the width is the range of alpha over the orders
asked for.

Variants. Windows are spread evenly from the first step to the last, in place of two sets from either end. Windows that lie on a
flat run (a unit that is off or saturated), or whose residual is rounding, are left out: one of them would rule all negative
orders. The range of scales is, of those of 1.5 decades or more whose points stray at most MISFIT from their lines, the one with
the smallest standard error of the slope, in the mean over orders; without any there is no number. Intervals are the jackknife's
over 16 blocks of time, and say nothing of structure longer than those. Nulls are fitted over the range of their series.

A width alone is no evidence: noise of 1e4 steps has one of 0.03 to 0.15, heavy tails more. Takes series (series, steps),
noise-like: increments, not the walk they add up to. Cost: some ten operations a step and scale, and one power a window and
order; as much again for each draw of a null, and the sorts of IAAFT.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student
from torch import Tensor

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._detrended import Windows
from analyses.series._flat import flat_before
from analyses.series._scaling import DECADES, Lines, slopes
from analyses.series._turns import as_series, pieces
from analyses.surrogates import amplitude_adjusted, shuffled
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDERS = tuple(np.linspace(-5.0, 5.0, 21).tolist())
SHORTEST = 16  # steps: shorter windows bend the curve, see Kantelhardt et al., Physica A 295, 441 (2001)
LONGEST = 8  # of them fit into the series; 4 at least of any scale
MISFIT = 0.15  # octaves of F: a bend by 0.4 in the middle of 1.5 decades; noise of H = 0.8 and 4096 steps strays 0.13 at 95 %
LARGEST = 15.0  # order: F^q stays within float64 down to rounding, and is ruled by one window long before
BLOCKS = 16
EVERYTHING, ALL_BUT_ONE = np.ones((1, BLOCKS)), 1 - np.eye(BLOCKS)
ROUNDING = (4 * np.finfo(np.float64).eps) ** 2  # of F^2, where the profile reaches 1
FLAT = 1e-9  # of its size: a step that changes by less is still
FLAT_SHARE = 0.25  # of a window: with so few flat steps its F is still of the usual size
NULLS = (
    ("shuffled", "the order of the values does not matter", shuffled),
    ("IAAFT", "linear Gaussian noise, seen through a monotonic function", amplitude_adjusted),
)


@dataclass(frozen=True, eq=False)
class Multifractal(Result):
    """Scaling exponents of every series; NaN where it does not scale.

    Attributes
    ----------
    scales : (scales,)
        Steps in a window.
    orders : (orders,)
        q, ascending.
    fluctuations : (series, orders, scales)
        F_q(s); NaN at scales where more than half of the windows are left out.
    left_out : (series, scales)
        Share of windows that are flat.
    ranges : (series, 2)
        First and last scale of the range that the lines are fitted over; zeros where there is none.
    misfits : (series,)
        Root mean square distance of log2 F from the lines, in octaves, over orders and scales of the range; of the best of all
        ranges where there is none.
    h, tau, alpha, f : (series, orders)
        Generalised Hurst exponent, scaling of the partition sum, singularity strength and its dimension.
    h_intervals : (series, orders, 2)
        At 95 %.
    widths, width_intervals : (series,), (series, 2)
        Largest alpha less the smallest, over these orders.
    beats_nulls : (series,)
        Whether the width is above that of both nulls at 5 %.
    outcomes
        One a series: CONVERGED, NO_SCALING or TOO_SHORT.
    nulls
        Two for each series that scales, unless none was asked for or a surrogate does not scale: the width of its values in
        random order, and of linear Gaussian noise with its spectrum and values (IAAFT).
    checks
        F_q never falls with q, as power means do.
    """

    scales: Int[np.ndarray, " scales"]
    orders: Float[np.ndarray, " orders"]
    fluctuations: Float[np.ndarray, "series orders scales"]
    left_out: Float[np.ndarray, "series scales"]
    ranges: Int[np.ndarray, "series 2"]
    misfits: Float[np.ndarray, " series"]
    h: Float[np.ndarray, "series orders"]
    h_intervals: Float[np.ndarray, "series orders 2"]
    tau: Float[np.ndarray, "series orders"]
    alpha: Float[np.ndarray, "series orders"]
    f: Float[np.ndarray, "series orders"]
    widths: Float[np.ndarray, " series"]
    width_intervals: Float[np.ndarray, "series 2"]
    beats_nulls: Bool[np.ndarray, " series"]
    outcomes: tuple[Outcome, ...]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """In how many series the width beats its nulls, how many scale, and the numbers of the first that does."""
        count = len(self.outcomes)
        if Outcome.TOO_SHORT in self.outcomes:
            return f"0 of {count} series measured: each {Outcome.TOO_SHORT.value}, windows span less than {DECADES} decades"
        scaling = [row for row, outcome in enumerate(self.outcomes) if outcome is Outcome.CONVERGED]
        if self.nulls or not scaling:
            text = f"{self.beats_nulls.sum()} of {count} series multifractal beyond their nulls"
        else:
            text = f"0 of {count} series shown to be multifractal, for no null was drawn"
        text += f"; {len(scaling)} of {count} scale over {DECADES} decades or more"
        if scaling:
            row = scaling[0]
            (low, high), (narrow, wide) = self.ranges[row], self.width_intervals[row]
            nearest = int(np.abs(self.orders - 2).argmin())
            text += (
                f"; the first over {low} to {high} steps, {self.misfits[row]:.2g} octaves off its lines, with "
                f"h({self.orders[nearest]:g}) = {self.h[row, nearest]:.3f} "
                f"[{self.h_intervals[row, nearest, 0]:.3f}, {self.h_intervals[row, nearest, 1]:.3f}] "
                f"and width {self.widths[row]:.3f} [{narrow:.3f}, {wide:.3f}]"
            )
            for null in self.nulls[:2]:
                text += f", {null.name} {null.draws.min():.3f} to {null.draws.max():.3f}"
        if self.left_out.any():
            text += f"; up to {self.left_out.max():.0%} of the windows of a scale are flat and left out"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """F_q(s) of the first series at five orders, with the lines over the range that they are fitted in."""
        ax = axes_or_new(ax)
        x = np.log2(self.scales)
        for row in range(min(1, len(self.outcomes))):
            low, high = self.ranges[row]
            used = (self.scales >= low) & (self.scales <= high)
            for k, order in enumerate(np.unique(np.linspace(0, len(self.orders) - 1, 5).round().astype(int))):
                y = np.log2(self.fluctuations[row, order])
                ax.plot(x, y, ".", color=f"C{k}", label=f"q = {self.orders[order]:g}")
                if used.any():
                    line = y[used].mean() + self.h[row, order] * (x[used] - x[used].mean())
                    ax.plot(x[used], line, color=f"C{k}", linewidth=0.8)
            ax.legend(fontsize=7)
        ax.set(xlabel="log2 of the window in steps", ylabel="log2 of F, first series")
        return ax


def mfdfa(
    series: Any,
    *,
    orders: Sequence[float] | np.ndarray = ORDERS,
    scales: Sequence[int] | np.ndarray | None = None,
    degree: int = 1,
    overlap: float = 0.0,
    draws: int = 19,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> Multifractal:
    """h(q), tau, alpha, f and width of each series, with intervals and two nulls.

    Parameters
    ----------
    series : (series, steps) or (steps,)
        Noise-like: increments, not the walk they add up to.
    orders
        q, three at least, from -15 to 15.
    scales
        Steps in a window, from degree + 3 to a quarter of the series; octaves from 16 to an eighth of it when left out.
    degree
        Of the polynomial taken out of the profile: a trend of one degree less in the series leaves no trace.
    overlap
        Share of a window that the next one covers, below 1; 0 for windows side by side.
    draws
        Of each null; 0 for none, 19 for a level of 5 %.
    generator
        Of the draws.
    watch
        Over the series whose nulls are drawn.

    Returns
    -------
    Multifractal
        With TOO_SHORT where the scales span less than 1.5 decades (by default below 4096 steps), NO_SCALING where no 1.5
        decades of them lie on lines, and NaN in both cases.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, fewer than three orders, a negative degree, or scales or an overlap out
        of the range.
    """
    recorded = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    count, steps = recorded.shape
    q = np.asarray(orders, dtype=np.float64)
    q = np.unique(np.where(np.abs(q) < 1e-9, 0.0, q))
    octaves = SHORTEST * 2 ** np.arange(max(0, int(np.log2(max(steps // LONGEST, 1) / SHORTEST)) + 1))
    sizes = np.unique(np.asarray(octaves if scales is None else scales, dtype=np.int64))
    if len(q) < 3 or not (np.abs(q) <= LARGEST).all() or degree < 0 or draws < 0 or not 0 <= overlap < 1:
        raise InputError(
            f"there are three orders at least, of size {LARGEST:g} at most, degree and draws are not negative, and the overlap "
            f"is in [0, 1), but orders {q.tolist()}, {degree=}, {draws=}, {overlap=} came"
        )
    if len(sizes) and not degree + 3 <= sizes[0] <= sizes[-1] <= steps // 4:
        raise InputError(
            f"windows have {degree + 3} steps at least and {steps // 4} at most, a quarter of the series, "
            f"but {sizes[0]} to {sizes[-1]} came"
        )
    generator = generator or torch.Generator().manual_seed(0)
    lines = Lines(sizes)
    if not count or not len(lines.ranges):
        return _unmeasured(count, q, sizes)

    windows = Windows(sizes, steps, degree, overlap, BLOCKS)

    def measured(piece: np.ndarray) -> _Moments:
        return _moments(piece, q, windows)

    parts = []
    for piece in pieces(recorded):
        moments = measured(piece)
        logs = _log_fluctuations(moments, q, EVERYTHING)[:, 0]
        logs[np.broadcast_to((moments.left_out > 0.5)[:, None], logs.shape)] = np.nan
        chosen, misfits = lines.best(logs, MISFIT)
        again = slopes(_log_fluctuations(moments, q, ALL_BUT_ONE), lines.weights(chosen)[:, None])
        parts.append((logs, moments.left_out, chosen, misfits, _error(again), _error(_spectrum(again, q)[2])))
    logs, left_out, chosen, misfits, h_errors, width_errors = map(np.concatenate, zip(*parts, strict=True))
    weights = lines.weights(chosen)
    h = slopes(logs, weights)
    tau, alpha, widths = _spectrum(h, q)
    scaling = np.flatnonzero(chosen >= 0)
    nulls: tuple[Null, ...] = ()
    beats = np.zeros(count, dtype=bool)
    for row, drawn in watch(_nulls(recorded, scaling, widths, weights, measured, q, draws, generator), len(scaling)):
        nulls += drawn
        beats[row] = bool(drawn) and all(null.beaten and null.observed > np.median(null.draws) for null in drawn)

    reach = student.ppf(0.975, BLOCKS - 1) * np.array([-1.0, 1.0])
    falls = -np.diff(logs, axis=1)
    return Multifractal(
        scales=sizes,
        orders=q,
        fluctuations=2.0**logs,
        left_out=left_out,
        ranges=np.where(chosen[:, None] >= 0, sizes[lines.ranges[chosen]], 0),
        misfits=misfits,
        h=h,
        h_intervals=h[:, :, None] + h_errors[:, :, None] * reach,
        tau=tau,
        alpha=alpha,
        f=q * alpha - tau,
        widths=widths,
        width_intervals=widths[:, None] + width_errors[:, None] * reach,
        beats_nulls=beats,
        outcomes=tuple(Outcome.CONVERGED if number >= 0 else Outcome.NO_SCALING for number in chosen),
        nulls=nulls,
        checks=(Check("largest fall of log2 F with q", 0.0, float(falls[np.isfinite(falls)].max(initial=0.0)), 1e-9),),
    )


def _unmeasured(count: int, q: np.ndarray, sizes: np.ndarray) -> Multifractal:
    per_order, per_series = np.full((count, len(q)), np.nan), np.full(count, np.nan)
    return Multifractal(
        scales=sizes, orders=q, fluctuations=np.full((count, len(q), len(sizes)), np.nan),
        left_out=np.zeros((count, len(sizes))), ranges=np.zeros((count, 2), dtype=np.int64), misfits=per_series,
        h=per_order, h_intervals=np.full((count, len(q), 2), np.nan), tau=per_order, alpha=per_order, f=per_order,
        widths=per_series, width_intervals=np.full((count, 2), np.nan), beats_nulls=np.zeros(count, dtype=bool),
        outcomes=(Outcome.TOO_SHORT,) * count, nulls=(), checks=(),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Moments:
    """Sums over the windows kept in each block of time."""

    sums: np.ndarray  # (orders, series, scales, blocks), of (F / unit)^q, of ln (F / unit)^2 for q = 0
    counts: np.ndarray  # (series, scales, blocks)
    units: np.ndarray  # (series,), largest value of the profile
    left_out: np.ndarray  # (series, scales), share of windows


def _moments(series: np.ndarray, q: np.ndarray, windows: Windows) -> _Moments:
    profile = np.cumsum(series - series.mean(axis=1, keepdims=True), axis=1)
    units = np.abs(profile).max(axis=1)
    squares = windows.residuals(torch.from_numpy(profile / np.where(units > 0, units, 1.0)[:, None]))
    kept = (squares > ROUNDING).numpy()
    sizes = np.abs(series)
    flat = flat_before(series, FLAT * np.maximum(sizes[:, 1:], sizes[:, :-1]), max(4, int(windows.sizes[0]) // 2))
    if flat is not None:
        kept &= flat[:, windows.ends] - flat[:, windows.starts] <= FLAT_SHARE * windows.sizes[windows.scale]
    logs = squares.clamp_min(ROUNDING).log_()
    counts = windows.sums(kept.astype(np.float64))
    whole = bool(kept.all())
    sums = np.empty((len(q), *counts.shape))
    for k, power in enumerate(_powers(logs, q / 2)):
        summed = power if q[k] else logs.numpy()
        sums[k] = windows.sums(summed if whole else np.where(kept, summed, 0.0))
    return _Moments(sums, counts, units, 1 - counts.sum(axis=2) / windows.numbers)


def _powers(logs: Tensor, exponents: np.ndarray) -> Iterator[np.ndarray]:
    """exp(exponent * log) one by one, by products where exponents are evenly spaced: a tenth of the time."""
    spacing = np.diff(exponents)
    even = np.ptp(spacing) < 1e-12
    ratio, power = torch.exp(spacing[0] * logs), torch.exp(exponents[0] * logs)
    for exponent in exponents[1:]:
        yield power.numpy()
        power = power.mul_(ratio) if even else torch.exp(exponent * logs)
    yield power.numpy()


def _log_fluctuations(moments: _Moments, q: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """log2 F (series, choices, orders, scales), each block counted as often as a choice weighs it; NaN without windows."""
    counts = moments.counts @ weights.T
    means = moments.sums @ weights.T / np.where(counts > 0, counts, np.nan)
    order = q[:, None, None, None]
    logs = np.where(order == 0, means / 2, np.log(np.where(order == 0, 1.0, means)) / np.where(order == 0, 1.0, order))
    units = np.where(moments.units > 0, moments.units, 1.0)
    return (logs / math.log(2) + np.log2(units)[:, None, None]).transpose(1, 3, 0, 2)


def _spectrum(h: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """tau, alpha (both (..., orders)) and width (...)."""
    tau = q * h - 1
    alpha = np.gradient(tau, q, axis=-1, edge_order=2)
    return tau, alpha, alpha.max(axis=-1) - alpha.min(axis=-1)


def _error(left_one_out: np.ndarray) -> np.ndarray:
    """Standard error by the jackknife, blocks on axis 1."""
    apart = left_one_out - left_one_out.mean(axis=1, keepdims=True)
    return np.sqrt((apart**2).sum(axis=1) * (BLOCKS - 1) / BLOCKS)


def _nulls(
    series: np.ndarray, scaling: np.ndarray, widths: np.ndarray, weights: np.ndarray,
    measured: Callable[[np.ndarray], _Moments], q: np.ndarray, draws: int, generator: torch.Generator,
) -> Iterator[tuple[int, tuple[Null, ...]]]:  # fmt: skip
    """Each series that scales with its nulls, over its own range; without any where a surrogate has no F there."""
    for row in scaling.tolist() if draws else ():
        nulls = []
        for name, hypothesis, surrogate in NULLS:
            drawn = surrogate(np.tile(series[row], (draws, 1)), generator=generator)
            logs = np.concatenate([_log_fluctuations(measured(piece), q, EVERYTHING)[:, 0] for piece in pieces(drawn)])
            found = _spectrum(slopes(logs, weights[row]), q)[2]
            nulls.append(Null(name, hypothesis, "series", found, float(widths[row])))
        yield row, tuple(nulls) if all(np.isfinite(null.draws).all() for null in nulls) else ()
