"""How much that is new does a symbolic sequence say per symbol, per recorded step, per turn?

Method: block entropies H(k) of words of k symbols with the Miller-Madow correction, and their increments h(k) = H(k) - H(k -
1), which fall to the entropy rate as k grows (Shannon). A length is trusted while its words are seen 20 times each on average
and the share of windows whose word is seen once, which estimates the probability of words not seen (Good, Biometrika 40, 237
(1953)), is below 1 % of h: on Markov chains h comes out too low by about that share in nats. The rate is h of the longest word
trusted. It comes from above, so how h(k) converges is part of the answer; where words are shorter than a mean stay it has not.
A second opinion comes from match lengths: L(i) is the length of the shortest word beginning at i that begins nowhere before,
and h = 1 / mean(L(i) / log i) (Kontoyiannis, Algoet, Suhov, Wyner, IEEE Trans. Inf. Theory 44, 1319 (1998), increasing
window); its error falls only as 1 / log of the length, and at 10^4 symbols it lies up to a tenth below.

What a symbol is decides what the rate means: of steps, it counts how long stays are; of ``jump_coded`` regions, only where
they lead; of regions ``read_at`` turns, it is a rate per turn. The log of the spectral radius of the graph of seen transitions
is no rate of any of them: it gives every seen transition equal weight, staying included.

Takes Regions; costs one sort of the symbols for each length of word, of match too, and two for each draw of the null.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.symbols._sequences import PADDING, Sequence, counts, entropy, sequence, shuffled_keeping
from analyses.symbols.regions import BATCHES, Regions
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEN = 20  # times a word is seen on average: the correction is then at most 1/40 of a nat, what is left of its order squared
RARE = 0.01  # of h: the share of windows whose word is seen once
FALL = 0.05  # of the rate: h falls by less than this from half the word to the whole
LONGEST_MATCH = 500


@dataclass(frozen=True, eq=False)
class EntropyRate(Result):
    """Block entropies and the rate they fall to, in nats.

    Attributes
    ----------
    block_entropies : (lengths,)
        H of words of 1, 2, ... symbols, up to the first length that is not trusted.
    conditional_entropies : (lengths,)
        h = H(k) - H(k - 1); the first is H(1).
    words, windows : (lengths,)
        Different words seen, and words looked at.
    trusted
        Symbols of the longest word trusted; 0 when there is none.
    rate, standard_error
        h at that length, per symbol, and its error from batches of the surprisals; NaN when no word is trusted.
    mean_stay
        Symbols from one change to the next, over whole stays, 1 without any: shorter words do not see where a stay ends.
    match_rate
        Per symbol from match lengths; NaN below 100 symbols.
    per_step
        The rate per recorded step behind the symbols.
    coding
        What a symbol is: "steps", "jumps" or "turns".
    outcome
        CONVERGED when the trusted word is longer than a mean stay, and h falls by less than 5 % (or four standard errors) from
        half of it to the whole;
        TOO_SHORT when words ran out of data before; OUT_OF_STEPS when they ran out of ``longest``.
    nulls
        The rate after shuffling: the symbols, or of jumps the order beyond the next one.
    checks
        h rises nowhere among the trusted words by more than four standard errors.
    """

    block_entropies: Float[np.ndarray, " lengths"]
    conditional_entropies: Float[np.ndarray, " lengths"]
    words: Int[np.ndarray, " lengths"]
    windows: Int[np.ndarray, " lengths"]
    trusted: int
    rate: float
    standard_error: float
    mean_stay: float
    match_rate: float
    per_step: float
    coding: str
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The rate with its error, the word it comes from, whether it has converged, and what shuffled symbols give."""
        if not self.trusted:
            return f"0 lengths of words seen often enough: no entropy rate ({self.outcome.value})"
        unit = {"steps": "step", "jumps": "jump", "turns": "turn"}[self.coding]
        text = f"{self.rate:.4g} +- {self.standard_error:.1g} nats per {unit} from words of {counted(self.trusted, 'symbol')}"
        text += "" if self.coding == "steps" else f" ({self.per_step:.4g} per recorded step)"
        text += f", {self.match_rate:.4g} by match lengths"
        if self.outcome is not Outcome.CONVERGED:
            short = self.trusted <= self.mean_stay
            why = (
                f"words no longer than a stay of {self.mean_stay:.3g}, no rate yet"
                if short
                else "still falling with longer words"
            )
            text += f"; {why} ({self.outcome.value})"
        if self.coding == "jumps":
            text += "; how long stays last is not counted"
        for null in self.nulls:
            verdict = "" if null.beaten else ", no different" if len(null.draws) >= 19 else ", too few draws to tell"
            text += f"; {null.name}: {np.median(null.draws):.4g}{verdict}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """h against the length of the word; hollow where words are seen too rarely; the match lengths' rate as a line."""
        ax = axes_or_new(ax)
        k = np.arange(1, len(self.words) + 1)
        ax.plot(k, self.conditional_entropies, "o-", color="C0", mfc="white", ms=4)
        ax.plot(k[: self.trusted], self.conditional_entropies[: self.trusted], "o", color="C0", ms=4, label="words")
        if np.isfinite(self.match_rate):
            ax.axhline(self.match_rate, color="C1", ls="--", lw=1, label="match lengths")
        ax.set(xlabel="symbols in a word", ylabel=f"nats per {self.coding[:-1]}")
        ax.legend(fontsize=7)
        return ax


def entropy_rate(
    coded: Regions, *, longest: int = 24, draws: int = 39, generator: np.random.Generator | None = None
) -> EntropyRate:
    """The entropy rate of a symbolic sequence by block entropies, with match lengths beside it.

    Parameters
    ----------
    coded
        What ``regions`` returns, or its ``jump_coded()`` or ``read_at(turns)``; runs are never joined.
    longest
        Symbols in the longest word looked at.
    draws
        Of the null: each run's symbols shuffled; of jumps, with the counts of every pair kept, since a shuffled sequence
        would stay in place. 0 for none.
    generator
        Of the shuffles; numpy's with seed 0 when left out.

    Returns
    -------
    EntropyRate
        With rate NaN and outcome TOO_SHORT where even single symbols were seen too rarely.

    Raises
    ------
    InputError
        For a longest word below 1 or draws below 0.
    """
    if longest < 1 or draws < 0:
        raise InputError(f"words have one symbol at least and draws are not negative, but {longest=}, {draws=} came")
    symbols = sequence(coded)
    every, H, h, trusted = _blocks(symbols, longest)
    words, windows = np.array([[len(table), table.sum()] for table in map(counts, every)]).T
    match = _match_rate(symbols)
    if not trusted:
        return EntropyRate(
            block_entropies=H, conditional_entropies=h, words=words, windows=windows, trusted=0, rate=np.nan,
            standard_error=np.nan, mean_stay=_mean_stay(coded), match_rate=match, per_step=np.nan, coding=coded.coding,
            outcome=Outcome.TOO_SHORT, nulls=(), checks=(),
        )  # fmt: skip

    rate, error = float(h[trusted - 1]), _standard_error(every[:trusted])
    # windows lost at the ends of runs change h by about 1 / windows
    room = 4 * float(np.nan_to_num(error)) + 10 / int(windows[trusted - 1])
    stay = _mean_stay(coded)
    settled = trusted > stay and h[(trusted - 1) // 2] - rate <= max(FALL * rate, room)
    cut = Outcome.OUT_OF_STEPS if trusted == longest else Outcome.TOO_SHORT
    jumps = coded.coding == "jumps"
    name, hypothesis = ("order of jumps shuffled", "the next jump depends on the region alone") if jumps else (
        "symbols shuffled", "symbols are independent")  # fmt: skip
    generator = generator or np.random.default_rng(0)
    drawn = np.zeros(draws)
    for draw in range(draws):
        _, _, shuffled, reach = _blocks(shuffled_keeping(symbols, 1 + jumps, generator), longest)
        drawn[draw] = shuffled[reach - 1]
    return EntropyRate(
        block_entropies=H,
        conditional_entropies=h,
        words=words,
        windows=windows,
        trusted=trusted,
        rate=rate,
        standard_error=error,
        mean_stay=stay,
        match_rate=match,
        per_step=rate * len(symbols.symbols) / coded.duration,
        coding=coded.coding,
        outcome=Outcome.CONVERGED if settled else cut,
        nulls=(Null(name, hypothesis, "sequence", drawn, rate),) if draws else (),
        checks=(Check("largest rise of h with the word", 0.0, float(np.diff(h[:trusted]).max(initial=0.0)), room),),
    )


def _blocks(symbols: Sequence, longest: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, int]:
    """Words, H and h of lengths 1, 2, ... up to one more than the longest trusted, and that."""
    every, H, trusted = [], [0.0], 0
    for words in islice(symbols.words(), min(longest, int(symbols.left.max(initial=1)))):
        table = counts(words)
        every.append(words)
        H.append(entropy(table))
        once = int((table == 1).sum())
        if not len(table) or table.sum() < SEEN * len(table) or once > max(1, RARE * (H[-1] - H[-2]) * table.sum()):
            break
        trusted += 1
    return every, np.array(H[1:]), np.diff(H), trusted


def _mean_stay(coded: Regions) -> float:
    """Of the stays that the record does not cut."""
    whole = coded.dwell_steps[~coded.dwell_censored]
    return float(whole.mean()) if len(whole) else 1.0


def _standard_error(every: list[np.ndarray]) -> float:
    """Of the mean surprisal of the last symbol of each word, over batches of consecutive words."""
    at = np.flatnonzero(every[-1] != PADDING)
    surprisal = -np.log(counts(every[-1])[every[-1][at]])
    surprisal += np.log(counts(every[-2][at])[every[-2][at]]) if len(every) > 1 else np.log(len(at))
    batches = min(BATCHES, len(at) // 2)
    if batches < 2:
        return float("nan")
    means = np.array([batch.mean() for batch in np.array_split(surprisal, batches)])
    return float(means.std(ddof=1) / np.sqrt(batches))


def _match_rate(symbols: Sequence) -> float:
    """1 / mean(L / log i). A match that the end of its run cuts is left out; one of 500 symbols counts as 500."""
    total = len(symbols.symbols)
    if total < 100:
        return float("nan")
    bound = min(LONGEST_MATCH, total // 4)
    lengths, whole = np.ones(total), np.ones(total, dtype=bool)
    words, going = symbols.symbols, np.arange(total)
    for length in range(1, bound + 1):
        _, first, which = np.unique(words, return_index=True, return_inverse=True)
        seen = first[which] < np.arange(len(words))
        # a first occurrence stays as what later words are compared with, though its own length is settled
        lengths[going[seen]] = length + 1
        if not seen.any():
            break
        shared = np.isin(which, which[seen])
        fits = symbols.left[going] > length
        whole[going[seen & ~fits]] = False
        keep = shared & fits
        words = which[keep] * symbols.alphabet + symbols.symbols[going[keep] + length]
        going = going[keep]
    used = whole & (np.arange(total) > 0)
    return float(1 / np.mean(lengths[used] / np.log(np.arange(1, total + 1)[used]))) if used.any() else float("nan")
