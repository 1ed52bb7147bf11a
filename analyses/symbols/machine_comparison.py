"""Are these the same machine? Automata found on several roads, compared pair by pair and drawn side by side.

All are made minimal; two are the same when they are isomorphic, and else a shortest word tells them apart, and their distance
is the chance that they say different outputs after a random word (``automaton``). Exact; costs the product of their states a
pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.result import Check, Result, axes_or_new, counted
from analyses.symbols.automaton import Automaton
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 8  # machines whose sizes are said


@dataclass(frozen=True, eq=False)
class MachineComparison(Result):
    """Minimal machines in the order they came.

    Attributes
    ----------
    names
    sizes : (machines,)
        States when minimal.
    same : (machines, machines)
    distances : (machines, machines)
        Over words of lengths 0 to ``longest``.
    told_apart
        For each pair, the first one first, a shortest word by its symbols' names; "" where they are the same, ε for the empty
        one.
    symbols, outputs
        Names.
    transitions, labels, initials
        Of the minimal machines one after another: (states, symbols), (states,), (machines,), each with its states from 0.
    longest
        Symbols.
    checks
        Machines are the same exactly when no word tells them apart.
    """

    names: tuple[str, ...]
    sizes: Int[np.ndarray, " machines"]
    same: Bool[np.ndarray, "machines machines"]
    distances: Float[np.ndarray, "machines machines"]
    told_apart: tuple[str, ...]
    symbols: tuple[str, ...]
    outputs: tuple[str, ...]
    transitions: Int[np.ndarray, "states symbols"]
    labels: Int[np.ndarray, " states"]
    initials: Int[np.ndarray, " machines"]
    longest: int
    checks: tuple[Check, ...]

    def machine(self, number: int) -> Automaton:
        """One of the minimal machines."""
        first = int(self.sizes[:number].sum())
        rows = slice(first, first + int(self.sizes[number]))
        chances = np.eye(len(self.outputs))[self.labels[rows]]
        edges, said = self.transitions[rows], self.labels[rows]
        return Automaton(self.symbols, self.outputs, edges, said, chances, int(self.initials[number]))

    def summary(self) -> str:
        """How many are the same, their sizes, and what tells apart those that are not."""
        count = len(self.names)
        sizes = ", ".join(f"{name} {size}" for name, size in zip(self.names[:NAMED], self.sizes, strict=False))
        largest = int(self.same.sum(axis=1).max(initial=0))
        kinds = len(np.unique(self.same.argmax(axis=1)))
        different = f", {kinds} different in all" if count > 2 else ""
        text = f"{largest} of {counted(count, 'machine')} are the same{different} (states: {sizes}"
        text += ", ...)" if count > NAMED else ")"
        pairs = [(one, other) for one in range(count) for other in range(one + 1, count)]
        apart = [
            f"{self.names[one]} and {self.names[other]} by {word} (distance {self.distances[one, other]:.2g})"
            for (one, other), word in zip(pairs, self.told_apart, strict=True)
            if word
        ]
        text += f"; told apart: {', '.join(apart[:3])}" if apart else ""
        return text + (f" and {counted(len(apart) - 3, 'pair')} more" if len(apart) > 3 else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Every minimal machine, side by side; those that are the same as the first one are named so."""
        ax = axes_or_new(ax)
        ax.set_axis_off()
        columns = max(1, math.ceil(math.sqrt(len(self.names))))
        rows = max(1, -(-len(self.names) // columns))
        for number, name in enumerate(self.names):
            row, column = divmod(number, columns)
            panel = ax.inset_axes((column / columns, 1 - (row + 1) / rows, 0.95 / columns, 0.85 / rows))
            self.machine(number).plot(panel)
            legend = panel.get_legend()
            if legend is not None and number:
                legend.remove()
            elif legend is not None:
                legend.set_loc("upper left")
                legend.set_bbox_to_anchor((-0.1, 1.15))
            verdict = "" if not number else ", the same" if self.same[0, number] else ", another"
            panel.set_title(f"{name}{verdict}", fontsize=8)
        return ax


def compare_machines(machines: Mapping[str, Automaton], *, longest: int = 100) -> MachineComparison:
    """Compare machines over the same symbols and outputs, by name.

    Parameters
    ----------
    longest
        Of the words that distances are over.

    Raises
    ------
    InputError
        When symbols or outputs differ, or none came.
    """
    if not machines:
        raise InputError("at least one machine is compared, but none came")
    smallest = [machine.minimal() for machine in machines.values()]
    symbols, outputs = smallest[0].symbols, smallest[0].outputs
    for name, machine in zip(machines, smallest, strict=True):
        if (machine.symbols, machine.outputs) != (symbols, outputs):
            raise InputError(
                f"machines share symbols and outputs, but {name!r} has {machine.symbols} and {machine.outputs} beside "
                f"{symbols} and {outputs}"
            )
    count = len(smallest)
    pairs = [(one, other) for one in range(count) for other in range(one + 1, count)]
    same, distances, words = np.eye(count, dtype=bool), np.zeros((count, count)), []
    for one, other in pairs:
        word = smallest[one].told_apart(smallest[other])
        words.append("" if word is None else " ".join(symbols[symbol] for symbol in word) or "ε")
        same[one, other] = same[other, one] = smallest[one].isomorphic_to(smallest[other])
        distances[one, other] = distances[other, one] = smallest[one].distance_to(smallest[other], longest=longest)
    agree = sum(same[pair] == (word == "") for pair, word in zip(pairs, words, strict=True))
    return MachineComparison(
        names=tuple(machines),
        sizes=np.array([len(machine) for machine in smallest], dtype=np.int64),
        same=same,
        distances=distances,
        told_apart=tuple(words),
        symbols=symbols,
        outputs=outputs,
        transitions=np.concatenate([machine.transitions for machine in smallest]),
        labels=np.concatenate([machine.labels for machine in smallest]),
        initials=np.array([machine.initial for machine in smallest], dtype=np.int64),
        longest=longest,
        checks=(Check("pairs that are the same, or told apart by a word", float(len(pairs)), float(agree), 0.0),),
    )
