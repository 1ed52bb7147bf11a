"""Which automaton is a network that reads symbols? Learned by asking it.

Method: AALpy learns with the classification tree of Kearns and Vazirani (1994), with L# (Vaandrager, Garhewal, Rot,
Wissmann, TACAS 2022) or with Angluin's L* (1987); the network is the teacher (``_teacher``). A hypothesis is compared with it
on all short words, on words that the states lead to or that count, on random words and on long ones; the counterexample is a
shortest one of the first kind that has any. Angluin's bound: when (ln(1/delta) + i ln 2) / epsilon random words in query i show
no counterexample, the share of words that are one is at most epsilon, with confidence 1 - delta over all queries.

A network need not be an automaton. One that counts makes hypotheses grow without end, one that is noisy answers a word in two
ways: both end the run, within its budget, with the hypotheses' sizes and the words as evidence.

Takes a SymbolReader; costs thousands of steps of the network a query of equivalence and some hundred words for each state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Outcome, Result, axes_or_new, counted
from analyses.symbols._teacher import ContradictionError, Teacher, random_words
from analyses.symbols.automaton import Automaton, automaton
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALGORITHMS = ("KV", "L#", "L*")
CONTEXT = 40  # symbols of a word that a sentence spells


@dataclass(frozen=True, eq=False)
class LearnedAutomaton(Result):
    """The last hypothesis, and how it came about.

    Attributes
    ----------
    algorithm, symbols, outputs
        What learned; names.
    transitions, labels, chances
        The last hypothesis, made minimal; its initial state is 0.
    sizes : (rounds,)
        States of each hypothesis.
    counterexamples
        The word that refuted each hypothesis but the last.
    found_by
        What found it: "short words", "states", "repeated words", "random words" or "long words".
    contradiction
        A word that was answered in two ways, as symbols; and the two answers. Empty where none was seen.
    queries, symbols_read
        Words the learner asked; symbols the network read in all.
    short_length
        All words up to this length were asked.
    length, asked
        Symbols of a random word, and how many such words the last hypothesis was asked, after each symbol.
    longest, long_words
        The same of long words.
    epsilon, delta
        Of the bound, which holds if the outcome is CONVERGED.
    outcome, reason
        CONVERGED if nothing refutes the last hypothesis; else what ended the run.
    checks
        The machine says what the network said after every word the learner asked.
    """

    algorithm: str
    symbols: tuple[str, ...]
    outputs: tuple[str, ...]
    transitions: Int[np.ndarray, "states alphabet"]
    labels: Int[np.ndarray, " states"]
    chances: Float[np.ndarray, "states outputs"]
    sizes: Int[np.ndarray, " rounds"]
    counterexamples: tuple[tuple[int, ...], ...]
    found_by: tuple[str, ...]
    contradiction: tuple[tuple[int, ...], ...]
    queries: int
    symbols_read: int
    short_length: int
    length: int
    asked: int
    longest: int
    long_words: int
    epsilon: float
    delta: float
    outcome: Outcome
    reason: str
    checks: tuple[Check, ...]

    @property
    def machine(self) -> Automaton:
        """The last hypothesis."""
        return Automaton(self.symbols, self.outputs, self.transitions, self.labels, self.chances)

    @property
    def found(self) -> bool:
        """Whether nothing that was asked refutes the machine."""
        return self.outcome is Outcome.CONVERGED

    def summary(self) -> str:
        """The states and what stands for them, or why there is no machine and the evidence."""
        rounds = f"{len(self.sizes)} {'hypothesis' if len(self.sizes) == 1 else 'hypotheses'}"
        asked = f"{rounds} and {counted(self.queries, 'question')} of {self.algorithm}"
        if self.found:
            text = (
                f"{counted(len(self.labels), 'state')} after {asked}: nothing refutes them among all words up to length "
                f"{self.short_length}, words that the states led to or that count, {self.asked} random words of "
                f"{self.length} symbols"
            )
            text += f" and {self.long_words} of {self.longest}" if self.long_words else ""
            return f"{text}; with confidence {1 - self.delta:.3g} at most {self.epsilon:.2g} of random words do"
        text = f"no automaton was found: {self.reason}, after {asked}"
        if self.contradiction:
            word, said = self.contradiction
            text += f"; after {self._spelled(word)} it said {self.outputs[said[0]]}, then {self.outputs[said[1]]}"
        elif self.counterexamples:
            text += f"; hypotheses grew from {self.sizes[0]} to {counted(int(self.sizes[-1]), 'state')}"
            text += f", and the last one that fell was refuted by {self._spelled(self.counterexamples[-1])}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """States of the hypotheses, and the length of the word that refuted each."""
        ax = axes_or_new(ax)
        rounds = np.arange(1, len(self.sizes) + 1)
        ax.plot(rounds, self.sizes, "o-", color="C0", markersize=4, label="states of the hypothesis")
        lengths = [len(word) for word in self.counterexamples]
        ax.plot(rounds[: len(lengths)], lengths, "x", color="C3", label="length of the word that refuted it")
        ax.set(xlabel="hypothesis", ylabel="states; symbols")
        ax.set_yscale("symlog", linthresh=10)
        ax.legend(fontsize=7, frameon=False)
        return ax

    def _spelled(self, word: tuple[int, ...]) -> str:
        between = "" if all(len(symbol) == 1 for symbol in self.symbols) else " "
        text = between.join(self.symbols[symbol] for symbol in word[:CONTEXT]) or "ε"
        return text if len(word) <= CONTEXT else f"{text}… ({len(word)} symbols)"


def learn_automaton(
    reader: SymbolReader,
    *,
    algorithm: str = "KV",
    epsilon: float = 0.01,
    delta: float = 0.01,
    length: int = 50,
    longest: int = 1000,
    long_words: int = 16,
    most_states: int = 200,
    most_queries: int = 100_000,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> LearnedAutomaton:
    """Learn the automaton that a network is, or say that it is none within these bounds.

    Parameters
    ----------
    algorithm
        KV, L# or L*. L# asks fewest questions, but AALpy 2.0 seeks words that tell two of its states apart in a time that is
        exponential in their length where symbols do the same, and heeds no budget meanwhile.
    epsilon, delta
        With confidence 1 - delta, the machine says otherwise than the network somewhere along a random word with probability
        epsilon at most. A random word draws its symbols alike, with shares that are even over all that sum to 1, so that
        long runs of one symbol are common.
    length
        Of the random words, such as the longest ones the network was trained on.
    longest, long_words
        Of words far beyond it. No hypothesis is compared on a longer word than ``longest``: a network that is an automaton on
        the lengths it was trained on may be none beyond, and then the one up to a length is learned by ``longest=length``.
    most_states, most_queries
        Where the learner gives up: hypotheses of more states, or more questions.
    generator
        Draws the words; a fixed seed when left out.
    watch
        Wraps the questions: progress, budget in seconds.

    Returns
    -------
    LearnedAutomaton

    Raises
    ------
    InputError
        For another algorithm, or numbers outside their range.
    ImportError
        Without AALpy (the extra ``automata``).
    """
    if algorithm not in ALGORITHMS:
        raise InputError(f"the algorithm is one of {', '.join(ALGORITHMS)}, but {algorithm!r} came")
    if not (0 < epsilon < 1 and 0 < delta < 1):
        raise InputError(f"epsilon and delta lie between 0 and 1, but {epsilon} and {delta} came")
    if length > longest:
        raise InputError(f"random words of {length} symbols are longer than the longest, {longest}")
    for name, value in {
        "length": length,
        "longest": longest,
        "most_states": most_states,
        "most_queries": most_queries,
    }.items():
        if value < 1:
            raise InputError(f"{name} is 1 at least, but {value} came")
    draws = generator or np.random.default_rng(0)
    teacher = Teacher(reader, draws, longest)
    tried: list[Automaton] = []
    refuted: list[tuple[tuple[int, ...], str]] = []
    count = {"queries": 0, "asked": 0}
    ticks = iter(watch(iter(range(1, most_queries + 1)), most_queries))

    def answered(word: Any) -> list[int]:
        """The output after each prefix but the empty one, which is asked alone."""
        if next(ticks, None) is None:
            spent = count["queries"] >= most_queries
            raise _StoppedError(
                Outcome.OUT_OF_STEPS if spent else Outcome.OUT_OF_TIME,
                f"it asked {most_queries} questions" if spent else "its time was spent",
            )
        count["queries"] += 1
        said = teacher.says(word)
        return said[1:] or said

    def refuting(hypothesis: Any) -> tuple[int, ...] | None:
        machine = _table(hypothesis, reader)
        tried.append(machine)
        if len(machine) > most_states:
            raise _StoppedError(Outcome.OUT_OF_STEPS, f"it needs more than {counted(most_states, 'state')}")
        teacher.ask_again(length)
        asked = math.ceil((math.log(1 / delta) + len(tried) * math.log(2)) / epsilon)
        for kind, words in _asked(teacher, machine, asked, length, long_words, longest):
            if (word := teacher.wrong(machine, words)) is not None:
                refuted.append((word, kind))
                return word
        count["asked"] = asked
        return None

    outcome, reason = Outcome.CONVERGED, ""
    contradiction: tuple[tuple[int, ...], ...] = ()
    try:
        _run(algorithm, teacher.alphabet, answered, refuting)
    except _StoppedError as stop:
        outcome, reason = stop.outcome, stop.reason
    except ContradictionError as two:
        outcome, reason = Outcome.INCONSISTENT, "it answered one word in two ways"
        contradiction = (two.word, two.said)
    machine = (tried[-1] if tried else automaton([[0] * teacher.alphabet], [teacher.says(())[0]])).minimal()
    checks = (Check("says as the network after every word asked", 1.0, float(teacher.all_as(machine)), 0.0),)
    return LearnedAutomaton(
        algorithm=algorithm,
        symbols=reader.symbols,
        outputs=reader.outputs,
        transitions=machine.transitions,
        labels=machine.labels,
        chances=np.eye(len(reader.outputs))[machine.labels],
        sizes=np.array([len(one) for one in tried], dtype=np.int64),
        counterexamples=tuple(word for word, _ in refuted),
        found_by=tuple(kind for _, kind in refuted),
        contradiction=contradiction,
        queries=count["queries"],
        symbols_read=teacher.symbols_read,
        short_length=teacher.short_length,
        length=length,
        asked=count["asked"],
        longest=longest,
        long_words=long_words,
        epsilon=epsilon,
        delta=delta,
        outcome=outcome,
        reason=reason,
        checks=checks if outcome is Outcome.CONVERGED else (),
    )


class _StoppedError(Exception):
    """The run ends here, unfinished."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome, self.reason = outcome, reason


def _asked(
    teacher: Teacher, machine: Automaton, asked: int, length: int, long_words: int, longest: int
) -> Iterator[tuple[str, Any]]:
    """What to ask of a hypothesis, kind by kind; later kinds are drawn only when the earlier ones refute nothing."""
    yield "short words", teacher.short
    yield "states", teacher.guided_words(machine)
    yield "repeated words", teacher.counting_words(machine)
    yield "random words", random_words(teacher.alphabet, asked, length, teacher.generator)
    yield "long words", random_words(teacher.alphabet, long_words, longest, teacher.generator)


def _run(algorithm: str, alphabet: int, answered: Any, refuting: Any) -> None:
    """AALpy's learner, silent and without a cache of its own, on these answers."""
    from aalpy.base import SUL, Oracle
    from aalpy.learning_algs import run_KV, run_Lsharp, run_Lstar

    class Network(SUL):
        """Words are answered whole; symbol by symbol, from the word so far."""

        word: tuple[int, ...] = ()

        def query(self, word: Any) -> list[int]:
            return answered(tuple(word))

        def pre(self) -> None:
            self.word = ()

        def post(self) -> None:
            self.word = ()

        def step(self, letter: Any) -> int:
            self.word = self.word if letter is None else (*self.word, letter)
            return answered(self.word)[-1]

    class Equivalence(Oracle):
        def find_cex(self, hypothesis: Any) -> Any:
            return refuting(hypothesis)

    letters, network = list(range(alphabet)), Network()
    learner = {"L#": run_Lsharp, "KV": run_KV, "L*": run_Lstar}[algorithm]
    learner(letters, network, Equivalence(letters, network), "moore", cache_and_non_det_check=False, print_level=0)


def _table(hypothesis: Any, reader: SymbolReader) -> Automaton:
    """AALpy's machine as arrays."""
    place = {id(state): number for number, state in enumerate(hypothesis.states)}
    edges = [[place[id(state.transitions[s])] for s in range(len(reader.symbols))] for state in hypothesis.states]
    return automaton(
        edges,
        [state.output for state in hypothesis.states],
        initial=place[id(hypothesis.initial_state)],
        symbols=reader.symbols,
        outputs=reader.outputs,
    )
