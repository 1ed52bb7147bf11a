"""How random is the order of a series, and how much structure has it beyond that? The complexity-entropy plane.

Method: every window of D values, ``delay`` steps apart, is replaced by the pattern of its ranks (Bandt and Pompe, Phys. Rev.
Lett. 88, 174102, 2002). Of two equal values the earlier counts as smaller, which is what a stable sort says; no noise is added.
H is the Shannon entropy of the patterns over ln D!, C the Jensen-Shannon statistical complexity
Q0 (S[(P + U) / 2] - S[P] / 2 - S[U] / 2) H, U the uniform distribution (Rosso et al., Phys. Rev. Lett. 99, 154102, 2007). The
least and greatest C at each H are those of Martin, Plastino and Rosso, Physica A 369, 439 (2006).

A window's pattern is read as one whole number, its Lehmer code: how many later values lie below each value. That needs D - 1
comparisons of the series with itself, and no sort. Standard errors are of the delta method, the variance of the influence of
each window taken from the means of 32 blocks, so that windows which overlap and series with memory are allowed for. They do not
hold the bias: H of white noise falls short of 1 by about (D! - 1) / (2 windows ln D!), and the nulls fall short by as much.

Nulls at the first delay: shuffles, and two of linear noise, of which a series must beat both. One turns the phases of the
series itself (linear Gaussian noise), the other those of the series made Gaussian by its ranks, and puts its own values in the
order that results (amplitude-adjusted Fourier transform, a monotonic function of linear noise: Theiler et al., Physica D 58,
77, 1992). Neither serves alone: by trial the first takes the exponential of pink noise for structure in 80 % of series, the
second brown noise in 72 %. A steep spectrum behind a strong distortion is held by neither, nor a series whose ends do not
match, such as a sine of broken period. Noise with memory lacks patterns too, so these are compared as well. Chaos of many
dimensions and its linear noise lie close together in the plane; not beating a null does not show noise.

Takes series (series, steps). Costs some D comparisons and sums of an array as long as the series, for each delay and draw;
memory some 24 bytes a value of as many series as fill 2^20 values, one at least, and 8 * D! * 32 bytes each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import ndtri
from scipy.stats import rankdata

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._turns import as_series
from analyses.surrogates import phase_randomised, shuffled
from hooks.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

BLOCKS = 32  # of the standard errors, which they give to about 13 %
AT_ONCE = 2**20  # values whose patterns are held at once
SHUFFLED, LINEAR, ADJUSTED = "shuffled", "phases at random", "amplitude-adjusted"


@dataclass(frozen=True, eq=False)
class OrdinalPatterns(Result):
    """Where every series lies in the complexity-entropy plane, at every delay.

    Attributes
    ----------
    entropies, entropy_errors : (series, delays)
        H in [0, 1] and its standard error; NaN where windows are too few.
    complexities, complexity_errors : (series, delays)
        C and its standard error.
    bounds : (series, delays, 2)
        The least and the greatest C that any distribution of this H has.
    absent : (series, delays)
        Patterns never seen; -1 where windows are too few.
    absence_bounds : (delays,)
        In white noise of this length the probability that any pattern is absent is at most this: D! (1 - 1 / D!)^m for the m
        windows that share no value, and 1 at most.
    tied : (series, delays)
        Share of windows that hold two equal values.
    probabilities : (series, patterns)
        Of the patterns at the first delay, in the lexicographic order of their ranks (``patterns``).
    shuffle_p, linear_p, absent_p : (series,)
        Of H against shuffles and linear noise, and of the absent patterns against linear noise, the larger p of its two kinds;
        NaN where none was drawn.
    order, delays, windows
        D; steps between the values of a window; windows of a series at each delay.
    outcome
        TOO_SHORT when no delay has windows enough.
    nulls
        Five for each series that moves, at the first delay: shuffles by H, and both kinds of linear noise by H and by absent
        patterns.
    checks
        C lies within its bounds; probabilities sum to 1.
    """

    entropies: Float[np.ndarray, "series delays"]
    entropy_errors: Float[np.ndarray, "series delays"]
    complexities: Float[np.ndarray, "series delays"]
    complexity_errors: Float[np.ndarray, "series delays"]
    bounds: Float[np.ndarray, "series delays 2"]
    absent: Int[np.ndarray, "series delays"]
    absence_bounds: Float[np.ndarray, " delays"]
    tied: Float[np.ndarray, "series delays"]
    probabilities: Float[np.ndarray, "series patterns"]
    shuffle_p: Float[np.ndarray, " series"]
    linear_p: Float[np.ndarray, " series"]
    absent_p: Float[np.ndarray, " series"]
    order: int
    delays: tuple[int, ...]
    windows: tuple[int, ...]
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def patterns(self) -> Int[np.ndarray, "patterns order"]:
        """Ranks of the values of a window, earliest first; row k is what ``probabilities[:, k]`` belongs to."""
        return _ranks(self.order)

    def summary(self) -> str:
        """How many series are unlike linear noise and unlike a shuffle, and where the first three lie."""
        count, size = len(self.entropies), math.factorial(self.order)
        if self.outcome is Outcome.TOO_SHORT:
            return (
                f"0 of {count} series read: each {self.outcome.value}, {max(self.windows, default=0)} windows for "
                f"{size} patterns of order {self.order}"
            )
        drawn = int(np.isfinite(self.linear_p).sum())
        text = f"{count} of {count} series read at order {self.order}"
        if drawn:
            text = f"{int((self.linear_p <= 0.05).sum())} of {count} series unlike linear noise of their spectrum"
            text += f" and {int((self.shuffle_p <= 0.05).sum())} unlike their shuffles (H at level 0.05, order {self.order})"
        else:
            text += ", none held against a null"
        at = int(np.argmax(self.windows))
        places = [
            f"{h:.3f} ± {dh:.1g}, {c:.3f} ± {dc:.1g}, {missing} of {size} patterns absent"
            for h, dh, c, dc, missing in zip(
                self.entropies[:, at], self.entropy_errors[:, at], self.complexities[:, at], self.complexity_errors[:, at],
                self.absent[:, at], strict=True,
            )
        ]  # fmt: skip
        text += f"; at delay {self.delays[at]} H, C {'; '.join(places[:3])}" if places else ""
        text += f"; and {count - 3} more" if count > 3 else ""
        text += (
            f"; white noise of this length lacks any with probability below {max(self.absence_bounds[at], 1e-300):.1g}"
        )
        if (self.tied > 0).any():
            text += f"; up to {np.nanmax(self.tied):.0%} of windows hold equal values, the earlier taken as smaller"
        if len(self.delays) > 1 and count:
            best = int(np.nanargmax(self.complexities[0]))
            text += f"; the first has its greatest C, {self.complexities[0, best]:.3f}, at delay {self.delays[best]}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The plane with its bounds, each series a point at one delay or a curve over delays."""
        ax = axes_or_new(ax)
        H = np.linspace(0, 1, 201)
        ax.plot(H, complexity_bounds(H, order=self.order), color="0.6", linewidth=0.8)
        for number, (h, c) in enumerate(zip(self.entropies[:8], self.complexities[:8], strict=True)):
            ax.plot(h, c, "o-", markersize=4, linewidth=0.8, label=f"series {number + 1}")
        ax.set(xlabel=f"permutation entropy H, order {self.order}", ylabel="statistical complexity C")
        if len(self.entropies) > 1:
            ax.legend(fontsize=7)
        return ax


def ordinal_patterns(
    series: Any,
    *,
    order: int = 6,
    delays: Sequence[int] = (1,),
    least: float = 5.0,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> OrdinalPatterns:
    """Permutation entropy, statistical complexity and absent patterns of each series.

    Parameters
    ----------
    series : (series, steps) or (steps,)
        One observable each. Of a flow sampled finely most windows rise or fall: read the curve over delays.
    order
        Values in a window, D, 2 to 8.
    delays
        Steps between them; several give the scale curve.
    least
        Windows for each of the D! patterns below which a delay is too long for the series.
    draws
        Of each null, at the first delay; 0 for none, 19 for a level of 5 %.
    generator
        Of the draws.

    Returns
    -------
    OrdinalPatterns

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, an order out of range, a delay below 1 or none, or negative draws.
    """
    values = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    delays = tuple(int(delay) for delay in delays)
    if not 2 <= order <= 8 or not delays or min(delays) < 1 or draws < 0:
        raise InputError(
            f"order is 2 to 8, delays are at least 1, draws at least 0, but {order=}, {delays=}, {draws=} came"
        )
    count, steps = values.shape
    size = math.factorial(order)
    windows = tuple(max(0, steps - (order - 1) * delay) for delay in delays)
    enough = [number > 0 and number >= least * size for number in windows]
    plane, errors = np.full((2, count, len(delays)), np.nan), np.full((2, count, len(delays)), np.nan)
    tied, absent = np.full((count, len(delays)), np.nan), np.full((count, len(delays)), -1, dtype=np.int64)
    probabilities = np.full((count, size), np.nan)
    for column, delay in enumerate(delays):
        if not enough[column]:
            continue
        rows = max(1, AT_ONCE // steps)
        for first in range(0, count, rows):
            part = slice(first, first + rows)
            counts, tied[part, column] = _counts(values[part], order, delay, min(BLOCKS, windows[column]))
            P = counts.sum(axis=1) / windows[column]
            plane[:, part, column] = _plane(P)
            errors[:, part, column] = _errors(P, counts)
            absent[part, column] = (P == 0).sum(axis=1)
            if column == 0:
                probabilities[part] = P

    generator = generator or torch.Generator().manual_seed(0)
    nulls: list[Null] = []
    p = np.full((3, count), np.nan)
    if draws and enough[0]:
        for row in np.flatnonzero(np.ptp(values, axis=1) > 0):
            drawn = _drawn_nulls(
                values[row], order, delays[0], draws, generator, float(plane[0, row, 0]), int(absent[row, 0])
            )
            each = [null.p for null in drawn]
            p[:, row] = each[0], max(each[1], each[3]), max(each[2], each[4])
            nulls += drawn

    bounds = complexity_bounds(plane[0].ravel(), order=order).reshape(count, len(delays), 2)
    beyond = np.maximum(bounds[..., 0] - plane[1], plane[1] - bounds[..., 1])
    return OrdinalPatterns(
        entropies=plane[0],
        entropy_errors=errors[0],
        complexities=plane[1],
        complexity_errors=errors[1],
        bounds=bounds,
        absent=absent,
        absence_bounds=np.array([_absence(steps, order, delay) for delay in delays]),
        tied=tied,
        probabilities=probabilities,
        shuffle_p=p[0],
        linear_p=p[1],
        absent_p=p[2],
        order=order,
        delays=delays,
        windows=windows,
        outcome=Outcome.CONVERGED if any(enough) else Outcome.TOO_SHORT,
        nulls=tuple(nulls),
        checks=(
            Check("C beyond its least and greatest at that H", 0.0, max(0.0, float(np.nanmax(beyond))), 1e-9),
            Check("sum of pattern probabilities", 0.0, float(np.abs(probabilities.sum(axis=1) - 1).max()), 1e-12),
        )
        if count and enough[0]
        else (),
    )


def complexity_bounds(entropies: Any, *, order: int) -> Float[np.ndarray, "points 2"]:
    """The least and the greatest C of any distribution over D! patterns with this H, each (points,); NaN stays NaN.

    The least belongs to one probability above D! - 1 equal ones; the greatest to some zeros, one probability below the
    others, and these equal (Martin, Plastino and Rosso 2006, section 4), both found by bisection of H. Raises InputError for
    an H outside [0, 1].
    """
    H = np.atleast_1d(np.asarray(entropies, dtype=np.float64))
    if H.ndim != 1 or (H < -1e-12).any() or (H > 1 + 1e-12).any():
        raise InputError(
            f"normalised entropies are (points,) between 0 and 1, but {H.shape} came with {H.tolist()[:4]}"
        )
    size = math.factorial(order)
    S = np.clip(H, 0, 1) * math.log(size)
    held = np.clip(np.floor(np.exp(np.nan_to_num(S)) + 1e-12), 1, size - 1)  # equal probabilities beside the lesser one
    least = _bisected(S, 1.0, 1.0 / size, np.full_like(S, size - 1.0), size)
    greatest = _bisected(S, 0.0, 1 / (held + 1), held, size)
    return np.stack([least, greatest], axis=1)


def _bisected(S: np.ndarray, low: Any, high: Any, others: np.ndarray, size: int) -> np.ndarray:
    """C of one probability p between ``low`` and ``high`` (where S is lowest and highest), beside equal ``others``."""
    low, high = np.broadcast_to(low, S.shape).astype(np.float64), np.broadcast_to(high, S.shape).astype(np.float64)

    def entropy(p: np.ndarray) -> np.ndarray:
        return _term(p) + others * _term((1 - p) / others)

    for _ in range(60):
        p = (low + high) / 2
        below = entropy(p) < S
        low, high = np.where(below, p, low), np.where(below, high, p)
    p, U = (low + high) / 2, 1 / size
    mixed = _term((p + U) / 2) + others * _term(((1 - p) / others + U) / 2) + (size - 1 - others) * _term(U / 2)
    return _scale(size) * (mixed - S / 2 - math.log(size) / 2) * S / math.log(size)


def _term(p: Any) -> Any:
    """-p ln p, 0 at 0."""
    return -p * np.log(np.where(p > 0, p, 1.0))


def _scale(size: int) -> float:
    """Q0: one over the greatest Jensen-Shannon divergence from uniform, that of one certain pattern."""
    return -2 / ((size + 1) / size * math.log(size + 1) - 2 * math.log(2 * size) + math.log(size))


def _plane(P: np.ndarray) -> np.ndarray:
    """(H and C, rows) of distributions (rows, patterns)."""
    size = P.shape[1]
    S = _term(P).sum(axis=1)
    H = S / math.log(size)
    divergence = _term((P + 1 / size) / 2).sum(axis=1) - S / 2 - math.log(size) / 2
    return np.stack([H, _scale(size) * divergence * H])


def _errors(P: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Standard errors of H and C (2, rows): the influence of a window by its pattern, varying between means of blocks."""
    size = P.shape[1]
    if counts.shape[1] < 2:
        return np.full((2, len(P)), np.nan)
    logs = np.log(np.where(P > 0, P, 1.0))
    H, C = _plane(P)
    by_entropy = -logs / math.log(size)
    divergence = np.divide(C, H, out=np.zeros_like(C), where=H > 0)
    by_complexity = (
        _scale(size) * (logs - np.log((P + 1 / size) / 2)) / 2 * H[:, None] + divergence[:, None] * by_entropy
    )
    influence = np.stack([by_entropy, by_complexity], axis=2)
    means = (counts @ influence) / counts.sum(axis=2, keepdims=True)
    return (means.std(axis=1, ddof=1) / math.sqrt(counts.shape[1])).T


def _counts(values: np.ndarray, order: int, delay: int, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each pattern occurs (rows, blocks, patterns), in blocks of nearly equal length, and the share of ties."""
    rows, steps = values.shape
    size, windows = math.factorial(order), steps - (order - 1) * delay
    codes, ties = _codes(values, order, delay)
    block = np.arange(windows) * blocks // windows
    codes += (np.arange(rows)[:, None] * blocks + block) * size
    counts = np.bincount(codes.ravel(), minlength=rows * blocks * size).reshape(rows, blocks, size)
    return counts, ties.mean(axis=1)


def _codes(
    values: np.ndarray, order: int, delay: int
) -> tuple[Int[np.ndarray, "rows windows"], Bool[np.ndarray, "rows windows"]]:
    """Lehmer codes of the windows, and whether a window holds a tie.

    Place i of a code counts the later values below value i. Those of all places are sums of the same comparisons with the
    value ``k`` delays later, read at shifted times.
    """
    rows, steps = values.shape
    windows = steps - (order - 1) * delay
    codes, ties = np.zeros((rows, windows), dtype=np.int64), np.zeros((rows, windows), dtype=bool)
    fewer, equal = np.zeros((rows, steps), dtype=np.int8), np.zeros((rows, steps), dtype=bool)
    for later in range(1, order):
        end = steps - later * delay
        now, then = values[:, :end], values[:, later * delay :]
        fewer, equal = fewer[:, :end] + (then < now), equal[:, :end] | (then == now)
        begin = (order - 1 - later) * delay  # of the place with this many values after it
        codes += fewer[:, begin : begin + windows] * np.int64(math.factorial(later))
        ties |= equal[:, begin : begin + windows]
    return codes, ties


def _ranks(order: int) -> np.ndarray:
    """(D!, D) in the order of the codes."""
    codes, free = np.arange(math.factorial(order)), np.tile(np.arange(order), (math.factorial(order), 1))
    ranks = np.empty_like(free)
    for place in range(order):
        digit, codes = np.divmod(codes, math.factorial(order - 1 - place))
        ranks[:, place] = np.take_along_axis(free, digit[:, None], axis=1)[:, 0]
        keep = np.arange(free.shape[1]) != digit[:, None]
        free = free[keep].reshape(len(free), -1)
    return ranks


def _absence(steps: int, order: int, delay: int) -> float:
    """A bound on the probability that white noise lacks any pattern: windows without a common value are independent."""
    size = math.factorial(order)
    strands = np.arange(delay)
    apart = int(((steps - strands + delay - 1) // delay // order).sum())
    return min(1.0, size * (1 - 1 / size) ** apart)


def _drawn_nulls(
    series: np.ndarray, order: int, delay: int, draws: int, generator: torch.Generator, H: float, absent: int
) -> list[Null]:
    """Shuffles by H, then both kinds of linear noise by H and by absent patterns, of one series."""
    gaussian = ndtri((rankdata(series) - 0.5) / len(series))
    ordered = np.sort(series)

    def described(surrogates: np.ndarray) -> np.ndarray:
        counts = _counts(surrogates, order, delay, 1)[0][:, 0]
        return np.stack([_plane(counts / counts.sum(axis=1, keepdims=True))[0], (counts == 0).sum(axis=1)])

    found = []
    rows = max(1, AT_ONCE // len(series))
    for first in range(0, draws, rows):
        many = np.tile(series, (min(rows, draws - first), 1))
        linear = phase_randomised(many, generator=generator)
        noise = phase_randomised(np.broadcast_to(gaussian, many.shape), generator=generator)
        adjusted = np.empty_like(noise)
        np.put_along_axis(adjusted, noise.argsort(axis=1), np.broadcast_to(ordered, noise.shape), axis=1)
        shuffles = described(shuffled(many, generator=generator))
        found.append(np.concatenate([shuffles[:1], described(linear), described(adjusted)]))
    names = (
        (SHUFFLED, "the order of the values does not matter"),
        (LINEAR, "the series is linear Gaussian noise"),
        (ADJUSTED, "the series is a monotonic function of linear Gaussian noise"),
    )
    return [
        Null(f"{name}: {what}", hypothesis, "series", drawn, value)
        for (name, hypothesis), what, drawn, value in zip(
            (names[0], names[1], names[1], names[2], names[2]),
            ("H", "H", "absent patterns", "H", "absent patterns"),
            np.concatenate(found, axis=1),
            (H, H, float(absent), H, float(absent)),
            strict=True,
        )
    ]
