"""How far does a series remember? Four exponents of its sum, each read as the H of the fractional noise that gives the same.

Method: each series is brought to mean 0 and variance 1 and summed, X(t). Over scales n,

- S, self-similarity: the share of t with |X(t + n) - X(t)| <= threshold falls as n^-S;
- H, Hurst: the range of the window's own summed deviations over its standard deviation, R/S, grows as n^H;
- J, Joseph: the standard deviation over t of X(t + n) - X(t) grows as n^J;
- DFA: the root mean square of X about a polynomial of the given order in each window grows as n^DFA.

S and J take every t, H and DFA adjoining windows from the first step on. A curve is averaged over windows and series (J and
DFA: the squares are) and fitted by least squares in logarithms. For fractional Gaussian noise (fGn) all four are H in the
limit, and none is at a finite length: R/S gives 0.54 for white noise over scales 16 to 1024. So each raw slope is calibrated:
fGn is simulated (Davies and Harte, Biometrika 74, 95, 1987) at ten H, in sets as long and as large, and the H of this slope is
the exponent.
Beyond the ten the correction of the last one is kept. The calibration is Gaussian: S alone depends on the distribution, little
once n is 16 or more.

A straight curve is required: the exponents of the lower and the upper half of the scales may differ by no more than 0.15
beyond two standard errors, over 1.5 decades. Two nulls: all steps shuffled, which denies any memory; and blocks as long as
the shortest scale of the upper half shuffled, against the upper half's exponent, which denies memory beyond a block.

Sources: Alabdulmohsin, Tran, Dehghani, Fractal Patterns May Illuminate the Success of Next-Token Prediction, NeurIPS 2024,
for S, H and J (its text takes a running mean in R/S, its code the window's: here the window's); Peng et al., Phys. Rev. E 49,
1685 (1994), for DFA; Anis and Lloyd, Biometrika 63, 111 (1976), for the mean R/S of white noise, which is the check.

Takes series (series, steps). Costs O(steps scales) for each series, as often again for each draw of the two nulls, and for
1000 simulated ones: 2 s for 40 series of 2048 steps. Holds 100 simulated series of twice the steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.special import gammaln

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._growth import POWERS, QUANTITIES, growing, slope_weights, slopes_of, standardised
from analyses.series._turns import as_series, still
from analyses.surrogates import block_shuffled, shuffled
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HURSTS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98])
SIMULATED = 100  # series at each H: an R/S slope of 2048 steps scatters by 0.05, so its mean by 0.005
SHORTEST_SCALE = 16  # below it R/S and S follow the distribution of single steps
DECADES = 1.5
FEWEST_SCALES = 6  # three in each half
CROSSOVER = 0.15  # half of what parts white noise, 0.5, from the most persistent published text, 0.8
RESAMPLED = 20  # series from which on the interval is a bootstrap over series; with fewer it is that of fGn
RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class LongRange(Result):
    """The four exponents S, H, J and DFA of a set of series.

    Attributes
    ----------
    quantities
        ("S", "H", "J", "DFA"), the axis of what follows.
    exponents : (quantities,)
        Calibrated, of all series together; NaN without a range of scaling.
    intervals : (quantities, 2)
        Of 95 %: from a bootstrap over series where there are 20 or more, else from the scatter of fGn; with the error of the
        calibration. Of fGn of H 0.7 (60 sets of 40 series, 1024 steps, one calibration) they held H in 100 %, J and DFA in
        95 %, and S in 83 %.
    raw : (quantities,)
        Slopes over all scales, as published studies give them.
    halves : (quantities, 2)
        Calibrated exponents over the lower and the upper half of the scales.
    by_series : (series, quantities)
        Calibrated exponent of each series alone; NaN for a constant, and for S where a scale has no hit.
    spread : (quantities,)
        Standard deviation of ``by_series`` among fGn of this exponent.
    scales : (scales,)
        n, ascending, steps.
    curves : (quantities, scales)
        Hit share, mean R/S, standard deviation, fluctuation.
    hursts : (hursts,)
        H of the simulated fGn.
    calibration : (hursts, quantities)
        Raw slopes of it.
    used
        Series that move.
    threshold, order
        As asked for.
    outcomes
        One a quantity: CONVERGED, TOO_SHORT, NO_SCALING.
    nulls
        Two a quantity with an exponent: all steps shuffled; blocks shuffled, of the upper half.
    checks
        R/S of simulated white noise against Anis and Lloyd's mean, at the shortest scale and at the longest.
    """

    quantities: tuple[str, ...]
    exponents: Float[np.ndarray, " quantities"]
    intervals: Float[np.ndarray, "quantities 2"]
    raw: Float[np.ndarray, " quantities"]
    halves: Float[np.ndarray, "quantities 2"]
    by_series: Float[np.ndarray, "series quantities"]
    spread: Float[np.ndarray, " quantities"]
    scales: Int[np.ndarray, " scales"]
    curves: Float[np.ndarray, "quantities scales"]
    hursts: Float[np.ndarray, " hursts"]
    calibration: Float[np.ndarray, "hursts quantities"]
    used: int
    threshold: float
    order: int
    outcomes: tuple[Outcome, ...]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many exponents have a range of scaling, each with its interval and what shuffled steps and blocks give."""
        found = sum(outcome is Outcome.CONVERGED for outcome in self.outcomes)
        text = f"{found} of {len(self.quantities)} exponents over {self.used} of {len(self.by_series)} series"
        if len(self.scales):
            text += f", scales {self.scales[0]} to {self.scales[-1]}"
        told = []
        for i, name in enumerate(self.quantities):
            if self.outcomes[i] is not Outcome.CONVERGED:
                halves = (
                    f" (halves {self.halves[i, 0]:.2f}, {self.halves[i, 1]:.2f})"
                    if np.isfinite(self.halves[i]).all()
                    else ""
                )
                told.append(f"{name} {self.outcomes[i].value}{halves}")
                continue
            said = f"{name} {self.exponents[i]:.3f} [{self.intervals[i, 0]:.3f}, {self.intervals[i, 1]:.3f}]"
            for null in (null for null in self.nulls if null.name.startswith(f"{name}: ")):
                what = null.name.removeprefix(f"{name}: ")
                mine = "" if what == "steps shuffled" else f"upper half {null.observed:.3f}, "
                said += f"; {mine}{np.median(null.draws):.3f} with {what}{'' if null.beaten else ' (not told apart)'}"
            told.append(said)
        return f"{text}: {'. '.join(told)}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each curve over its value at the shortest scale, with the fitted slope; dotted, the slope of white noise."""
        ax = axes_or_new(ax)
        ax.set(xlabel="scale n (steps)", ylabel="over its value at the shortest scale")
        if not len(self.scales):
            return ax
        logs = np.log(self.scales) - np.log(self.scales).mean()
        for name, curve, power, slope in zip(self.quantities, self.curves, POWERS, self.raw, strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):  # a hit share may be 0
                grown = curve ** np.sign(power) / curve[0] ** np.sign(power)
                fitted = np.exp(np.log(grown).mean() + slope * logs)
            dots = ax.plot(self.scales, grown, "o", markersize=3, label=f"{name}, slope {slope:.2f}")
            ax.plot(self.scales, fitted, linewidth=0.8, color=dots[0].get_color())
        ax.plot(self.scales, (self.scales / self.scales[0]) ** 0.5, ":", color="0.5", label="slope 0.5")
        ax.set(xscale="log", yscale="log")
        ax.legend(fontsize=7)
        return ax


def long_range(
    series: Any,
    *,
    scales: Sequence[int] | None = None,
    threshold: float = 0.5,
    order: int = 1,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> LongRange:
    """S, H, J and DFA of the sums of these series, calibrated against fractional noise of the same length.

    Parameters
    ----------
    series : (series, steps) or (steps,)
        Increments (surprisals, activations), not their sum. All series are taken as recordings of one process.
    scales
        n, at least 6 of them; about half octaves from 16 to half the steps when left out.
    threshold
        Of S, in standard deviations of a step. Well below the width of X at the shortest scale, 4, S does not depend on it;
        the paper takes 0.005, its code 0.05, and 0.5 has ten times the hits.
    order
        Of DFA's polynomials.
    draws
        Of each null; 0 for none, 19 for a level of 5 %.
    generator
        Of the calibration, the bootstrap and the nulls.

    Returns
    -------
    LongRange
        Without numbers and with TOO_SHORT when the longest scale has fewer than two windows or the steps leave no 1.5 decades
        (1012 are needed), with NO_SCALING when the scales asked for span less.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, scales below 4, fewer than six or not ascending, a threshold not above
        0, an order below 1 or above the shortest scale less 3, negative draws.
    """
    recorded = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    n = _scales(recorded.shape[1]) if scales is None else np.array(scales, dtype=np.int64)
    if scales is not None and (n.ndim != 1 or len(n) < FEWEST_SCALES or n[0] < 4 or (np.diff(n) <= 0).any()):
        raise InputError(f"scales are {FEWEST_SCALES} ascending whole numbers from 4 on, not {list(scales)}")
    if threshold <= 0 or draws < 0 or not 1 <= order <= (n[0] if len(n) else SHORTEST_SCALE) - 3:
        raise InputError(
            "the threshold is above 0, draws are 0 or more, and an order from 1 to the shortest scale less 3, but "
            f"{threshold=}, {draws=}, {order=} came"
        )
    if not len(n) or recorded.shape[1] < 2 * n[-1]:
        return _without(Outcome.TOO_SHORT, recorded, threshold, order)
    if n[-1] < n[0] * 10**DECADES or still(recorded).all():
        return _without(Outcome.NO_SCALING, recorded, threshold, order)

    generator = generator or torch.Generator().manual_seed(0)
    steps, slopes = recorded.shape[1], slope_weights(n)
    moving = ~still(recorded)
    x = standardised(recorded[moving])
    statistics = growing(x, n, threshold, order)
    whole = np.isfinite(statistics).all(axis=(1, 2))  # else every window of a scale is flat
    moving[moving], x, statistics = whole, x[whole], statistics[whole]
    if not len(x):
        return _without(Outcome.NO_SCALING, recorded, threshold, order)
    known, alone, scatter, white = _calibrated(len(x), steps, n, threshold, order, slopes, generator)

    pooled = statistics.mean(axis=0)
    raw = slopes_of(pooled, slopes)
    exponents = _read(raw, known)
    nearest = np.abs(HURSTS[:, None] - np.nan_to_num(exponents[:, 0], nan=0.5)).argmin(axis=0)
    of_one = scatter[nearest, np.arange(len(QUANTITIES))]  # (quantities, columns)
    gain = np.gradient(known, HURSTS, axis=0)[nearest, np.arange(len(QUANTITIES))]
    errors = of_one / math.sqrt(len(x))
    if len(x) >= RESAMPLED:
        shares = _resampling(len(x), generator)
        errors = slopes_of(np.einsum("bs,sqn->bqn", shares, statistics), slopes).std(axis=0)
    errors = errors * math.sqrt(1 + len(x) / SIMULATED)  # the calibration's own error is that of as many series
    ends = [_read(raw + sign * 1.96 * errors, known)[:, 0] for sign in (-1, 1)]
    halves = exponents[:, 1:3]
    bent = np.abs(halves[:, 1] - halves[:, 0]) > CROSSOVER + 2 * errors[:, 3] / gain[:, 0]
    straight = np.isfinite(exponents[:, :3]).all(axis=1) & np.isfinite(errors).all(axis=1) & ~bent

    by_series = np.full((len(recorded), len(QUANTITIES)), np.nan)
    by_series[moving] = _read(slopes_of(statistics, slopes), alone)[..., 0]
    nulls = _nulls(x, n, threshold, order, slopes, known, exponents, straight, draws, generator)
    return LongRange(
        quantities=QUANTITIES,
        exponents=np.where(straight, exponents[:, 0], np.nan),
        intervals=np.where(straight[:, None], np.stack(ends, axis=1), np.nan),
        raw=raw[:, 0],
        halves=halves.copy(),
        by_series=by_series,
        spread=of_one[:, 0] / gain[:, 0],
        scales=n,
        curves=pooled ** np.abs(POWERS)[:, None],
        hursts=HURSTS.copy(),
        calibration=known[..., 0].copy(),
        used=len(x),
        threshold=float(threshold),
        order=order,
        outcomes=tuple(Outcome.CONVERGED if ok else Outcome.NO_SCALING for ok in straight),
        nulls=nulls,
        checks=white,
    )


def _scales(steps: int) -> np.ndarray:
    """About half octaves from 16 to half the steps; none when that is less than 1.5 decades."""
    longest = steps // 2
    if longest < SHORTEST_SCALE * 10**DECADES:
        return np.zeros(0, dtype=np.int64)
    count = 1 + round(2 * math.log2(longest / SHORTEST_SCALE))
    return np.rint(np.geomspace(SHORTEST_SCALE, longest, count)).astype(np.int64)


def _calibrated(
    count: int, steps: int, n: np.ndarray, threshold: float, order: int, weights: np.ndarray, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Check, ...]]:
    """(hursts, quantities, columns): mean slope of sets of ``count`` fGn, that of one fGn, its scatter; and the checks."""
    at_once = min(count, SIMULATED)
    noise = torch.randn(SIMULATED, 2 * steps, generator=generator, dtype=torch.float64).numpy()
    together: list[np.ndarray] = []
    alone: list[np.ndarray] = []
    scatter: list[np.ndarray] = []
    checks: tuple[Check, ...] = ()
    for H in HURSTS:
        statistics = growing(standardised(_fractional_noise(H, noise)), n, threshold, order)
        sets = statistics[: SIMULATED // at_once * at_once].reshape(-1, at_once, *statistics.shape[1:]).mean(axis=1)
        one = slopes_of(statistics, weights)
        for kept, slopes, moment in (
            (together, slopes_of(sets, weights), np.nanmean), (alone, one, np.nanmean), (scatter, one, np.nanstd)
        ):  # fmt: skip
            enough = np.isfinite(slopes).mean(axis=0) >= 0.5
            kept.append(np.where(enough, moment(np.where(enough, slopes, 0.0), axis=0), np.nan))
        if H == 0.5:
            checks = tuple(_white(statistics[:, 1, k], int(n[k])) for k in (0, -1))
    return np.array(together), np.array(alone), np.array(scatter), checks


def _fractional_noise(H: float, noise: np.ndarray) -> np.ndarray:
    """fGn (rows, steps) of variance 1 from normal numbers (rows, 2 steps), the same ones at every H (Davies and Harte)."""
    steps = noise.shape[1] // 2
    k = np.arange(steps + 1)
    covariance = (np.abs(k - 1.0) ** (2 * H) - 2 * k ** (2.0 * H) + (k + 1.0) ** (2 * H)) / 2
    spectrum = np.fft.rfft(np.concatenate([covariance, covariance[-2:0:-1]])).real.clip(
        0.0
    )  # rounding alone is below 0
    return np.fft.irfft(np.fft.rfft(noise, axis=1) * np.sqrt(spectrum), 2 * steps, axis=1)[:, :steps]


def _white(ratios: np.ndarray, n: int) -> Check:
    """Mean R/S of white noise over Anis and Lloyd's, within four standard errors."""
    r = np.arange(1, n)
    exact = math.exp(gammaln((n - 1) / 2) - gammaln(n / 2)) / math.sqrt(math.pi) * np.sqrt((n - r) / r).sum()
    tolerance = 4 * ratios.std() / math.sqrt(len(ratios)) / exact
    return Check(f"R/S of white noise over its mean, scale {n}", 1.0, float(ratios.mean() / exact), float(tolerance))


def _read(slopes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """H of the fGn with these slopes (..., quantities, columns); beyond the ten, the last one's correction is kept."""
    H = np.full(slopes.shape, np.nan)
    for q in range(known.shape[1]):
        for column in range(3):
            at, came = known[:, q, column], slopes[..., q, column]
            if np.isfinite(at).all():
                at = np.maximum.accumulate(at)
                H[..., q, column] = (
                    np.interp(came, at, HURSTS) + np.minimum(came - at[0], 0) + np.maximum(came - at[-1], 0)
                )
    return H


def _resampling(count: int, generator: torch.Generator) -> np.ndarray:
    """(RESAMPLES, count): the share of each series in each resample."""
    drawn = torch.randint(count, (RESAMPLES, count), generator=generator).numpy()
    rows = np.arange(RESAMPLES)[:, None] * count
    return np.bincount((drawn + rows).ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count) / count


def _nulls(
    x: np.ndarray, n: np.ndarray, threshold: float, order: int, weights: np.ndarray, known: np.ndarray,
    exponents: np.ndarray, straight: np.ndarray, draws: int, generator: torch.Generator,
) -> tuple[Null, ...]:  # fmt: skip
    if not draws or not straight.any():
        return ()
    block = int(n[len(n) // 2])
    drawn = np.empty((2, draws, len(QUANTITIES)))
    for draw in range(draws):
        for k, (without, column) in enumerate(
            ((shuffled(x, generator=generator), 0), (block_shuffled(x, block=block, generator=generator), 2))
        ):
            slopes = slopes_of(growing(without, n, threshold, order).mean(axis=0), weights)
            drawn[k, draw] = _read(slopes, known)[:, column]
    nulls = []
    for q in np.flatnonzero(straight):
        for k, column, name, hypothesis in (
            (0, 0, "steps shuffled", "the order of the steps does not matter"),
            (1, 2, f"blocks of {block} shuffled", f"nothing is remembered beyond {block} steps"),
        ):
            if np.isfinite(drawn[k, :, q]).all():
                observed = float(exponents[q, column])
                nulls.append(Null(f"{QUANTITIES[q]}: {name}", hypothesis, "series", drawn[k, :, q].copy(), observed))
    return tuple(nulls)


def _without(outcome: Outcome, recorded: np.ndarray, threshold: float, order: int) -> LongRange:
    """No numbers: the series are too short, or nothing can scale."""
    none, count = np.full(len(QUANTITIES), np.nan), len(QUANTITIES)
    return LongRange(
        quantities=QUANTITIES, exponents=none, intervals=np.full((count, 2), np.nan), raw=none.copy(),
        halves=np.full((count, 2), np.nan), by_series=np.full((len(recorded), count), np.nan), spread=none.copy(),
        scales=np.zeros(0, dtype=np.int64), curves=np.zeros((count, 0)), hursts=np.zeros(0), calibration=np.zeros((0, count)),
        used=0, threshold=float(threshold), order=order, outcomes=(outcome,) * count, nulls=(), checks=(),
    )  # fmt: skip
