"""When does a series change, is there a change at all, is it abrupt, and does one change come before another?

Method: one change by least squares over all places. "mean": a step between two levels; "slope": a broken line. Each is a
regressor beside the constant (beside the line), so that the share of variance it explains at every place is a matrix product
(Hinkley, Biometrika 57, 1970, for the step; Hudson, J. Am. Stat. Assoc. 61, 1966, for the broken line). Interval: blocks of the
residuals drawn again around the fit, refitted (Huskova and Kirch, J. Time Ser. Anal. 29, 2008). Two nulls, of the share that
the best place explains. Without a change, what is left beside the constant (the line) may stand in any order of blocks. A
gradual change is a straight line (a parabola) with the noise that is left beside it and the change together: the best step in a
line lies in its middle and explains three quarters of the variance, and says nothing of when. A random walk remembers longer
than any block: it mostly passes for a change, and at 60 points one in five for an abrupt one.

Takes series (series, steps), all at once; costs (bootstraps + 2 draws) series times steps^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._turns import as_series, still
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["mean", "slope"]
MARGIN = 2  # points at least on either side of a change
SHORTEST = 8  # points
ROUNDING = 1e-9  # of a share


@dataclass(frozen=True, eq=False)
class ChangePoints(Result):
    """The one best change of every series.

    Attributes
    ----------
    kind
        "mean" or "slope".
    times : (steps,)
        Of the points, in the caller's units.
    series : (series, steps)
        As given.
    places : (series,)
        Time of the first point of the second level, or of the corner; NaN for a constant or a series too short.
    low, high : (series,)
        95 % interval of the place.
    redrawn : (series, bootstraps)
        Places of the bootstraps, which the interval is read from.
    before, after : (series,)
        The two levels, or the two slopes per unit of time.
    shares : (series,)
        Of the variance around the constant (the line), what the change explains.
    steady : (series,)
        What a line (a parabola) explains of it.
    verdicts
        One a series: "abrupt" when both nulls are beaten from above and the change explains more than the steady course,
        "gradual" when only the first null is beaten, "none", "constant", or "too short".
    outcome
        Whether there were points enough.
    nulls
        Two a series that moves, of its share: the same without order beyond blocks; a line (parabola) with noise.
    checks
        The residual is orthogonal to the change that was fitted.
    """

    kind: str
    times: Float[np.ndarray, " steps"]
    series: Float[np.ndarray, "series steps"]
    places: Float[np.ndarray, " series"]
    low: Float[np.ndarray, " series"]
    high: Float[np.ndarray, " series"]
    redrawn: Float[np.ndarray, "series bootstraps"]
    before: Float[np.ndarray, " series"]
    after: Float[np.ndarray, " series"]
    shares: Float[np.ndarray, " series"]
    steady: Float[np.ndarray, " series"]
    verdicts: tuple[str, ...]
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many series change, how many abruptly, and where the first ones do."""
        count = len(self.verdicts)
        if self.outcome is Outcome.TOO_SHORT:
            return f"0 of {count} series tested: each {self.outcome.value}, fewer than {SHORTEST} points"
        changed = [row for row, verdict in enumerate(self.verdicts) if verdict in ("abrupt", "gradual")]
        text = f"{len(changed)} of {count} series change in {self.kind}, {self.verdicts.count('abrupt')} abruptly"
        shown = [f"{self.places[row]:.4g} [{self.low[row]:.4g}, {self.high[row]:.4g}]" for row in changed[:3]]
        more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
        return text + (f"; at {', '.join(shown)}{more}" if shown else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """The first eight series, each with its place."""
        ax = axes_or_new(ax)
        for row, place, low, high in zip(self.series[:8], self.places, self.low, self.high, strict=False):
            line = ax.plot(self.times, row, linewidth=0.9)
            if np.isfinite(place):
                ax.axvline(place, color=line[0].get_color(), linewidth=0.8, linestyle=":")
                ax.axvspan(low, high, color=line[0].get_color(), alpha=0.1, linewidth=0)
        ax.set(xlabel="time")
        return ax


@dataclass(frozen=True, eq=False)
class Lead(Result):
    """By how much the changes of one set of series precede those of another, pair by pair.

    Attributes
    ----------
    leads : (pairs,)
        Place of the second less that of the first, NaN where either has none.
    low, high : (pairs,)
        95 % interval, from independent bootstraps of both.
    abrupt : (pairs,) bool
        Whether both changes are: else the place of one is a convention.
    positive, negative, ties
        How many pairs lead, lag, or change at once.
    p
        Two-sided sign test over pairs that are not ties; 1 without any.
    checks
        None.
    """

    leads: Float[np.ndarray, " pairs"]
    low: Float[np.ndarray, " pairs"]
    high: Float[np.ndarray, " pairs"]
    abrupt: Bool[np.ndarray, " pairs"]
    positive: int
    negative: int
    ties: int
    p: float
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many pairs lead, by how much, the sign test, and for how many both changes are abrupt."""
        known = self.leads[np.isfinite(self.leads)]
        text = f"the first change is earlier in {self.positive} of {len(self.leads)} pairs and later in {self.negative}"
        if len(known):
            ahead, behind = int((self.low > 0).sum()), int((self.high < 0).sum())
            text += f"; the median lead is {np.median(known):.4g}, beyond its interval {ahead} times ahead and {behind} behind"
        text += f"; sign test p = {self.p:.2g}; both changes are abrupt in {int(self.abrupt.sum())}"
        return text + ("" if self.abrupt.any() else ", so that no lead is shown")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each lead with its interval."""
        ax = axes_or_new(ax)
        at = np.arange(len(self.leads))
        ax.vlines(at, self.low, self.high, color="#0072b2", linewidth=1)
        ax.plot(at, self.leads, "o", color="#0072b2", markersize=4)
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.set(xlabel="pair", ylabel="lead of the first change")
        return ax


def change_point(
    series: Any,
    *,
    times: Any = None,
    kind: Kind = "mean",
    block: int = 4,
    draws: int = 99,
    bootstraps: int = 400,
    generator: np.random.Generator | None = None,
) -> ChangePoints:
    """The place of one change in each series, with an interval, and whether it is a change and abrupt.

    Parameters
    ----------
    series : (series, steps) or (steps,)
    times : (steps,)
        Ascending; 0, 1, ... when left out.
    kind
        "mean" for a step, "slope" for a corner.
    block
        Points that stay together in the first null and in the bootstrap: as far as residuals remember.
    draws
        Of each null.
    bootstraps
        Of the place.
    generator
        Of both; numpy's with seed 0 when left out.

    Returns
    -------
    ChangePoints
        With outcome TOO_SHORT and NaN below 8 points.

    Raises
    ------
    InputError
        For a wrong shape, values that are not finite, times that are not ascending or not one a point, another kind, or a
        block, number of draws or of bootstraps below 1.
    """
    values = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    count, steps = values.shape
    at = np.arange(steps, dtype=np.float64) if times is None else np.asarray(times, dtype=np.float64)
    if at.shape != (steps,) or not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise InputError(f"times are ascending, one for each of {steps} points, but {at.tolist()} came")
    if kind not in get_args(Kind) or min(block, draws, bootstraps) < 1:
        raise InputError(
            f"kind is mean or slope, block, draws and bootstraps are at least 1, but {kind=}, {block=}, {draws=}, "
            f"{bootstraps=} came"
        )
    generator = generator or np.random.default_rng(0)
    moving = ~still(values) if steps >= SHORTEST else np.zeros(count, dtype=bool)
    blank = np.full(count, np.nan)
    places, low, high, before, after, shares, steady = (blank.copy() for _ in range(7))
    redrawn, nulls, gap = np.full((count, bootstraps), np.nan), [], 0.0
    verdicts = ["constant" if steps >= SHORTEST else "too short"] * count
    if moving.any():
        plain, change, first = _regressors(at, kind)
        rows = np.flatnonzero(moving)
        best, shares[rows] = _best(values[rows], plain, change)
        for row, place in zip(rows, best, strict=True):
            y = values[row]
            base = np.column_stack([plain.T, change[place]])
            fitted = base @ (base.T @ y)
            residual = y - fitted
            gap = max(gap, float(np.abs(base.T @ residual).max() / np.linalg.norm(y)))
            places[row] = at[first[place]]
            before[row], after[row] = _sides(at, fitted, kind)
            again = fitted + _blocks(residual - residual.mean(), block, bootstraps, generator)
            redrawn[row] = at[first[_best(again, plain, change)[0]]]
            low[row], high[row] = np.quantile(redrawn[row], [0.025, 0.975])
            course = _course(at, kind)
            plain_left, left = (float(np.square(y - base @ (base.T @ y)).sum()) for base in (plain.T, course))
            steady[row] = 1 - left / plain_left if plain_left else 0.0
            mixed, even = _without(y, plain, course, fitted, block, draws, generator)
            own = [
                Null(
                    name, hypothesis, "series", _best(drawn, plain, change)[1], float(shares[row]), f"series {row + 1}"
                )
                for name, hypothesis, drawn in (
                    ("blocks in random order", "there is no change", mixed),
                    ("steady course with noise", "the change is gradual", even),
                )
            ]
            nulls += own
            beaten = [null.beaten and null.observed > np.median(null.draws) + ROUNDING for null in own]
            sudden = beaten[1] and shares[row] > steady[row]
            verdicts[row] = "none" if not beaten[0] else "abrupt" if sudden else "gradual"
    return ChangePoints(
        kind=kind, times=at, series=values, places=places, low=low, high=high, redrawn=redrawn, before=before, after=after,
        shares=shares, steady=steady, verdicts=tuple(verdicts),
        outcome=Outcome.CONVERGED if steps >= SHORTEST else Outcome.TOO_SHORT,
        nulls=tuple(nulls), checks=(Check("residual against the fitted change", 0.0, gap, 1e-9),) if nulls else (),
    )  # fmt: skip


def lead_of_change(first: ChangePoints, second: ChangePoints) -> Lead:
    """Do the changes of the first come before those of the second, over pairs of series?

    Parameters
    ----------
    first, second
        Found with equal numbers of series, of bootstraps, and in one unit of time; series i of both is a pair, as of one
        network. Series without a change, by their verdict, have no lead.

    Raises
    ------
    InputError
        When the numbers of series or of bootstraps differ.
    """
    if first.redrawn.shape != second.redrawn.shape:
        raise InputError(
            f"pairs need equal numbers of series and of bootstraps, but {first.redrawn.shape} and {second.redrawn.shape} came"
        )
    verdicts = list(zip(first.verdicts, second.verdicts, strict=True))
    both = np.array([set(pair) <= {"abrupt", "gradual"} for pair in verdicts], dtype=bool)
    leads = np.where(both, second.places - first.places, np.nan)
    apart = second.redrawn[both] - first.redrawn[both]
    low, high = np.full(len(leads), np.nan), np.full(len(leads), np.nan)
    low[both], high[both] = np.quantile(apart, [0.025, 0.975], axis=1) if both.any() else (0.0, 0.0)
    positive, negative = int((leads > 0).sum()), int((leads < 0).sum())
    return Lead(
        leads=leads,
        low=low,
        high=high,
        abrupt=np.array([set(pair) == {"abrupt"} for pair in verdicts], dtype=bool),
        positive=positive,
        negative=negative,
        ties=int((leads == 0).sum()),
        p=float(binomtest(positive, positive + negative).pvalue) if positive + negative else 1.0,
        checks=(),
    )


def _regressors(at: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthonormal: the constant, or constant and line (1 or 2, steps), and the change at every place (places, steps) with the
    first two taken out; and the point of each place."""
    powers = np.vander(at - at.mean(), 1 if kind == "mean" else 2)
    plain = np.linalg.qr(powers)[0].T
    first = np.arange(MARGIN, len(at) - MARGIN + (kind == "mean"))
    after = at - at[first][:, None]
    change = (after >= 0).astype(np.float64) if kind == "mean" else np.maximum(after, 0)
    for _ in range(2):  # twice, to rounding
        change = change - change @ plain.T @ plain
        change = change / np.linalg.norm(change, axis=1, keepdims=True)
    return plain, change, first


def _best(values: np.ndarray, plain: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row the place whose change explains most, and its share of the variance that the plain part leaves."""
    left = values - values @ plain.T @ plain
    gains = (left @ change.T) ** 2
    best, all_ = gains.argmax(axis=1), (left**2).sum(axis=1)
    return best, np.divide(gains.max(axis=1), all_, out=np.zeros(len(values)), where=all_ > 0)


def _sides(at: np.ndarray, fitted: np.ndarray, kind: Kind) -> tuple[float, float]:
    """The two levels, or the two slopes, of a fit."""
    if kind == "mean":
        return float(fitted[0]), float(fitted[-1])
    slopes = np.diff(fitted) / np.diff(at)
    return float(slopes[0]), float(slopes[-1])


def _blocks(values: np.ndarray, block: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """(draws, steps) of blocks on a circle, drawn with replacement."""
    steps = len(values)
    starts = generator.integers(steps, size=(draws, -(-steps // block), 1))
    return values[(starts + np.arange(block)) % steps].reshape(draws, -1)[:, :steps]


def _course(at: np.ndarray, kind: Kind) -> np.ndarray:
    """(steps, 2 or 3) orthonormal: the line, or the parabola."""
    return np.linalg.qr(np.vander(at - at.mean(), 2 if kind == "mean" else 3))[0]


def _without(
    y: np.ndarray,
    plain: np.ndarray,
    steady: np.ndarray,
    fitted: np.ndarray,
    block: int,
    draws: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(draws, steps) twice: without a change, and with a gradual one."""
    both = np.linalg.qr(np.column_stack([steady, fitted]))[0]
    noise = y - both @ (both.T @ y)
    flat = plain.T @ (plain @ y)
    return (
        flat + _in_blocks(y - flat, block, draws, generator),
        steady @ (steady.T @ y) + _blocks(noise, block, draws, generator),
    )


def _in_blocks(values: np.ndarray, block: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """(draws, steps) of the same values, their blocks in random order."""
    keys = np.repeat(generator.random((draws, -(-len(values) // block))), block, axis=1)[:, : len(values)]
    return values[np.argsort(keys, axis=1, kind="stable")]
