"""Which words never occur although nothing shorter rules them out? The grammar of a symbolic sequence.

Method: a word a w b is *minimal absent* when it was not seen but a w and w b were. Were b independent of a given w, the number
of times a w b occurs would be hypergeometric: n(a w) draws out of the n(w) places of which n(w b) lead to b, so that absence
has a probability in closed form. It is exact but for the ends of runs, and assumes no more than the shuffles that keep the
counts of words one shorter (Pethel and Hahs, Physica D 269, 42 (2014)). Words with p below 5 % after Holm's correction over
all minimal absent words tested are called forbidden; the others are too rare to say.

Forbidden is what the record says about this sequence: a word of small probability is told from an impossible one by more data
alone. Takes Regions; costs one sort of the symbols a length, and memory for every word whose parts occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import hypergeom

from analyses.result import Check, Result, axes_or_new, counted
from analyses.symbols._sequences import PADDING, counts, sequence
from analyses.symbols.regions import Regions
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class ForbiddenWords(Result):
    """Minimal absent words, shortest first.

    Attributes
    ----------
    words : (absent, longest)
        Symbols by rank; -1 beyond the length.
    lengths : (absent,)
    expected : (absent,)
        How often the word would occur: n(a w) n(w b) / n(w).
    p : (absent,)
        Of never occurring, were the last symbol independent of the first given those between.
    forbidden : (absent,)
        p below 5 % after Holm's correction.
    names
        Of the symbols.
    seen : (longest,)
        Different words of each length that occur.
    coding
        What a symbol is; in jumps no symbol follows itself, and such words are not counted as absent.
    checks
        The words seen and the minimal absent ones together are the words whose parts occur.
    """

    words: Int[np.ndarray, "absent longest"]
    lengths: Int[np.ndarray, " absent"]
    expected: Float[np.ndarray, " absent"]
    p: Float[np.ndarray, " absent"]
    forbidden: Bool[np.ndarray, " absent"]
    names: tuple[str, ...]
    seen: Int[np.ndarray, " longest"]
    coding: str
    checks: tuple[Check, ...]

    def spelled(self) -> tuple[str, ...]:
        """Each word by the names of its symbols."""
        return tuple(" ".join(self.names[symbol] for symbol in word if symbol != PADDING) for word in self.words)

    def summary(self) -> str:
        """How many of the absent words are forbidden, and the shortest of them."""
        count = int(self.forbidden.sum())
        text = f"{count} of {counted(len(self.words), 'minimal absent word')} forbidden"
        text += f", up to {counted(len(self.seen), 'symbol')}"
        if count:
            spelled = [word for word, forbidden in zip(self.spelled(), self.forbidden, strict=True) if forbidden]
            text += ": " + ", ".join(spelled[:5]) + (", ..." if count > 5 else "")
        return text + ("; the others are too rare to say" if count < len(self.words) else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """p of absence against how often the word would occur."""
        ax = axes_or_new(ax)
        tiny = np.maximum(self.p, 1e-300)
        for forbidden, color, label in ((True, "C3", "forbidden"), (False, "0.6", "too rare to say")):
            chosen = self.forbidden == forbidden
            ax.plot(self.expected[chosen], -np.log10(tiny[chosen]), "o", ms=4, color=color, label=label)
        ax.set(xlabel="occurrences expected", ylabel="-log10 p of absence", xscale="symlog", yscale="symlog")
        ax.legend(fontsize=7)
        return ax


def forbidden_words(coded: Regions, *, longest: int = 4) -> ForbiddenWords:
    """Words that do not occur although their parts do, tested against chance.

    Parameters
    ----------
    coded
        What ``regions`` returns, or its ``jump_coded()`` or ``read_at(turns)``; runs are never joined.
    longest
        Symbols in the longest word, 2 or more.

    Returns
    -------
    ForbiddenWords
        (0, longest) words when all words occur whose parts do, or there is nothing to look at.

    Raises
    ------
    InputError
        For a longest word of fewer than two symbols.
    """
    if longest < 2:
        raise InputError(f"a word whose parts occur has two symbols at least, not {longest}")
    symbols = sequence(coded)
    every = list(islice(symbols.words(), longest))
    words, lengths, expected, p = [np.zeros((0, longest), dtype=np.int64)], [], [], []
    tables, possible = [counts(one) for one in every], 0
    for length, (shorter, whole) in enumerate(pairwise(every), start=2):
        at = np.flatnonzero(whole != PADDING)
        count = len(tables[length - 2])
        firsts = _first(shorter, count)
        # words of length - 1 by their first symbols (w b begins with w) and their last (a w ends with w)
        inner = np.zeros(len(symbols.symbols), dtype=np.int64) if length == 2 else every[length - 3]
        head, tail = inner[firsts], (inner[firsts] if length == 2 else inner[firsts + 1])
        begun, ended = _joined(tail, head)
        if coded.coding == "jumps" and length == 2:
            begun, ended = begun[begun != ended], ended[begun != ended]
        possible += len(begun)
        seen = np.unique(shorter[at] * count + shorter[at + 1]) if len(at) else np.zeros(0, dtype=np.int64)
        absent = ~np.isin(begun * count + ended, seen)
        begun, ended = begun[absent], ended[absent]
        # places where a w is followed by something, w b preceded by something, w both
        before = np.bincount(shorter[at], minlength=count)[begun]
        after = np.bincount(shorter[at + 1], minlength=count)[ended]
        between = np.bincount(tail[shorter[at]], minlength=int(inner.max(initial=0)) + 1)[tail[begun]]
        expected.append(before * after / np.maximum(between, 1))
        p.append(hypergeom.pmf(0, between, after, before))
        found = np.full((len(begun), longest), PADDING)
        found[:, : length - 1] = symbols.symbols[firsts[begun][:, None] + np.arange(length - 1)]
        found[:, length - 1] = symbols.symbols[firsts[ended] + length - 2]
        words.append(found)
        lengths.append(np.full(len(found), length))
    p_values = np.concatenate(p)
    total = sum(len(table) for table in tables[1:])
    return ForbiddenWords(
        words=np.concatenate(words),
        lengths=np.concatenate(lengths).astype(np.int64),
        expected=np.concatenate(expected),
        p=p_values,
        forbidden=_holm(p_values),
        names=coded.names,
        seen=np.array([len(table) for table in tables]),
        coding=coded.coding,
        checks=(Check("words seen or minimal absent", float(possible), float(total + len(p_values)), 0.0),),
    )


def _joined(tail: np.ndarray, head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair (a, b) with tail[a] == head[b], each (pairs,)."""
    order = head.argsort(kind="stable")
    low, high = (np.searchsorted(head[order], tail, side) for side in ("left", "right"))
    sizes = high - low
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(np.arange(len(tail)), sizes), order[np.repeat(low, sizes) + within]


def _first(words: np.ndarray, count: int) -> np.ndarray:
    """(count,) where each word first occurs."""
    valid = np.flatnonzero(words != PADDING)
    firsts = np.zeros(count, dtype=np.int64)
    firsts[words[valid[::-1]]] = valid[::-1]
    return firsts


def _holm(p: np.ndarray) -> np.ndarray:
    order = p.argsort(kind="stable")
    passed = np.logical_and.accumulate(p[order] <= LEVEL / np.arange(len(p), 0, -1))
    forbidden = np.zeros(len(p), dtype=bool)
    forbidden[order] = passed
    return forbidden
