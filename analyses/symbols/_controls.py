"""What causal tests of machines share: words and states drawn, what a machine says, machines wrong in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from analyses.symbols.automaton import Automaton
from hooks.symbol_reader import Word

CLOSE = 20  # symbols, the longest words over which two states are compared


def one_edit_away(
    machine: Automaton, most: int, generator: np.random.Generator
) -> tuple[tuple[str, ...], list[Automaton]]:
    """Kinds and machines: its two closest states merged, either way; one edge led elsewhere; one state saying another output.

    Edges and outputs are all taken, or ``most`` of them drawn. Of a minimal machine none says the same as the machine itself.
    """
    states, symbols = machine.transitions.shape
    edits = [
        ("edge", state, symbol, target)
        for state, symbol in np.ndindex(states, symbols)
        for target in range(states)
        if target != machine.transitions[state, symbol]
    ]
    edits += [
        ("output", state, 0, said)
        for state in range(states)
        for said in range(len(machine.outputs))
        if said != machine.labels[state]
    ]
    if len(edits) > most:
        edits = [edits[number] for number in np.sort(generator.choice(len(edits), most, replace=False))]
    kinds, made = [kind for kind, *_ in edits], [_edited(machine, *edit) for edit in edits]
    if states > 1:
        pairs = list(combinations(range(states), 2))
        apart = [replace(machine, initial=i).distance_to(replace(machine, initial=j), longest=CLOSE) for i, j in pairs]
        i, j = pairs[int(np.argmin(apart))]
        kinds, made = ["merged"] * 2 + kinds, [_merged(machine, i, j), _merged(machine, j, i), *made]
    return tuple(kinds), made


def evenly(labels: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Places, ``most`` at most, drawn as evenly over the labels as they allow."""
    places = generator.permutation(len(labels))
    _, own, sizes = np.unique(labels[places], return_inverse=True, return_counts=True)
    order = np.argsort(own, kind="stable")
    turn = np.empty(len(own), dtype=np.int64)
    turn[order] = np.arange(len(own)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # 0, 1, ... within each class
    return places[np.argsort(turn, kind="stable")[:most]]


def drawn_words(symbols: int, count: int, longest: int, generator: np.random.Generator) -> list[Word]:
    """Different random words, ``count`` at most, every length from 0 to ``longest`` as often."""
    lengths = generator.integers(longest + 1, size=count)
    letters = generator.integers(symbols, size=(count, longest))
    return list(dict.fromkeys(tuple(row[:length].tolist()) for row, length in zip(letters, lengths, strict=True)))


def states_after(machine: Automaton, words: Sequence[Word]) -> np.ndarray:
    """The state of the machine after each word."""
    longest = max((len(word) for word in words), default=0)
    padded = np.zeros((len(words), longest), dtype=np.int64)
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    for row, word in zip(padded, words, strict=True):
        row[: len(word)] = word
    return machine.states(padded)[np.arange(len(words)), lengths]


def says_from(machine: Automaton, after: np.ndarray) -> np.ndarray:
    """(states, runs, steps + 1): what the machine says on each way from each of its states."""
    now = np.repeat(np.arange(len(machine))[:, None], len(after), axis=1)
    visited = [now]
    for symbols in after.T:
        visited.append(machine.transitions[visited[-1], symbols])
    return machine.labels[np.stack(visited, axis=2)]


def _edited(machine: Automaton, kind: str, state: int, symbol: int, to: int) -> Automaton:
    edges, labels = machine.transitions.copy(), machine.labels.copy()
    if kind == "edge":
        edges[state, symbol] = to
    else:
        labels[state] = to
    return replace(machine, transitions=edges, labels=labels)


def _merged(machine: Automaton, kept: int, gone: int) -> Automaton:
    """The machine in which every edge to ``gone`` leads to ``kept``."""
    edges = np.where(machine.transitions == gone, kept, machine.transitions)
    return replace(machine, transitions=edges, initial=kept if machine.initial == gone else machine.initial)
