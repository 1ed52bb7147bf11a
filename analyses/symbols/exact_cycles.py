"""What does a piecewise-linear map repeat, and is that all? Its cycles by symbol words, each solved exactly.

Method: a k-cycle visits linear regions b_1 .. b_k, its word, and is the one closed orbit of their affine maps. That orbit is
real when its own signs reproduce the word (units on > 0, units off <= 0), else virtual (Eisenmann, Monfared, Göring,
Durstewitz, NeurIPS 2023). All 2^(k P) words are decided as the regions of one larger piecewise-linear map (``_words``), by the
walk that lists fixed points (``_census``): float64 balls, then rational arithmetic. Rotations of a word are one cycle, and a
word that repeats a shorter one is that shorter one's cycle.

Takes a PiecewiseLinear network. Costs at most 2^(k P) leaves a period, seconds for k P = 18; an orbit costs one (2 k dim)^3
inverse. ``find_exact_cycles`` searches longer words, without a proof of completeness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int

from analyses.maps._plot import plot_eigenvalues
from analyses.result import Check, Outcome, Result, counted
from analyses.symbols._census import census, in_float64, index_checks, places
from analyses.symbols._rational import Equations
from analyses.symbols._words import Listed, cyclic, distinct, multipliers, necklaces, orbits, solved
from hooks.errors import InputError
from hooks.families import PiecewiseLinear
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BITS = 22  # of a word, where all words are tried
TURNING = 1e-9  # of an angle
ROUNDED = 1e-7  # imaginary part of a real zero


@dataclass(frozen=True, eq=False)
class ExactCycles(Result):
    """Cycles by word, by period and then in the order of their bits; fixed points are those of period 1.

    Attributes
    ----------
    periods : (listed,)
        Length of the word, which repeats no shorter one: the minimal period of a real cycle.
    words : (listed, longest, relu) bool
        Which rectified units are on, state by state; padded with False.
    points : (listed, longest, dim)
        The closed orbit of the word's affine maps, padded with NaN; NaN where it is not unique.
    radii : (listed,)
        The true orbit lies within this distance in every coordinate, for these weights in exact arithmetic; inf if not bounded.
    eigenvalues : (listed, dim) complex
        Of the product of slopes along the word (the multipliers), largest modulus first.
    real : (listed,) bool
        The orbit's own signs are the word: it is a cycle of the map. Else it is virtual.
    proved : (listed,) bool
        That it is real, or virtual, is proved; else it is what float64 says.
    border : (listed,) bool
        A rectified unit is exactly 0 on the orbit: its multipliers are those of one side.
    residuals : (listed,)
        Largest |F(x_i) - x_(i+1)| around a real cycle; NaN for a virtual one.
    searched
        Periods whose words were tried.
    fixed : (searched,)
        Isolated points of F^k = x for each period k, all words decided; -1 where they are not.
    continua
        Words with a continuum of closed orbits, rotations counted apart.
    empty
        Words without a cycle: their orbit is virtual, or there is none.
    undecided
        Words not reached before the loop was stopped.
    starts
        Words that a search began with; 0 where all words were tried, or given ones solved.
    unsettled
        Of them, those that led to no cycle.
    outcome
        Whether the loop ended or was stopped.
    checks
        Largest residual; where all words were tried, that those of length k give the points of all listed cycles whose
        period divides k, and the sum of indices of F^k where it must be 1.
    """

    periods: Int[np.ndarray, " listed"]
    words: Bool[np.ndarray, "listed longest relu"]
    points: Float[np.ndarray, "listed longest dim"]
    radii: Float[np.ndarray, " listed"]
    eigenvalues: Complex[np.ndarray, "listed dim"]
    real: Bool[np.ndarray, " listed"]
    proved: Bool[np.ndarray, " listed"]
    border: Bool[np.ndarray, " listed"]
    residuals: Float[np.ndarray, " listed"]
    searched: tuple[int, ...]
    fixed: Int[np.ndarray, " searched"]
    continua: int
    empty: int
    undecided: int
    starts: int
    unsettled: int
    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def complete(self) -> bool:
        """Every word of the searched periods is decided: there is no cycle of theirs but those listed and the continua."""
        return bool((self.fixed >= 0).all()) and len(self.searched) > 0

    @property
    def stable(self) -> np.ndarray:
        """(listed,) bool: real, with every multiplier inside the unit circle and no state on a border."""
        return self.real & (np.abs(self.eigenvalues).max(axis=1, initial=0) < 1) & ~self.border

    @property
    def turn(self) -> float:
        """Steps of one turn about a fixed point, the longest among the leading pairs of real ones; NaN if none turns."""
        leading = self.eigenvalues[self.real & (self.periods == 1), :1]
        angles = np.abs(np.angle(leading[np.abs(leading.imag) > TURNING * np.abs(leading)]))
        return float(2 * np.pi / angles.min()) if len(angles) else float("nan")

    @property
    def growth_rates(self) -> np.ndarray:
        """(searched,) nats a step: growth of the number of cycles, by those up to each period; NaN unless complete from 1.

        The rate is -log z at the smallest zero of the product over cycles of 1 - z^period (the inverse zeta function), cut
        after the power z^k. It is the topological entropy of maps whose cycles are all unstable, as far as the cut converged.
        """
        longest = len(self.searched)
        if self.searched != tuple(range(1, longest + 1)) or not self.complete or self.continua:
            return np.full(longest, np.nan)
        product = np.eye(1, longest + 1, dtype=np.int64)[0]
        for k in self.periods[self.real]:
            product[k:] -= product[: longest + 1 - k].copy()
        return np.array([_rate(product[: k + 1]) for k in self.searched])

    def orbit(self, cycle: int) -> np.ndarray:
        """The states of one cycle, (period, dim)."""
        return self.points[cycle, : self.periods[cycle]]

    def spelled(self, cycle: int) -> str:
        """The word of one cycle: "01 11 10"."""
        return " ".join(
            "".join("01"[int(bit)] for bit in symbol) for symbol in self.words[cycle, : self.periods[cycle]]
        )

    def summary(self) -> str:
        """How many cycles of each period, how many of them stable, and whether the list is proved complete."""
        real, listed = self.real, sorted(set(self.periods[self.real].tolist()))
        text = f"{counted(int(real.sum()), 'real cycle')}, {int(self.stable.sum())} stable"
        if listed:
            text += f": {', '.join(f'{int((real & (self.periods == k)).sum())} of period {k}' for k in listed)}"
        if missing := [k for k in self.searched if k not in listed]:
            text += f"; none of period {_ranges(missing)}"
        if virtual := int((~real).sum()):
            text += f"; {counted(virtual, 'word')} virtual"
        if unproved := int((~self.proved).sum()):
            text += f"; {unproved} of those listed not proved"
        if self.border.any():
            text += f"; {int(self.border.sum())} through a border between regions, of unknown stability"
        if self.continua:
            text += f"; {counted(self.continua, 'word')} with a continuum of cycles"
        return text + self._extent() + self._doubts()

    def _extent(self) -> str:
        """Which words were tried, and what that shows."""
        if not self.searched:
            return ""
        if self.complete:
            tried = _ranges(self.searched)
            return f"; every word of length {tried} was decided, {self.empty} hold none: the list is complete for these periods"
        if (self.fixed >= 0).any() or self.undecided:
            return f"; {counted(self.undecided, 'word')} undecided ({self.outcome.value}): there may be other cycles"
        text = f"; a search from {counted(self.starts, 'word')}, {self.unsettled} of which led to no cycle: there may be others"
        return text if self.outcome is Outcome.CONVERGED else f"{text}; it {self.outcome.value}"

    def _doubts(self) -> str:
        """What the growth rate is, and where cycles have longer words than those tried."""
        text, rates = "", self.growth_rates
        if len(rates) > 1 and np.isfinite(rates[-2:]).all() and rates[-1] > 0:
            text += f"; their number grows by {rates[-1]:.4g} nats a step ({rates[-2]:.4g} with one period less)"
        if self.searched and self.turn > max(self.searched):
            text += (
                f"; a turn about a fixed point takes {self.turn:.3g} steps, so cycles around it have longer words than were "
                f"tried, or are invariant circles with no exact period: take a return map (hooks.section.return_map)"
            )
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Multipliers against the unit circle, those of stable cycles apart."""
        return plot_eigenvalues(self.eigenvalues, self.stable, ax, labels=("of stable cycles", "of others"))


def exact_cycles(
    network: PiecewiseLinear,
    *,
    periods: Sequence[int] = (1, 2, 3, 4),
    words: Sequence[Any] | None = None,
    watch: Watch = quiet,
) -> ExactCycles:
    """Every cycle of these periods, with a proof that the list is complete; or what given words hold.

    Parameters
    ----------
    periods
        Minimal periods, each with its divisors; 1 lists fixed points. All words of each length are tried.
    words
        Symbol words (length, relu) of bits to solve instead: each is listed, as real or virtual, once for all its rotations and
        repetitions. No period is then searched.
    watch
        Wraps the batches of words: progress, budget. Stopped early, the result says how many words are undecided.

    Returns
    -------
    ExactCycles
        A theorem on the map with these weights in exact arithmetic, as far as ``proved`` and ``complete`` say, if IEEE
        arithmetic is relied on.

    Raises
    ------
    InputError
        For weights that are not finite, a period below 1, words of other widths, or more than 2^22 words of a length.
    """
    network = in_float64(network)
    if words is not None:
        return assembled(network, [solved(network, group) for group in distinct(network, words)])
    wanted = as_periods(periods)
    if wanted[-1] * network.relu > MOST_BITS:
        raise InputError(
            f"{network.relu} rectified units give 2^{wanted[-1] * network.relu} words of length {wanted[-1]}, of which at most "
            f"2^{MOST_BITS} are tried: ask for periods up to {MOST_BITS // network.relu}, or use find_exact_cycles"
        )
    searched = tuple(sorted({d for k in wanted for d in range(1, k + 1) if k % d == 0}))
    parts: list[Listed] = []
    checks: list[Check] = []
    fixed: list[int] = []
    continua, empty, undecided = 0, 0, 0
    for k in searched:
        lifted = cyclic(network, k)
        equations = cache(partial(Equations.of, lifted))
        found = census(lifted, equations, watch)
        least, length = necklaces(found.regions.reshape(len(found.regions), k, network.relu))
        own = np.unique(least[length == k], axis=0)
        placed = places(lifted, equations, own.reshape(len(own), k * network.relu))
        sure = np.ones(len(own), dtype=bool)
        parts.append(Listed(own, orbits(placed.points, k), placed.radii, placed.border, sure, sure, sure))
        continua, empty, undecided = continua + len(found.continua), empty + found.empty, undecided + found.undecided
        decided = not found.undecided
        fixed.append(len(found.regions) if decided else -1)
        if decided and not continua:
            points = sum(part.words.shape[1] * len(part.words) for part in parts if k % part.words.shape[1] == 0)
            checks.append(Check(f"points of F^{k} on the listed cycles", float(len(found.regions)), float(points), 0.0))
        if decided and not len(found.continua) and not placed.border.any():
            checks.extend(index_checks(lifted, torch.from_numpy(found.regions), f"index sum of F^{k}"))
    return assembled(
        network,
        parts,
        searched=searched,
        fixed=fixed,
        continua=continua,
        empty=empty,
        undecided=undecided,
        checks=checks,
    )


def as_periods(periods: Sequence[int]) -> tuple[int, ...]:
    """Distinct periods in order. Raises InputError for none, or one below 1."""
    wanted = tuple(sorted({int(k) for k in periods}))
    if not wanted or wanted[0] < 1:
        raise InputError(f"cycles have periods of 1 and more, but {tuple(periods)} came")
    return wanted


def assembled(
    network: PiecewiseLinear,
    parts: Sequence[Listed],
    *,
    searched: tuple[int, ...] = (),
    fixed: Sequence[int] = (),
    continua: int = 0,
    empty: int = 0,
    undecided: int = 0,
    starts: int = 0,
    unsettled: int = 0,
    stopped: bool = False,
    checks: Sequence[Check] = (),
) -> ExactCycles:
    """The result from lists of words of one length each, shortest first."""
    dim, step = len(network.A), network.dynamics()
    continua += sum(int((~part.isolated).sum()) for part in parts)
    parts = [part.only(part.isolated) for part in parts]
    total, longest = sum(len(part.words) for part in parts), max((part.words.shape[1] for part in parts), default=0)
    words = np.zeros((total, longest, network.relu), dtype=bool)
    points, residuals, row = np.full((total, longest, dim), np.nan), np.full(total, np.nan), 0
    for part in parts:
        count, k = part.words.shape[:2]
        words[row : row + count, :k], points[row : row + count, :k] = part.words, part.points
        after = step(torch.from_numpy(part.points.reshape(count * k, dim))).numpy().reshape(count, k, dim)
        largest = np.linalg.norm(after - np.roll(part.points, -1, axis=1), axis=2).max(axis=1, initial=0)
        residuals[row : row + count] = np.where(part.real, largest, np.nan)
        row += count
    scale = float(np.nan_to_num(np.abs(points)).max(initial=1))
    worst = float(np.nan_to_num(residuals).max(initial=0))
    joined = {
        name: np.concatenate([np.zeros(0, dtype=kind), *(getattr(part, name) for part in parts)])
        for name, kind in (("radii", float), ("real", bool), ("proved", bool), ("border", bool))
    }
    none = np.zeros((0, dim), dtype=np.complex128)
    return ExactCycles(
        periods=np.array([part.words.shape[1] for part in parts for _ in part.words], dtype=np.int64),
        words=words,
        points=points,
        eigenvalues=np.concatenate([none, *(multipliers(network, part.words) for part in parts)]),
        residuals=residuals,
        searched=searched,
        fixed=np.array(fixed, dtype=np.int64),
        continua=continua,
        empty=empty,
        undecided=undecided,
        starts=starts,
        unsettled=unsettled,
        outcome=Outcome.OUT_OF_TIME if undecided or stopped else Outcome.CONVERGED,
        checks=(Check("largest residual |F(x_i) - x_(i+1)|", 0.0, worst, 1e-10 * scale), *checks),
        **joined,
    )


def _rate(product: np.ndarray) -> float:
    """-log of the smallest positive zero of a polynomial, lowest power first; NaN if it has none up to 1.

    Zeros at 1 are divided out in integers, as a multiple zero is lost in rounding.
    """
    product, at_one = np.trim_zeros(product, "b"), False
    while len(product) > 1 and product.sum() == 0:
        product, at_one = product.cumsum()[:-1], True
    zeros = np.roots(product[::-1])
    real = zeros.real[(np.abs(zeros.imag) < ROUNDED) & (zeros.real > 0) & (zeros.real < 1)]
    return float(-np.log(real.min())) if len(real) else 0.0 if at_one else float("nan")


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: "1 to 4, 6"."""
    ends = [
        (n, next(m for m in range(n, n + len(numbers) + 1) if m + 1 not in numbers))
        for n in numbers
        if n - 1 not in numbers
    ]
    return ", ".join(str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a} to {b}" for a, b in ends)
