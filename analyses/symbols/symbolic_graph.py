"""Which region leads to which, and how often? The symbolic graph of a trajectory, topological and weighted.

Method: nodes are the visited regions, an edge i -> j says that a step from region i to another region j was ever seen; its
weight is the probability that a jump out of i goes to j (Brenner, Hemmer, Monfared, Durstewitz, NeurIPS 2024, whose
"connectome" has a diagonal that is no dwell time; here staying is written as the mean dwell of the node instead). Intervals are
Wilson's at 95 %, which take the jumps out of one region as independent. An edge that was not seen is not shown impossible.

Takes Regions; costs nothing beside them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from analyses.result import Check, Result, axes_or_new, counted
from analyses.symbols.regions import Regions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL = 0.95
SPRINGS = 40  # nodes laid out by springs within a second; more go on a circle


@dataclass(frozen=True, eq=False)
class SymbolicGraph(Result):
    """Regions as nodes, most visited first, and jumps as edges.

    Attributes
    ----------
    names
        Of the nodes.
    occupancy : (nodes,)
        Share of the steps.
    mean_dwells : (nodes,)
        Steps of a whole stay; NaN where none was seen.
    sources, targets : (edges,)
        Nodes of each edge; never the same.
    counts : (edges,)
        Jumps seen.
    probabilities : (edges,)
        Share of the jumps out of the source.
    intervals : (edges, 2)
        Of the probabilities, 95 %.
    checks
        The probabilities out of every node that was ever left sum to 1.
    """

    names: tuple[str, ...]
    occupancy: Float[np.ndarray, " nodes"]
    mean_dwells: Float[np.ndarray, " nodes"]
    sources: Int[np.ndarray, " edges"]
    targets: Int[np.ndarray, " edges"]
    counts: Int[np.ndarray, " edges"]
    probabilities: Float[np.ndarray, " edges"]
    intervals: Float[np.ndarray, "edges 2"]
    checks: tuple[Check, ...]

    @property
    def strongly_connected(self) -> bool:
        """Whether every region was seen to lead to every other."""
        return len(self.names) > 0 and nx.is_strongly_connected(self.to_networkx())

    def to_networkx(self) -> nx.DiGraph:
        """Nodes by name with ``occupancy`` and ``mean_dwell``, edges with ``count``, ``probability``, ``lower``, ``upper``.

        A mean dwell that was not seen is left out, since NaN has no place in the files written from it.
        """
        graph = nx.DiGraph()
        for name, share, dwell in zip(self.names, self.occupancy.tolist(), self.mean_dwells.tolist(), strict=True):
            graph.add_node(name, occupancy=share, **({"mean_dwell": dwell} if np.isfinite(dwell) else {}))
        for edge, (source, target) in enumerate(zip(self.sources, self.targets, strict=True)):
            graph.add_edge(
                self.names[source],
                self.names[target],
                count=int(self.counts[edge]),
                probability=float(self.probabilities[edge]),
                lower=float(self.intervals[edge, 0]),
                upper=float(self.intervals[edge, 1]),
            )
        return graph

    def to_graphml(self) -> str:
        """The graph with all attributes as GraphML text."""
        return "\n".join(nx.generate_graphml(self.to_networkx()))

    def to_json(self) -> str:
        """The graph with all attributes as node-link JSON text, as networkx and d3 read it."""
        return json.dumps(nx.node_link_data(self.to_networkx(), edges="links"))

    def to_dot(self) -> str:
        """The graph as DOT text for Graphviz: share and mean dwell in the nodes, probabilities on the edges."""
        lines = ["digraph regions {"]
        for name, label in zip(self.names, self._labels(), strict=True):
            lines.append(f"  {json.dumps(name)} [label={json.dumps(label)}];")
        for source, target, probability in zip(self.sources, self.targets, self.probabilities, strict=True):
            ends = f"{json.dumps(self.names[source])} -> {json.dumps(self.names[target])}"
            lines.append(f'  {ends} [label="{probability:.3g}"];')
        return "\n".join([*lines, "}"])

    def summary(self) -> str:
        """How many regions and edges, whether all is connected, and the surest and rarest of the jumps."""
        text = f"{counted(len(self.names), 'region')} joined by {counted(len(self.counts), 'edge')}"
        text += f" from {counted(int(self.counts.sum()), 'jump')}"
        if not len(self.counts):
            return text
        text += ", every region reached from every other" if self.strongly_connected else ", not strongly connected"
        rare = int((self.counts < 5).sum())
        return text + (f"; {counted(rare, 'edge')} seen fewer than 5 times" if rare else "")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Nodes sized by occupancy with their mean dwell written in, edges as wide as their probability; no loops drawn."""
        ax = axes_or_new(ax)
        ax.set_axis_off()
        graph = self.to_networkx()
        springs = len(self.names) <= SPRINGS
        layout = nx.kamada_kawai_layout(nx.Graph(graph), weight=None) if springs else nx.circular_layout(graph)
        where = np.array([layout[name] for name in self.names]).reshape(-1, 2)
        radii = 8 + 32 * np.sqrt(self.occupancy)  # points
        for source, target, probability in zip(self.sources, self.targets, self.probabilities, strict=True):
            ax.annotate(
                "", where[target], where[source],
                arrowprops={"arrowstyle": "-|>", "lw": 0.5 + 2 * probability, "color": "0.4", "alpha": 0.3 + 0.7 * probability,
                            "connectionstyle": "arc3,rad=0.15", "shrinkA": radii[source] / 2, "shrinkB": radii[target] / 2},
            )  # fmt: skip
        ax.scatter(where[:, 0], where[:, 1], s=radii**2, color="C0", alpha=0.85, zorder=3)
        for place, label, share in zip(where, self._labels(), self.occupancy, strict=True):
            if len(self.names) <= 12 or share >= 0.02:
                ax.annotate(label, (place[0], place[1]), ha="center", va="center", fontsize=7, zorder=4)
        ax.margins(0.25)
        return ax

    def _labels(self) -> list[str]:
        stays = (f"stays {dwell:.3g}" if np.isfinite(dwell) else "no whole stay" for dwell in self.mean_dwells)
        return [
            f"{name}\n{share:.1%}\n{stay}" for name, share, stay in zip(self.names, self.occupancy, stays, strict=True)
        ]


def symbolic_graph(visited: Regions) -> SymbolicGraph:
    """The graph of jumps between regions.

    Parameters
    ----------
    visited
        What ``regions`` returns.

    Returns
    -------
    SymbolicGraph
        Without edges when no jump was seen, and (0,) nodes when no region was.
    """
    sources, targets = np.nonzero(visited.jumps)
    counts = visited.jumps[sources, targets]
    out = visited.jumps.sum(axis=1)
    probabilities = counts / out[sources]
    total = np.bincount(sources, probabilities, minlength=len(out))[out > 0]
    return SymbolicGraph(
        names=visited.names,
        occupancy=visited.occupancy,
        mean_dwells=visited.mean_dwells,
        sources=sources.astype(np.int64),
        targets=targets.astype(np.int64),
        counts=counts,
        probabilities=probabilities,
        intervals=_wilson(probabilities, out[sources]),
        checks=(Check("jumps out of a region sum to 1, worst", 0.0, float(np.abs(total - 1).max(initial=0.0)), 1e-12),),
    )


def _wilson(share: np.ndarray, total: np.ndarray) -> np.ndarray:
    """(edges, 2)."""
    z = norm.isf((1 - LEVEL) / 2)
    center = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return np.stack([np.maximum(center - half, 0.0), np.minimum(center + half, 1.0)], axis=1)
