"""How fast does the number of allowed words grow? The topological entropy of a graph that is exactly the grammar.

Method: the words of a subshift are the paths of a graph, and their number grows as the spectral radius r of its matrix of
edges; the entropy is log r (Lind and Marcus, *An Introduction to Symbolic Dynamics and Coding*, chapter 4). It holds where the
graph is exact: the transitions of a Markov partition, or a presentation of a sofic shift in which edges out of one state carry
different symbols. A graph of the transitions that a record happened to show is neither: where a trajectory stays long in each
region, its log r counts ways of staying that the system does not have, and is no entropy of it.

Takes (states, states); costs the eigenvalues of each strongly connected part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class SubshiftEntropy(Result):
    """Growth rate of the allowed words, in nats per symbol.

    Attributes
    ----------
    entropy
        log of the spectral radius: 0 for cycles alone, -inf for a graph without cycles, which allows no endless word.
    part : (parts,)
        The same of each strongly connected part, largest first.
    members : (states,)
        The part of each state; -1 for a state on no cycle.
    periods : (parts,)
        Greatest common divisor of the lengths of a part's cycles; 1 when it mixes.
    checks
        The Collatz-Wielandt bounds of the radius around its eigenvector agree with it.
    """

    entropy: float
    part: Float[np.ndarray, " parts"]
    members: Int[np.ndarray, " states"]
    periods: Int[np.ndarray, " parts"]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """The entropy, and the parts of the graph it comes from."""
        if not len(self.part):
            return f"0 of {counted(len(self.members), 'state')} on a cycle: no endless word"
        on = int((self.members >= 0).sum())
        text = (
            f"{on} of {counted(len(self.members), 'state')} on cycles, in {counted(len(self.part), 'connected part')}: "
        )
        text += f"topological entropy {self.entropy:.6g} nats per symbol"
        return text + (f"; the largest part has period {self.periods[0]}" if self.periods[0] > 1 else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """The entropy of each connected part."""
        ax = axes_or_new(ax)
        ax.bar(np.arange(len(self.part)), self.part)
        ax.set(xlabel="connected part", ylabel="entropy (nats per symbol)")
        return ax


def subshift_entropy(edges: Any) -> SubshiftEntropy:
    """Topological entropy of the subshift whose words are the paths of a graph.

    Parameters
    ----------
    edges : (states, states)
        How many edges lead from state i to state j: whole numbers from 0, or bool. The caller answers for the graph being the
        grammar itself, not a record of it.

    Raises
    ------
    InputError
        When the array is not square, or holds anything but whole numbers from 0.
    """
    matrix = np.asarray(edges)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InputError(f"edges between states are (states, states), but shape {matrix.shape} came")
    if matrix.size and (matrix.dtype.kind not in "biuf" or not (np.mod(matrix, 1) == 0).all() or (matrix < 0).any()):
        raise InputError("edges are counted in whole numbers from 0, but others came")
    graph = nx.from_numpy_array(matrix > 0, create_using=nx.DiGraph)
    parts = [sorted(part) for part in nx.strongly_connected_components(graph)]
    cyclic = [part for part in parts if matrix[np.ix_(part, part)].any()]

    radii, worst = np.zeros(len(cyclic)), 0.0
    for i, part in enumerate(cyclic):
        block = matrix[np.ix_(part, part)].astype(np.float64)
        values, vectors = np.linalg.eig(block)
        radii[i] = values.real.max()
        vector = np.abs(vectors[:, values.real.argmax()])
        ratios = block @ vector / vector
        worst = max(worst, float(np.abs(ratios / radii[i] - 1).max()))

    order = np.argsort(-radii, kind="stable")
    members = np.full(len(matrix), -1)
    for rank, i in enumerate(order):
        members[cyclic[i]] = rank
    return SubshiftEntropy(
        entropy=float(np.log(radii.max())) if len(radii) else -np.inf,
        part=np.log(radii[order]),
        members=members,
        periods=np.array([_period(graph.subgraph(cyclic[i])) for i in order], dtype=np.int64),
        checks=(Check("relative width of the bounds of the radius", 0.0, worst, 1e-9),),
    )


def _period(part: nx.DiGraph) -> int:
    """gcd over edges u -> v of depth(u) + 1 - depth(v), depths from a breadth-first tree."""
    depths = nx.single_source_shortest_path_length(part, next(iter(part)))
    return int(np.gcd.reduce([depths[u] + 1 - depths[v] for u, v in part.edges]))
