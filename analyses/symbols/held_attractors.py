"""Which machine do the attractors of held words make? Fixed points and cycles under each word, joined by single symbols.

Under one word read for ever a network settles on fixed points and cycles. Their states, at every place in the word, are taken
as the states of a machine: a symbol leads from one of them to the one that the network's next state goes with. States go
together that the network makes alike: the nearest is sought after each of all words of one length, the probes, since what
means nothing in a state fades on the way. No threshold is set. The machine says what the network says in these states.

A state of the truth that no held word returns to is on no attractor: it is missing, and edges into it lead to wrong states.
Longer words miss fewer; in a strongly connected machine of n states each is on a cycle of a word of at most n symbols.
``strays`` and ``margins`` say where the network's next state goes with none of the points.

Takes a SymbolReader that is a map and the ``Basins`` of held words; costs points x symbols x probes steps, and the distances
between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial.distance import cdist
from torch import Tensor

from analyses.maps.basins import Basins
from analyses.result import Check, Result, axes_or_new, counted
from analyses.symbols.automaton import Automaton
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader, Word

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4096  # probes


@dataclass(frozen=True, eq=False)
class HeldAttractors(Result):
    """The points on attractors, and where single symbols lead from them.

    Attributes
    ----------
    symbols, outputs
        Names.
    words
        Held, as symbols' numbers joined by commas.
    held : (points,)
        The word under which each point was found.
    periods : (points,)
        Symbols after which it comes back under that word.
    points : (points, dim)
    labels : (points,)
        What the network says there.
    chances : (points, outputs)
        The network's probabilities.
    transitions : (points, symbols)
        The point that the next state goes with.
    initial
        The point that the state before anything is read goes with.
    margins : (points, symbols)
        Distance to the point it goes with over that to the nearest point which the machine tells from it, over all probes;
        near 0 where the next state goes with one of them, about 1 where it goes with none; 0 where the machine has one state.
    moving
        Attractors that are neither fixed points nor cycles, left out.
    unsettled
        Starts that settled on nothing.
    strays
        Edges where the network says something else than the point that its next state goes with.
    probe
        Symbols of a probe.
    checks
        None of its own.
    """

    symbols: tuple[str, ...]
    outputs: tuple[str, ...]
    words: tuple[str, ...]
    held: Int[np.ndarray, " points"]
    periods: Int[np.ndarray, " points"]
    points: Float[np.ndarray, "points dim"]
    labels: Int[np.ndarray, " points"]
    chances: Float[np.ndarray, "points outputs"]
    transitions: Int[np.ndarray, "points symbols"]
    initial: int
    margins: Float[np.ndarray, "points symbols"]
    moving: int
    unsettled: int
    strays: int
    probe: int
    checks: tuple[Check, ...]

    @property
    def machine(self) -> Automaton:
        """One state a point."""
        return Automaton(self.symbols, self.outputs, self.transitions, self.labels, self.chances, self.initial)

    def summary(self) -> str:
        """How many points, on which cycles, the size of their machine, and what does not fit."""
        cycles = ", ".join(f"{(self.periods == k).sum()} of period {k}" for k in sorted(set(self.periods.tolist())))
        text = (
            f"{counted(len(self.points), 'point')} on attractors of {counted(len(self.words), 'held word')} ({cycles}) "
        )
        text += f"make a machine of {counted(len(self.machine.minimal()), 'state')}; a next state is at most "
        text += f"{self.margins.max(initial=0):.2g} times as far from its point as from one that is told from it"
        for number, what in (
            (self.strays, "edges where the network says something else"),
            (self.moving, "attractors left out that are no cycles"),
            (self.unsettled, "starts that did not settle"),
        ):
            text += f"; {number} {what}" if number else ""
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The minimal machine."""
        return self.machine.minimal().plot(axes_or_new(ax))


def held_attractors(reader: SymbolReader, held: Sequence[tuple[Word, Basins]], *, probe: int = 6) -> HeldAttractors:
    """The machine of the states on attractors of held words.

    Parameters
    ----------
    reader
        A map.
    held
        Words, each with the ``basins`` of ``reader.held(word)``, from states that the network visits.
    probe
        Symbols read before states are compared, all words of this length; 0 compares the states themselves.

    Raises
    ------
    InputError
        When the reader is no map, no attractor is a fixed point or cycle, or there are too many probes.
    """
    if reader.dynamics is None:
        raise InputError(f"{reader.name!r} is no map, so no word can be held")
    if probe < 0 or len(reader.symbols) ** probe > MOST:
        raise InputError(
            f"probe={probe}: at most {MOST} words of one length are read, over {len(reader.symbols)} symbols"
        )
    groups, source, periods = [], [], []
    for number, (word, found) in enumerate(held):
        ids = list(word)
        for attractor in np.flatnonzero(found.periods > 0).tolist():
            starts = torch.as_tensor(found.orbit(attractor), dtype=reader.dynamics.dtype)
            orbit = torch.stack([_after(reader, starts, ids[:place]) for place in range(len(ids))], dim=1).flatten(0, 1)
            groups.append(orbit)
            source += [number] * len(orbit)
            periods += [len(orbit)] * len(orbit)
    if not groups:
        raise InputError(f"none of the {counted(len(held), 'held word')} has a fixed point or cycle that attracts")

    points = torch.cat(groups)
    probes = list(product(range(len(reader.symbols)), repeat=probe))
    after = [_after(reader, points, [symbol]) for symbol in range(len(reader.symbols))]
    everywhere = torch.cat([points, reader.first(1), *after])
    marks = np.concatenate([_after(reader, everywhere, word).double().cpu().numpy() for word in probes], axis=1)
    distances = cdist(marks, marks[: len(points)])
    goes_with = distances.argmin(axis=1)
    labels = reader.says(points)
    transitions = goes_with[len(points) + 1 :].reshape(len(reader.symbols), -1).T
    machine = Automaton(
        reader.symbols, reader.outputs, transitions, labels, reader.probabilities(points), int(goes_with[len(points)])
    )
    return HeldAttractors(
        symbols=reader.symbols,
        outputs=reader.outputs,
        words=tuple(",".join(map(str, word)) for word, _ in held),
        held=np.array(source, dtype=np.int64),
        periods=np.array(periods, dtype=np.int64),
        points=points.double().cpu().numpy(),
        labels=labels,
        chances=machine.chances,
        transitions=transitions,
        initial=machine.initial,
        margins=_margins(machine, distances[len(points) + 1 :]).reshape(len(reader.symbols), -1).T,
        moving=sum(int((found.periods == 0).sum()) for _, found in held),
        unsettled=sum(int((found.labels < 0).sum()) for _, found in held),
        strays=int((np.stack([reader.says(states) for states in after], axis=1) != labels[transitions]).sum()),
        probe=probe,
        checks=(),
    )


def _after(reader: SymbolReader, states: Tensor, word: Word) -> Tensor:
    """The states after reading a word."""
    with torch.no_grad():
        for symbol in word:
            states = reader.next(states, torch.full((len(states),), symbol))
    return states


def _margins(machine: Automaton, distances: np.ndarray) -> np.ndarray:
    """(rows,) distance (rows, points) to the nearest point over that to the nearest one the machine tells from it."""
    classes = _classes(machine)
    nearest = distances.argmin(axis=1)
    told = classes[nearest][:, None] != classes
    other = np.where(told, distances, np.inf).min(axis=1)
    return distances.min(axis=1) / np.maximum(other, 1e-300)


def _classes(machine: Automaton) -> np.ndarray:
    """Which states say the same for ever, unreachable ones included."""
    classes = machine.labels
    while True:
        told = np.concatenate([classes[:, None], classes[machine.transitions]], axis=1)
        finer = np.unique(told, axis=0, return_inverse=True)[1].reshape(-1)
        if finer.max() == np.unique(classes).size - 1:
            return finer
        classes = finer
