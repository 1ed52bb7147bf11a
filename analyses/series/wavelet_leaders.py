"""Are the singularities of a series all of one strength, or of many? Wavelet leaders and p-leaders, with their log-cumulants.

Method: Wendt, Abry and Jaffard, IEEE Signal Process. Mag. 24 (4), 38 (2007), for leaders; Leonarduzzi, Wendt, Abry, Jaffard,
Melot, Roux and Torres, Physica A 448, 319 (2016), for p-leaders with their correction for finite resolution. The leader of a
dyadic interval is the largest wavelet coefficient over three neighbouring intervals and all finer octaves (p infinite), or a
p-mean of them. Over octaves j the means of L^q go as 2^(j zeta(q)), zeta(q) = q h(q), and the cumulants of ln L as j ln 2 times
c1, c2, c3: zeta(q) = c1 q + c2 q^2 / 2 + c3 q^3 / 6 + ... One exponent alone means c1 = h and c2 = c3 = 0.

Variants. All exponents are those of the walk: the series itself where it is one, else its running sum, as in MFDFA; which of
the two is decided by the growth of the root mean square coefficient over octaves (WALK). The walk less the line from its first
point to its last is wrapped around, so that no octave loses its ends: a heavy end is part of the scaling, as in the binomial
cascade. (Where a walk is itself as rough as noise, that line jumps at the seam, which coarse octaves show.) Lines weigh each
octave by its leaders. Their range is the widest of five octaves (1.5 decades) or more at none of which the points stray from
their lines, in root mean square over orders, by more than MISFIT or SURE standard errors; there is no number when there is
none. Below a minimal regularity of the walk (leaders: growth of the largest coefficient; p-leaders: eta(p) / p) of 0 there are
no leaders, and below MARGIN their means are slow to converge: coefficients are then integrated by 1/2, 1, 3/2 or 2 orders,
which are taken off the exponents again. Leaders of which more than a quarter lies on a flat or linear run (a unit that is off
or saturated) are left out: one of them would rule all negative orders.

Intervals and the test of c2 = 0 resample 16 blocks of time, the same for all octaves. They say nothing of structure longer than
those nor of the bias of the first octaves; by trial on 64 series of 2^14 steps they hold c2 of noise, walks and cascades in 89
to 92 %, and c1 in 75 to 89 % (in 64 % for noise of H = 0.3, whose c1 comes out 0.02 low). A c2 below zero is no evidence alone:
heavy tails give one too, hence two nulls, fitted over the range of their series. Of 40 series of 2^13 steps each, 1 of noise
with H = 0.8 was multifractal beyond interval and nulls, 11 of random walks with c2 = -0.02 and 35 of those with -0.08.

Takes series (series, steps). Cost: some 40 operations a step, and orders + 3 powers of each leader; each draw of a null as
much, and the sorts of IAAFT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._leader_lines import OCTAVES, Measured, Settings, counts_of, measured
from analyses.series._leader_sums import BLOCKS, block_sums, octaves_of, summaries
from analyses.series._scaling import slopes
from analyses.series._turns import as_series, pieces
from analyses.surrogates import amplitude_adjusted, shuffled
from hooks.errors import InputError
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDERS = tuple(np.linspace(-5.0, 5.0, 21).tolist())
FINEST = 4  # 16 steps: below, what a sampled walk has lost shows in every line
FEWEST = 16  # leaders of the coarsest octave
RESAMPLES = 200
ITERATIONS = 50  # of IAAFT


@dataclass(frozen=True, eq=False)
class WaveletLeaders(Result):
    """Exponents of every series, of the walk; NaN where it does not scale.

    Attributes
    ----------
    octaves, counts : (octaves,)
        j, an interval of 2^j steps, and how many of them a series holds.
    orders : (orders,)
        q, ascending.
    log_means : (series, orders, octaves)
        log2 of (mean of L^q)^(1/q), and the mean of log2 L for q = 0; NaN where more than half of the leaders are left out.
    cumulants : (series, 3, octaves)
        Of ln L.
    left_out : (series, octaves)
        Share of leaders on flat runs.
    ranges : (series, 2)
        First and last octave of the lines; zeros where there are none.
    misfits : (series,)
        Root mean square distance of ``log_means`` from their lines, weighted as these are, in octaves; the smallest of all
        ranges where none is straight.
    c, c_errors, c_intervals : (series, 3), (series, 3), (series, 3, 2)
        Log-cumulants c1, c2, c3, standard error, interval at 95 %.
    c2_p : (series,)
        Of c2 = 0, two-sided, Student's t with 15 degrees of freedom.
    h, h_intervals : (series, orders), (series, orders, 2)
        h(q) = zeta(q) / q, c1 at q = 0, and the interval at 95 %.
    summed : (series,)
        Whether the walk is the running sum of the series.
    regularity : (series,)
        Minimal regularity of the walk: leaders exist above 0.
    integration : (series,)
        Order of fractional integration before the leaders were taken, taken off the exponents again.
    p
        Of the p-leaders; infinite for leaders.
    beats_nulls : (series,)
        Whether c2 is below both nulls at 5 %.
    outcomes, reasons
        One a series: CONVERGED, NO_SCALING or TOO_SHORT, and why there is no number, else empty.
    nulls
        Two for each series that scales, unless none was asked for: c2 of the walk's increments in random order, and of linear
        Gaussian noise with their spectrum and values (IAAFT).
    checks
        ``log_means`` never fall with q, as power means do.
    """

    octaves: Int[np.ndarray, " octaves"]
    counts: Int[np.ndarray, " octaves"]
    orders: Float[np.ndarray, " orders"]
    log_means: Float[np.ndarray, "series orders octaves"]
    cumulants: Float[np.ndarray, "series 3 octaves"]
    left_out: Float[np.ndarray, "series octaves"]
    ranges: Int[np.ndarray, "series 2"]
    misfits: Float[np.ndarray, " series"]
    c: Float[np.ndarray, "series 3"]
    c_errors: Float[np.ndarray, "series 3"]
    c_intervals: Float[np.ndarray, "series 3 2"]
    c2_p: Float[np.ndarray, " series"]
    h: Float[np.ndarray, "series orders"]
    h_intervals: Float[np.ndarray, "series orders 2"]
    summed: Bool[np.ndarray, " series"]
    regularity: Float[np.ndarray, " series"]
    integration: Float[np.ndarray, " series"]
    p: float
    beats_nulls: Bool[np.ndarray, " series"]
    outcomes: tuple[Outcome, ...]
    reasons: tuple[str, ...]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def zeta(self) -> np.ndarray:
        """(series, orders) scaling exponents of the means of L^q."""
        return self.orders * self.h

    @property
    def alpha(self) -> np.ndarray:
        """(series, orders) strengths of singularity, the slopes of zeta."""
        return np.gradient(self.zeta, self.orders, axis=1, edge_order=2)

    @property
    def f(self) -> np.ndarray:
        """(series, orders) the dimension of those points, 1 + q alpha - zeta, by Legendre's transform; at most 1."""
        return 1 + self.orders * self.alpha - self.zeta

    @property
    def multifractal(self) -> np.ndarray:
        """(series,) whether c2 is below zero with its whole interval, and below both nulls."""
        return (self.c_intervals[:, 1, 1] < 0) & self.beats_nulls

    def summary(self) -> str:
        """How many series are multifractal beyond their nulls, how many scale, and the numbers of the first that does."""
        count = len(self.outcomes)
        if Outcome.TOO_SHORT in self.outcomes:
            return f"0 of {count} series measured: each {Outcome.TOO_SHORT.value}, {self.reasons[0]}"
        scaling = [row for row, outcome in enumerate(self.outcomes) if outcome is Outcome.CONVERGED]
        text = f"{self.multifractal.sum()} of {count} series multifractal beyond their nulls"
        if scaling and not self.nulls:
            text = f"0 of {count} series shown to be multifractal, for no null was drawn"
        text += f"; {len(scaling)} of {count} scale over {OCTAVES} octaves or more"
        if scaling:
            row = scaling[0]
            low, high = self.ranges[row]
            text += f"; the first over octaves {low} to {high}, {self.misfits[row]:.2g} octaves off its lines"
            text += ", its running sum taken for the walk, with " if self.summed[row] else ", itself a walk, with "
            text += ", ".join(
                f"c{m + 1} = {self.c[row, m]:+.3f} [{self.c_intervals[row, m, 0]:+.3f}, {self.c_intervals[row, m, 1]:+.3f}]"
                for m in range(3)
            )
            text += f"; p = {self.c2_p[row]:.2g} for c2 = 0"
            for null in self.nulls[:2]:
                text += f", {null.name} {null.draws.min():+.3f} to {null.draws.max():+.3f}"
        reasons = [reason for reason in self.reasons if reason]
        text += f"; no number for {len(reasons)}: {'; '.join(sorted(set(reasons)))}" if reasons else ""
        if self.left_out.any():
            text += f"; up to {self.left_out.max():.0%} of the leaders of an octave lie on flat runs and are left out"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """log2 means of the first series at five orders, with the lines over their range."""
        ax = axes_or_new(ax)
        for k, order in enumerate(np.unique(np.linspace(0, len(self.orders) - 1, 5).round().astype(int))):
            if not len(self.outcomes) or not np.isfinite(self.log_means[0, order]).any():
                continue
            means, (low, high) = self.log_means[0, order], self.ranges[0]
            ax.plot(self.octaves, means, ".", color=f"C{k}", label=f"q = {self.orders[order]:g}")
            used = (self.octaves >= low) & (self.octaves <= high) & (high > 0)
            if used.any():
                j, weight = self.octaves[used], self.counts[used] / self.counts[used].sum()
                slope = self.h[0, order] + self.integration[0]
                ax.plot(j, weight @ means[used] + slope * (j - weight @ j), color=f"C{k}", linewidth=0.8)
            ax.legend(fontsize=7)
        ax.set(xlabel="octave j (2^j steps)", ylabel="log2 of the mean leader, first series")
        return ax


def wavelet_leaders(
    series: Any,
    *,
    p: float = 2.0,
    orders: Sequence[float] | Float[np.ndarray, " orders"] = ORDERS,
    octaves: tuple[int, int] | None = None,
    moments: int = 3,
    walk: bool | None = None,
    integration: float | None = None,
    draws: int = 19,
    generator: torch.Generator | None = None,
    watch: Watch = quiet,
) -> WaveletLeaders:
    """c1, c2, c3 and h(q) of each series, with intervals, a test of c2 = 0 and two nulls.

    Parameters
    ----------
    series : (series, steps) or (steps,)
        Noise or walks.
    p
        Of the p-leaders, which vary less than leaders; ``math.inf`` for leaders.
    orders
        q, three at least.
    octaves
        Finest and coarsest octave that may be used; from 4 to the last with 16 leaders when left out.
    moments
        Vanishing moments N of the Daubechies wavelet, 1 to 10: polynomials below degree N leave no trace, and strengths above N
        are not seen.
    walk
        Whether the series are walks; decided for each when left out, which noise near 1/f is too close to call for.
    integration
        Order of fractional integration; the least half order that gives a regularity of 1/2 when left out.
    draws
        Of each null; 0 for none, 19 for a level of 5 %.
    generator
        Of the draws and of the blocks.
    watch
        Over the series whose nulls are drawn.

    Returns
    -------
    WaveletLeaders
        With TOO_SHORT where there are fewer than six octaves (by default below 8192 steps); NO_SCALING where no six of them lie
        on lines, the regularity stays negative or the series is smoother than the wavelet sees; NaN in all these cases.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, fewer than three orders, p not above 0, or octaves, moments or
        integration out of the range.
    """
    recorded = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    q = np.unique(np.asarray(orders, dtype=np.float64))
    coarsest = int(np.log2(max(recorded.shape[1] // FEWEST, 1)))
    first, last = (FINEST, coarsest) if octaves is None else octaves
    if len(q) < 3 or not np.isfinite(q).all() or not p > 0 or draws < 0 or not 1 <= moments <= 10:
        raise InputError(
            "there are three finite orders at least, p is above 0, moments from 1 to 10 and draws not negative, "
            f"but orders {q.tolist()}, {p=}, {moments=}, {draws=} came"
        )
    if (octaves is not None and not 1 <= first <= last <= coarsest) or not 0 <= (integration or 0) <= 4:
        raise InputError(
            f"octaves lie from 1 to {coarsest}, where {FEWEST} leaders are left, and integration from 0 to 4, "
            f"but {octaves=}, {integration=} came"
        )
    j = np.arange(first, last + 1)
    ranges = [(low, high) for low in range(len(j)) for high in range(low + OCTAVES, len(j))]
    if not ranges or not len(recorded):
        return _unmeasured(recorded, q, j, p)
    generator = generator or torch.Generator().manual_seed(0)
    settings = Settings(q, j, ranges, float(p), moments, walk, integration)

    picks = torch.randint(BLOCKS, (RESAMPLES, BLOCKS), generator=generator)
    resampled = torch.nn.functional.one_hot(picks, BLOCKS).sum(dim=1).double().numpy()
    parts = [measured(piece, settings, resampled) for piece in pieces(recorded)]
    found = Measured(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Measured)))
    scaling = np.array([not reason for reason in found.reasons])
    nulls: tuple[Null, ...] = ()
    for nulls in watch(_nulls(found, settings, draws, generator), int(scaling.sum())):
        pass

    below = np.array([null.beaten and null.observed < np.median(null.draws) for null in nulls], dtype=bool)
    beats = np.zeros(len(recorded), dtype=bool)
    beats[np.flatnonzero(scaling)[: len(nulls) // 2]] = below.reshape(-1, 2).all(axis=1)
    reach = student.ppf(0.975, BLOCKS - 1) * np.array([-1.0, 1.0])
    falls = -np.diff(found.log_means, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(found.c[:, 1]) / found.c_errors[:, 1]
    return WaveletLeaders(
        octaves=j,
        counts=counts_of(recorded.shape[1], j),
        orders=q,
        log_means=found.log_means,
        cumulants=found.cumulants,
        left_out=found.left_out,
        ranges=np.where(scaling[:, None], np.array([(j[low], j[high]) for low, high in ranges])[found.chosen], 0),
        misfits=found.misfits,
        c=found.c,
        c_errors=found.c_errors,
        c_intervals=found.c[:, :, None] + found.c_errors[:, :, None] * reach,
        c2_p=2 * student.sf(distance, BLOCKS - 1),
        h=found.h,
        h_intervals=found.h[:, :, None] + found.h_errors[:, :, None] * reach,
        summed=found.summed,
        regularity=found.regularity,
        integration=found.integration,
        p=float(p),
        beats_nulls=beats,
        outcomes=tuple(Outcome.CONVERGED if good else Outcome.NO_SCALING for good in scaling),
        reasons=tuple(found.reasons.tolist()),
        nulls=nulls,
        checks=(Check("largest fall of log2 L with q", 0.0, float(falls[np.isfinite(falls)].max(initial=0.0)), 1e-9),),
    )


def _unmeasured(recorded: np.ndarray, q: np.ndarray, j: np.ndarray, p: float) -> WaveletLeaders:
    count = len(recorded)
    per_series, per_order = np.full(count, np.nan), np.full((count, len(q)), np.nan)
    reason = f"{len(j)} octaves from {FINEST if not len(j) else j[0]} on where {OCTAVES + 1} are needed"
    return WaveletLeaders(
        octaves=j, counts=counts_of(recorded.shape[1], j), orders=q, log_means=np.full((count, len(q), len(j)), np.nan),
        cumulants=np.full((count, 3, len(j)), np.nan), left_out=np.zeros((count, len(j))),
        ranges=np.zeros((count, 2), dtype=np.int64), misfits=per_series, c=np.full((count, 3), np.nan),
        c_errors=np.full((count, 3), np.nan), c_intervals=np.full((count, 3, 2), np.nan), c2_p=per_series, h=per_order,
        h_intervals=np.full((count, len(q), 2), np.nan), summed=np.zeros(count, dtype=bool), regularity=per_series,
        integration=per_series, p=float(p), beats_nulls=np.zeros(count, dtype=bool),
        outcomes=(Outcome.TOO_SHORT,) * count, reasons=(reason,) * count, nulls=(), checks=(),
    )  # fmt: skip


def _nulls(found: Measured, at: Settings, draws: int, generator: torch.Generator) -> Iterator[tuple[Null, ...]]:
    """After each series that scales, the nulls of all so far: c2 of its surrogates, over its own range and integration."""
    nulls: tuple[Null, ...] = ()
    no_orders = np.zeros(0)
    for row in np.flatnonzero(found.reasons == "") if draws else ():
        repeated = np.tile(found.steps[row], (draws, 1))
        for name, hypothesis, drawn in (
            ("shuffled", "the order of the increments does not matter", shuffled(repeated, generator=generator)),
            ("IAAFT", "the increments are linear Gaussian noise, seen through a monotonic function",
             amplitude_adjusted(repeated, iterations=ITERATIONS, generator=generator)),
        ):  # fmt: skip
            parts = []
            for piece in pieces(drawn):
                octaves = octaves_of(piece, at.moments, int(at.j[-1]), np.zeros(len(piece)))
                order = np.full(len(piece), found.integration[row])
                smooth = order + found.regularity[row]
                first = int(at.j[0])
                sums = block_sums(octaves, piece.shape[1], no_orders, first, at.moments, at.p, order, smooth)
                cumulants = summaries(sums, no_orders, np.ones((1, BLOCKS)))[1][:, 0]
                parts.append(slopes(cumulants, found.slopes[row])[:, 1] / math.log(2))
            nulls += (Null(name, hypothesis, "series", np.concatenate(parts), float(found.c[row, 1])),)
        yield nulls
