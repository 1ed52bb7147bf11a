"""Is this machine what the network does? Their answers on random words, far beyond the lengths that anything was fitted to.

Method: random words of each length are read by both; agreement after the last symbol, with the exact interval of Clopper and
Pearson (Biometrika 26, 1934), and after every symbol. All words up to a short length are compared too, so that a counterexample
among those is a shortest one. Against a true machine the network is scored on the same words, and the machine exactly
(``Automaton.told_apart``). Answers agree by chance where most words have one answer: the null deals the machine's answers to
other words.

Takes an Automaton and a SymbolReader; costs the sum of lengths x words steps of the network. What holds for every word of any
length is ``machine_proof``'s question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.symbols._prefix_tree import read_tree
from analyses.symbols._teacher import fitting, random_words
from analyses.symbols.automaton import Automaton, same_alphabet
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPELLED = 40  # symbols of a word that a sentence spells


@dataclass(frozen=True, eq=False)
class MachineVerdict(Result):
    """Agreement of a machine and a network, by length.

    Attributes
    ----------
    symbols
        Names.
    states
        Of the machine, minimal.
    lengths : (lengths,)
        Of the random words.
    words
        Random words of each length.
    agreements : (lengths,)
        Share of the words after which both say the same.
    intervals : (lengths, 2)
        Its 95 % interval.
    throughout : (lengths,)
        Share of the words along which they say the same after every symbol.
    accuracies : (lengths,)
        Share of the words after which the network says what the true machine says; empty without a truth.
    truth
        "", "equal" or "different": the machine and the true one, exactly.
    short_length, short_words
        All words up to this length were compared, so many.
    refuted, counterexample
        Whether a word was found after which they differ; the shortest one found, as symbols.
    nulls
        Of the agreement at the first length.
    checks
        The machine read word by word says what its minimal form says.
    """

    symbols: tuple[str, ...]
    states: int
    lengths: Int[np.ndarray, " lengths"]
    words: int
    agreements: Float[np.ndarray, " lengths"]
    intervals: Float[np.ndarray, "lengths 2"]
    throughout: Float[np.ndarray, " lengths"]
    accuracies: Float[np.ndarray, " compared"]
    truth: str
    short_length: int
    short_words: int
    refuted: bool
    counterexample: tuple[int, ...]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def stands(self) -> bool:
        """Whether no word refutes the machine, and dealt answers agree less than its own."""
        return not self.refuted and (self.states == 1 or all(null.beaten for null in self.nulls))

    def summary(self) -> str:
        """Words on which both agree, by length; the counterexample, or that there is none among how many; the truth."""
        shares = [
            f"{round(share * self.words)} of {self.words} words of {length} symbols ({low:.3g} to {high:.3g})"
            for share, length, (low, high) in zip(self.agreements, self.lengths, self.intervals, strict=True)
        ]
        text = f"network and machine of {counted(self.states, 'state')} agree after {', '.join(shares)}"
        if self.nulls and len(self.lengths):
            null = self.nulls[0]
            text += f"; answers dealt to other words of {self.lengths[0]} agree on {np.median(null.draws):.2g}"
            text += f" (p = {null.p:.2g})"
        if self.refuted:
            between = "" if all(len(symbol) == 1 for symbol in self.symbols) else " "
            word = between.join(self.symbols[symbol] for symbol in self.counterexample[:SPELLED]) or "ε"
            text += f"; they differ after {word}"
            if len(self.counterexample) > SPELLED:
                text += f"… ({len(self.counterexample)} symbols)"
        else:
            text += f"; no word tells them apart, all {self.short_words} up to length {self.short_length} included"
        if self.truth:
            text += f"; the machine is {'' if self.truth == 'equal' else 'not '}the true one"
            text += f", which the network is right by on {', '.join(f'{share:.3g}' for share in self.accuracies)}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Agreement against length, with its interval and what dealt answers reach."""
        ax = axes_or_new(ax)
        if len(self.lengths):
            off = np.abs(self.intervals.T - self.agreements)
            ax.errorbar(
                self.lengths, self.agreements, yerr=off, fmt="o-", color="C0", capsize=3, label="after the word"
            )
            ax.plot(self.lengths, self.throughout, "s:", color="C0", mfc="none", label="after every symbol")
            ax.set_xscale("log")
        if len(self.accuracies):
            ax.plot(self.lengths, self.accuracies, "^-", color="C2", label="network and truth")
        for null in self.nulls:
            ax.axhline(float(np.median(null.draws)), color="0.6", ls="--", lw=1, label="answers dealt to other words")
        ax.set(xlabel="symbols of a word", ylabel="share that agrees", ylim=(-0.02, 1.05))
        if len(self.lengths) or self.nulls:
            ax.legend(fontsize=7, frameon=False)
        return ax


def judge(
    machine: Automaton,
    reader: SymbolReader,
    *,
    truth: Automaton | None = None,
    lengths: Sequence[int] = (50, 1000, 10_000),
    words: int = 100,
    draws: int = 99,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> MachineVerdict:
    """Compare a machine with the network it is meant to be.

    Parameters
    ----------
    machine, truth
        Over the reader's symbols and outputs; an unknown edge agrees with nothing. The truth is the task's machine, if known.
    lengths, words
        Lengths of random words, and how many of each. They draw their symbols alike, with shares that are even over all that
        sum to 1.
    draws, generator
        Of the null; draws the words. A fixed seed when left out.
    watch
        Wraps the lengths.

    Raises
    ------
    InputError
        When symbols or outputs differ, or there is no word.
    """
    for one in (machine, *(() if truth is None else (truth,))):
        same_alphabet(one, reader)
    if words < 1 or any(length < 0 for length in lengths):
        raise InputError(
            f"lengths from 0 and one word at least are compared, but {list(lengths)} and {words} words came"
        )
    generator = generator or np.random.default_rng(0)
    alphabet = len(reader.symbols)
    short_length = fitting(alphabet, 1 << 12)
    tree = read_tree(reader, short_length)
    differs = np.flatnonzero(tree.outputs_of(machine) != tree.said)
    counterexample = tree.word(int(differs[0])) if len(differs) else ()
    refuted = bool(len(differs))

    ends: list[tuple[np.ndarray, ...]] = []

    drawn = (random_words(alphabet, words, length, generator) for length in lengths)
    for ids in watch(drawn, len(lengths)):
        said, expected = reader.says_along(ids), machine.says(ids)
        wrong = said != expected
        if wrong.any() and not refuted:
            step = int(wrong.any(axis=0).argmax())
            counterexample, refuted = tuple(ids[int(wrong[:, step].argmax()), :step].tolist()), True
        right = said[:, -1] if truth is None else truth.says(ids)[:, -1]
        ends.append((said[:, -1], expected[:, -1], ~wrong.any(axis=1), right))
    agreements = np.array([float((said == expected).mean()) for said, expected, _, _ in ends])
    nulls: tuple[Null, ...] = ()
    if ends and draws:
        said, expected = ends[0][:2]
        dealt = np.array([(generator.permutation(expected) == said).mean() for _ in range(draws)])
        nulls = (
            Null("answers dealt to other words", "any word may have any answer", "word", dealt, float(agreements[0])),
        )
    minimal = machine.minimal()
    same = float(machine.told_apart(minimal) is None)
    return MachineVerdict(
        symbols=reader.symbols,
        states=len(minimal),
        lengths=np.array(lengths[: len(ends)], dtype=np.int64),
        words=words,
        agreements=agreements,
        intervals=np.array([_interval(share, words) for share in agreements]).reshape(-1, 2),
        throughout=np.array([float(all_along.mean()) for _, _, all_along, _ in ends]),
        accuracies=np.array([float((said == right).mean()) for said, _, _, right in ends if truth is not None]),
        truth="" if truth is None else "equal" if machine.told_apart(truth) is None else "different",
        short_length=short_length,
        short_words=len(tree.said),
        refuted=refuted,
        counterexample=counterexample,
        nulls=nulls,
        checks=(Check("the minimal machine says what the machine says", 1.0, same, 0.0),),
    )


def _interval(share: float, words: int) -> tuple[float, float]:
    found = binomtest(round(share * words), words).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)
