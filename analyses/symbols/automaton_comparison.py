"""Which of these machines are the same one? Automata pair by pair: equal, or else how soon and how often they differ.

Two machines are equal when their minimal forms are isomorphic. If they are not, a shortest word tells them apart, and the
distance is the chance that they say different outputs after a random word of a random length (``automaton``). Everything is
exact.

Takes Automata over the same symbols and outputs; costs networks^2 walks over pairs of states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses._distances import longest_detour, plot_matrix
from analyses.result import Check, Result, counted
from analyses.symbols.automaton import Automaton
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class AutomatonComparison(Result):
    """Machines by what they say.

    Attributes
    ----------
    names
        Of the machines, in the order they came.
    sizes : (machines,)
        States of the minimal form.
    kinds : (machines,)
        Number of the first machine that each is equal to.
    isomorphic : (machines, machines)
        Whether the minimal forms are one machine.
    told_apart : (machines, machines)
        Symbols of a shortest word after which two say different outputs; -1 for none.
    distances : (machines, machines)
        Chance of different outputs after a random word, over the lengths from 0 to ``longest``.
    longest
        See there.
    checks
        Minimal forms and walks over pairs of states agree on which are equal; no distance is longer than a detour.
    """

    names: tuple[str, ...]
    sizes: Int[np.ndarray, " machines"]
    kinds: Int[np.ndarray, " machines"]
    isomorphic: Bool[np.ndarray, "machines machines"]
    told_apart: Int[np.ndarray, "machines machines"]
    distances: Float[np.ndarray, "machines machines"]
    longest: int
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """How many different machines there are, which is the most frequent, and how far the others are."""
        count = len(self.names)
        if count < 2:
            return f"{counted(count, 'machine')}, so nothing to compare"
        kinds, members = np.unique(self.kinds, return_counts=True)
        most = kinds[members.argmax()]
        text = f"{count} machines, {len(kinds)} of them different; {members.max()} are one of "
        text += counted(int(self.sizes[most]), "state")
        others = np.flatnonzero(self.kinds != most)
        if len(others):
            apart = self.distances[most, others]
            text += f", from which the others differ after {self.told_apart[most, others].min()} symbols at the earliest and "
            text += f"on {apart.min():.2g} to {apart.max():.2g} of random words up to length {self.longest}"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """The matrix of distances."""
        return plot_matrix(self.distances, self.names, "share of words told apart", ax)


def compare_automata(
    machines: Sequence[Automaton], *, names: Sequence[str] = (), longest: int = 100
) -> AutomatonComparison:
    """Which machines are equal, and how far apart the others are.

    Parameters
    ----------
    machines
        Over the same symbols and outputs; none has to be minimal or complete.
    names
        N1, N2, ... when left out.
    longest
        Length of the longest words that count in the distance.

    Raises
    ------
    InputError
        For names that do not fit, or machines over other symbols or outputs; the message names one.
    """
    count = len(machines)
    names = tuple(names) or tuple(f"N{number + 1}" for number in range(count))
    if len(names) != count or longest < 0:
        raise InputError(f"{count} machines, {len(names)} names and words up to {longest} symbols came")
    for name, machine in zip(names, machines, strict=True):
        if (machine.symbols, machine.outputs) != (machines[0].symbols, machines[0].outputs):
            raise InputError(
                f"{name} reads {machine.symbols} and says {machine.outputs}, but {names[0]} reads {machines[0].symbols} and "
                f"says {machines[0].outputs}"
            )
    small = [machine.minimal() for machine in machines]
    isomorphic = np.array([[one.isomorphic_to(other) for other in small] for one in small], dtype=bool).reshape(
        count, count
    )
    told_apart, distances = np.full((count, count), -1, dtype=np.int64), np.zeros((count, count))
    for i, j in zip(*np.triu_indices(count, 1), strict=True):
        word = small[i].told_apart(small[j])
        if word is not None:
            told_apart[i, j] = told_apart[j, i] = len(word)
            distances[i, j] = distances[j, i] = small[i].distance_to(small[j], longest=longest)
    first = isomorphic.argmax(axis=1) if count else np.zeros(0, dtype=np.int64)
    disagree = float((isomorphic != (told_apart < 0)).sum())
    return AutomatonComparison(
        names=names, sizes=np.array([len(one) for one in small], dtype=np.int64), kinds=first, isomorphic=isomorphic,
        told_apart=told_apart, distances=distances, longest=longest,
        checks=(
            Check("pairs equal by minimal form but not by their words, or the other way round", 0.0, disagree, 0.0),
            Check("longest excess of a distance over a detour", 0.0, longest_detour(distances), 1e-9),
        ),
    )  # fmt: skip
