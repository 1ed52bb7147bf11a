"""How many states has a network that reads symbols? The states after words, merged where they are near and say the same.

Method: the states after every word up to a length (a prefix tree) are merged greedily in order of length: one joins the
earliest group whose FIRST member lies within eps of it and says the same, else it founds a group (van Rossem and Saxe,
"Algorithm development in neural networks: insights from the streaming parity task", 2025; eps is a share of the norm of the
states' standard deviation). Edges follow the words. A merged state may have two successors under one symbol, which no automaton
has: such conflicts are counted and decided by majority. How many states there are depends on eps, so a whole range of it is
tried, and the finding is a machine that stays the same, once minimal, over a wide part of that range.

Null: the states are dealt at random into groups of the same sizes, and conflicts counted again.

Takes a SymbolReader; one step of it a word, then O(words x groups x dim) for distances, in blocks, once for all thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial.distance import cdist

from analyses.result import Check, Null, Result, axes_or_new, counted
from analyses.symbols._prefix_tree import PrefixTree, read_tree
from analyses.symbols.automaton import UNKNOWN, Automaton
from hooks.errors import InputError
from hooks.symbol_reader import SymbolReader
from hooks.watch import Watch, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST = 1e150  # beyond, squares overflow: such states are merged with none
BLOCK = 1024  # words whose distances to the groups are held at once
DEFAULT_THRESHOLDS = tuple(np.geomspace(1e-4, 1.0, 41).tolist())  # ten a decade; random pairs lie 1.4 apart


@dataclass(frozen=True, eq=False)
class StateMerging(Result):
    """Machines by threshold, and the one that was chosen.

    Attributes
    ----------
    symbols, outputs
        Names.
    parents, reads, groups : (words,)
        Of each word in order of length, the empty one first: the word without its last symbol (-1), that symbol, and its
        state in the chosen machine.
    scale
        Norm of the states' standard deviation, the unit of the thresholds.
    thresholds, counts, sizes : (thresholds,)
        eps; groups; states of the minimal machine, once conflicts are decided.
    conflict_rates : (thresholds,)
        Share of the (state, symbol) pairs seen that have two successors or more.
    agreements : (thresholds,)
        Share of the words after which the machine says what the network said.
    complete : (thresholds,)
        Whether the minimal machine knows every edge.
    chosen
        Place of the chosen threshold.
    plateau
        The thresholds from which and up to which the minimal machine is the chosen one.
    transitions, labels, chances
        The chosen machine before it is made minimal; its initial state is 0. Chances are means of the network's probabilities.
    nulls
        Of the conflict rate at the chosen threshold.
    checks
        The minimal machine says what the merged one says.
    """

    symbols: tuple[str, ...]
    outputs: tuple[str, ...]
    parents: Int[np.ndarray, " words"]
    reads: Int[np.ndarray, " words"]
    groups: Int[np.ndarray, " words"]
    scale: float
    thresholds: Float[np.ndarray, " thresholds"]
    counts: Int[np.ndarray, " thresholds"]
    sizes: Int[np.ndarray, " thresholds"]
    conflict_rates: Float[np.ndarray, " thresholds"]
    agreements: Float[np.ndarray, " thresholds"]
    complete: Bool[np.ndarray, " thresholds"]
    chosen: int
    plateau: tuple[float, float]
    transitions: Int[np.ndarray, "states alphabet"]
    labels: Int[np.ndarray, " states"]
    chances: Float[np.ndarray, "states outputs"]
    nulls: tuple[Null, ...]
    checks: tuple[Check, ...]

    @property
    def machine(self) -> Automaton:
        """The chosen machine, one state a group."""
        return Automaton(self.symbols, self.outputs, self.transitions, self.labels, self.chances)

    @property
    def width(self) -> float:
        """Decades of eps over which the minimal machine is the chosen one."""
        return float(np.log10(self.plateau[1] / self.plateau[0]))

    @property
    def found(self) -> bool:
        """Whether there is a finite automaton: every edge known, said after all words, and fewer conflicts than by chance."""
        certain = bool(self.complete[self.chosen]) and float(self.agreements[self.chosen]) == 1
        trivial = int(self.sizes[self.chosen]) == 1  # one state has no conflicts, nor anything to deal at random
        return certain and (trivial or all(null.beaten for null in self.nulls))

    def summary(self) -> str:
        """How many words are told as the network tells them, by how many states, and whether that is an automaton."""
        at, words = self.chosen, len(self.groups)
        right = round(self.agreements[at] * words)
        text = (
            f"{right} of {counted(words, 'word')} end as the network says in a machine of "
            f"{counted(int(self.sizes[at]), 'state')} ({self.counts[at]} before it is minimal), the same for eps "
            f"{self.plateau[0]:.2g} to {self.plateau[1]:.2g} of the states' spread; {self.conflict_rates[at]:.3g} of its edges "
            "conflict"
        )
        if self.nulls:
            text += f" ({np.median(self.nulls[0].draws):.2g} among states dealt at random, p = {self.nulls[0].p:.2g})"
        if not self.complete[at]:
            return text + "; no eps gives every edge, so no finite automaton is shown"
        return text + ("" if self.found else "; this is not shown to be the network's automaton")

    def plot(self, ax: Axes | None = None) -> Axes:
        """States against eps, merged and minimal, with the plateau shaded and conflicts on a second axis."""
        ax = axes_or_new(ax)
        ax.axvspan(*self.plateau, color="0.92")
        ax.loglog(self.thresholds, self.counts, ".-", color="C0", label="states, merged")
        ax.loglog(self.thresholds, self.sizes, ".-", color="C1", label="states, minimal")
        ax.loglog(
            self.thresholds[self.complete], self.sizes[self.complete], "o", mfc="none", color="C1", label="complete"
        )
        ax.set(xlabel="eps, share of the states' spread", ylabel="states")
        shares = ax.twinx()
        shares.plot(self.thresholds, self.conflict_rates, color="C3", lw=1)
        shares.set_ylim(-0.02, 1.02)
        shares.set_ylabel("conflicting edges, share", color="C3")
        ax.legend(fontsize=7, frameon=False)
        return ax


def merge_states(
    reader: SymbolReader,
    words: int | Sequence[Any] = 10,
    *,
    thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
    threshold: float | None = None,
    draws: int = 99,
    generator: np.random.Generator | None = None,
    watch: Watch = quiet,
) -> StateMerging:
    """Merge the states after words into the states of a machine, at every threshold.

    Parameters
    ----------
    words
        All words up to this length, or words, of which all prefixes count.
    thresholds
        Of the distance from a group's first member, in units of the norm of the standard deviation over all states.
    threshold
        The one to choose, added to the others. Left out: of the machines that know every edge (of all, where none does) the one
        that says most words as the network does; of equals, the one that is minimal over the widest range of log eps; in that
        range the middle one of those with fewest conflicts.
    draws, generator
        Random partitions of the null; a fixed seed when left out.
    watch
        Wraps the pass over blocks of 1024 words.

    Returns
    -------
    StateMerging

    Raises
    ------
    InputError
        For thresholds that are not positive, too many words, or symbols that the reader does not know.
    """
    eps = np.unique(np.array([*thresholds, *(() if threshold is None else (threshold,))], dtype=np.float64))
    if not len(eps) or not eps[0] > 0 or not np.isfinite(eps[-1]):
        raise InputError(f"thresholds are positive numbers, one at least, but {eps.tolist()[:5]} came")
    tree = read_tree(reader, words)
    bounded = (np.abs(tree.vectors) < LARGEST).all(axis=1)
    scale = float(np.linalg.norm(tree.vectors[bounded].std(axis=0))) if bounded.any() else float("nan")
    groups = np.zeros((len(eps), 0), dtype=np.int64)
    total = -(-len(tree.said) // BLOCK)
    for groups in watch(_grouped(tree, eps * scale), total):
        pass
    tree = _first(tree, groups.shape[1])

    machines, conflicts = zip(*(_machine(reader, tree, of) for of in groups), strict=True)
    minimal = [machine.minimal() for machine in machines]
    agreements = np.array([float((tree.outputs_of(machine) == tree.said).mean()) for machine in machines])
    complete = np.array([machine.complete for machine in minimal])
    first, last, chosen = _choice(eps, minimal, complete, agreements, np.array(conflicts))
    if threshold is not None:
        chosen = int(np.flatnonzero(eps == threshold)[0])
        first, last = _run(minimal, chosen)
    machine, of = machines[chosen], groups[chosen]
    dealer = generator or np.random.default_rng(0)
    dealt = [_edges(tree, dealer.permutation(of), len(reader.symbols))[1] for _ in range(draws)]
    observed = float(conflicts[chosen])
    null = Null("states dealt at random", "groups of these sizes conflict as much", "word", np.array(dealt), observed)
    same = float(machine.told_apart(minimal[chosen]) is None)
    return StateMerging(
        symbols=reader.symbols,
        outputs=reader.outputs,
        parents=tree.parents,
        reads=tree.symbols,
        groups=of,
        scale=scale,
        thresholds=eps,
        counts=groups.max(axis=1) + 1,
        sizes=np.array([len(small) for small in minimal]),
        conflict_rates=np.array(conflicts),
        agreements=agreements,
        complete=complete,
        chosen=chosen,
        plateau=(float(eps[first]), float(eps[last])),
        transitions=machine.transitions,
        labels=machine.labels,
        chances=machine.chances,
        nulls=(null,) if draws else (),
        checks=(Check("the minimal machine says what the merged one says", 1.0, same, 0.0),),
    )


def _grouped(tree: PrefixTree, reach: np.ndarray) -> Iterator[np.ndarray]:
    """(thresholds, words so far) groups after each block; the founders of all thresholds share one matrix of distances."""
    founders = [np.zeros(0, dtype=np.int64) for _ in reach]
    groups = np.zeros((len(reach), 0), dtype=np.int64)
    for start in range(0, len(tree.said), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(tree.said)))
        every = np.unique(np.concatenate(founders))
        before, inside = (cdist(tree.vectors[block], tree.vectors[near]) for near in (every, block))
        alike = tree.said[block, None] == tree.said[block]
        added = np.zeros((len(reach), len(block)), dtype=np.int64)
        for row, radius in enumerate(reach):
            own = founders[row]
            near = before[:, np.searchsorted(every, own)] <= radius
            near &= tree.said[block, None] == tree.said[own]
            joined = near.any(axis=1)
            if joined.any():
                added[row, joined] = near[joined].argmax(axis=1)
            left = np.flatnonzero(~joined)
            new: list[int] = []
            while len(left):
                member = (inside[left[0], left] <= radius) & alike[left[0], left]
                member[0] = True  # also of a state that is not finite
                added[row, left[member]] = len(own) + len(new)
                new.append(int(block[left[0]]))
                left = left[~member]
            founders[row] = np.concatenate([own, np.array(new, dtype=np.int64)])
        groups = np.concatenate([groups, added], axis=1)
        yield groups


def _first(tree: PrefixTree, words: int) -> PrefixTree:
    """The tree of the first words alone: what a watch that stopped early has seen."""
    if words == len(tree.said):
        return tree
    kept = {name: value[:words] for name, value in vars(tree).items()}
    return PrefixTree(**kept | {"children": np.where(tree.children[:words] < words, tree.children[:words], UNKNOWN)})


def _edges(tree: PrefixTree, groups: np.ndarray, alphabet: int) -> tuple[np.ndarray, float]:
    """(groups, alphabet) successors by majority, the earlier of equals, and the share of pairs that have several."""
    count = int(groups.max()) + 1
    pairs = groups[tree.parents[1:]] * alphabet + tree.symbols[1:]
    seen, votes = np.unique(pairs * count + groups[1:], return_counts=True)
    pair, after = seen // count, seen % count
    order = np.lexsort((-after, votes, pair))  # the last of a pair has most votes
    edges = np.full(count * alphabet, UNKNOWN)
    edges[pair[order]] = after[order]
    several = np.unique(pair, return_counts=True)[1] > 1
    return edges.reshape(count, alphabet), float(several.mean()) if len(several) else 0.0


def _machine(reader: SymbolReader, tree: PrefixTree, groups: np.ndarray) -> tuple[Automaton, float]:
    edges, conflicts = _edges(tree, groups, len(reader.symbols))
    founder = np.unique(groups, return_index=True)[1]
    chances = np.zeros((len(edges), tree.chances.shape[1]))
    np.add.at(chances, groups, tree.chances)
    chances /= np.bincount(groups)[:, None]
    return Automaton(reader.symbols, reader.outputs, edges, tree.said[founder], chances), conflicts


def _run(minimal: list[Automaton], place: int) -> tuple[int, int]:
    """First and last of the neighbouring thresholds with the same minimal machine."""
    first = last = place
    while first and minimal[first - 1].isomorphic_to(minimal[place]):
        first -= 1
    while last + 1 < len(minimal) and minimal[last + 1].isomorphic_to(minimal[place]):
        last += 1
    return first, last


def _choice(
    eps: np.ndarray, minimal: list[Automaton], complete: np.ndarray, agreements: np.ndarray, conflicts: np.ndarray
) -> tuple[int, int, int]:
    """First and last threshold of the run that is chosen, and in it the middle one of those with fewest conflicts."""
    runs, place = [], 0
    while place < len(minimal):
        runs.append(_run(minimal, place))
        place = runs[-1][1] + 1
    first, last = max(
        runs, key=lambda run: (complete[run[0]], agreements[run[0] : run[1] + 1].max(), eps[run[1]] / eps[run[0]])
    )
    of_run = conflicts[first : last + 1]
    fewest = np.flatnonzero(of_run == of_run.min())
    return first, last, first + int(fewest[len(fewest) // 2])
