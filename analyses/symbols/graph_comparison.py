"""Do two symbolic graphs say the same? The edges that differ, and whether the jumps differ by more than chance.

Method: nodes are matched by name or by rank. Edges are compared as they were ever seen; jumps by the total-variation distance
of their shares, half the sum of |p(i, j) - q(i, j)| over pairs of regions. Two records of one system are never at distance 0,
so the distance stands beside that of the halves of each record, and beside a null: both records' jumps are cut into batches of
consecutive jumps, 32 a record, and the batches dealt to two records anew. It holds when a batch is longer than the memory of
the sequence. Two distances need no matching: whether any renaming makes the graphs equal (VF2, networkx), and the largest
difference between the sorted moduli of the eigenvalues of the two matrices of jump probabilities.

Takes two Regions; costs draws x batches x edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import networkx as nx
import numpy as np
from jaxtyping import Float

from analyses.result import Check, Null, Outcome, Result, axes_or_new, counted
from analyses.symbols.regions import BATCHES, PADDING, Regions
from hooks.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Match = Literal["names", "ranks"]
RENAMED = 50  # nodes up to which a renaming is looked for


@dataclass(frozen=True, eq=False)
class GraphComparison(Result):
    """Two graphs on the nodes of both.

    Attributes
    ----------
    nodes
        Matched nodes, by the name or the rank (from 1) that they share.
    shares : (2, nodes, nodes)
        Each record's jumps from i to j as a share of all its jumps; NaN for a record without jumps.
    alone : (2,)
        Nodes and edges that only the first, only the second has.
    isomorphic
        Whether some renaming makes the edges equal: "yes", "no", or "too large to decide".
    spectral_distance
        Of the matrices of jump probabilities; 0 when they are equal up to renaming.
    total_variation
        Distance of the shares under the matching, 0 to 1; NaN when a record has no jump.
    halves : (2,)
        The same between the first and the second half of each record's jumps: what one system gives at half the length.
    match
        "names" or "ranks".
    outcome
        TOO_SHORT when a record has fewer jumps than twice the batches, so that there is no null.
    nulls
        The distance when batches of jumps are dealt to two records anew.
    checks
        Shares sum to 1.
    """

    nodes: tuple[str, ...]
    shares: Float[np.ndarray, "2 nodes nodes"]
    alone: tuple[int, int]
    isomorphic: str
    spectral_distance: float
    total_variation: float
    halves: Float[np.ndarray, " 2"]
    match: str
    outcome: Outcome
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    def summary(self) -> str:
        """Whether the edges agree, and the distance of the jumps beside halves and null."""
        both = int((self.shares > 0).all(axis=0).sum())
        text = f"{counted(both, 'edge')} in both graphs, {sum(self.alone)} nodes or edges in one alone"
        text += f" (matched by {self.match}; equal up to renaming: {self.isomorphic})"
        text += f"; total variation of the jumps {self.total_variation:.3g}, of halves of a record"
        text += f" {self.halves[0]:.3g} and {self.halves[1]:.3g}"
        for null in self.nulls:
            verdict = "they differ" if null.beaten else "no difference shown"
            text += f"; batches dealt anew: {np.median(null.draws):.3g} (p = {null.p:.2g}), {verdict}"
        return text + ("" if self.nulls else "; too few jumps for a null")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Each edge's share of the jumps in the second record against that in the first."""
        ax = axes_or_new(ax)
        seen = (self.shares > 0).any(axis=0)
        ax.axline((0, 0), slope=1, color="0.7", lw=1)
        ax.plot(self.shares[0][seen], self.shares[1][seen], "o", ms=4)
        if len(self.nodes) <= 6:
            for i, j in np.argwhere(seen):
                ax.annotate(
                    f"{self.nodes[i]} → {self.nodes[j]}", (self.shares[0, i, j], self.shares[1, i, j]), fontsize=6
                )
        ax.set(xlabel="share of the jumps, first", ylabel="second")
        return ax


def compare_graphs(
    first: Regions,
    second: Regions,
    *,
    match: Match = "names",
    draws: int = 199,
    generator: np.random.Generator | None = None,
) -> GraphComparison:
    """How far apart the symbolic graphs of two records are.

    Parameters
    ----------
    first, second
        What ``regions`` returns for each record.
    match
        "names" takes regions of the same name as the same node: two records of one network. "ranks" takes the most visited as
        the same, and so on: two networks, whose units have no common names.
    draws
        Of the null; 0 for none.
    generator
        Of the draws; numpy's with seed 0 when left out.

    Raises
    ------
    InputError
        For another match, or draws below 0.
    """
    if match not in get_args(Match) or draws < 0:
        raise InputError(f"match is names or ranks and draws are not negative, but {match=}, {draws=} came")
    records = (first, second)
    names = [one.names if match == "names" else tuple(str(i + 1) for i in range(len(one.names))) for one in records]
    nodes = tuple(dict.fromkeys((*names[0], *names[1])))
    places = [np.array([nodes.index(name) for name in own], dtype=np.int64) for own in names]
    moves = [_moves(one, place, len(nodes)) for one, place in zip(records, places, strict=True)]
    shares = np.stack([_shares(move[None], len(nodes))[0] for move in moves])
    halves = [_distance(*(_shares(part[None], len(nodes)) for part in np.array_split(move, 2)))[0] for move in moves]

    seen = [share > 0 for share in shares]
    differing = [seen[0] & ~seen[1], seen[1] & ~seen[0]]
    nulls: tuple[Null, ...] = ()
    long_enough = min(len(move) for move in moves) >= 2 * BATCHES
    apart = float(_distance(shares[:1], shares[1:])[0])
    if draws and long_enough:
        drawn = _dealt(moves, len(nodes), draws, generator or np.random.default_rng(0))
        nulls = (Null("batches dealt anew", "both records come from one system", "batch of jumps", drawn, apart),)
    moduli = [_moduli(one.jumps, len(nodes)) for one in records]
    sums = shares.sum(axis=(1, 2))
    return GraphComparison(
        nodes=nodes,
        shares=shares,
        alone=(
            len(set(names[0]) - set(names[1])) + int(differing[0].sum()),
            len(set(names[1]) - set(names[0])) + int(differing[1].sum()),
        ),
        isomorphic=_isomorphic(first.jumps, second.jumps),
        spectral_distance=float(np.abs(moduli[0] - moduli[1]).max(initial=0.0)),
        total_variation=apart,
        halves=np.array(halves),
        match=match,
        outcome=Outcome.CONVERGED if long_enough else Outcome.TOO_SHORT,
        nulls=nulls,
        checks=tuple(Check("shares of the jumps", 1.0, float(total), 1e-9) for total in sums[np.isfinite(sums)]),
    )


def _moves(record: Regions, place: np.ndarray, nodes: int) -> np.ndarray:
    """(jumps,) the pair of nodes of each jump as one number, in the order they happened."""
    now, then = record.symbols[:, :-1], record.symbols[:, 1:]
    moved = (now != then) & (then != PADDING)
    return place[now[moved]] * nodes + place[then[moved]]


def _shares(moves: np.ndarray, nodes: int) -> np.ndarray:
    """(records, jumps) -> (records, nodes, nodes); NaN without jumps."""
    records, jumps = moves.shape
    cells = np.arange(records)[:, None] * nodes**2 + moves
    table = np.bincount(cells.reshape(-1), minlength=records * nodes**2).reshape(records, nodes, nodes)
    return table / jumps if jumps else np.full(table.shape, np.nan)


def _distance(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(records,) total variation; NaN without nodes, as without jumps."""
    return np.abs(p - q).sum(axis=(1, 2)) / 2 if p.size else np.full(len(p), np.nan)


def _dealt(moves: list[np.ndarray], nodes: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """(draws,) distances of two records made of the batches of both, 32 each."""
    tables = np.stack(
        [np.bincount(batch, minlength=nodes**2) for move in moves for batch in np.array_split(move, BATCHES)]
    )
    order = generator.random((draws, 2 * BATCHES)).argsort(axis=1)
    one, other = ((order < BATCHES) @ tables, (order >= BATCHES) @ tables)
    p, q = one / one.sum(axis=1, keepdims=True), other / other.sum(axis=1, keepdims=True)
    return np.abs(p - q).sum(axis=1) / 2


def _isomorphic(first: np.ndarray, second: np.ndarray) -> str:
    one, other = (nx.from_numpy_array(jumps > 0, create_using=nx.DiGraph) for jumps in (first, second))
    if not nx.faster_could_be_isomorphic(one, other):
        return "no"
    if len(one) > RENAMED:
        return "too large to decide"
    return "yes" if nx.is_isomorphic(one, other) else "no"


def _moduli(jumps: np.ndarray, nodes: int) -> np.ndarray:
    """(nodes,) of the eigenvalues of the jump probabilities, largest first; 0 beyond the record's own regions."""
    out = jumps.sum(axis=1, keepdims=True)
    probabilities = np.divide(jumps, out, out=np.zeros(jumps.shape), where=out > 0)
    own = np.sort(np.abs(np.linalg.eigvals(probabilities)))[::-1] if len(jumps) else np.zeros(0)
    return np.pad(own, (0, nodes - len(own)))
