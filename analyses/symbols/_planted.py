"""Machines that are wrong in one place, and states drawn evenly over classes: what causal tests are held against."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from analyses.symbols.automaton import Automaton

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
