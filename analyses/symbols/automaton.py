"""What is a finite automaton, which others is it the same as, and how far is it from those that it is not?

A deterministic machine that says one output in each state (Moore) or on each edge (Mealy: the output of the state it enters),
possibly with unknown edges. Minimal by partition refinement (Moore 1956); equality by a walk over pairs of states from the two
initial ones, which is exact and gives a shortest word told apart (Hopcroft and Karp 1971). The distance is the chance that two
machines say different outputs after a random word, over the lengths up to a longest, summed over the chain of pairs and not
sampled.

Everything here is exact and costs states x symbols, or the product of two such for pairs.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from jaxtyping import Float, Int

from analyses.result import Check, Result, axes_or_new, counted
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNKNOWN = -1
SPELLED = 12  # states whose edges carry the names of their symbols; with more, colours tell them apart


@dataclass(frozen=True, eq=False)
class Automaton(Result):
    """A machine over named symbols.

    Attributes
    ----------
    symbols, outputs
        Names of what is read and of what is said.
    transitions : (states, symbols)
        The next state; -1 where it is not known.
    labels : (states,)
        The output in each state.
    chances : (states, outputs)
        Share of each output in each state; 1 at the label where outputs are certain.
    initial
        The state before anything is read.
    checks
        Of what made it; none of its own.
    """

    symbols: tuple[str, ...]
    outputs: tuple[str, ...]
    transitions: Int[np.ndarray, "states symbols"]
    labels: Int[np.ndarray, " states"]
    chances: Float[np.ndarray, "states outputs"]
    initial: int = 0
    checks: tuple[Check, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def complete(self) -> bool:
        """Whether every edge is known."""
        return bool((self.transitions >= 0).all())

    @property
    def reachable(self) -> Int[np.ndarray, " reached"]:
        """States that words lead to, by the shortest such word, then its symbols: an order that isomorphic machines share."""
        order, seen = deque([self.initial]), {self.initial: 0}
        while order:
            for after in self.transitions[order.popleft()].tolist():
                if after >= 0 and after not in seen:
                    seen[after] = len(seen)
                    order.append(after)
        return np.array(list(seen), dtype=np.int64)

    def states(self, words: Any) -> Int[np.ndarray, "runs steps"]:
        """(runs, steps) words -> (runs, steps + 1) states, the initial one first; -1 from the first unknown edge on."""
        ids = np.asarray(words, dtype=np.int64)
        edges = np.concatenate([self.transitions, np.full((1, len(self.symbols)), UNKNOWN)])  # unknown stays unknown
        visited = [np.full(len(ids), self.initial, dtype=np.int64)]
        for step in range(ids.shape[1]):
            visited.append(edges[visited[-1], ids[:, step]])
        return np.stack(visited, axis=1)

    def says(self, words: Any) -> Int[np.ndarray, "runs steps"]:
        """(runs, steps) words -> (runs, steps + 1) outputs, before the first symbol and after each; -1 where unknown."""
        return np.append(self.labels, UNKNOWN)[self.states(words)]

    def renumbered(self, order: Int[np.ndarray, " kept"]) -> Automaton:
        """The machine of these states alone, in this order; edges to others become unknown.

        Raises InputError when the initial state is not among them.
        """
        place = np.full(len(self) + 1, UNKNOWN)
        place[order] = np.arange(len(order))
        if place[self.initial] < 0:
            raise InputError(f"the initial state {self.initial} is not among the states kept")
        return replace(
            self,
            transitions=place[self.transitions[order]],
            labels=self.labels[order],
            chances=self.chances[order],
            initial=int(place[self.initial]),
        )

    def minimal(self, *, mealy: bool = False) -> Automaton:
        """The smallest machine that says the same, states in order of ``reachable``, so that equal machines have equal arrays.

        An unknown edge is told apart from every known one. With ``mealy``, states need not say the same themselves, only on
        their edges. A merged state has the mean chances of its members.
        """
        here = self.renumbered(self.reachable)
        edges, marks = here.transitions, np.append(here.labels, UNKNOWN)
        own = marks[edges] if mealy else np.concatenate([here.labels[:, None], np.where(edges < 0, UNKNOWN, 0)], axis=1)
        classes = np.unique(own, axis=0, return_inverse=True)[1].reshape(-1)
        while True:
            told = np.concatenate([classes[:, None], np.append(classes, UNKNOWN)[edges]], axis=1)
            finer = np.unique(told, axis=0, return_inverse=True)[1].reshape(-1)
            if finer.max() == classes.max():
                break
            classes = finer
        first, sizes = np.unique(classes, return_index=True, return_counts=True)[1:]
        mean = np.zeros((len(first), here.chances.shape[1]))
        np.add.at(mean, classes, here.chances)
        mean /= sizes[:, None]
        merged = replace(
            here,
            transitions=np.append(classes, UNKNOWN)[edges[first]],
            labels=here.labels[first],
            chances=mean,
            initial=int(classes[here.initial]),
        )
        return merged.renumbered(merged.reachable)

    def isomorphic_to(self, other: Automaton) -> bool:
        """Whether the two, without unreachable states, are the same machine up to the names of states."""
        if (self.symbols, self.outputs) != (other.symbols, other.outputs):
            return False
        mine, theirs = self.renumbered(self.reachable), other.renumbered(other.reachable)
        return np.array_equal(mine.transitions, theirs.transitions) and np.array_equal(mine.labels, theirs.labels)

    def told_apart(self, other: Automaton) -> tuple[int, ...] | None:
        """A shortest word after which the two say different outputs, or of which one knows no edge; None when they are equal.

        Raises InputError when symbols or outputs differ.
        """
        _comparable(self, other)
        start = (self.initial, other.initial)
        came: dict[tuple[int, int], tuple[tuple[int, int], int] | None] = {start: None}
        waiting = deque([start])
        marks, marks_other = np.append(self.labels, UNKNOWN), np.append(other.labels, UNKNOWN)
        while waiting:
            pair = waiting.popleft()
            if marks[pair[0]] != marks_other[pair[1]]:
                word = []
                while (step := came[pair]) is not None:
                    pair, symbol = step
                    word.append(symbol)
                return tuple(reversed(word))
            if min(pair) < 0:
                continue
            for symbol, after in enumerate(zip(self.transitions[pair[0]], other.transitions[pair[1]], strict=True)):
                following = (int(after[0]), int(after[1]))
                if following not in came:
                    came[following] = (pair, symbol)
                    waiting.append(following)
        return None

    def distance_to(self, other: Automaton, *, longest: int = 100) -> float:
        """The chance, over lengths 0 to ``longest`` alike and words of each alike, that the two say different outputs.

        An unknown edge differs from a known one. 0 exactly when no word up to ``longest`` tells them apart. Raises InputError
        when symbols or outputs differ.
        """
        _comparable(self, other)
        unknown = np.full((1, len(self.symbols)), UNKNOWN)
        mine, theirs = (np.concatenate([machine.transitions, unknown]) for machine in (self, other))
        differ = np.append(self.labels, UNKNOWN)[:, None] != np.append(other.labels, UNKNOWN)
        chance = np.zeros(differ.shape)  # the last row and column are the unknown state
        chance[self.initial, other.initial] = 1.0
        total = 0.0
        for _ in range(longest + 1):
            total += float(chance[differ].sum())
            rows, columns = np.nonzero(chance)
            after = np.zeros_like(chance)
            share = chance[rows, columns, None] / len(self.symbols)
            np.add.at(after, (mine[rows], theirs[columns]), np.broadcast_to(share, mine[rows].shape))
            chance = after
        return total / (longest + 1)

    def to_networkx(self) -> nx.MultiDiGraph:
        """Nodes 0, 1, ... with ``output`` and ``initial``, edges with ``symbol``; unknown edges are left out."""
        graph = nx.MultiDiGraph()
        for state, label in enumerate(self.labels.tolist()):
            graph.add_node(state, output=self.outputs[label], initial=state == self.initial)
        for state, symbol in np.argwhere(self.transitions >= 0).tolist():
            graph.add_edge(state, int(self.transitions[state, symbol]), symbol=self.symbols[symbol])
        return graph

    def to_graphml(self) -> str:
        """GraphML text."""
        return "\n".join(nx.generate_graphml(self.to_networkx()))

    def to_dot(self) -> str:
        """DOT text for Graphviz; edges between the same states share one arrow."""
        lines = ["digraph automaton {", '  start [shape=none, label=""];', f"  start -> {self.initial};"]
        for state, label in enumerate(self.labels.tolist()):
            lines.append(f"  {state} [label={json.dumps(f'{state}: {self.outputs[label]}')}];")
        for (source, target), read in self._arrows().items():
            lines.append(f"  {source} -> {target} [label={json.dumps(', '.join(self.symbols[s] for s in read))}];")
        return "\n".join([*lines, "}"])

    def to_aalpy(self) -> Any:
        """AALpy's MooreMachine. Raises InputError when an edge is unknown, ImportError without the extra ``automata``."""
        from aalpy.automata import MooreMachine, MooreState

        if not self.complete:
            raise InputError(
                f"{int((self.transitions < 0).sum())} edges are unknown, and AALpy's machines are complete"
            )
        nodes = [MooreState(f"s{state}", self.outputs[label]) for state, label in enumerate(self.labels.tolist())]
        for node, row in zip(nodes, self.transitions.tolist(), strict=True):
            node.transitions = {symbol: nodes[after] for symbol, after in zip(self.symbols, row, strict=True)}
        return MooreMachine(nodes[self.initial], nodes)

    def summary(self) -> str:
        """Its size, and what is missing."""
        text = f"{counted(len(self), 'state')} over {counted(len(self.symbols), 'symbol')}"
        text += f" and {counted(len(self.outputs), 'output')}"
        unknown = int((self.transitions < 0).sum())
        unreached = len(self) - len(self.reachable)
        if unknown:
            text += f", {counted(unknown, 'edge')} unknown"
        if unreached:
            text += f", {counted(unreached, 'state')} out of reach"
        least = len(self.minimal())
        return text + (", minimal" if least == len(self) else f"; {counted(least, 'state')} when minimal")

    def plot(self, ax: Axes | None = None) -> Axes:
        """States coloured by output, the initial one ringed; arrows by symbol, spelled out on small machines."""
        ax = axes_or_new(ax)
        ax.set_axis_off()
        if not len(self):
            return ax
        graph = nx.DiGraph(self.to_networkx())
        spelled = len(self) <= SPELLED
        layout = nx.circular_layout(graph) if len(self) <= 6 else nx.kamada_kawai_layout(nx.Graph(graph))
        size = 400 if spelled else 130  # square points
        arrows = self._arrows()
        colours = [
            "0.35" if spelled or len(read) == len(self.symbols) else f"C{read[0] + 2}" for read in arrows.values()
        ]
        nx.draw_networkx_edges(
            graph, layout, list(arrows), edge_color=colours, node_size=size, connectionstyle="arc3,rad=0.18", ax=ax
        )
        if spelled:
            names = {ends: ", ".join(self.symbols[symbol] for symbol in read) for ends, read in arrows.items()}
            nx.draw_networkx_edge_labels(
                graph, layout, names, font_size=8, rotate=False, node_size=size, connectionstyle="arc3,rad=0.18", ax=ax
            )
        nx.draw_networkx_nodes(
            graph, layout, node_size=size, node_color=[f"C{label}" for label in self.labels], linewidths=2, ax=ax,
            edgecolors=["black" if state == self.initial else "white" for state in graph],
        )  # fmt: skip
        nx.draw_networkx_labels(graph, layout, font_size=8 if spelled else 6, font_color="white", ax=ax)
        for label in np.unique(self.labels).tolist():
            ax.scatter([], [], c=f"C{label}", label=f"says {self.outputs[label]}")
        if not spelled:
            for symbol, called in enumerate(self.symbols[:8]):
                ax.plot([], [], color=f"C{symbol + 2}", label=f"reads {called}")
        ax.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        ax.margins(0.2)
        return ax

    def _arrows(self) -> dict[tuple[int, int], list[int]]:
        """(source, target) -> the symbols that lead from one to the other."""
        arrows: dict[tuple[int, int], list[int]] = {}
        for state, symbol in np.argwhere(self.transitions >= 0).tolist():
            arrows.setdefault((state, int(self.transitions[state, symbol])), []).append(symbol)
        return arrows


def automaton(
    transitions: Any, labels: Any, *, initial: int = 0, symbols: Any = None, outputs: Any = None, chances: Any = None
) -> Automaton:
    """The machine with these edges and outputs.

    Parameters
    ----------
    transitions : (states, symbols)
        Next states; -1 where unknown.
    labels : (states,)
        Output of each state, from 0.
    initial
        State before anything is read.
    symbols, outputs
        Names; 0, 1, ... when left out.
    chances : (states, outputs)
        Share of each output; all on the label when left out.

    Raises
    ------
    InputError
        When a state, label or name does not fit.
    """
    edges, said = np.array(transitions, dtype=np.int64), np.array(labels, dtype=np.int64)
    if edges.ndim != 2 or not edges.size or said.shape != (len(edges),):
        raise InputError(
            f"edges are (states, symbols) and outputs (states,), a state and a symbol at least, but {edges.shape} and "
            f"{said.shape} came"
        )
    if edges.min() < UNKNOWN or edges.max() >= len(edges) or not 0 <= initial < len(edges) or said.min() < 0:
        raise InputError(
            f"states are 0 to {len(edges) - 1} (-1 for unknown edges) and outputs from 0, but edges {edges.min()} to "
            f"{edges.max()}, initial {initial} and outputs from {said.min()} came"
        )
    read = tuple(str(n) for n in range(edges.shape[1])) if symbols is None else tuple(symbols)
    names = tuple(str(n) for n in range(max(2, int(said.max()) + 1))) if outputs is None else tuple(outputs)
    if len(read) != edges.shape[1] or len(names) <= said.max():
        raise InputError(
            f"{edges.shape[1]} symbols and outputs up to {said.max()} came with the names {read} and {names}"
        )
    shares = np.eye(len(names))[said] if chances is None else np.array(chances, dtype=np.float64)
    if shares.shape != (len(edges), len(names)):
        raise InputError(f"chances are ({len(edges)}, {len(names)}), but {shares.shape} came")
    return Automaton(read, names, edges, said, shares, int(initial))


def _comparable(one: Automaton, other: Automaton) -> None:
    if (one.symbols, one.outputs) != (other.symbols, other.outputs):
        raise InputError(
            f"machines over the same symbols and outputs are compared, but {one.symbols} and {one.outputs} came beside "
            f"{other.symbols} and {other.outputs}"
        )


def same_alphabet(machine: Automaton, reader: SymbolReader) -> None:
    """Raise InputError unless the machine reads the network's symbols and says its outputs."""
    if (machine.symbols, machine.outputs) != (reader.symbols, reader.outputs):
        raise InputError(
            f"the machine reads {machine.symbols} and says {machine.outputs}, but the network reads {reader.symbols} and says "
            f"{reader.outputs}"
        )
