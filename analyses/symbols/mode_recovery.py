"""Do symbols that were found without labels name the modes in which a system really was?

Method: adjusted Rand index of symbols against modes (Hubert and Arabie, J. Classification 2, 193 (1985)): 1 for the same
partition under any names, 0 in expectation for independent ones of the same shares. Each mode is matched to a symbol of its own
by the assignment that shares the most steps (Hungarian method, scipy), and the chance of each switch is read off the matched
symbols beside the modes. Both sequences last, so that few of their steps are independent: the null shifts the symbols of each
run by a random number of its steps, around its end, which keeps how long symbols last and what follows what. It has no power
for one run that is periodic, since a shift by a period changes nothing.

Takes two arrays of whole numbers, (runs, steps); costs draws x steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PADDING = -1


@dataclass(frozen=True, eq=False)
class ModeRecovery(Result):
    """Symbols beside modes.

    Attributes
    ----------
    symbols : (found,)
        The symbols that occur, ascending.
    modes : (true,)
        The modes that occur, ascending.
    counts : (found, true)
        Steps with each symbol in each mode.
    adjusted_rand
        1 for equal partitions, about 0 for independent ones, below 0 for less than chance; NaN with fewer than two steps.
    matched : (true,)
        The row of ``counts`` that names each mode; -1 where symbols are too few.
    recalled : (true,)
        Share of a mode's steps that carry its symbol; 0 without one.
    purities : (found,)
        Share of a symbol's steps in the mode that it has most often.
    switches : (true, true)
        P(mode of the next step | mode); NaN in the row of a mode that is never followed.
    symbol_switches : (true, true)
        The same of the matched symbols, over steps from one of them to another; NaN in the rows of those that have none.
    outcome
        CONVERGED when there was something to recover; TOO_SHORT without a step, DEGENERATE with fewer than two modes.
    nulls
        The index with symbols shifted along each run; none unless something could be recovered.
    checks
        The counts add up to the steps; no more steps are recalled than there are.
    """

    symbols: Int[np.ndarray, " found"]
    modes: Int[np.ndarray, " true"]
    counts: Int[np.ndarray, "found true"]
    adjusted_rand: float
    matched: Int[np.ndarray, " true"]
    recalled: Float[np.ndarray, " true"]
    purities: Float[np.ndarray, " found"]
    switches: Float[np.ndarray, "true true"]
    symbol_switches: Float[np.ndarray, "true true"]
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def dwells(self) -> np.ndarray:
        """(2, true) mean steps in a mode, and in its symbol, before it is left; infinite where it never is, NaN if unknown."""
        left = 1 - np.stack([np.diag(self.switches), np.diag(self.symbol_switches)])
        return np.divide(1.0, left, out=np.where(np.isnan(left), np.nan, np.inf), where=left > 0)

    @property
    def purity(self) -> float:
        """Share of the steps in the mode that their symbol has most often: 1 when symbols only split modes; NaN without any."""
        return float(self.counts.max(axis=1, initial=0).sum() / self.counts.sum()) if self.counts.size else np.nan

    @property
    def beyond_chance(self) -> bool:
        """Whether the index is above that of shifted symbols, which at most 5 % of the draws equal."""
        return bool(self.nulls) and all(null.beaten and null.observed > np.median(null.draws) for null in self.nulls)

    def summary(self) -> str:
        """How many modes have a symbol, the index beside its null, recall and dwell times."""
        named = int((self.recalled > 0.5).sum())
        text = f"{named} of {counted(len(self.modes), 'mode')} have a symbol that holds most of their steps"
        text += f" ({counted(len(self.symbols), 'symbol')}, {int(self.counts.sum())} steps)"
        if self.outcome is not Outcome.CONVERGED:
            return f"{text}; there was nothing to recover: {self.outcome.value}"
        text += f"; adjusted Rand index {self.adjusted_rand:.3g}"
        for null in self.nulls:
            text += f", median {np.median(null.draws):.2g} under {null.name} (p = {null.p:.2g})"
        text += f"; the mode is right in {self.purity:.3g} of the steps when each symbol stands for its commonest mode "
        text += f"({self.counts.sum(axis=0).max() / self.counts.sum():.3g} by the commonest mode alone)"
        recalls, dwells = (" and ".join(f"{value:.3g}" for value in row) for row in (self.recalled, self.dwells[0]))
        text += f"; recalled {recalls}; modes last {dwells} steps, their symbols "
        text += " and ".join(f"{value:.3g}" for value in self.dwells[1])
        return text if self.beyond_chance else f"{text}: not shown to name the modes"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Share of every mode's steps with each symbol."""
        ax = axes_or_new(ax)
        shares = self.counts / np.maximum(self.counts.sum(axis=0), 1)
        below = np.zeros(len(self.modes))
        for symbol, row in zip(self.symbols.tolist(), shares, strict=True):
            ax.bar(np.arange(len(self.modes)), row, bottom=below, label=f"symbol {symbol}")
            below = below + row
        ax.set_xticks(np.arange(len(self.modes)), [str(mode) for mode in self.modes])
        ax.set(xlabel="mode", ylabel="share of its steps", ylim=(0, 1.05))
        if 0 < len(self.symbols) <= 10:
            ax.legend(fontsize=7)
        return ax


def mode_recovery(
    symbols: Any, modes: Any, *, draws: int = 199, generator: np.random.Generator | None = None
) -> ModeRecovery:
    """Hold symbols against the modes that a system is known to have been in.

    Parameters
    ----------
    symbols, modes : (runs, steps)
        Whole numbers from 0, one a step, in any naming; -1 in both after the end of a run. One run may come as (steps,).
    draws
        Of the null.
    generator
        Of the shifts; a fixed seed when left out.

    Raises
    ------
    InputError
        When the shapes differ or have other axes, an entry is no whole number from -1, or the runs do not end together.
    """
    found, true = (np.atleast_2d(np.asarray(given)) for given in (symbols, modes))
    if found.shape != true.shape or found.ndim != 2:
        raise InputError(f"symbols and modes are (runs, steps) alike, but {found.shape} and {true.shape} came")
    if any((given != np.rint(given)).any() or (given < PADDING).any() for given in (found, true)):
        raise InputError("symbols and modes are whole numbers from 0, and -1 after the end of a run")
    lengths = (true != PADDING).sum(axis=1)
    valid = np.arange(true.shape[1]) < lengths[:, None]
    if ((found != PADDING) != valid).any() or ((true != PADDING) != valid).any():
        raise InputError("symbols and modes end at different steps, or have -1 before the end of a run")
    generator = generator or np.random.default_rng(0)

    names, rows = np.unique(found[valid], return_inverse=True)
    kinds, columns = np.unique(true[valid], return_inverse=True)
    coded, mode = np.zeros(found.shape, dtype=np.int64), np.zeros(true.shape, dtype=np.int64)
    coded[valid], mode[valid] = rows, columns

    def table(shift: np.ndarray) -> np.ndarray:
        """Steps of each symbol in each mode, with the symbols of every run this far ahead."""
        at = (np.arange(found.shape[1]) + shift[:, None]) % np.maximum(lengths, 1)[:, None]
        cell = np.take_along_axis(coded, at, axis=1) * len(kinds) + mode
        return np.bincount(cell[valid], minlength=len(names) * len(kinds)).reshape(len(names), len(kinds))

    counts = table(np.zeros(len(lengths), dtype=np.int64))
    index = float(_adjusted_rand(counts))
    outcome = Outcome.TOO_SHORT if not len(kinds) else Outcome.DEGENERATE if len(kinds) == 1 else Outcome.CONVERGED
    nulls: tuple[Null, ...] = ()
    if outcome is Outcome.CONVERGED and draws:
        shifted = np.stack([table(generator.integers(np.maximum(lengths, 1))) for _ in range(draws)])
        hypothesis = "symbols and modes go their own ways"
        nulls = (Null("symbols shifted along each run", hypothesis, "run", _adjusted_rand(shifted), index),)

    matched = np.full(len(kinds), -1, dtype=np.int64)
    symbol, named = linear_sum_assignment(counts, maximize=True)
    matched[named] = symbol
    kept = np.where(matched >= 0, counts[matched, np.arange(len(kinds))] if len(names) else 0, 0)
    of_symbol = np.full(len(names) + 1, -1, dtype=np.int64)
    of_symbol[symbol] = named
    return ModeRecovery(
        symbols=names.astype(np.int64),
        modes=kinds.astype(np.int64),
        counts=counts,
        adjusted_rand=index,
        matched=matched,
        recalled=kept / counts.sum(axis=0),
        purities=counts.max(axis=1, initial=0) / counts.sum(axis=1),
        switches=_switches(mode, valid[:, 1:], len(kinds)),
        symbol_switches=_switches(of_symbol[coded], valid[:, 1:], len(kinds)),
        outcome=outcome,
        nulls=nulls,
        checks=(
            Check("steps in the table", float(lengths.sum()), float(counts.sum()), 0.0),
            Check("steps recalled beyond the steps", 0.0, float(max(0, kept.sum() - lengths.sum())), 0.0),
        ),
    )


def _adjusted_rand(counts: Int[np.ndarray, "*draws found true"]) -> np.ndarray:
    """Pairs of steps together in both, less those expected, over the mean of the two partitions' pairs less the same."""
    table = counts.astype(np.float64)

    def pairs(sizes: Any) -> Any:
        return sizes * (sizes - 1) / 2

    together = pairs(table).sum(axis=(-2, -1))
    by_symbol, by_mode = (pairs(table.sum(axis=axis)).sum(axis=-1) for axis in (-1, -2))
    every = pairs(table.sum(axis=(-2, -1)))
    expected = np.divide(by_symbol * by_mode, every, out=np.full(np.shape(every), np.nan), where=every > 0)
    room = (by_symbol + by_mode) / 2 - expected
    alike = np.where(np.isnan(expected), np.nan, 1.0)  # both have one class, or one step a class
    return np.divide(together - expected, room, out=alike, where=room > 0)


def _switches(states: np.ndarray, followed: np.ndarray, number: int) -> np.ndarray:
    """Frequencies of the next state given the state, over steps where both are known."""
    now, then = states[:, :-1], states[:, 1:]
    known = followed & (now >= 0) & (then >= 0)
    counts = np.bincount(now[known] * number + then[known], minlength=number**2).reshape(number, number)
    total = np.repeat(counts.sum(axis=1, keepdims=True), number, axis=1)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
