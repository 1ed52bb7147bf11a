"""Does a series move regularly or irregularly? The 0-1 test for chaos: K near 0 or near 1.

Method: Gottwald and Melbourne, SIAM J. Appl. Dyn. Syst. 8, 129 (2009): the series drives a walk in the plane,
z(n) = sum over j <= n of x(j) exp(i c j), whose mean square displacement M(n), n up to a tenth of the length, stays bounded
when the motion is regular and grows as n when it is chaotic. K is the correlation of M with n, its median over random c in
(pi/5, 4 pi/5). The mean is taken out of the series first, so that their oscillating term vanishes identically and K does not
depend on the origin. M comes from one correlation by FFT per c.

The test cannot tell chaos from noise: both give 1. It reads a flow sampled too finely as regular, since no variance is left
at the frequencies tried. Takes series (series, steps); costs series x frequencies FFTs, and as many again for each draw of
the null, O(steps log steps) each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import fft

from analyses.result import Check, Null, Outcome, Result, axes_or_new
from analyses.series._turns import as_series, steps_per_turn, still
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAND = (math.pi / 5, 4 * math.pi / 5)  # of c, theirs: away from resonances at 0 and pi
SHORTEST = 300  # steps: a correlation over 30 lags
REGULAR, IRREGULAR = 0.2, 0.8  # K below, K above; undecided between
SLOWEST = 10.0  # steps per turn at pi/5: a slower series has its variance below every frequency tried
AT_ONCE = 2**20  # complex numbers held in one FFT


@dataclass(frozen=True, eq=False)
class ZeroOne(Result):
    """K of every series.

    Attributes
    ----------
    K : (series,)
        Median over frequencies; 0 for a constant, NaN for a recording too short.
    quartiles : (series, 2)
        Of K over frequencies.
    by_frequency : (series, frequencies)
        K at each.
    frequencies : (frequencies,)
        c, ascending, radians per kept step.
    steps_per_turn : (series,)
        Kept steps in a turn at the median frequency of the spectrum; infinite for a constant.
    advised_strides : (series,)
        Every how manieth recorded step to keep: the stride used, or a quarter turn where the series is sampled too finely.
    verdicts
        One a series: "regular" (K < 0.2), "irregular" (K > 0.8, beating a null of 19 draws or more), "undecided", "sampled
        too finely" (K not above 0.8 at more than 10 steps per turn), "constant", "too short".
    stride, damping
        As asked for.
    outcome
        Whether there were steps enough.
    nulls
        One a series that moves: what regular motion of this length gives.
    checks
        The mean square displacement over one step is the mean square of the series.
    """

    K: Float[np.ndarray, " series"]
    quartiles: Float[np.ndarray, "series 2"]
    by_frequency: Float[np.ndarray, "series frequencies"]
    frequencies: Float[np.ndarray, " frequencies"]
    steps_per_turn: Float[np.ndarray, " series"]
    advised_strides: Int[np.ndarray, " series"]
    verdicts: tuple[str, ...]
    stride: int
    damping: float
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many series are irregular, with K of the first, and which were sampled too finely."""
        count = len(self.K)
        if self.outcome is Outcome.TOO_SHORT:
            return f"0 of {count} series tested: each {self.outcome.value}, fewer than {SHORTEST} kept steps"
        text = f"{self.verdicts.count('irregular')} of {count} series irregular (chaos or noise: the test cannot tell)"
        shown = [
            f"{k:.2f} [{low:.2f}, {high:.2f}] {verdict}"
            for k, (low, high), verdict in zip(self.K, self.quartiles, self.verdicts, strict=True)
        ]
        text += f"; K {', '.join(shown[:3])}" if shown else ""
        text += f", and {count - 3} more" if count > 3 else ""
        fine = [i for i, verdict in enumerate(self.verdicts) if verdict == "sampled too finely"]
        if fine:
            first = fine[0]
            text += (
                f"; {len(fine)} sampled too finely, the first with {self.steps_per_turn[first]:.0f} steps per turn: "
            )
            text += f"take stride={self.advised_strides[first]} and a recording that keeps {SHORTEST} steps of it"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """K against frequency, the median of each series as a line."""
        ax = axes_or_new(ax)
        for number, (row, middle) in enumerate(zip(self.by_frequency[:8], self.K[:8], strict=True)):
            dots = ax.plot(self.frequencies, row, ".", markersize=3, label=f"series {number + 1}")
            ax.axhline(middle, color=dots[0].get_color(), linewidth=0.8)
        ax.set(xlabel="frequency c (radians per step)", ylabel="K", ylim=(-1.05, 1.05))
        if len(self.K) > 1:
            ax.legend(fontsize=7)
        return ax


def zero_one_test(
    series: Any,
    *,
    frequencies: int = 100,
    stride: int = 1,
    damping: float = 0.0,
    draws: int = 19,
    generator: torch.Generator | None = None,
) -> ZeroOne:
    """K of each series, near 0 for regular and near 1 for chaotic (or random) motion.

    Parameters
    ----------
    series : (series, steps) or (steps,)
        One observable each, one step apart, past its transient.
    frequencies
        How many random c; they are shared by all series.
    stride
        Keep every such step: about a quarter turn for a flow.
    damping
        Weight of the term damping * variance * sin(sqrt(2) n) added to M against weak noise on regular motion (after Dawes
        and Freeland 2008, with the variance in place of the squared mean), which also lowers K of weak chaos; 0 for none,
        2.5 is usual.
    draws
        Of the null "two frequencies": sums of two sinusoids of random frequency in (0, pi), phase and amplitude ratio; 0 for
        none, 19 for a level of 5 %.
    generator
        Of the frequencies and draws.

    Returns
    -------
    ZeroOne
        With outcome TOO_SHORT and NaN below 300 kept steps.

    Raises
    ------
    InputError
        For a wrong shape, entries that are not finite, or a stride or number of frequencies below 1.
    """
    recorded = np.atleast_2d(as_series(series, (1, 2), "(series, steps) or (steps,)"))
    if min(frequencies, stride) < 1 or min(draws, damping) < 0:
        raise InputError(
            "frequencies and stride are at least 1, draws and damping at least 0, "
            f"but {frequencies=}, {stride=}, {draws=}, {damping=} came"
        )
    kept = recorded[:, ::stride]
    count, steps = kept.shape
    generator = generator or torch.Generator().manual_seed(0)
    c = np.sort(
        BAND[0] + (BAND[1] - BAND[0]) * torch.rand(frequencies, generator=generator, dtype=torch.float64).numpy()
    )
    if steps < SHORTEST:
        return ZeroOne(
            K=np.full(count, np.nan), quartiles=np.full((count, 2), np.nan), by_frequency=np.full((count, frequencies), np.nan),
            frequencies=c, steps_per_turn=np.full(count, np.nan), advised_strides=np.full(count, stride),
            verdicts=("too short",) * count, stride=stride, damping=float(damping), outcome=Outcome.TOO_SHORT,
            nulls=(), checks=(),
        )  # fmt: skip

    moving = ~still(kept)
    by_frequency, gap = np.zeros((count, frequencies)), 0.0
    for row in np.flatnonzero(moving):
        by_frequency[row], apart = _correlations(kept[row], c, damping)
        gap = max(gap, apart)
    K = np.median(by_frequency, axis=1)
    turns = steps_per_turn(kept)
    fine = moving & (turns > SLOWEST) & (K <= IRREGULAR)

    nulls: dict[int, Null] = {}
    if draws and moving.any():
        motions = _two_frequencies(draws, steps, generator)
        regular = np.array([np.median(_correlations(motion, c, damping)[0]) for motion in motions])
        name, hypothesis = "two frequencies", "the motion is regular, with two frequencies"
        nulls = {int(row): Null(name, hypothesis, "series", regular, float(K[row])) for row in np.flatnonzero(moving)}

    def verdict(row: int) -> str:
        if not moving[row]:
            return "constant"
        if fine[row]:
            return "sampled too finely"
        if K[row] > IRREGULAR:
            return "undecided" if draws >= 19 and not nulls[row].beaten else "irregular"
        return "regular" if K[row] < REGULAR else "undecided"

    return ZeroOne(
        K=K,
        quartiles=np.quantile(by_frequency, (0.25, 0.75), axis=1).T,
        by_frequency=by_frequency,
        frequencies=c,
        steps_per_turn=turns,
        advised_strides=np.where(fine, np.ceil(stride * np.where(fine, turns, 4.0) / 4), stride).astype(np.int64),
        verdicts=tuple(verdict(row) for row in range(count)),
        stride=stride,
        damping=float(damping),
        outcome=Outcome.CONVERGED,
        nulls=tuple(nulls.values()),
        checks=(Check("displacement over one step against the mean square", 0.0, gap, 1e-6),),
    )


def _correlations(series: np.ndarray, c: np.ndarray, damping: float) -> tuple[np.ndarray, float]:
    """K (frequencies,) of one series of unit variance, and how far M(1) is from the mean square at worst."""
    x = (series - series.mean()) / series.std()
    steps = len(x)
    lags = np.arange(1, steps // 10 + 1)
    window = steps - len(lags)  # steps that have every lag ahead of them
    added = damping * np.sin(math.sqrt(2) * lags)
    length = fft.next_fast_len(steps + window)
    at_once = max(1, AT_ONCE // length)
    K, gap = [], 0.0
    for first in range(0, len(c), at_once):
        z = np.cumsum(x * np.exp(1j * np.outer(c[first : first + at_once], np.arange(1, steps + 1))), axis=1)
        z -= z.mean(axis=1, keepdims=True)
        squares = np.cumsum(z.real**2 + z.imag**2, axis=1)
        ahead = squares[:, window + lags - 1] - squares[:, lags - 1]
        spectrum = fft.fft(z, length, axis=1) * fft.fft(z[:, :window], length, axis=1).conj()
        product = fft.ifft(spectrum, axis=1)[:, lags].real
        M = (ahead + squares[:, window - 1 : window] - 2 * product) / window
        gap = max(gap, float(np.abs(M[:, 0] - (x[1 : window + 1] ** 2).mean()).max()))
        D = M + added
        D, n = D - D.mean(axis=1, keepdims=True), lags - lags.mean()
        K.append(D @ n / np.maximum(np.linalg.norm(D, axis=1) * np.linalg.norm(n), np.finfo(np.float64).tiny))
    return np.concatenate(K), gap


def _two_frequencies(draws: int, steps: int, generator: torch.Generator) -> np.ndarray:
    """(draws, steps)."""
    turn, phase, share = torch.rand(3, draws, 2, 1, generator=generator, dtype=torch.float64).numpy()
    return ((0.5 + share) * np.sin(np.pi * turn * np.arange(steps) + 2 * np.pi * phase)).sum(axis=1)
